"""Oracle: scipy's Rotation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry import so3
from tests.geometry import gradients

exp = jax.jit(so3.exp)
log = jax.jit(so3.log)
round_trip = jax.jit(lambda v: so3.log(so3.exp(v)))

# Angles (rad) at which float32 rotation vectors are right to 5e-7 of their length. The
# series of exp end at 0.0316 (at 0.0632 for the half angle), those of log at 0.0633.
ACCURATE = [
  *(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
  *(0.0316, 0.0317, 0.0632, 0.0633, 0.1, 1.0, 2.0, 3.0, np.pi - 1e-2, np.pi - 1e-4),
]
# There the sign of the vector is lost in rounding, but not the rotation.
NEAR_PI = [np.pi - 1e-5, np.pi - 1e-6, np.pi - 1e-7, np.pi]


def vectors_of_length(np_rng, length, count=64):
  v = np_rng.normal(size=(count, 3))
  return length * v / np.linalg.norm(v, axis=-1, keepdims=True)


@pytest.mark.parametrize('angle', ACCURATE)
def test_float32_accuracy(np_rng, angle):
  v = vectors_of_length(np_rng, angle)
  matrix = Rotation.from_rotvec(v).as_matrix()
  np.testing.assert_allclose(exp(jnp.float32(v)), matrix, atol=4e-7)
  np.testing.assert_allclose(log(jnp.float32(matrix)), v, atol=5e-7 * angle)
  np.testing.assert_allclose(round_trip(jnp.float32(v)), v, atol=1e-6 * angle)


@pytest.mark.parametrize('angle', NEAR_PI)
def test_log_near_pi_is_the_same_rotation(np_rng, angle):
  v = vectors_of_length(np_rng, angle)
  matrix = Rotation.from_rotvec(v).as_matrix()
  vector = np.asarray(log(jnp.float32(matrix)), np.float64)
  assert (np.linalg.norm(vector, axis=-1) <= np.pi + 5e-7).all()
  error = Rotation.from_rotvec(vector) * Rotation.from_rotvec(v).inv()
  assert error.magnitude().max() < 1e-6


@pytest.mark.parametrize('angle', [0.0, 1e-9, *ACCURATE, np.pi - 1e-6])
def test_float64_is_exact(np_rng, angle):
  v = vectors_of_length(np_rng, angle)
  with jax.enable_x64(True):
    matrix = exp(jnp.asarray(v))
    vector = log(jnp.asarray(Rotation.from_rotvec(v).as_matrix()))
  assert matrix.dtype == vector.dtype == np.float64
  np.testing.assert_allclose(matrix, Rotation.from_rotvec(v).as_matrix(), rtol=0, atol=2e-15)
  np.testing.assert_allclose(vector, v, rtol=0, atol=4e-15)


def test_exp_takes_vectors_beyond_pi(np_rng):
  v = np_rng.normal(size=(64, 3)) * 5
  np.testing.assert_allclose(exp(jnp.float32(v)), Rotation.from_rotvec(v).as_matrix(), atol=3e-6)


def test_identity_and_half_turns():
  np.testing.assert_array_equal(exp(jnp.zeros(3)), np.eye(3))
  np.testing.assert_array_equal(log(jnp.eye(3)), np.zeros(3))
  for axis in np.eye(3, dtype=np.float32):
    half_turn = 2 * np.outer(axis, axis) - np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(log(half_turn), np.pi * axis, atol=3e-7)
    np.testing.assert_allclose(exp(np.float32(np.pi) * axis), half_turn, atol=3e-7)


@pytest.mark.parametrize('angle', [0.0, 1e-7, 1e-3, 0.0316, 1.0, 3.1, np.pi, 6.2, 2 * np.pi])
def test_exp_is_orthonormal(np_rng, angle):
  rotation = np.asarray(exp(jnp.float32(vectors_of_length(np_rng, angle))), np.float64)
  identity = np.broadcast_to(np.eye(3), rotation.shape)
  np.testing.assert_allclose(rotation @ rotation.swapaxes(-1, -2), identity, atol=1e-6)
  np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=1e-6)


def test_gradients_are_finite(np_rng):
  angles = [0.0, 1e-20, 1e-7, 1e-3, 0.0316, 1.0, 3.1, np.pi - 1e-6, np.pi, 2 * np.pi]
  v = np.concatenate([angle * np.eye(3) for angle in angles])
  v = np.concatenate([v, *(vectors_of_length(np_rng, angle, count=4) for angle in angles)])
  gradients.assert_finite_gradients(so3.exp, v)
  gradients.assert_finite_gradients(so3.log, Rotation.from_rotvec(v).as_matrix())


def test_gradient_at_the_identity_is_the_generator(np_rng):
  v = np_rng.normal(size=3).astype(np.float32)
  generator = np.float32([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
  jvp = jax.jit(lambda x, dx: jax.jvp(so3.exp, (x,), (dx,))[1])
  np.testing.assert_allclose(jvp(jnp.zeros(3), v), generator, atol=1e-7)
  jvp = jax.jit(lambda x, dx: jax.jvp(so3.log, (x,), (dx,))[1])
  np.testing.assert_allclose(jvp(jnp.eye(3), generator), v, atol=1e-6)


def test_gradients_agree_with_finite_differences(np_rng):
  angles = [0.0, 0.01, 0.0315, 0.0632, 1.0, 3.0]
  v = np.concatenate([vectors_of_length(np_rng, angle, count=1) for angle in angles])
  gradients.assert_derivatives(so3.exp, v)
  gradients.assert_derivatives(so3.log, Rotation.from_rotvec(v).as_matrix())


def test_second_derivative_at_zero_is_finite_and_right(np_rng):
  # exp(t v) = I + t K + t^2 K^2 / 2 + ...
  x, y, z = v = np_rng.normal(size=3)
  k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  second = jax.jit(jax.jacfwd(jax.jacfwd(lambda t: so3.exp(t * jnp.float32(v)))))
  np.testing.assert_allclose(second(0.0), k @ k, atol=1e-5)


def test_batch_equals_loop(np_rng):
  v = np_rng.normal(size=(2, 3, 3)).astype(np.float32)
  rotation, vector = exp(v), round_trip(v)
  for index in np.ndindex(2, 3):
    np.testing.assert_allclose(rotation[index], exp(v[index]), atol=3e-7)
    np.testing.assert_allclose(vector[index], log(rotation[index]), atol=1e-6)

"""Oracles: scipy's Rotation in float64, and e3nn."""

import e3nn_jax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry import quaternion
from tests.geometry import gradients

canonical = jax.jit(quaternion.canonical)
conjugate = jax.jit(quaternion.conjugate)
from_matrix = jax.jit(quaternion.from_matrix)
multiply = jax.jit(quaternion.multiply)
to_matrix = jax.jit(quaternion.to_matrix)

COUNT = 64
HALF_TURNS = np.eye(4)[1:]


def scipy_matrix(q):
  return Rotation.from_quat(np.asarray(q, np.float64), scalar_first=True).as_matrix()


def random_quaternions(np_rng):
  return np_rng.normal(size=(COUNT, 4)).astype(np.float32)


def test_to_matrix_agrees_with_scipy_for_any_length(np_rng):
  q = np_rng.normal(size=(COUNT, 4)) * np_rng.uniform(1e-3, 1e3, size=(COUNT, 1))
  np.testing.assert_allclose(to_matrix(jnp.float32(q)), scipy_matrix(q), atol=1e-6)
  with jax.enable_x64(True):
    matrix = to_matrix(jnp.asarray(q))
    back = from_matrix(matrix)
    assert matrix.dtype == back.dtype == jnp.float64
    np.testing.assert_allclose(matrix, scipy_matrix(q), rtol=0, atol=1e-14)
    np.testing.assert_allclose(back, canonical(jnp.asarray(q)), rtol=0, atol=1e-14)
    assert to_matrix(jnp.float32(q)).dtype == jnp.float32


@pytest.mark.parametrize(
  'angle', [0.0, 1e-7, 1e-5, 1e-3, 0.1, 1.0, 2.0, 3.0, np.pi - 1e-3, np.pi - 1e-6, np.pi]
)
def test_from_matrix_agrees_with_scipy_at_every_angle(np_rng, angle):
  axis = np_rng.normal(size=(COUNT, 3))
  axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
  rotation = Rotation.from_rotvec(angle * axis)
  expected = rotation.as_quat(canonical=True, scalar_first=True)
  q = np.asarray(from_matrix(jnp.float32(rotation.as_matrix())), np.float64)
  assert (q[:, 0] >= 0).all()
  np.testing.assert_allclose(np.linalg.norm(q, axis=-1), 1, atol=3e-7)
  # Near a half turn rounding may choose the other of q and -q.
  sign = np.sign(np.sum(q * expected, axis=-1, keepdims=True))
  np.testing.assert_allclose(sign * q, expected, atol=1e-6)
  if angle < 3.1:
    assert (sign > 0).all()
  # Imaginary parts keep relative accuracy: small rotations are not rounded away.
  np.testing.assert_allclose(sign * q[:, 1:], expected[:, 1:], atol=3e-7 * np.sin(angle / 2))


def test_half_turns_about_the_axes():
  matrices = np.stack([2 * np.outer(axis, axis) - np.eye(3) for axis in np.eye(3)])
  np.testing.assert_array_equal(from_matrix(jnp.float32(matrices)), HALF_TURNS)
  np.testing.assert_array_equal(to_matrix(jnp.float32(HALF_TURNS)), matrices)


def test_agrees_with_e3nn(np_rng):
  p, q = random_quaternions(np_rng), random_quaternions(np_rng)
  p, q = canonical(p), canonical(q)
  expected = jax.jit(e3nn_jax.quaternion_to_matrix)(p)
  np.testing.assert_allclose(to_matrix(p), expected, atol=2e-6)
  expected = jax.jit(e3nn_jax.compose_quaternion)(p, q)
  np.testing.assert_allclose(multiply(p, q), expected, atol=2e-6)
  matrix = jax.jit(e3nn_jax.rand_matrix, static_argnums=1)(jax.random.key(0), (COUNT,))
  expected = jax.jit(e3nn_jax.matrix_to_quaternion)(matrix)
  np.testing.assert_allclose(from_matrix(matrix), canonical(expected), atol=1e-5)


def test_multiplication_composes_rotations(np_rng):
  p, q = random_quaternions(np_rng), random_quaternions(np_rng)
  product = to_matrix(multiply(p, q))
  np.testing.assert_allclose(product, scipy_matrix(p) @ scipy_matrix(q), atol=1e-6)
  p = canonical(p)
  identity = np.broadcast_to(np.eye(4)[0], p.shape)
  np.testing.assert_allclose(multiply(p, conjugate(p)), identity, atol=3e-7)
  np.testing.assert_allclose(multiply(conjugate(p), p), identity, atol=3e-7)


def test_double_cover(np_rng):
  q = random_quaternions(np_rng)
  np.testing.assert_array_equal(to_matrix(q), to_matrix(-q))
  np.testing.assert_array_equal(canonical(q), canonical(-q))
  assert (canonical(q)[:, 0] > 0).all()
  np.testing.assert_allclose(canonical(to_matrix_and_back(q)), canonical(q), atol=5e-7)


def to_matrix_and_back(q):
  return from_matrix(to_matrix(q))


@pytest.mark.parametrize('real', [0.0, -0.0])
def test_sign_at_real_part_zero_is_fixed(real):
  imaginary = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, -0.8, 0), (0, 0.6, -0.8)])
  q = jnp.float32(np.insert(imaginary, 0, real, axis=-1))
  np.testing.assert_allclose(canonical(q)[:, 1:], imaginary, atol=1e-7)
  np.testing.assert_array_equal(canonical(q), canonical(-q))


def test_zero_is_the_identity():
  zero = jnp.zeros(4)
  np.testing.assert_array_equal(canonical(zero), [1, 0, 0, 0])
  np.testing.assert_array_equal(to_matrix(zero), np.eye(3))


def test_gradients_are_finite():
  points = np.stack([np.zeros(4), np.eye(4)[0], -np.eye(4)[0], 1e-10 * np.ones(4), *HALF_TURNS])
  gradients.assert_finite_gradients(quaternion.canonical, points)
  gradients.assert_finite_gradients(quaternion.to_matrix, points)
  gradients.assert_finite_gradients(quaternion.from_matrix, to_matrix(jnp.float32(points)))


def test_gradients_agree_with_finite_differences(np_rng):
  q = np_rng.normal(size=(5, 4))
  gradients.assert_derivatives(quaternion.to_matrix, q)
  gradients.assert_derivatives(quaternion.canonical, q)
  gradients.assert_derivatives(quaternion.from_matrix, scipy_matrix(q))


def test_batch_equals_loop(np_rng):
  q = np_rng.normal(size=(2, 3, 4)).astype(np.float32)
  batch = to_matrix_and_back(q)
  assert batch.shape == (2, 3, 4)
  for index in np.ndindex(2, 3):
    np.testing.assert_allclose(batch[index], to_matrix_and_back(q[index]), atol=2e-7)

"""Flow matching on transitions whose distribution is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.dynamics import generator
from tempo_jax.training import flow_matching
from tests import builders
from tests.training import toy_network

SHAPE = (1, 1, 7)
BATCH, STEPS, PASSES, SAMPLES = 256, 1_200, 32, 20_000


def trained(draw_true):
  """A toy head after flow matching to samples of `draw_true(rng)`."""

  def loss(end, rng):
    def one(rng):
      true_rng, line_rng = jax.random.split(rng)
      motion, angle = flow_matching.line_error(end, draw_true(true_rng), 2, line_rng)
      return jnp.mean(motion + angle)

    return jnp.mean(jax.vmap(one)(jax.random.split(rng, BATCH)))

  params = toy_network.train(loss, SHAPE, STEPS)
  return toy_network.sample(params, SHAPE, PASSES, SAMPLES)


def mean_errors(end, draw_true, num_draws=20_000):
  """Of motions and angle, for a head that is known."""

  @builders.numpy_jit
  def errors(keys):
    return jax.vmap(lambda key: flow_matching.line_error(end, draw_true(key), 2, key))(keys)

  found = errors(jax.random.split(jax.random.key(0), num_draws))
  return [float(np.mean(x)) for x in found]


def test_a_point_has_no_error():
  """Where y is certain, the head that knows it is right at every point of every line."""
  y = np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0, 0.3], np.float32).reshape(SHAPE)

  def end(numbers, tau):
    turns = jnp.round((numbers - y) / (2 * np.pi))
    # The line of the angle ends at the copy of y that is nearest to where it began.
    return jnp.concatenate([y[..., :6], y[..., 6:] + 2 * np.pi * turns[..., 6:]], axis=-1)

  motion, angle = mean_errors(end, lambda key: jnp.asarray(y))
  assert motion < 1e-10
  assert angle < 1e-7
  # And one that is off by one is not.
  assert mean_errors(lambda z, tau: end(z, tau) + 1.0, lambda key: jnp.asarray(y))[0] > 1.0


def test_unit_error_before_anything_is_learnt():
  """Of the factors alone, which are the best guess for y of unit variance."""

  def end(numbers, tau):
    return generator.preconditioning(tau)[0] * numbers

  motion, _ = mean_errors(end, lambda key: jax.random.normal(key, SHAPE))
  assert motion == pytest.approx(1.0, abs=0.03)
  wider, _ = mean_errors(end, lambda key: 2.0 * jax.random.normal(key, SHAPE))
  assert wider > 2.0


def mixing():
  """A [6, 6] matrix that correlates everything, of about unit variance."""
  rng = np.random.default_rng(0)
  return (0.6 * np.eye(6) + 0.25 * rng.normal(size=(6, 6))).astype(np.float32)


@pytest.mark.slow  # Trains a network.
def test_correlated_gaussian_gets_its_mean_and_covariance():
  mean = np.linspace(-1.0, 1.0, 6, dtype=np.float32)

  def draw_true(rng):
    motions = mean + mixing() @ jax.random.normal(rng, (6,))
    return jnp.concatenate([motions.reshape(1, 1, 6), jnp.zeros((1, 1, 1))], axis=-1)

  found = trained(draw_true)[..., :6].reshape(-1, 6)
  covariance = mixing() @ mixing().T
  scale = np.sqrt(np.diag(covariance))
  np.testing.assert_allclose(found.mean(0) / scale, mean / scale, atol=0.05)
  off = (np.cov(found.T) - covariance) / np.outer(scale, scale)
  assert np.abs(off).max() < 0.05


@pytest.mark.slow  # Trains a network.
def test_both_wells_and_an_angle_across_the_seam():
  """Wells at -1 (30 %) and +1; psi near pi, which is also -pi, follows the well."""

  def draw_true(rng):
    well_rng, width_rng = jax.random.split(rng)
    right = jax.random.bernoulli(well_rng, 0.7)
    noise = 0.1 * jax.random.normal(width_rng, SHAPE)
    motions = jnp.where(right, 1.0, -1.0) + noise[..., :6]
    psi = jnp.where(right, np.pi, 0.5) + noise[..., 6:]
    return jnp.concatenate([motions, psi], axis=-1)

  found = trained(draw_true)
  position = found[:, 0, :, :6].mean(axis=(1, 2))
  right = position > 0
  assert right.mean() == pytest.approx(0.7, rel=0.05)
  assert np.mean(np.abs(np.abs(position) - 1.0) < 0.3) > 0.97
  resultant = np.exp(1j * found[right, 0, 0, 6]).mean()
  assert np.abs(resultant) > 0.95
  assert np.cos(np.angle(resultant) - np.pi) > 0.99

"""Flow matching on transitions whose distribution is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.training import flow_matching
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


def mixing():
  """A [6, 6] matrix that correlates everything, of about unit variance."""
  rng = np.random.default_rng(0)
  return (0.6 * np.eye(6) + 0.25 * rng.normal(size=(6, 6))).astype(np.float32)


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

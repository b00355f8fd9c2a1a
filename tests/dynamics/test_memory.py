"""Frames given others, against conditional Gaussians of float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import memory

VARIANCES, TIMES = np.array([0.5, 0.3, 0.2]), np.array([0.01, 0.3, 4.0])
MEMORY = memory.Memory(np.float32(VARIANCES), np.float32(TIMES))


def kernel(a, b):
  lag = np.abs(np.subtract.outer(a, b))
  return np.sum(VARIANCES * np.exp(-lag[..., None] / TIMES), axis=-1)


def conditional(new, known, which):
  found = jax.jit(memory.conditional)(MEMORY, np.float32(new), np.float32(known), np.array(which))
  return jax.tree.map(np.asarray, found)


def test_frames_given_others_are_those_of_a_gaussian_process():
  new, known = np.array([0.2, 0.4]), np.array([-0.2, 0.0, 1.4])
  found = conditional(new, known, [True] * 3)
  weights = np.linalg.solve(kernel(known, known), kernel(known, new)).T
  left = kernel(new, new) - weights @ kernel(known, new)
  # The frames are known up to a hundredth of the spread.
  np.testing.assert_allclose(found.weights, weights, atol=1e-3)
  np.testing.assert_allclose(found.spread, np.sqrt(np.diag(left)), rtol=1e-3)
  root = found.root * found.spread[:, None]
  np.testing.assert_allclose(root @ root.T, left, atol=1e-3)
  assert not np.triu(found.root, 1).any()


def test_unknown_frames_have_no_weight():
  new = np.array([0.2, 0.4])
  found = conditional(new, np.array([-0.2, 0.0, 1.4]), [False, True, False])
  alone = conditional(new, np.array([0.0]), [True])
  np.testing.assert_array_equal(found.weights[:, [0, 2]], 0.0)
  np.testing.assert_allclose(found.weights[:, 1:2], alone.weights, atol=1e-6)
  np.testing.assert_allclose(found.spread, alone.spread, rtol=1e-5)


def test_with_nothing_known_frames_have_the_whole_variance():
  found = conditional(np.array([0.2, 0.4]), np.array([0.0]), [False])
  np.testing.assert_array_equal(found.weights, 0.0)
  np.testing.assert_allclose(found.spread, 1.0, rtol=1e-3)
  assert np.isclose(float(MEMORY.variance), 1.0)


def test_a_frame_that_is_known_is_certain():
  """The end of a segment, where the next frames reach it."""
  found = conditional(np.array([0.2, 0.4]), np.array([0.0, 0.4]), [True, True])
  np.testing.assert_allclose(found.weights[1], [0.0, 1.0], atol=2e-3)
  assert found.spread[1] < 0.02
  assert np.isfinite(found.root).all()


def test_variance_falls_with_what_is_known_and_nearness():
  spreads = [
    conditional(np.array([0.1]), np.array([0.0, at]), [True, True]).spread[0]
    for at in (10.0, 1.0, 0.2, 0.1)
  ]
  assert (np.diff(spreads) < 0.0).all()
  far = conditional(np.array([1e4]), np.array([0.0]), [True])
  np.testing.assert_allclose(far.spread, 1.0, rtol=1e-3)


def test_correlations_decay_by_their_times():
  lags = jnp.array([0.0, 0.05, 1.0, 100.0])
  np.testing.assert_allclose(
    MEMORY.covariance(lags), kernel(np.asarray(lags), [0.0])[:, 0], rtol=1e-5
  )

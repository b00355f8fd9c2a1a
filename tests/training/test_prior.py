"""The elastic prior of a training example, and a step of training with it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import elastic_network
from tempo_jax.store import batching
from tempo_jax.training import examples
from tests import builders

LENGTH, FRAMES = 12, 400
CONFIG = config_lib.model_config({'coarse': 0.2, 'fine': 0.01})


def stretch_of(protein, length_ns):
  """Frames about the start that tumble."""
  rng = np.random.default_rng(0)
  start = np.asarray(protein.positions)
  ca = start[:, 1] + 0.2 * rng.normal(size=(FRAMES, LENGTH, 3))
  turns = np.linalg.qr(rng.normal(size=(FRAMES, 3, 3)))[0]
  turns *= np.sign(np.linalg.det(turns))[:, None, None]
  root = jax.jit(elastic_network.root_of)(start, protein)
  ca = np.float32(np.einsum('fxy,fly->flx', turns, ca) + rng.normal(size=(FRAMES, 1, 3)))
  times = np.linspace(0.0, length_ns, FRAMES).astype(np.float32)
  return batching.Stretch(start, root, ca, times, np.float32(0.2))


def test_the_centre_is_near_the_mean_of_the_trajectory():
  """Frames are superposed first; of a long stretch the mean leaves little open."""
  protein = builders.helix(LENGTH)

  @builders.numpy_jit
  def run(stretch, rng):
    found = examples.prior_of(CONFIG, stretch, protein, jnp.float32(300.0), rng)
    return found.centre, found.network.root, found.network.spread

  stretch = stretch_of(protein, 1e4)
  centre, root, spread = run(stretch, jax.random.key(0))
  np.testing.assert_allclose(centre, np.asarray(protein.positions)[:, 1], atol=0.1)
  np.testing.assert_array_equal(root, stretch.root)
  # Of a short one almost everything.
  centres = [
    run(dataclasses.replace(stretch, times_ns=1e-8 * stretch.times_ns), jax.random.key(k))[0]
    for k in range(60)
  ]
  apart = np.std(centres, axis=0) / spread[:, None]
  assert 0.6 < np.sqrt(np.mean(apart**2)) < 1.0


def test_training_does_not_know_of_the_gain():
  protein, wide = builders.helix(LENGTH), config_lib.model_config({'coarse': 0.2, 'fine': 0.01})
  wide.memory.gain = 2.0, 3.0

  @builders.numpy_jit
  def run(stretch, rng):
    return [
      examples.prior_of(config, stretch, protein, jnp.float32(300.0), rng)
      for config in (CONFIG, wide)
    ]

  jax.tree.map(np.testing.assert_array_equal, *run(stretch_of(protein, 100.0), jax.random.key(0)))


def test_without_a_stretch_there_is_no_prior():
  assert (
    examples.prior_of(CONFIG, None, builders.helix(3), jnp.float32(300.0), jax.random.key(0))
    is None
  )

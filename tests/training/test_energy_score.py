"""The energy score: its value on samples computed by hand, and what it teaches a toy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import backbone, rigid
from tempo_jax.training import energy_score, examples, train_step
from tests import builders
from tests.training import toy_network

LEVEL = level_lib.Level.of(builders.small_config(), 'fine')
LENGTH = 5


def random_states(seed, shape):
  rng = np.random.default_rng(seed)
  helix = builders.helix(LENGTH).positions
  positions = helix + 0.3 * rng.normal(size=(*shape, LENGTH, 4, 3))
  bonded = jnp.arange(LENGTH) < LENGTH - 1
  return builders.numpy_jit(lambda x: state_lib.from_positions(x, bonded))(
    positions.astype(np.float32)
  )


def by_hand(samples, true, viewers, mask):
  """Float64, pair by pair."""

  def seen(states):  # [T, L] -> [V, 4 L, 3 T]
    atoms_in_frames = builders.numpy_jit(backbone.atoms_in_frames)
    atoms = np.asarray(atoms_in_frames(states.frames, states.psi, states.n_ca_c), np.float64)
    rotation = np.asarray(states.frames.rotation, np.float64)
    origin = np.asarray(states.frames.translation, np.float64)
    out = []
    for i in viewers:
      local = np.einsum(
        'txy,tlax->tlay', rotation[:, i], atoms - origin[:, None, None, i]
      )  # R^T (x - t)
      out.append(np.concatenate(list(local.reshape(len(local), -1, 3)), axis=-1))
    return np.stack(out)

  parts = [seen(jax.tree.map(lambda x, m=m: x[m], samples)) for m in range(len(samples.psi))]
  truth = seen(true)
  miss = np.mean([np.linalg.norm(p - truth, axis=-1) for p in parts], axis=0)
  pairs = [np.linalg.norm(p - q, axis=-1) for i, p in enumerate(parts) for q in parts[i + 1 :]]
  score = miss - 0.5 * np.mean(pairs, axis=0)
  reach = np.linalg.norm(seen(jax.tree.map(lambda x: x[:1], true)), axis=-1)
  unit = np.sqrt(6.0 * 0.2**2 + 3.0 * (0.1 * reach) ** 2)
  return (score / unit)[:, np.repeat(mask, 4)].mean(axis=1)


@pytest.mark.parametrize('number', [2, 3])
def test_score_is_that_of_the_definition(number):
  samples, true = random_states(0, (number, 2)), random_states(1, (2,))
  mask = np.array([True, True, True, True, False])
  viewers = np.array([0, 3])
  found = builders.numpy_jit(
    lambda s, t: energy_score.window_score(
      s, t, viewers, energy_score.pair_units(t[0], viewers, LEVEL), jnp.asarray(mask)
    )
  )(samples, true)
  np.testing.assert_allclose(found, by_hand(samples, true, viewers, mask), rtol=1e-4)


def test_score_ignores_where_the_protein_is():
  samples, true = random_states(0, (2, 2)), random_states(1, (2,))
  rotation, shift = builders.random_motion(3, translation=20.0)
  motion = rigid.Rigid(np.float32(rotation)[None, None], np.float32(shift)[None, None])
  moved = true.with_frames(motion @ true.frames)
  score = builders.numpy_jit(
    lambda s, t: energy_score.window_score(
      s, t, np.arange(3), np.ones((3, 4 * LENGTH)), np.ones(LENGTH, bool)
    )
  )
  np.testing.assert_allclose(score(samples, moved), score(samples, true), rtol=1e-4)


def test_equal_samples_have_a_finite_gradient():
  true = random_states(1, (2,))
  samples = jax.tree.map(lambda x: np.stack([x, x]), true)

  def score(shift):
    frames = rigid.Rigid(samples.frames.rotation, samples.frames.translation + shift)
    moved = samples.with_frames(frames)
    viewers = jnp.arange(LENGTH)
    units = np.ones((LENGTH, 4 * LENGTH), np.float32)
    return jnp.sum(energy_score.window_score(moved, true, viewers, units, np.ones(LENGTH, bool)))

  assert np.isfinite(jax.grad(score)(jnp.float32(0.0)))


# Two free residues: what the score sees of them is where they are to each other.

SHAPE = (1, 2, 8)
# N-CA-C is drawn, too: one direction more to learn.
BATCH, STEPS, SAMPLES = 128, 1_500, 20_000
FREE = dataclasses.replace(builders.helix(2), bonded=np.zeros(2, bool))
UNITS = np.full((1, 8), 0.3)


def relative(numbers):
  """[1, 2, 8] numbers -> [1, 2] state, residue 1 starting 3 Å beside residue 0."""
  origins = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
  still = rigid.Rigid(jnp.broadcast_to(jnp.eye(3), (2, 3, 3)), origins)
  newest = state_lib.from_frames(still, jnp.zeros(2), FREE.bonded)
  expected = expected_lib.still(newest, LEVEL, 1)
  return update.apply_motions(newest, numbers, expected, FREE)


def placed(vectors):
  """[..., 3] numbers of residue 1 -> states [..., 1, 2]; residue 0 stays."""
  numbers = jnp.zeros((*vectors.shape[:-1], *SHAPE)).at[..., 0, 1, :3].set(vectors)
  states = relative
  for _ in vectors.shape[:-1]:
    states = jax.vmap(states)
  return states(numbers)


def score_of(samples, true):
  """[M, 1, 2] samples and a [1, 2] true state -> []."""
  return energy_score.window_score(samples, true, np.array([0]), UNITS, np.ones(2, bool))[0]


@pytest.mark.slow  # Trains.
def test_correlated_gaussian_gets_its_mean_and_covariance():
  """The score is least within 5 % of the true mean and spread, in every direction."""
  mean = np.float32([0.5, -0.3, 0.0])
  mix = np.float32([[0.8, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.3, 0.3, 0.7]])
  noise = np.random.default_rng(0).normal(size=(8_000, 9, 3)).astype(np.float32)

  @builders.numpy_jit
  def expected(stretch, shift):
    """Of samples whose mean and spread are off, in units of the distribution."""
    stretched = jnp.asarray(mix) @ (jnp.eye(3) + stretch)
    samples = noise[:, :8] @ stretched.T + (mean + mix @ shift)[None, None]
    true = noise[:, 8] @ mix.T + mean[None]
    return jnp.mean(jax.vmap(score_of)(placed(samples), placed(true)))

  def least(stretch, shift, length=0.1):
    """Where the parabola through three points of a direction has its vertex."""
    low, best, high = (expected(x * stretch, x * shift) for x in (-length, 0.0, length))
    assert low + high > 2.0 * best
    return 0.5 * length * (low - high) / (low + high - 2.0 * best)

  still = np.zeros((3, 3), np.float32)
  for i in range(3):
    assert abs(least(still, np.eye(3, dtype=np.float32)[i])) < 0.05
    for j in range(i + 1):
      direction = still.copy()
      direction[[i, j], [j, i]] = 1.0
      assert abs(least(direction, still[0])) < 0.05


def trained(draw_true):
  """CA of residue 1 in the frame of residue 0, in units of the spread, from a trained toy."""

  def loss(end, rng):
    def one(rng):
      true_rng, *sample_rngs = jax.random.split(rng, 3)
      samples = [
        relative(generator.follow(end, toy_network.draw_noise(r, SHAPE), 1).numbers)
        for r in sample_rngs
      ]
      samples = jax.tree.map(lambda *x: jnp.stack(x), *samples)
      return score_of(samples, placed(draw_true(true_rng)))

    return jnp.mean(jax.vmap(one)(jax.random.split(rng, BATCH)))

  params = toy_network.train(loss, SHAPE, STEPS)
  numbers = toy_network.sample(params, SHAPE, 1, SAMPLES)
  states = builders.numpy_jit(jax.vmap(relative))(numbers)
  origin = states.frames.translation[:, 0]
  axes = states.frames.rotation[:, 0, 0]
  seen = np.einsum('nxy,nx->ny', axes, origin[:, 1] - origin[:, 0])
  return (seen - [3.0, 0.0, 0.0]) / float(LEVEL.translation_std)


@pytest.mark.slow  # Trains a network.
def test_both_wells_are_populated():
  def draw_true(rng):
    well_rng, width_rng = jax.random.split(rng)
    well = jnp.where(jax.random.bernoulli(well_rng, 0.7), 1.0, -1.0)
    return jnp.array([1.0, 0.0, 0.0]) * well + 0.15 * jax.random.normal(width_rng, (3,))

  found = trained(draw_true)[:, 0]
  assert np.mean(found > 0) == pytest.approx(0.7, rel=0.05)
  assert np.mean(np.abs(np.abs(found) - 1.0) < 0.5) > 0.75


@pytest.mark.slow  # Compiles a gradient through four steps.
def test_gradient_is_finite_over_four_steps_of_256_residues():
  """Through sampler, closure and anchor; and every parameter has a part in it."""
  model = builders.generative_config(anchors='both', closure=True, objective='energy_score')
  config = config_lib.freeze(
    {
      'model': config_lib.to_dict(model) | {'passes': 2},
      'train': {
        'unroll': 4,
        'draws': 2,
        'viewers': 8,
        'rematerialise': True,
        'start_probability': 0.5,
        'free_probability': 0.0,
      },
    }
  )
  level = level_lib.Level.of(config.model, 'fine')
  helix = builders.helix(256, chains=2)
  protein = jax.tree.map(jnp.asarray, helix)
  kicks = np.random.default_rng(0).normal(size=(11, 256, 1, 3))
  positions = (helix.positions + 0.2 * kicks).astype(np.float32)

  @builders.numpy_jit
  def gradient(params):
    def loss(params):
      example = examples.make_example(config.model, positions, anchor_lib.at_end(11), protein)
      return train_step.example_loss(
        config, level, params, example, protein, jnp.float32(300.0), 0.0, jax.random.key(0)
      )['error']

    return jax.value_and_grad(loss)(params)

  loss, found = gradient(builders.params(config.model))
  assert np.isfinite(loss)
  assert loss > 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(found):
    assert np.isfinite(leaf).all(), path
  moving = [np.any(leaf != 0) for leaf in jax.tree.leaves(found)]
  assert np.mean(moving) > 0.9

"""Local-surroundings features against brute force and e3nn."""

import dataclasses

import e3nn_jax as e3nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.encoder import surroundings
from tempo_jax.geometry import backbone, rigid
from tests import builders
from tests.encoder import reference

LENGTH, COUNT, CUTOFF = 12, 4, 16.0
MODULE = surroundings.Surroundings(channels=8, num_neighbours=COUNT)


weighted_neighbours = builders.numpy_jit(surroundings.weighted_neighbours, static_argnums=2)


@pytest.mark.parametrize('count', [1, COUNT, LENGTH - 1, LENGTH + 5])
@pytest.mark.parametrize('real', [LENGTH, COUNT, 1], ids=['full', 'padded', 'alone'])
def test_nearest_is_brute_force(np_rng, count, real):
  origins = (9.0 * np_rng.normal(size=(LENGTH, 3))).astype(np.float32)
  mask = np.isin(np.arange(LENGTH), np_rng.permutation(LENGTH)[:real])
  indices, weights = weighted_neighbours(origins, mask, count)
  assert indices.shape == weights.shape == (LENGTH, min(count, LENGTH - 1))
  for i, expected in enumerate(reference.nearest(origins.astype(np.float64), mask, count)):
    for (j, weight), index, actual in zip(expected, indices[i], weights[i], strict=False):
      assert index == j
      np.testing.assert_allclose(actual, weight, atol=2e-6)
    np.testing.assert_array_equal(weights[i, len(expected) :], 0.0)


def test_nothing_jumps_where_neighbours_change_places(np_rng):
  """One residue walks through the others; the weighted sum over its list stays continuous."""
  steps = 4001
  origins = 6.0 * np_rng.normal(size=(LENGTH, 3))
  path = np.broadcast_to(origins, (steps, LENGTH, 3)).copy()
  path[:, 0] = np.linspace([-15.0, 2.0, 1.0], [15.0, -1.0, 3.0], steps)
  mask = np.ones(LENGTH, bool)
  indices, weights = builders.numpy_jit(
    jax.vmap(lambda x: surroundings.weighted_neighbours(x, mask, COUNT))
  )(path.astype(np.float32))
  lists = np.sort(indices[:, 0], axis=-1)
  changes = np.any(lists[1:] != lists[:-1], axis=-1)
  assert changes.sum() >= 5
  value = np_rng.normal(size=LENGTH)
  total = np.sum(weights[:, 0] * value[indices[:, 0]], axis=-1)
  # 7.5e-3 Å a step: no faster where the list changes than elsewhere.
  jumps = np.abs(np.diff(total))
  assert jumps.max() < 0.02
  assert jumps[changes].max() < 2.0 * jumps[~changes].max()


def test_residues_on_one_spot_have_finite_values_and_gradients():
  origins = np.zeros((LENGTH, 3), np.float32)
  origins[:, 0] = np.repeat([0.0, 3.0], LENGTH // 2)
  mask = np.ones(LENGTH, bool)

  def total(x):
    return jnp.sum(surroundings.weighted_neighbours(x, mask, COUNT)[1])

  value, gradient = builders.numpy_jit(jax.value_and_grad(total))(origins)
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


def test_radial_basis_is_that_of_e3nn():
  distance = np.linspace(0.0, 20.0, 41, dtype=np.float32)
  with jax.numpy_rank_promotion('allow'):
    expected = e3nn.soft_one_hot_linspace(
      distance, start=2.0, end=CUTOFF, number=8, basis='gaussian', cutoff=False
    )
  np.testing.assert_allclose(surroundings.radial_basis(distance), expected, atol=1e-6)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


def frames_of(positions):
  frames = backbone.frames_from_atoms(positions)
  return rigid.Rigid(frames.rotation[None], frames.translation[None])


@pytest.fixture(scope='module')
def apply(protein):
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), frames_of(protein.positions), protein)
  params = builders.fill(shapes, 1)
  return builders.numpy_jit(
    lambda positions, protein: MODULE.apply(params, frames_of(positions), protein)[0]
  )


@pytest.mark.parametrize('seed', range(3))
def test_invariant_to_global_motion(protein, apply, seed):
  before = apply(protein.positions, protein)
  rotation = np.asarray(e3nn.rand_matrix(jax.random.key(seed), ()))
  after = apply(protein.positions @ rotation.T + np.float32(7.0 * seed), protein)
  assert np.abs(before).max() > 0.5
  np.testing.assert_allclose(after, before, atol=1e-4)


def test_sees_handedness(protein, apply):
  before = apply(protein.positions, protein)
  after = apply(protein.positions * np.float32([1.0, 1.0, -1.0]), protein)
  assert np.abs(after - before).max() > 0.1


def test_padding_is_not_read(protein, apply):
  before = apply(protein.positions, protein)
  padded = builders.pad(protein, LENGTH + 8)
  after = apply(padded.positions, padded)
  np.testing.assert_allclose(after[:LENGTH], before, atol=1e-5)


def joined(protein, *pairs):
  partner = np.full(len(protein.mask), -1, np.int32)
  for i, j in pairs:
    partner[i], partner[j] = j, i
  return dataclasses.replace(protein, disulphides=partner)


def test_a_disulphide_is_seen_at_any_distance(protein, apply):
  """Beyond the cutoff, where nobody else is seen, and by the two residues alone."""
  far = protein.positions.copy()
  far[6:] += np.float32([0.0, 19.0, 0.0])
  apart = np.linalg.norm(far[:6, None, 1] - far[None, 6:, 1], axis=-1)
  assert apart.min() > CUTOFF
  bonded = joined(protein, (5, 9))
  before, after = apply(far, protein), apply(far, bonded)
  difference = np.abs(after - before).max(axis=-1)
  assert (difference[[5, 9]] > 1e-3).all()
  np.testing.assert_allclose(np.delete(after, [5, 9], 0), np.delete(before, [5, 9], 0), atol=1e-5)
  nearer = far.copy()
  nearer[6:] -= np.float32([0.0, 0.5, 0.0])
  assert np.abs(apply(nearer, bonded) - after)[5].max() > 1e-4
  np.testing.assert_allclose(apply(nearer, protein), before, atol=1e-4)
  # None is what no program for disulphides says.
  nobody = dataclasses.replace(protein, disulphides=np.full(LENGTH, -1, np.int32))
  np.testing.assert_allclose(apply(far, nobody), before, atol=1e-6)


def test_partners_near_and_far_are_counted_once(protein, apply):
  """As the loop does, with one pair among the neighbours and one beyond them."""
  bonded = joined(protein, (1, 3), (0, 11))
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), frames_of(protein.positions), protein)
  p, frames = reference.as_float64(
    (builders.fill(shapes, 1)['params'], frames_of(protein.positions)[0])
  )
  lists = [{j for j, _ in x} for x in reference.nearest(frames.translation, protein.mask, COUNT)]
  assert 3 in lists[1]
  assert 11 not in lists[0]
  expected = reference.surroundings(p, frames.rotation, frames.translation, bonded, COUNT)
  np.testing.assert_allclose(apply(protein.positions, bonded), expected, atol=1e-4)


def test_side_chains_of_neighbours_are_seen(protein):
  """As the loop does; nobody's own counts."""
  rng = np.random.default_rng(0)
  seen = rng.normal(size=(1, LENGTH, 12)).astype(np.float32)
  frames = frames_of(protein.positions)
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), frames, protein, seen)
  params = builders.fill(shapes, 1)
  apply = builders.numpy_jit(lambda seen: MODULE.apply(params, frames, protein, seen)[0])
  p, slow = reference.as_float64((params['params'], frames[0]))
  expected = reference.surroundings(
    p, slow.rotation, slow.translation, protein, COUNT, np.float64(seen[0])
  )
  np.testing.assert_allclose(apply(seen), expected, atol=1e-4)
  other = seen.copy()
  other[0, 5] += 1.0
  changed = np.abs(apply(other) - apply(seen)).max(axis=-1) > 1e-6
  assert changed.any()
  assert not changed[5]


def test_equals_a_loop_over_neighbours(protein, apply):
  """The whole module in float64, with the real spherical harmonics written out."""
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), frames_of(protein.positions), protein)
  p, frames = reference.as_float64(
    (builders.fill(shapes, 1)['params'], frames_of(protein.positions)[0])
  )
  expected = reference.surroundings(p, frames.rotation, frames.translation, protein, COUNT)
  np.testing.assert_allclose(apply(protein.positions, protein), expected, atol=1e-4)

"""Turns of side chains: phases, images, and the noise that they begin with."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_dict
from scipy import stats

from tempo_jax.dynamics import rotamers
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders, heavy_atoms

# By three-letter code, how many torsions are free: of the closed ring of PRO, one.
NUM_CHI = {
  **dict.fromkeys(['GLY', 'ALA', 'UNK'], 0),
  **dict.fromkeys(['CYS', 'PRO', 'SER', 'THR', 'VAL'], 1),
  **dict.fromkeys(['ASP', 'PHE', 'HIS', 'ILE', 'LEU', 'ASN', 'TRP', 'TYR'], 2),
  **dict.fromkeys(['GLU', 'MET', 'GLN'], 3),
  **dict.fromkeys(['LYS', 'ARG'], 4),
}
FLIPS = {('PHE', 1), ('TYR', 1), ('ASP', 1), ('GLU', 2)}
TYPES = heavy_atoms.ALL_TYPES
FREE = np.array([np.arange(4) < NUM_CHI[name] for name in protein_lib.RESIDUE_TYPES])
PER_ANGLE = np.array(
  [[1 + ((name, k) in FLIPS) for k in range(4)] for name in protein_lib.RESIDUE_TYPES]
)
LEVEL = config_dict.ConfigDict({'chi_std': 0.25, 'chi_hop': 0.2})

turns = builders.numpy_jit(rotamers.turns)
turned = builders.numpy_jit(rotamers.turned)
features = builders.numpy_jit(rotamers.features)


def circular(a):
  return np.abs(np.angle(np.exp(1j * np.asarray(a, np.float64))))


@pytest.fixture
def known(np_rng):
  """[L] every type, every torsion known."""
  chi = np.where(FREE, np_rng.uniform(-np.pi, np.pi, FREE.shape), 0.0)
  return rotamers.SideChains(chi.astype(np.float32), FREE)


def test_what_is_free():
  np.testing.assert_array_equal(rotamers.free(TYPES), FREE)
  np.testing.assert_array_equal(rotamers.unknown(TYPES).known, False)
  protein = builders.helix(5)
  assert not np.any(rotamers.of_protein(protein).known)
  protein = builders.with_side_chains(protein, known=0.5)
  found = rotamers.of_protein(protein)
  np.testing.assert_array_equal(found.chi, protein.chi)
  np.testing.assert_array_equal(found.known, protein.chi_known)


def test_a_flip_is_no_motion(known):
  """Half a turn of a ring or a carboxylate: no turn, no other features, and the same atoms."""
  flips = (PER_ANGLE == 2).astype(np.float32)
  flipped = dataclasses.replace(known, chi=known.chi + np.float32(np.pi) * flips)
  assert circular(turns(known, flipped, TYPES)).max() < 1e-5
  np.testing.assert_allclose(features(flipped, TYPES), features(known, TYPES), atol=1e-5)
  # Any other half turn is one.
  other = dataclasses.replace(known, chi=known.chi + np.float32(np.pi) * FREE * (1 - flips))
  moved = circular(turns(known, other, TYPES))
  np.testing.assert_allclose(moved[FREE], np.pi * (1 - flips)[FREE], atol=1e-5)
  # Atoms of the same elements are in the same places: the nearest of the same element is there.
  backbone, _ = heavy_atoms.helix(1)
  place = builders.numpy_jit(geometry.heavy_atoms)
  before, after = (place(backbone[0], x.chi, TYPES) for x in (known, flipped))
  for kind, names in enumerate(side_chain_atoms.ATOM_NAMES):
    for i, name in enumerate(names):
      same = [k for k, other in enumerate(names) if other[0] == name[0]]
      gaps = np.linalg.norm(before[kind, same] - after[kind, i], axis=-1)
      assert gaps.min() < 0.1, name


def test_phases_are_seen_where_known(known, np_rng):
  some = FREE & (np_rng.random(FREE.shape) < 0.5)
  seen = rotamers.SideChains(known.chi, some)
  found = features(seen, TYPES)
  phase = PER_ANGLE * np.float64(known.chi)
  np.testing.assert_allclose(found[:, :4], some * np.sin(phase), atol=1e-5)
  np.testing.assert_allclose(found[:, 4:8], some * np.cos(phase), atol=1e-5)
  np.testing.assert_array_equal(found[:, 8:], some)


def test_turned_is_the_inverse_of_turns(known, np_rng):
  """Phases beyond half a turn come back as what they are on the circle."""
  phases = np_rng.uniform(-6.0, 6.0, (3, *FREE.shape)).astype(np.float32)
  before = jax.tree.map(lambda x: x[None], known)
  after = turned(before, phases, TYPES)
  np.testing.assert_array_equal(after.known, np.stack([FREE] * 3))
  np.testing.assert_array_equal(after.chi[:, ~FREE], 0.0)
  assert np.abs(after.chi).max() <= np.float32(np.pi)
  found = turns(before, after, TYPES)
  assert np.abs(found).max() <= np.float32(np.pi)
  assert circular(found - phases)[:, FREE].max() < 1e-5
  # Of the images of a ring the one is written that is nearest to the one before.
  by = circular(after.chi - known.chi)
  assert (by[:, FREE] <= np.pi / np.broadcast_to(PER_ANGLE, by.shape)[:, FREE] + 1e-5).all()
  again = turned(before, turns(before, after, TYPES), TYPES)
  assert circular(again.chi - after.chi).max() < 1e-5


def test_what_is_not_known_turns_from_zero_and_is_known_afterwards(known):
  nothing = rotamers.unknown(TYPES)
  np.testing.assert_array_equal(nothing.chi, 0.0)
  phases = turns(nothing, known, TYPES)
  assert circular(phases - PER_ANGLE * known.chi)[FREE].max() < 1e-5
  drawn = turned(nothing, phases, TYPES)
  np.testing.assert_array_equal(drawn.known, FREE)
  # A flipped ring may come out: the same one.
  assert circular(PER_ANGLE * (drawn.chi - known.chi)).max() < 1e-5


def test_jitter_leaves_the_unknown_alone(known, np_rng):
  some = FREE & (np_rng.random(FREE.shape) < 0.5)
  before = rotamers.SideChains(np.where(some, known.chi, 0.0).astype(np.float32), some)
  phases = np_rng.normal(size=FREE.shape).astype(np.float32)
  after = builders.numpy_jit(rotamers.jittered)(before, phases, TYPES)
  np.testing.assert_array_equal(after.known, some)
  np.testing.assert_array_equal(after.chi[~some], 0.0)
  assert circular(after.chi - before.chi - phases / PER_ANGLE)[some].max() < 1e-5


def test_a_bare_backbone_knows_nothing(known):
  bare, same = known.unless(jnp.array(True)), known.unless(jnp.array(False))
  np.testing.assert_array_equal(bare.chi, 0.0)
  assert not np.any(bare.known)
  np.testing.assert_array_equal(same.chi, known.chi)
  np.testing.assert_array_equal(same.known, known.known)


def draw(residue_type, is_known, num_frames=2, seed=0):
  before = rotamers.SideChains(np.zeros(is_known.shape, np.float32), is_known)
  run = builders.numpy_jit(
    lambda before: rotamers.draw_noise(
      jax.random.key(seed), num_frames, before, residue_type, LEVEL
    )
  )
  return run(before)


def test_noise_is_a_wrapped_normal_and_now_and_then_anywhere():
  """4,000 arginines, of which every other one is not known."""
  length = 4_000
  kinds = np.full(length, protein_lib.RESIDUE_TYPES.index('ARG'))
  is_known = np.broadcast_to((np.arange(length) % 2 == 0)[:, None], (length, 4))
  found = draw(kinds, is_known)
  assert found.shape == (2, length, 4)
  assert np.abs(found).max() <= np.pi
  near, anywhere = found[:, ::2].ravel(), found[:, 1::2].ravel()

  def mixture(x):
    return 0.8 * stats.norm.cdf(x, scale=0.25) + 0.2 * (x + np.pi) / (2 * np.pi)

  # 16,000 numbers each.
  assert stats.kstest(near, mixture).pvalue > 1e-3
  assert stats.kstest(anywhere, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
  # `turn_variance` is that of the noise.
  for sample, known in ((near, True), (anywhere, False)):
    variance = float(rotamers.turn_variance(jnp.array(known), LEVEL))
    assert np.mean(sample**2) == pytest.approx(variance, rel=0.05)
  # Frames, residues and torsions are independent.
  flat = np.moveaxis(found[:, 1::2], 1, 0).reshape(length // 2, 8)
  assert np.abs(np.corrcoef(flat.T) - np.eye(8)).max() < 0.1


def test_noise_is_drawn_residue_by_residue_where_something_turns(np_rng):
  types = np.concatenate([TYPES, np_rng.integers(0, 20, 11)])
  is_known = rotamers.free(types) & (np_rng.random((len(types), 4)) < 0.5)
  long, short = draw(types, is_known), draw(TYPES, is_known[: len(TYPES)])
  np.testing.assert_array_equal(long[:, : len(TYPES)], short)
  for kind, k in itertools.product(TYPES, range(4)):
    assert (short[:, kind, k] != 0.0).all() == FREE[kind, k]
    assert (short[:, kind, k] == 0.0).all() == (not FREE[kind, k])


# By three-letter code, how many torsions, from the first, are about bonds of tetrahedral carbons.
NUM_STAGGERED = {
  **dict.fromkeys(['GLY', 'ALA', 'UNK', 'PRO'], 0),
  **dict.fromkeys(['CYS', 'SER', 'THR', 'VAL', 'ASP', 'ASN', 'PHE', 'TYR', 'TRP', 'HIS'], 1),
  **dict.fromkeys(['GLU', 'GLN', 'ILE', 'LEU', 'MET'], 2),
  'ARG': 3,
  'LYS': 4,
}


def test_eclipsed_torsions_are_brought_back(known):
  """Every degree of every torsion: staggered ones stay, no more than 35 degrees off remain."""
  run = builders.numpy_jit(rotamers.closed)
  degrees = np.arange(-179.5, 180.0, 1.0)
  chi = np.where(known.known, np.deg2rad(degrees)[:, None, None], 0.0).astype(np.float32)
  there = np.broadcast_to(known.known, chi.shape)
  after = run(rotamers.SideChains(chi, there), TYPES)
  np.testing.assert_array_equal(after.known, there)
  np.testing.assert_array_equal(after.chi[~there], 0.0)
  wells = np.array([-60.0, 60.0, 180.0])
  apart = (degrees[:, None] - wells + 180.0) % 360.0 - 180.0
  off = apart[np.arange(len(degrees)), np.abs(apart).argmin(axis=1)]
  expected = np.sign(off) * np.minimum(np.abs(off), 18.0 + 0.4 * np.maximum(np.abs(off) - 18.0, 0))
  for kind, name in enumerate(protein_lib.RESIDUE_TYPES):
    for k in range(NUM_CHI[name]):
      moved = np.rad2deg(after.chi[:, kind, k]) - degrees
      if name == 'PRO':
        want = np.clip(degrees, -40.0, 40.0) - degrees
      else:
        want = expected - off if k < NUM_STAGGERED[name] else np.zeros(len(degrees))
      np.testing.assert_allclose((moved - want + 180.0) % 360.0 - 180.0, 0.0, atol=1e-3)


def test_closing_is_no_part_of_the_derivative(known):
  def total(chi):
    return jnp.sum(rotamers.closed(rotamers.SideChains(chi, known.known), TYPES).chi)

  chi = jnp.asarray(np.where(known.known, 0.1, 0.0).astype(np.float32))
  gradient = builders.numpy_jit(jax.grad(total))(chi)
  np.testing.assert_allclose(gradient, known.known.astype(np.float32), atol=1e-5)


def test_a_side_chain_of_which_nothing_is_known_stays_so():
  bare = rotamers.unknown(TYPES)
  after = builders.numpy_jit(rotamers.closed)(bare, TYPES)
  np.testing.assert_array_equal(after.chi, 0.0)
  assert not after.known.any()

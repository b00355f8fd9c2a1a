"""Cyclic peptides: the bond that closes the ring is one like the others.

The oracle is the choice of the first residue: nothing may depend on where the numbers of a ring
begin.
"""

import dataclasses

import jax
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import chain_closure, generator, steric, transition
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import embeddings
from tempo_jax.geometry import backbone, bonds, limits, torsion
from tempo_jax.geometry.rigid import Rigid
from tempo_jax.metrics import torsions, validity
from tempo_jax.paper import loss
from tempo_jax.protein import padding, residue_selection
from tests import builders

LENGTH, BEHIND = 9, 5
# Small steps: closing chains that are wide open amplifies rounding.
CONFIG = config_lib.from_dict(config_lib.to_dict(builders.generative_config(closure=True)))
CONFIG.level.fine.update(translation_std=0.03, rotation_std=0.02)
CONFIG = config_lib.freeze(CONFIG)

_close = builders.numpy_jit(chain_closure.close_chains)


def close(residues, bonded, cis):
  """Of (frames, N-CA-C)."""
  return _close(*residues, bonded, cis)


@pytest.fixture(scope='module')
def protein():
  """A ring, and a chain behind it."""
  return builders.ring(LENGTH, behind=BEHIND)


def turned(protein, shift):
  """The same molecules, whose ring begins `shift` residues later, and the order of residues."""
  order = np.concatenate([np.roll(np.arange(LENGTH), -shift), LENGTH + np.arange(BEHIND)])
  moved = {name: getattr(protein, name)[order] for name in ('residue_type', 'positions')}
  return dataclasses.replace(protein, **moved), order


def opened(protein):
  return dataclasses.replace(protein, ring=None)


def frames_of(protein, seed, translation=0.3, rotation=0.2):
  rng = np.random.default_rng(seed)
  frames = backbone.frames_from_atoms(protein.positions)
  kick = Rigid.exp(
    np.float32(translation * rng.normal(size=(len(protein.mask), 3))),
    np.float32(rotation * rng.normal(size=(len(protein.mask), 3))),
  )
  return jax.tree.map(np.asarray, (frames @ kick, backbone.n_ca_c_angles(protein.positions)))


def c_n(positions):
  """C-N over the bond that closes the ring."""
  return np.linalg.norm(positions[..., LENGTH - 1, 2, :] - positions[..., 0, 0, :], axis=-1)


def test_the_ring_of_the_tests_is_one(protein):
  found = bonds.rings(protein.positions, protein.chain_index, limits.MAX_BOND)
  np.testing.assert_array_equal(found, protein.ring)
  low, high = validity.ca_ca_range(protein.positions, protein.bonds)
  assert low > 3.3
  assert high < 4.2
  assert validity.c_n_max(protein.positions, protein.bonds) < 1.7


def test_closure_closes_the_ring_too(protein):
  cis = np.zeros(len(protein.mask), bool)
  for seed in range(5):
    frames = frames_of(protein, seed)
    n, _, c = backbone.n_ca_c_from_frames(*frames)
    before = np.linalg.norm(n[0] - c[LENGTH - 1])
    after = frames
    for _ in range(8):
      after = close(after, protein.bonds, cis)
    n, ca, c = backbone.n_ca_c_from_frames(*after)
    following = np.asarray(protein.bonds.following)[:LENGTH]
    lengths = np.linalg.norm(n[following] - c[:LENGTH], axis=-1)
    assert abs(before - 1.341) > 0.1
    assert np.all(np.abs(lengths - 1.341) < 0.04)
    distance = np.linalg.norm(ca[following] - ca[:LENGTH], axis=-1)
    assert np.all((distance > 3.4) & (distance < 4.1))


@pytest.mark.parametrize('length', [4, 5, 8, 16, 17])
def test_rings_of_any_length_are_closed(length):
  """Strides of the cyclic reduction may go around, and end where they began."""
  protein = builders.ring(length)
  frames = frames_of(protein, 1, 0.1, 0.1)
  cis = np.zeros(length, bool)
  for _ in range(3):
    frames = close(frames, protein.bonds, cis)
  assert np.isfinite(frames[0].translation).all()
  n, _, c = backbone.n_ca_c_from_frames(*frames)
  lengths = np.linalg.norm(np.roll(n, -1, axis=0) - c, axis=-1)
  assert np.all(np.abs(lengths - 1.341) < 0.05)


def test_closure_does_not_know_where_the_ring_begins(protein):
  frames = frames_of(protein, 3)
  cis = np.zeros(len(protein.mask), bool)
  for shift in (1, 4):
    _, order = turned(protein, shift)
    expected = close(frames, protein.bonds, cis)
    found = close((frames[0][order], frames[1][order]), protein.bonds, cis)
    np.testing.assert_allclose(found[0].translation, expected[0].translation[order], atol=2e-4)
    np.testing.assert_allclose(found[0].rotation, expected[0].rotation[order], atol=2e-4)
    np.testing.assert_allclose(found[1], expected[1][order], atol=2e-4)


def test_a_ring_that_is_none_is_a_chain():
  """The program for rings says of plain chains what the other one says."""
  protein = builders.helix(12, chains=2)
  frames, cis = frames_of(protein, 0), np.zeros(12, bool)
  nowhere = bonds.Bonds(protein.bonded, np.full(12, bonds.NO_RING, np.int32))
  expected, found = close(frames, protein.bonded, cis), close(frames, nowhere, cis)
  np.testing.assert_allclose(found[0].translation, expected[0].translation, atol=1e-5)
  np.testing.assert_allclose(found[0].rotation, expected[0].rotation, atol=1e-5)
  np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_the_gradient_of_closing_a_ring_is_finite(protein):
  cis = np.zeros(len(protein.mask), bool)

  def loss_of(residues):
    frames, angle = chain_closure.close_chains(*residues, protein.bonds, cis)
    return jax.numpy.sum(frames.translation**2) + jax.numpy.sum(angle**2)

  gradient = jax.grad(loss_of)(frames_of(protein, 2))
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_torsions_go_around_the_ring(protein):
  angles, mask = (
    np.asarray(x) for x in torsion.backbone_torsions(protein.positions, protein.bonds)
  )
  assert mask[:LENGTH].all()
  assert not mask[LENGTH, 0]
  assert not mask[-1, 1]
  other, order = turned(protein, 3)
  again, again_mask = torsion.backbone_torsions(other.positions, other.bonds)
  np.testing.assert_array_equal(again_mask, mask[order])
  np.testing.assert_allclose(again, angles[order], atol=1e-5)
  on_host = np.stack(torsions.backbone_torsions(protein.positions[None], protein.bonds), -1)[0]
  np.testing.assert_array_equal(np.isfinite(on_host), mask)
  np.testing.assert_allclose(on_host[mask], angles[mask], atol=1e-4)


def test_offsets_take_the_shorter_way():
  protein = builders.ring(LENGTH, behind=2)
  found = np.asarray(embeddings.relative_position(protein, 4)) - 4
  ahead = (np.arange(LENGTH)[None] - np.arange(LENGTH)[:, None] + 4) % LENGTH - 4
  np.testing.assert_array_equal(found[:LENGTH, :LENGTH], ahead)
  assert np.all(found[:LENGTH, LENGTH:] == 5)
  assert found[LENGTH:, LENGTH:].tolist() == [[0, 1], [-1, 0]]


@builders.numpy_jit
def _following(params, protein, noise):
  """Next frames from given noise, closed."""
  level = level_lib.Level.of(CONFIG, 'fine')
  start = state_lib.from_positions(protein.positions, protein.bonds)
  window = state_lib.start_window(start, CONFIG.window)
  network = generator.Generator(CONFIG)
  states = generator.draw(
    network,
    params,
    window,
    protein,
    level,
    expected_lib.still(start, level, CONFIG.window),
    np.float32(0.0),
    np.float32(320.0),
    generator.Noise(noise),
    2,
  )
  return state_lib.to_positions(transition.closed(CONFIG, states, protein))


def test_a_step_does_not_know_where_the_ring_begins(protein):
  params = builders.params(CONFIG)
  rng = np.random.default_rng(0)
  noise = np.float32(rng.normal(size=(CONFIG.window, len(protein.mask), 8)))
  expected = _following(params, protein, noise)
  assert np.all(np.abs(c_n(expected) - 1.341) < 0.04)
  for shift in (2, 5):
    other, order = turned(protein, shift)
    found = _following(params, other, noise[:, order])
    np.testing.assert_allclose(found, expected[:, order], atol=1e-3)
  padded = padding.pad(protein, len(protein.mask) + 4)
  more = np.pad(noise, ((0, 0), (0, 4), (0, 0)))
  found = _following(params, padded, more)[:, : len(protein.mask)]
  np.testing.assert_allclose(found, expected, atol=1e-3)
  # Without the bond the ring opens.
  plain = _following(params, opened(protein), noise)
  assert np.all(np.abs(c_n(plain) - 1.341) > 0.06)


def test_overlaps_across_the_bond_are_judged_as_along_the_chain(protein):
  found = np.asarray(steric.separation(protein.positions, protein))
  for shift in (1, 4):
    other, order = turned(protein, shift)
    again = np.asarray(steric.separation(other.positions, other))
    np.testing.assert_allclose(again, found[order], atol=1e-5)


def test_the_papers_penalty_spares_the_bond(protein):
  pairs = np.asarray(loss.clash_pairs(protein))
  c, n = 4 * (LENGTH - 1) + 2, 0
  assert not pairs[n, c]
  assert np.asarray(loss.clash_pairs(opened(protein)))[n, c]
  assert np.count_nonzero(pairs) == np.count_nonzero(loss.clash_pairs(opened(protein))) - 1


def test_checks_count_the_bond(protein):
  positions = protein.positions[None].copy()
  assert validity.num_clashes(positions, protein.bonds).tolist() == [0]
  apart = positions.copy()
  apart[:, LENGTH - 1] += np.float32([0.0, 0.0, 3.0])
  assert validity.c_n_max(apart, protein.bonds) > 2.0
  near = positions.copy()
  near[:, LENGTH - 1, 2] = near[:, 0, 0] + np.float32([0.6, 0.6, 0.6])  # 1.04 Å
  of_chain = validity.num_clashes(near, opened(protein).bonds)
  np.testing.assert_array_equal(validity.num_clashes(near, protein.bonds), of_chain - 1)


def test_oxygens_are_placed_by_the_next_nitrogen(protein):
  missing = np.ones(len(protein.mask), bool)
  placed = residue_selection.place_oxygen(protein.positions, protein.bonds, missing)
  other, order = turned(protein, 3)
  again = residue_selection.place_oxygen(other.positions, other.bonds, missing)
  np.testing.assert_allclose(again, placed[order], atol=1e-5)
  np.testing.assert_allclose(placed[:LENGTH], protein.positions[:LENGTH], atol=0.1)

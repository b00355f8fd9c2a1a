"""Overlapping residues, against a plain numpy loop over all pairs of atoms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import chain_closure, state, steric
from tempo_jax.geometry import backbone, rigid
from tempo_jax.metrics import validity
from tests import builders

LENGTH = 12


def random_rotations(rng, count):
  return Rotation.random(count, rng=rng).as_matrix().astype(np.float32)


@pytest.fixture
def crowded(np_rng):
  """A chain of twelve residues in a box of 6 Å, and which bonds it has."""
  frames = rigid.Rigid(
    random_rotations(np_rng, LENGTH),
    np_rng.uniform(0.0, 6.0, (LENGTH, 3)).astype(np.float32),
  )
  bonded = np.arange(LENGTH) != 6
  return state.from_frames(frames, np.zeros(LENGTH, np.float32), bonded), bonded


def plain(positions, bonded, mask):
  """The same motions in float64."""
  shift = np.zeros((len(positions), 3))
  for _ in range(steric._NUM_ITERATIONS):
    atoms = positions.astype(np.float64) + shift[:, None]
    motion, count = np.zeros_like(shift), np.zeros(len(shift))
    for i, j in itertools.permutations(np.flatnonzero(mask), 2):
      for a, b in itertools.product(range(4), repeat=2):
        if abs(i - j) == 1 and bonded[min(i, j)] and not a == b == 3:
          continue
        apart = atoms[i, a] - atoms[j, b]
        distance = np.linalg.norm(apart)
        if distance < steric._NEAREST:
          motion[i] += 0.5 * (steric._NEAREST - distance) * apart / distance
          count[i] += 1
    shift += motion / np.maximum(count, 1)[:, None]
  return shift


def test_pairs_move_apart(crowded):
  crowd, bonded = crowded
  positions, mask = np.asarray(state.to_positions(crowd)), np.arange(LENGTH) < 10
  separation = functools.partial(steric.separation, num_neighbours=LENGTH)
  shift = builders.numpy_jit(separation)(positions, bonded, mask)
  np.testing.assert_allclose(shift, plain(positions, bonded, mask), atol=1e-3)
  assert np.abs(shift[:10]).max() > 0.5
  assert (shift[10:] == 0).all()


def test_two_atoms_are_moved_by_half_of_their_overlap():
  positions = np.array([[0.0, 5.0, 10.0, 15.0], [1.4, 20.0, 25.0, 30.0]], np.float32)
  positions = positions[..., None] * np.array([1.0, 0.0, 0.0], np.float32)
  shift = steric.separation(positions, np.zeros(2, bool), np.ones(2, bool))
  np.testing.assert_allclose(shift, [[-0.5, 0, 0], [0.5, 0, 0]], atol=1e-5)


def test_nothing_happens_where_nothing_overlaps():
  positions = builders.helix(LENGTH).positions
  shift = steric.separation(positions, np.ones(LENGTH, bool), np.ones(LENGTH, bool))
  np.testing.assert_array_equal(shift, 0.0)
  alone = steric.separation(positions[:1], np.ones(1, bool), np.ones(1, bool))
  np.testing.assert_array_equal(alone, 0.0)


def test_turns_with_the_protein(crowded, np_rng):
  crowd, bonded = crowded
  positions, mask = np.asarray(state.to_positions(crowd)), np.ones(LENGTH, bool)
  rotation = random_rotations(np_rng, 1)[0]
  separation = builders.numpy_jit(steric.separation)
  turned = separation(positions @ rotation.T + 50.0, bonded, mask)
  np.testing.assert_allclose(turned, separation(positions, bonded, mask) @ rotation.T, atol=1e-3)


def test_jammed_helices_come_apart_and_stay_closed(np_rng):
  """Two helices, one 5.5 Å from the other, each residue moved by 0.3 Å and 0.3 rad."""
  helix = np.asarray(builders.helix(10).positions)
  positions = np.concatenate([helix, helix + np.array([5.5, 1.0, 0.0], np.float32)])
  bonded = np.arange(20) % 10 != 9
  protein = state.from_positions(jnp.asarray(positions), bonded)
  moved = rigid.Rigid(
    protein.frames.rotation,
    protein.frames.translation + 0.3 * np_rng.normal(size=(20, 3)).astype(np.float32),
  )
  cis, mask = np.zeros(20, bool), np.ones(20, bool)

  def atoms(frames, angle):
    return np.asarray(state.to_positions(state.from_frames(frames, protein.psi, bonded, angle)))

  def once(frames):
    states = jax.tree.map(lambda x: x[None], protein.with_frames(frames))
    return jax.tree.map(lambda x: x[0], steric.separated_chains(states, bonded, cis, mask))

  closed = chain_closure.close_chains(moved, protein.n_ca_c, bonded, cis)
  assert validity.num_clashes(atoms(*closed), bonded) > 0
  apart = jax.jit(once)(moved)
  assert validity.num_clashes(atoms(*apart), bonded) == 0
  frame = atoms(*apart)[None]
  low_high = validity.ca_ca_range(frame, bonded)
  assert not validity.is_broken(*low_high, validity.c_n_max(frame, bonded)).any()


def test_derivative_takes_the_motions_for_constants(crowded):
  crowd, bonded = crowded
  cis, mask = np.zeros(LENGTH, bool), np.ones(LENGTH, bool)

  def total(translation):
    frames = rigid.Rigid(crowd.frames.rotation, translation)
    states = jax.tree.map(lambda x: x[None], crowd.with_frames(frames))
    return jnp.sum(steric.separated_chains(states, bonded, cis, mask)[0].translation)

  gradient = jax.jit(jax.grad(total))(crowd.frames.translation)
  np.testing.assert_allclose(gradient, 1.0, atol=1e-5)


def test_disulphides_are_held_together(np_rng):
  """Two helices whose cysteines have drifted apart, and one pair that is too near."""
  helix = np.asarray(builders.helix(10).positions)
  far = helix + np.array([12.0, 1.0, 0.0], np.float32)
  positions = np.concatenate([helix, far])
  bonded, mask = np.arange(20) % 10 != 9, np.ones(20, bool)
  partner = np.full(20, -1, np.int32)
  partner[[4, 14]] = 14, 4
  protein = state.from_positions(jnp.asarray(positions), bonded)
  states = jax.tree.map(lambda x: x[None], protein)

  def distance(positions):
    cb = np.asarray(backbone.virtual_cb(positions))
    return np.linalg.norm(cb[4] - cb[14])

  assert distance(positions) > 8.0
  for _ in range(4):
    frames, n_ca_c = jax.jit(steric.separated_chains)(
      states, bonded, np.zeros(20, bool), mask, partner
    )
    states = state.from_frames(frames, states.psi, bonded, n_ca_c)
  after = np.asarray(state.to_positions(states))[0]
  assert 3.2 < distance(after) < 4.6
  assert validity.num_clashes(after[None], bonded) == 0
  assert validity.c_n_max(after[None], bonded) < 1.5
  # Bonds of others, and of padding, do nothing.
  none = np.full(20, -1, np.int32)
  np.testing.assert_array_equal(
    steric.separation(positions, bonded, mask, disulphides=none),
    steric.separation(positions, bonded, mask),
  )
  # Those within their range stay as they are.
  near = np.concatenate([helix, helix + np.array([0.0, 0.0, 40.0], np.float32)])
  cb = np.asarray(backbone.virtual_cb(near))
  near[10:] += cb[4] - cb[14] + np.array([0.0, 0.0, 3.9], np.float32)
  alone = np.zeros(20, bool)
  alone[[4, 14]] = True
  shift = np.asarray(steric.separation(near, bonded, alone, disulphides=partner))
  plain = np.asarray(steric.separation(near, bonded, alone))
  np.testing.assert_allclose(shift, plain, atol=1e-6)

"""Overlapping residues, against a plain numpy loop over all pairs of atoms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import chain_closure, state, steric
from tempo_jax.geometry import rigid
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

  def atoms(frames):
    return np.asarray(state.to_positions(state.from_frames(frames, protein.psi, bonded)))

  def once(frames):
    frames, psi = jax.tree.map(lambda x: x[None], (frames, protein.psi))
    return jax.tree.map(lambda x: x[0], steric.separated_chains(frames, psi, bonded, cis, mask))

  closed = chain_closure.close_chains(moved, bonded, cis)
  assert validity.num_clashes(atoms(closed), bonded) > 0
  apart = jax.jit(once)(moved)
  assert validity.num_clashes(atoms(apart), bonded) == 0
  frame = atoms(apart)[None]
  low_high = validity.ca_ca_range(frame, bonded)
  assert not validity.is_broken(*low_high, validity.c_n_max(frame, bonded)).any()


def test_derivative_takes_the_motions_for_constants(crowded):
  crowd, bonded = crowded
  cis, mask = np.zeros(LENGTH, bool), np.ones(LENGTH, bool)

  def total(translation):
    frames = rigid.Rigid(crowd.frames.rotation[None], translation[None])
    psi = crowd.psi[None]
    return jnp.sum(steric.separated_chains(frames, psi, bonded, cis, mask).translation)

  gradient = jax.jit(jax.grad(total))(crowd.frames.translation)
  np.testing.assert_allclose(gradient, 1.0, atol=1e-5)

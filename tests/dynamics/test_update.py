import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers, update
from tempo_jax.dynamics import state as state_lib
from tempo_jax.protein import protein as protein_lib
from tests import builders

LENGTH = 6
LEVEL = level_lib.Level.of(builders.small_config(), 'fine')
NAMES = ('GLY', 'TYR', 'LYS', 'PRO', 'ASP', 'ALA')
TYPES = [protein_lib.RESIDUE_TYPES.index(name) for name in NAMES]
# Of these six, by hand.
FREE = np.array([[0] * 4, [1, 1, 0, 0], [1] * 4, [1, 0, 0, 0], [1, 1, 0, 0], [0] * 4], bool)
PER_ANGLE = np.ones((LENGTH, 4))
PER_ANGLE[[1, 4], 1] = 2.0

features = builders.numpy_jit(update.features)


@pytest.fixture(scope='module')
def protein():
  protein = builders.helix(LENGTH, chains=2)
  return dataclasses.replace(protein, residue_type=np.array(TYPES, np.int32))


@pytest.fixture(scope='module')
def window(protein):
  return builders.known_window(protein)


@pytest.fixture(scope='module')
def moved(window):
  return builders.moved_window(window)


def side_chains(num_frames, seed=0):
  """[T, L]: any angles, two in three known."""
  rng = np.random.default_rng(seed)
  known = FREE & (rng.random((num_frames, LENGTH, 4)) < 2 / 3)
  chi = np.where(known, rng.uniform(-np.pi, np.pi, known.shape), 0.0)
  return rotamers.SideChains(chi.astype(np.float32), known)


def n_ca_c_by_hand(positions):
  first, second = (positions[..., i, :] - positions[..., 1, :] for i in (0, 2))
  lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
  return np.arccos(np.sum(first * second, axis=-1) / lengths)


def test_features_are_relative_to_the_newest_frame(window, moved, protein):
  before = features(window, protein)
  frames = jax.tree.map(lambda x: x.astype(np.float64), window.states.frames)
  older, newest = frames[0], frames[1]
  inverse = np.swapaxes(newest.rotation, -1, -2)
  shift = np.einsum('lxy,ly->lx', inverse, older.translation - newest.translation)
  turn = (inverse @ older.rotation).reshape(LENGTH, 9)
  np.testing.assert_allclose(before[0, :, :9], turn, atol=1e-5)
  np.testing.assert_allclose(before[0, :, 9:12], shift, atol=1e-5)
  # The newest frame is the origin itself.
  at_rest = np.concatenate([np.eye(3).ravel(), np.zeros(3)])
  np.testing.assert_allclose(before[1, :, :12], np.tile(at_rest, (LENGTH, 1)), atol=1e-6)
  torsions = window.states.torsions
  np.testing.assert_allclose(before[..., 12:15], np.sin(torsions), atol=1e-6)
  np.testing.assert_allclose(before[..., 15:18], np.cos(torsions), atol=1e-6)
  # N-CA-C in units of MD's spread, 3.4 degrees about 112.8.
  angle = np.rad2deg(
    n_ca_c_by_hand(np.float64(builders.numpy_jit(state_lib.to_positions)(window.states)))
  )
  np.testing.assert_allclose(before[..., 18], (angle - 112.8) / 3.4, atol=1e-3)
  assert before.shape[-1] == 19
  np.testing.assert_allclose(features(moved, protein), before, atol=2e-5)


def test_side_chains_are_seen_as_phases_where_they_are_known(window, protein):
  given = side_chains(2)
  states = dataclasses.replace(window.states, side_chains=given)
  found = features(state_lib.Window(states, window.known), protein)
  np.testing.assert_array_equal(found[..., :19], features(window, protein))
  phase = PER_ANGLE * given.chi
  np.testing.assert_allclose(found[..., 19:23], given.known * np.sin(phase), atol=1e-6)
  np.testing.assert_allclose(found[..., 23:27], given.known * np.cos(phase), atol=1e-6)
  np.testing.assert_array_equal(found[..., 27:], given.known)


def test_the_anchor_is_seen_with_its_side_chains(window, protein):
  given = side_chains(3)
  states = dataclasses.replace(window.states, side_chains=given)
  states = jax.tree.map(lambda x: x[:2], states)
  aim = dataclasses.replace(
    window.states[0], side_chains=rotamers.SideChains(given.chi[2], given.known[2])
  )
  place = anchor_lib.Place(np.int32(anchor_lib.Kind.END), np.int32(4))
  found = features(state_lib.Window(states, window.known, state_lib.Anchor(aim, place)), protein)
  assert found.shape[-1] == 31 + 34
  # As a frame of the window that was it, apart from how far away it is.
  as_frame = state_lib.Window(
    jax.tree.map(lambda x, y: np.stack([x, y[1]]), aim, states), window.known
  )
  expected = features(as_frame, protein)[0]
  for frame in found:
    np.testing.assert_allclose(frame[:, 31:62], expected, atol=1e-6)
  nowhere = state_lib.Anchor(aim, anchor_lib.Place(np.int32(0), np.int32(0)))
  found = features(state_lib.Window(states, window.known, nowhere), protein)
  np.testing.assert_array_equal(found[..., 31:], 0.0)


def test_unknown_frames_have_no_features(window, protein):
  known = np.array([False, True])
  states = dataclasses.replace(window.states, side_chains=side_chains(2))
  out = features(state_lib.Window(states, known), protein)
  np.testing.assert_array_equal(out[0], 0.0)
  both = features(state_lib.Window(states, window.known), protein)
  np.testing.assert_array_equal(out[1], both[1])


@builders.numpy_jit
def _applied(newest, numbers, protein):
  expected = expected_lib.still(newest, LEVEL, len(numbers))
  states = update.apply_motions(newest, numbers, expected, protein)
  return states, update.motions(newest, states, expected, protein)


def test_numbers_are_motion_angle_and_turn(np_rng, window, protein):
  newest = window.states[1]
  numbers = np_rng.normal(size=(3, LENGTH, 8)).astype(np.float32)
  states, again = _applied(newest, numbers, protein)

  rotation = np.float64(newest.frames.rotation)
  shift = np.einsum('lxy,tly->tlx', rotation, 0.2 * numbers[..., :3])
  np.testing.assert_allclose(
    states.frames.translation, newest.frames.translation + shift, atol=1e-5
  )
  turn = Rotation.from_rotvec(0.1 * numbers[..., 3:6].reshape(-1, 3)).as_matrix()
  np.testing.assert_allclose(
    states.frames.rotation, rotation @ turn.reshape(3, LENGTH, 3, 3), atol=1e-5
  )
  # The angle is drawn anew, whatever it was, and is that of the atoms.
  angle = np.deg2rad(112.8 + 3.4 * numbers[..., 6])
  np.testing.assert_allclose(states.n_ca_c, angle, atol=1e-6)
  atoms = np.float64(builders.numpy_jit(state_lib.to_positions)(states))
  np.testing.assert_allclose(n_ca_c_by_hand(atoms), angle, atol=1e-4)
  # And back again, psi where no bond follows.
  np.testing.assert_allclose(again[..., :7], numbers[..., :7], atol=2e-4)
  free = ~protein.bonded
  np.testing.assert_allclose(again[:, free, 7], numbers[:, free, 7], atol=1e-4)
  assert again.shape == numbers.shape

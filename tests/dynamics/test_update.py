import jax
import numpy as np
import pytest

from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import update
from tests import builders

LENGTH = 6

features = builders.numpy_jit(update.features)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


@pytest.fixture(scope='module')
def window(protein):
  return builders.known_window(protein)


@pytest.fixture(scope='module')
def moved(window):
  return builders.moved_window(window)


def test_features_are_relative_to_the_newest_frame(window, moved):
  before = features(window)
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
  np.testing.assert_allclose(before[..., 15:], np.cos(torsions), atol=1e-6)
  np.testing.assert_allclose(features(moved), before, atol=2e-5)


def test_unknown_frames_have_no_features(window):
  known = np.array([False, True])
  out = features(state_lib.Window(window.states, known))
  np.testing.assert_array_equal(out[0], 0.0)
  np.testing.assert_array_equal(out[1], features(window)[1])

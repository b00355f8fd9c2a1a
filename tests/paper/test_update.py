import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import state as state_lib
from tempo_jax.paper import update
from tests import builders

LENGTH = 6
CONFIGS = {rule: builders.small_config(update_rule=rule) for rule in ('local', 'global')}
LEVEL = CONFIGS['local'].level['fine']

apply_local = builders.numpy_jit(lambda s, out, p: update.apply_local(s, out, LEVEL, p))
to_vector = builders.numpy_jit(state_lib.to_vector)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


@pytest.fixture(scope='module')
def window(protein):
  return builders.known_window(protein)


@pytest.fixture(scope='module')
def moved(window):
  return builders.moved_window(window)


def features(rule, window, protein):
  run = builders.numpy_jit(
    lambda window: update.encoder_inputs(CONFIGS[rule], window, window.states, protein)[0]
  )
  return run(window)


def test_outputs():
  assert update.num_outputs(CONFIGS['local']) == 8
  assert update.num_outputs(CONFIGS['global']) == 13


def test_global_features_are_the_vector(window, moved, protein):
  before = features('global', window, protein)
  np.testing.assert_allclose(before, to_vector(window.states), atol=1e-6)
  assert np.abs(features('global', moved, protein) - before).max() > 1.0


@pytest.mark.parametrize('rule', ['local', 'global'])
def test_unknown_frames_have_no_features(window, protein, rule):
  known = np.array([False, True])
  out = features(rule, state_lib.Window(window.states, known), protein)
  np.testing.assert_array_equal(out[0], 0.0)
  np.testing.assert_array_equal(out[1], features(rule, window, protein)[1])


def test_local_update_is_composed_on_the_right_in_units_of_the_spread(np_rng, protein, window):
  newest = window.states[1]
  output = np_rng.normal(size=(2, LENGTH, 8)).astype(np.float32)
  after = apply_local(newest, output, protein)
  rotation = np.asarray(newest.frames.rotation, np.float64)
  shift = np.einsum('lxy,tly->tlx', rotation, 0.2 * output[..., :3])
  np.testing.assert_allclose(after.frames.translation, newest.frames.translation + shift, atol=1e-5)
  turn = Rotation.from_rotvec(0.1 * output[..., 3:6].reshape(-1, 3)).as_matrix()
  np.testing.assert_allclose(
    after.frames.rotation, rotation @ turn.reshape(2, LENGTH, 3, 3), atol=1e-5
  )
  # The angle N-CA-C is carried along.
  np.testing.assert_allclose(after.n_ca_c, np.stack([newest.n_ca_c] * 2), atol=1e-6)
  # psi turns where it is free: at the ends of the two chains.
  free = ~protein.bonded
  turn = np.angle(np.exp(1j * (after.psi - newest.psi)))
  expected = np.arctan2(output[..., 6], 1.0 + output[..., 7])
  np.testing.assert_allclose(turn[:, free], expected[:, free], atol=1e-4)


def test_zero_output_is_no_motion(protein, window):
  newest = window.states[1]
  after = apply_local(newest, np.zeros((2, LENGTH, 8), np.float32), protein)
  for t in range(2):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), after[t], newest)
  vector = to_vector(newest)
  after = builders.numpy_jit(update.apply_global)(newest, np.zeros((2, LENGTH, 13), np.float32))
  np.testing.assert_allclose(after, [vector, vector], atol=1e-6)


def test_gradient_where_the_turn_of_psi_has_no_direction(protein, window):
  output = np.zeros((2, LENGTH, 8), np.float32)
  output[..., 7] = -1.0  # (0, 0) on the circle

  def total(output):
    return update.apply_local(window.states[1], output, LEVEL, protein).psi.sum()

  assert np.isfinite(builders.numpy_jit(jax.grad(total))(output)).all()


def test_rotations_stay_rotations(np_rng, protein, window):
  """Over 300 updates, the length of a long rollout."""
  outputs = np_rng.normal(size=(300, 2, LENGTH, 8)).astype(np.float32)

  def body(state, output):
    return update.apply_local(state, output, LEVEL, protein)[1], None

  state, _ = builders.numpy_jit(lambda s, o: jax.lax.scan(body, s, o))(window.states[1], outputs)
  rotation = state.frames.rotation
  np.testing.assert_allclose(
    np.swapaxes(rotation, -1, -2) @ rotation, np.broadcast_to(np.eye(3), rotation.shape), atol=1e-6
  )

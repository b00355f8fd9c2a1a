import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import transitions
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.paper import transition
from tests import builders

LENGTH = 12
CONFIGS = {rule: builders.small_config(update_rule=rule) for rule in ('local', 'global')}
SIGMA, TEMPERATURE = np.float32(0.05), np.float32(320.0)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


def make_run(config):
  predict = transition.make_predictor(config, level_lib.Level.of(config, 'fine'))

  def run(params, positions, protein, sigma, temperature, rng):
    state = state_lib.of_model(config, positions, protein)
    window = state_lib.start_window(state, 2)
    prediction = predict(params, window, protein, sigma, temperature, rng)
    states = prediction.window.states
    return prediction, state_lib.to_positions(states)

  return builders.numpy_jit(run)


RUN = {rule: make_run(config) for rule, config in CONFIGS.items()}


def call(rule, positions, protein, params=None, sigma=SIGMA, seed=0):
  params = builders.params(CONFIGS[rule]) if params is None else params
  positions = positions.astype(np.float32)
  return RUN[rule](params, positions, protein, sigma, TEMPERATURE, jax.random.key(seed))


@pytest.mark.parametrize('rule', ['local', 'global'])
def test_prediction(protein, rule):
  prediction, positions = call(rule, protein.positions, protein)
  assert positions.shape == (2, LENGTH, 4, 3)
  np.testing.assert_array_equal(prediction.window.known, [True, True])
  assert 0.01 < np.abs(positions - protein.positions).max() < 20.0
  vector = builders.numpy_jit(state_lib.to_vector)(prediction.window.states)
  if rule == 'local':
    np.testing.assert_array_equal(prediction.vector, vector)
  else:
    # The paper's loss compares the numbers before they are projected.
    norm = np.linalg.norm(prediction.vector[..., :4], axis=-1)
    assert np.abs(norm - 1.0).max() > 0.01
    np.testing.assert_allclose(prediction.vector[..., 4:7], vector[..., 4:7], atol=1e-6)


@pytest.mark.parametrize('rule', ['local', 'global'])
def test_untrained_model_without_noise_stands_still(protein, rule):
  params = builders.zero_head(builders.params(CONFIGS[rule]))
  idealised = builders.numpy_jit(
    lambda x: state_lib.to_positions(state_lib.of_model(CONFIGS[rule], x, protein))
  )(protein.positions)
  _, positions = call(rule, protein.positions, protein, params, sigma=np.float32(0.0))
  np.testing.assert_allclose(positions, [idealised, idealised], atol=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_local_step_is_equivariant(protein, seed):
  _, before = call('local', protein.positions, protein)
  rotation, shift = builders.random_motion(seed, translation=100.0)
  _, after = call('local', protein.positions @ rotation.T + shift, protein)
  undone = (after.astype(np.float64) - shift) @ rotation
  np.testing.assert_allclose(undone, before, atol=1e-4)


def test_local_step_is_not_equivariant_under_reflection(protein):
  _, before = call('local', protein.positions, protein)
  mirror = np.float32([1.0, -1.0, 1.0])
  _, after = call('local', protein.positions * mirror, protein)
  assert np.abs(after * mirror - before).max() > 0.05
  # Nor without the noise, which has no handedness.
  still = {'sigma': np.float32(0.0)}
  _, before = call('local', protein.positions, protein, **still)
  _, after = call('local', protein.positions * mirror, protein, **still)
  assert np.abs(after * mirror - before)[:, :, :3].max() > 0.05


def test_global_step_is_not_equivariant(protein):
  """The test above can fail: the paper's update is tied to the axes."""
  _, before = call('global', protein.positions, protein)
  rotation, _ = builders.random_motion(0)
  _, after = call('global', protein.positions @ rotation.T, protein)
  assert np.abs(after @ rotation - before).max() > 0.1


def test_the_key_decides(protein):
  results = [call('local', protein.positions, protein, seed=seed)[1] for seed in (0, 0, 1)]
  np.testing.assert_array_equal(results[0], results[1])
  assert np.abs(results[2] - results[0]).max() > 0.01


def test_a_step_is_noise_then_drift(protein):
  """With a network that returns what it was told, in place of the translation."""
  config = CONFIGS['local']

  class Network:
    def apply(self, variables, noised, clean, protein, sigma, dt_ns, temperature):
      output = jnp.stack([sigma, dt_ns, temperature / 100.0, *jnp.zeros(5)])
      return jnp.broadcast_to(output, (2, LENGTH, 8))

  rng = jax.random.key(4)

  @builders.numpy_jit
  def run(positions):
    step = transition.make_step(config, level_lib.Level.of(config, 'coarse'), Network())
    window = state_lib.start_window(state_lib.from_positions(positions, protein.bonded), 2)
    level = config.level['coarse']
    noised = state_lib.perturb(window.states, SIGMA, level, protein, rng)
    return step({}, window, protein, SIGMA, TEMPERATURE, rng).states, noised[-1]

  states, noised = run(protein.positions)
  local = np.float32([SIGMA, config.level.coarse.dt_ns, 3.2]) * config.level.coarse.translation_std
  expected = noised.frames.translation + noised.frames.rotation @ local
  for t in range(2):
    np.testing.assert_allclose(states.frames.translation[t], expected, atol=1e-5)
    np.testing.assert_allclose(states.frames.rotation[t], noised.frames.rotation, atol=1e-5)


def test_fresh_parameters_have_a_zero_head():
  config = CONFIGS['local']
  # The rest of the network is not compiled.
  init = builders.numpy_jit(lambda rng: transitions.init_params(config, rng)['head_out'])
  head = init(jax.random.key(0))
  assert head['kernel'].shape == (16, 2, 8)
  jax.tree.map(lambda x: np.testing.assert_array_equal(x, 0.0), head)

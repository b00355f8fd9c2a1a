import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.samplers import rollout, schedule
from tests import builders
from tests.samplers import fake_step

LENGTH = 12
CONFIG = builders.small_config({'only': 1.0})
SIGMA, TEMPERATURE = np.float32(CONFIG.level.only.noise_sample), np.float32(320.0)


def without_noise():
  config = config_lib.from_dict(config_lib.to_dict(CONFIG))
  config.level.only.noise_sample = 0.0
  return config_lib.freeze(config)


def roll(config, params, window, protein, num_frames, rng):
  """States [num_frames, L] that follow a window."""
  params = rollout.stacked({'only': params}, ['only'])
  run = rollout.Run(config, params, protein, TEMPERATURE, rng)
  length = window.known.shape[0]
  planner = schedule.Planner([], length, length)
  planner.roll_out(0, range(length), num_frames, length - 1, anchor_lib.Kind.NONE)
  rows = rollout.with_room(window.states, window.known, planner.num_rows)
  found = rollout.compute(run, ['only'], planner.ticks(1), *rows)
  return found[np.array(planner.states)]


seven_frames = builders.numpy_jit(
  lambda config, params, window, protein, rng: roll(config, params, window, protein, 7, rng),
  static_argnums=0,
)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


@pytest.fixture(scope='module')
def window(protein):
  return builders.numpy_jit(
    lambda: state_lib.start_window(state_lib.from_positions(protein.positions, protein.bonded), 2)
  )()


def test_untrained_model_without_noise_stands_still(protein, window):
  params = builders.zero_head(builders.params(CONFIG))
  states = seven_frames(without_noise(), params, window, protein, jax.random.key(0))
  start = window.states[-1].frames
  for t in range(7):
    np.testing.assert_allclose(states.frames.translation[t], start.translation, atol=1e-4)
    np.testing.assert_allclose(states.frames.rotation[t], start.rotation, atol=1e-5)


def test_equals_a_loop_over_steps(protein, window):
  step = builders.make_step(CONFIG, 'only')
  params, rng = builders.params(CONFIG), jax.random.key(1)
  states = seven_frames(CONFIG, params, window, protein, rng)
  run = builders.numpy_jit(lambda w, rng: step(params, w, protein, SIGMA, TEMPERATURE, rng))
  current, expected = window, []
  of_level = jax.random.fold_in(rng, 0)
  for key in jax.vmap(lambda k: jax.random.fold_in(of_level, k))(np.arange(4)):
    current = run(current, key)
    expected += [current.states[t] for t in range(2)]
  assert states.psi.shape == (7, LENGTH)
  for t in range(7):
    difference = states.frames.translation[t] - expected[t].frames.translation
    # The same operations in another compilation.
    assert np.abs(difference).max() < 1e-3
    np.testing.assert_allclose(states.frames.rotation[t], expected[t].frames.rotation, atol=1e-3)
  moves = np.diff(states.frames.translation, axis=0)
  assert (np.abs(moves).max(axis=(1, 2)) > 0.02).all()


@pytest.mark.parametrize('frames_per_pass', [1, 2, 3])
@pytest.mark.parametrize('num_frames', [1, 2, 5])
def test_number_and_times_of_frames(monkeypatch, window, protein, frames_per_pass, num_frames):
  monkeypatch.setattr(transitions, 'make_step', fake_step.clock)
  window = state_lib.start_window(window.states[-1], frames_per_pass)
  params = fake_step.params(CONFIG)['only']
  states = builders.numpy_jit(
    lambda w: roll(CONFIG, params, w, protein, num_frames, jax.random.key(0))
  )(window)
  moved = states.frames.translation - np.asarray(window.states.frames.translation[-1])
  np.testing.assert_allclose(
    moved[:, 0], np.arange(1, num_frames + 1)[:, None] * [1.0, 0.0, 0.0], atol=1e-5
  )


@pytest.mark.slow  # Compiles a gradient through four passes.
def test_gradient_through_four_passes_of_256_residues_is_finite():
  """With padding on one spot, one residue on top of another, and no noise to part them.

  Two residues are joined by a disulphide, which has a parameter of its own.
  """
  partner = np.full(240, -1, np.int32)
  partner[[20, 60]] = 60, 20
  protein = dataclasses.replace(builders.helix(240), disulphides=partner)
  protein = builders.pad(protein, 256)
  protein.positions[240:] = 0.0
  protein.positions[101] = protein.positions[100]
  config = without_noise()

  def total(params, positions):
    state = state_lib.from_positions(positions, protein.bonded)
    window = state_lib.start_window(state, 2)
    states = roll(config, params, window, protein, 8, jax.random.key(0))
    return jnp.mean(states.frames.translation[:, :240] ** 2)

  gradients = builders.numpy_jit(jax.grad(total, argnums=(0, 1)))(
    builders.params(CONFIG), protein.positions
  )
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(leaf).all(), path
    assert np.abs(leaf).max() > 0.0, path

"""The network, its update and the loss can learn: one window of real MD by heart."""

import pathlib

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import optax
import pytest

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.store import batching
from tempo_jax.training import examples as examples_lib
from tempo_jax.training import step_spread, train_state, train_step
from tempo_jax.trajectory import backbone_atoms
from tests import builders
from tests.training import examples

_DATA = pathlib.Path(__file__).parents[2] / 'data_prep' / 'simulated' / '2jof'
_STEPS = 200
_CHUNK = 50


@pytest.fixture(scope='module')
def window():
  """A batch of one example: four frames of Trp-cage, 10 ps apart."""
  traj = mdtraj.load(str(_DATA / '2jof_R1.xtc'), top=str(_DATA / '2jof.pdb'))[100:104]
  np.testing.assert_allclose(np.diff(traj.time), 10.0, rtol=1e-4)
  protein, atom_index = backbone_atoms.select(traj, '2jof')
  batch = batching.Batch(
    protein.arrays,
    backbone_atoms.positions(traj, protein, atom_index),
    np.int32(0),
    np.float32(320.0),
    np.float32(0.01),
  )
  return jax.tree.map(lambda x: np.asarray(x)[None], batch)


@pytest.fixture(scope='module')
def config(window):
  config = examples.experiment(
    'nowhere', unroll=1, start_probability=0.0, rematerialise=False, ema_decay=0.0
  )
  config.model.update(
    {'objective': 'mse', 'closure': False, 'anchors': 'start', 'reference': False}
  )
  config.model.encoder.update(channels=32, num_heads=2, num_neighbours=6)
  fine = config.model.level.fine
  fine.update(noise_min=0.0, noise_max=0.0)
  fine.update(step_spread.measure(config, [window]))
  return config_lib.freeze(config)


@pytest.fixture(scope='module')
def distances(config, window):
  """Parameters -> [2] Å: CA RMSD of the predicted frames from MD's, superposed by mdtraj."""
  level = level_lib.Level.of(config.model, 'fine')
  protein, positions = jax.tree.map(lambda x: x[0], (window.protein, window.positions))

  @builders.numpy_jit
  def predict(params):
    still = examples_lib.without_tumbling(positions, protein.mask)
    states = state_lib.from_positions(still[:2], protein.bonded)
    known = state_lib.Window(states, jnp.ones(2, bool))
    step = transitions.make_step(config.model, level)
    following = step(params, known, protein, 0.0, window.temperature_K[0], jax.random.key(0))
    return state_lib.to_positions(following.states)

  def rmsd(a, b):
    one, other = (mdtraj.Trajectory(x[None, :, 1] / 10.0, None) for x in (a, b))
    return 10.0 * mdtraj.rmsd(one, other)[0]

  def measure(params):
    return np.array([rmsd(*pair) for pair in zip(predict(params), positions[2:], strict=True)])

  return measure


@pytest.mark.slow  # Trains 200 steps.
def test_learns_one_window_of_trp_cage_by_heart(window, config, distances):
  level = level_lib.Level.of(config.model, 'fine')
  optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, _STEPS))
  state = train_state.create(transitions.init_params(config.model, jax.random.key(0)), optimizer)
  assert distances(state.params).min() > 0.3

  @builders.numpy_jit
  def many_steps(state):
    def step(state, _):
      rng = jax.random.key(1)
      return train_step.train_step(config, optimizer, state, level, window, rng)[0], None

    return jax.lax.scan(step, state, length=_CHUNK)[0]

  for _ in range(_STEPS // _CHUNK):
    state = many_steps(state)
  assert distances(state.params).max() < 0.1

"""Training of a model of any time step: lags and solvents of examples, and what they teach."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tempo_jax import config as config_lib
from tempo_jax.configs import common
from tempo_jax.dynamics import level as level_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import batching, lag_windows
from tempo_jax.store import store as store_lib
from tempo_jax.training import examples as examples_lib
from tempo_jax.training import objectives, train_step
from tests import builders
from tests.store import synthetic
from tests.training import examples

UNKNOWN, EXPLICIT, IMPLICIT = range(3)


@pytest.fixture(scope='module')
def config():
  experiment = common.experiment(config_lib.from_dict(config_lib.to_dict(MODEL)))
  experiment.train.draws = 1
  return config_lib.freeze(experiment)


MODEL = builders.any_step_config(0.01, 5.0, passes=1)


@pytest.fixture(scope='module')
def batch(config, tmp_path_factory):
  """Of two proteins, one of them in water every 0.5 ns, the other in a continuum every 10 ps."""
  path = tmp_path_factory.mktemp('store')
  with store_lib.StoreWriter(path) as writer:
    for name, dt_ns, solvent in (('quick', 0.01, 'implicit'), ('slow', 0.5, 'explicit')):
      entry = synthetic.entry(name, 8, dt_ns, solvent=solvent)
      writer.add(entry, examples.positions(8, 120, seed=len(name)))
  source = lag_windows.LagWindowSource(
    store_lib.Store(path),
    config.model.lags_ns,
    objectives.frames_per_window(config),
    newest=config.model.window - 1,
    balance=1.0,
  )
  loader = batching.Loader(source, 4, buckets=(8,), with_stretch=True)
  for step in range(50):
    found = loader.batch(step)[0]
    if len(set(found.dt_ns)) == 4 and len(set(found.protein.solvent)) == 2:
      return found
  raise AssertionError('no batch of four lags')


@pytest.fixture(scope='module')
def gradient_of(config):
  level = level_lib.Level.of(config.model, 'any')

  @builders.numpy_jit
  def run(params, batch):
    return train_step.loss_and_gradient(
      config, level, params, batch, jnp.int32(0), jax.random.key(1)
    )

  return run


@pytest.fixture(scope='module')
def params():
  return builders.params(MODEL)


@pytest.fixture(scope='module')
def of_batch(gradient_of, params, batch):
  return gradient_of(params, batch)


def table(gradient):
  """[3, D] of the solvents, wherever the network keeps them."""
  (found,) = (
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
    if [key.key for key in path][-2:] == ['condition', 'solvent']
  )
  return found


def test_a_step_on_mixed_lags_teaches_the_solvent(of_batch):
  metrics, gradient = of_batch
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((metrics, gradient)))
  moved = np.abs(table(gradient)).max(axis=-1)
  assert moved[EXPLICIT] > 0.0
  assert moved[IMPLICIT] > 0.0


def test_every_example_has_the_lag_of_its_own(gradient_of, params, batch, of_batch):
  """Neither the level's time step, nor that of another example."""
  other = dataclasses.replace(batch, dt_ns=np.roll(batch.dt_ns, 1))
  assert gradient_of(params, other)[0]['loss'] != of_batch[0]['loss']
  level_lags = dataclasses.replace(batch, dt_ns=np.full(4, 0.01, np.float32))
  assert gradient_of(params, level_lags)[0]['loss'] != of_batch[0]['loss']


def test_the_solvent_of_some_examples_is_hidden():
  protein = builders.helix(3)

  @builders.numpy_jit
  def run(solvent, rngs):
    example = dataclasses.replace(protein, solvent=solvent)
    return jax.vmap(lambda rng: examples_lib.with_hidden_solvent(example, rng).solvent)(rngs)

  rngs = jax.random.split(jax.random.key(0), 4000)
  for solvent in (EXPLICIT, IMPLICIT):
    found = run(jnp.int32(solvent), rngs)
    assert set(found) == {UNKNOWN, solvent}
    assert stats.binomtest(int(np.sum(found == UNKNOWN)), 4000, 0.1).pvalue > 1e-3
  assert set(run(jnp.int32(UNKNOWN), rngs)) == {UNKNOWN}
  # What says nothing is in water.
  drawn = [int(examples_lib.with_hidden_solvent(protein, rng).solvent) for rng in rngs[:8]]
  assert protein.solvent is None
  assert EXPLICIT in drawn
  assert set(drawn) <= {UNKNOWN, EXPLICIT}
  assert protein_lib.SOLVENTS[EXPLICIT] == 'explicit'

"""The training step compiles for accelerators that this machine does not have."""

import functools

import jax
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.training import optimizer as optimizer_lib
from tempo_jax.training import train_state, train_step
from tests import builders
from tests.training import examples


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('store') / 'store'
  store = examples.write_store(path, side_chains=True)
  return config_lib.freeze(examples.experiment(store, side_chains=True, unroll=1))


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_train_step_lowers_for_accelerators(config, platform):
  optimizer = optimizer_lib.make_optimizer(config.train)
  state = jax.eval_shape(lambda p: train_state.create(p, optimizer), builders.params(config.model))
  step = jax.jit(functools.partial(train_step.train_step, config, optimizer))
  exported = jax.export.export(step, platforms=[platform])(
    state,
    level_lib.Level.of(config.model, 'fine'),
    examples.batch(config, 'fine'),
    jax.random.key(0),
  )
  assert exported.platforms == (platform,)
  # What goes in as state comes out as state, so the step can be called again.
  size = len(jax.tree.leaves(state))
  assert exported.out_avals[:size] == exported.in_avals[:size]

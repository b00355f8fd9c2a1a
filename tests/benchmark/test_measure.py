"""The rows of each mode."""

import jax
import jax.numpy as jnp
import pytest

from tempo_jax.benchmark import measure, workloads
from tempo_jax.benchmark.workloads import Workload
from tempo_jax.errors import InputError
from tests import builders
from tests.benchmark import random_walk, rows


@pytest.fixture(autouse=True)
def _small_peak(monkeypatch):
  monkeypatch.setattr(measure, '_PEAK_SIZE', {'cpu': 64})


def test_rows_of_sampling(monkeypatch):
  random_walk.step_at_random(monkeypatch)
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  params = dict.fromkeys(config.levels, jnp.float32(1.0))
  model = workloads.model_lib.Model('walk', config, params)
  monkeypatch.setattr(workloads, 'load_model', lambda name: model)
  workload = Workload('sample/walk', 'sample', 5, 30, num_replicas=2, model='walk', repeats=3)
  row = measure.row(workload)
  rows.check(row, workload)
  assert row['name'] == 'sample/walk'
  assert row['frames_per_s'] == pytest.approx(60 / row['steady_s'])
  assert row['compile_s'] > 0

  workload = Workload('stream/walk', 'stream', 5, 30, num_replicas=2, model='walk', repeats=1)
  row = measure.row(workload)
  rows.check(row, workload)
  assert row['frames_per_s'] == pytest.approx(60 / row['steady_s'])
  assert row['compile_s'] > 0


def test_row_of_training(monkeypatch):
  # The wiring, not the step: that is tested with training, and takes long to compile.
  def step_of(config, optimizer):
    del optimizer
    assert config.data.batch_size == 8

    def step(state, level, batch, rng):
      del level, rng
      loss = jnp.sum(batch.positions) + jnp.sum(batch.anchor)
      return state, {'loss': jax.lax.psum(loss, 'd')}

    return jax.pmap(step, axis_name='d', in_axes=(None, None, 0, None), out_axes=None)

  config = builders.generative_config({'coarse': 0.2, 'fine': 0.01}, anchors='both')
  model = workloads.model_lib.Model(
    'small', config, {name: {'w': jnp.ones(3)} for name in config.levels}
  )
  monkeypatch.setattr(workloads, 'load_model', lambda name: model)
  monkeypatch.setattr(measure.parallel, 'map_train_step', step_of)
  workload = Workload('train/small', 'train', 5, 30, model='small', batch_size=8, repeats=2)
  row = measure.row(workload)
  rows.check(row, workload)
  assert row['num_frames'] == 5  # two windows of two frames, and the anchor
  assert row['tokens_per_s'] == pytest.approx(8 * 5 * 5 / row['steady_s'])
  with pytest.raises(InputError, match='does not divide'):
    measure.row(Workload('train/small', 'train', 5, 30, model='small', batch_size=3))


def test_row_of_evaluation():
  workload = Workload('evaluate/metrics', 'evaluate', 12, 30, repeats=2)
  row = measure.row(workload)
  rows.check(row, workload)
  assert row['flop'] is None
  assert row['frames_per_s'] == pytest.approx(30 / row['steady_s'])

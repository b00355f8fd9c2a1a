"""The rows of each mode."""

import functools

import pytest

from tempo_jax.benchmark import measure
from tempo_jax.benchmark.workloads import Workload
from tempo_jax.errors import InputError
from tests import builders
from tests.benchmark import random_walk, rows

row_of = functools.partial(measure.row, peak_size=64)


def test_rows_of_sampling(tmp_path):
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  model = random_walk.save(tmp_path / 'walk', config)
  workload = Workload('sample/walk', 'sample', 5, 30, num_replicas=2, model=model, repeats=3)
  row = row_of(workload)
  rows.check(row, workload)
  assert row['name'] == 'sample/walk'
  assert row['frames_per_s'] == pytest.approx(60 / row['steady_s'])
  assert row['compile_s'] > 0

  workload = Workload('stream/walk', 'stream', 5, 30, num_replicas=2, model=model, repeats=1)
  row = row_of(workload)
  rows.check(row, workload)
  assert row['frames_per_s'] == pytest.approx(60 / row['steady_s'])
  assert row['compile_s'] > 0


def test_row_of_training(tmp_path):
  config = builders.generative_config({'coarse': 0.2, 'fine': 0.01}, anchors='both')
  model = random_walk.save(tmp_path / 'walk', config)
  workload = Workload('train/walk', 'train', 5, 30, model=model, batch_size=8, repeats=2)
  row = row_of(workload)
  rows.check(row, workload)
  assert row['num_frames'] == 5  # two windows of two frames, and the anchor
  assert row['tokens_per_s'] == pytest.approx(8 * 5 * 5 / row['steady_s'])
  with pytest.raises(InputError, match='does not divide'):
    row_of(Workload('train/walk', 'train', 5, 30, model=model, batch_size=3))


def test_row_of_evaluation():
  workload = Workload('evaluate/metrics', 'evaluate', 12, 30, repeats=2)
  row = row_of(workload)
  rows.check(row, workload)
  assert row['flop'] is None
  assert row['frames_per_s'] == pytest.approx(30 / row['steady_s'])

"""What every row holds."""

import json

import numpy as np
import pytest

KEYS = {
  *('name', 'length', 'num_frames', 'num_replicas', 'compile_s', 'steady_s', 'cpu_s'),
  *('frames_per_s', 'peak_rss_mib', 'flop', 'flop_per_s', 'device', 'versions'),
}
EXTRA_KEYS = {
  *('steady_s_all', 'steady_s_spread', 'cpu_s_per_frame', 'peak_share', 'peak_flop_per_s'),
  *('passes', 'precision', 'segment_batch_size', 'model'),
  *('device_memory_mib', 'tokens_per_s', 'windows_per_s', 'batch_size'),
  *('hlo_lines', 'hlo_fusions', 'kernels'),
}


def check(row, workload):
  assert set(row) >= KEYS
  assert set(row) <= KEYS | EXTRA_KEYS
  assert (row['length'], row['num_replicas']) == (workload.length, workload.num_replicas)
  assert len(row['steady_s_all']) == workload.repeats
  assert row['steady_s'] == np.median(row['steady_s_all']) > 0
  assert row['steady_s_spread'] == pytest.approx(np.ptp(row['steady_s_all']))
  assert row['cpu_s'] > 0
  assert row['peak_rss_mib'] > 50
  assert row['device']['platform'] == 'cpu'
  assert 'jax' in row['versions']
  if row['flop'] is not None:
    assert row['flop_per_s'] == pytest.approx(row['flop'] / row['steady_s'])
    assert row['peak_share'] == pytest.approx(row['flop_per_s'] / row['peak_flop_per_s'])
  json.dumps(row)

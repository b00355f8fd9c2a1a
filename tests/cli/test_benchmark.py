"""`tempo-jax benchmark`: flags, processes, files."""

import json
import stat

import pytest

from tempo_jax.benchmark import measure as benchmark_measure
from tempo_jax.benchmark import workloads as benchmark_workloads
from tempo_jax.benchmark.workloads import Workload
from tempo_jax.cli import benchmark
from tempo_jax.errors import InputError
from tests.benchmark import rows
from tests.cli import commands


def test_a_process_of_its_own():
  """The one real child: its memory is its own, its result comes back."""
  held = bytearray(600 * 1024**2)
  held[::4096] = b'x' * len(held[::4096])
  workload = Workload('data/windows', 'data', 6, 20, repeats=2)
  row = benchmark.measure(workload)
  rows.check(row, workload)
  assert row['windows_per_s'] * 8 == pytest.approx(row['frames_per_s'])
  assert row['peak_rss_mib'] < benchmark_measure._peak_rss_mib() - 100


@pytest.mark.parametrize(
  ('script', 'expected'),
  [
    ('echo noise >&2; echo "error: no model at x" >&2; exit 2', '^no model at x$'),
    ('kill -9 $$', 'SIGKILL'),
  ],
)
def test_a_process_that_fails_is_reported(tmp_path, monkeypatch, script, expected):
  python = tmp_path / 'python'
  python.write_text(f'#!/bin/sh\n{script}\n')
  python.chmod(python.stat().st_mode | stat.S_IXUSR)
  monkeypatch.setattr(benchmark.sys, 'executable', str(python))
  with pytest.raises(benchmark.MeasurementError, match=expected):
    benchmark.measure(Workload('data/windows', 'data', 6, 20))


def _row(workload, seconds):
  return {
    'name': workload.name,
    'length': workload.length,
    'num_frames': workload.num_frames,
    'num_replicas': workload.num_replicas,
    'steady_s': seconds,
    'steady_s_spread': 0.1,
    'model': workload.model,
    'flop': None,
  }


def _values(tmp_path, *args):
  passes = benchmark_workloads.config_of('default').passes
  start = (f'--out={tmp_path}/new/b.json', '--models=default', f'--passes={passes}')
  return commands.parse(benchmark, *start, *args)


def test_writes_rows_table_and_plot(tmp_path, capsys):
  values = _values(tmp_path, '--lengths=16,32,64', '--plot')
  code = benchmark.benchmark(values, lambda workload: _row(workload, 1e-3 * workload.length**2))
  assert code == 0
  found = json.loads((tmp_path / 'new/b.json').read_text())
  assert [row['length'] for row in found] == [16, 32, 64]
  picture = (tmp_path / 'new/b.svg').read_text()
  assert 'sample/default, 400 frames: length^2.00' in picture
  said = capsys.readouterr().out.splitlines()
  assert said[1].split() == ['sample/default', 'default', '16', '400', '1', '0.2560', '0.1000']


def test_one_length_is_not_drawn(tmp_path):
  values = _values(tmp_path, '--lengths=16', '--plot')
  assert benchmark.benchmark(values, lambda workload: _row(workload, 1.0)) == 0
  assert not (tmp_path / 'new/b.svg').exists()


def test_a_failure_does_not_stop_the_others(tmp_path, capsys):
  def measure(workload):
    if workload.length == 16:
      raise benchmark.MeasurementError('no memory')
    return _row(workload, 1.0)

  assert benchmark.benchmark(_values(tmp_path, '--lengths=8,16,32'), measure) == 1
  found = json.loads((tmp_path / 'new/b.json').read_text())
  assert [row['length'] for row in found] == [8, 32]
  assert capsys.readouterr().err == 'error: sample/default, 16 residues: no memory\n'


def test_interrupted_it_keeps_its_rows(tmp_path):
  def measure(workload):
    if workload.length == 32:
      raise KeyboardInterrupt
    return _row(workload, 1.0)

  with pytest.raises(KeyboardInterrupt):
    benchmark.benchmark(_values(tmp_path, '--lengths=8,16,32,64'), measure)
  found = json.loads((tmp_path / 'new/b.json').read_text())
  assert [row['length'] for row in found] == [8, 16]


def test_workloads_and_their_names():
  values = commands.parse(
    benchmark, '--out=b', '--lengths=64,128', '--modes=sample,train,data,evaluate'
  )
  found = benchmark.workloads(values)
  names = [
    *('sample/default', 'sample/paper_size', 'sample/paper_size/passes1'),
    *('train/default', 'train/paper_size', 'data/windows', 'evaluate/metrics'),
  ]
  bundled = benchmark_workloads.config_of('default')
  if bundled.objective != 'mse' and bundled.passes > 1:
    names.insert(1, 'sample/default/passes1')
  assert sorted(workload.name for workload in found if workload.length == 64) == sorted(names)
  assert len(found) == 2 * len(names)
  values = commands.parse(
    benchmark, '--models=paper_size', '--num_replicas=1,3', '--passes=4,2', '--lengths=8',
    '--segment_batch_size=5', '--precision=bfloat16', '--modes=stream,train',
  )  # fmt: skip
  found = benchmark.workloads(values)
  assert {workload.precision for workload in found} == {'bfloat16'}
  assert [(c.name, c.num_replicas, c.passes, c.segment_batch_size) for c in found] == [
    *(
      (f'stream/paper_size{name}/bfloat16/segments5', replicas, passes, 5)
      for replicas in (1, 3)
      for name, passes in (('', None), ('/passes2', 2))
    ),
    ('train/paper_size/bfloat16', 1, None, None),
  ]


@pytest.mark.parametrize(
  ('args', 'expected'),
  [
    (['--out='], '--out is missing'),
    (['--out=.'], r'ends in \.json'),
    (['--out=b.svg'], r'ends in \.json'),
    (['--lengths=64,x'], "--lengths: 'x' is not a whole number of at least 2"),
    (['--lengths=1'], "'1' is not"),
    (['--lengths='], '--lengths is empty'),
    (['--num_replicas=0'], '--num_replicas'),
    (['--passes=-1'], '--passes'),
    (['--precision=float16'], "--precision: 'float16' is none of float32, bfloat16"),
    (['--models=nowhere'], 'no model at nowhere'),
    (['--modes=sample,sing'], "'sing' is none of sample, stream, train, data, evaluate"),
    (['--modes='], 'nothing to measure'),
    (['--modes=data', '--num_frames=7'], 'data needs at least 8'),
  ],
)
def test_mistakes(tmp_path, args, expected):
  with pytest.raises(InputError, match=expected):
    benchmark.benchmark(_values(tmp_path, *args), lambda workload: pytest.fail('it measured'))


def test_passes_of_a_model_without_a_head_are_refused(tmp_path):
  commands.save_model(tmp_path / 'small')
  values = _values(tmp_path, f'--models={tmp_path}/small', '--passes=2')
  with pytest.raises(InputError, match='--passes'):
    benchmark.benchmark(values)


def test_a_workload_that_is_none():
  with pytest.raises(InputError, match='--workload'):
    benchmark.measure_here('{"name": 1}')

"""experiments.benchmark: flags, rows, and counted and counted operations."""

import functools
import json
import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax import transitions
from tempo_jax.benchmark import flops as benchmark_flops
from tempo_jax.benchmark import measure as benchmark_measure
from tempo_jax.benchmark import workloads as benchmark_workloads
from tempo_jax.benchmark.workloads import Workload
from tempo_jax.cli import benchmark
from tempo_jax.dynamics import update
from tempo_jax.errors import InputError
from tempo_jax.samplers import coarse_to_fine
from tests import builders, peptides
from tests.cli import commands

KEYS = {
  *('name', 'length', 'num_frames', 'num_replicas', 'compile_s', 'steady_s', 'cpu_s'),
  *('frames_per_s', 'peak_rss_mib', 'flop', 'flop_per_s', 'device', 'versions'),
}
EXTRA_KEYS = {
  *('steady_s_all', 'steady_s_spread', 'cpu_s_per_frame', 'peak_share', 'peak_flop_per_s'),
  *('passes', 'precision', 'segment_batch_size', 'model'),
  *('device_memory_mib', 'tokens_per_s', 'windows_per_s', 'batch_size'),
}


@pytest.fixture(autouse=True)
def _small_peak(monkeypatch):
  monkeypatch.setattr(benchmark_measure, '_PEAK_SIZE', {'cpu': 64})


def _ones(*shape):
  return jnp.ones(shape, jnp.float32)


# The operations of benchmark_flops, by hand.

A, B = _ones(3, 4), _ones(4, 4)  # A @ B: 2 * 3 * 4 * 4 = 96


def _scanned(x, times):
  return jax.lax.scan(lambda c, _: (c @ B, None), x, None, length=times)[0]


@jax.custom_jvp
def _custom(x):
  return x @ B


_custom.defjvp(lambda primals, tangents: (_custom(*primals), _custom(*tangents)))


@jax.custom_vjp
def _custom_vjp(x):
  return x @ B


_custom_vjp.defvjp(lambda x: (x @ B, None), lambda _, g: (g @ B.T,))


@pytest.mark.parametrize(
  ('function', 'args', 'expected'),
  [
    pytest.param(jnp.matmul, (A, B), 96, id='matmul'),
    pytest.param(functools.partial(jnp.einsum, 'bij,bjk->bik'), (_ones(5, 3, 4), _ones(5, 4, 2)),
                 5 * 2 * 3 * 4 * 2, id='batched'),
    pytest.param(lambda x: _scanned(x, 7), (A,), 7 * 96, id='scan'),
    pytest.param(
      lambda x: jax.lax.scan(lambda c, _: (_scanned(c, 7), None), x, None, length=5)[0],
      (A,), 5 * 7 * 96, id='nested scan',
    ),
    pytest.param(jax.vmap(lambda x: _scanned(x, 7)), (_ones(6, 3, 4),), 6 * 7 * 96, id='vmap'),
    pytest.param(
      lambda x: jax.lax.map(lambda y: y @ B, x, batch_size=4), (_ones(10, 3, 4),), 10 * 96,
      id='lax.map in batches, the last one smaller',
    ),
    pytest.param(
      lambda x: jax.lax.fori_loop(0, 9, lambda _, y: y @ B, x), (A,), 9 * 96, id='fori_loop'
    ),
    pytest.param(
      lambda p, x: jax.lax.cond(p, lambda y: y @ B, lambda y: y, x), (True, A), 96, id='cond'
    ),
    pytest.param(jax.jit(lambda x: jax.jit(jnp.matmul)(x, B)), (A,), 96, id='jit'),
    pytest.param(_custom, (A,), 96, id='custom_jvp'),
    pytest.param(_custom_vjp, (A,), 96, id='custom_vjp'),
    # The primal and the tangent.
    pytest.param(lambda x: jax.jvp(_custom, (x,), (x,)), (A,), 2 * 96, id='jvp'),
    # Forward a product, two sines, a cosine for later and the sum; backward the product and a
    # cosine again, two multiplications, and the transposed product.
    pytest.param(
      jax.grad(lambda x: jnp.sum(jnp.sin(jax.checkpoint(lambda y: jnp.sin(y @ B))(x)))),
      (A,), 3 * 96 + 7 * 12, id='gradient of a checkpoint',
    ),
    pytest.param(lambda x: jnp.exp(x) * x + 1.0, (A,), 3 * 12, id='elementwise'),
    pytest.param(lambda x: jnp.sum(x, axis=1), (A,), 12, id='reduction'),
    pytest.param(lambda i: i * 2 + 1, (jnp.arange(5),), 0, id='integers'),
    pytest.param(lambda x: jnp.where(x > 0, x, 0).T.reshape(2, 6), (A,), 0, id='moving'),
    pytest.param(
      lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), 'VALID'),
      (_ones(2, 3, 8, 8), _ones(5, 3, 3, 3)), 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3), id='conv',
    ),
    pytest.param(
      lambda x: jnp.linalg.solve(B, x), (_ones(4, 1),), None, id='solve, not twice'
    ),
    pytest.param(
      jax.pmap(lambda x: x @ B, axis_name='d'), (_ones(8, 3, 4),), 8 * 96, id='all devices'
    ),
  ],
)  # fmt: skip
def test_operations_by_hand(function, args, expected):
  found = benchmark_flops.count(function, *args)
  if expected is None:
    expected = found
    assert found < 200
  assert found == expected


def test_unknown_number_of_turns_is_refused():
  with pytest.raises(ValueError, match='while'):
    benchmark_flops.count(lambda x: jax.lax.while_loop(lambda y: y < 9, lambda y: y + 1, x), 0.0)


def test_xla_counts_the_same_products_without_loops():
  def function(x):
    return (x @ B) @ jnp.ones((4, 64))

  found = jax.jit(function).lower(A).compile().cost_analysis()['flops']
  assert benchmark_flops.count(function, A) == found


# Proteins.


def test_helix_is_one():
  found = benchmark_workloads.helix(30)
  xyz, ideal = (
    x.reshape(-1, 3) - x.reshape(-1, 3).mean(axis=0)
    for x in (found.arrays.positions, peptides.helix(30)[:, :4])
  )
  rmsd = Rotation.align_vectors(ideal, xyz)[1] / np.sqrt(len(xyz))
  assert rmsd < 0.12  # 0.05 Å per coordinate is 0.087 Å
  assert found.num_residues == 30
  assert not found.arrays.bonded[-1]


@pytest.fixture
def _random_walk(monkeypatch):
  """A step without a network: cheap, random, and drawn to its anchor."""

  def make_step(config, level):
    def step(params, window, protein, sigma, temperature_K, rng):
      del sigma, temperature_K
      newest = window.states[-1]
      length = protein.mask.shape[0]
      numbers = params * jax.random.normal(rng, (config.window, length, 7))
      if window.anchor is not None:
        numbers = numbers * jnp.where(window.anchor.known, 1.0 / window.anchor.frames, 2.0)
      states = update.apply_motions(newest, numbers, level, protein.bonded)
      return window.followed_by(states)

    return step

  monkeypatch.setattr(transitions, 'make_step', make_step)


@pytest.mark.usefixtures('_random_walk')
def test_every_step_of_a_rollout_counts():
  config = builders.small_config({'fine': 0.1})
  args = {'fine': jnp.float32(1.0)}, builders.helix(8), jax.random.key(0)
  two, four, six = (
    benchmark_flops.count(coarse_to_fine.make_sampler(config, frames), *args)
    for frames in (20, 40, 60)
  )
  assert six - four == four - two > 0.9 * two


# Rows.


def _check(row, workload):
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


@pytest.mark.usefixtures('_random_walk')
def test_rows_of_sampling(monkeypatch):
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  params = dict.fromkeys(config.levels, jnp.float32(1.0))
  model = benchmark_workloads.model_lib.Model('walk', config, params)
  monkeypatch.setattr(benchmark_workloads, 'load_model', lambda name: model)
  workload = Workload('sample/walk', 'sample', 5, 30, num_replicas=2, model='walk', repeats=3)
  row = benchmark_measure.row(workload)
  _check(row, workload)
  assert row['name'] == 'sample/walk'
  assert row['frames_per_s'] == pytest.approx(60 / row['steady_s'])
  assert row['compile_s'] > 0

  workload = Workload('stream/walk', 'stream', 5, 30, num_replicas=2, model='walk', repeats=1)
  row = benchmark_measure.row(workload)
  _check(row, workload)
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
  model = benchmark_workloads.model_lib.Model(
    'small', config, {name: {'w': jnp.ones(3)} for name in config.levels}
  )
  monkeypatch.setattr(benchmark_workloads, 'load_model', lambda name: model)
  monkeypatch.setattr(benchmark_measure.parallel, 'map_train_step', step_of)
  workload = Workload('train/small', 'train', 5, 30, model='small', batch_size=8, repeats=2)
  row = benchmark_measure.row(workload)
  _check(row, workload)
  assert row['num_frames'] == 5  # two windows of two frames, and the anchor
  assert row['tokens_per_s'] == pytest.approx(8 * 5 * 5 / row['steady_s'])
  with pytest.raises(InputError, match='does not divide'):
    benchmark_measure.row(Workload('train/small', 'train', 5, 30, model='small', batch_size=3))


def test_row_of_evaluation():
  workload = Workload('evaluate/metrics', 'evaluate', 12, 30, repeats=2)
  row = benchmark_measure.row(workload)
  _check(row, workload)
  assert row['flop'] is None
  assert row['frames_per_s'] == pytest.approx(30 / row['steady_s'])


def test_a_process_of_its_own():
  """The one real child: its memory is its own, its result comes back."""
  held = bytearray(600 * 1024**2)
  held[::4096] = b'x' * len(held[::4096])
  workload = Workload('data/windows', 'data', 6, 20, repeats=2)
  row = benchmark.measure(workload)
  _check(row, workload)
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


# The command.


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


def test_writes_rows_table_and_plot(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(
    benchmark, 'measure', lambda workload: _row(workload, 1e-3 * workload.length**2)
  )
  assert benchmark.benchmark(_values(tmp_path, '--lengths=16,32,64', '--plot')) == 0
  found = json.loads((tmp_path / 'new/b.json').read_text())
  assert [row['length'] for row in found] == [16, 32, 64]
  picture = (tmp_path / 'new/b.svg').read_text()
  assert 'sample/default, 400 frames: length^2.00' in picture
  said = capsys.readouterr().out.splitlines()
  assert said[1].split() == ['sample/default', 'default', '16', '400', '1', '0.2560', '0.1000']


def test_one_length_is_not_drawn(tmp_path, monkeypatch):
  monkeypatch.setattr(benchmark, 'measure', lambda workload: _row(workload, 1.0))
  assert benchmark.benchmark(_values(tmp_path, '--lengths=16', '--plot')) == 0
  assert not (tmp_path / 'new/b.svg').exists()


def test_a_failure_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
  def measure(workload):
    if workload.length == 16:
      raise benchmark.MeasurementError('no memory')
    return _row(workload, 1.0)

  monkeypatch.setattr(benchmark, 'measure', measure)
  assert benchmark.benchmark(_values(tmp_path, '--lengths=8,16,32')) == 1
  found = json.loads((tmp_path / 'new/b.json').read_text())
  assert [row['length'] for row in found] == [8, 32]
  assert capsys.readouterr().err == 'error: sample/default, 16 residues: no memory\n'


def test_interrupted_it_keeps_its_rows(tmp_path, monkeypatch):
  def measure(workload):
    if workload.length == 32:
      raise KeyboardInterrupt
    return _row(workload, 1.0)

  monkeypatch.setattr(benchmark, 'measure', measure)
  with pytest.raises(KeyboardInterrupt):
    benchmark.benchmark(_values(tmp_path, '--lengths=8,16,32,64'))
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


def test_paper_size():
  config = benchmark_workloads.config_of('paper_size')
  encoder = config.encoder
  assert encoder.channels == 256
  assert (encoder.num_ipa_blocks, encoder.num_attention_blocks, encoder.num_gru_layers) == (4, 4, 2)
  assert [config.level[name].dt_ns for name in config.levels] == [0.2, 0.01]
  assert config.objective == 'flow_matching'


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
def test_mistakes(tmp_path, monkeypatch, args, expected):
  monkeypatch.setattr(benchmark, 'measure', lambda workload: pytest.fail('it measured'))
  with pytest.raises(InputError, match=expected):
    benchmark.benchmark(_values(tmp_path, *args))


def test_passes_of_a_model_without_a_head_are_refused(tmp_path):
  commands.save_model(tmp_path / 'small')
  values = _values(tmp_path, f'--models={tmp_path}/small', '--passes=2')
  with pytest.raises(InputError, match='--passes'):
    benchmark.benchmark(values)


def test_a_workload_that_is_none():
  with pytest.raises(InputError, match='--workload'):
    benchmark._measure_here('{"name": 1}')

"""Measures one workload in this process.

Every workload runs in a process of its own: the peak memory of a process never falls, and one
workload must not profit from what another compiled. Times cover the work alone: arguments are on
the device before, and results stay there.
"""

import contextlib
import dataclasses
import pathlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax import extras, transitions
from tempo_jax.benchmark import flops, kernels, workloads
from tempo_jax.benchmark.workloads import Workload
from tempo_jax.compilation import ahead_of_time
from tempo_jax.configs import common
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.evaluation.scores import Settings
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.samplers import coarse_to_fine, devices, settings
from tempo_jax.store import batching, store, windows
from tempo_jax.store.entry import Entry
from tempo_jax.training import examples, objectives, optimizer, parallel, train_state

Row = dict[str, Any]

WINDOW_FRAMES = 8
"""Frames of the windows that `data` reads."""
_STORED_REPLICAS = 4
_BATCHES = 32
_REFERENCES = 3
_DT_NS = 0.01
_PEAK_SIZE_CPU, _PEAK_SIZE = 2048, 8192


@dataclasses.dataclass
class Prepared:
  """A workload that is ready to be timed.

  Attributes:
    run: does it once, to the end.
    frames: that one run yields, or reads.
    compile_s: what compiling it took, s.
    flop: floating-point operations of one run; None where nothing counts them.
    devices: that it runs on.
    details: more columns of the row.
    per_run: columns that are so many per run, given per second.
  """

  run: Callable[[], Any]
  frames: int
  compile_s: float = 0.0
  flop: int | None = None
  devices: int = 1
  details: Row = dataclasses.field(default_factory=dict)
  per_run: dict[str, float] = dataclasses.field(default_factory=dict)


def row(workload: Workload, peak_size: int | None = None) -> Row:
  """Measures a workload.

  Args:
    workload: what.
    peak_size: rows of the square matrices whose product is the device's measured peak. None: 2048
      on a CPU, else 8192.

  Raises:
    InputError: the model, the numbers or the device's memory do not allow it.
  """
  try:
    with _PREPARE[workload.mode](workload) as prepared:
      walls, cpus = np.transpose([_timed(prepared.run) for _ in range(workload.repeats + 1)][1:])
      return _row(workload, prepared, walls, cpus, _memory(), _peak(peak_size))
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise InputError(
      'the device has too little memory: lower --segment_batch_size, --batch_size or '
      f'--num_replicas ({str(error).splitlines()[0]})'
    ) from error


def _row(
  workload: Workload,
  prepared: Prepared,
  walls: np.ndarray,
  cpus: np.ndarray,
  memory: Row,
  peak: float,
) -> Row:
  """The columns; `walls` and `cpus` are seconds per repeat."""
  steady, cpu = float(np.median(walls)), float(np.median(cpus))
  row = {
    'name': workload.name,
    'length': workload.length,
    'num_frames': workload.num_frames,
    'num_replicas': workload.num_replicas,
    'compile_s': prepared.compile_s,
    'steady_s': steady,
    'steady_s_all': [float(x) for x in walls],
    'steady_s_spread': float(np.ptp(walls)),
    'cpu_s': cpu,
    'cpu_s_per_frame': cpu / prepared.frames,
    'frames_per_s': prepared.frames / steady,
    'flop': prepared.flop,
    'flop_per_s': None if prepared.flop is None else prepared.flop / steady,
    'peak_flop_per_s': peak * prepared.devices,
    **memory,
  }
  if prepared.flop is not None:
    row['peak_share'] = prepared.flop / steady / (peak * prepared.devices)
  row |= {name: number / steady for name, number in prepared.per_run.items()}
  row |= {'model': workload.model, **prepared.details}
  return row | {'device': provenance.device(), 'versions': provenance.versions()}


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
  """Wall seconds, and user and system seconds of all threads."""
  before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
  run()
  wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
  return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _memory() -> Row:
  """The most memory so far of this process and, where it tells, of the device."""
  row: Row = {'peak_rss_mib': _peak_rss_mib()}
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    row['device_memory_mib'] = stats['peak_bytes_in_use'] / 1024**2
  return row


def _peak_rss_mib() -> float:
  # On Linux ru_maxrss also remembers what the process was before it became this program.
  with contextlib.suppress(OSError):
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
      if line.startswith('VmHWM:'):
        return int(line.split()[1]) / 1024
  unit = 1 if sys.platform == 'darwin' else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def _peak(size: int | None) -> float:
  """Operations a second of a large product of float32 matrices, at JAX's default precision."""
  size = size or (_PEAK_SIZE_CPU if jax.default_backend() == 'cpu' else _PEAK_SIZE)
  matrix = jax.random.normal(jax.random.key(0), (size, size))
  product = jax.jit(jnp.matmul)
  seconds = [_timed(lambda: product(matrix, matrix).block_until_ready())[0] for _ in range(5)]
  return 2 * size**3 / min(seconds[1:])


def _compiled(function: Any, *args: Any) -> tuple[Callable[..., Any], float]:
  started = time.perf_counter()
  compiled = ahead_of_time.compiled(function, *args)
  return compiled, time.perf_counter() - started


def _model(workload: Workload) -> Any:
  assert workload.model is not None
  model = workloads.load_model(workload.model)
  if workload.passes is not None:
    model = model.with_passes(workload.passes)
  return model if workload.precision is None else model.with_precision(workload.precision)


def _of_model(workload: Workload, config: Any) -> Row:
  return {
    'passes': transitions.passes(config),
    'precision': config.precision,
    'segment_batch_size': workload.segment_batch_size,
  }


def _of_program(compiled: Any) -> Row:
  try:
    size = kernels.size(compiled.as_text())
  except ValueError:  # A loop whose turns this compiler does not tell.
    return {}
  return {'hlo_lines': size.lines, 'hlo_fusions': size.fusions, 'kernels': size.kernels}


@contextlib.contextmanager
def _sample(workload: Workload) -> Iterator[Prepared]:
  """Trajectories of one protein, padded as `experiments.sample` pads it."""
  model = _model(workload)
  sampler = coarse_to_fine.make_ensemble_sampler(
    model.config,
    workload.num_frames,
    workload.num_replicas,
    settings.BatchSizes(segments=workload.segment_batch_size),
  )
  protein = model_lib.padded(workloads.helix(workload.length))
  args = jax.device_put((model.params, protein, jax.random.key(0)))
  compiled, seconds = _compiled(sampler, *args)
  yield Prepared(
    lambda: jax.block_until_ready(compiled(*args)),
    frames=workload.num_frames * workload.num_replicas,
    compile_s=seconds,
    flop=flops.count(sampler, *args),
    devices=devices.mesh(workload.num_replicas).size,
    details=_of_model(workload, model.config) | _of_program(compiled),
  )


@contextlib.contextmanager
def _stream(workload: Workload) -> Iterator[Prepared]:
  """The same block by block, each fetched while the next is computed, and given up."""
  model = _model(workload)
  protein = workloads.helix(workload.length)
  stream = model.stream(
    [protein],
    workload.num_frames,
    workload.num_replicas,
    jax.random.key(0),
    segment_batch_size=workload.segment_batch_size,
  )

  def run():
    for _, positions, _ in stream:
      np.asarray(positions)
    prepared.compile_s = stream.compile_seconds

  prepared = Prepared(
    run,
    frames=workload.num_frames * workload.num_replicas,
    details=_of_model(workload, model.config),
  )
  yield prepared


def _batch(config: Any, level: str, workload: Workload) -> batching.Batch:
  """Windows of one protein, as the loop of training gets them."""
  protein = workloads.helix(workload.length)
  at = examples.anchor_places(config.model, level)
  num_frames = objectives.frames_per_window(config) + (at is not None)
  size = workload.batch_size
  return batching.Batch(
    protein=jax.tree.map(lambda x: np.stack([np.asarray(x)] * size), protein.arrays),
    positions=np.stack([workloads.trajectory(protein, num_frames, seed) for seed in range(size)]),
    anchor=anchor_lib.stack([at[-1] if at else anchor_lib.Place()] * size),
    temperature_K=np.full(size, 320.0, np.float32),
    dt_ns=np.full(size, config.model.level[level].dt_ns, np.float32),
  )


@contextlib.contextmanager
def _train(workload: Workload) -> Iterator[Prepared]:
  """One step of the finest level, over all devices."""
  model = _model(workload)
  config = common.experiment(config_lib.from_dict(config_lib.to_dict(model.config)))
  config.data.batch_size = workload.batch_size
  parallel.check_batch_size(workload.batch_size)
  frozen = config_lib.freeze(config)
  name = model.config.levels[-1]
  tx = optimizer.make_optimizer(frozen.train)
  step = parallel.map_train_step(frozen, tx)
  batch = _batch(frozen, name, workload)
  fixed = parallel.replicate((level_lib.Level.of(frozen.model, name), jax.random.key(0)))
  state = parallel.replicate(train_state.create(model.params[name], tx))
  level, rng = fixed
  split = parallel.split_batch(batch)
  compiled, seconds = _compiled(step, state, level, split, rng)

  def run():
    nonlocal state
    state, metrics = compiled(state, level, split, rng)
    jax.block_until_ready((state, metrics))

  size, frames = batch.positions.shape[:2]
  yield Prepared(
    run,
    frames=size * frames,
    compile_s=seconds,
    flop=flops.count(step, state, level, split, rng),
    devices=jax.device_count(),
    details={'num_frames': frames, 'batch_size': size, **_of_model(workload, model.config)},
    per_run={'tokens_per_s': examples.num_tokens(frozen, batch)},
  )


@contextlib.contextmanager
def _data(workload: Workload) -> Iterator[Prepared]:
  """Batches of training windows from a store on disk, which the system's cache will hold."""
  protein = workloads.helix(workload.length)
  with tempfile.TemporaryDirectory() as folder:
    with store.StoreWriter(folder) as writer:
      for replica in range(_STORED_REPLICAS):
        entry = Entry.of(
          protein, temperature_K=320.0, replica=replica, dt_ns=_DT_NS, sources={'': 'benchmark'}
        )
        writer.add(entry, workloads.trajectory(protein, workload.num_frames, replica))
    source = windows.WindowSource(store.Store(folder), _DT_NS, WINDOW_FRAMES)
    with contextlib.closing(batching.Loader(source, workload.batch_size).iterate()) as stream:
      number = _BATCHES * workload.batch_size

      def run():
        for _ in range(_BATCHES):
          next(stream)

      yield Prepared(
        run,
        frames=number * WINDOW_FRAMES,
        details={'batch_size': workload.batch_size},
        per_run={'windows_per_s': number},
      )


@contextlib.contextmanager
def _evaluate(workload: Workload) -> Iterator[Prepared]:
  """The numbers of one prediction, without baselines; one thread, as `experiments.evaluate`."""
  native = workloads.helix(workload.length)
  times = _DT_NS * np.arange(1, workload.num_frames + 1)

  def frames_of(seed: int) -> Replica:
    positions = workloads.trajectory(native, workload.num_frames, seed)
    return Replica(positions, times, f'frames of seed {seed}')

  prediction, *reference = (frames_of(seed) for seed in range(1 + _REFERENCES))

  def run():
    # Anew: a sample keeps what was computed of it.
    pair = Ensemble(native, reference), Ensemble(native, [prediction])
    columns.columns(*pair, Settings(), with_baselines=False)

  with extras.require('threadpoolctl', 'evaluate').threadpool_limits(1):
    yield Prepared(run, frames=workload.num_frames)


_PREPARE = {
  'sample': _sample,
  'stream': _stream,
  'train': _train,
  'data': _data,
  'evaluate': _evaluate,
}

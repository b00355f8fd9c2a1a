r"""Measures the speed and memory of sampling, training, reading and evaluation.

    tempo-jax benchmark --lengths=64,128,256 --num_frames=400 --num_replicas=1 \
        --out=benchmark.json --plot

Every row is measured in a process of its own on synthetic proteins, and written to --out at once:
what an interrupted benchmark has measured is kept. Columns of a row:

    name                    sample/default, sample/paper_size, sample/paper_size/passes1, train/...,
                            data/windows, evaluate/metrics
    length, num_frames, num_replicas    residues; frames per trajectory (train: per example)
    compile_s               tracing and compiling, without a cache of compiled programs
    steady_s                median of the repeats, without the first (_all, _spread: max - min)
    cpu_s                   user + system of all threads, median over steady runs (_per_frame)
    frames_per_s            of all replicas (train, data: of the windows that were read)
    peak_rss_mib            memory of the whole process, compilation included
    flop, flop_per_s        operations that the model asks for (tempo_jax/benchmark/flops.py)
    peak_flop_per_s, peak_share         those of a large float32 matrix product, and the share of it
    passes, precision, segment_batch_size, model, batch_size, device_memory_mib, tokens_per_s,
    windows_per_s
    device, versions
"""

import dataclasses
import itertools
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax
from absl import flags

from tempo_jax import config as config_lib
from tempo_jax import extras, files, transitions
from tempo_jax.benchmark import measure as benchmark_measure
from tempo_jax.benchmark import results
from tempo_jax.benchmark import workloads as benchmark_workloads
from tempo_jax.benchmark.measure import Row
from tempo_jax.benchmark.workloads import PAPER_SIZE, Workload
from tempo_jax.errors import InputError
from tempo_jax.report import plots

_LOG = logging.getLogger('tempo_jax')
_ROOT = pathlib.Path(__file__).parents[2]
MODES = ('sample', 'stream', 'train', 'data', 'evaluate')
_NUMBER_LISTS = ('lengths', 'num_replicas', 'passes', 'segment_batch_size')
_LEAST_FRAMES = {'data': benchmark_measure.WINDOW_FRAMES, 'evaluate': 2}


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""

  def numbers(name: str, default: list[str], text: str) -> None:
    flags.DEFINE_list(name, default, text, flag_values=values)

  def number(name: str, default: int, text: str) -> None:
    flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)

  numbers('lengths', ['64', '128', '256'], 'Residues of the proteins, each at least 2.')
  numbers('num_replicas', ['1'], 'Independent trajectories that are sampled together.')
  numbers(
    'passes',
    [],
    "Passes of the head per step, of generative models. Default: the model's own, and 1.",
  )
  numbers(
    'segment_batch_size',
    [],
    "Segments of a time scale that are computed together. Default: the sampler's default.",
  )
  flags.DEFINE_list(
    'precision',
    [],
    "What the network computes in, of float32, bfloat16. Default: the model's own.",
    flag_values=values,
  )
  number('num_frames', 400, 'Frames per trajectory; 10 ps apart in the models named below.')
  number('batch_size', 4, 'Windows of a training step (over all devices), or of a batch read.')
  number('repeats', 5, 'How often each row is timed, after a first run that does not count.')
  flags.DEFINE_list(
    'models',
    ['default', PAPER_SIZE],
    f'default: the bundled model; {PAPER_SIZE}: random parameters, of the size of the paper (256 '
    'channels, 4 IPA, 4 attention and 2 GRU layers) and with our dynamics; or directories that '
    'experiments.train wrote.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'modes',
    ['sample'],
    f'What to measure, of {", ".join(MODES)}: trajectories; the same block by block, in constant '
    'memory; a training step; reading windows from a store; the metrics of num_frames frames '
    'against three times as many.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out', None, 'JSON file to write; replaced if it is there. Required.', flag_values=values
  )
  flags.DEFINE_bool(
    'plot',
    False,
    'Also draw seconds against length, with two lengths or more, as an SVG file beside --out; '
    'needs matplotlib: pip install tempo_jax[report].',
    flag_values=values,
  )
  flags.DEFINE_string(
    'workload',
    None,
    'Measure only this workload, given as JSON, and print its row: the benchmark starts itself '
    'anew with it, since a process cannot lower its peak memory.',
    flag_values=values,
  )


def _positive(values: flags.FlagValues, name: str) -> list[int]:
  """The whole numbers of a list flag."""
  least = 2 if name == 'lengths' else 1
  found = []
  for text in values[name].value or ():
    if not text.strip().isdecimal() or int(text) < least:
      raise InputError(f'--{name}: {text!r} is not a whole number of at least {least}')
    found.append(int(text))
  return list(dict.fromkeys(found))


def workloads(values: flags.FlagValues) -> list[Workload]:
  """What the flags ask for, in the order of the rows.

  Raises:
    InputError: a flag makes no sense.
  """
  numbers = {name: _positive(values, name) for name in _NUMBER_LISTS}
  for name in ('lengths', 'num_replicas', 'models'):
    if not values[name].value:
      raise InputError(f'--{name} is empty: give at least one')
  for precision in values.precision:
    if precision not in config_lib.PRECISIONS:
      raise InputError(f'--precision: {precision!r} is none of {", ".join(config_lib.PRECISIONS)}')
  unknown = [mode for mode in values.modes if mode not in MODES]
  if unknown:
    raise InputError(f'--modes: {unknown[0]!r} is none of {", ".join(MODES)}')
  if not values.modes:
    raise InputError(f'nothing to measure: give --modes of {", ".join(MODES)}')
  for mode, least in _LEAST_FRAMES.items():
    if mode in values.modes and values.num_frames < least:
      raise InputError(f'--num_frames={values.num_frames}: {mode} needs at least {least}')
  # This process only looks at configurations: accelerators are left to those that measure.
  jax.config.update('jax_platforms', 'cpu')
  models = {name: benchmark_workloads.config_of(name) for name in values.models}
  if numbers['passes'] and all(transitions.passes(x) is None for x in models.values()):
    raise InputError('--passes: no model of --models has a head that could pass several times')
  found: list[Workload] = []
  for mode in dict.fromkeys(values.modes):
    for name, config in [('', None)] if mode in ('data', 'evaluate') else list(models.items()):
      for length in numbers['lengths']:
        workload = Workload(
          name=f'{mode}/{benchmark_workloads.short_name(name)}',
          mode=mode,
          length=length,
          num_frames=values.num_frames,
          model=name or None,
          batch_size=values.batch_size,
          repeats=values.repeats,
        )
        found.extend(_variants(workload, config, values))
  return found


def _variants(workload: Workload, config: Any, values: flags.FlagValues) -> Iterator[Workload]:
  """The workloads of one mode, model and length."""
  names = {'data': 'data/windows', 'evaluate': 'evaluate/metrics'}
  if workload.mode in names:
    yield dataclasses.replace(workload, name=names[workload.mode])
    return
  samples = workload.mode in ('sample', 'stream')
  passes: list[int | None] = [None]
  if samples and transitions.passes(config) is not None:
    asked = _positive(values, 'passes') or [config.passes, 1]
    passes = list(dict.fromkeys(None if count == config.passes else count for count in asked))
  replicas = _positive(values, 'num_replicas') if samples else [1]
  sizes: list[int | None] = [*_positive(values, 'segment_batch_size')] or [None]
  for number, count, precision, size in itertools.product(
    replicas, passes, values.precision or [None], sizes if samples else [None]
  ):
    labels = [f'passes{count}' if count else '', precision, f'segments{size}' if size else '']
    name = [workload.name, *filter(None, labels if samples else [precision])]
    yield dataclasses.replace(
      workload,
      name='/'.join(name),
      num_replicas=number,
      passes=count,
      precision=precision,
      segment_batch_size=size,
    )


class MeasurementError(Exception):
  """A workload could not be measured; the message says why."""


def measure(workload: Workload) -> Row:
  """Measures a workload in a new process.

  Raises:
    MeasurementError: that process failed.
  """
  command = [sys.executable, '-m', 'tempo_jax', 'benchmark']
  command.append(f'--workload={json.dumps(dataclasses.asdict(workload))}')
  path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get('PYTHONPATH')]))
  done = subprocess.run(
    command, env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True
  )
  if done.returncode < 0:
    name = signal.Signals(-done.returncode).name
    raise MeasurementError(f'its process was ended by {name} (out of memory?)')
  lines = done.stderr.strip().splitlines() or ['it said nothing']
  if done.returncode:
    raise MeasurementError(lines[-1].removeprefix('error: '))
  return json.loads(done.stdout.splitlines()[-1])


def measure_here(text: str) -> int:
  """In the new process: prints the row as the last line; the exit code."""
  try:
    workload = Workload(**json.loads(text))
  except (ValueError, TypeError) as error:
    raise InputError(
      f'--workload={text}: no workload ({error}): leave that flag to the benchmark'
    ) from None
  # Compiling takes as long as it does for a user who has not compiled this before.
  jax.config.update('jax_enable_compilation_cache', False)
  try:
    found = benchmark_measure.row(workload)
  except InputError:
    raise
  except Exception as error:
    traceback.print_exc()
    what = ' '.join(str(error).split())[:300]
    print(f'error: {type(error).__name__}: {what}', file=sys.stderr)
    return 1
  print(json.dumps(found))
  return 0


def benchmark(values: flags.FlagValues, measure: Callable[[Workload], Row] = measure) -> int:
  """Does what the flags say.

  Args:
    values: the flags.
    measure: gives the row of a workload, or raises `MeasurementError`.

  Returns:
    The exit code: 1 if some workloads could not be measured, and were reported.

  Raises:
    InputError: something that the user gave is wrong; nothing was measured then.
  """
  if not values.out:
    raise InputError('--out is missing: --help says what it takes')
  out = pathlib.Path(values.out).expanduser()
  if out.is_dir() or out.suffix != '.json':
    raise InputError(f'--out={out}: give the name of a file that ends in .json')
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f'--out={out}: {error.strerror}: choose another --out') from error
  if values.plot:
    extras.require('matplotlib', 'report')
  wanted = workloads(values)
  found: list[Row] = []
  failures = []
  for index, workload in enumerate(wanted):
    what = f'{workload.name}, {workload.length} residues'
    _LOG.info('%s (%d of %d) ...', what, index + 1, len(wanted))
    try:
      found.append(measure(workload))
    except MeasurementError as error:
      failures.append(f'{what}: {error}')
      _LOG.warning('%s', failures[-1])
      continue
    files.write_text(out, json.dumps(found, indent=2) + '\n')
  if found:
    print(results.table(found))
    print(f'written to {out}')
  curves = results.scaling(found)
  if values.plot and curves:
    picture = out.with_suffix('.svg')
    files.write_text(picture, plots.to_svg(results.draw(curves)) + '\n')
    print(f'drawn in {picture}')
  elif values.plot:
    print('nothing to draw: the same work at two lengths is needed')
  for line in failures:
    print(f'error: {line}', file=sys.stderr)
  return 1 if failures else 0


def main(values: flags.FlagValues) -> int:
  """From the flags to `benchmark`."""
  return measure_here(values.workload) if values.workload else benchmark(values)

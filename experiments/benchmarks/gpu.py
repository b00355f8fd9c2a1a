"""Measures an accelerator: its numbers against a CPU, speed, memory, kernels per step.

    experiments/benchmarks/gpu.sh

Every part is a process of its own with a limit of time, and the file is written anew after each:
what was measured is kept, whatever happens next. A part that fails leaves its last line.
"""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import jax
import numpy as np
from absl import flags

from tempo_jax import files
from tempo_jax.benchmark import workloads
from tempo_jax.benchmark.workloads import PAPER_SIZE, Workload
from tempo_jax.cli import command
from tempo_jax.compilation import ahead_of_time
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance

_SECONDS = 520.0
"""For all parts together."""
# Two frames are one pass of each level: rounding has not yet been amplified.
_NUMBERS_FRAMES = 2
_NUMBERS_LENGTH = 64
_TOLERANCE = 1e-3  # Å


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('out', None, 'JSON file to write. Required.', flag_values=values)
  flags.DEFINE_bool(
    'quick', False, 'Small workloads, to see that it runs, e.g. on a CPU.', flag_values=values
  )
  flags.DEFINE_string(
    'part', None, 'Internal: computes one part and prints it.', flag_values=values
  )


def _workloads(quick: bool) -> Iterator[Workload]:
  """In the order of their importance."""
  length, frames, many = (16, 40, 2) if quick else (240, 400, 64)
  base = Workload('', 'sample', length, frames, repeats=2 if quick else 3)
  for replicas in (1, many):
    for model in ('default',) if quick else ('default', PAPER_SIZE):
      for precision in ('float32', 'bfloat16'):
        name = f'sample/{model}/{precision}/{replicas}'
        yield replace(base, name=name, model=model, num_replicas=replicas, precision=precision)
  # The network, batch and longest proteins of the configuration `mdcath`.
  model, size = ('default', 2) if quick else (PAPER_SIZE, 16)
  for precision in ('float32', 'bfloat16'):
    yield replace(
      base,
      name=f'train/{model}/{precision}',
      mode='train',
      length=16 if quick else 256,
      model=model,
      precision=precision,
      batch_size=size,
    )


def _positions() -> np.ndarray:
  """Same parameters, protein and key on every device; Å."""
  model = model_lib.load_model('default')
  protein = workloads.helix(_NUMBERS_LENGTH)
  return np.asarray(model.sample(protein, _NUMBERS_FRAMES, rng=jax.random.key(1)).positions)


def _numbers() -> dict[str, Any]:
  """The largest difference of a step between this device and a CPU."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'cpu.npy'
    subprocess.run(
      [sys.executable, '-m', __spec__.name, '--part=positions', f'--out={path}'],
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      check=True,
      timeout=120.0,
    )
    expected = np.load(path)
  difference = float(np.abs(_positions() - expected).max())
  with jax.default_matmul_precision('highest'):
    at_highest = float(np.abs(_positions() - expected).max())
  return {
    'difference_A': difference,
    'difference_at_highest_precision_A': at_highest,
    'tolerance_A': _TOLERANCE,
    'within_tolerance': at_highest < _TOLERANCE,
  }


def _profile(quick: bool) -> dict[str, Any]:
  """Kernels that the device started for a trajectory, from the profiler."""
  frames = 40
  model = model_lib.load_model('default')
  protein = model_lib.padded(workloads.helix(16 if quick else 240))
  args = jax.device_put((model.params, protein, jax.random.key(0)))
  run = ahead_of_time.compiled(model.sampler(frames), *args)
  jax.block_until_ready(run(*args))
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder, create_perfetto_trace=False):
      jax.block_until_ready(run(*args))
    traces = list(pathlib.Path(folder).rglob('*.trace.json.gz'))
    events = json.loads(gzip.decompress(traces[0].read_bytes()))['traceEvents'] if traces else []
  named = {
    event['pid']: event['args']['name'] for event in events if event.get('name') == 'process_name'
  }
  streams = {
    (event['pid'], event['tid'])
    for event in events
    if event.get('name') == 'thread_name' and 'Stream' in event['args']['name']
  }
  on_device = [
    event
    for event in events
    if event.get('ph') == 'X'
    and '/device:' in named.get(event['pid'], '')
    and (event['pid'], event['tid']) in streams
  ]
  if not on_device:
    return {'error': 'the profile shows no kernels of an accelerator'}
  # Of two frames per pass: one of the coarse level for every twenty of the fine one.
  passes = frames // 20 // 2 + 20 // 2
  return {
    'num_frames': frames,
    'kernels': len(on_device),
    'kernels_per_pass': len(on_device) / passes,
    'busy_s': sum(event['dur'] for event in on_device) / 1e6,
  }


def _part(name: str, quick: bool, seconds: float) -> Any:
  """What a process of its own prints as its last line."""
  started = time.monotonic()
  try:
    done = subprocess.run(
      [sys.executable, '-m', __spec__.name, f'--part={name}', *(['--quick'] if quick else [])],
      capture_output=True,
      text=True,
      check=False,
      timeout=max(seconds, 1.0),
    )
  except subprocess.TimeoutExpired:
    return {'error': f'stopped after {time.monotonic() - started:.0f} s'}
  lines = done.stdout.strip().splitlines()
  if done.returncode or not lines:
    return {'error': (done.stderr.strip().splitlines() or ['no output'])[-1]}
  return json.loads(lines[-1])


def main(values: flags.FlagValues) -> None:
  """Measures all parts, or one."""
  if values.part == 'positions':
    np.save(values.out, _positions())
    return
  if values.part:
    from tempo_jax.benchmark import measure

    if values.part == 'numbers':
      result = _numbers()
    elif values.part == 'profile':
      result = _profile(values.quick)
    elif values.part == 'device':
      result = {'device': provenance.device(), 'versions': provenance.versions()}
    else:
      result = measure.row(next(w for w in _workloads(values.quick) if w.name == values.part))
    print(json.dumps(result), flush=True)
    return
  command.require(values, 'out')
  deadline = time.monotonic() + _SECONDS
  found: dict[str, Any] = {'parts': {}}
  rows = {workload.name: asdict(workload) for workload in _workloads(values.quick)}
  for name in ('device', 'numbers', *rows, 'profile'):
    result = _part(name, values.quick, deadline - time.monotonic())
    if name == 'device' and 'error' not in result:
      found |= result
    else:
      found['parts'][name] = result
    files.write_text(values.out, json.dumps(found, indent=2) + '\n')
    print(f'{name}: {json.dumps(result)[:300]}', flush=True)


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

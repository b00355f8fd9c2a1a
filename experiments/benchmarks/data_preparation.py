r"""How fast, how large and how robust is data preparation?

    python -m experiments.benchmarks.data_preparation --work_dir=DIR \
        --out=experiments/benchmarks/results/data_preparation.json

Writes a synthetic mdCATH directory in the exact layout, with every trap, then measures

- the raw rate of reading with h5py what preparation has to read, by as many processes: from the
  page cache, and (as root on Linux) from the disk, as it is with datasets larger than memory;
- `data_prep.mdcath`: frames and MB a second, peak memory of each process;
- the same, killed (SIGKILL) twice on the way: is the store the same, byte for byte?
- training windows a second from that store.
"""

import concurrent.futures
import filecmp
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import h5py
import numpy as np
import psutil
from absl import flags

from tempo_jax import errors
from tempo_jax.errors import InputError
from tempo_jax.output import provenance
from tempo_jax.store import batching, store, windows
from tests.preparation import synthetic_mdcath

_BLOCK_BYTES = 32 * 1024**2
_TEMPERATURE_K = 320
_REPLICAS = (0, 1, 2)


def read_raw(file: pathlib.Path) -> int:
  """Reads the coordinates that preparation would read; returns their bytes."""
  total = 0
  try:
    with h5py.File(file) as handle:
      (domain,) = handle.values()
      for replica in _REPLICAS:
        group = domain.get(f'{_TEMPERATURE_K}/{replica}') or domain.get(
          f'sims{_TEMPERATURE_K}K/{replica}'
        )
        if group is None or 'coords' not in group:
          continue
        coords = group['coords']
        frames = max(1, _BLOCK_BYTES // (12 * coords.shape[1]))
        for start in range(0, min(len(coords), 400), frames):
          total += coords[start : min(start + frames, 400)].nbytes
  except (OSError, KeyError, ValueError):  # the files that are broken on purpose
    pass
  return total


def measure_raw(files: Sequence[pathlib.Path], num_workers: int) -> float:
  """MB a second."""
  with concurrent.futures.ProcessPoolExecutor(num_workers) as pool:
    list(pool.map(time.sleep, [0.1] * num_workers))  # until all processes are there
    start = time.perf_counter()
    total = sum(pool.map(read_raw, files, chunksize=4))
  return total / (time.perf_counter() - start) / 1e6


def drop_caches() -> bool:
  """Whether the operating system has now forgotten what is in files."""
  os.sync()
  try:
    pathlib.Path('/proc/sys/vm/drop_caches').write_text('3')
  except OSError:
    return False
  return True


def command(raw: pathlib.Path, out: pathlib.Path, num_workers: int) -> list[str]:
  """That prepares `raw`."""
  arguments = [f'--raw_dir={raw}', f'--store={out}', f'--num_workers={num_workers}']
  return [sys.executable, '-m', 'data_prep.mdcath', *arguments]


def prepare(
  raw: pathlib.Path, out: pathlib.Path, num_workers: int
) -> tuple[float, dict[str, float], str]:
  """Returns seconds, peak resident memory in MiB of the parent and its processes, and stdout."""
  peaks: dict[int, float] = {}
  start = time.perf_counter()
  process = subprocess.Popen(
    command(raw, out, num_workers), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
  )
  done = threading.Event()

  def watch() -> None:
    parent = psutil.Process(process.pid)
    while not done.wait(0.05):
      try:
        for child in (parent, *parent.children(recursive=True)):
          peaks[child.pid] = max(peaks.get(child.pid, 0.0), child.memory_info().rss / 1024**2)
      except psutil.Error:
        continue

  thread = threading.Thread(target=watch)
  thread.start()
  text, _ = process.communicate()
  seconds = time.perf_counter() - start
  done.set()
  thread.join()
  if process.returncode != 1:  # 1: some files are broken on purpose
    raise RuntimeError(f'data_prep.mdcath ended with {process.returncode}')
  own = peaks.pop(process.pid)
  return seconds, {'parent': own, 'worker': max(peaks.values(), default=own)}, text


def steady_rate(out: pathlib.Path, megabytes: float) -> float:
  """MB a second from the first entry to the last: without the start of Python and Dask."""
  times = sorted(path.stat().st_mtime for path in out.glob('entries/*/*/*/entry.json'))
  return megabytes * (len(times) - 1) / len(times) / (times[-1] - times[0])


def prepare_killed(raw: pathlib.Path, out: pathlib.Path, num_workers: int, entries: int) -> None:
  """Kills the preparation when a third, and two thirds, of the entries are there; then ends it."""
  for part in (1, 2):
    process = subprocess.Popen(
      command(raw, out, num_workers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while sum(1 for _ in out.glob('entries/*/*/*/entry.json')) < entries * part // 3:
      if process.poll() is not None:
        raise RuntimeError('data_prep.mdcath ended before it was killed')
      time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
  prepare(raw, out, num_workers)


def same_bytes(a: pathlib.Path, b: pathlib.Path) -> bool:
  """Whether two directories hold the same files with the same content."""
  files = [sorted(p.relative_to(top) for p in top.rglob('*') if p.is_file()) for top in (a, b)]
  return files[0] == files[1] and all(filecmp.cmp(a / f, b / f, shallow=False) for f in files[0])


def load_windows(
  path: pathlib.Path, dt_ns: float, num_frames: int, batch_size: int, seconds: float
) -> float:
  """Training windows a second."""
  source = windows.WindowSource(store.Store(path), dt_ns, num_frames)
  stream = batching.Loader(source, batch_size).iterate()
  next(stream)
  start = time.perf_counter()
  for count in itertools.count(1):
    next(stream)
    elapsed = time.perf_counter() - start
    if elapsed > seconds:
      stream.close()
      return count * batch_size / elapsed
  raise AssertionError('unreachable')


def define_flags() -> None:
  """Called by the binary only."""
  flags.DEFINE_string('work_dir', None, 'Directory for the synthetic files and stores. Required.')
  flags.DEFINE_string('out', None, 'JSON file to write. Required.')
  flags.DEFINE_integer('num_domains', 200, 'Domains to write.')
  flags.DEFINE_integer('num_workers', 2, 'Processes.')
  flags.DEFINE_integer('repeats', 3, 'Of reading and of preparing; the median counts.')


def main(argv: Sequence[str]) -> None:
  """Runs everything."""
  del argv
  values = flags.FLAGS
  for flag in ('work_dir', 'out'):
    if not values[flag].value:
      raise InputError(f'--{flag} is missing: --help says what it takes')
  work = pathlib.Path(values.work_dir)
  raw, straight, killed = work / 'raw', work / 'straight', work / 'killed'
  if not raw.exists():
    synthetic_mdcath.write_directory(raw, values.num_domains, temperatures=(_TEMPERATURE_K,))
  files = sorted(raw.glob('mdcath_dataset_*.h5'))
  rates: dict[str, list[float]] = {'cached': [], 'from_disk': []}
  seconds, steady = [], []
  megabytes = sum(map(read_raw, files)) / 1e6
  for _ in range(values.repeats):
    if drop_caches():
      rates['from_disk'].append(measure_raw(files, values.num_workers))
    rates['cached'].append(measure_raw(files, values.num_workers))
    shutil.rmtree(straight, ignore_errors=True)
    drop_caches()
    taken, peaks, _ = prepare(raw, straight, values.num_workers)
    seconds.append(taken)
    steady.append(steady_rate(straight, megabytes))
    print(f'raw {rates}; prepared in {taken:.1f} s', flush=True)
  entries = store.Store(straight).entries
  frames = sum(entry.num_frames for entry in entries)
  shutil.rmtree(killed, ignore_errors=True)
  prepare_killed(raw, killed, values.num_workers, len(entries))
  taken = float(np.median(seconds))
  result = {
    'domains': len(files),
    'entries': len(entries),
    'frames': frames,
    'coordinates_mb': megabytes,
    'num_workers': values.num_workers,
    'raw_mb_per_s': {name: float(np.median(rate)) for name, rate in rates.items() if rate},
    'prepare_s': taken,
    'prepare_s_all': seconds,
    'prepare_mb_per_s': megabytes / taken,
    'frames_per_s': frames / taken,
    'steady_mb_per_s': float(np.median(steady)),
    'share_of_raw_rate': {
      name: float(np.median(steady) / np.median(rate)) for name, rate in rates.items() if rate
    },
    'peak_rss_mib': peaks,
    'same_bytes_after_two_kills': same_bytes(straight, killed),
    'windows_per_s': {
      f'{dt_ns:g} ns x {num_frames}, batch 16': load_windows(straight, dt_ns, num_frames, 16, 10.0)
      for dt_ns, num_frames in ((1.0, 8), (20.0, 8))
    },
    'cpus': os.cpu_count(),
    'versions': provenance.versions(),
  }
  out = pathlib.Path(values.out)
  out.parent.mkdir(parents=True, exist_ok=True)
  out.write_text(json.dumps(result, indent=2) + '\n')
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  define_flags()
  errors.run(main)

"""One task per raw file, over local processes or a Dask cluster.

A bad file never stops the rest: what goes wrong with it is reported at the end. Dask's processes
import the function that does the work by its name; on a cluster, start them in a clone of this
project, with the same files at the same paths.
"""

import dataclasses
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tqdm

from tempo_jax.errors import InputError

_SECONDS_BETWEEN_LINES = 30.0
_MOST_LINES = 200
_CONNECT_TIMEOUT = '15s'


@dataclasses.dataclass(frozen=True)
class Result:
  """What became of one raw file.

  Attributes:
    name: of the file, or of what is in it.
    lines: what to report of it: what was prepared, skipped, cut, left out.
    errors: one line each, on what is wrong with it.
    frames: number of frames written.
    num_bytes: number of bytes of coordinates read.
  """

  name: str
  lines: tuple[str, ...] = ()
  errors: tuple[str, ...] = ()
  frames: int = 0
  num_bytes: int = 0


def run(
  work: Callable[[Any], Result],
  tasks: Sequence[Any],
  *,
  names: Sequence[str],
  num_workers: int | None = None,
  scheduler: str | None = None,
  unit: str = 'file',
) -> list[Result]:
  """Does all tasks, in any order, and shows progress.

  Args:
    work: a function at the top of an importable module.
    tasks: its arguments, which can be pickled.
    names: what to call each task in messages.
    num_workers: local processes, each for one task at a time; by default one per core. One
      worker, or one task, is this process.
    scheduler: address of a Dask cluster, in place of local processes.
    unit: what a task is, for the progress.

  Returns:
    Results in the order of the tasks. What `work` raised, or died of, is the
    error of its result.

  Raises:
    InputError: there is no cluster at that address.
  """
  num_workers = min(num_workers or os.cpu_count() or 1, len(tasks))
  jobs = [functools.partial(_attempt, work, *job) for job in zip(names, tasks, strict=True)]
  finished: Iterator[tuple[int, Result]]
  if num_workers <= 1 and not scheduler:
    finished = ((i, job()) for i, job in enumerate(jobs))
  else:
    finished = _by_dask(jobs, names, num_workers, scheduler)
  results = dict(_report_progress(finished, len(tasks), unit))
  return [results[i] for i in range(len(tasks))]


def summarize(results: Sequence[Result]) -> int:
  """Prints what became of all files; errors on stderr.

  Returns:
    The exit code: 1 if there were errors.
  """
  lines = list(dict.fromkeys(line for result in results for line in result.lines))
  for line in lines[:_MOST_LINES]:
    print(line)
  if len(lines) > _MOST_LINES:
    print(f'... and {len(lines) - _MOST_LINES} lines more')
  wrong = list(dict.fromkeys(line for result in results for line in result.errors))
  for line in wrong:
    print(f'error: {" ".join(line.split())}', file=sys.stderr)
  frames = sum(result.frames for result in results)
  bad = sum(1 for result in results if result.errors)
  print(
    f'{frames} frames written; {len(results)} files read'
    + (f', {bad} of them with the errors above' if bad else ', no errors')
  )
  return 1 if wrong else 0


def _attempt(work: Callable[[Any], Result], name: str, task: Any) -> Result:
  try:
    return work(task)
  except InputError as error:
    return Result(name, errors=(str(error),))
  except Exception as error:
    return Result(name, errors=(f'{name}: {type(error).__name__}: {error}',))


def _by_dask(
  jobs: Sequence[Callable[[], Result]],
  names: Sequence[str],
  num_workers: int,
  scheduler: str | None,
) -> Iterator[tuple[int, Result]]:
  # Long to import, and not needed for one file.
  import dask
  import distributed

  # Dask tells of every process that comes and goes.
  logging.getLogger('distributed').setLevel(logging.CRITICAL)
  settings = {
    # A worker that dies takes its task with it: once may be bad luck, twice is the file.
    'distributed.scheduler.allowed-failures': 1,
    'logging.distributed': 'critical',
    # Dask has workers give memory back at once: for blocks of frames, that takes as long as the
    # work itself.
    'distributed.nanny.pre-spawn-environ': {
      'MALLOC_TRIM_THRESHOLD_': 2**28,
      'MALLOC_MMAP_THRESHOLD_': 2**28,
      'OMP_NUM_THREADS': 1,
    },
  }
  with dask.config.set(settings):
    if scheduler:
      try:
        client = distributed.Client(scheduler, timeout=_CONNECT_TIMEOUT)
      except (OSError, ValueError) as error:
        raise InputError(
          f'--scheduler={scheduler}: no Dask scheduler answers there: start one (dask scheduler), '
          f'or leave the flag out for local processes ({error})'
        ) from error
      cluster = None
    else:
      cluster = distributed.LocalCluster(
        n_workers=num_workers,
        threads_per_worker=1,
        memory_limit=0,
        dashboard_address='127.0.0.1:0',
        host='127.0.0.1',
        # Also in the workers: when all is done, one may still look for the scheduler.
        silence_logs=logging.CRITICAL,
      )
      client = distributed.Client(cluster)
    try:
      futures = {client.submit(job, pure=False): i for i, job in enumerate(jobs)}
      lost = []
      for future in distributed.as_completed(futures):
        if future.exception() is None:
          yield futures[future], future.result()
        else:  # Dask's own: of a process that died
          lost.append(futures[future])
      # A process that dies takes along the tasks that wait there. Alone, each shows whether it is
      # the cause.
      for i in lost:
        future = client.submit(jobs[i], pure=False)
        if (raised := future.exception()) is None:
          yield i, future.result()
        else:
          yield i, Result(names[i], errors=(f'{names[i]}: {type(raised).__name__}: {raised}',))
    finally:
      client.close()
      if cluster is not None:
        cluster.close()


def _report_progress(
  finished: Iterator[tuple[int, Result]], total: int, unit: str
) -> Iterator[tuple[int, Result]]:
  """A bar on a terminal; a line now and then in a log."""
  start = last = time.monotonic()
  frames = num_bytes = 0
  with tqdm.tqdm(total=total, unit=unit, disable=None, leave=False) as bar:
    for done, (i, result) in enumerate(finished, start=1):
      yield i, result
      now = time.monotonic()
      frames += result.frames
      num_bytes += result.num_bytes
      seconds = max(now - start, 1e-3)
      speed = f'{frames / seconds:.0f} frames/s, {num_bytes / seconds / 1e6:.0f} MB/s'
      bar.set_postfix_str(speed, refresh=False)
      bar.update()
      if bar.disable and total > 1 and (now - last > _SECONDS_BETWEEN_LINES or done == total):
        left = (now - start) / done * (total - done)
        print(f'{done} of {total} {unit}s, {speed}, {left:.0f} s left', file=sys.stderr, flush=True)
        last = now

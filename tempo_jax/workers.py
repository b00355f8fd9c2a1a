"""One task per file or protein, shared out to local processes or a Dask cluster.

A task that fails never stops the others: its error is reported at the end. Dask's processes import
the function that does the work by its name; on a cluster, they need tempo_jax installed, and the
same files at the same paths.
"""

import dataclasses
import functools
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tempo_jax import extras, progress
from tempo_jax.errors import InputError

_MOST_LINES = 200


@dataclasses.dataclass(frozen=True)
class Result:
  """The outcome of one task.

  Attributes:
    name: of the file or protein.
    lines: to report: what was prepared, skipped, cut, left out.
    errors: one line for each problem.
    frames: number of frames done.
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
    names: what messages call each task.
    num_workers: local processes, each for one task at a time; by default one per core, or one where
      Dask is not installed. One worker, or one task, is this process, which needs no Dask.
    scheduler: address of a Dask cluster, in place of local processes. Dask's setting
      `distributed.comm.timeouts.connect` says how long to try it.
    unit: what a task is, for the progress.

  Returns:
    Results in the order of the tasks. What `work` raised, or died of, is the error of its result.

  Raises:
    InputError: Dask is not installed, or there is no cluster at that address.
  """
  if num_workers is None and not scheduler and not importlib.util.find_spec('distributed'):
    num_workers = 1
  num_workers = min(num_workers or os.cpu_count() or 1, len(tasks))
  jobs = [functools.partial(_attempt, work, *job) for job in zip(names, tasks, strict=True)]
  finished: Iterator[tuple[int, Result]]
  if num_workers <= 1 and not scheduler:
    finished = ((i, job()) for i, job in enumerate(jobs))
  else:
    finished = _by_dask(jobs, names, num_workers, scheduler)
  results = dict(_report_progress(finished, len(tasks), unit))
  return [results[i] for i in range(len(tasks))]


def summarize(results: Sequence[Result], errors: Iterable[str] = ()) -> int:
  """Prints what became of all files; errors on stderr.

  Args:
    results: of the files.
    errors: of no file that was read, e.g. what is missing.

  Returns:
    The exit code: 1 if there were errors.
  """
  lines = list(dict.fromkeys(line for result in results for line in result.lines))
  for line in lines[:_MOST_LINES]:
    print(line)
  if len(lines) > _MOST_LINES:
    print(f'... and {len(lines) - _MOST_LINES} lines more')
  wrong = list(dict.fromkeys(line for result in results for line in result.errors))
  wrong += errors
  for line in wrong:
    print(f'error: {" ".join(line.split())}', file=sys.stderr)
  frames = sum(result.frames for result in results)
  bad = sum(1 for result in results if result.errors)
  print(
    f'{frames} frames written; {len(results)} files read'
    + (f', {bad} of them with the errors above' if bad else '' if wrong else ', no errors')
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
  dask, distributed = (extras.require(name, 'prepare') for name in ('dask', 'distributed'))
  # Dask logs every process that starts or ends.
  logging.getLogger('distributed').setLevel(logging.CRITICAL)
  settings = {
    # A worker that dies takes its task with it: once may be bad luck, twice is the file.
    'distributed.scheduler.allowed-failures': 1,
    'logging.distributed': 'critical',
    # By default workers return memory to the system at once: with blocks of frames, that takes as
    # long as the work itself.
    'distributed.nanny.pre-spawn-environ': {
      'MALLOC_TRIM_THRESHOLD_': 2**28,
      'MALLOC_MMAP_THRESHOLD_': 2**28,
      'OMP_NUM_THREADS': 1,
    },
  }
  with dask.config.set(settings):
    if scheduler:
      try:
        client = distributed.Client(scheduler)
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
  start = time.monotonic()
  frames = num_bytes = 0
  with progress.Progress(total=total, unit=unit) as shown:
    for done, (i, result) in enumerate(finished, start=1):
      yield i, result
      frames += result.frames
      num_bytes += result.num_bytes
      seconds = max(time.monotonic() - start, 1e-3)
      speed = f'{frames / seconds:.0f} frames/s, {num_bytes / seconds / 1e6:.0f} MB/s'
      left = seconds / done * (total - done)
      line = f'{done} of {total} {unit}s, {speed}, {left:.0f} s left'
      shown.update(1, line, postfix=speed, now=done == total > 1)

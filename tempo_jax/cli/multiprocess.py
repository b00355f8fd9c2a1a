"""Several processes, on one machine or many, that do one thing together."""

import contextlib
import pathlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import flags
from jax.experimental import multihost_utils

from tempo_jax.errors import InputError

_T = TypeVar('_T')
_PATH_BYTES = 4096


def define_flags(values: flags.FlagValues) -> None:
  """How the processes find each other; their values are for `join`."""
  flags.DEFINE_string(
    'coordinator_address',
    None,
    'host:port of process 0 when several processes work together; "auto" lets JAX find it (SLURM, '
    'TPU pods). Default: one process.',
    flag_values=values,
  )
  flags.DEFINE_integer('num_processes', None, 'Processes that work together.', flag_values=values)
  flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0.', flag_values=values)


def join(values: flags.FlagValues) -> None:
  """Waits for the others, if there are any; before JAX is used.

  Raises:
    InputError: flags are missing, or do not fit together.
  """
  address, count, index = values.coordinator_address, values.num_processes, values.process_id
  if address == 'auto':
    _initialize()
    return
  if address is None and count is None and index is None:
    return
  if address is None or count is None or index is None or not 0 <= index < count:
    raise InputError(
      '--coordinator_address=HOST:PORT, --num_processes=N and --process_id=0...N-1 go together: '
      'give all three'
    )
  _initialize(address, count, index)


def _initialize(*args: Any) -> None:
  # JAX waits for SIGTERM, too, and does nothing about it.
  handler = signal.getsignal(signal.SIGTERM)
  jax.distributed.initialize(*args)
  if handler is not None and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGTERM, handler)


def is_first() -> bool:
  """Whether this process speaks for all."""
  return jax.process_index() == 0


def share(work: Sequence[_T]) -> Sequence[_T]:
  """What of it this process does: one of every so many, so that neighbours go to different ones."""
  return work[jax.process_index() :: jax.process_count()]


@contextlib.contextmanager
def together() -> Iterator[None]:
  """All processes leave the block together; where one fails, all do.

  A process that dies at once (SIGKILL, Ctrl-C) cannot say so: the others end at the time-out of
  jax.distributed, some minutes.

  Raises:
    InputError: another process has failed.
  """
  try:
    yield
  except Exception as error:
    _gather(True)
    if isinstance(error, OSError) and not is_first():
      raise InputError(f'{error}: all processes must share the folder of --out') from error
    raise
  failed = np.flatnonzero(_gather(False))
  if len(failed):
    raise InputError(f'process {failed[0]} failed: see what it says')


def _gather(failed: bool) -> np.ndarray:
  """[processes] bool."""
  if jax.process_count() == 1:
    return np.array([failed])
  return np.ravel(multihost_utils.process_allgather(np.array(failed)))


def of_first(numbers: np.ndarray) -> np.ndarray:
  """The numbers that process 0 gave, as many as the others give."""
  if jax.process_count() == 1:
    return numbers
  return np.asarray(multihost_utils.broadcast_one_to_all(numbers))


def path_of_first(path: pathlib.Path | None) -> pathlib.Path:
  """The path that process 0 gave; what the others give does not matter."""
  if path is not None and jax.process_count() == 1:
    return path
  text = np.frombuffer(str(path or '').encode().ljust(_PATH_BYTES, b'\0'), np.uint8)
  return pathlib.Path(of_first(text).tobytes().rstrip(b'\0').decode())

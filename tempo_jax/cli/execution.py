"""Compiles and computes, with the clock running and the progress on the terminal."""

import contextlib
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tqdm

from tempo_jax.compilation import ahead_of_time, interruption
from tempo_jax.errors import InputError
from tempo_jax.output import provenance

_SECONDS_BETWEEN_LINES = 20.0


@dataclasses.dataclass(frozen=True)
class Seconds:
  """Wall time of compiling, and of sampling with writing, s."""

  compiling: float
  sampling: float


def compute(function: Callable[..., jax.Array], *args: Any) -> tuple[np.ndarray, Seconds]:
  """Calls a jitted function, compiled ahead of time, and prints the progress.

  Args:
    function: to call.
    *args: its arguments.

  Returns:
    Its value, and the times taken.

  Raises:
    InputError: the device ran out of memory.
  """
  with memory_errors('--segment_batch_size'):
    started = time.monotonic()
    with Compiling():
      compiled = ahead_of_time.compiled(function, *args)
    compiling = time.monotonic() - started
    print(f'compiled in {compiling:.1f} s; sampling ...', flush=True)
    started = time.monotonic()
    with interruption.leaving():
      value = on_host(compiled(*args))
    sampling = time.monotonic() - started
  print(f'sampled in {sampling:.1f} s', flush=True)
  return value, Seconds(compiling, sampling)


def on_host(array: jax.Array) -> np.ndarray:
  """The array, once it has been computed; Ctrl-C is heard meanwhile."""
  # The declared type of arrays lacks the method.
  while not array.is_ready():  # type: ignore[attr-defined]
    time.sleep(0.005)
  return np.asarray(array)


class Compiling:
  """Says that something compiles: a line, which on a terminal counts the seconds."""

  def __init__(self) -> None:
    """Prints the line."""
    self._text = f'compiling for {provenance.device()["kind"]} ...'
    self._started = time.monotonic()
    self._done = threading.Event()
    self._thread: threading.Thread | None = None
    # The stream may have been replaced since the process began.
    if sys.stdout.isatty():
      self._thread = threading.Thread(target=self._count, daemon=True)
      self._thread.start()
    else:
      print(self._text, flush=True)

  def _count(self) -> None:
    while True:
      print(f'\r{self._text} {time.monotonic() - self._started:.0f} s', end='', flush=True)
      if self._done.wait(1.0):
        return

  def stop(self) -> None:
    """Ends the count; may be called again."""
    if self._thread is not None and not self._done.is_set():
      self._done.set()
      self._thread.join()
      print(flush=True)

  def __enter__(self) -> 'Compiling':
    """Itself."""
    return self

  def __exit__(self, *error: object) -> None:
    """Ends the count."""
    self.stop()


@contextlib.contextmanager
def memory_errors(batch_flags: str) -> Iterator[None]:
  """Turns running out of device memory into an `InputError`.

  Args:
    batch_flags: the flags to lower.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    raise InputError(
      f'the device ran out of memory: lower {batch_flags}, or ask for fewer frames '
      f'({str(error).splitlines()[0]})'
    ) from error


class ProgressBar:
  """A bar on a terminal, a line every 20 s elsewhere; nothing for short runs."""

  def __init__(self, num_frames: int):
    """Starts the clock.

    Args:
      num_frames: of all trajectories together.
    """
    self._num_frames, self._done = num_frames, 0
    self._started = self._last = time.monotonic()
    self._bar = tqdm.tqdm(
      total=num_frames, unit='frame', disable=None, leave=False, dynamic_ncols=True, delay=1.0
    )

  def add(self, num_frames: int) -> None:
    """Counts frames that have been written."""
    self._done += num_frames
    self._bar.update(num_frames)
    now = time.monotonic()
    if self._bar.disable and now - self._last > _SECONDS_BETWEEN_LINES:
      self._last = now
      rate = self._done / (now - self._started)
      print(
        f'frame {self._done:,} of {self._num_frames:,}, {rate:,.0f} frames/s',
        flush=True,
      )

  def close(self) -> None:
    """Removes the bar."""
    self._bar.close()

"""Compiles and computes, with the clock running and the progress on the terminal."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import tqdm

from tempo_jax.compilation import ahead_of_time
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
    announce()
    started = time.monotonic()
    compiled = ahead_of_time.compiled(function, *args)
    compiling = time.monotonic() - started
    print(f'compiled in {compiling:.1f} s; sampling ...', flush=True)
    started = time.monotonic()
    value = np.asarray(compiled(*args))
    sampling = time.monotonic() - started
  print(f'sampled in {sampling:.1f} s', flush=True)
  return value, Seconds(compiling, sampling)


def announce() -> None:
  """Prints that compiling begins."""
  print(f'compiling for {provenance.device()["kind"]} ...', flush=True)


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

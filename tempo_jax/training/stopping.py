"""When a run is asked to stop, and what all of its processes must agree on."""

import contextlib
import signal
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


class StopRequest:
  """Turns SIGTERM and the first Ctrl-C into a wish that the loop grants between steps."""

  def __init__(self):
    self.wanted = False
    self._previous: dict[int, Any] = {}

  def __enter__(self) -> 'StopRequest':
    # Signals reach the main thread only; elsewhere (a notebook's worker) nothing is caught.
    with contextlib.suppress(ValueError):
      for number in (signal.SIGTERM, signal.SIGINT):
        self._previous[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *_: object) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _handle(self, number: int, frame: Any) -> None:
    if self.wanted:  # A second Ctrl-C means now.
      raise KeyboardInterrupt
    self.wanted = True


def agreed(wanted: bool, ask: bool) -> bool:
  """Whether any process wants to stop: all must stop after the same step.

  Asking costs a round trip between processes, so several of them only do it when `ask` says so.
  """
  if jax.process_count() == 1:
    return wanted
  return ask and bool(np.any(multihost_utils.process_allgather(np.array(wanted))))


def of_first_process(value: float) -> float:
  """A number that all processes must agree on: it decides whether they go on together."""
  if jax.process_count() == 1:
    return value
  return float(multihost_utils.process_allgather(np.float32(value))[0])

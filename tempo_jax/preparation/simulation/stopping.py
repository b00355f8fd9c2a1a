"""SIGINT and SIGTERM: a simulation ends at its next checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class StoppedError(Exception):
  """The user stopped the simulation by a signal; a checkpoint was written."""

  def __init__(self, signal_number: int, message: str):
    super().__init__(message)
    self.signal_number = signal_number


@contextlib.contextmanager
def collected_signals() -> Iterator[list[int]]:
  """Collects SIGINT and SIGTERM, which would otherwise end the process between two writes."""
  caught: list[int] = []
  if threading.current_thread() is not threading.main_thread():  # which alone gets signals
    yield caught
    return
  numbers = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, lambda got, _: caught.append(got)) for number in numbers]
  try:
    yield caught
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)

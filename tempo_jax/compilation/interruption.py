"""Ctrl-C while XLA works: heard at once, and the end of the process waits for nothing.

XLA's compiler returns to Python when it is done, tens of seconds later, and Python runs the
handlers of signals between two of its own steps, in the main thread. What devices compute goes on
in the background; the end of Python waits for it, too.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

_T = TypeVar('_T')
_POLL_SECONDS = 0.1
# As the main thread's on Linux and more than it on macOS; else `ulimit -s unlimited` means 2 MiB.
_STACK_BYTES = 1 << 24
_left = threading.Event()


def call(function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
  """Calls what works outside Python, in a thread of its own, while the main thread hears signals.

  After a KeyboardInterrupt the thread goes on; a process that ends as usual waits for it.

  Args:
    function: to call.
    *args: its arguments.
    **kwargs: the same.

  Returns:
    Its value. What it raises is raised here.
  """
  if threading.current_thread() is not threading.main_thread():  # Which hears signals anyway.
    return function(*args, **kwargs)
  values: list[_T] = []
  errors: list[BaseException] = []
  done = threading.Event()

  def work() -> None:
    try:
      values.append(function(*args, **kwargs))
    except BaseException as error:
      errors.append(error)
    finally:
      done.set()

  with leaving():
    earlier = threading.stack_size(_STACK_BYTES)
    try:
      threading.Thread(target=work, name='XLA').start()
    finally:
      threading.stack_size(earlier)
    while not done.wait(_POLL_SECONDS):
      pass
  if errors:
    raise errors.pop()
  return values.pop()


@contextlib.contextmanager
def leaving() -> Iterator[None]:
  """A KeyboardInterrupt in this block leaves work of XLA behind that nobody wants any more."""
  try:
    yield
  except KeyboardInterrupt:
    _left.set()
    raise


def is_left() -> bool:
  """Whether there may be such work: the process is then best ended without waiting."""
  return _left.is_set()

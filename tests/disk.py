"""A disk that is full, as far as a test can have one without root."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
  """No file of this process grows beyond `size` bytes: a write fails there, or is cut off there.

  The operating system says so (EFBIG) as it says that a disk is full (ENOSPC), to whoever asks.
  """
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

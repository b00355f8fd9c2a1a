"""Progress on stderr: a bar on a terminal, in a log a line now and then."""

import sys
import time
from typing import Any

import tqdm

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
  """A context manager.

      with progress.Progress(total=10, unit='file') as shown:
        for k in range(10):
          ...
          shown.update(1, f'{k + 1} of 10 files')

  Attributes:
    bar: the bar of tqdm; disabled in a log.
  """

  def __init__(self, *, bar: bool = True, **options: Any):
    """Shows an empty bar.

    Args:
      bar: False: lines only, as where the bars of several processes would overwrite each other.
      **options: of `tqdm.tqdm`.
    """
    self.bar = tqdm.tqdm(disable=None if bar else True, leave=False, **options)
    self._last = time.monotonic()

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, *_) -> None:
    self.bar.close()

  def update(self, count: float, line: str, *, postfix: str = '', now: bool = False) -> None:
    """Advances the bar; in a log, prints a line if the last one is long ago.

    Args:
      count: to advance by.
      line: for a log.
      postfix: what to show behind the bar.
      now: print the line, however recent the last one is.
    """
    if postfix:
      self.bar.set_postfix_str(postfix, refresh=False)
    self.bar.update(count)
    if self.bar.disable and (now or time.monotonic() - self._last > _SECONDS_BETWEEN_LINES):
      print(line, file=sys.stderr, flush=True)
      self._last = time.monotonic()

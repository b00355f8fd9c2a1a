"""Compiled programs are kept from run to run, so that the second one starts at once."""

import contextlib
import dataclasses
import itertools
import logging
import os
import pathlib
from collections.abc import Iterable, Iterator

import jax
from jax.experimental.compilation_cache import compilation_cache

_LOG = logging.getLogger('tempo_jax')
OFF = 'off'
_DIRECTORY = 'jax_compilation_cache_dir'
EXECUTABLE = '.executable'
# Names that whole executables, and those that JAX keeps, end in.
_PROGRAMS = (EXECUTABLE, '-cache')
# The directory that `use` chose, if it did.
_chosen: list[pathlib.Path] = []
# Shorter compilations are not worth a file.
_LEAST_SECONDS = 0.3
MOST_BYTES = 1 << 30
"""That a cache may hold; an executable of the bundled model has some MB."""


def default_directory() -> pathlib.Path:
  """Where the user's caches are: $XDG_CACHE_HOME or ~/.cache, and tempo_jax/compiled in it."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'tempo_jax' / 'compiled'


@contextlib.contextmanager
def bypassed() -> Iterator[None]:
  """Programs compiled here neither come from JAX's own cache nor go there.

  What comes from there cannot be serialised again: jaxlib 0.10.2 writes such an executable without
  some of its functions, and it fails when it is called.
  """
  enabled = 'jax_enable_compilation_cache'
  before = getattr(jax.config, enabled)
  jax.config.update(enabled, False)
  compilation_cache.reset_cache()  # It asks once per process whether it is enabled.
  try:
    yield
  finally:
    jax.config.update(enabled, before)
    compilation_cache.reset_cache()


def use(directory: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
  """Keeps what is compiled from now on in a directory, and looks there first.

  A directory that JAX was told already (JAX_COMPILATION_CACHE_DIR) stays, unless another is asked
  for. One that cannot be written is done without: only time is lost.

  Args:
    directory: None: `default_directory()`; 'off': none.

  Returns:
    The directory in use, or None.
  """
  if directory == OFF:
    jax.config.update(_DIRECTORY, None)
    return None
  known = getattr(jax.config, _DIRECTORY)
  if directory is None and known:
    return pathlib.Path(known)
  try:
    chosen = pathlib.Path(directory or default_directory()).expanduser()
    chosen.mkdir(parents=True, exist_ok=True)
    if not os.access(chosen, os.W_OK | os.X_OK):
      raise PermissionError(13, 'no permission to write', str(chosen))
  except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory.
    _LOG.warning('compiled programs are not kept: %s', error)
    jax.config.update(_DIRECTORY, None)
    return None
  evict(chosen)
  jax.config.update(_DIRECTORY, str(chosen))
  _chosen[:] = [chosen]
  jax.config.update('jax_persistent_cache_min_compile_time_secs', _LEAST_SECONDS)
  return chosen


def directory() -> pathlib.Path | None:
  """Where `use` keeps programs; None: nowhere, or where JAX was told to, which is JAX's alone."""
  known = getattr(jax.config, _DIRECTORY)
  return _chosen[0] if _chosen and str(_chosen[0]) == known else None


@dataclasses.dataclass(frozen=True)
class Usage:
  """What a cache holds.

  Attributes:
    num_programs: files of compiled programs.
    num_bytes: of all of them.
  """

  num_programs: int
  num_bytes: int


def usage(folder: pathlib.Path) -> Usage:
  """What a cache holds."""
  sizes = [size for _, size, _ in _entries(folder)]
  return Usage(len(sizes), sum(sizes))


def clear(folder: pathlib.Path) -> None:
  """Removes all compiled programs; a program in use goes on."""
  _remove(path for _, _, path in _entries(folder))


def evict(folder: pathlib.Path, most_bytes: int = MOST_BYTES) -> None:
  """Removes the programs that were last used the longest ago, until the others fit.

  Args:
    folder: the cache.
    most_bytes: that may stay.
  """
  entries = sorted(_entries(folder), reverse=True)
  sizes = itertools.accumulate(size for _, size, _ in entries)
  _remove(path for (_, _, path), total in zip(entries, sizes, strict=True) if total > most_bytes)


def _entries(folder: pathlib.Path) -> list[tuple[float, int, pathlib.Path]]:
  """When last used (s), size and path of every program that is ours.

  Where JAX keeps programs of other projects, too, only whole executables are known to be.
  """
  found = []
  ours = _PROGRAMS if folder == default_directory() else EXECUTABLE
  with contextlib.suppress(OSError):
    for path in folder.iterdir():
      with contextlib.suppress(OSError):
        stat = path.stat()
        # Nothing else that the folder may hold is ours to remove.
        if path.name.endswith(ours):
          found.append((max(stat.st_atime, stat.st_mtime), stat.st_size, path))
  return found


def _remove(paths: Iterable[pathlib.Path]) -> None:
  for path in list(paths):
    with contextlib.suppress(OSError):  # Another process was quicker.
      path.unlink()

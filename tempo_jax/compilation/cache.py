"""Compiled programs are kept from run to run, so that the second one starts at once."""

import logging
import os
import pathlib

import jax

_LOG = logging.getLogger('tempo_jax')
OFF = 'off'
_DIRECTORY = 'jax_compilation_cache_dir'
# Shorter compilations are not worth a file.
_LEAST_SECONDS = 0.3


def default_directory() -> pathlib.Path:
  """Where the user's caches are: $XDG_CACHE_HOME or ~/.cache, and tempo_jax/compiled in it."""
  base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(base) / 'tempo_jax' / 'compiled'


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
  jax.config.update(_DIRECTORY, str(chosen))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', _LEAST_SECONDS)
  return chosen

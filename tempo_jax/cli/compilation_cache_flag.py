"""The flag --compilation_cache_dir."""

import os
import pathlib

from absl import flags

from tempo_jax.compilation import cache


def define_flags(values: flags.FlagValues) -> None:
  """Defines it."""
  flags.DEFINE_string(
    'compilation_cache_dir',
    None,
    'Directory that keeps compiled programs from run to run; "off": none. Default: '
    'tempo_jax/compiled in $XDG_CACHE_HOME or ~/.cache. `tempo-jax cache` shows and clears it.',
    flag_values=values,
  )


def folder(values: flags.FlagValues) -> pathlib.Path | None:
  """The directory that `use` would choose; None: none."""
  if values.compilation_cache_dir == cache.OFF:
    return None
  told = values.compilation_cache_dir or os.environ.get('JAX_COMPILATION_CACHE_DIR')
  return pathlib.Path(told).expanduser() if told else cache.default_directory()


def use(values: flags.FlagValues) -> None:
  """Compiled programs are kept there from now on."""
  cache.use(values.compilation_cache_dir)

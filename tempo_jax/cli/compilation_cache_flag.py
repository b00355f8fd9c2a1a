"""The flag --compilation_cache_dir."""

from absl import flags

from tempo_jax.compilation import cache


def define_flags(values: flags.FlagValues) -> None:
  """Defines it."""
  flags.DEFINE_string(
    'compilation_cache_dir',
    None,
    'Directory that keeps compiled programs from run to run; "off": none. Default: '
    'tempo_jax/compiled in $XDG_CACHE_HOME or ~/.cache. May be deleted at any time.',
    flag_values=values,
  )


def use(values: flags.FlagValues) -> None:
  """Compiled programs are kept there from now on."""
  cache.use(values.compilation_cache_dir)

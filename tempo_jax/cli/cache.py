"""Shows or clears the compiled programs that are kept from run to run.

    tempo-jax cache
    tempo-jax cache --clear

They make the second run of a command start at once; clearing them costs time only. Beyond 1 GiB,
those that were used the longest ago go by themselves. In another folder than the default one,
programs that JAX keeps may be those of other projects: only whole executables are counted and
cleared there.
"""

from absl import flags

from tempo_jax.cli import compilation_cache_flag
from tempo_jax.compilation import cache


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_bool('clear', False, 'Remove them.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """Prints what there is, and removes it if asked to."""
  folder = compilation_cache_flag.folder(values)
  if folder is None:
    print('no programs are kept: --compilation_cache_dir=off')
    return
  usage = cache.usage(folder)
  print(f'{folder}: {usage.num_programs} programs, {usage.num_bytes / 2**20:.1f} MiB')
  if values.clear:
    cache.clear(folder)
    print('cleared')

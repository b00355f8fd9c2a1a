"""The flags of commands that share their work out to several processes."""

from absl import flags


def define_flags(values: flags.FlagValues) -> None:
  """--num_workers and --scheduler, for `workers.run`."""
  flags.DEFINE_integer(
    'num_workers',
    None,
    'Local processes. Default: one per core.',
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_string(
    'scheduler',
    None,
    'Address of a Dask scheduler, e.g. tcp://node1:8786, whose workers have tempo_jax installed '
    'and see the same files. Default: local processes.',
    flag_values=values,
  )

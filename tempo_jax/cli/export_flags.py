"""Flags of files for public benchmarks."""

from absl import flags

from tempo_jax.evaluation.export import exports
from tempo_jax.evaluation.suite import check_name


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list(
    'export',
    [],
    'Write the predictions into OUT/export for these benchmarks, comma-separated: '
    f'{", ".join(exports.BENCHMARKS)}.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'export_model',
    exports.MODEL,
    'Key of the model on the leaderboard of PREMVAL.',
    flag_values=values,
  )


def parse(values: flags.FlagValues) -> exports.Exports:
  """What is wanted.

  Raises:
    InputError: no such benchmark, or no such key.
  """
  check_name(values.export_model, '--export_model')
  found = exports.Exports(tuple(dict.fromkeys(values.export)), values.export_model)
  exports.check(found)
  return found

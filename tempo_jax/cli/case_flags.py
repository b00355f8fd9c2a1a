"""Flags of the proteins that `evaluate` compares: one, or a suite."""

import dataclasses
import math
import pathlib

from absl import flags

from tempo_jax.errors import InputError
from tempo_jax.evaluation.suite import Case, check_name, read_suite

_TIMES = ('prediction_dt_ns', 'reference_dt_ns')


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'suite', None, 'JSON list of proteins to evaluate; in place of one protein.', flag_values=values
  )
  flags.DEFINE_string(
    'topology',
    None,
    'Native structure of the protein; frames are superposed on it.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'reference',
    [],
    'Trajectory files of MD, comma-separated, each one replica.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'prediction',
    [],
    'Trajectory files to judge, comma-separated, each one replica: also PDB and mmCIF with several '
    'models, folders of PDB or mmCIF files, each a frame, and arrays (.npy).',
    flag_values=values,
  )
  flags.DEFINE_string(
    'reference_topology',
    None,
    'Structure with the atoms of the reference. Default: topology.pdb or NAME.pdb beside it, or '
    '--topology.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'prediction_topology',
    None,
    'Structure with the atoms of the prediction. Default: topology.pdb or NAME.pdb beside it, or '
    '--topology.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'name', None, 'Name of the protein. Default: that of --topology.', flag_values=values
  )
  for flag, of in zip(_TIMES, ('prediction', 'reference'), strict=True):
    flags.DEFINE_float(
      flag,
      None,
      f'Time between frames of the {of}, ns, whatever its files say; of proteins whose suite says '
      'none. Default: as the files say.',
      flag_values=values,
    )


def parse(values: flags.FlagValues) -> list[Case]:
  """The proteins that the flags name.

  Raises:
    InputError: flags that are missing, or contradict each other; a suite that cannot be read.
  """
  for flag in _TIMES:
    dt_ns = values[flag].value
    if dt_ns is not None and not 0.0 < dt_ns < math.inf:
      raise InputError(f'--{flag}={dt_ns:g}: give a number of ns above zero, e.g. 0.01')
  return [
    dataclasses.replace(
      case,
      prediction_dt_ns=case.prediction_dt_ns or values.prediction_dt_ns,
      reference_dt_ns=case.reference_dt_ns or values.reference_dt_ns,
    )
    for case in _cases(values)
  ]


def _cases(values: flags.FlagValues) -> list[Case]:
  single = ('topology', 'reference', 'prediction')
  if values.suite:
    of_one = (*single, 'reference_topology', 'prediction_topology', 'name')
    given = next((flag for flag in of_one if values[flag].value), None)
    if given:
      raise InputError(f'--suite and --{given}: give one protein, or a suite')
    return read_suite(values.suite)
  for flag in single:
    if not values[flag].value:
      raise InputError(f'--{flag} is missing: give one protein, or a --suite; see --help')
  topology = pathlib.Path(values.topology).expanduser()
  name = values.name or topology.name.split('.')[0]
  check_name(name, '--name')

  def optional(flag: str) -> pathlib.Path | None:
    value = values[flag].value
    return pathlib.Path(str(value)).expanduser() if value else None

  return [
    Case(
      name=name,
      topology=topology,
      reference=tuple(pathlib.Path(file).expanduser() for file in values.reference),
      prediction=tuple(pathlib.Path(file).expanduser() for file in values.prediction),
      reference_topology=optional('reference_topology'),
      prediction_topology=optional('prediction_topology'),
    )
  ]

"""Exports a trained model, to share it or to bundle it.

    tempo-jax export --model=RUN --out=DIR

DIR then holds config.json and params.npz: all that `tempo-jax sample --model=DIR` needs, without
the checkpoints of the run. In a clone, --bundle puts the two files into tempo_jax/models/default
instead: RUN becomes the model that samplers use by default.
"""

import pathlib
import shutil
from collections.abc import Sequence

from absl import flags

from tempo_jax import config as config_lib
from tempo_jax import files, models
from tempo_jax.errors import InputError
from tempo_jax.models.model import Model, load_model

PLAIN_ARGUMENTS = 'model'
_BUNDLED = pathlib.Path(models.__file__).parent / 'default'
_IN_CLONE = 'setup.cfg'


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'model',
    None,
    'The workdir of a training run, or another model directory. Required.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'out', None, 'Directory to write: new or empty. Required, unless --bundle.', flag_values=values
  )
  flags.DEFINE_list(
    'gain',
    [],
    'How much wider than the elastic prior samples are, in explicit and in implicit solvent, for '
    'example 1.2,1.1. Default: as the model has it.',
    flag_values=values,
  )
  flags.DEFINE_list(
    'rotamer_stay',
    [],
    'Added to the logit of the well that a torsion of a side chain is in: the more, the less often '
    'rotamers change. LAG:CHI1:OTHERS:PUCKERS, one or more, lags in ns and ascending, interpolated '
    'between them; for example 0.01:3:0.5:-1,0.2:1:0:0. Where solvents differ, '
    'LAG:CHI1:OTHERS:PUCKERS:CHI1:OTHERS:PUCKERS, explicit and then implicit solvent. Default: as '
    'the model has it.',
    flag_values=values,
  )
  flags.DEFINE_bool(
    'bundle',
    False,
    'Replace the bundled model of this clone; its card and demo structure stay.',
    flag_values=values,
  )


def main(values: flags.FlagValues) -> None:
  """Writes the model, whole or not at all.

  Raises:
    InputError: a flag is missing, there is no such model, or it cannot be written.
  """
  if not values.model:
    raise InputError('--model is missing: give the workdir of a training run')
  if bool(values.out) == values.bundle:
    raise InputError('give either --out=DIR or --bundle')
  if values.bundle and not (_BUNDLED.parents[2] / _IN_CLONE).is_file():
    raise InputError(f'--bundle: {_BUNDLED} is not in a clone of tempo_jax: give --out=DIR')
  model = load_model(values.model)
  model = model.calibrated(_gain_of(values.gain), _rows_of(values.rotamer_stay))
  if values.bundle:
    replace(model, _BUNDLED)
    print(f'replaced in {_BUNDLED}; bring MODEL_CARD.md and unseen_md.json there up to date')
  else:
    model.save(values.out)
    print(f'written to {values.out}; sample: tempo-jax sample --model={values.out}')


def _gain_of(words: Sequence[str]) -> tuple[float, float] | None:
  """What --gain says."""
  if not words:
    return None
  try:
    in_explicit, in_implicit = map(float, words)
  except ValueError as error:
    raise InputError(f'--gain={",".join(words)}: give two numbers, for example 1.2,1.1') from error
  return in_explicit, in_implicit


def _rows_of(words: Sequence[str]) -> tuple[tuple[float, ...], ...] | None:
  """What --rotamer_stay says."""
  if not words:
    return None
  try:
    return config_lib.stay_rows([[float(number) for number in word.split(':')] for word in words])
  except (ValueError, InputError) as error:
    raise InputError(
      f'--rotamer_stay={",".join(words)}: give a lag in ns and three numbers, or six, each, lags '
      'ascending, for example 0.01:3:0.5:-1,0.2:1:0:0'
    ) from error


def replace(model: Model, directory: pathlib.Path) -> None:
  """Replaces the model in a directory, whose other files stay.

  Both files change at once: the directory is renamed, not its files.

  Raises:
    InputError: it cannot be written; the directory is then as it was.
  """
  with files.hidden_folder(directory.parent, directory) as folder:
    new, old = folder / 'new', folder / 'old'
    model.save(new)
    written = {file.name for file in new.iterdir()}
    for file in directory.iterdir():
      if file.name not in written:
        shutil.copy2(file, new)
    directory.rename(old)
    try:
      new.rename(directory)
    except OSError:
      old.rename(directory)
      raise

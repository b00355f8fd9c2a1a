"""`config.json` of a model directory: the model's configuration, or that of a whole experiment."""

import json
import os
import pathlib
from typing import Any

from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import files
from tempo_jax.errors import InputError

NAME = 'config.json'


def write(folder: str | os.PathLike[str], config: Any) -> None:
  """Writes the file, whole or not at all.

  Args:
    folder: the model directory.
    config: with a section `model`.
  """
  text = json.dumps(config_lib.to_dict(config), indent=2)
  files.write_text(pathlib.Path(folder) / NAME, f'{text}\n')


def read(folder: str | os.PathLike[str]) -> config_dict.ConfigDict:
  """What `write` wrote, now or with an earlier version of the same network.

  Raises:
    InputError: the file is damaged, or describes a network that this version does not have.
  """
  path = pathlib.Path(folder) / NAME
  try:
    values = json.loads(path.read_text())
    # Every configuration held this switch; True only those of experiments.
    shared = values['model'].pop('shared_levels', False)
    config = config_lib.from_dict(values)
    config_lib.complete_paper_config(config.model)
    # What is calibrated after training: before there was such a thing, nothing was.
    config.model.rotamer_stay = config.model.get('rotamer_stay', ())
    if 'memory' in config.model:
      config.model.memory.gain = config.model.memory.get('gain', (1.0, 1.0))
    missing = config_lib.missing_settings(config.model)
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    what = ' '.join(f'{type(error).__name__}: {error}'.split())
    raise InputError(f'{path} is damaged ({what}): copy or train it again') from error
  if shared:
    raise InputError(
      f'{path}: shared_levels = True: levels no longer share their parameters: train it again'
    )
  if missing:
    raise InputError(
      f'{path} is of an older version of tempo_jax, whose network differs (it lacks '
      f'{", ".join(missing)}): train it again, into another directory'
    )
  return config

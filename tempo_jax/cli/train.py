"""Trains a model.

    tempo-jax train --config=NAME --workdir=DIR --config.data.store=STORE

NAME is a configuration that comes with tempo_jax, or a file; a :variant may follow. Every setting
of the configuration can be changed on the command line, e.g.
`--config.data.store=DIR --config.train.num_steps=1000`. Run again with the same command, it
resumes. The workdir is a model directory for `tempo-jax sample --model=DIR`.
"""

import difflib
import logging
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import config_flags as config_parsers

from tempo_jax import configs, extras
from tempo_jax.cli import command, compilation_cache_flag, multiprocess
from tempo_jax.errors import InputError
from tempo_jax.training import loop

_CONFIGS = pathlib.Path(configs.__file__).parent
_NOT_CONFIGS = ('__init__', 'common')


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  shipped = [f'  {name}: {command.summary(file)}' for name, file in shipped_configs().items()]
  config_flags.DEFINE_config_file(
    'config',
    None,
    'A Python file, or one of the names below; a :variant may follow. Required.\n'
    + '\n'.join(shipped),
    flag_values=values,
  )
  values['config'].parser = _NameParser('config', lock_config=True)
  flags.DEFINE_string(
    'workdir',
    None,
    'Directory for checkpoints, config.json, metrics.jsonl and TensorBoard events. Required.',
    flag_values=values,
  )
  compilation_cache_flag.define_flags(values)
  multiprocess.define_flags(values)


def shipped_configs() -> dict[str, pathlib.Path]:
  """The configurations that come with tempo_jax: their files by name."""
  files = sorted(_CONFIGS.glob('*.py'))
  return {file.stem: file for file in files if file.stem not in _NOT_CONFIGS}


class _NameParser(config_parsers.ConfigFileFlagParser):
  """Reads configuration files, and shipped ones by their names."""

  def parse(self, path: str):
    """Reads `NAME[:variant]` or `FILE[:variant]`.

    Raises:
      InputError: there is no such file or configuration.
    """
    name, colon, variant = path.partition(':')
    shipped = shipped_configs()
    if name in shipped:
      return super().parse(f'{shipped[name]}{colon}{variant}')
    if not pathlib.Path(name).is_file():
      near = difflib.get_close_matches(name, shipped, n=1)
      hint = f'did you mean {near[0]}?' if near else f'give a file, or one of {", ".join(shipped)}'
      raise InputError(f'no such file or configuration: {hint}')
    try:
      return super().parse(path)
    except InputError:
      raise
    except Exception as error:  # Whatever the user's Python raises.
      raise InputError(f'{name} cannot be used ({type(error).__name__}: {error})') from error


def main(values: flags.FlagValues, train: Callable[[Any, str], Any] = loop.train) -> None:
  """From the flags to `loop.train`, or to another function of configuration and directory."""
  if values.config is None or values.workdir is None:
    raise InputError('--config and --workdir are required; see --help')
  if '://' in values.workdir:
    raise InputError(f'--workdir={values.workdir}: give a local or mounted folder, not a URL')
  extras.require('tensorboardX', 'train')  # Before anything is read or written.
  compilation_cache_flag.use(values)
  multiprocess.join(values)
  devices = jax.devices()
  logging.getLogger('tempo_jax').info('%d devices: %s', len(devices), devices[0].device_kind)
  workdir = os.path.abspath(values.workdir)
  train(values.config, workdir)
  if jax.process_index() == 0:
    print(f'trained into {workdir}; sample: tempo-jax sample --model={workdir}')

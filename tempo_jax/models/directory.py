"""Models on disk: directories that training or `Model.save` wrote, one for all levels or for each.

A directory holds `config.json` and either checkpoints or `params.npz`.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import files, transitions
from tempo_jax.dynamics import level as level_lib
from tempo_jax.errors import InputError
from tempo_jax.models import trained_range

CONFIG_FILE = 'config.json'
PARAMS_FILE = 'params.npz'
# In the file of a model whose levels share their parameters; no level's name.
_SHARED = 'shared'


def save(directory: str | os.PathLike[str], config: Any, params: Mapping[str, Any]) -> None:
  """Writes a model: see `Model.save`."""
  out = pathlib.Path(directory).resolve()
  params = dict(params)
  if config.get('shared_levels', False):
    params = {_SHARED: params[config.levels[0]]}
  flat: dict[str, Any] = traverse_util.flatten_dict(params, sep='/')
  arrays = {key: np.asarray(value) for key, value in flat.items()}
  with files.aside(out) as folder:
    folder.mkdir()
    with open(folder / PARAMS_FILE, 'wb') as file:
      np.savez_compressed(file, allow_pickle=False, **arrays)
    text = json.dumps({'model': config_lib.to_dict(config)}, indent=2)
    (folder / CONFIG_FILE).write_text(f'{text}\n')


def load(directory: pathlib.Path) -> tuple[config_dict.FrozenConfigDict, dict[str, Any]]:
  """Reads and checks a model: see `tempo_jax.model.load_model`.

  Returns:
    The model's configuration, and the parameters per level.

  Raises:
    InputError: there is no such model, a level of it is missing, or it is damaged.
  """
  if not directory.is_dir():
    raise InputError(
      f'no model at {directory}: give a directory that experiments.train wrote, or default'
    )
  if (directory / CONFIG_FILE).exists():
    config, params = _read(directory)
  else:
    parts = sorted(path.parent for path in directory.glob(f'*/{CONFIG_FILE}'))
    if not parts:
      raise InputError(
        f'{directory} is no model directory: neither it nor a folder in it holds {CONFIG_FILE}'
      )
    read = [(part, *_read(part)) for part in parts]
    with _damage_is_one_line(directory):
      config, params = _merge(read)
  with _damage_is_one_line(directory):
    missing = [level for level in config.levels if level not in params]
    if missing:
      raise InputError(
        f'{directory} holds {", ".join(params)} but not {", ".join(missing)}: train that level '
        'too, and give a directory with one folder per level'
      )
    if config_lib.is_of_older_version(config):
      raise InputError(
        f'{directory} is of an older version of tempo_jax, whose network differs: train it again'
      )
    config_lib.check(config)
    config = config_lib.freeze(config)
    _check_params(config, params)
  return config, params


def _read_exported(directory: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  with open(directory / CONFIG_FILE) as file:
    config = config_lib.from_dict(json.load(file)['model'])
  # Opened here, since np.load leaves a damaged file open.
  with (
    open(directory / PARAMS_FILE, 'rb') as stored,
    np.load(stored, allow_pickle=False) as arrays,
  ):
    flat = jax.device_put({key: arrays[key] for key in arrays.files})
  params = traverse_util.unflatten_dict(flat, sep='/')
  if config.get('shared_levels', False):
    params = dict.fromkeys(config.levels, params[_SHARED])
  return config, params


def _read_workdir(directory: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  # Orbax is only needed for directories that training wrote.
  from tempo_jax.training import checkpoint

  config, params, _ = checkpoint.load_params(str(directory))
  # On no device in particular: samplers spread their work over several. Levels may share a tree.
  distinct = {id(tree): jax.tree.map(np.asarray, tree) for tree in params.values()}
  moved = jax.device_put(distinct)
  return config.model, {name: moved[id(tree)] for name, tree in params.items()}


def _read(directory: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  with _damage_is_one_line(directory):
    return (_read_exported if (directory / PARAMS_FILE).exists() else _read_workdir)(directory)


@contextlib.contextmanager
def _damage_is_one_line(directory: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except (InputError, ImportError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # Readers raise whatever they come upon in a damaged file.
    what = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    raise InputError(f'{directory} is damaged: {what}: copy or train it again') from error


def _check_params(config: config_dict.FrozenConfigDict, params: Mapping[str, Any]) -> None:
  """Raises `ValueError` where parameters are not those of the network; compiles nothing."""
  shapes = jax.eval_shape(functools.partial(transitions.init_params, config), jax.random.key(0))
  expected = traverse_util.flatten_dict(shapes, sep='/')
  for level in config.levels:
    level_lib.Level.of(config, level)
    found = traverse_util.flatten_dict(params[level], sep='/')
    for name in sorted(expected.keys() ^ found.keys()):
      raise ValueError(f'{level}/{name} is {"missing" if name in expected else "unknown"}')
    for name, array in found.items():
      if array.shape != expected[name].shape:
        raise ValueError(f'{level}/{name} has shape {array.shape}, not {expected[name].shape}')


def _merge(parts: list[tuple[pathlib.Path, Any, dict[str, Any]]]) -> tuple[Any, dict[str, Any]]:
  """One model from several runs that trained different levels of it."""
  path, config, params = parts[0]
  config = config_lib.from_dict(config_lib.to_dict(config))
  params = dict(params)
  for other, other_config, other_params in parts[1:]:
    for level in other_params:
      if level in params:
        raise InputError(f'{path} and {other} both hold the level {level}: keep one of them')
      config.level[level] = other_config.level[level]
    ours, theirs = (
      {k: v for k, v in config_lib.to_dict(c).items() if k not in ('level', 'trained_on')}
      for c in (config, other_config)
    )
    if ours != theirs:
      raise InputError(
        f'{path} and {other} hold levels of different models: train them from one configuration'
      )
    # Trajectories that were too short for one level may have served the other.
    if 'trained_on' in config and 'trained_on' in other_config:
      config.trained_on.update(trained_range.merge(config.trained_on, other_config.trained_on))
    params |= other_params
  return config, params

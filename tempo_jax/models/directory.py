"""Models on disk: directories that training or `Model.save` wrote, one for all levels or for each.

A directory holds `config.json` and either checkpoints or `params.npz`.
"""

import contextlib
import dataclasses
import functools
import hashlib
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
from tempo_jax.models import centres as centres_lib
from tempo_jax.models import config_file, trained_range, workdir

_PARAMS_FILE = 'params.npz'
# In config.json: configuration and parameters belong together (`_fingerprint`). To find out anew is
# to trace the initialisers of the network: seconds.
_CHECKED = 'parameters'
# To be raised when the network of a configuration gets other parameters.
_NETWORK = 5
_BUNDLED = pathlib.Path(__file__).parent / 'default'


def save(
  directory: str | os.PathLike[str],
  config: Any,
  params: Mapping[str, Any],
  centres: centres_lib.Centres,
) -> None:
  """Writes a model: see `Model.save`."""
  check_params(config_lib.freeze(config), params)
  arrays = {key: np.asarray(value) for key, value in _flat(params).items()}
  with files.aside(pathlib.Path(directory).resolve()) as folder:
    folder.mkdir()
    with open(folder / _PARAMS_FILE, 'wb') as file:
      np.savez_compressed(file, allow_pickle=False, **arrays)
    model = config_lib.to_dict(config)
    centres_lib.write(folder, centres)
    config_file.write(folder, {'model': model, _CHECKED: _fingerprint(model, arrays)})


def _fingerprint(model: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
  """Of a configuration and the shapes of parameters: whether they were together before."""
  shapes = sorted((name, *map(int, array.shape)) for name, array in arrays.items())
  text = json.dumps([_NETWORK, model, shapes], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Part:
  """A folder that holds some levels of a model, or all.

  Attributes:
    folder: the folder.
    config: its configuration, of the experiment where training wrote it.
    levels: names of the levels whose parameters it holds.
  """

  folder: pathlib.Path
  config: config_dict.ConfigDict
  levels: tuple[str, ...]

  @classmethod
  def of(cls, folder: pathlib.Path) -> '_Part':
    """Reads the configuration, and which levels there are."""
    config, params = config_file.read(folder), folder / _PARAMS_FILE
    with _damage_is_one_line(folder):
      if not params.exists():
        return cls(folder, config, tuple(config.train.levels))
      with _opened(params) as arrays:
        return cls(folder, config, tuple(dict.fromkeys(x.split('/')[0] for x in arrays.files)))

  def params(self) -> dict[str, Any]:
    """Parameters per level, on the host."""
    params = self.folder / _PARAMS_FILE
    with _damage_is_one_line(self.folder):
      if not params.exists():
        return workdir.load(self.folder)[1]
      with _opened(params) as arrays:
        return traverse_util.unflatten_dict({x: arrays[x] for x in arrays.files}, sep='/')


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
  # np.load itself leaves a damaged file open.
  with open(path, 'rb') as stored, np.load(stored, allow_pickle=False) as arrays:
    yield arrays


def _parts(name: str | os.PathLike[str]) -> list[_Part]:
  """The folders of a model, which 'default' or its directory names."""
  directory = _BUNDLED if name == 'default' else pathlib.Path(name)
  if not directory.is_dir():
    raise InputError(
      f'no model at {directory}: give a directory that tempo-jax train wrote, or default'
    )
  if (directory / config_file.NAME).exists():
    return [_Part.of(directory)]
  folders = sorted(path.parent for path in directory.glob(f'*/{config_file.NAME}'))
  if not folders:
    raise InputError(
      f'{directory} is no model directory: neither it nor a folder in it holds {config_file.NAME}'
    )
  return [_Part.of(folder) for folder in folders]


def _merge(parts: list[_Part]) -> config_dict.ConfigDict:
  """The configuration of one model, different levels of which several runs may have trained."""
  first, *others = parts
  merged = config_lib.from_dict(config_lib.to_dict(first.config.model))
  found = list(first.levels)
  for other in others:
    model = other.config.model
    for level in other.levels:
      if level in found:
        raise InputError(
          f'{first.folder} and {other.folder} both hold the level {level}: keep one of them'
        )
      merged.level[level] = model.level[level]
      found.append(level)
    ours, theirs = (config_lib.to_dict(c) for c in (merged, model))
    differing = [
      f'model.{key}'
      for key in sorted(ours.keys() | theirs.keys())
      if key not in ('level', 'trained_on') and ours.get(key) != theirs.get(key)
    ]
    if differing:
      raise InputError(
        f'{first.folder} and {other.folder} hold levels of different models, which differ in '
        f'{", ".join(differing)}: train them from one configuration'
      )
    # Trajectories that were too short for one level may have served the other.
    merged.trained_on.update(trained_range.merge(merged.trained_on, model.trained_on))
  missing = [level for level in merged.levels if level not in found]
  where = first.folder.parent if others else first.folder
  if missing:
    raise InputError(
      f'{where} holds {", ".join(found)} but not {", ".join(missing)}: train that level too, and '
      'give a directory with one folder per level'
    )
  try:
    config_lib.check(merged)
  except InputError as error:
    raise InputError(f'{where}: {error}') from error
  return merged


def read_config(name: str | os.PathLike[str]) -> config_dict.ConfigDict:
  """The configuration of a model, without its parameters, and without JAX looking for devices.

  Args:
    name: as for `load_model`.

  Raises:
    InputError: there is no such model, a level of it is missing, it is damaged, or of an older
      version.
  """
  return _merge(_parts(name))


def load(
  name: str | os.PathLike[str],
) -> tuple[config_dict.FrozenConfigDict, dict[str, Any], dict[str, np.ndarray]]:
  """Reads and checks a model: see `tempo_jax.models.model.load_model`.

  Returns:
    The model's configuration, the parameters per level, and `centres.Centres`.

  Raises:
    InputError: there is no such model, a level of it is missing, it is damaged, or of an older
      version.
  """
  parts = _parts(name)
  config = config_lib.freeze(_merge(parts))
  params: dict[str, Any] = {}
  for part in parts:
    found = part.params()
    with _damage_is_one_line(part.folder):
      found = {level: found[level] for level in part.levels}
      model = config_lib.to_dict(part.config.model)
      checked = part.config.get(_CHECKED) == _fingerprint(model, _flat(found))
      if not (checked and transitions.is_built_in(config)):
        check_params(config, found)
    params |= found
  with _damage_is_one_line(parts[0].folder):
    centres = centres_lib.read(part.folder for part in parts)
  # On no device in particular: samplers spread their work over several.
  return config, jax.device_put(params), centres


@contextlib.contextmanager
def _damage_is_one_line(folder: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except (InputError, ImportError, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # Readers raise whatever they come upon in a damaged file.
    what = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    raise InputError(f'{folder} is damaged: {what}: copy or train it again') from error


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(dict(params), sep='/')


def check_params(config: config_dict.FrozenConfigDict, params: Mapping[str, Any]) -> None:
  """Raises `ValueError` where parameters are not those of the network; compiles nothing."""
  shapes = jax.eval_shape(functools.partial(transitions.init_params, config), jax.random.key(0))
  expected = _flat(shapes)
  for level, tree in params.items():
    level_lib.Level.of(config, level)
    found = _flat(tree)
    for name in sorted(expected.keys() ^ found.keys()):
      raise ValueError(f'{level}/{name} is {"missing" if name in expected else "unknown"}')
    for name, array in found.items():
      if array.shape != expected[name].shape:
        raise ValueError(
          f'{level}/{name} has shape {array.shape} where this version of tempo_jax has '
          f'{expected[name].shape}'
        )

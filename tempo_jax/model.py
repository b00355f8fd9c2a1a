"""A trained model: load it, sample trajectories with it, write it to a directory."""

import contextlib
import dataclasses
import functools
import json
import math
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import protein as protein_lib
from tempo_jax import trajectory as trajectory_lib
from tempo_jax.data import padding
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import sde
from tempo_jax.errors import InputError
from tempo_jax.samplers import ensemble, upsample

CONFIG_FILE = 'config.json'
PARAMS_FILE = 'params.npz'
# Residues are padded to one of these numbers, so that proteins of similar length share a compiled
# program; at most an eighth of 64 residues and more is padding.
LENGTHS = (
  *range(16, 64, 8),
  *range(64, 256, 16),
  *range(256, 512, 32),
  *range(512, 1024, 64),
  *range(1024, 4097, 128),
)
# In the file of a model whose levels share their parameters; no level's name.
_SHARED = 'shared'
_BUNDLED = pathlib.Path(__file__).parent / 'models'


@dataclasses.dataclass(frozen=True)
class Model:
  """Configuration and parameters.

  Attributes:
    name: what `load_model` was given.
    config: the model's configuration (`tempo_jax.config.model_config`), frozen.
    params: per level name, the parameters of its drift.
  """

  name: str
  config: config_dict.FrozenConfigDict
  params: Mapping[str, Any]

  @property
  def dt_ns(self) -> float:
    """Time between two frames of a sampled trajectory, ns."""
    return self.config.level[self.config.levels[-1]].dt_ns

  def with_passes(self, passes: int) -> 'Model':
    """The same model with another number of passes of its head per step.

    Raises:
      InputError: the model has no such head (its `objective` is 'mse'), or it is below 1.
    """
    if self.config.objective == 'mse':
      raise InputError(
        f'the model {self.name} predicts means and has no head that could pass {passes} times: '
        'leave the number of passes out, or take a model with a generative objective'
      )
    config = config_lib.from_dict(config_lib.to_dict(self.config))
    config.passes = passes
    config_lib.check(config)
    return dataclasses.replace(self, config=config_lib.freeze(config))

  def sample(
    self,
    protein: protein_lib.Protein,
    num_frames: int = 400,
    num_replicas: int = 1,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
  ) -> trajectory_lib.Trajectory:
    """Samples trajectories that start from the protein's conformation.

    Args:
      protein: from `tempo_jax.load_protein`.
      num_frames: frames per replica, at dt, 2 dt, ...
      num_replicas: independent trajectories.
      rng: a key; default `jax.random.key(0)`.
      temperature_K: temperature, K.
      segment_batch_size: fine segments computed together; default all.
      replica_batch_size: replicas computed together; default all.

    Returns:
      Trajectory with positions (replicas, frames, residues, 4, 3) in Å, on the device.

    Raises:
      InputError: a number is out of range.
      FloatingPointError: the model ran off to infinity.
    """
    sampler = self.sampler(num_frames, num_replicas, segment_batch_size, replica_batch_size)
    rng = jax.random.key(0) if rng is None else rng
    check_temperature(temperature_K)
    return self.trajectory(protein, sampler(self.params, padded(protein), rng, temperature_K))

  def upsample(
    self,
    protein: protein_lib.Protein,
    coarse_positions: np.ndarray,
    spacing_ns: float,
    start_ns: float = 0.0,
    rng: jax.Array | None = None,
    temperature_K: float = 320.0,
    segment_batch_size: int | None = None,
  ) -> trajectory_lib.Trajectory:
    """Fills in the frames after each of some coarse frames, or between them.

    A model with anchors (`config.anchors` is 'both') ends every segment in the next coarse frame:
    of two conformations A and B, `coarse_positions=np.stack([a, b])`, it makes a path.

    Args:
      protein: the residues of the frames.
      coarse_positions: [S, L, 4, 3] Å.
      spacing_ns: time between two coarse frames, ns; a time step of the model's levels.
      start_ns: time of the first coarse frame, ns.
      rng: a key; default `jax.random.key(0)`.
      temperature_K: temperature, K.
      segment_batch_size: segments computed together; default all.

    Returns:
      Trajectory with positions (1, S * frames per segment, residues, 4, 3) in Å; of a model with
      anchors, (1, (S - 1) * frames per segment, residues, 4, 3), each coarse frame superposed on
      the one before.

    Raises:
      InputError: the model has no level with this time step above its finest.
      FloatingPointError: the model ran off to infinity.
    """
    upsampler = self.upsampler(spacing_ns, segment_batch_size)
    rng = jax.random.key(0) if rng is None else rng
    check_temperature(temperature_K)
    coarse_positions = padded_positions(coarse_positions)
    positions = upsampler(self.params, padded(protein), coarse_positions, rng, temperature_K)
    return self.trajectory(protein, positions[None], start_ns + self.dt_ns)

  def sampler(
    self,
    num_frames: int,
    num_replicas: int = 1,
    segment_batch_size: int | None = None,
    replica_batch_size: int | None = None,
  ) -> Callable[..., jax.Array]:
    """The jitted function beneath `sample`, e.g. to compile it ahead of time.

    Args and result: `ensemble.make_ensemble_sampler`; its first argument is `params`.

    Raises:
      InputError: a number is out of range.
    """
    return _ensemble_sampler(
      self.config, num_frames, num_replicas, segment_batch_size, replica_batch_size
    )

  def upsampler(
    self, spacing_ns: float, segment_batch_size: int | None = None
  ) -> Callable[..., jax.Array]:
    """The jitted function beneath `upsample`: see `upsample.make_upsampler`."""
    return _upsampler(self.config, float(spacing_ns), segment_batch_size)

  def trajectory(
    self,
    protein: protein_lib.Protein,
    positions: jax.Array,
    start_ns: float | None = None,
  ) -> trajectory_lib.Trajectory:
    """What a sampler of this model gave, as a trajectory.

    Args:
      protein: that was sampled.
      positions: (replicas, frames, residues, 4, 3) Å; padding behind the residues is cut off.
      start_ns: time of the first frame, ns; default `dt_ns`.

    Raises:
      FloatingPointError: the positions are not finite.
    """
    positions = positions[:, :, : protein.num_residues]
    finite = np.asarray(jnp.all(jnp.isfinite(positions), axis=(0, 2, 3, 4)))
    if not finite.all():
      raise FloatingPointError(
        f'the model {self.name} ran off to infinity at frame {int(np.argmin(finite)) + 1} of '
        f'{finite.size}: sample fewer frames, another seed, or train it further'
      )
    return trajectory_lib.Trajectory(
      positions=positions, protein=protein, dt_ns=self.dt_ns, start_ns=start_ns
    )

  def save(self, directory: str | os.PathLike[str]) -> None:
    """Writes `config.json` and `params.npz`, which `load_model` reads; without pickle.

    The directory appears whole or not at all.

    Args:
      directory: new or empty; missing parents are made.

    Raises:
      InputError: it cannot be written: not empty, permission, space, ...
    """
    out = pathlib.Path(directory).resolve()
    params = dict(self.params)
    if self.config.get('shared_levels', False):
      params = {_SHARED: params[self.config.levels[0]]}
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep='/')
    arrays = {key: np.asarray(value) for key, value in flat.items()}
    partial = out.parent / f'.partial_{secrets.token_hex(4)}'
    try:
      partial.mkdir(parents=True)
      with open(partial / PARAMS_FILE, 'wb') as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
      config = json.dumps({'model': config_lib.to_dict(self.config)}, indent=2)
      (partial / CONFIG_FILE).write_text(f'{config}\n')
      partial.rename(out)
    except OSError as error:
      raise InputError(
        f'cannot write {out}: {error.strerror or error}: give a new or empty directory, with space'
      ) from error
    finally:
      shutil.rmtree(partial, ignore_errors=True)


def check_temperature(temperature_K: float) -> None:
  """Raises `InputError` unless it is a positive number of kelvin."""
  if not 0.0 < temperature_K < math.inf:
    raise InputError(f'temperature_K = {temperature_K}: a positive number of kelvin is needed')


def padded(protein: protein_lib.Protein) -> protein_lib.ProteinArrays:
  """The protein's arrays, padded to the next of `LENGTHS`."""
  return padding.pad(protein.arrays, padding.bucket(protein.num_residues, LENGTHS))


def padded_positions(positions: jax.Array | np.ndarray) -> np.ndarray:
  """Positions [..., L, 4, 3] Å, padded as `padded` does."""
  length = padding.bucket(positions.shape[-3], LENGTHS)
  return padding.pad_positions(np.asarray(positions), length)


# Compiled once per process and setting; `Model` itself holds arrays and cannot be hashed.
_ensemble_sampler = functools.lru_cache(maxsize=16)(ensemble.make_ensemble_sampler)
_upsampler = functools.lru_cache(maxsize=16)(upsample.make_upsampler)


def _read_exported(directory: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  with open(directory / CONFIG_FILE) as file:
    config = config_lib.from_dict(json.load(file)['model'])
  # Opened here, since np.load leaves a damaged file open.
  with (
    open(directory / PARAMS_FILE, 'rb') as stored,
    np.load(stored, allow_pickle=False) as arrays,
  ):
    flat = {key: jnp.asarray(arrays[key]) for key in arrays.files}
  params = traverse_util.unflatten_dict(flat, sep='/')
  if config.get('shared_levels', False):
    params = dict.fromkeys(config.levels, params[_SHARED])
  return config, params


def _read_workdir(directory: pathlib.Path) -> tuple[Any, dict[str, Any]]:
  # Orbax is only needed for directories that training wrote.
  from tempo_jax.training import checkpoint

  config, params, _ = checkpoint.load_params(str(directory))
  return config.model, dict(params)


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
  shapes = jax.eval_shape(functools.partial(sde.init_params, config), jax.random.key(0))
  expected = traverse_util.flatten_dict(shapes, sep='/')
  for level in config.levels:
    level_lib.Level.of(config, level)
    found = traverse_util.flatten_dict(params[level], sep='/')
    for name in sorted(expected.keys() ^ found.keys()):
      raise ValueError(f'{level}/{name} is {"missing" if name in expected else "unknown"}')
    for name, array in found.items():
      if array.shape != expected[name].shape:
        raise ValueError(f'{level}/{name} has shape {array.shape}, not {expected[name].shape}')


def load_model(name: str | os.PathLike[str] = 'default') -> Model:
  """Loads a model.

  Args:
    name: 'default', the bundled model; or a directory: one that `experiments.train` wrote, one
      that `Model.save` wrote, or one with a folder of either kind per level (e.g. `coarse`,
      `fine`).

  Returns:
    The model with the averaged parameters of the best checkpoint, where training selected one
    (`config.train.select_by`), else of the newest.

  Raises:
    InputError: there is no such model, a level of it is missing, or it is damaged.
  """
  directory = _BUNDLED / 'default' if name == 'default' else pathlib.Path(name)
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
    config_lib.check(config)
    config = config_lib.freeze(config)
    _check_params(config, params)
  return Model(str(name), config, params)


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
    same = {k: v for k, v in config_lib.to_dict(config).items() if k != 'level'}
    theirs = {k: v for k, v in config_lib.to_dict(other_config).items() if k != 'level'}
    if same != theirs:
      raise InputError(
        f'{path} and {other} hold levels of different models: train them from one configuration'
      )
    params |= other_params
  return config, params

"""The configuration of a run: what must hold of it, and what a resumed run must have in common."""

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.errors import InputError
from tempo_jax.models import config_file
from tempo_jax.training import objectives, selection

# What may change from one stretch of a run to the next. Everything else would make of two
# stretches another run than one.
_MAY_CHANGE = (
  'data.store',  # Stores move.
  *('train.num_steps', 'train.log_every', 'train.validate_every', 'train.validation_batches'),
  *('train.checkpoint_every', 'train.keep_checkpoints', 'train.keep_period'),
  *('train.rollout_every', 'train.early_stopping_patience'),
)
# Measured by the first stretch and taken over by the next.
_MEASURED = ('translation_std', 'rotation_std')

_AT_LEAST_ONE = {
  'data': ('batch_size',),
  'train': (
    *('draws', 'viewers', 'accumulation_steps'),
    *('num_steps', 'unroll', 'teacher_forcing_steps', 'log_every', 'validate_every'),
    *('validation_batches', 'checkpoint_every', 'keep_checkpoints'),
    *('rollout_replicas', 'rollout_proteins', 'rollout_frames'),
  ),
}
_AT_LEAST_ZERO = ('rollout_every', 'early_stopping_patience', 'rotamer_weight')


def check(config: Any) -> None:
  """Raises `InputError` for an experiment that cannot be trained."""
  config_lib.check(config.model)
  if not config.data.store:
    raise InputError(
      'config.data.store is empty: give the store that data_prep wrote, --config.data.store=DIR'
    )
  for section, names in _AT_LEAST_ONE.items():
    for name in names:
      if config[section][name] < 1:
        raise InputError(f'config.{section}.{name} = {config[section][name]}: at least 1 is needed')
  _check_block('train_block', config.data.train_block)
  if config.data.validation_block:
    _check_block('validation_block', config.data.validation_block, ', or () for none')
  for name in _AT_LEAST_ZERO:
    if config.train[name] < 0:
      raise InputError(f'config.train.{name} = {config.train[name]}: at least 0 is needed')
  _check_selection(config)
  objectives.of(config).check(config)
  shares = (
    ('train', 'start_probability'),
    ('train', 'free_probability'),
    ('data', 'reversal'),
    ('data', 'balance'),
  )
  for section, name in shares:
    if not 0.0 <= config[section][name] <= 1.0:
      raise InputError(f'config.{section}.{name} = {config[section][name]}: a share, 0 to 1')
  if config.model.lags_ns and (config.train.rollout_every or tuple(config.data.aligned_starts)):
    raise InputError(
      'config.train.rollout_every and config.data.aligned_starts are for levels of one time step: '
      'set them to 0 and () where config.model.lags_ns gives a range'
    )
  levels, known = tuple(config.train.levels), tuple(config.model.levels)
  if config.model.lags_ns and known != (time_scales.LEVEL,):
    raise InputError(
      f'config.model.lags_ns = {tuple(config.model.lags_ns)} goes with the one level '
      f'{time_scales.LEVEL!r}, not with config.model.levels = {known}: start from '
      '--config=default_model, or leave lags_ns empty'
    )
  if not levels or not set(levels) <= set(known):
    raise InputError(f'config.train.levels = {levels}: choose from config.model.levels = {known}')
  aligned = tuple(config.data.aligned_starts)
  if not set(aligned) <= set(known):
    raise InputError(
      f'config.data.aligned_starts = {aligned}: choose from config.model.levels = {known}'
    )
  for name in known:
    level = config.model.level[name]
    if not 0 <= level.noise_min <= level.noise_max or level.noise_sample < 0:
      raise InputError(
        f'config.model.level.{name}: 0 <= noise_min <= noise_max and 0 <= noise_sample are needed'
      )


def _check_block(name: str, block: Any, or_none: str = '') -> None:
  is_block = len(block) == 2 and all(isinstance(x, int | float) for x in block)
  if not is_block or not 0.0 <= block[0] < block[1] <= 1.0:
    raise InputError(
      f'config.data.{name} = {tuple(block)}: give two fractions, 0 <= LOW < HIGH <= 1{or_none}'
    )


def follow_lags(config: Any) -> None:
  """The level of a model of any time step has the shortest lag, to which that is set here."""
  if time_scales.has_any_step(config.model):
    config.model.level[time_scales.LEVEL].dt_ns = float(config.model.lags_ns[0])


def _check_selection(config: Any) -> None:
  train = config.train
  choices = (*selection.METRICS, 'last')
  if train.select_by not in choices:
    raise InputError(
      f'config.train.select_by = {train.select_by!r}: choose one of {", ".join(choices)}'
    )
  if train.select_by == 'last':
    if train.early_stopping_patience:
      raise InputError(
        f'config.train.early_stopping_patience = {train.early_stopping_patience} needs something '
        'to judge by: give config.train.select_by = loss or rollout, or a patience of 0'
      )
    return
  chosen = f'config.train.select_by = {train.select_by!r}'
  if not config.data.validation_block:
    raise InputError(
      f'{chosen} needs held-out data: give config.data.validation_block (fractions of every '
      "trajectory) and config.data.validation_split, or select_by = 'last'"
    )
  if train.select_by == 'rollout' and not train.rollout_every:
    raise InputError(
      f'{chosen} needs rollouts, and config.train.rollout_every = 0 switches them off: give a '
      "number of steps, or select_by = 'loss'"
    )


def read(workdir: str) -> Any | None:
  """Configuration of an earlier stretch of the run, or None.

  Raises:
    InputError: `config.json` is there but cannot be used.
  """
  if not os.path.exists(os.path.join(workdir, config_file.NAME)):
    return None
  return config_file.read(workdir)


def _leaves(values: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
  for key, value in values.items():
    if isinstance(value, dict):
      yield from _leaves(value, f'{prefix}{key}.')
    else:
      yield prefix + key, value


def adopt(config: Any, earlier: Any, workdir: str) -> None:
  """Takes over what an earlier stretch measured.

  Args:
    config: the experiment's configuration, changed in place.
    earlier: that of the earlier stretch.
    workdir: where it was found, for the message.

  Raises:
    InputError: the two differ in what makes a run.
  """
  config.model.trained_on = earlier.model.trained_on
  for name in config.model.levels:
    for key in _MEASURED if name in earlier.model.level else ():
      config.model.level[name][key] = earlier.model.level[name][key]
  ours, theirs = (dict(_leaves(config_lib.to_dict(c))) for c in (config, earlier))
  changed = sorted(
    key
    for key in ours.keys() | theirs.keys()
    if key not in _MAY_CHANGE and ours.get(key) != theirs.get(key)
  )
  if changed:
    raise InputError(
      f'{workdir} holds a run with another config.{", config.".join(changed)}: give another '
      '--workdir, or the configuration of that run'
    )


def set_measured(config: Any, level: str, spread: Mapping[str, float]) -> None:
  """Stores the spread of one step of a level, from `step_spread.measure`.

  Raises:
    InputError: nothing moves in the data.
  """
  translation, rotation = spread['translation_std'], spread['rotation_std']
  if not all(math.isfinite(value) and value > 1e-4 for value in (translation, rotation)):
    raise InputError(
      f'{level} level: one step spreads residues by {translation:g} Å and {rotation:g} rad: the '
      'trajectories of the store seem to be frozen; look at them'
    )
  config.model.level[level].update(spread)

"""The settings of an ablation: a configuration with some values changed, read from text."""

import copy
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_dict, config_flags

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError
from tempo_jax.training import run_config

# Time steps, ns, of a model whose levels have parameters of their own.
_TWO_LEVELS = {'coarse': 0.2, 'fine': 0.01}


def as_paper(config: Any) -> None:
  """Makes a configuration's switches those of the paper, but for `update_rule`."""
  model = config.model
  paper = config_lib.paper_model_config()
  for name in ('objective', 'anchors', 'reference', 'closure'):
    model[name] = paper[name]
  for name in ('ipa_reads', 'num_neighbours'):
    model.encoder[name] = paper.encoder[name]
  for level in model.level.values():
    for name in ('noise_min', 'noise_max', 'noise_sample'):
      level[name] = paper.level.fine[name]


def as_two_levels(config: Any) -> None:
  """Makes a model of any time step one of two levels, each with parameters of its own."""
  model = config.model
  with model.unlocked():
    sections = {name: copy.deepcopy(model.level[model.levels[-1]]) for name in _TWO_LEVELS}
    for name, dt_ns in _TWO_LEVELS.items():
      sections[name].dt_ns = dt_ns
    model.level = config_dict.ConfigDict(sections)
  model.levels, model.lags_ns = tuple(_TWO_LEVELS), ()
  config.train.levels = model.levels


_CHANGES = {'ours': lambda config: None, 'paper': as_paper, 'two_levels': as_two_levels}
PREDEFINED = tuple(_CHANGES)


def changed(config: Any, changes: Sequence[str], where: str) -> Any:
  """A copy of a configuration with changes: one of `PREDEFINED`, or PATH=VALUE as in --config.

  Raises:
    InputError: a path that is not there, or a value that does not fit.
  """
  config = copy.deepcopy(config)
  for change in changes:
    path, equals, _ = change.partition('=')
    if path in PREDEFINED and not equals:
      _CHANGES[path](config)
      continue
    if not equals:
      raise InputError(f'{where}: {change!r}: write PATH=VALUE, e.g. model.closure=False')
    argument = f'--config.{change}'
    values = flags.FlagValues()
    try:
      config_flags.DEFINE_config_dict('config', config, flag_values=values, sys_argv=['', argument])
      values(['', argument])
    except (AttributeError, KeyError, TypeError, ValueError, flags.Error) as error:
      reason = ' '.join(str(error).split())[:200]
      raise InputError(
        f'{where}: {change!r} does not fit the configuration: correct the path or the value '
        f'({reason})'
      ) from error
    config = values.config
  return config


def split_changes(text: str) -> list[str]:
  """Cuts 'a=1,b=(2,3)' at the commas outside of brackets."""
  parts, depth = [''], 0
  for letter in text:
    depth += (letter in '([{') - (letter in ')]}')
    if letter == ',' and not depth:
      parts.append('')
    else:
      parts[-1] += letter
  return [part.strip() for part in parts if part.strip()]


def settings(
  config: Any, texts: Sequence[str], seeds: Sequence[int] = ()
) -> dict[str, config_dict.ConfigDict]:
  """The configuration of every setting.

  Args:
    config: the configuration that they change.
    texts: NAME or NAME:PATH=VALUE,... each.
    seeds: train each with each of these seeds, as NAME_seed0, ...; none: with the configuration's.

  Raises:
    InputError: a setting cannot be understood, or trained.
  """
  found: dict[str, config_dict.ConfigDict] = {}
  for text in texts:
    name, colon, changes = text.partition(':')
    where = f'--setting={text}'
    if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.+-]*', name):
      raise InputError(f'{where}: its name becomes a folder: use letters, digits and _ . + -')
    if not colon and name not in PREDEFINED:
      known = ', '.join(PREDEFINED)
      raise InputError(f'{where}: say what changes, {name}:PATH=VALUE, or give one of {known}')
    one = changed(config, [*([name] if name in PREDEFINED else []), *split_changes(changes)], where)
    for seed in seeds or (None,):
      each = copy.deepcopy(one)
      label = name if seed is None else f'{name}_seed{seed}'
      if seed is not None:
        each.seed = seed
      if label in found:
        raise InputError(f'{where}: the name {label} is given twice: choose another')
      try:
        run_config.check(each)
      except InputError as error:
        raise InputError(f'{where}: {error}') from error
      found[label] = each
  if not found:
    raise InputError('--setting is missing: give paper, ours or NAME:PATH=VALUE, several times')
  return found

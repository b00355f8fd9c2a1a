"""Training that goes on from a trained model: what it takes over, and what must fit."""

import math
from typing import Any

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.errors import InputError
from tempo_jax.models import trained_range

# What shapes the network or the meaning of its input. Scales, noise, closure and the number of
# passes may be chosen anew, and the generative objectives train the same network.
_SAME = ('update_rule', 'anchors', 'window', 'prior', 'encoder', 'head')
_SCALES = ('translation_std', 'rotation_std')


def _mismatch(config: Any, model: Any) -> list[str]:
  """What differs, `config.model.KEY`; of what is no section, with both values."""
  ours, theirs = config_lib.to_dict(config), config_lib.to_dict(model)
  headless = transitions.passes(config) is None
  same = [key for key in _SAME if key != 'head' or not headless]
  found = [key for key in same if ours[key] != theirs[key]]
  if headless != (transitions.passes(model) is None):
    found.append('objective')
  if config_lib.has_side_chains(config) != config_lib.has_side_chains(model):
    found.append('side_chains')

  def difference(key: str) -> str:
    path = f'config.model.{key}'
    if isinstance(ours[key], dict):
      return path
    return f'{path} = {ours[key]!r} (the model: {theirs[key]!r})'

  return [difference(key) for key in found]


def adopt(config: Any, model: Any) -> tuple[str, ...]:
  """Takes over scales and range of data of a model that training goes on from.

  Args:
    config: the experiment's configuration, changed in place.
    model: a `tempo_jax.models.model.Model`.

  Returns:
    The levels whose scales were taken over: those of the same time step, or none where
    `config.train.measure_scales` says so. The others are to be measured.

  Raises:
    InputError: the model has another network, or lacks a level.
  """
  where = f'config.train.init_from = {config.train.init_from!r}'
  wrong = ', '.join(_mismatch(config.model, model.config))
  if wrong:
    raise InputError(
      f'{where}: its network differs from the configuration in {wrong}: '
      'train with the settings of that model (its config.json), or leave init_from empty'
    )
  missing = [name for name in config.train.levels if name not in model.params]
  if missing:
    raise InputError(
      f'{where} has the levels {", ".join(model.params)} but not {", ".join(missing)}: name the '
      'levels of the configuration as it does'
    )
  taken = []
  for name in config.train.levels:
    own, known = config.model.level[name], model.config.level[name]
    same_step = math.isclose(own.dt_ns, known.dt_ns, rel_tol=1e-3)
    if same_step and not config.train.measure_scales:
      own.update({key: known[key] for key in _SCALES})
      taken.append(name)
  seen = trained_range.merge(config.model.trained_on, model.config.trained_on)
  config.model.trained_on.update(seen)
  return tuple(taken)

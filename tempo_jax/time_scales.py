"""Models of any time step: one set of parameters, and the levels that it is sampled with.

Such a model is trained at all lag times in a range (`config.model.lags_ns`), with the lag as an
input. To sample at one of them, coarser levels are laid over it: each step is filled in by 20 of
the next finer level or, at the top, by as many as the longest lag allows.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import config_dict

from tempo_jax.errors import InputError

LEVEL = 'any'
"""The only level of such a model, as it is trained and stored."""
MOST_STEPS = 20
"""Of a level that fill in one step of the level above it."""
# Fewer are not worth a level of their own.
_FEWEST_STEPS = 4
_TOLERANCE = 1e-3  # relative, of a time step
_NAMES = ('fine', 'coarse')


def has_any_step(config: Any) -> bool:
  """Whether one set of parameters serves every time step of a range.

  Args:
    config: the model's configuration.
  """
  return bool(config.lags_ns)


def steps_ns(lags_ns: tuple[float, float], dt_ns: float) -> tuple[float, ...]:
  """Time steps, ns, of the levels that make frames dt_ns apart, coarse to fine.

  Args:
    lags_ns: the shortest and the longest lag time of the model, ns.
    dt_ns: between frames, ns.
  """
  steps, longest = [dt_ns], lags_ns[1] * (1.0 + _TOLERANCE)
  while (ratio := min(MOST_STEPS, math.floor(longest / steps[0]))) >= _FEWEST_STEPS:
    steps.insert(0, _rounded(ratio * steps[0]))
  return tuple(steps)


def steps_between(coarse_ns: float, dt_ns: float, name: str = 'coarse_dt_ns') -> tuple[float, ...]:
  """Time steps, ns, of levels that fill in frames dt_ns apart between those coarse_ns apart.

  Args:
    coarse_ns: between the frames that are given, ns.
    dt_ns: between those that are wanted, ns.
    name: what messages call the first one.

  Returns:
    Coarse to fine, each a whole multiple of the next: the first is `coarse_ns` but for what times
    in files lack.

  Raises:
    InputError: the first is no whole multiple of the second, or a prime number above `MOST_STEPS`
      divides that multiple.
  """
  count = round(coarse_ns / dt_ns)
  if count < 2 or abs(coarse_ns - count * dt_ns) > _TOLERANCE * count * dt_ns:
    raise InputError(
      f'{name} = {coarse_ns:g}: not a whole multiple of dt_ns = {dt_ns:g}: choose another dt_ns'
    )
  factors = _factors(count)
  if factors is None:
    fewer = next(n for n in range(count, 1, -1) if _factors(n))
    raise InputError(
      f'{name} = {coarse_ns:g}: {count} steps of dt_ns = {dt_ns:g}, which a prime number above '
      f'{MOST_STEPS} divides, too many for one level: choose dt_ns = {coarse_ns / fewer:.6g}, or '
      f'frames {fewer * dt_ns:g} ns apart'
    )
  steps = [dt_ns]
  for factor in factors:
    steps.insert(0, _rounded(factor * steps[0]))
  return tuple(steps)


def _factors(count: int) -> list[int] | None:
  """Of a product, largest first, each 2 to `MOST_STEPS`; None: there are none."""
  found, left = [], count
  while left > MOST_STEPS:
    fitting = [n for n in range(2, MOST_STEPS + 1) if left % n == 0]
    if not fitting:
      return None
    found.append(fitting[-1])
    left //= fitting[-1]
  return [*found, left]


def _rounded(time_ns: float) -> float:
  """Without the noise of binary numbers."""
  return float(f'{time_ns:.9g}')


def check_step(config: Any, dt_ns: float, name: str = 'dt_ns') -> None:
  """Raises `InputError`, which says `name`, for a time step, ns, that the model has not learnt."""
  shortest, longest = config.lags_ns
  if not shortest * (1.0 - _TOLERANCE) <= dt_ns <= longest * (1.0 + _TOLERANCE):
    raise InputError(
      f'{name} = {dt_ns:g}: this model has learnt steps of {shortest:g} to {longest:g} ns: choose '
      'one of them'
    )


def at(
  config: Any, params: Mapping[str, Any], steps_ns: tuple[float, ...]
) -> tuple[config_dict.ConfigDict, dict[str, Any]]:
  """Configuration and parameters of a model that is sampled with levels of these time steps.

  Args:
    config: of a model of any time step.
    params: per level.
    steps_ns: coarse to fine, ns.

  Raises:
    InputError: the model has not learnt one of the steps.
  """
  for dt_ns in steps_ns:
    check_step(config, dt_ns)
  return _with_levels(
    config, params, {name_of(k, len(steps_ns)): dt_ns for k, dt_ns in enumerate(steps_ns)}
  )


def as_trained(
  config: Any, params: Mapping[str, Any]
) -> tuple[config_dict.ConfigDict, dict[str, Any]]:
  """The inverse: the only level that there is in training."""
  return _with_levels(config, params, {LEVEL: config.lags_ns[0]})


def name_of(index: int, count: int) -> str:
  """Of a level, of as many, coarse to fine: coarse_2, coarse, fine."""
  above = count - 1 - index
  return _NAMES[above] if above < len(_NAMES) else f'{_NAMES[-1]}_{above}'


def _with_levels(
  config: Any, params: Mapping[str, Any], dt_ns: Mapping[str, float]
) -> tuple[config_dict.ConfigDict, dict[str, Any]]:
  changed = config_dict.ConfigDict(config).copy_and_resolve_references()
  any_level = config.levels[-1]
  section = config_dict.ConfigDict(config.level[any_level])
  changed.levels = tuple(dt_ns)
  changed.level = config_dict.ConfigDict()
  for name, step in dt_ns.items():
    changed.level[name] = copy.deepcopy(section)
    changed.level[name].dt_ns = float(step)
  return changed, dict.fromkeys(dt_ns, params[any_level])

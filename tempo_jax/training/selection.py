"""Which step of a run is the best so far, and whether to go on looking for a better one."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

# What a level's validation is judged by, for each `config.train.select_by` that selects.
METRICS = {'loss': 'validation_loss', 'rollout': 'rollout_jsd'}


@dataclasses.dataclass(frozen=True)
class Selection:
  """The best validation so far; part of every checkpoint, so that a resumed run goes on with it.

  Attributes:
    value: the lowest value; infinite before the first finite one.
    step: its step; None before that.
    waited: validations since then.
  """

  value: float = math.inf
  step: int | None = None
  waited: int = 0

  def after(self, step: int, value: float) -> 'Selection':
    """The selection after one more validation; NaN is no improvement."""
    if value < self.value:
      return Selection(value, step)
    return dataclasses.replace(self, waited=self.waited + 1)

  def is_over(self, patience: int) -> bool:
    """Whether so many validations did not improve; never for a patience of 0."""
    return 0 < patience <= self.waited

  def to_json(self) -> dict[str, Any]:
    """For `from_json`; JSON has no infinity."""
    return dataclasses.asdict(self) | {'value': None if self.step is None else self.value}

  @classmethod
  def from_json(cls, values: Mapping[str, Any]) -> 'Selection':
    """What `to_json` gave."""
    return cls(**{**values, 'value': math.inf if values['step'] is None else values['value']})


def value(select_by: str, scalars: Mapping[str, float], levels: Iterable[str]) -> float | None:
  """What a run is judged by.

  Args:
    select_by: `config.train.select_by`.
    scalars: metrics of this step, by LEVEL/METRIC.
    levels: the levels that are validated.

  Returns:
    The mean over these levels; None where this step has not been judged.
  """
  if select_by not in METRICS:
    return None
  found = [scalars.get(f'{level}/{METRICS[select_by]}') for level in levels]
  known = [x for x in found if x is not None]
  return sum(known) / len(known) if known else None

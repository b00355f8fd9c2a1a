import json
import math

import pytest

from tempo_jax.training import selection


def after(values):
  chosen = selection.Selection()
  for step, value in enumerate(values, 1):
    chosen = chosen.after(step, value)
  return chosen


@pytest.mark.parametrize(
  ('values', 'value', 'step', 'waited'),
  [
    ([], math.inf, None, 0),
    ([3.0, 2.0, 2.5], 2.0, 2, 1),
    ([3.0, 3.0, 3.0], 3.0, 1, 2),  # As good is no better.
    ([math.inf, math.nan], math.inf, None, 2),
    ([math.nan, 1.0, math.nan, math.inf], 1.0, 2, 2),
    ([3.0, 4.0, 4.0, 2.0], 2.0, 4, 0),
  ],
)
def test_keeps_the_lowest_value(values, value, step, waited):
  chosen = after(values)
  assert chosen == selection.Selection(value, step, waited)
  # What a checkpoint holds is plain JSON, and gives the same back.
  stored = json.dumps(chosen.to_json(), allow_nan=False)
  assert selection.Selection.from_json(json.loads(stored)) == chosen


def test_patience():
  chosen = after([1.0, 2.0, 2.0])
  assert [chosen.is_over(patience) for patience in (0, 1, 2, 3)] == [False, True, True, False]
  assert not after([1.0]).is_over(1)


def test_value_is_the_mean_over_levels():
  scalars = {
    'coarse/validation_loss': 2.0,
    'fine/validation_loss': 5.0,
    'coarse/rollout_jsd': 0.25,
    'fine/rollout_jsd': math.inf,
    'fine/loss': 100.0,
  }
  both = ('coarse', 'fine')
  assert selection.value('loss', scalars, both) == 3.5
  assert selection.value('loss', scalars, ('fine',)) == 5.0
  assert selection.value('rollout', scalars, both) == math.inf
  assert selection.value('rollout', scalars, ('coarse',)) == 0.25
  assert selection.value('last', scalars, both) is None
  # Between two validations there is nothing to judge.
  assert selection.value('loss', {'fine/loss': 1.0}, both) is None

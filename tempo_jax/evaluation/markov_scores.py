"""Kinetics of a prediction in ten states of MD: populations and passage times.

The states of MD, and its own kinetics in them, are found once for each lag, and shared by the
prediction and all baselines.
"""

import dataclasses

from tempo_jax.evaluation import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import markov_comparison
from tempo_jax.metrics.kinetics import Found

KEYS = markov_comparison.KEYS


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """Both sides in the states of MD.

  Attributes:
    numbers: by `KEYS`; None where there is none.
    notes: why, by key.
    reference: MD; None where it has no states.
    predicted: what is judged; None where it has no states.
    reason: why there are no states of MD.
  """

  numbers: dict[str, float | None]
  notes: dict[str, str]
  reference: markov_comparison.Reference | None
  predicted: markov_comparison.Kinetics | None
  reason: str | None = None


def compare(reference: Ensemble, prediction: Ensemble, lag_ns: float | None = None) -> Comparison:
  """One estimator, at one lag, for both sides.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    lag_ns: of TICA and of the Markov models, ns; None: a hundredth of the longest replica of MD.
  """
  against, reason = _states_of(reference, prediction, lag_ns)
  if against is None:
    reason = reason or ''
    return Comparison(dict.fromkeys(KEYS), dict.fromkeys(KEYS, reason), None, None, reason)
  numbers, notes, predicted = markov_comparison.compare(
    prediction.split(prediction.positions), prediction.dt_ns, against
  )
  return Comparison(numbers, notes, against, predicted)


def _states_of(
  reference: Ensemble, prediction: Ensemble, lag_ns: float | None
) -> Found[markov_comparison.Reference]:
  grid, reason = common_times.common_times(reference, prediction)
  if grid is None:
    return None, reason or ''
  lag = common_times.lag_ns(reference, grid, lag_ns)
  return reference.once(
    ('states', lag),
    lambda: markov_comparison.reference(reference.split(reference.positions), reference.dt_ns, lag),
  )

"""One protein, from its ensembles to all results: plain data that a cache keeps."""

import dataclasses
from typing import Any

from tempo_jax.evaluation import columns, details, errors, series
from tempo_jax.evaluation.columns import Column
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.errors import Errors
from tempo_jax.evaluation.scores import Settings


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
  """The results of one protein.

  Attributes:
    columns: numbers of the prediction and of the baselines, by name.
    details: numbers beside the table, see `details.details`.
    remarks: on the files, for the user.
    series: what a report draws; None where none was asked for.
    errors: standard errors of the numbers of the prediction; baselines have none.
  """

  columns: dict[str, Column]
  details: dict[str, Any]
  remarks: list[str]
  series: series.ProteinSeries | None
  errors: Errors


def evaluate(
  name: str,
  reference: Ensemble,
  prediction: Ensemble,
  settings: Settings,
  with_baselines: bool = True,
  with_series: bool = True,
) -> Evaluation:
  """Compares a prediction with the reference of the same protein.

  Args:
    name: of the protein.
    reference: all replicas of MD.
    prediction: what is compared with it.
    settings: how.
    with_baselines: score the baselines too.
    with_series: compute what a report draws.
  """
  slow = details.slow_dynamics(reference, prediction)
  remarks = (
    f'{replica.source}: {remark}'
    for ensemble in (reference, prediction)
    for replica in ensemble.replicas
    for remark in replica.remarks
  )
  scored = columns.columns(reference, prediction, settings, with_baselines)
  numbers = scored[columns.PREDICTION].numbers
  return Evaluation(
    columns=scored,
    details=details.details(reference, prediction, slow, settings),
    remarks=list(dict.fromkeys(remarks)),
    series=series.of_protein(name, reference, prediction, slow, settings) if with_series else None,
    errors=errors.of_prediction(reference, prediction, settings, numbers),
  )

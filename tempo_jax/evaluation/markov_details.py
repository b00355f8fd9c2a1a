"""Beside the table: populations, passage times and time scales of the ten states of MD."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tempo_jax.evaluation import markov_scores
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import distribution, markov_comparison, markov_models, uncertainty
from tempo_jax.metrics.markov_comparison import Kinetics
from tempo_jax.metrics.markov_models import MarkovModel

_NUM_TIME_SCALES = 5
_NUM_DRAWS = 100  # Of more than five replicas; of fewer, all are taken.


def details(
  reference: Ensemble, prediction: Ensemble, lag_ns: float | None = None
) -> dict[str, Any]:
  """What a report shows of the kinetics.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    lag_ns: as for `markov_scores.compare`.

  Returns:
    `lag_ns`, `num_states`, `num_residues` (whose distances are compared), `tica_eigenvalues`,
    `seed` (of k-means); `prediction` and `reference`, see `_of_side`; of both,
    `occupancy_js_distance` and `flux_spearman`; `ceiling`: numbers of the first halves of MD
    against its second ones (`halves`) and of MD `against_itself`; `notes`, why something is None.
    Where MD has no states, `reason` alone.
  """
  found = markov_scores.compare(reference, prediction, lag_ns)
  against = found.reference
  if against is None:
    return {'reason': found.reason}
  ours, theirs = found.predicted, against.kinetics
  num_states = len(against.centers)
  notes = {f'halves, {key}': why for key, why in against.halves_notes.items()}
  flux = None
  if ours is None or ours.model is None or theirs.model is None:
    notes['flux_spearman'] = 'one side has no Markov model'
  else:
    flux, why = markov_models.flux_spearman(
      markov_models.flux(ours.model), markov_models.flux(theirs.model)
    )
    if why:
      notes['flux_spearman'] = why
  apart = None
  if ours is None:
    notes['prediction'] = found.notes['tica_w1_rms']
  else:
    shares = (_occupancy(side, num_states) for side in (ours, theirs))
    apart = float(distribution.js_distance(*shares))
  for name, side in (('prediction', ours), ('reference', theirs)):
    if side is not None and side.reason:
      notes[name] = side.reason
  return {
    'lag_ns': against.lag_ns,
    'num_states': num_states,
    'num_residues': len(against.residues),
    'tica_eigenvalues': against.slow.eigenvalues.tolist(),
    'seed': markov_comparison.SEED,
    'prediction': None if ours is None else _of_side(ours, prediction.dt_ns, against),
    'reference': _of_side(theirs, reference.dt_ns, against),
    'occupancy_js_distance': apart,
    'flux_spearman': flux,
    'ceiling': {'halves': against.halves, 'against_itself': _against_itself(theirs.model)},
    'notes': notes,
  }


def _of_side(
  side: Kinetics, dt_ns: float | None, against: markov_comparison.Reference
) -> dict[str, Any]:
  """`occupancy`, shares of frames; the rest, of the Markov model, is None where there is none.

  `populations`, `mfpt_ns` from row to column (None where not connected), `flux_per_ns` (changes
  from row to column in equilibrium), `time_scales_ns` with the longest first, and standard errors:
  replicas drawn again; of one replica, of the shares of frames.
  """
  found: dict[str, Any] = {'occupancy': _occupancy(side, len(against.centers)).tolist()}
  model = side.model
  if model is None:
    names = 'populations', 'mfpt_ns', 'flux_per_ns', 'time_scales_ns'
    return found | dict.fromkeys(
      (*names, 'populations_error', 'time_scales_error_ns', 'errors_from')
    )
  lag, _ = markov_models.lag_in_frames(against.lag_ns, dt_ns, max(map(len, side.states)))
  assert lag is not None
  populations, time_scales = model.populations_of_all(), model.time_scales_ns()[:_NUM_TIME_SCALES]
  if len(side.states) > 1:
    errors = _of_replicas(side.states, lag, model, len(time_scales))
  else:
    errors = _of_frames(side.states, len(populations)), [None] * len(time_scales)
  return found | {
    'populations': populations.tolist(),
    'populations_error': errors[0],
    'mfpt_ns': [
      [float(x) if np.isfinite(x) else None for x in row] for row in model.passage_times_ns()
    ],
    'flux_per_ns': (markov_models.flux(model) / against.lag_ns).tolist(),
    'time_scales_ns': time_scales.tolist(),
    'time_scales_error_ns': errors[1],
    'errors_from': 'replicas' if len(side.states) > 1 else 'frames',
  }


def _occupancy(side: Kinetics, num_states: int) -> np.ndarray:
  """[N], shares of frames."""
  counts = np.bincount(np.concatenate(side.states), minlength=num_states)
  return counts / counts.sum()


def _of_replicas(
  states: Sequence[np.ndarray], lag: int, model: MarkovModel, num_time_scales: int
) -> tuple[list[float | None], list[float | None]]:
  """Standard errors of populations and of time scales, from drawing replicas again."""

  @functools.cache
  def drawn(chosen: tuple[int, ...]) -> MarkovModel | None:
    of_them = [states[i] for i in chosen]
    return markov_models.estimate(of_them, lag, model.num_states, model.lag_ns)[0]

  def values(number: int, of_model: Callable[[MarkovModel], np.ndarray]) -> list[float | None]:
    def value(chosen: list[int], place: int) -> float | None:
      found = drawn(tuple(sorted(chosen)))
      several = () if found is None else of_model(found)
      return float(several[place]) if place < len(several) else None

    everything = (
      uncertainty.bootstrap(
        functools.partial(value, place=place), range(len(states)), num_draws=_NUM_DRAWS
      )[0]
      for place in range(number)
    )
    return [None if x is None else x.standard_error for x in everything]

  return (
    values(model.num_states, MarkovModel.populations_of_all),
    values(num_time_scales, MarkovModel.time_scales_ns),
  )


def _of_frames(states: Sequence[np.ndarray], num_states: int) -> list[float | None]:
  """Standard errors of the shares of frames."""
  found = (
    uncertainty.mean_error([(x == k).astype(np.float64) for x in states])[0]
    for k in range(num_states)
  )
  return [None if x is None else x.error for x in found]


def _against_itself(model: MarkovModel | None) -> dict[str, float] | None:
  """With one estimator for both sides, passage times agree wherever there are any."""
  if model is None:
    return None
  times, _ = markov_comparison.compare_passage_times(model, model)
  return markov_comparison.compare_populations(model, model) | (times or {})

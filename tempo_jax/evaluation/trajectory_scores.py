"""States, motion and validity of a prediction against MD, after ConfRover and STAR-MD.

What depends on MD alone is computed once and shared by the prediction and all baselines.
"""

import numpy as np

from tempo_jax.evaluation import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import (
  distribution,
  md_validity,
  slow_modes,
  state_recovery,
  torsion_distances,
  trajectory_deviations,
)
from tempo_jax.metrics.kinetics import Found, TimeGrid

Score = tuple[float | None, str | None]
"""A number and None; or None and the reason."""

_STATES = {
  'state_js_distance': 'js_distance',
  'state_precision': 'precision',
  'state_recall': 'recall',
  'state_f1': 'f1',
}
# Of the metric's notes, by what they begin with.
_DYNAMIC_CONTENT = {
  'dynamic_content_trajectory': ('trajectory', 'over trajectories'),
  'dynamic_content_frame': ('frame', 'distance to the first frame'),
  'dynamic_content_step': ('step', 'distance to the frame before'),
}
MOTION = ('rmsd_deviation', 'autocorrelation_deviation', 'vamp2_deviation', 'tica_correlation')
TIMED = (*MOTION, *_DYNAMIC_CONTENT)
"""Keys of what needs times."""
KEYS = (*_STATES, 'torsion_js_distance_backbone', 'valid_ca_percent', *TIMED)

LARGEST_START_DISTANCE = 0.5
"""Of the mean pairwise RMSD of MD: first frames that are farther apart are no common start."""


def scores(
  reference: Ensemble, prediction: Ensemble, lag_ns: float | None = None
) -> dict[str, Score]:
  """Numbers by `KEYS`.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    lag_ns: of tICA and VAMP-2, ns; None: a hundredth of the longest replica of MD.
  """
  found: dict[str, Score] = {}
  states, reason = recovery(reference, prediction)
  for key, name in _STATES.items():
    value = None if states is None else getattr(states, name)
    found[key] = value, reason or 'no frame of the prediction is within the range of MD'
  found['torsion_js_distance_backbone'] = _torsions(reference, prediction)
  valid, reason = validity(reference, prediction)
  found['valid_ca_percent'] = None if valid is None else valid.ca, reason
  grid, reason = common_times.common_times(reference, prediction)
  if grid is None:
    return found | dict.fromkeys(TIMED, (None, reason))
  return found | _timed(reference, prediction, grid, lag_ns)


def recovery(
  reference: Ensemble, prediction: Ensemble, counted: np.ndarray | None = None
) -> Found[state_recovery.StateRecovery]:
  """States on two principal components of MD.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    counted: [F] bool, frames of the prediction that count; None: all of them.
  """
  ours, theirs = (projected(reference, x) for x in (prediction, reference))
  return state_recovery.state_recovery(ours if counted is None else ours[counted], theirs)


def projected(reference: Ensemble, ensemble: Ensemble) -> np.ndarray:
  """[F, K] Å, of an ensemble on the leading principal components of MD's CA.

  32 of them, or as many as MD can have: 3 L, and one less than it has frames.
  """
  most = min(
    trajectory_deviations.NUM_COMPONENTS, 3 * reference.ca.shape[1], reference.num_frames - 1
  )
  pca = reference.once(
    'leading components',
    lambda: distribution.Pca.fit(reference.ca, num_components=most),
  )
  if ensemble is reference:
    return reference.once('projected', lambda: pca.project(reference.ca))
  return pca.project(ensemble.ca)


def frame_values(ensemble: Ensemble) -> md_validity.FrameValues:
  """Distances of CA, which a valid frame is judged by; outliers are left at 0."""
  least, greatest = ensemble.ca_extremes.T
  return md_validity.FrameValues(least, greatest, np.zeros(len(least)), None)


def validity(reference: Ensemble, prediction: Ensemble) -> Found[md_validity.ValidShares]:
  """Frames whose CA are as sound as those of 99 % of MD."""
  limits, reason = md_validity.limits_of(frame_values(reference))
  if limits is None:
    return None, reason or ''
  return md_validity.valid_shares(frame_values(prediction), limits)


def _torsions(reference: Ensemble, prediction: Ensemble) -> Score:
  of_each = torsion_distances.js_distances(
    prediction.torsions[..., :2], reference.torsions[..., :2]
  )
  there = of_each[~np.isnan(of_each)]
  return (float(there.mean()), None) if there.size else (None, 'no torsion is known on both sides')


def motion(
  reference: Ensemble,
  prediction: Ensemble,
  grid: TimeGrid,
  lag_ns: float | None = None,
  valid: list[np.ndarray] | None = None,
) -> dict[str, Found[float]]:
  """How far and how slowly it moves: numbers by `MOTION`.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    grid: of times.
    lag_ns: as for `scores`.
    valid: [F] bool per replica of the prediction; pairs of such frames alone count. None: all do.
  """
  ours, theirs = prediction.split(prediction.ca), reference.split(reference.ca)
  components = (
    prediction.split(projected(reference, prediction)),
    reference.split(projected(reference, reference)),
  )
  once = reference.once
  lag = common_times.lag_ns(reference, grid, lag_ns)
  return {
    'rmsd_deviation': trajectory_deviations.rmsd_deviation(ours, theirs, grid, valid, once),
    'autocorrelation_deviation': trajectory_deviations.autocorrelation_deviation(
      *components, grid, valid, once
    ),
    'vamp2_deviation': slow_modes.vamp2_deviation(*components, grid, lag, valid, once),
    'tica_correlation': slow_modes.tica_correlation(ours, theirs, grid, lag, valid, once),
  }


def _timed(
  reference: Ensemble, prediction: Ensemble, grid: TimeGrid, lag_ns: float | None
) -> dict[str, Score]:
  found: dict[str, Score] = {**motion(reference, prediction, grid, lag_ns)}
  reason = _no_common_starts(reference, prediction)
  if reason:
    return found | dict.fromkeys(_DYNAMIC_CONTENT, (None, reason))
  ours, theirs = prediction.split(prediction.ca), reference.split(reference.ca)
  content = trajectory_deviations.dynamic_content(ours, theirs, grid)
  for key, (name, note) in _DYNAMIC_CONTENT.items():
    value = getattr(content, name)
    found[key] = value, next((why for why in content.notes if why.startswith(note)), None)
  return found


def _no_common_starts(reference: Ensemble, prediction: Ensemble) -> str | None:
  """Whether the k-th trajectories of both sides start alike; why not."""
  ours, theirs = prediction.replicas, reference.replicas
  if len(ours) != len(theirs):
    return f'{len(ours)} predicted trajectories, {len(theirs)} of MD: as many, with common starts'
  first = [ensemble.ca[_starts(ensemble)] for ensemble in (prediction, reference)]
  apart = float(np.sqrt(np.sum((first[0] - first[1]) ** 2, axis=-1).mean(axis=-1)).max())
  most = LARGEST_START_DISTANCE * reference.pairwise_rmsd
  if apart > most:
    return (
      f'no common starts: trajectories begin up to {apart:.2f} Å apart, and half of the mean '
      f'distance of two frames of MD is {most:.2f} Å'
    )
  return None


def _starts(ensemble: Ensemble) -> np.ndarray:
  """Indices of the first frames of replicas."""
  return np.cumsum([0, *(replica.num_frames for replica in ensemble.replicas[:-1])])

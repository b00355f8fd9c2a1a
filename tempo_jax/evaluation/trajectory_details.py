"""Beside the table: states, validity, torsions, and the choices behind the trajectory suite."""

from typing import Any

import numpy as np

from tempo_jax.evaluation import common_times, trajectory_scores
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import (
  markov_models,
  md_validity,
  slow_modes,
  slow_torsions,
  state_recovery,
  torsion_distances,
  trajectory_deviations,
)
from tempo_jax.metrics.kinetics import Found

CHOICES: dict[str, Any] = {
  'states': 'CA superposed on the native structure; PCA of all frames of MD; all frames count',
  'state_bins_per_component': state_recovery.NUM_BINS,
  'state_pseudo_count': state_recovery.PSEUDO_COUNT,
  'deviations': 'mean over lags of absolute differences; no second superposition',
  'deviation_lags': 'common steps, 1 to half of the shorter side',
  'autocorrelation_components': trajectory_deviations.NUM_COMPONENTS,
  'tica_features': 'principal components of the CA of each side',
  'tica_most_features': slow_modes.MAX_FEATURES,
  'tica_modes': slow_modes.NUM_MODES,
  'tica_contribution': 'covariance of coordinates with the mode',
  'vamp2_components': slow_modes.VAMP_DIMENSIONS,
  'least_pairs_of_frames': trajectory_deviations.MIN_PAIRS,
  'dynamic_content': 'k-th trajectories of both sides; CA, to the first frame and the one before',
  'dynamic_content_largest_start_distance': trajectory_scores.LARGEST_START_DISTANCE,
  'validity_percentile': md_validity.PERCENTILE,
  'torsion_bins': torsion_distances.NUM_BINS,
}
"""What ConfRover's and STAR-MD's texts leave open, and we chose, but for the lag."""

SLOW_TORSIONS_LAG_NS = 0.1
"""MDGen's."""


def choices(
  reference: Ensemble, prediction: Ensemble, lag_ns: float | None = None
) -> dict[str, Any]:
  """`CHOICES`, and `tica_and_vamp2_lag_ns`; None where frames have no common times.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    lag_ns: as for `trajectory_scores.scores`.
  """
  grid, _ = common_times.common_times(reference, prediction)
  lag = None if grid is None else common_times.lag_ns(reference, grid, lag_ns)
  return CHOICES | {'tica_and_vamp2_lag_ns': lag}


def states(reference: Ensemble, prediction: Ensemble) -> dict[str, Any]:
  """How the states of both agree, of all frames and of those that are sound by ConfDiff's limits.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
  """
  found = {'all_frames': _recovery(reference, prediction, None)}
  values = trajectory_scores.frame_values(prediction)
  valid, reason = md_validity.valid_shares(values, md_validity.CONFDIFF)
  sound = (
    {'reason': reason}
    if valid is None
    else {'share_percent': valid.ca} | _recovery(reference, prediction, valid.frames_ca)
  )
  return found | {'sound_frames': sound}


def _recovery(
  reference: Ensemble, prediction: Ensemble, counted: np.ndarray | None
) -> dict[str, Any]:
  recovery, reason = trajectory_scores.recovery(reference, prediction, counted)
  return {'reason': reason} if recovery is None else vars(recovery).copy()


def validity(reference: Ensemble, prediction: Ensemble) -> dict[str, Any]:
  """Limits of CA, and the shares of frames within; or the reason why there are none."""
  limits, reason = md_validity.limits_of(trajectory_scores.frame_values(reference))
  if limits is None:
    return {'reason': reason}
  found: dict[str, Any] = {
    'nearest_ca_A': _finite(limits.nearest_ca),
    'longest_step_A': _finite(limits.longest_step),
  }
  for name, ensemble in (('prediction', prediction), ('reference', reference)):
    shares, _ = md_validity.valid_shares(trajectory_scores.frame_values(ensemble), limits)
    found[f'{name}_percent'] = None if shares is None else shares.ca
  return found


def slow_torsion_distances(reference: Ensemble, prediction: Ensemble) -> dict[str, Any]:
  """JS distances along the slowest coordinates of phi and psi of MD, after MDGen.

  The lag is MDGen's 0.1 ns, or one step of MD where it has no frames so near.

  Args:
    reference: all replicas of MD.
    prediction: what is judged; needs no times.

  Returns:
    `lag_ns`, `num_coordinates`, `tica_0_jsd`, `tica_01_jsd`; or the reason why there are none.
  """
  fitted, reason = reference.once('slow torsions', lambda: _fit_torsions(reference))
  if fitted is None:
    return {'reason': reason}
  lag_ns, slow, theirs = fitted
  ours = slow_torsions.coordinates(slow, _torsions(prediction))
  return {
    'lag_ns': lag_ns,
    'num_coordinates': len(slow.eigenvalues),
    **slow_torsions.tica_jsd(ours, theirs),
  }


def _fit_torsions(reference: Ensemble) -> Found[tuple[float, Any, list[np.ndarray]]]:
  dt_ns = reference.dt_ns
  if dt_ns is None:
    return None, f'reference: {reference.no_time}'
  longest = max(replica.num_frames for replica in reference.replicas)
  lag, reason = markov_models.lag_in_frames(SLOW_TORSIONS_LAG_NS, dt_ns, longest)
  if lag is None:
    if dt_ns < SLOW_TORSIONS_LAG_NS:
      return None, f'reference: {reason}'
    lag = 1
  torsions = _torsions(reference)
  slow, reason = slow_torsions.fit(torsions, lag)
  if slow is None:
    return None, f'reference: {reason}'
  return (lag * dt_ns, slow, slow_torsions.coordinates(slow, torsions)), None


def _torsions(ensemble: Ensemble) -> list[np.ndarray]:
  return ensemble.split(ensemble.torsions[..., :2].reshape(ensemble.num_frames, -1))


def torsions(reference: Ensemble, prediction: Ensemble) -> dict[str, Any]:
  """JS distances of phi and psi by residue, and of both together; None where there is none."""
  ours, theirs = (ensemble.torsions[..., :2] for ensemble in (prediction, reference))
  together = torsion_distances.phi_psi_distances(ours, theirs)
  there = together[~np.isnan(together)]
  return {
    'phi_psi': float(there.mean()) if there.size else None,
    'of_phi_and_psi': _listed(torsion_distances.js_distances(ours, theirs)),
    'of_phi_psi': _listed(together),
  }


def _listed(values: np.ndarray) -> Any:
  if values.ndim > 1:
    return [_listed(row) for row in values]
  return [_finite(x) for x in values]


def _finite(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None

"""Error bars of numbers in time: jackknife, the same numbers without one part of the prediction.

Without a part there is a gap: pairs of frames that reach into it do not count. The number of lags
stays that of the whole.
"""

from collections.abc import Callable, Iterable

import numpy as np

from tempo_jax.evaluation import markov_scores, sections, side_chain_scores, trajectory_scores
from tempo_jax.evaluation.common_times import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import kinetics, trajectory_deviations, uncertainty
from tempo_jax.metrics.kinetics import Found, Replicas, TimeGrid

_MAX_GROUPS = 10  # of trajectories
_Masks = list[np.ndarray]
_Statistic = Callable[[_Masks], Found[float]]


def in_time(
  reference: Ensemble, prediction: Ensemble, cut: sections.Sections, lag_ns: float | None
) -> dict[str, Found[float]]:
  """Standard errors by key, and None; or None and the reason.

  Args:
    reference: all replicas of MD.
    prediction: what was judged.
    cut: into parts.
    lag_ns: ns, as in `scores.Settings`.
  """
  grid, _ = common_times(reference, prediction)
  if grid is None:
    return {}  # Nor are there numbers.
  statistics = {
    **_at_common_times(reference, prediction, grid),
    'autocorrelation_error': _autocorrelation_error(reference, prediction, grid),
  }
  masks = cut.masks(prediction)
  found = {key: _jackknife(map(statistic, masks)) for key, statistic in statistics.items()}
  motion = [trajectory_scores.motion(reference, prediction, grid, lag_ns, valid) for valid in masks]
  found |= {key: _jackknife([each[key] for each in motion]) for key in trajectory_scores.MOTION}
  found |= _dynamic_content(reference, prediction, grid)
  return found | _changes_of_state(reference, prediction, cut, lag_ns)


def _jackknife(values: Iterable[tuple[float | None, str | None]]) -> Found[float]:
  """From the number without each part."""
  numbers, reasons = zip(*values, strict=True)
  there = [number for number in numbers if number is not None]
  if len(there) < len(numbers):
    return None, next(filter(None, reasons), '')
  return uncertainty.jackknife_error(there)


def _at_common_times(
  reference: Ensemble, prediction: Ensemble, grid: TimeGrid
) -> dict[str, _Statistic]:
  """Numbers of frames at the same times: those of MD are left out, too."""

  def statistic(
    measure: Callable[[Replicas, Replicas, TimeGrid], Found[float]],
    ours: Replicas,
    theirs: Replicas,
  ) -> _Statistic:
    def without(valid: _Masks) -> Found[float]:
      values = []
      for x, kept in zip(ours, valid, strict=True):
        for y in theirs:
          pair = x[:: grid.prediction_stride], y[:: grid.reference_stride]
          num_frames = min(map(len, pair))
          counted = kept[:: grid.prediction_stride][:num_frames]
          a, b = (z[:num_frames][counted] for z in pair)
          values.append(measure([a], [b], TimeGrid(grid.dt_ns))[0])
      there = [value for value in values if value is not None]
      return (float(np.mean(there)), None) if there else (None, 'too few frames at times of MD')

    return without

  both = prediction, reference
  rmsd = [ensemble.split(ensemble.rmsd) for ensemble in both]
  pc1 = [ensemble.split(reference.pca.project(ensemble.ca)[:, 0]) for ensemble in both]
  return {
    'rmsd_error': statistic(kinetics.rmsd_error, *rmsd),
    'pc1_cosine': statistic(kinetics.pc1_cosine, *pc1),
  }


def _autocorrelation_error(reference: Ensemble, prediction: Ensemble, grid: TimeGrid) -> _Statistic:
  angles = prediction.torsions[..., :2].reshape(prediction.num_frames, -1)
  circles = prediction.split(np.exp(1j * angles))  # As `kinetics.torsion_autocorrelation` does.
  whole, theirs = (x.torsion_autocorrelation[0] for x in (prediction, reference))

  def without(valid: _Masks) -> Found[float]:
    if whole is None or theirs is None:
      return None, 'there is no autocorrelation'
    ours, reason = kinetics.autocorrelation(circles, len(whole) - 1, valid)
    if ours is None:
      return None, reason or ''
    return kinetics.autocorrelation_error(ours, theirs, grid)

  return without


def _dynamic_content(
  reference: Ensemble, prediction: Ensemble, grid: TimeGrid
) -> dict[str, Found[float]]:
  """Trajectories are the parts: each has a start in common with one of MD."""
  keys = {
    'dynamic_content_trajectory': 'trajectory',
    'dynamic_content_frame': 'frame',
    'dynamic_content_step': 'step',
  }
  ours, theirs = (ensemble.split(ensemble.ca) for ensemble in (prediction, reference))
  if len(ours) != len(theirs) or len(ours) < sections.MIN_PARTS:
    reason = f'{len(ours)} trajectories, and {sections.MIN_PARTS} are needed for an error'
    return dict.fromkeys(keys, (None, reason))
  groups = np.array_split(np.arange(len(ours)), min(len(ours), _MAX_GROUPS))
  every = []
  for group in groups:
    left = np.setdiff1d(np.arange(len(ours)), group)
    pair = [ours[k] for k in left], [theirs[k] for k in left]
    every.append(trajectory_deviations.dynamic_content(*pair, grid))
  found: dict[str, Found[float]] = {}
  for key, name in keys.items():
    values = [getattr(content, name) for content in every]
    found[key] = _jackknife([(x, 'too few trajectories' if x is None else None) for x in values])
  return found


def _changes_of_state(
  reference: Ensemble, prediction: Ensemble, cut: sections.Sections, lag_ns: float | None
) -> dict[str, Found[float]]:
  """Changes across the gap do not count: the stretches beside it are replicas."""
  left = [prediction.view(cuts) for cuts in cut.without(prediction)]
  every = [markov_scores.compare(reference, view, lag_ns) for view in left]
  found = {
    key: _jackknife([(x.numbers[key], x.notes.get(key)) for x in every])
    for key in markov_scores.KEYS
  }
  if reference.chi is not None and prediction.chi is not None:
    ratios = [side_chain_scores.changes_ratio(reference, view) for view in left]
    found['rotamer_changes_ratio'] = _jackknife(ratios)
  return found

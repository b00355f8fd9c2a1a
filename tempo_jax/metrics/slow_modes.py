"""Slow modes of a prediction beside those of MD: which residues they move, and how slow they are.

After STAR-MD (arXiv 2602.02128), whose evaluation code is not public. What the text leaves open is
chosen here, and is ours: features, the formula of a residue's contribution, how features are
reduced (constants below), and the lag, which the caller gives in ns: that of the other kinetics, so
that it does not depend on how far apart frames are. Do not compare with published numbers, but with
MD by MD.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from scipy import linalg

from tempo_jax.metrics import flexibility, kinetics, markov_models, tica
from tempo_jax.metrics.kinetics import Found, Replicas
from tempo_jax.metrics.trajectory_deviations import MIN_PAIRS

_T = TypeVar('_T')

NUM_MODES = 2
"""tICA components whose contributions are compared; the number is the mean of their Pearsons."""
VAMP_DIMENSIONS = 2
"""Principal components of the reference's CA on which VAMP-2 is computed."""
MAX_FEATURES = 20
"""Principal components of a side's own CA that tICA sees, and at most one for ten pairs of frames:
with more than pairs, eigenvalues are 1 by construction."""
PAIRS_PER_FEATURE = 10
_LEAST_VARIANCE = 1e-10  # Of the largest.


@dataclasses.dataclass(frozen=True, eq=False)
class SlowModes:
  """Time-lagged independent components, and what moves along them.

  Attributes:
    mean: [K] of the features.
    weights: [K, D]; the projection (x - mean) @ weights has unit variance, the slowest first.
    motions: [K, D], covariance of each feature with each mode: how far it moves as the mode moves
      by its standard deviation.
    eigenvalues: [D], autocorrelations at the lag, in descending order, all above 0.
  """

  mean: np.ndarray
  weights: np.ndarray
  motions: np.ndarray
  eigenvalues: np.ndarray


Valid = list[np.ndarray] | None
"""[F] bool per replica: frames that count; None: all of them."""


def _pairs(series: Replicas, lag: int, valid: Valid) -> Found[tuple[np.ndarray, np.ndarray]]:
  """[M, K] float64 of frames, and those a lag later, never across replicas; or too few."""
  before, after = [], []
  for number, x in enumerate(series):
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    keep = np.ones(len(x), bool) if valid is None else valid[number]
    both = keep[:-lag] & keep[lag:]
    before.append(x[:-lag][both])
    after.append(x[lag:][both])
  num_pairs = sum(map(len, before))
  if num_pairs < MIN_PAIRS:
    return None, f'{num_pairs} pairs of valid frames {lag} frames apart, fewer than {MIN_PAIRS}'
  return (np.concatenate(before), np.concatenate(after)), None


def fit(
  series: Replicas, lag: int, valid: Valid = None, max_features: int = MAX_FEATURES
) -> Found[SlowModes]:
  """TICA of the leading principal components of the features: `tica` without its noise.

  Args:
    series: [F, ...] features per replica.
    lag: frames.
    valid: pairs of valid frames alone count.
    max_features: principal components to look at, at most one for ten pairs.

  Returns:
    The modes and None; or None and the reason.
  """
  pairs, reason = _pairs(series, lag, valid)
  if pairs is None:
    return None, reason or ''
  before, after = pairs
  num_pairs = len(before)
  mean = 0.5 * (before.mean(axis=0) + after.mean(axis=0))
  before -= mean
  after -= mean
  instant = (before.T @ before + after.T @ after) / (2 * num_pairs)
  size = len(instant)
  most = min(max_features, num_pairs // PAIRS_PER_FEATURE, size)
  variance, axes = linalg.eigh(instant, subset_by_index=(size - most, size - 1))
  scale = float(np.sum(mean * mean)) + float(np.trace(instant))
  kept = variance > _LEAST_VARIANCE * max(scale, np.finfo(float).tiny)
  if not kept.any():
    return None, 'nothing moves'
  axes, width = axes[:, kept], np.sqrt(variance[kept])
  fitted, reason = tica.of_pairs(before @ axes / width, after @ axes / width, lag)
  if fitted is None:
    return None, reason or ''
  components = fitted.components
  return SlowModes(
    mean, axes / width @ components, axes * width @ components, fitted.eigenvalues
  ), None


def residue_contributions(modes: SlowModes, num_residues: int) -> np.ndarray:
  """[D, L] Å: how far each residue moves along each mode, c_i = |(C0 v)_i|.

  Not |v_i|, the weights: these say how to see the mode best, and are large where a stiff residue
  has little noise. Of 4,000 frames of five residues with two known motions, weights of two runs
  correlate by 0.3, displacements by 1.0.

  Args:
    modes: of features [L, 3] per frame.
    num_residues: L.
  """
  return np.linalg.norm(modes.motions.T.reshape(-1, num_residues, 3), axis=-1)


def _contributions(series: Replicas, lag: int, valid: Valid = None) -> Found[np.ndarray]:
  """[1 or 2, L] Å, of the leading modes."""
  num_residues = series[0].shape[1]
  if num_residues < 3:
    return None, f'{num_residues} residues are too few for a correlation over residues'
  modes, reason = fit(series, lag, valid)
  if modes is None:
    return None, reason or ''
  return residue_contributions(modes, num_residues)[:NUM_MODES], None


def _of_both(
  name: str,
  measure: Callable[[Replicas, int, Valid], Found[_T]],
  sides: tuple[Replicas, Replicas],
  grid: kinetics.TimeGrid,
  lag_ns: float,
  valid: Valid,
  once: kinetics.Once,
) -> Found[tuple[_T, _T]]:
  """What a measure says of prediction and reference."""
  lags = []
  for side, series, stride in (
    ('prediction', sides[0], grid.prediction_stride),
    ('reference', sides[1], grid.reference_stride),
  ):
    longest = max(map(len, series), default=0)
    lag, reason = markov_models.lag_in_frames(lag_ns, grid.dt_ns / stride, longest)
    if lag is None:
      return None, f'{side}: {reason}'
    lags.append(lag)
  ours, reason = measure(sides[0], lags[0], valid)
  if ours is None:
    return None, f'prediction: {reason}'
  theirs, reason = once((name, lags[1]), lambda: measure(sides[1], lags[1], None))
  if theirs is None:
    return None, f'reference: {reason}'
  return (ours, theirs), None


def tica_correlation(
  prediction: Replicas,
  reference: Replicas,
  grid: kinetics.TimeGrid,
  lag_ns: float,
  valid: Valid = None,
  once: kinetics.Once = kinetics.anew,
) -> Found[float]:
  """Do the same residues take part in the slowest motions? After STAR-MD.

  Pearson over residues of `residue_contributions`, mean over the leading two modes; tICA of each
  side by itself, of superposed CA. Blind to how slow the modes are and where they lead. Two MD runs
  of the paper's proteins reach 0.17: compare with MD by MD.

  Args:
    prediction: CA, [F, L, 3] Å per replica, superposed on the structure that both sides share.
    reference: the same.
    grid: of times.
    lag_ns: ns, a multiple of both times between frames.
    valid: [F] bool per replica of the prediction; None: all frames are.
    once: keeps what is of this reference.

  Returns:
    -1 to 1 and None; or None and the reason.
  """
  both, reason = _of_both(
    'contributions', _contributions, (prediction, reference), grid, lag_ns, valid, once
  )
  if both is None:
    return None, reason or ''
  found = [flexibility.pearson(a, b) for a, b in zip(*both, strict=False)]
  value = float(np.mean(found))
  if np.isnan(value):
    return None, 'all residues contribute alike'
  return value, None


def vamp2(series: Replicas, lag: int, valid: Valid = None) -> Found[float]:
  """|| C00^-1/2 C0t Ctt^-1/2 ||_F^2, without the constant function (Wu and Noe, 2020).

  Covariances are about the mean of the frames before, and of those after, the lag.

  Args:
    series: [F, D] per replica; few columns, such as two principal components.
    lag: frames.
    valid: pairs of valid frames alone count.

  Returns:
    0 (all is forgotten) to D (nothing is) and None; or None and the reason.
  """
  pairs, reason = _pairs(series, lag, valid)
  if pairs is None:
    return None, reason or ''
  whitened = []
  for x in pairs:
    mean = x.mean(axis=0)
    x = x - mean
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    floor = np.sqrt(_LEAST_VARIANCE * (float(np.sum(x * x)) + len(x) * float(np.sum(mean * mean))))
    whitened.append(left[:, sizes > floor])
  if not all(x.shape[1] for x in whitened):
    return None, 'nothing moves'
  return float(np.sum((whitened[0].T @ whitened[1]) ** 2)), None


def vamp2_deviation(
  prediction: Replicas,
  reference: Replicas,
  grid: kinetics.TimeGrid,
  lag_ns: float,
  valid: Valid = None,
  once: kinetics.Once = kinetics.anew,
) -> Found[float]:
  """|VAMP-2 of the prediction - VAMP-2 of MD| on the reference's leading components: as slow as MD?

  Args:
    prediction: [F, 2 or more] Å per replica, `distribution.Pca.project` with the reference's PCA.
    reference: the same.
    grid: of times.
    lag_ns: ns, a multiple of both times between frames.
    valid: [F] bool per replica of the prediction; None: all frames are.
    once: keeps what is of this reference.

  Returns:
    0 to 2 and None; or None and the reason.
  """
  sides = tuple([x[:, :VAMP_DIMENSIONS] for x in side] for side in (prediction, reference))
  both, reason = _of_both('VAMP-2', vamp2, (sides[0], sides[1]), grid, lag_ns, valid, once)
  if both is None:
    return None, reason or ''
  return abs(both[0] - both[1]), None

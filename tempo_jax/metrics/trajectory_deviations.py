"""How far a prediction moves in a given time, and how fast it forgets, against MD. Plain numpy.

After STAR-MD and ConfRover (arXiv 2602.02128, 2505.17478), whose evaluation code is not public.
What their texts leave open is chosen here, and is ours: lags 1 to half of the shorter side, in
steps of the common times; absolute differences, mean over lags; frames superposed once, on the
structure that the whole evaluation uses, and not on each other; 32 principal components of the
reference's CA.

Series are lists of replicas; a function returns its value and None, or None and the reason.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.fft

from tempo_jax.metrics import flexibility, kinetics
from tempo_jax.metrics.kinetics import Found, Replicas

MIN_PAIRS = 30
"""Pairs of frames, below which STAR-MD gives no number of a kind that looks at pairs."""
NUM_COMPONENTS = 32
"""Principal components of the reference's CA in which the autocorrelation is taken (STAR-MD)."""
MIN_TRAJECTORIES = 3
"""Below, a correlation over trajectories is +-1 by construction."""
_BLOCK = 256  # Frames whose distances to all later ones are in memory at once.
_STILL = 1e-8  # Å^2, variance of all components together: nothing moves.


def rmsd_over_lags(replicas: Replicas, num_lags: int, valid: Replicas | None = None) -> np.ndarray:
  """r(k) = <sqrt(mean_i |x_i(t + k) - x_i(t)|^2)>_t, without a second superposition.

  Args:
    replicas: [F, L, 3] superposed Å.
    num_lags: up to which lag, frames; some replica is longer.
    valid: [F] bool per replica; pairs of such frames alone count. None: all do.

  Returns:
    [num_lags + 1] Å, 0 at lag 0; mean over all pairs of frames, of all replicas together.
  """
  total, pairs = np.zeros(num_lags + 1), np.zeros(num_lags + 1)
  for number, x in enumerate(replicas):
    points = (x - x.mean(axis=0, dtype=np.float64)).reshape(len(x), -1)
    square = np.einsum('fx,fx->f', points, points)
    for start in range(0, len(x), _BLOCK):
      rows = slice(start, min(start + _BLOCK, len(x)))
      later = slice(start, min(start + _BLOCK + num_lags, len(x)))
      size = rows.stop - start
      between = np.zeros((size, size + num_lags))
      distances = between[:, : later.stop - start]
      np.matmul(points[rows], points[later].T, out=distances)
      distances *= -2.0
      distances += square[rows, None]
      distances += square[later]
      np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)
      if valid is not None:
        distances *= valid[number][rows, None]
        distances *= valid[number][later]
      # Row i, from its own frame on: lag 0, 1, 2, ...; beyond the last frame, 0.
      row, column = between.strides
      skewed = np.lib.stride_tricks.as_strided(
        between, (size, num_lags + 1), (row + column, column), writeable=False
      )
      total += skewed.sum(axis=0)
    pairs += (
      np.maximum(len(x) - np.arange(num_lags + 1), 0)
      if valid is None
      else kinetics.pairs_of(valid[number], num_lags)
    )
  total[0] = 0.0  # But for rounding.
  return total / (pairs * np.sqrt(replicas[0].shape[1]) + (pairs == 0.0))


def component_autocorrelation(
  replicas: Replicas, num_lags: int, valid: Replicas | None = None
) -> Found[np.ndarray]:
  """C(k) = <z(t) . z(t + k)> / <z . z>, z being the deviation from the mean of all replicas.

  Components weigh by their variance, unlike in `kinetics.autocorrelation`.

  Args:
    replicas: [F, K] Å, projections on principal components of the reference.
    num_lags: up to which lag, frames; some replica is longer.
    valid: [F] bool per replica; pairs of such frames alone count. None: all do.

  Returns:
    [num_lags + 1], 1 at lag 0, and None; or None and the reason.
  """
  counted = [np.ones(len(x), bool) for x in replicas] if valid is None else valid
  pooled = np.concatenate([x[kept] for x, kept in zip(replicas, counted, strict=True)])
  pooled = pooled.astype(np.float64)
  mean = pooled.mean(axis=0)
  variance = float(np.sum((pooled - mean) ** 2)) / len(pooled)
  if variance < _STILL:
    return None, 'nothing moves'
  num_pairs = np.sum([kinetics.pairs_of(kept, num_lags) for kept in counted], axis=0)
  if not num_pairs.all():
    return None, f'no two frames {int(np.argmin(num_pairs))} apart'
  padded = scipy.fft.next_fast_len(max(map(len, replicas)) + num_lags, real=True)
  power = sum(
    np.sum(np.abs(scipy.fft.rfft((x - mean) * kept[:, None], padded, axis=0)) ** 2, axis=1)
    for x, kept in zip(replicas, counted, strict=True)
  )
  return scipy.fft.irfft(power, padded)[: num_lags + 1] / (num_pairs * variance), None


def _common(
  prediction: Replicas, reference: Replicas, grid: kinetics.TimeGrid, valid: Replicas | None
) -> Found[tuple[list[np.ndarray], list[np.ndarray] | None, list[np.ndarray], int]]:
  """The prediction and its valid frames, MD, at common times; the number of lags both reach."""
  ours, kept, theirs = (
    [x[::stride] for x in replicas]
    for replicas, stride in (
      (prediction, grid.prediction_stride),
      (valid or [], grid.prediction_stride),
      (reference, grid.reference_stride),
    )
  )
  for name, replicas in (('prediction', ours), ('reference', theirs)):
    pairs = sum(max(len(x) - 1, 0) for x in replicas)
    if pairs < MIN_PAIRS:
      return (
        None,
        f'{name}: {pairs} pairs of frames {grid.dt_ns:g} ns apart, fewer than {MIN_PAIRS}',
      )
  num_lags = min(max(map(len, replicas)) for replicas in (ours, theirs)) // 2
  if not num_lags:
    return None, f'no replica has two frames {grid.dt_ns:g} ns apart'
  return (ours, kept or None, theirs, num_lags), None


def rmsd_deviation(
  prediction: Replicas,
  reference: Replicas,
  grid: kinetics.TimeGrid,
  valid: Replicas | None = None,
  once: kinetics.Once = kinetics.anew,
) -> Found[float]:
  """Mean over lags of |r(k) - r_MD(k)|, r from `rmsd_over_lags`: does it move as far in a time?

  Blind to the direction of motion. Of an ensemble without order, r does not depend on the lag.

  Args:
    prediction: CA, [F, L, 3] Å per replica, superposed on the structure that both sides share.
    reference: the same.
    grid: of times.
    valid: [F] bool per replica of the prediction; pairs of such frames alone count. None: all do.
    once: keeps the curve of this reference.

  Returns:
    Å, 0 or more, and None; or None and the reason.
  """
  both, reason = _common(prediction, reference, grid, valid)
  if both is None:
    return None, reason or ''
  ours, kept, theirs, num_lags = both
  a = rmsd_over_lags(ours, num_lags, kept)
  b = once(
    ('RMSD over lags', grid.reference_stride, num_lags), lambda: rmsd_over_lags(theirs, num_lags)
  )
  return float(np.mean(np.abs(a - b)[1:])), None


def autocorrelation_deviation(
  prediction: Replicas,
  reference: Replicas,
  grid: kinetics.TimeGrid,
  valid: Replicas | None = None,
  once: kinetics.Once = kinetics.anew,
) -> Found[float]:
  """Mean over lags of |C(k) - C_MD(k)|, C from `component_autocorrelation`.

  Blind to the size of motion: C is normalised on each side.

  Args:
    prediction: [F, K] Å per replica: `distribution.Pca.project` with the reference's PCA of
      `NUM_COMPONENTS` components (at most 3 L).
    reference: the same.
    grid: of times.
    valid: as for `rmsd_deviation`.
    once: keeps the curve of this reference.

  Returns:
    0 or more and None; or None and the reason.
  """
  both, reason = _common(prediction, reference, grid, valid)
  if both is None:
    return None, reason or ''
  ours, kept, theirs, num_lags = both
  a, why = component_autocorrelation(ours, num_lags, kept)
  if a is None:
    return None, f'prediction: {why}'
  b, why = once(
    ('autocorrelation', grid.reference_stride, num_lags),
    lambda: component_autocorrelation(theirs, num_lags),
  )
  if b is None:
    return None, f'reference: {why}'
  return float(np.mean(np.abs(a - b)[1:])), None


@dataclasses.dataclass(frozen=True)
class DynamicContent:
  """Pearson correlations of motion amplitudes, prediction against MD; None where there is none.

  Attributes:
    trajectory: over trajectories, of the mean distance to the first frame.
    frame: over all frames of all trajectories, of the distance to the first frame.
    step: over the same, of the distance to the frame before.
    notes: why one is None.
  """

  trajectory: float | None
  frame: float | None
  step: float | None
  notes: tuple[str, ...]


def dynamic_content(
  prediction: Sequence[np.ndarray], reference: Sequence[np.ndarray], grid: kinetics.TimeGrid
) -> DynamicContent:
  """Do those trajectories move most that move most in MD (ConfRover)?

  For many short trajectories. Amplitude of a frame: root mean square distance of its points to
  those of the first frame, or of the frame before, without a further superposition; first frames
  do not count. That, and pooling all trajectories, are our choices.

  Args:
    prediction: trajectories, [F, L, 3] CA in superposed Å, or [F, K] principal components.
    reference: as many; each starts where that of the prediction does.
    grid: of times. Of each pair the common times count.
  """
  notes: list[str] = []
  if len(prediction) != len(reference):
    return DynamicContent(None, None, None, ('prediction and MD have no common starts',))
  rows: list[tuple[np.ndarray, np.ndarray]] = []
  for ours, theirs in zip(prediction, reference, strict=True):
    a, b = ours[:: grid.prediction_stride], theirs[:: grid.reference_stride]
    num_frames = min(len(a), len(b))
    if num_frames > 1:
      rows.append((_amplitudes(a[:num_frames]), _amplitudes(b[:num_frames])))
  found: list[float | None] = []
  num_frames = sum(a.shape[1] for a, _ in rows)
  for kind, name in enumerate(('distance to the first frame', 'distance to the frame before')):
    value = None
    if num_frames < MIN_PAIRS:
      notes.append(f'{name}: {num_frames} pairs of frames, fewer than {MIN_PAIRS}')
    else:
      a, b = (np.concatenate([pair[side][kind] for pair in rows]) for side in (0, 1))
      value = _pearson(a, b, name, notes)
    found.append(value)
  trajectory = None
  if len(rows) < MIN_TRAJECTORIES:
    notes.append(f'over trajectories: {len(rows)} of them, fewer than {MIN_TRAJECTORIES}')
  else:
    a, b = (np.array([pair[side][0].mean() for pair in rows]) for side in (0, 1))
    trajectory = _pearson(a, b, 'over trajectories', notes)
  return DynamicContent(trajectory, found[0], found[1], tuple(notes))


def _amplitudes(frames: np.ndarray) -> np.ndarray:
  """[2, F - 1]: distance to the first frame, and to the frame before."""
  points = np.asarray(frames, np.float64).reshape(len(frames), -1)
  moved = points[1:] - points[:1], points[1:] - points[:-1]
  return np.stack([np.sqrt(np.mean(x * x, axis=1)) for x in moved])


def _pearson(a: np.ndarray, b: np.ndarray, name: str, notes: list[str]) -> float | None:
  value = flexibility.pearson(a, b)
  if np.isnan(value):
    notes.append(f'{name}: one side does not vary')
    return None
  return value

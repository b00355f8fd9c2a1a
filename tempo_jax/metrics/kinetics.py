"""Motion in time: errors frame by frame, autocorrelations, slow coordinates, implied time scales.

Plain numpy, and deeptime (the extra `evaluate`) for TICA and Markov state models. Series are lists
of replicas, each [F, ...] with a constant time step; lengths may differ. A function returns its
value and None, or None and the reason why it cannot be computed.
"""

import dataclasses
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import scipy.fft

from tempo_jax import extras
from tempo_jax.metrics.superposition import CA

_T = TypeVar('_T')
Found = tuple[_T, None] | tuple[None, str]
Replicas = Sequence[np.ndarray]
Once = Callable[[Hashable, Callable[[], Any]], Any]
"""Of a key and what to compute: keeps what depends on the reference alone for the next call."""

_MAX_MISMATCH = 1e-3  # Of dt from a whole multiple of the other.
_MIN_FRAMES = 4  # For an autocorrelation.
_LEAST_VARIANCE = 1e-10  # Of the mean square: below, a series is constant but for rounding.
_COLUMN_BLOCK = 32

# Distances that slow coordinates are made of. 20 residues give 190 pairs at the most.
_MAX_RESIDUES = 20
_MIN_SEPARATION = 3
# Regularisation: TICA sees no more principal components than a tenth of the frame pairs. With all
# distances it finds slow processes in noise.
_MAX_COMPONENTS = 20
_PAIRS_PER_COMPONENT = 10
_NUM_SLOW = 3
_LAGS_PER_REPLICA = 20
_MAX_MICROSTATES = 50
_FRAMES_PER_MICROSTATE = 10


@dataclasses.dataclass(frozen=True)
class TimeGrid:
  """Times that the frames of a prediction and of its reference have in common.

  Times count from the first frame of each replica.

  Attributes:
    dt_ns: between two common times, ns.
    prediction_stride: every how manieth frame of the prediction is at such a time.
    reference_stride: the same for the reference; one of the two is 1.
  """

  dt_ns: float
  prediction_stride: int = 1
  reference_stride: int = 1


def anew(_key: Hashable, compute: Callable[[], _T]) -> _T:
  """A `Once` that keeps nothing."""
  return compute()


def time_grid(prediction_dt_ns: float | None, reference_dt_ns: float | None) -> Found[TimeGrid]:
  """Common times: those of the coarser series.

  Args:
    prediction_dt_ns: between frames, ns; None if unknown.
    reference_dt_ns: the same.

  Returns:
    The grid and None; or None and the reason, where a time step is unknown, or where the longer one
    is, by more than 0.1 %, no multiple of the other.
  """
  for name, dt in (('prediction', prediction_dt_ns), ('reference', reference_dt_ns)):
    if dt is None:
      return None, f'the time between frames of the {name} is unknown'
    if not (np.isfinite(dt) and dt > 0.0):
      return None, f'the time between frames of the {name} is {dt:g} ns'
  assert prediction_dt_ns is not None
  assert reference_dt_ns is not None
  fine, coarse = sorted((prediction_dt_ns, reference_dt_ns))
  stride = round(coarse / fine)
  if abs(coarse / (stride * fine) - 1.0) > _MAX_MISMATCH:
    return None, (
      f'frames are {prediction_dt_ns:g} ns apart in the prediction and {reference_dt_ns:g} ns in '
      'the reference: the longer time is no multiple of the shorter one'
    )
  if reference_dt_ns < prediction_dt_ns:
    return TimeGrid(coarse, 1, stride), None
  return TimeGrid(coarse, stride, 1), None


def _common(
  prediction: Replicas, reference: Replicas, grid: TimeGrid
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Every replica of one with every replica of the other, at the times that both have."""
  for ours in prediction:
    for theirs in reference:
      a, b = ours[:: grid.prediction_stride], theirs[:: grid.reference_stride]
      num_frames = min(len(a), len(b))
      yield a[:num_frames], b[:num_frames]


def _mean_over_pairs(
  measure: Callable[[np.ndarray, np.ndarray], float],
  prediction: Replicas,
  reference: Replicas,
  grid: TimeGrid,
) -> Found[float]:
  pairs = [pair for pair in _common(prediction, reference, grid) if len(pair[0]) > 1]
  if not pairs:
    return None, f'no two frames {grid.dt_ns:g} ns apart in both prediction and reference'
  value = float(np.mean([measure(*pair) for pair in pairs]))
  if not np.isfinite(value):
    return None, 'a series is zero throughout'
  return value, None


def rmsd_error(prediction: Replicas, reference: Replicas, grid: TimeGrid) -> Found[float]:
  """Mean over common frames t of |RMSD_pred(t) - RMSD_MD(t)| (paper, section 9).

  Averaged over all pairs of a predicted and a reference replica, as replicas have no order.

  Args:
    prediction: RMSD to the native structure, [F] Å per replica.
    reference: the same.
    grid: of times.

  Returns:
    Å and None, or None and the reason.
  """
  return _mean_over_pairs(lambda a, b: float(np.mean(np.abs(a - b))), prediction, reference, grid)


def pc1_cosine(prediction: Replicas, reference: Replicas, grid: TimeGrid) -> Found[float]:
  """Cosine of the angle between two series, a . b / (|a| |b|) (paper, section 9).

  Averaged over all pairs of a predicted and a reference replica.

  Args:
    prediction: projection on the reference's PC1 about the reference's mean, [F] per replica.
    reference: the same.
    grid: of times.

  Returns:
    -1 to 1 and None, or None and the reason.
  """

  def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0.0 else np.nan

  return _mean_over_pairs(cosine, prediction, reference, grid)


def autocorrelation(
  series: Replicas, num_lags: int | None = None, valid: Replicas | None = None
) -> Found[np.ndarray]:
  """Normalised autocorrelation of fluctuations, averaged over columns.

  C(k) = Re <z*(t) z(t + k)> / <|z|^2>, z being the deviation from the mean over all frames of all
  replicas. The upper average runs over all pairs of frames k apart within a replica, of all
  replicas (unbiased: divided by their number, not by that of the frames).

  Args:
    series: [F] or [F, K] per replica, real or complex; columns with NaN are left out.
    num_lags: up to which lag; default: half of the longest replica.
    valid: [F] bool per replica; pairs of such frames alone count. None: all do.

  Returns:
    C [num_lags + 1] float64, 1 at lag 0, and None; or None and the reason: fewer than four frames,
    no pair of frames at one of the lags, or no column that varies.
  """
  replicas = [x.reshape(len(x), -1) for x in series]
  longest = max(map(len, replicas), default=0)
  if longest < _MIN_FRAMES:
    return None, f'{longest} frames are too few for an autocorrelation'
  num_lags = longest // 2 if num_lags is None else num_lags
  if num_lags >= longest:
    return None, f'{longest} frames are too few for {num_lags} lags'
  lags = np.arange(num_lags + 1)
  num_pairs = sum(np.maximum(len(x) - lags, 0) for x in replicas)
  if valid is not None:
    num_pairs = np.sum([pairs_of(kept, num_lags) for kept in valid], axis=0)
    if not num_pairs.all():
      return None, f'no two frames {int(np.argmin(num_pairs))} apart'
  padded = scipy.fft.next_fast_len(longest + num_lags)  # Lest the ends meet.
  total, num_columns = np.zeros(num_lags + 1), 0
  for start in range(0, replicas[0].shape[1], _COLUMN_BLOCK):
    columns = [x[:, start : start + _COLUMN_BLOCK].T for x in replicas]
    # [columns, frames] of all replicas that count
    pooled = np.concatenate(
      columns if valid is None else [x[:, kept] for x, kept in zip(columns, valid, strict=True)],
      axis=1,
    )
    wide = np.complex128 if np.iscomplexobj(pooled) else np.float64
    mean = pooled.mean(axis=1, keepdims=True, dtype=wide)
    variance = np.mean(np.abs(pooled - mean) ** 2, axis=1)
    # A comparison with NaN is false.
    moves = variance > _LEAST_VARIANCE * np.mean(np.abs(pooled) ** 2, axis=1)
    num_columns += int(moves.sum())
    for k, x in enumerate(columns):
      deviation = (x - mean)[moves]
      if valid is not None:
        deviation = deviation * valid[k]
      power = np.abs(scipy.fft.fft(deviation, padded)) ** 2
      total += scipy.fft.ifft(power.T @ (1.0 / variance[moves])).real[: num_lags + 1]
  if not num_columns:
    return None, 'nothing moves'
  return total / (num_pairs * num_columns), None


def pairs_of(valid: np.ndarray, num_lags: int) -> np.ndarray:
  """[num_lags + 1]: how many pairs of frames count at each lag, of [F] bool, which frames do."""
  frames = np.flatnonzero(valid)
  padded = np.concatenate([valid, np.zeros(num_lags, bool)])
  return np.array([int(padded[frames + lag].sum()) for lag in range(num_lags + 1)])


def torsion_autocorrelation(angles: Replicas, num_lags: int | None = None) -> Found[np.ndarray]:
  """Circular autocorrelation of torsions: `autocorrelation` of exp(i phi).

  In a long series C(k) = (<cos(phi(t) - phi(t + k))> - m) / (1 - m), where m = |<exp(i phi)>|^2 is
  what remains at long lags (MDGen's normalisation): 1 at lag 0, and falling to 0.

  Args:
    angles: [F, K] radians per replica; columns with NaN (undefined torsions) are left out.
    num_lags: up to which lag; default: half of the longest replica.

  Returns:
    As `autocorrelation`.
  """
  return autocorrelation([np.exp(1j * angle) for angle in angles], num_lags)


def autocorrelation_error(
  prediction: np.ndarray, reference: np.ndarray, grid: TimeGrid
) -> Found[float]:
  """Mean over common lags of |C_pred - C_MD|.

  Common lags are the multiples of `grid.dt_ns`, 0 excluded (there both are 1), as far as both
  autocorrelations go: with their default, to half of the shorter of the two longest replicas.

  Args:
    prediction: autocorrelation at lags 0, 1, 2, ... frames of the prediction.
    reference: the same for the reference's frames.
    grid: of times.

  Returns:
    A number from 0 on, and None; or None and the reason.
  """
  ((a, b),) = _common([prediction], [reference], grid)
  if len(a) < 2:
    return None, f'the autocorrelations do not reach {grid.dt_ns:g} ns'
  return float(np.mean(np.abs(a[1:] - b[1:]))), None


def ca_distances(positions: np.ndarray) -> np.ndarray:
  """Features of slow coordinates, which no global motion changes.

  All distances between up to 20 CA, evenly spaced along the sequence, that are at least three
  residues apart: 190 of them at the most, however long the protein.

  Args:
    positions: [F, L, 4, 3] Å.

  Returns:
    [F, K] float32 Å; K = 0 for fewer than four residues.
  """
  length = positions.shape[1]
  residue = np.linspace(0, length - 1, min(length, _MAX_RESIDUES)).round().astype(int)
  first, second = np.triu_indices(len(residue), 1)
  far = residue[second] - residue[first] >= _MIN_SEPARATION
  ca = positions[:, residue, CA]
  between = ca[:, first[far]] - ca[:, second[far]]
  return np.sqrt(np.sum(between * between, axis=-1, dtype=np.float32))


@dataclasses.dataclass(frozen=True)
class SlowCoordinates:
  """Linear combinations of features that stay correlated for longest, found by TICA.

  Attributes:
    mean: [K], of the features.
    weights: [K, D].
    lag: of TICA, frames of the data it was fitted on.
  """

  mean: np.ndarray
  weights: np.ndarray
  lag: int

  def transform(self, features: np.ndarray) -> np.ndarray:
    """[F, D] float64 of features [F, K], the slowest coordinate first."""
    return (features - self.mean) @ self.weights


def slow_coordinates(features: Replicas, lag: int) -> Found[SlowCoordinates]:
  """Time-lagged independent components (Perez-Hernandez et al., J. Chem. Phys. 139, 015102 (2013)).

  TICA (deeptime, reversible) of the leading principal components of the features, at most 20 and at
  most one for ten pairs of frames. Up to three components, of unit variance.

  Args:
    features: [F, K] per replica of the reference, such as `ca_distances`.
    lag: frames.

  Returns:
    The coordinates and None; or None and the reason: too little data, or features that do not vary.
  """
  num_pairs = sum(max(len(x) - lag, 0) for x in features)
  if num_pairs < _PAIRS_PER_COMPONENT:
    return None, f'{num_pairs} pairs of frames {lag} frames apart are too few for slow coordinates'
  pooled = np.concatenate(features).astype(np.float64)
  mean = pooled.mean(axis=0)
  square = np.sum(pooled * pooled) / len(pooled)
  pooled -= mean
  variance, axes = np.linalg.eigh(pooled.T @ pooled / len(pooled))
  num_components = min(_MAX_COMPONENTS, num_pairs // _PAIRS_PER_COMPONENT)
  kept = np.flatnonzero(variance > _LEAST_VARIANCE * square)[::-1][:num_components]
  whitening = axes[:, kept] / np.sqrt(variance[kept])
  model = _tica([(x - mean) @ whitening for x in features], lag) if len(kept) else None
  if model is None:
    return None, 'no distance between residues varies'
  components = model.instantaneous_coefficients[:, :_NUM_SLOW]
  return SlowCoordinates(mean, whitening @ components, lag), None


def _tica(series: Replicas, lag: int):
  """Model of deeptime; None where nothing moves."""
  decomposition = extras.require('deeptime.decomposition', 'evaluate')
  numeric = extras.require('deeptime.numeric', 'evaluate')
  try:
    estimator = decomposition.TICA(lagtime=lag, scaling=None)
    return estimator.fit_from_timeseries([x for x in series if len(x) > lag]).fetch_model()
  except numeric.ZeroRankError:
    return None


def tica_time_scales(coordinates: Replicas, lag: int) -> Found[np.ndarray]:
  """Implied time scales -lag / ln(eigenvalue) of TICA in few coordinates.

  Args:
    coordinates: [F, D] per replica, such as `SlowCoordinates.transform` gives.
    lag: frames.

  Returns:
    Up to D time scales in frames, longest first, without those of eigenvalues outside of 0 to 1
    (what alternates, or rests); and None, or None and the reason.
  """
  num_pairs = sum(max(len(x) - lag, 0) for x in coordinates)
  if num_pairs < _PAIRS_PER_COMPONENT:
    return None, f'{num_pairs} pairs of frames {lag} frames apart are too few for time scales'
  model = _tica(coordinates, lag)
  if model is None:
    return None, 'nothing moves'
  return _time_scales(model.singular_values, lag)


def msm_time_scales(states: Replicas, lag: int) -> Found[np.ndarray]:
  """Implied time scales -lag / ln(eigenvalue) of a Markov state model.

  Reversible maximum-likelihood model (deeptime) of the largest connected set of states, transitions
  counted with a sliding window.

  Args:
    states: [F] int per replica, such as `microstates` gives.
    lag: frames.

  Returns:
    Time scales in frames, longest first, without those of negative eigenvalues; and None, or None
    and the reason.
  """
  markov = extras.require('deeptime.markov', 'evaluate')
  msm = extras.require('deeptime.markov.msm', 'evaluate')
  states = [np.asarray(x, np.int32) for x in states if len(x) > lag]
  if not states:
    return None, f'no replica is longer than the lag of {lag} frames'
  counts = markov.TransitionCountEstimator(lag, 'sliding').fit_fetch(states).submodel_largest()
  if counts.n_states < 2:
    return None, 'no two states are connected by transitions in both directions'
  with warnings.catch_warnings():
    # Few counts may not converge to the last digit.
    warnings.filterwarnings('ignore', module='deeptime')
    model = msm.MaximumLikelihoodMSM(reversible=True).fit_fetch(counts)
  return _time_scales(model.eigenvalues()[1:], lag)


def _time_scales(eigenvalues: np.ndarray, lag: int) -> Found[np.ndarray]:
  eigenvalues = np.real(eigenvalues)
  eigenvalues = np.sort(eigenvalues[(eigenvalues > 0.0) & (eigenvalues < 1.0)])[::-1]
  if not len(eigenvalues):
    return None, f'nothing decays at a lag of {lag} frames: no eigenvalue is between 0 and 1'
  return -lag / np.log(eigenvalues), None


def microstate_centers(coordinates: Replicas) -> np.ndarray:
  """k-means centers (deeptime, kmeans++, fixed seed): one for ten frames, at most 50.

  Args:
    coordinates: [F, D] per replica, of the reference.

  Returns:
    [N, D].
  """
  clustering = extras.require('deeptime.clustering', 'evaluate')
  pooled = np.concatenate(coordinates)
  num_states = int(np.clip(len(pooled) // _FRAMES_PER_MICROSTATE, 2, _MAX_MICROSTATES))
  estimator = clustering.KMeans(num_states, max_iter=100, fixed_seed=1, n_jobs=1)
  with warnings.catch_warnings():
    # Any partition will do.
    warnings.filterwarnings('ignore', 'Algorithm did not reach convergence criterion')
    return estimator.fit_fetch(pooled).cluster_centers


def microstates(coordinates: np.ndarray, centers: np.ndarray) -> np.ndarray:
  """[F] int: the nearest center [N, D] of each frame of coordinates [F, D]."""
  # |x|^2 is the same for all centers.
  distance = np.sum(centers * centers, axis=-1) - 2.0 * coordinates @ centers.T
  return np.argmin(distance, axis=-1)


@dataclasses.dataclass(frozen=True)
class SlowDynamics:
  """Motion of a prediction and of its reference along the reference's slow coordinates.

  Times are in ns. Pairs are (prediction, reference); what cannot be computed is None.

  Attributes:
    lag_ns: of TICA and of the Markov state models.
    coordinates: [F, D] per replica.
    autocorrelation: [lags + 1], mean over coordinates, one lag per frame.
    autocorrelation_error: mean difference over common lags.
    tica_time_scales: [N], longest first, each ensemble by itself.
    msm_time_scales: [N], longest first, of the reference's microstates.
    notes: why something is None.
  """

  lag_ns: float
  coordinates: tuple[list[np.ndarray], list[np.ndarray]]
  autocorrelation: tuple[np.ndarray | None, np.ndarray | None]
  autocorrelation_error: float | None
  tica_time_scales: tuple[np.ndarray | None, np.ndarray | None]
  msm_time_scales: tuple[np.ndarray | None, np.ndarray | None]
  notes: tuple[str, ...]


def slow_dynamics(prediction: Replicas, reference: Replicas, grid: TimeGrid) -> Found[SlowDynamics]:
  """Fits slow coordinates and microstates to the reference, and follows both ensembles in them.

  The lag is a twentieth of the longest reference replica, in whole steps of the common times.

  Args:
    prediction: features [F, K] per replica, such as `ca_distances`.
    reference: the same.
    grid: of times.

  Returns:
    What was found and None; or None and the reason: there are no slow coordinates.
  """
  longest = max(map(len, reference), default=0)
  lag = max(1, longest // (_LAGS_PER_REPLICA * grid.reference_stride))
  strides = grid.prediction_stride, grid.reference_stride
  fitted, reason = slow_coordinates(reference, lag * grid.reference_stride)
  if fitted is None:
    return None, reason or ''
  both = [[fitted.transform(x) for x in ensemble] for ensemble in (prediction, reference)]
  centers = microstate_centers(both[1])
  curves: list[np.ndarray | None] = []
  tica: list[np.ndarray | None] = []
  msm: list[np.ndarray | None] = []
  notes = []
  for name, coordinates, stride in zip(('prediction', 'reference'), both, strides, strict=True):
    states = [microstates(x, centers) for x in coordinates]
    for found, what, (value, why) in (
      (curves, 'autocorrelation', autocorrelation(coordinates)),
      (tica, 'TICA time scales', tica_time_scales(coordinates, lag * stride)),
      (msm, 'MSM time scales', msm_time_scales(states, lag * stride)),
    ):
      in_ns = 1.0 if found is curves else grid.dt_ns / stride
      found.append(None if value is None else in_ns * value)
      if why:
        notes.append(f'{what} of slow coordinates, {name}: {why}')
  error = None
  if curves[0] is not None and curves[1] is not None:
    error, why = autocorrelation_error(curves[0], curves[1], grid)
    if why:
      notes.append(f'autocorrelation of slow coordinates: {why}')
  return SlowDynamics(
    lag_ns=lag * grid.dt_ns,
    coordinates=(both[0], both[1]),
    autocorrelation=(curves[0], curves[1]),
    autocorrelation_error=error,
    tica_time_scales=(tica[0], tica[1]),
    msm_time_scales=(msm[0], msm[1]),
    notes=tuple(notes),
  ), None

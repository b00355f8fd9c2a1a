"""Kinetics as BioKinema scores them, with its two estimators.

After the code of BioKinema (2026; experiments/kinetics_thermo). Its reference matrix is made of
symmetrised counts at ten frames, and its tenth root taken; that of the prediction is of plain
counts at one frame. So a trajectory does not agree with itself: the Pearson correlation is 0.90 for
50 ns of pentalanine, and 0.49 for 2.5 ns of BPTI. `markov_comparison` has one estimator for both.

Kept as they are: the number called W2 is of 1-Wasserstein distances (here `tica_w1_rms`); TICA
orders by |eigenvalue|, so that noise may lead; passage times between states that are not connected
are numbers; two pairs of states correlate perfectly.
"""

import dataclasses

import numpy as np
from scipy import stats

from tempo_jax.metrics import kinetics, markov_models, tica
from tempo_jax.metrics.kinetics import Found, Replicas

NUM_STATES = 10
NUM_COMPONENTS = 5
_SEED = 137  # Ours: theirs is not known.
_PRIOR = 1e-3  # Added to populations before their divergence.
_POPULATED = 1e-4
_CURVE_FRAMES = 101
_MAX_ROUNDS = 5000
_NUM_TIME_SCALES = 5
_STILL = 1e-10  # Of the mean square: below, a series is constant but for rounding.


@dataclasses.dataclass(frozen=True)
class Lags:
  """In frames.

  Attributes:
    tica: of TICA.
    reference: of the counts of the reference.
    root: that is taken of the reference's matrix; the lag of the prediction's counts is
      `reference // root`.
  """

  tica: int = 1
  reference: int = 10
  root: int = 10


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
  """What BioKinema says of a prediction; all times are in frames.

  Attributes:
    numbers: by name; None where there is none.
    notes: why, by name.
    eigenvalues: [D], of TICA.
    centers: [10, D].
    states: per side, prediction and reference, [F] per replica.
    transition_matrices: per side, [10, 10], of one step of the prediction.
    populations: per side, [10].
    passage_times: per side, [10, 10]; NaN where a state was not visited.
    time_scales: per side, up to 5, longest first.
  """

  numbers: dict[str, float | None]
  notes: dict[str, str]
  eigenvalues: np.ndarray
  centers: np.ndarray
  states: tuple[list[np.ndarray], list[np.ndarray]]
  transition_matrices: tuple[np.ndarray, np.ndarray]
  populations: tuple[np.ndarray, np.ndarray]
  passage_times: tuple[np.ndarray, np.ndarray]
  time_scales: tuple[np.ndarray, np.ndarray]


def compare(
  prediction: Replicas, reference: Replicas, lags: Lags, centers: np.ndarray | None = None
) -> Found[Comparison]:
  """Scores a prediction as BioKinema does.

  Args:
    prediction: [F, L, 4, 3] Å per replica.
    reference: the same, with the same time between frames.
    lags: in frames; theirs are of 10 ns.
    centers: [10, 5] of states, on the kinetic map of the reference; by default those of k-means.

  Returns:
    The numbers and None; or None and the reason: replicas shorter than the lags, or no motion.
  """
  step = lags.reference // lags.root
  for name, side, lag in (
    ('prediction', prediction, step),
    ('reference', reference, lags.reference),
  ):
    if max(map(len, side), default=0) <= lag:
      return None, f'{name}: no replica is longer than the lag of {lag} frames'
  residues = tica.spaced_residues(reference[0].shape[1], sum(map(len, reference)))
  both = [[tica.ca_distances(x, residues) for x in side] for side in (prediction, reference)]
  fitted, reason = tica.fit(both[1], lags.tica, by_magnitude=True)
  if fitted is None:
    return None, f'reference: {reason}'
  fitted = fitted.leading(NUM_COMPONENTS)
  mapped = [[fitted.kinetic_map(x) for x in side] for side in both]
  if centers is None:
    centers, reason = markov_models.kmeans_centers(mapped[1], NUM_STATES, _SEED)
    if centers is None:
      return None, f'reference: {reason}'
  states = [[kinetics.microstates(x, centers) for x in side] for side in mapped]
  matrix, populations, times = _of_prediction(states[0], step)
  reference_matrix = _of_reference(states[1], lags)
  reference_populations = _stationary(reference_matrix)
  reference_times = step * _passage_times(reference_matrix, np.arange(NUM_STATES))
  numbers, notes = _passage_numbers(times, reference_times)
  p, q = ((x + _PRIOR) / (1.0 + NUM_STATES * _PRIOR) for x in (reference_populations, populations))
  reached = ~np.eye(NUM_STATES, dtype=bool) & (reference_matrix > 0.0)
  numbers |= {
    'stationary_kl': float(np.sum(p * np.log(p / q))),
    'pi_mae': float(np.mean(np.abs(reference_populations - populations))),
    'tica_w1_rms': tica_w1_rms(mapped[0], mapped[1]),
    'states_populated': int(np.count_nonzero(populations > _POPULATED)),
    'edge_mae': float(np.mean(np.abs(reference_matrix - matrix)[reached]))
    if reached.any()
    else 0.0,
  }
  for k in range(min(2, mapped[1][0].shape[1])):
    for name, side in zip(('prediction', 'reference'), mapped, strict=True):
      key = f'tau_1e_tic{k + 1}_{name}_frames'
      numbers[key], why = _decay_time([x[:, k] for x in side])
      if why:
        notes[key] = why
  return Comparison(
    numbers=numbers,
    notes=notes,
    eigenvalues=fitted.eigenvalues,
    centers=centers,
    states=(states[0], states[1]),
    transition_matrices=(matrix, reference_matrix),
    populations=(populations, reference_populations),
    passage_times=(times, reference_times),
    time_scales=(_time_scales(matrix, step), _time_scales(reference_matrix, step)),
  ), None


def tica_w1_rms(prediction: Replicas, reference: Replicas) -> float:
  """Root of the mean square over components of the 1-Wasserstein distances of all frames.

  Args:
    prediction: [F, D] per replica, on the kinetic map of the reference.
    reference: the same.

  Returns:
    0 or more, in units of the map, where the reference is as wide as its eigenvalues.
  """
  a, b = (np.concatenate(side) for side in (prediction, reference))
  distances = [stats.wasserstein_distance(x, y) for x, y in zip(a.T, b.T, strict=True)]
  return float(np.sqrt(np.mean(np.square(distances))))


def _of_reference(states: Replicas, lags: Lags) -> np.ndarray:
  counts = markov_models.transition_counts(states, lags.reference, NUM_STATES)
  matrix = _rows_normalised(counts + counts.T)
  if lags.root == 1:
    return matrix
  values, vectors = np.linalg.eig(matrix)
  roots = np.maximum(values.real, 0.0) ** (1.0 / lags.root)
  rooted = ((vectors * roots) @ np.linalg.inv(vectors)).real
  return _rows_normalised(np.maximum(rooted, 0.0))


def _of_prediction(states: Replicas, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Transition matrix, populations, and passage times in frames."""
  counts = markov_models.transition_counts(states, step, NUM_STATES)
  connected = markov_models.connected_set(counts, by_states=True)
  populations = np.zeros(NUM_STATES)
  _, populations[connected] = markov_models.reversible_estimate(
    counts[np.ix_(connected, connected)], _MAX_ROUNDS
  )
  matrix = _rows_normalised(counts)
  visited = np.flatnonzero(counts.sum(axis=1))
  return matrix, populations, step * _passage_times(matrix, visited)


def _rows_normalised(matrix: np.ndarray) -> np.ndarray:
  """Rows add up to 1; what is never left stays where it is."""
  total = matrix.sum(axis=1, keepdims=True)
  return np.where(total > 0, matrix / np.where(total > 0, total, 1), np.eye(len(matrix)))


def _stationary(matrix: np.ndarray) -> np.ndarray:
  values, vectors = np.linalg.eig(matrix.T)
  found = np.abs(vectors[:, np.argmin(np.abs(values - 1.0))].real)
  return found / found.sum()


def _passage_times(matrix: np.ndarray, reachable: np.ndarray) -> np.ndarray:
  """[10, 10] in steps; NaN outside of the reachable states."""
  times = np.full((NUM_STATES, NUM_STATES), np.nan)
  for target in reachable:
    others = reachable[reachable != target]
    equations = np.eye(len(others)) - matrix[np.ix_(others, others)]
    ones = np.ones(len(others))
    try:
      times[others, target] = np.linalg.solve(equations, ones)
    except np.linalg.LinAlgError:
      times[others, target] = np.linalg.lstsq(equations, ones)[0]
    times[target, target] = 0.0
  return times


def _passage_numbers(
  prediction: np.ndarray, reference: np.ndarray
) -> tuple[dict[str, float | None], dict[str, str]]:
  there = ~np.eye(NUM_STATES, dtype=bool) & (prediction > 0.0) & (reference > 0.0)
  a, b = (np.log10(x[there]) for x in (prediction, reference))
  numbers: dict[str, float | None] = {'mfpt_num_pairs': len(a)}
  keys = 'mfpt_pearson_log10', 'mfpt_spearman', 'mfpt_log10_mae'
  if len(a) < 2:
    return numbers | dict.fromkeys(keys), dict.fromkeys(
      keys, f'{len(a)} pairs of states are too few'
    )
  notes = {}
  for key, (x, y) in zip(keys, ((a, b), (_ranks(a), _ranks(b))), strict=False):
    if np.ptp(x) > 0.0 and np.ptp(y) > 0.0:
      numbers[key] = float(np.corrcoef(x, y)[0, 1])
    else:
      numbers[key], notes[key] = None, 'all passage times are equal'
  return numbers | {'mfpt_log10_mae': float(np.mean(np.abs(a - b)))}, notes


def _ranks(values: np.ndarray) -> np.ndarray:
  """Of equal values (but for rounding) the first is the lower."""
  order = np.argsort(np.round(values, 9), kind='stable')
  return np.argsort(order).astype(np.float64)


def _time_scales(matrix: np.ndarray, step: int) -> np.ndarray:
  size = np.abs(np.linalg.eigvals(matrix))
  size = np.sort(size[(size > 1e-8) & (size < 0.9999)])[::-1]
  return -step / np.log(size[:_NUM_TIME_SCALES])


def _decay_time(series: Replicas) -> Found[float]:
  """Frames until the autocorrelation falls below 1/e."""
  long = [x for x in series if len(x) >= _CURVE_FRAMES]
  if not long:
    return None, f'no replica has {_CURVE_FRAMES} frames'
  mean = np.concatenate(long).mean()
  curves = []
  for x in long:
    x = x - mean
    curves.append([x[: len(x) - k] @ x[k:] / len(x) for k in range(_CURVE_FRAMES)])
  curve = np.mean(curves, axis=0)
  if curve[0] <= _STILL * np.mean(np.concatenate(long) ** 2):
    return None, 'nothing moves'
  curve /= curve[0]
  below = np.flatnonzero(curve < np.exp(-1.0))
  if not len(below):
    return float(_CURVE_FRAMES - 1), None
  after = below[0]
  before, now = curve[after - 1], curve[after]
  return float(after - 1 + (before - np.exp(-1.0)) / (before - now)), None

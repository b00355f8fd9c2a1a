"""Markov models of few states: transitions, populations, passage times, fluxes.

Plain numpy and scipy; deeptime (the extra `evaluate`) for the reversible maximum-likelihood
estimate and the k-means centers.
"""

import dataclasses
import warnings

import numpy as np
from scipy import stats
from scipy.sparse import csgraph

from tempo_jax import extras
from tempo_jax.metrics.kinetics import Found, Replicas

_TOLERANCE = 1e-10  # Of the relative change of populations, when the estimate has converged.
_MAX_ROUNDS = 1_000_000
_LEAST_CONNECTED = 0.9
_CHANGES_PER_STATE = 3
_ROUNDING = 1e-12  # Of eigenvalues.


@dataclasses.dataclass(frozen=True, eq=False)
class MarkovModel:
  """A reversible Markov chain on those states that are connected.

  Attributes:
    states: [S] ascending, of N states.
    transition_matrix: [S, S], rows add up to 1.
    populations: [S], stationary, add up to 1.
    num_states: N.
    lag_ns: of one step, ns.
  """

  states: np.ndarray
  transition_matrix: np.ndarray
  populations: np.ndarray
  num_states: int
  lag_ns: float

  def populations_of_all(self) -> np.ndarray:
    """[N], 0 where a state is not among the connected ones."""
    full = np.zeros(self.num_states)
    full[self.states] = self.populations
    return full

  def matrix_of_all(self) -> np.ndarray:
    """[N, N]; a state that is not among the connected ones stays where it is."""
    full = np.eye(self.num_states)
    full[np.ix_(self.states, self.states)] = self.transition_matrix
    return full

  def passage_times_ns(self) -> np.ndarray:
    """[N, N] ns, mean first-passage times from row to column; NaN where not connected."""
    full = np.full((self.num_states, self.num_states), np.nan)
    times = self.lag_ns * mean_first_passage_times(self.transition_matrix)
    full[np.ix_(self.states, self.states)] = times
    return full

  def time_scales_ns(self) -> np.ndarray:
    """Implied time scales, ns, longest first, of eigenvalues between 0 and 1; there may be none."""
    root = np.sqrt(self.populations)
    symmetric = root[:, None] * self.transition_matrix / root
    eigenvalues = np.linalg.eigvalsh(0.5 * (symmetric + symmetric.T))[::-1][1:]
    eigenvalues = eigenvalues[(eigenvalues > _ROUNDING) & (eigenvalues < 1.0 - _ROUNDING)]
    return -self.lag_ns / np.log(eigenvalues)


def lag_in_frames(lag_ns: float, dt_ns: float | None, num_frames: int) -> Found[int]:
  """How many frames a lag is.

  Args:
    lag_ns: ns.
    dt_ns: between frames, ns; None if unknown.
    num_frames: of the longest replica.

  Returns:
    The lag and None; or None and the reason: the time is unknown, the lag is no whole number of
    frames (by more than 0.1 %), or no replica is that long.
  """
  if dt_ns is None or not (np.isfinite(dt_ns) and dt_ns > 0.0):
    return None, 'the time between frames is unknown'
  lag = round(lag_ns / dt_ns)
  if lag < 1 or abs(lag_ns / (lag * dt_ns) - 1.0) > 1e-3:
    return None, f'a lag of {lag_ns:g} ns is no multiple of the {dt_ns:g} ns between frames'
  if lag >= num_frames:
    longest = max(num_frames - 1, 0) * dt_ns
    return None, f'a lag of {lag_ns:g} ns is longer than the longest replica, {longest:g} ns'
  return lag, None


def kmeans_centers(coordinates: Replicas, number: int, seed: int) -> Found[np.ndarray]:
  """Centers of k-means (deeptime, k-means++, at most 100 rounds).

  Args:
    coordinates: [F, D] per replica.
    number: of centers, N.
    seed: of the first centers.

  Returns:
    [N, D] and None; or None and the reason: fewer different points than centers.
  """
  pooled = np.ascontiguousarray(np.concatenate(coordinates), dtype=np.float64)
  num_points = len(np.unique(pooled, axis=0))
  if num_points < number:
    return None, f'{num_points} different conformations are too few for {number} states'
  clustering = extras.require('deeptime.clustering', 'evaluate')
  estimator = clustering.KMeans(number, max_iter=100, fixed_seed=seed, n_jobs=1)
  with warnings.catch_warnings():
    # Any partition will do.
    warnings.filterwarnings('ignore', 'Algorithm did not reach convergence criterion')
    return estimator.fit_fetch(pooled).cluster_centers, None


def transition_counts(states: Replicas, lag: int, num_states: int) -> np.ndarray:
  """Pairs of frames a lag apart, all that there are (sliding window), none across replicas.

  Args:
    states: [F] int per replica.
    lag: frames.
    num_states: N.

  Returns:
    [N, N] int64, from row to column.
  """
  pairs = [num_states * x[:-lag] + x[lag:] for x in map(np.asarray, states) if len(x) > lag]
  flat = np.concatenate(pairs) if pairs else np.zeros(0, int)
  return np.bincount(flat, minlength=num_states**2).reshape(num_states, num_states)


def connected_set(counts: np.ndarray, *, by_states: bool = False) -> np.ndarray:
  """The largest set of states that all lead to each other.

  Args:
    counts: [N, N].
    by_states: the largest is that of most states, as in pyemma; by default that of most
      transitions: a protein that unfolds once may have more states after than before.

  Returns:
    [S] ascending; of equal sets the one with the lowest state.
  """
  _, label = csgraph.connected_components(counts > 0, connection='strong')
  weight = np.ones(len(counts)) if by_states else counts.sum(axis=1)
  sizes = np.bincount(label, weights=weight)
  return np.flatnonzero(label == label[np.argmax(sizes[label] == sizes.max())])


def reversible_estimate(
  counts: np.ndarray, max_rounds: int = _MAX_ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
  """Most likely transition matrix with detailed balance (deeptime).

  Bowman et al., J. Chem. Phys. 131, 124101 (2009); Prinz et al., J. Chem. Phys. 134, 174105 (2011).

  Args:
    counts: [S, S] of states that are all connected.
    max_rounds: of the iteration.

  Returns:
    [S, S] transition matrix, and [S] its stationary distribution.
  """
  if len(counts) == 1:
    return np.ones((1, 1)), np.ones(1)
  estimation = extras.require('deeptime.markov.tools.estimation', 'evaluate')
  return estimation.transition_matrix(
    counts.astype(np.float64),
    reversible=True,
    method='dense',
    maxiter=max_rounds,
    maxerr=_TOLERANCE,
    return_statdist=True,
    warn_not_converged=False,
  )


def estimate(states: Replicas, lag: int, num_states: int, lag_ns: float) -> Found[MarkovModel]:
  """Reversible Markov model of the largest connected set, if it can be trusted.

  It can where that set holds at least 90 % of all transitions, and has three changes of state for
  each state. Independent changes are meant: the sliding window counts each as often as the lag has
  frames. One state alone needs no changes.

  Args:
    states: [F] int per replica, 0 to N - 1.
    lag: frames.
    num_states: N.
    lag_ns: the same lag, ns.

  Returns:
    The model and None, or None and the reason.
  """
  counts = transition_counts(states, lag, num_states)
  total = int(counts.sum())
  if not total:
    return None, f'no replica is longer than the lag of {lag_ns:g} ns'
  connected = connected_set(counts)
  inside = counts[np.ix_(connected, connected)]
  if inside.sum() < _LEAST_CONNECTED * total:
    share = 100.0 * inside.sum() / total
    return None, (
      f'the states are not connected: those with transitions both ways hold {share:.0f} % of all '
      f'transitions, {100.0 * _LEAST_CONNECTED:.0f} % are needed'
    )
  changes = (inside.sum() - np.trace(inside)) / lag
  if len(connected) > 1 and changes < _CHANGES_PER_STATE * len(connected):
    return None, (
      f'{changes:.0f} independent changes of state in steps of {lag_ns:g} ns are too few for '
      f'{len(connected)} states: {_CHANGES_PER_STATE} for each are needed'
    )
  matrix, populations = reversible_estimate(inside)
  return MarkovModel(connected, matrix, populations, num_states, lag_ns), None


def mean_first_passage_times(transition_matrix: np.ndarray) -> np.ndarray:
  """Steps until a state is first reached, on average.

  m(i, j) = 1 + sum over k other than j of T(i, k) m(k, j); m(j, j) = 0.

  Args:
    transition_matrix: [S, S], all states connected.

  Returns:
    [S, S] from row to column.
  """
  number = len(transition_matrix)
  times = np.zeros((number, number))
  for target in range(number):
    others = np.delete(np.arange(number), target)
    within = transition_matrix[np.ix_(others, others)]
    times[others, target] = np.linalg.solve(np.eye(number - 1) - within, np.ones(number - 1))
  return times


def flux(model: MarkovModel) -> np.ndarray:
  """[N, N], how often a step goes from row to column, in equilibrium: symmetric; 0 on the diagonal.

  F(i, j) = population(i) T(i, j); all entries together are the share of steps that change state.
  """
  rates = model.populations_of_all()[:, None] * model.matrix_of_all()
  np.fill_diagonal(rates, 0.0)
  return rates


def flux_spearman(
  prediction: np.ndarray, reference: np.ndarray, *, with_diagonal: bool = False
) -> Found[float]:
  """Rank correlation of fluxes between states.

  Args:
    prediction: [N, N], from `flux`.
    reference: the same.
    with_diagonal: with its N zeros, which agree by construction (JAMUN's number).

  Returns:
    -1 to 1 and None; or None and the reason: one of both has the same flux everywhere.
  """
  chosen = (
    np.ones_like(reference, dtype=bool) if with_diagonal else ~np.eye(len(reference), dtype=bool)
  )
  a, b = prediction[chosen], reference[chosen]
  for name, x in (('prediction', a), ('reference', b)):
    if len(x) < 3 or np.ptp(x) == 0.0:
      return None, f'{name}: fluxes between states do not differ'
  return float(stats.spearmanr(a, b).statistic), None

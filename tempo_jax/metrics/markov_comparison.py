"""Kinetics of a prediction against those of MD: ten states on the slow coordinates of MD.

After BioKinema (module `biokinema`: features, kinetic map, number of states, scores), but with one
estimator, at one lag in ns, for both sides: a trajectory agrees with itself. What it can reach at
all, halves of MD tell. TICA orders by eigenvalue, so that noise does not lead, and passage times
are compared between states that are connected on both sides.
"""

import dataclasses

import numpy as np
from scipy import stats

from tempo_jax.metrics import biokinema, kinetics, markov_models, tica
from tempo_jax.metrics.kinetics import Found, Replicas
from tempo_jax.metrics.markov_models import MarkovModel

KEYS = (
  'mfpt_pearson_log10',
  'mfpt_spearman',
  'mfpt_log10_mae',
  'stationary_kl',
  'pi_mae',
  'tica_w1_rms',
  'mfpt_pearson_log10_ceiling',
)
SEED = 137
_PRIOR = 1e-3  # Added to populations before their divergence.
_LAGS_PER_REPLICA = 100
_LEAST_COMMON_STATES = 3  # Two have two passage times, which correlate perfectly.


@dataclasses.dataclass(frozen=True, eq=False)
class Kinetics:
  """One side, in the states of the reference.

  Attributes:
    coordinates: [F, D] per replica, on the kinetic map of the reference.
    states: [F] per replica.
    model: None where there is none.
    reason: why.
  """

  coordinates: list[np.ndarray]
  states: list[np.ndarray]
  model: MarkovModel | None
  reason: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
  """Slow coordinates and states of MD, and its own kinetics in them.

  Attributes:
    residues: [m], whose distances are the features.
    slow: up to five components.
    centers: [K, D] of states.
    lag_ns: of TICA and of all Markov models, ns.
    kinetics: of all replicas.
    halves: numbers of the first halves of the replicas, as if predicted, against the second.
    halves_notes: why some are None.
  """

  residues: np.ndarray
  slow: tica.Tica
  centers: np.ndarray
  lag_ns: float
  kinetics: Kinetics
  halves: dict[str, float | None]
  halves_notes: dict[str, str]


def default_lag_ns(num_frames: int, grid: kinetics.TimeGrid) -> float:
  """A hundredth of the longest replica of MD, and at least one step of the common times.

  Longer lags leave too few changes of state: at a twentieth, halves of 50 ns of trp-cage have no
  model.

  Args:
    num_frames: of the longest replica of MD.
    grid: of times that both sides have.

  Returns:
    ns, a multiple of both times between frames.
  """
  return grid.dt_ns * max(1, num_frames // (_LAGS_PER_REPLICA * grid.reference_stride))


def reference(
  positions: Replicas,
  dt_ns: float | None,
  lag_ns: float,
  *,
  num_states: int = biokinema.NUM_STATES,
  seed: int = SEED,
) -> Found[Reference]:
  """Fits slow coordinates, states and their kinetics to MD, once for all predictions.

  Args:
    positions: [F, L, 4, 3] Å per replica.
    dt_ns: between frames, ns; None if unknown.
    lag_ns: of TICA and of all Markov models, ns: a multiple of the time between frames, on both
      sides. What is faster is not seen; what is much slower has few counts.
    num_states: K.
    seed: of k-means.

  Returns:
    The reference and None; or None and the reason: an unknown time, a lag that does not fit, too
    few residues or frames, or no motion.
  """
  lag, reason = markov_models.lag_in_frames(lag_ns, dt_ns, max(map(len, positions), default=0))
  if lag is None:
    return None, f'reference: {reason}'
  residues = tica.spaced_residues(positions[0].shape[1], sum(map(len, positions)))
  if len(residues) < 2:
    return None, 'reference: too few residues or frames for distances between residues'
  features = [tica.ca_distances(x, residues) for x in positions]
  slow, reason = tica.fit(features, lag)
  if slow is None:
    return None, f'reference: {reason}'
  slow = slow.leading(biokinema.NUM_COMPONENTS)
  coordinates = [slow.kinetic_map(x) for x in features]
  centers, reason = markov_models.kmeans_centers(coordinates, num_states, seed)
  if centers is None:
    return None, f'reference: {reason}'
  whole = _kinetics(coordinates, centers, lag, lag_ns)
  parts = [np.array_split(x, 2) for x in coordinates]
  first, second = (_kinetics([x[k] for x in parts], centers, lag, lag_ns) for k in range(2))
  numbers, notes = _scores(first, second, ('first half', 'second half'))
  return Reference(residues, slow, centers, lag_ns, whole, numbers, notes), None


def compare(
  positions: Replicas, dt_ns: float | None, against: Reference
) -> tuple[dict[str, float | None], dict[str, str], Kinetics | None]:
  """Scores a prediction.

  Args:
    positions: [F, L, 4, 3] Å per replica, of the same residues.
    dt_ns: between frames, ns; None if unknown.
    against: MD.

  Returns:
    Numbers by `KEYS`, None where there is none; why, by key; and the prediction's kinetics, None
    where the lag does not fit its frames.
  """
  ceiling_key = 'mfpt_pearson_log10_ceiling'
  lag, reason = markov_models.lag_in_frames(
    against.lag_ns, dt_ns, max(map(len, positions), default=0)
  )
  numbers: dict[str, float | None]
  if lag is None:
    keys = [key for key in KEYS if key != ceiling_key]
    numbers, notes, found = dict.fromkeys(keys), dict.fromkeys(keys, f'prediction: {reason}'), None
  else:
    features = (tica.ca_distances(x, against.residues) for x in positions)
    coordinates = [against.slow.kinetic_map(x) for x in features]
    found = _kinetics(coordinates, against.centers, lag, against.lag_ns)
    numbers, notes = _scores(found, against.kinetics)
  numbers[ceiling_key] = against.halves['mfpt_pearson_log10']
  if 'mfpt_pearson_log10' in against.halves_notes:
    notes[ceiling_key] = f'reference, {against.halves_notes["mfpt_pearson_log10"]}'
  return numbers, notes, found


def _kinetics(coordinates: Replicas, centers: np.ndarray, lag: int, lag_ns: float) -> Kinetics:
  states = [kinetics.microstates(x, centers) for x in coordinates]
  model, reason = markov_models.estimate(states, lag, len(centers), lag_ns)
  return Kinetics(list(coordinates), states, model, reason)


def _scores(
  prediction: Kinetics, reference: Kinetics, names: tuple[str, str] = ('prediction', 'reference')
) -> tuple[dict[str, float | None], dict[str, str]]:
  numbers: dict[str, float | None] = {
    'tica_w1_rms': biokinema.tica_w1_rms(prediction.coordinates, reference.coordinates)
  }
  populations = 'stationary_kl', 'pi_mae'
  passages = 'mfpt_pearson_log10', 'mfpt_spearman', 'mfpt_log10_mae'
  for name, side in zip(names, (prediction, reference), strict=True):
    if side.model is None:
      missing = *populations, *passages
      return numbers | dict.fromkeys(missing), dict.fromkeys(missing, f'{name}: {side.reason}')
  assert prediction.model is not None
  assert reference.model is not None
  numbers |= compare_populations(prediction.model, reference.model)
  times, reason = compare_passage_times(prediction.model, reference.model)
  if times is None:
    return numbers | dict.fromkeys(passages), dict.fromkeys(passages, reason or '')
  return numbers | times, {}


def compare_populations(prediction: MarkovModel, reference: MarkovModel) -> dict[str, float]:
  """How far stationary populations are apart.

  Args:
    prediction: of N states.
    reference: of the same states.

  Returns:
    `stationary_kl`, nats: sum of p ln(p / q), p of the reference and q of the prediction, 0.001
    added to each and normalised, so that what is never visited costs much but not all. `pi_mae`:
    mean of |p - q| over the N states.
  """
  p, q = reference.populations_of_all(), prediction.populations_of_all()
  error = float(np.mean(np.abs(p - q)))
  p, q = ((x + _PRIOR) / (1.0 + len(x) * _PRIOR) for x in (p, q))
  return {'stationary_kl': float(np.sum(p * np.log(p / q))), 'pi_mae': error}


def compare_passage_times(
  prediction: MarkovModel, reference: MarkovModel
) -> Found[dict[str, float]]:
  """Whether mean first-passage times between states rank and scale alike.

  Args:
    prediction: of N states.
    reference: of the same states.

  Returns:
    `mfpt_pearson_log10`, the Pearson correlation of their logarithms, `mfpt_spearman`, that of
    their ranks, which both do not see whether all is too fast, and `mfpt_log10_mae`, the mean
    difference of decimal logarithms, which does; over pairs of states that are connected on both
    sides; and None. None and the reason where fewer than three states are, or all times of one side
    are the same.
  """
  common = np.intersect1d(prediction.states, reference.states)
  if len(common) < _LEAST_COMMON_STATES:
    return None, (
      f'{len(common)} states are connected in both prediction and reference, '
      f'{_LEAST_COMMON_STATES} are needed'
    )
  pairs = np.ix_(common, common)
  off_diagonal = ~np.eye(len(common), dtype=bool)
  a, b = (np.log10(x.passage_times_ns()[pairs][off_diagonal]) for x in (prediction, reference))
  if np.ptp(a) < 1e-9 or np.ptp(b) < 1e-9:
    return None, 'all passage times are equal'
  return {
    'mfpt_pearson_log10': float(np.corrcoef(a, b)[0, 1]),
    'mfpt_spearman': float(stats.spearmanr(a, b).statistic),
    'mfpt_log10_mae': float(np.mean(np.abs(a - b))),
  }, None

"""What a report draws of the kinetic states: shares, passage times, time scales with errors.

Plain data, from the objects of `metrics.markov_comparison`; no state is found anew here.
"""

import dataclasses
import itertools
import math

import numpy as np

from tempo_jax.metrics import markov_comparison, markov_models
from tempo_jax.metrics.kinetics import Replicas

NUM_DRAWS = 20
"""Of the bootstrap: an error bar that is itself uncertain by a sixth."""
NUM_SCALES = 3
_FACTORS = 0.25, 0.5, 1.0, 2.0, 4.0  # Lags over that of the states.
_NUM_PIECES, _LEAST_PIECES = 12, 5
_LAGS_PER_PIECE = 2
_DRAW_ROUNDS = 10_000  # Of an estimate: error bars need no ten digits.


@dataclasses.dataclass(frozen=True, eq=False)
class StateSeries:
  """One side. States are in the order of `KineticSeries`.

  Attributes:
    shares: [K], of the frames.
    share_errors: [K], standard errors; None where there are too few pieces of trajectories.
    passage_times_ns: [K, K], mean first-passage times from row to column, ns, NaN where not
      connected; None without a Markov model.
    time_scales_ns: [N, 3] ns, implied time scales at each lag, longest first; NaN where there is no
      trustworthy model, or no such scale.
    time_scale_errors_ns: [N, 3] ns, standard errors; NaN where unknown.
    num_pieces: of the trajectories, drawn for the errors.
    piece_ns: their length, ns: the errors are too small for motion that is slower.
    reason: why there is no Markov model at the lag of the states; None where there is.
  """

  shares: np.ndarray
  share_errors: np.ndarray | None
  passage_times_ns: np.ndarray | None
  time_scales_ns: np.ndarray
  time_scale_errors_ns: np.ndarray
  num_pieces: int
  piece_ns: float
  reason: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class KineticSeries:
  """Both sides in the K states of MD, the one where MD is most often first.

  Attributes:
    lag_ns: of the Markov models behind passage times, ns.
    lags_ns: [N] ns ascending, of the implied time scales; `lag_ns` is among them.
    reference: MD.
    prediction: None where the lag does not fit its frames.
    half_shares: [2, K], of the frames of the first and of the second half of MD.
    half_passage_times_ns: [2, K, K] ns, of these halves; None where one has no Markov model.
    reason: why there is no prediction; None where there is.
  """

  lag_ns: float
  lags_ns: np.ndarray
  reference: StateSeries
  prediction: StateSeries | None
  half_shares: np.ndarray
  half_passage_times_ns: np.ndarray | None
  reason: str | None = None


def of_states(
  against: markov_comparison.Reference,
  found: markov_comparison.Kinetics | None,
  dt_ns: tuple[float, float | None],
  reason: str | None = None,
) -> KineticSeries:
  """Series of both sides.

  Args:
    against: MD, from `markov_comparison.reference`.
    found: the prediction in its states, from `markov_comparison.compare`; None where the lag does
      not fit.
    dt_ns: between frames of MD and of the prediction, ns; None where unknown.
    reason: why `found` is None.
  """
  states = against.kinetics.states
  num_states = len(against.centers)
  shares = _shares(states, num_states)
  order = np.argsort(-shares, kind='stable')
  lags_ns = _lags(against.lag_ns, dt_ns[0], max(map(len, states)))
  reference = _side(against.kinetics, order, lags_ns, against.lag_ns, dt_ns[0])
  prediction = None
  if found is not None and dt_ns[1] is not None:
    prediction = _side(found, order, lags_ns, against.lag_ns, dt_ns[1])
  lag = round(against.lag_ns / dt_ns[0])
  parts = [np.array_split(x, 2) for x in states]
  halves = [[x[k] for x in parts] for k in range(2)]
  models = [markov_models.estimate(x, lag, num_states, against.lag_ns)[0] for x in halves]
  times = [x.passage_times_ns()[np.ix_(order, order)] for x in models if x is not None]
  return KineticSeries(
    against.lag_ns,
    lags_ns,
    reference,
    prediction,
    np.stack([_shares(x, num_states)[order] for x in halves]),
    np.stack(times) if len(times) == 2 else None,
    reason if prediction is None else None,
  )


def _shares(states: Replicas, num_states: int) -> np.ndarray:
  counts = np.bincount(np.concatenate(states), minlength=num_states)
  return counts / counts.sum()


def _lags(lag_ns: float, dt_ns: float, longest: int) -> np.ndarray:
  """[N] ns, whole frames of MD, a tenth of its longest replica at most."""
  lag = round(lag_ns / dt_ns)
  frames = {max(1, round(factor * lag)) for factor in _FACTORS}
  return dt_ns * np.array(sorted(n for n in frames if n == lag or 10 * n <= longest))


def _side(
  found: markov_comparison.Kinetics,
  order: np.ndarray,
  lags_ns: np.ndarray,
  lag_ns: float,
  dt_ns: float,
) -> StateSeries:
  states, num_states = found.states, len(order)
  # Pieces begin before the lag ends, so that they are cut once, for all lags.
  pieces, length = _pieces(states, max(1, round(lag_ns / dt_ns)))
  weights = _weights(len(pieces))
  errors = None
  if weights is not None:
    histograms = np.array(
      [np.bincount(states[k][start:end], minlength=num_states) for k, start, end in pieces]
    )
    drawn = weights @ histograms
    errors = _spread(drawn / drawn.sum(axis=1, keepdims=True), len(pieces))[order]
  scales = np.full((len(lags_ns), NUM_SCALES), np.nan)
  scale_errors = np.full_like(scales, np.nan)
  for row, each in enumerate(lags_ns):
    lag, _ = markov_models.lag_in_frames(each, dt_ns, max(map(len, states)))
    model = None if lag is None else markov_models.estimate(states, lag, num_states, each)[0]
    if lag is None or model is None:
      continue
    scales[row] = _leading(model)
    if weights is not None:
      counts = np.array(
        [
          markov_models.transition_counts([states[k][start : end + lag]], lag, num_states)
          for k, start, end in pieces
        ]
      )
      drawn = np.tensordot(weights, counts, 1)
      scale_errors[row] = _spread(np.array([_of_counts(x, each) for x in drawn]), len(pieces))
  times = None if found.model is None else found.model.passage_times_ns()[np.ix_(order, order)]
  return StateSeries(
    _shares(states, num_states)[order],
    errors,
    times,
    scales,
    scale_errors,
    len(pieces),
    length * dt_ns,
    found.reason,
  )


def _pieces(states: Replicas, lag: int) -> tuple[list[tuple[int, int, int]], int]:
  """Replica, first frame and the one after the last of each piece; frames of the shortest.

  Replicas are pieces where there are enough of them, else they are cut.
  """
  number = 1 if len(states) >= _LEAST_PIECES else math.ceil(_NUM_PIECES / len(states))
  found = []
  for k, x in enumerate(states):
    parts = max(1, min(number, len(x) // (_LAGS_PER_PIECE * lag)))
    ends = np.linspace(0, len(x), parts + 1).round().astype(int).tolist()
    found += [(k, start, end) for start, end in itertools.pairwise(ends)]
  return found, min(end - start for _, start, end in found)


def _weights(num_pieces: int) -> np.ndarray | None:
  """[draws, pieces], how often each is drawn; None if there are too few."""
  if num_pieces < _LEAST_PIECES:
    return None
  rng = np.random.default_rng(markov_comparison.SEED)
  return rng.multinomial(num_pieces, np.full(num_pieces, 1.0 / num_pieces), size=NUM_DRAWS)


def _spread(values: np.ndarray, num_pieces: int) -> np.ndarray:
  """[...] standard deviation over draws [draws, ...]; NaN where half of them have no value."""
  there = ~np.isnan(values)
  enough = 2 * np.count_nonzero(there, axis=0) >= len(values)
  spread = np.full(values.shape[1:], np.nan)
  # As in `uncertainty.Bootstrap`: without the factor it is too small.
  factor = math.sqrt(num_pieces / (num_pieces - 1.0))
  spread[enough] = factor * np.nanstd(values[:, enough], axis=0)
  return spread


def _of_counts(counts: np.ndarray, lag_ns: float) -> np.ndarray:
  connected = markov_models.connected_set(counts)
  inside = counts[np.ix_(connected, connected)]
  if not inside.any():
    return np.full(NUM_SCALES, np.nan)
  matrix, populations = markov_models.reversible_estimate(inside, _DRAW_ROUNDS)
  model = markov_models.MarkovModel(connected, matrix, populations, len(counts), lag_ns)
  return _leading(model)


def _leading(model: markov_models.MarkovModel) -> np.ndarray:
  """[3] ns, NaN where there are fewer."""
  found = np.full(NUM_SCALES, np.nan)
  scales = model.time_scales_ns()[:NUM_SCALES]
  found[: len(scales)] = scales
  return found

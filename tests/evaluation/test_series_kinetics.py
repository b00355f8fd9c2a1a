"""Kinetic states of a report against Markov chains whose answers are known."""

import bisect

import numpy as np
import pytest

from tempo_jax.evaluation import series_kinetics
from tempo_jax.metrics import markov_comparison, markov_models

DT_NS = 0.5
# Reversible; populations 0.2, 0.5, 0.3.
RATES = np.array([[0.0, 0.04, 0.02], [0.0, 0.0, 0.05], [0.0, 0.0, 0.0]])
POPULATIONS = np.array([0.2, 0.5, 0.3])


def chain():
  """[3, 3] transition matrix."""
  flux = (RATES + RATES.T) * POPULATIONS * POPULATIONS[:, None] * 4.0
  matrix = flux / POPULATIONS[:, None]
  return matrix + np.diag(1.0 - matrix.sum(axis=1))


def walk(seed, num_frames):
  """[F] states."""
  rng = np.random.default_rng(seed)
  steps = np.cumsum(chain(), axis=1)[:, :-1].tolist()
  state, found = 1, []
  for draw in rng.random(num_frames).tolist():
    found.append(state)
    state = bisect.bisect(steps[state], draw)
  return np.array(found)


def kinetics_of(states, num_states=3, lag_ns=DT_NS):
  model, reason = markov_models.estimate(states, round(lag_ns / DT_NS), num_states, lag_ns)
  return markov_comparison.Kinetics([x[:, None] * 1.0 for x in states], states, model, reason)


def reference_of(states, num_states=3, lag_ns=DT_NS):
  return markov_comparison.Reference(
    np.arange(2), None, np.zeros((num_states, 1)), lag_ns, kinetics_of(states), {}, {}
  )


def of(reference, prediction):
  found = kinetics_of(prediction)
  return series_kinetics.of_states(reference_of(reference), found, (DT_NS, DT_NS))


@pytest.fixture(scope='module')
def long():
  return of([walk(1, 20_000), walk(2, 20_000)], [walk(3, 10_000)])


def test_states_are_in_the_order_of_the_reference(long):
  # 1, 2, 0: 50, 30, 20 %.
  np.testing.assert_allclose(long.reference.shares, [0.5, 0.3, 0.2], atol=0.02)
  np.testing.assert_allclose(long.prediction.shares, [0.5, 0.3, 0.2], atol=0.04)
  np.testing.assert_allclose(long.half_shares.mean(axis=0), long.reference.shares, atol=1e-9)
  first = np.concatenate([walk(seed, 20_000)[:10_000] for seed in (1, 2)])
  np.testing.assert_allclose(long.half_shares[0, 0], np.mean(first == 1))


def test_passage_times_are_those_of_the_chain(long):
  order = [1, 2, 0]
  matrix = chain()[np.ix_(order, order)]
  # An independent way: from the fundamental matrix (Kemeny and Snell).
  populations = POPULATIONS[order]
  fundamental = np.linalg.inv(np.eye(3) - matrix + populations)
  expected = DT_NS * (np.diag(fundamental) - fundamental) / populations
  np.testing.assert_allclose(long.reference.passage_times_ns, expected, rtol=0.1)
  np.testing.assert_allclose(long.prediction.passage_times_ns, expected, rtol=0.25)
  assert long.half_passage_times_ns.shape == (2, 3, 3)
  np.testing.assert_allclose(long.half_passage_times_ns[1], expected, rtol=0.15)


def test_time_scales_do_not_depend_on_the_lag(long):
  eigenvalues = np.sort(np.linalg.eigvals(chain()).real)[::-1][1:]
  expected = -DT_NS / np.log(eigenvalues)
  assert long.lags_ns.tolist() == [0.5, 1.0, 2.0]
  scales, errors = long.reference.time_scales_ns, long.reference.time_scale_errors_ns
  np.testing.assert_allclose(scales[:, :2], np.tile(expected, (3, 1)), rtol=0.1)
  assert np.isnan(scales[:, 2]).all()  # Three states have two time scales.
  assert np.all(np.abs(scales - expected[0])[:, 0] < 3.0 * errors[:, 0])


def test_errors_are_the_spread_of_independent_walks():
  walks = [walk(seed, 3000) for seed in range(16)]
  found = [
    series_kinetics.of_states(reference_of([x]), None, (DT_NS, None)).reference for x in walks
  ]
  # Of a share, in closed form: of each eigenvector of the chain, its own correlation.
  root = np.sqrt(POPULATIONS)
  values, vectors = np.linalg.eigh(root[:, None] * chain() / root)
  weights = POPULATIONS[1] * vectors[1, :2] ** 2
  variance = np.sum(weights * (1.0 + values[:2]) / (1.0 - values[:2])) / 3000
  shares = np.array([x.share_errors[0] for x in found])
  assert np.sqrt(np.mean(shares**2)) == pytest.approx(np.sqrt(variance), rel=0.2)
  scales = np.array([x.time_scales_ns[0, 0] for x in found])
  errors = np.array([x.time_scale_errors_ns[0, 0] for x in found])
  assert np.median(errors) == pytest.approx(scales.std(ddof=1), rel=0.4)


def test_errors_are_in_the_order_of_states():
  found = of([walk(1, 4000)], [np.resize([1, 1, 1, 2], 401)]).prediction
  assert found.shares[2] == 0.0
  # One state is always there, and one never; in state 2 every fourth frame.
  assert found.share_errors[2] == 0.0
  assert np.all(found.share_errors[:2] > 0.0)


def test_replicas_are_pieces_where_there_are_enough():
  walks = [walk(seed, 400) for seed in range(6)]
  found = of(walks, walks[:1])
  assert (found.reference.num_pieces, found.reference.piece_ns) == (6, 400 * DT_NS)
  assert (found.prediction.num_pieces, found.prediction.piece_ns) == (12, 33 * DT_NS)


def test_what_cannot_be_said_is_left_out():
  short = np.array([1, 1, 2, 1, 2, 2, 0, 1, 1])
  found = of([walk(1, 2000)], [short])
  assert found.prediction.share_errors is None  # Four pieces.
  assert found.prediction.passage_times_ns is None
  assert 'too few' in found.prediction.reason
  assert np.isnan(found.prediction.time_scales_ns).all()
  nothing = series_kinetics.of_states(
    reference_of([walk(1, 2000)]), None, (DT_NS, None), 'no times'
  )
  assert nothing.prediction is None
  assert nothing.reason == 'no times'
  assert nothing.reference.passage_times_ns is not None

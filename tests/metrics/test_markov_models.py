import sys

import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.metrics import markov_models
from tests.metrics import markov_chains as known

_CHAINS = [
  (known.TWO_STATES, known.TWO_POPULATIONS, known.TWO_PASSAGE_TIMES, [known.TWO_TIME_SCALE]),
  (known.THREE_STATES, known.THREE_POPULATIONS, known.THREE_PASSAGE_TIMES, known.THREE_TIME_SCALES),
]


def _likely_matrix(counts, rounds=20_000):
  """Reversible estimate by the fixed point of its likelihood, float64, entry by entry."""
  total = counts.sum(axis=1)
  x = (counts + counts.T).astype(float)
  for _ in range(rounds):
    share = total / x.sum(axis=1)
    x = (counts + counts.T) / (share[:, None] + share[None, :])
  return x / x.sum(axis=1, keepdims=True), x.sum(axis=1) / x.sum()


class TestLag:
  def test_in_frames(self):
    assert markov_models.lag_in_frames(0.3, 0.1, 10) == (3, None)
    assert markov_models.lag_in_frames(10.0, 10.0, 2) == (1, None)
    assert markov_models.lag_in_frames(1.0009, 0.1, 100) == (10, None)

  @pytest.mark.parametrize(
    ('lag_ns', 'dt_ns', 'num_frames', 'why'),
    [
      (1.0, None, 10, 'unknown'),
      (1.0, 0.0, 10, 'unknown'),
      (1.0, float('nan'), 10, 'unknown'),
      (0.1, 1.0, 10, 'no multiple of the 1 ns'),
      (1.0, 0.3, 10, 'no multiple'),
      (0.0, 0.1, 10, 'no multiple'),
      (1.0, 0.1, 10, 'longer than the longest replica, 0.9 ns'),
      (1.0, 0.1, 0, 'longer than the longest replica, 0 ns'),
    ],
  )
  def test_reasons(self, lag_ns, dt_ns, num_frames, why):
    lag, reason = markov_models.lag_in_frames(lag_ns, dt_ns, num_frames)
    assert lag is None
    assert why in reason


class TestCounts:
  def test_are_of_all_pairs_within_replicas(self, np_rng):
    replicas = [np_rng.integers(0, 3, size) for size in (30, 11, 2)]
    expected = np.zeros((4, 4), int)
    for x in replicas:
      for t in range(len(x) - 2):
        expected[x[t], x[t + 2]] += 1
    np.testing.assert_array_equal(markov_models.transition_counts(replicas, 2, 4), expected)
    np.testing.assert_array_equal(markov_models.transition_counts(replicas, 40, 4), 0)

  def test_connected_set(self):
    # 0 <-> 1; 2 -> 3 <-> 4 <-> 5 -> 0; 6 was never seen.
    counts = np.zeros((7, 7), int)
    counts[[0, 1], [1, 0]] = 100
    counts[[2, 3, 4, 4, 5, 5], [3, 4, 3, 5, 4, 0]] = 2
    np.testing.assert_array_equal(markov_models.connected_set(counts), [0, 1])
    np.testing.assert_array_equal(markov_models.connected_set(counts, by_states=True), [3, 4, 5])
    # Of equal sets, that with the lowest state.
    np.testing.assert_array_equal(markov_models.connected_set(np.zeros((3, 3))), [0])
    np.testing.assert_array_equal(markov_models.connected_set(np.diag([1, 4, 4])), [1])


class TestModel:
  @pytest.mark.parametrize(('matrix', 'populations', 'times', 'scales'), _CHAINS)
  def test_of_a_known_chain(self, matrix, populations, times, scales):
    counts = np.round(1e6 * populations[:, None] * matrix).astype(int)
    estimated, stationary = markov_models.reversible_estimate(counts)
    np.testing.assert_allclose(estimated, matrix, atol=1e-6)
    np.testing.assert_allclose(stationary, populations, atol=1e-6)
    states = np.array([1, 2, 4])[: len(matrix)]
    model = markov_models.MarkovModel(states, matrix, populations, 5, lag_ns=0.5)
    np.testing.assert_allclose(model.time_scales_ns(), 0.5 * np.asarray(scales))
    found = model.passage_times_ns()
    np.testing.assert_allclose(found[np.ix_(states, states)], 0.5 * times, atol=1e-12)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[:, 3]).all()
    full = model.populations_of_all()
    np.testing.assert_array_equal(full[states], populations)
    assert full.sum() == pytest.approx(1.0)
    assert model.matrix_of_all()[0, 0] == model.matrix_of_all()[3, 3] == 1.0
    np.testing.assert_array_equal(model.matrix_of_all()[np.ix_(states, states)], matrix)

  @pytest.mark.parametrize(('matrix', 'populations', 'times', 'scales'), _CHAINS)
  def test_from_a_simulation(self, np_rng, matrix, populations, times, scales):
    replicas = [known.sample(np_rng, matrix, 40_000) for _ in range(2)]
    model, reason = markov_models.estimate(replicas, 1, len(matrix), lag_ns=2.0)
    assert reason is None
    np.testing.assert_allclose(model.populations, populations, atol=0.02)
    np.testing.assert_allclose(model.passage_times_ns(), 2.0 * times, rtol=0.06)
    np.testing.assert_allclose(model.time_scales_ns(), 2.0 * np.asarray(scales), rtol=0.06)
    # At a longer lag the same, but for what happens in between.
    longer, _ = markov_models.estimate(replicas, 2, len(matrix), lag_ns=4.0)
    np.testing.assert_allclose(longer.time_scales_ns(), model.time_scales_ns(), rtol=0.1)

  def test_passage_times_are_those_of_walks(self, np_rng):
    states = known.sample(np_rng, known.THREE_STATES, 60_000)
    model, _ = markov_models.estimate([states], 1, 3, lag_ns=1.0)
    # From each frame in 0 until 2 is next seen.
    arrivals = np.flatnonzero(states == 2)
    starts = np.flatnonzero(states[: arrivals[-1]] == 0)
    waited = arrivals[np.searchsorted(arrivals, starts)] - starts
    assert model.passage_times_ns()[0, 2] == pytest.approx(waited.mean(), rel=0.03)

  def test_estimate_is_the_most_likely(self, np_rng):
    counts = np_rng.poisson(4.0, size=(5, 5)) + np.diag([30, 2, 0, 9, 1])
    matrix, populations = markov_models.reversible_estimate(counts)
    expected, expected_populations = _likely_matrix(counts)
    np.testing.assert_allclose(matrix, expected, atol=1e-8)
    np.testing.assert_allclose(populations, expected_populations, atol=1e-8)
    flux = populations[:, None] * matrix
    np.testing.assert_allclose(flux, flux.T, atol=1e-12)
    np.testing.assert_allclose(populations @ matrix, populations, atol=1e-10)

  def test_what_was_hardly_seen_is_left_out(self, np_rng):
    chain = known.sample(np_rng, known.THREE_STATES, 4_000)
    alone, _ = markov_models.estimate([chain], 1, 3, 1.0)
    # Started in a state that it never came back to.
    model, _ = markov_models.estimate([chain, np.array([5, 5, 0, 1])], 1, 6, 1.0)
    np.testing.assert_array_equal(model.states, [0, 1, 2])
    np.testing.assert_allclose(model.populations, alone.populations, atol=1e-3)

  def test_one_state(self):
    model, reason = markov_models.estimate([np.full(30, 2)], 5, 4, 1.0)
    assert reason is None
    np.testing.assert_array_equal(model.populations_of_all(), [0.0, 0.0, 1.0, 0.0])
    assert len(model.time_scales_ns()) == 0
    assert np.isnan(model.passage_times_ns()).sum() == 15

  def test_reasons(self):
    once = np.repeat([0, 1], 50)
    back_and_forth = np.repeat(np.tile([0, 1], 3), 20)
    for states, lag, why in (
      (once, 1, 'hold 49 % of all transitions, 90 % are needed'),
      (np.arange(10), 1, 'the states are not connected'),
      (back_and_forth, 1, '5 independent changes of state in steps of 1 ns are too few for 2'),
      # A change is seen ten times at ten frames, and is one all the same.
      (back_and_forth, 10, '5 independent changes'),
      (once, 100, 'no replica is longer than the lag'),
    ):
      model, reason = markov_models.estimate([states], lag, 10, 1.0)
      assert model is None
      assert why in reason


class TestFlux:
  def test_of_a_known_chain(self):
    model = markov_models.MarkovModel(
      np.array([0, 2, 3]), known.THREE_STATES, known.THREE_POPULATIONS, 4, 1.0
    )
    expected = np.zeros((4, 4))
    expected[[0, 2], [2, 0]] = 0.06
    expected[[2, 3], [3, 2]] = 0.03
    np.testing.assert_allclose(markov_models.flux(model), expected, atol=1e-15)

  def test_spearman(self):
    a = np.array([[9.0, 1.0, 2.0], [1.0, 9.0, 3.0], [2.0, 3.0, 9.0]])
    assert markov_models.flux_spearman(a, a**3) == (pytest.approx(1.0), None)
    assert markov_models.flux_spearman(a, -a)[0] == pytest.approx(-1.0)
    # The diagonal does not count, unless it is asked for.
    other = a - np.diag([20.0, 20.0, 20.0])
    assert markov_models.flux_spearman(a, other)[0] == pytest.approx(1.0)
    assert markov_models.flux_spearman(a, other, with_diagonal=True)[0] < 0.5
    value, reason = markov_models.flux_spearman(np.ones((3, 3)), a)
    assert value is None
    assert 'prediction: fluxes' in reason


class TestCenters:
  def test_finds_clusters(self, np_rng):
    middles = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = middles[np_rng.integers(0, 3, 300)] + np_rng.normal(size=(300, 2))
    centers, reason = markov_models.kmeans_centers([points[:200], points[200:]], 3, seed=1)
    assert reason is None
    distance = np.linalg.norm(centers[:, None] - middles, axis=-1)
    assert sorted(distance.argmin(axis=1)) == [0, 1, 2]
    assert distance.min(axis=1).max() < 0.4
    again, _ = markov_models.kmeans_centers([points], 3, seed=1)
    np.testing.assert_array_equal(again, centers)

  def test_reason(self, np_rng):
    points = np.repeat(np_rng.normal(size=(4, 2)), 10, axis=0)
    centers, reason = markov_models.kmeans_centers([points], 5, seed=1)
    assert centers is None
    assert '4 different conformations are too few for 5 states' in reason


def test_without_deeptime_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'deeptime.markov.tools.estimation', None)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[evaluate\]'"):
    markov_models.reversible_estimate(np.ones((2, 2), int))

import numpy as np
import pytest

from tempo_jax.metrics import kinetics, markov_comparison, markov_models
from tests.metrics import ensembles, golden
from tests.metrics import markov_chains as known

_KEYS = markov_comparison.KEYS
_PASSAGES = 'mfpt_pearson_log10', 'mfpt_spearman', 'mfpt_log10_mae'


def _replicas(rng, matrix, num_frames, number=2):
  states = [known.sample(rng, matrix, num_frames) for _ in range(number)]
  return states, [known.positions(rng, x) for x in states]


def _slower(matrix, factor):
  """The same populations, all passages longer."""
  return np.eye(len(matrix)) + (matrix - np.eye(len(matrix))) / factor


def _reference(positions, lag_ns=1.0, dt_ns=1.0, num_states=3):
  found, reason = markov_comparison.reference(positions, dt_ns, lag_ns, num_states=num_states)
  assert reason is None
  return found


def _order(found, states):
  """[3], the found state in which each true state is."""
  ours, theirs = np.concatenate(found.kinetics.states), np.concatenate(states)
  order = [np.bincount(ours[theirs == k], minlength=3).argmax() for k in range(3)]
  np.testing.assert_array_equal(np.asarray(order)[theirs], ours)
  return order


class TestKnownKinetics:
  def test_of_the_reference(self, np_rng):
    states, positions = _replicas(np_rng, known.THREE_STATES, 6_000)
    found = _reference(positions, lag_ns=0.5, dt_ns=0.5)
    order = _order(found, states)
    model = found.kinetics.model
    populations = model.populations_of_all()[order]
    np.testing.assert_allclose(populations, known.THREE_POPULATIONS, atol=0.03)
    times = model.passage_times_ns()[np.ix_(order, order)]
    np.testing.assert_allclose(times, 0.5 * known.THREE_PASSAGE_TIMES, rtol=0.15)
    np.testing.assert_allclose(model.time_scales_ns(), 0.5 * known.THREE_TIME_SCALES, rtol=0.1)
    # TICA sees the same two processes.
    scales = -0.5 / np.log(found.slow.eigenvalues[:2])
    np.testing.assert_allclose(scales, 0.5 * known.THREE_TIME_SCALES, rtol=0.15)
    assert found.halves['mfpt_pearson_log10'] > 0.95

  def test_of_a_prediction_three_times_too_slow(self, np_rng):
    _, positions = _replicas(np_rng, known.THREE_STATES, 6_000)
    found = _reference(positions)
    _, slow = _replicas(np_rng, _slower(known.THREE_STATES, 3.0), 12_000)
    numbers, notes, side = markov_comparison.compare(slow, 1.0, found)
    assert notes == {}
    assert tuple(sorted(numbers)) == tuple(sorted(_KEYS))
    # Correlations do not see it.
    assert numbers['mfpt_pearson_log10'] > 0.95
    assert numbers['mfpt_log10_mae'] == pytest.approx(np.log10(3.0), abs=0.08)
    assert numbers['stationary_kl'] < 0.02
    scales = side.model.time_scales_ns() / found.kinetics.model.time_scales_ns()
    assert scales[0] == pytest.approx(3.0, rel=0.2)

  def test_of_other_populations(self, np_rng):
    states, positions = _replicas(np_rng, known.THREE_STATES, 6_000)
    found = _reference(positions)
    # A line again, whose populations are the other way round.
    turned = known.THREE_STATES[::-1, ::-1]
    _, other = _replicas(np_rng, turned, 6_000)
    numbers, _, side = markov_comparison.compare(other, 1.0, found)
    p, q = known.THREE_POPULATIONS, known.THREE_POPULATIONS[::-1]
    assert numbers['pi_mae'] == pytest.approx(np.mean(np.abs(p - q)), abs=0.02)
    assert numbers['stationary_kl'] == pytest.approx(np.sum(p * np.log(p / q)), abs=0.1)
    assert numbers['mfpt_pearson_log10'] < 0.5
    assert numbers['tica_w1_rms'] > 0.1
    order = _order(found, states)
    populations = side.model.populations_of_all()[order]
    np.testing.assert_allclose(populations, q, atol=0.04)

  def test_of_another_time_step(self, np_rng):
    """Every other frame at half the rate is the same chain."""
    states, positions = _replicas(np_rng, known.THREE_STATES, 6_000)
    found = _reference(positions, lag_ns=1.0, dt_ns=0.5)
    numbers, notes, side = markov_comparison.compare([x[::2] for x in positions], 1.0, found)
    assert notes == {}
    assert numbers['mfpt_pearson_log10'] > 0.99
    assert numbers['mfpt_log10_mae'] < 0.05
    times = side.model.passage_times_ns()[np.ix_(*[_order(found, states)] * 2)]
    # What happens in half a step more is not seen.
    expected = 0.5 * known.THREE_PASSAGE_TIMES
    np.testing.assert_allclose(times, expected, atol=1.0, rtol=0.2)

  def test_of_itself(self, np_rng):
    _, positions = _replicas(np_rng, known.THREE_STATES, 2_000)
    found = _reference(positions)
    numbers, notes, _ = markov_comparison.compare(positions, 1.0, found)
    assert notes == {}
    for key, expected in zip(_KEYS, (1.0, 1.0, 0.0, 0.0, 0.0, 0.0), strict=False):
      assert numbers[key] == pytest.approx(expected, abs=1e-9), key
    ceiling = numbers['mfpt_pearson_log10_ceiling']
    assert ceiling == found.halves['mfpt_pearson_log10']
    assert 0.5 < ceiling < 1.0

  def test_halves_are_compared_as_if_they_were_predicted(self, np_rng):
    _, positions = _replicas(np_rng, known.THREE_STATES, 3_000)
    found = _reference(positions)
    halves = [[x[:1_500] for x in positions], [x[1_500:] for x in positions]]
    models = []
    for half in halves:
      _, _, side = markov_comparison.compare(half, 1.0, found)
      models.append(side.model)
    times, _ = markov_comparison.compare_passage_times(*models)
    for key, value in times.items():
      assert found.halves[key] == pytest.approx(value)
    for key, value in markov_comparison.compare_populations(*models).items():
      assert found.halves[key] == pytest.approx(value)

  def test_anywhere_in_space_and_again(self, np_rng):
    _, positions = _replicas(np_rng, known.THREE_STATES, 800)
    moved = [x + np.float32(7.0) for x in positions]
    found, again = _reference(positions), _reference(moved)
    np.testing.assert_allclose(again.slow.eigenvalues, found.slow.eigenvalues, rtol=1e-4)
    for a, b in zip(found.kinetics.states, again.kinetics.states, strict=True):
      np.testing.assert_array_equal(a, b)


class TestReasons:
  def test_prediction(self, np_rng):
    states, positions = _replicas(np_rng, known.THREE_STATES, 3_000)
    found = _reference(positions)
    # Frames of true states 0 and 2.
    frames = {k: positions[0][np.flatnonzero(states[0] == k)] for k in range(3)}
    unfolds = [np.concatenate([frames[0][:60], frames[1][:60]])]
    few = [np.concatenate([frames[k][10 * n : 10 * n + 10] for n in range(2) for k in (0, 1)])]
    two = [np.concatenate([frames[k][3 * n : 3 * n + 3] for n in range(40) for k in (0, 1)])]
    long = positions[0][:50]
    for prediction, dt_ns, keys, why in (
      (unfolds, 1.0, _PASSAGES, 'prediction: the states are not connected'),
      (unfolds, 1.0, ('stationary_kl', 'pi_mae'), 'prediction: the states are not connected'),
      (few, 1.0, _PASSAGES, 'prediction: 3 independent changes of state'),
      (two, 1.0, _PASSAGES, '2 states are connected in both prediction and reference'),
      ([frames[1][:60]], 1.0, _PASSAGES, '1 states are connected in both'),
      ([long], 0.01, _KEYS[:-1], 'prediction: a lag of 1 ns is longer'),
      ([long], 0.3, _KEYS[:-1], 'prediction: a lag of 1 ns is no multiple'),
      ([long], None, _KEYS[:-1], 'prediction: the time between frames is unknown'),
      ([], 1.0, _KEYS[:-1], 'prediction: a lag of 1 ns is longer'),
    ):
      numbers, notes, _ = markov_comparison.compare(prediction, dt_ns, found)
      assert sorted(numbers) == sorted(_KEYS)
      for key in keys:
        assert numbers[key] is None
        assert why in notes[key]
      assert sorted(notes) == sorted(key for key in numbers if numbers[key] is None)

  def test_one_state_has_populations(self, np_rng):
    states, positions = _replicas(np_rng, known.THREE_STATES, 3_000)
    found = _reference(positions)
    frozen = [np.repeat(positions[0][np.flatnonzero(states[0] == 2)[:1]], 50, axis=0)]
    numbers, _, side = markov_comparison.compare(frozen, 1.0, found)
    assert side.model.populations_of_all().max() == 1.0
    p = found.kinetics.model.populations_of_all()
    expected = np.mean(np.abs(p - side.model.populations_of_all()))
    assert numbers['pi_mae'] == pytest.approx(expected)
    assert 2.0 < numbers['stationary_kl'] < np.log(1e3)

  def test_reference(self, np_rng):
    _, positions = _replicas(np_rng, known.THREE_STATES, 400)
    still = [np.repeat(positions[0][:1], 100, axis=0)]
    for reference, dt_ns, lag_ns, why in (
      (positions, None, 1.0, 'reference: the time between frames is unknown'),
      (positions, 1.0, 400.0, 'reference: a lag of 400 ns is longer than the longest replica, 399'),
      (positions, 1.0, 1.5, 'reference: a lag of 1.5 ns is no multiple'),
      ([x[:, :1] for x in positions], 1.0, 1.0, 'reference: too few residues or frames'),
      ([x[:4] for x in positions[:1]], 1.0, 1.0, 'reference: too few residues or frames'),
      (still, 1.0, 1.0, 'reference: no feature varies'),
      ([], 1.0, 1.0, 'reference: a lag of 1 ns is longer'),
    ):
      found, reason = markov_comparison.reference(reference, dt_ns, lag_ns)
      assert found is None
      assert why in reason

  def test_a_reference_without_a_model(self, np_rng):
    """It unfolds once: populations and passage times do not follow, widths of coordinates do."""
    states = np.repeat([0, 1], 150)
    positions = [known.positions(np_rng, states)]
    found = _reference(positions, num_states=2)
    assert found.kinetics.model is None
    numbers, notes, _ = markov_comparison.compare(positions, 1.0, found)
    assert numbers['tica_w1_rms'] == 0.0
    for key in (*_PASSAGES, 'stationary_kl', 'pi_mae'):
      assert numbers[key] is None
    assert 'states are not connected' in notes['pi_mae']
    assert 'reference, ' in notes['mfpt_pearson_log10_ceiling']

  @pytest.mark.parametrize('num_reference', [2, 11, 40])
  @pytest.mark.parametrize('num_prediction', [1, 2, 30])
  def test_short_data_neither_fails_nor_gives_nan(self, np_rng, num_prediction, num_reference):
    for noise in (0.0, 1e-4, 1.0):
      states = np_rng.integers(0, 3, num_reference)
      reference = [known.positions(np_rng, states, noise=noise) for _ in range(2)]
      prediction = [known.positions(np_rng, states[:num_prediction], noise=noise)]
      found, reason = markov_comparison.reference(reference, 1.0, 1.0)
      assert (found is None) == bool(reason)
      if found is not None:
        numbers, notes, _ = markov_comparison.compare(prediction, 1.0, found)
        assert all(np.isfinite(x) for x in numbers.values() if x is not None)
        assert sorted(notes) == sorted(key for key in numbers if numbers[key] is None)


@pytest.mark.parametrize(
  ('num_frames', 'prediction_dt_ns', 'reference_dt_ns', 'expected'),
  [(5_000, 0.01, 0.01, 0.5), (1_000, 1.0, 0.1, 1.0), (2_500, 0.1, 1.0, 25.0), (40, 0.5, 0.5, 0.5)],
)
def test_default_lag(num_frames, prediction_dt_ns, reference_dt_ns, expected):
  grid, _ = kinetics.time_grid(prediction_dt_ns, reference_dt_ns)
  lag_ns = markov_comparison.default_lag_ns(num_frames, grid)
  assert lag_ns == pytest.approx(expected)
  for dt_ns in (prediction_dt_ns, reference_dt_ns):
    assert markov_models.lag_in_frames(lag_ns, dt_ns, 10**6)[1] is None


class TestComparisons:
  def _model(self, matrix, populations, states, num_states=4):
    return markov_models.MarkovModel(np.array(states), matrix, populations, num_states, 1.0)

  def test_populations(self):
    a = self._model(known.TWO_STATES, known.TWO_POPULATIONS, [0, 2])
    b = self._model(np.ones((1, 1)), np.ones(1), [2])
    found = markov_comparison.compare_populations(b, a)
    assert found['pi_mae'] == pytest.approx((0.75 + 0.75) / 4.0)
    p, q = np.array([0.751, 0.251, 1e-3, 1e-3]), np.array([1e-3, 1.001, 1e-3, 1e-3])
    p, q = p / p.sum(), q / q.sum()
    assert found['stationary_kl'] == pytest.approx(np.sum(p * np.log(p / q)))

  def test_passage_times_are_of_common_states(self):
    a = self._model(known.THREE_STATES, known.THREE_POPULATIONS, [0, 1, 2])
    b = self._model(known.THREE_STATES, known.THREE_POPULATIONS, [1, 2, 3])
    found, reason = markov_comparison.compare_passage_times(a, b)
    assert found is None
    assert '2 states are connected in both' in reason
    turned = self._model(known.THREE_STATES[::-1, ::-1], known.THREE_POPULATIONS[::-1], [0, 1, 2])
    found, _ = markov_comparison.compare_passage_times(turned, a)
    off = ~np.eye(3, dtype=bool)
    times = known.THREE_PASSAGE_TIMES
    x, y = np.log10(times[::-1, ::-1][off]), np.log10(times[off])
    assert found['mfpt_pearson_log10'] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found['mfpt_log10_mae'] == pytest.approx(np.mean(np.abs(x - y)))

  def test_equal_passage_times(self):
    equal = self._model(np.full((3, 3), 1.0 / 3.0), np.full(3, 1.0 / 3.0), [0, 1, 2])
    other = self._model(known.THREE_STATES, known.THREE_POPULATIONS, [0, 1, 2])
    found, reason = markov_comparison.compare_passage_times(equal, other)
    assert found is None
    assert 'equal' in reason


def test_one_estimator_agrees_with_itself_on_real_md(shared_data):
  """Where BioKinema's two give 0.90, 0.57 and 0.49."""
  for name, lag_ns in (('pentalanine_50ns', 0.1), ('2jof', 0.05), ('bpti_5ns', 0.05)):
    reference = [ensembles.ca_of_mdtraj(golden.load(shared_data, name).reference)]
    found, reason = markov_comparison.reference(reference, 0.01, lag_ns)
    assert reason is None
    numbers, _, side = markov_comparison.compare(reference, 0.01, found)
    if side.model is not None:
      assert numbers['mfpt_pearson_log10'] == pytest.approx(1.0)
      assert numbers['stationary_kl'] == 0.0
    np.testing.assert_array_equal(
      kinetics.microstates(side.coordinates[0], found.centers), found.kinetics.states[0]
    )

import numpy as np
import pytest

from tempo_jax.metrics import biokinema, markov_models, tica
from tests.metrics import ensembles, golden
from tests.metrics import markov_chains as known

_VARIANTS = 'as_published', 'plain_lag', 'reference_against_itself'
_SIDES = 'prediction', 'reference'
_CORRELATIONS = 'mfpt_pearson_log10', 'mfpt_spearman'


def _compared(shared_data, name, variant):
  case = golden.load(shared_data, name)
  lags = biokinema.Lags()
  if variant == 'plain_lag':
    lag = 10 if name == 'pentalanine_50ns' else 5
    lags = biokinema.Lags(tica=lag, reference=lag, root=1)
  numbers, inside = (x[f'biokinema_{variant}'] for x in (case.numbers, case.intermediates))
  reference = [ensembles.ca_of_mdtraj(case.reference)]
  prediction = [ensembles.ca_of_mdtraj(case.prediction)]
  found, reason = biokinema.compare(
    reference if variant == 'reference_against_itself' else prediction,
    reference,
    lags,
    centers=np.array(inside['cluster_centers']),
  )
  assert reason is None
  return found, numbers, inside


@pytest.mark.parametrize('variant', _VARIANTS)
@pytest.mark.parametrize('name', golden.NAMES)
class TestAgainstTheirCode:
  def test_numbers(self, shared_data, name, variant):
    found, numbers, _ = _compared(shared_data, name, variant)
    if name == 'cln025' and variant == 'reference_against_itself':
      return  # Not golden: its states are not strongly connected, some systems are singular.
    for key, expected in numbers.items():
      if key.startswith('implied'):
        scales = found.time_scales[_SIDES.index(key.split('_')[3])]
        # They print as many as both sides have.
        np.testing.assert_allclose(scales[: len(expected)], expected, rtol=golden.TOLERANCE)
      elif not (name == 'cln025' and key in _CORRELATIONS):  # Two pairs: -1 by construction.
        value = found.numbers['tica_w1_rms' if key == 'w2_tica' else key]
        # Against itself W1 is rounding, and so is the least tolerance here.
        assert value == pytest.approx(expected, rel=golden.TOLERANCE, abs=1e-5), key

  def test_on_the_way(self, shared_data, name, variant):
    found, _, inside = _compared(shared_data, name, variant)
    np.testing.assert_allclose(found.eigenvalues, inside['tica_eigenvalues'], atol=1e-5)
    for k, side in enumerate(_SIDES):
      histogram = np.bincount(np.concatenate(found.states[k]), minlength=10)
      np.testing.assert_array_equal(histogram, inside[f'{side}_state_histogram'])
      if not (name == 'cln025' and variant == 'reference_against_itself'):
        np.testing.assert_allclose(found.populations[k], inside[f'{side}_pi'], atol=1e-5)
        times = found.passage_times[k]
        there = ~np.eye(10, dtype=bool) & np.isfinite(found.passage_times[0])
        there &= (found.passage_times[0] > 0.0) & (found.passage_times[1] > 0.0)
        np.testing.assert_allclose(times[there], inside[f'mfpt_{side}_frames'], rtol=1e-5)
    reference = found.transition_matrices[1]
    np.testing.assert_allclose(reference, inside['reference_transition_matrix'], atol=1e-5)
    if variant != 'plain_lag':
      counts = markov_models.transition_counts(found.states[0], 1, 10)
      np.testing.assert_array_equal(counts, inside['prediction_counts'])


class TestCompare:
  def _positions(self, rng, num_frames):
    return known.positions(rng, known.sample(rng, known.THREE_STATES, num_frames), noise=0.4)

  def test_its_own_states(self, np_rng):
    positions = [self._positions(np_rng, 600) for _ in range(2)]
    found, reason = biokinema.compare(positions, positions, biokinema.Lags())
    assert reason is None
    assert found.notes == {}
    assert found.centers.shape == (10, 5)
    assert found.numbers['tica_w1_rms'] == 0.0
    assert found.numbers['states_populated'] == 10
    # Two estimators.
    assert found.numbers['mfpt_pearson_log10'] < 1.0
    assert found.numbers['stationary_kl'] > 0.0

  def test_short_replicas(self, np_rng):
    reference = [self._positions(np_rng, 400)]
    prediction = [self._positions(np_rng, 60)]
    found, _ = biokinema.compare(prediction, reference, biokinema.Lags())
    assert found.numbers['tau_1e_tic1_prediction_frames'] is None
    assert '101 frames' in found.notes['tau_1e_tic1_prediction_frames']

  def test_a_prediction_that_rests(self, np_rng):
    reference = [self._positions(np_rng, 400)]
    still = [np.repeat(reference[0][:1], 150, axis=0)]
    found, _ = biokinema.compare(still, reference, biokinema.Lags())
    for key in ('mfpt_pearson_log10', 'mfpt_spearman', 'mfpt_log10_mae'):
      assert found.numbers[key] is None
      assert '0 pairs of states' in found.notes[key]
    assert found.numbers['states_populated'] == 1
    assert 'nothing moves' in found.notes['tau_1e_tic1_prediction_frames']

  def test_a_state_that_is_left_for_good(self, np_rng):
    """Theirs: it is visited, so there are times from it; it is not connected, so it is empty."""
    slow = known.sample(np_rng, np.full((10, 10), 0.01) + 0.9 * np.eye(10), 1_500)
    reference = [known.positions(np_rng, slow)]
    features = tica.ca_distances(reference[0], np.arange(6))
    fitted, _ = tica.fit([features], 1, by_magnitude=True)
    mapped = fitted.leading(5).kinetic_map(features)
    centers = np.stack([mapped[slow == k].mean(axis=0) for k in range(10)])
    chain = known.sample(np_rng, known.THREE_STATES, 400)
    chain = np.concatenate([[7, 7, 7, 7], chain])
    prediction = [known.positions(np_rng, chain)]
    found, _ = biokinema.compare(prediction, reference, biokinema.Lags(), centers)
    np.testing.assert_array_equal(found.states[0][0], chain)
    np.testing.assert_array_equal(np.flatnonzero(found.populations[0]), [0, 1, 2])
    times = found.passage_times[0]
    assert times[7, 0] == pytest.approx(4.0)  # Three steps of four stay.
    assert times[7, 2] == pytest.approx(4.0 + times[0, 2])
    assert np.isfinite(times[:3, 7]).all()  # Never: theirs are numbers all the same.
    assert np.isnan(times[3:7]).all()

  def test_reasons(self, np_rng):
    long, short = [self._positions(np_rng, 300)], [self._positions(np_rng, 8)]
    still = [np.repeat(long[0][:1], 50, axis=0)]
    for prediction, reference, why in (
      (long, short, 'reference: no replica is longer than the lag of 10 frames'),
      ([long[0][:1]], long, 'prediction: no replica is longer than the lag of 1 frames'),
      (long, still, 'reference: no feature varies'),
      (long, [], 'reference: no replica'),
    ):
      found, reason = biokinema.compare(prediction, reference, biokinema.Lags())
      assert found is None
      assert why in reason


def test_w1_of_shifted_and_widened_coordinates(np_rng):
  a = np_rng.normal(size=(500, 2))
  assert biokinema.tica_w1_rms([a], [a[:200], a[200:]]) == 0.0
  shifted = biokinema.tica_w1_rms([a + np.array([3.0, 4.0])], [a])
  assert shifted == pytest.approx(np.sqrt((9.0 + 16.0) / 2.0))
  # Of a centred line and its double: the mean |x|. That of W2 would be the root mean square.
  line = np.linspace(-1.0, 1.0, 2001)[:, None]
  assert biokinema.tica_w1_rms([2.0 * line], [line]) == pytest.approx(0.5, rel=1e-3)

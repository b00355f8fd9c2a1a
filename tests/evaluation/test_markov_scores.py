"""Kinetics end to end: Markov chains of known populations and passage times, as ensembles."""

import dataclasses
import json

import numpy as np
import pytest

from tempo_jax.evaluation import biokinema_protocol, columns, markov_details, markov_scores
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.evaluation.scores import Settings
from tempo_jax.metrics import biokinema, markov_comparison
from tests.evaluation import cases
from tests.metrics import markov_chains as known

LENGTH, DT_NS = 6, 0.5
PASSAGES = ('mfpt_pearson_log10', 'mfpt_spearman', 'mfpt_log10_mae')
OF_MODEL = (*PASSAGES, 'stationary_kl', 'pi_mae')
# What is three times as slow, with the same populations.
SLOW = np.eye(3) + (known.THREE_STATES - np.eye(3)) / 3.0


@pytest.fixture(scope='module')
def native(tmp_path_factory):
  path = tmp_path_factory.mktemp('native') / 'native.pdb'
  cases.write_native(path, LENGTH)
  return Native(path).protein


@pytest.fixture
def three_states(monkeypatch):
  """As many as there are."""
  real = markov_comparison.reference
  monkeypatch.setattr(
    markov_comparison,
    'reference',
    lambda positions, dt_ns, lag_ns: real(positions, dt_ns, lag_ns, num_states=3),
  )


def make(native, seed, matrix=known.THREE_STATES, frames=4_000, replicas=2, dt_ns=DT_NS):
  rng = np.random.default_rng(seed)
  times = None if dt_ns is None else dt_ns * np.arange(1, frames + 1)
  return Ensemble(
    native,
    [
      Replica(known.positions(rng, known.sample(rng, matrix, frames)), times, f'R{k}')
      for k in range(replicas)
    ],
  )


@pytest.mark.usefixtures('three_states')
class TestKnownKinetics:
  def test_a_prediction_that_is_three_times_too_slow(self, native):
    reference, prediction = make(native, 0), make(native, 1, SLOW, frames=8_000)
    found = markov_scores.compare(reference, prediction, DT_NS)
    assert found.notes == {}
    assert tuple(sorted(found.numbers)) == tuple(sorted(markov_scores.KEYS))
    # Correlations do not see it.
    assert found.numbers['mfpt_pearson_log10'] > 0.95
    assert found.numbers['mfpt_log10_mae'] == pytest.approx(np.log10(3.0), abs=0.06)
    assert found.numbers['stationary_kl'] < 0.03
    assert found.numbers['pi_mae'] < 0.05
    assert found.numbers['mfpt_pearson_log10_ceiling'] > 0.9

  def test_md_by_md_is_perfect(self, native):
    """One estimator for both sides."""
    reference = make(native, 0)
    found = markov_scores.compare(reference, Ensemble(native, reference.replicas), DT_NS)
    for key, expected in (('mfpt_pearson_log10', 1.0), ('mfpt_spearman', 1.0)):
      assert found.numbers[key] == pytest.approx(expected)
    for key in ('mfpt_log10_mae', 'stationary_kl', 'pi_mae', 'tica_w1_rms'):
      assert found.numbers[key] == pytest.approx(0.0, abs=1e-12), key
    assert found.numbers['mfpt_pearson_log10_ceiling'] < 1.0

  def test_details(self, native):
    reference, prediction = make(native, 0, replicas=3), make(native, 1, SLOW, replicas=1)
    found = markov_details.details(reference, prediction, DT_NS)
    assert found == json.loads(json.dumps(found, allow_nan=False))
    assert (found['lag_ns'], found['num_states'], found['num_residues']) == (DT_NS, 3, LENGTH)
    md, ours = found['reference'], found['prediction']
    # States are in any order: by populations.
    order = np.argsort(md['populations'])[::-1]
    for side, factor in ((md, 1.0), (ours, 3.0)):
      populations, errors = (np.array(side[x])[order] for x in ('populations', 'populations_error'))
      assert np.all(np.abs(populations - known.THREE_POPULATIONS) < 4.0 * errors)
      assert np.all(errors < 0.15)
      times = np.array(side['mfpt_ns'])[np.ix_(order, order)]
      np.testing.assert_allclose(times, factor * DT_NS * known.THREE_PASSAGE_TIMES, rtol=0.35)
      flux = known.THREE_POPULATIONS[:, None] * (known.THREE_STATES - np.eye(3)) / factor
      flux[np.diag_indices(3)] = 0.0
      found_flux = np.array(side['flux_per_ns'])[np.ix_(order, order)]
      np.testing.assert_allclose(found_flux * DT_NS, flux, rtol=0.3, atol=1e-9)
      counts = np.array(side['occupancy'])[order]
      np.testing.assert_allclose(counts, populations, atol=0.02)
    scales = DT_NS * known.THREE_TIME_SCALES
    assert np.all(
      np.abs(md['time_scales_ns'] - scales) < 4.0 * np.array(md['time_scales_error_ns'])
    )
    assert (md['errors_from'], ours['errors_from']) == ('replicas', 'frames')
    assert found['occupancy_js_distance'] < 0.15
    # Of three fluxes, one is 0: rates of a line.
    assert found['flux_spearman'] == pytest.approx(1.0)
    assert found['ceiling']['against_itself']['mfpt_pearson_log10'] == pytest.approx(1.0)
    assert found['ceiling']['halves']['mfpt_pearson_log10'] > 0.9
    assert found['notes'] == {}

  def test_a_finer_prediction_at_the_same_lag(self, native):
    """Twice as many frames, each of them twice."""
    reference, prediction = make(native, 0), make(native, 1)
    fine = [
      Replica(np.repeat(r.positions, 2, axis=0), 0.5 * DT_NS * np.arange(2 * r.num_frames), 'fine')
      for r in prediction.replicas
    ]
    one, other = (
      markov_scores.compare(reference, x, DT_NS).numbers
      for x in (prediction, Ensemble(native, fine))
    )
    assert other == pytest.approx(one, abs=0.01)


class TestReasons:
  def _all(self, found, reason, keys=OF_MODEL):
    for key in keys:
      assert found.numbers[key] is None
      assert reason in found.notes[key], key

  def test_a_lag_that_does_not_fit(self, native):
    reference = make(native, 0, frames=300)
    found = markov_scores.compare(reference, make(native, 1, frames=300), 0.7)
    self._all(found, 'reference: a lag of 0.7 ns is no multiple', markov_scores.KEYS)
    found = markov_scores.compare(reference, make(native, 1, frames=300), 400.0)
    self._all(found, 'longer than the longest replica', markov_scores.KEYS)
    assert found.reference is None
    details = markov_details.details(reference, make(native, 1, frames=300), 400.0)
    assert details.keys() == {'reason'}

  def test_a_lag_that_is_longer_than_the_prediction(self, native):
    reference, short = make(native, 0, frames=1_000), make(native, 1, frames=9)
    found = markov_scores.compare(reference, short, 5.0)
    self._all(found, 'prediction: a lag of 5 ns is longer', (*OF_MODEL, 'tica_w1_rms'))
    details = markov_details.details(reference, short, 5.0)
    assert details['prediction'] is None
    assert 'is longer' in details['notes']['prediction']
    assert details['reference']['populations'] is not None
    assert details['occupancy_js_distance'] is None

  def test_no_times(self, native):
    found = markov_scores.compare(
      make(native, 0, frames=99), make(native, 1, frames=99, dt_ns=None)
    )
    self._all(found, 'prediction: its frames have no times', markov_scores.KEYS)

  def test_replicas_of_different_steps(self, native):
    replicas = [
      make(native, k, frames=99, replicas=1, dt_ns=dt).replicas[0]
      for k, dt in enumerate((0.1, 0.2))
    ]
    found = markov_scores.compare(Ensemble(native, replicas), make(native, 3, frames=99))
    self._all(found, 'reference: its replicas have different time steps', markov_scores.KEYS)

  @pytest.mark.usefixtures('three_states')
  def test_a_prediction_that_rests_in_one_state(self, native):
    reference = make(native, 0, frames=2_000)
    still = make(native, 1, np.eye(3), frames=300)
    found = markov_scores.compare(reference, still, DT_NS)
    self._all(found, 'are connected in both', PASSAGES)
    assert found.numbers['pi_mae'] > 0.01
    assert found.numbers['tica_w1_rms'] > 0.0

  def test_a_prediction_that_unfolds_once(self, native):
    reference = make(native, 0, frames=2_000)
    rng = np.random.default_rng(5)
    states = np.repeat([0, 1], 200)
    times = DT_NS * np.arange(400)
    once = Ensemble(native, [Replica(known.positions(rng, states), times, 'once')])
    found = markov_scores.compare(reference, once, DT_NS)
    for key in OF_MODEL:
      assert found.numbers[key] is None
      assert 'not connected' in found.notes[key] or 'too few' in found.notes[key]


def test_the_default_lag_is_a_hundredth_of_md(native):
  found = markov_scores.compare(make(native, 0, frames=1_000), make(native, 1, frames=200))
  assert found.reference.lag_ns == pytest.approx(10 * DT_NS)
  # A multiple of the coarser step.
  coarse = make(native, 1, frames=200, dt_ns=3.0 * DT_NS)
  found = markov_scores.compare(make(native, 0, frames=1_000), coarse)
  assert found.reference.lag_ns == pytest.approx(9 * DT_NS)


def test_states_of_md_are_found_once_for_the_prediction_and_all_baselines(native, monkeypatch):
  calls, real = [], markov_comparison.reference
  monkeypatch.setattr(
    markov_comparison, 'reference', lambda *args: calls.append(args) or real(*args)
  )
  reference = Ensemble(native, make(native, 0, frames=39, replicas=1).replicas)
  columns.columns(reference, make(native, 1, frames=30, replicas=1), Settings(lag_ns=DT_NS))
  assert len(calls) == 1


class TestBiokinema:
  def test_it_is_their_procedure_at_common_times(self, native):
    reference, prediction = make(native, 0, frames=800), make(native, 1, frames=800)
    found = biokinema_protocol.details(reference, prediction)
    assert found == json.loads(json.dumps(found, allow_nan=False))
    ours, theirs = (x.split(x.positions) for x in (prediction, reference))
    expected, _ = biokinema.compare(ours, theirs, biokinema.Lags())
    assert found['numbers'] == expected.numbers
    assert found['frame_ns'] == DT_NS
    np.testing.assert_array_equal(found['populations']['reference'], expected.populations[1])
    # Two estimators: MD does not agree with itself.
    assert found['ceiling']['mfpt_pearson_log10'] < 0.999
    assert found['ceiling']['tica_w1_rms'] == 0.0
    thin = [dataclasses.replace(r, positions=r.positions[::2], time_ns=r.time_ns[::2])
            for r in prediction.replicas]  # fmt: skip
    coarse = biokinema_protocol.details(reference, Ensemble(native, thin))
    expected, _ = biokinema.compare(
      [x[::2] for x in ours], [x[::2] for x in theirs], biokinema.Lags()
    )
    assert coarse['numbers'] == expected.numbers
    assert coarse['frame_ns'] == 2.0 * DT_NS

  def test_reasons(self, native):
    reference = make(native, 0, frames=50)
    timeless = make(native, 1, frames=50, dt_ns=None)
    found = biokinema_protocol.details(reference, timeless)
    assert found == {'reason': 'prediction: its frames have no times'}
    found = biokinema_protocol.details(make(native, 0, frames=8), make(native, 1, frames=50))
    assert 'no replica is longer than the lag of 10 frames' in found['reason']

  def test_the_table_has_means_over_proteins(self):
    made = [
      {'frame_ns': 0.01, 'numbers': {'pi_mae': 0.1 * k}, 'ceiling': {'pi_mae': 0.02}}
      for k in (1, 2)
    ]
    text = biokinema_protocol.table([*made, {'reason': 'no times'}])
    assert '| pi_mae | 0.150 (n = 2) | 0.020 (n = 2) |' in text
    assert '| edge_mae |  |  |' in text
    assert 'Frames are 0.01 ns apart' in text

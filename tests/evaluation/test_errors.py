"""Error bars against the scatter of many repeats, whose truth no formula needs."""

import numpy as np
import pytest

from tempo_jax.evaluation import errors, scores, summary, time_errors
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.evaluation.scores import Settings
from tempo_jax.metrics import distribution, superposition
from tests.evaluation import cases

LENGTH = 8
MEMORY = 0.8  # Of the modes: g = 9 frames.


@pytest.fixture(scope='module')
def native(tmp_path_factory):
  path = tmp_path_factory.mktemp('native') / 'native.pdb'
  cases.write_native(path, LENGTH)
  return Native(path).protein


def make(native, seed, frames=120, *, replicas=1, memory=MEMORY, scale=3.0, dt_ns=0.01):
  rng = np.random.default_rng(seed)
  times = None if dt_ns is None else dt_ns * np.arange(1, frames + 1)
  remarks = () if dt_ns else ('its format has no times',)
  return Ensemble(
    native,
    [
      Replica(
        cases.wander(rng, native.arrays.positions, frames, scale, memory).astype(np.float32),
        times,
        'file',
        remarks,
      )
      for _ in range(replicas)
    ],
  )


@pytest.fixture(scope='module')
def reference(native):
  return make(native, 1_000, 300, replicas=3, scale=2.5)


def judge(reference, prediction, settings=None):
  settings = settings or Settings()
  numbers, _ = scores.score(reference, prediction, settings)
  return numbers, errors.of_prediction(reference, prediction, settings, numbers)


@pytest.fixture(scope='module')
def repeats(native, reference):
  """Keys, and numbers and errors [16, keys] of predictions that differ by chance alone."""
  with pytest.MonkeyPatch.context() as patch:
    # Exact transport takes most of the time.
    patch.setattr(distribution, 'wasserstein', lambda a, b: 1.0)
    found = [judge(reference, make(native, seed)) for seed in range(16)]
  keys = [key for key in summary.KEYS if all(n[key] is not None for n, _ in found)]
  values = np.array([[n[key] for key in keys] for n, _ in found])
  bars = np.array([[e.errors[key] for key in keys] for _, e in found], float)  # NaN: None
  return keys, values, bars


@pytest.mark.parametrize(
  ('keys', 'factor'),
  [
    (('pairwise_rmsd', 'rmsf', 'root_mean_w2', 'torsion_jsd'), 1.7),
    (('rmsd_error', 'rmsd_deviation', 'autocorrelation_error', 'tica_w1_rms'), 2.0),
    (('bond_break_percent', 'valid_ca_percent', 'state_js_distance', 'state_recall'), 2.0),
    # Near a bound errors are too large, not too small.
    (('global_rmsf_r', 'ca_distance_jsd', 'ddg'), 2.5),
  ],
)
def test_errors_are_the_scatter_of_repeats(repeats, keys, factor):
  """The scatter of 16 repeats is known to 18 %, an error of six parts to 32 %."""
  names, values, bars = repeats
  for key in keys:
    k = names.index(key)
    scatter = values[:, k].std(ddof=1)
    found = np.sqrt(np.mean(bars[:, k] ** 2))
    assert scatter / factor < found < scatter * factor, (key, scatter, found)


def test_the_error_of_a_mean_is_that_of_theory(native, reference):
  """Mean position along one mode of an AR(1) process: sd x root of g / F."""
  found = []
  for seed in range(12):
    ensemble = make(native, seed, 200)
    masks = errors.sections.cut(ensemble, reference.pca)[0].masks(ensemble)
    z = ensemble.positions[:, -1, 1, 2].astype(float)
    found.append(errors.uncertainty.jackknife_error([z[m].mean() for (m,) in masks])[0])
  lags = np.arange(1, 200)
  g = 1.0 + 2.0 * np.sum((1.0 - lags / 200) * MEMORY**lags)
  # At the chain's end, the modes are 1, 0 and 0, of half an Å; and 0.04 Å of noise; scaled by 3.
  true = 3.0 * np.sqrt((0.25 * g + 0.04**2) / 200)
  assert np.sqrt(np.mean(np.square(found))) == pytest.approx(true, rel=0.3)


def test_every_key_has_an_error_or_a_reason(native, reference):
  numbers, found = judge(reference, make(native, 0, 160, replicas=2))
  assert tuple(found.errors) == summary.KEYS
  assert {key for key in summary.KEYS if found.errors[key] is None} == set(found.notes)
  for key in summary.KEYS:
    if numbers[key] is None:
      assert found.notes[key] == 'there is no number'
  assert found.notes['mfpt_pearson_log10_ceiling'] == 'of MD alone, and of two halves only'
  # Of one protein, a yes or no.
  assert found.notes['pc_sim_above_half_percent'] == 'needs several proteins'
  assert found.num_parts in (4, 6)
  assert 2.0 < found.inefficiency < 30.0
  assert all(x >= 0.0 for x in found.errors.values() if x is not None)


def test_identical_replicas_have_no_error(native, reference):
  one = make(native, 0, 60).replicas[0]
  _, found = judge(reference, Ensemble(native, [one] * 4))
  assert found.num_parts == 4
  for key in ('rmsf', 'root_mean_w2', 'md_pca_w2', 'torsion_jsd', 'rmsd_error', 'tica_w1_rms'):
    assert found.errors[key] is None, key
  # MD differs from itself all the same.
  assert found.errors['reference_rmsf'] > 1e-3


def test_too_short_for_an_error(native, reference):
  _, found = judge(reference, make(native, 0, 24))
  assert found.num_parts is None
  assert 'too few for an error' in found.notes['rmsf']
  assert 'too few for an error' in found.notes['rmsd_error']
  # What is known of MD does not depend on the prediction.
  assert found.errors['reference_rmsf'] is not None
  _, found = judge(make(native, 0, 24), make(native, 1))
  assert found.notes['reference_rmsf'].startswith('reference: 24 frames')
  assert found.errors['rmsf'] is not None


def test_without_times_only_numbers_in_time_lack_an_error(native, reference):
  settings = Settings()
  timed, found = (
    judge(reference, make(native, 0, dt_ns=dt_ns), settings)[1] for dt_ns in (0.01, None)
  )
  assert found.notes['rmsd_error'] == 'there is no number'
  for key in ('rmsf', 'root_mean_w2', 'state_f1'):
    assert found.errors[key] == timed.errors[key]


def test_numbers_at_their_bounds(native, reference):
  """No frame is broken, nor any valid frame missing: that is not known for sure."""
  prediction = make(native, 0, scale=0.3)
  numbers, found = judge(reference, prediction)
  assert (numbers['bond_break_percent'], numbers['valid_ca_percent']) == (0.0, 100.0)
  independent = prediction.num_frames / found.inefficiency
  p = 2.0 / (independent + 4.0)
  expected = 100.0 * np.sqrt(p * (1.0 - p) / (independent + 4.0))
  assert found.errors['bond_break_percent'] == pytest.approx(expected)
  assert found.errors['valid_ca_percent'] == pytest.approx(expected)
  assert numbers['state_precision'] == 1.0
  assert found.errors['state_precision'] is None
  assert 'no part changes it' in found.notes['state_precision']


def test_frames_are_superposed_once(native, reference, monkeypatch):
  """Nothing that is known of each frame, nor of MD, is computed again for the parts."""
  prediction = make(native, 0)
  numbers, _ = scores.score(reference, prediction, Settings())

  def refuse(*_):
    raise AssertionError

  for name in ('superpose', 'superpose_points'):
    monkeypatch.setattr(superposition, name, refuse)
  found = errors.of_prediction(reference, prediction, Settings(), numbers)
  assert found.errors['root_mean_w2'] is not None


def test_without_a_part_motion_is_that_of_the_rest(native, reference):
  """A gap at the end of the only trajectory is a shorter trajectory, but for the number of lags."""
  prediction = make(native, 3, 160)
  grid = time_errors.common_times(reference, prediction)[0]
  kept = np.arange(160) < 100
  measure = time_errors._at_common_times(reference, prediction, grid)
  short = Ensemble(native, [prediction.replicas[0].take(slice(0, 100))])
  expected = scores.kinetics_of(reference, short)
  for key, statistic in measure.items():
    assert statistic([kept])[0] == pytest.approx(expected[key][0], rel=1e-5), key

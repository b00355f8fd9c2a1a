import sys
import warnings

import numpy as np
import pytest
import scipy.signal

from tempo_jax.errors import InputError
from tempo_jax.metrics import kinetics
from tests import builders, peptides

_GRID = kinetics.TimeGrid(dt_ns=1.0)


def _ornstein_uhlenbeck(rng, num_frames, decay):
  """[F] of unit variance: C(k) = decay^k."""
  noise = np.sqrt(1.0 - decay**2) * rng.normal(size=num_frames)
  noise[0] = rng.normal()
  return scipy.signal.lfilter([1.0], [1.0, -decay], noise)


def _two_states(rng, num_frames, leave, come_back):
  draws, states = rng.random(num_frames), np.zeros(num_frames, int)
  for t in range(1, num_frames):
    change = draws[t] < (come_back if states[t - 1] else leave)
    states[t] = states[t - 1] ^ change
  return states


def _direct(replicas, num_lags):
  """C(k) of the definition, pair by pair."""
  pooled = np.concatenate(replicas)
  mean = pooled.mean()
  curve = []
  for lag in range(num_lags + 1):
    pairs = [
      np.conj(x[t] - mean) * (x[t + lag] - mean) for x in replicas for t in range(len(x) - lag)
    ]
    curve.append(np.real(np.mean(pairs)))
  return np.array(curve) / np.mean(np.abs(pooled - mean) ** 2)


class TestTimeGrid:
  @pytest.mark.parametrize(
    ('prediction', 'reference', 'expected'),
    [
      (1.0, 1.0, (1.0, 1, 1)),
      (1.0, 0.2, (1.0, 1, 5)),
      (0.01, 0.2, (0.2, 20, 1)),
      (1.0, 0.1 * 1.0009, (1.0, 1, 10)),
      (1.0, 1.0009, (1.0009, 1, 1)),
    ],
  )
  def test_is_that_of_the_coarser(self, prediction, reference, expected):
    grid, reason = kinetics.time_grid(prediction, reference)
    assert reason is None
    assert (grid.dt_ns, grid.prediction_stride, grid.reference_stride) == expected

  @pytest.mark.parametrize(
    ('prediction', 'reference', 'why'),
    [
      (1.0, 0.3, 'no multiple'),
      (1.0, 1.002, 'no multiple'),
      (1.5, 1.0, 'no multiple'),
      (None, 1.0, 'prediction is unknown'),
      (1.0, None, 'reference is unknown'),
      (0.0, 1.0, 'prediction is 0 ns'),
    ],
  )
  def test_or_none_with_a_reason(self, prediction, reference, why):
    grid, reason = kinetics.time_grid(prediction, reference)
    assert grid is None
    assert why in reason


class TestErrorsFrameByFrame:
  def test_rmsd_error(self):
    grid = kinetics.TimeGrid(1.0, prediction_stride=1, reference_stride=2)
    prediction = [np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0])]
    reference = [np.array([1.0, 9.0, 1.0, 9.0, 5.0, 9.0, 7.0]), np.array([4.0])]
    value, reason = kinetics.rmsd_error(prediction, reference, grid)
    assert reason is None
    # |1 - 1|, |2 - 1|, |3 - 5|; |0 - 1|, |0 - 1|; single frames do not count.
    assert value == pytest.approx(np.mean([np.mean([0, 1, 2]), np.mean([1, 1])]))

  def test_pc1_cosine(self, np_rng):
    a, b = np_rng.normal(size=(2, 30))
    expected = a[:20] @ b[:20] / np.sqrt(np.sum(a[:20] ** 2) * np.sum(b[:20] ** 2))
    value, _ = kinetics.pc1_cosine([a], [b[:20]], _GRID)
    assert value == pytest.approx(expected)
    assert kinetics.pc1_cosine([a], [3.0 * a], _GRID)[0] == pytest.approx(1.0)
    assert kinetics.pc1_cosine([a], [-a], _GRID)[0] == pytest.approx(-1.0)

  def test_zero_against_itself(self, np_rng):
    a = np_rng.normal(size=30)
    assert kinetics.rmsd_error([a], [a], _GRID) == (0.0, None)

  def test_reasons(self):
    series = [np.arange(4.0)]
    for measure in (kinetics.rmsd_error, kinetics.pc1_cosine):
      value, reason = measure(series, series, kinetics.TimeGrid(5.0, prediction_stride=5))
      assert value is None
      assert 'no two frames 5 ns apart' in reason
    value, reason = kinetics.pc1_cosine([np.zeros(4)], series, _GRID)
    assert value is None
    assert 'zero' in reason


class TestAutocorrelation:
  def test_agrees_with_its_definition(self, np_rng):
    for replicas in (
      [np_rng.normal(size=17) + 5.0, np_rng.normal(size=9)],
      [np.exp(1j * np_rng.normal(size=17)), np.exp(1j * np_rng.normal(size=6))],
    ):
      curve, reason = kinetics.autocorrelation(replicas)
      assert reason is None
      np.testing.assert_allclose(curve, _direct(replicas, 8), atol=1e-12)

  def test_leaves_out_frames(self, np_rng):
    """Pair by pair; as without them where they are at the end, but for the number of lags."""
    replicas = [np_rng.normal(size=n).cumsum() for n in (30, 21)]
    valid = [np.ones(30, bool), np.ones(21, bool)]
    valid[0][8:15] = valid[1][3] = False
    found, reason = kinetics.autocorrelation(replicas, 9, valid)
    assert reason is None
    kept = np.concatenate([x[mask] for x, mask in zip(replicas, valid, strict=True)])
    for lag in range(10):
      pairs = [
        (x[t] - kept.mean()) * (x[t + lag] - kept.mean())
        for x, mask in zip(replicas, valid, strict=True)
        for t in range(len(x) - lag)
        if mask[t] and mask[t + lag]
      ]
      assert found[lag] == pytest.approx(np.mean(pairs) / kept.var(), abs=1e-9), lag
    start = np.arange(30) < 20
    found, _ = kinetics.autocorrelation(replicas[:1], 9, [start])
    np.testing.assert_allclose(found, kinetics.autocorrelation([replicas[0][:20]], 9)[0], atol=1e-9)
    none, reason = kinetics.autocorrelation(replicas[:1], 12, [np.arange(30) < 12])
    assert none is None
    assert reason == 'no two frames 12 apart'

  def test_is_the_mean_over_columns(self, np_rng):
    # More than two blocks of columns, one of which rests, and one is no number.
    series = np_rng.normal(size=(20, 70)) * np.resize([1.0, 100.0, 1e-3], 70)
    series[:, 3], series[:, 40] = 7.0, np.nan
    curve, _ = kinetics.autocorrelation([series], num_lags=4)
    moving = np.delete(series, [3, 40], axis=1)
    expected = np.mean([_direct([column], 4) for column in moving.T], axis=0)
    np.testing.assert_allclose(curve, expected, atol=1e-12)

  def test_of_an_ornstein_uhlenbeck_process(self, np_rng):
    series = [10.0 + _ornstein_uhlenbeck(np_rng, 40_000, 0.9) for _ in range(3)]
    curve, _ = kinetics.autocorrelation(series, num_lags=40)
    np.testing.assert_allclose(curve, 0.9 ** np.arange(41), atol=0.03)

  def test_of_torsions(self, np_rng):
    """Of Gaussian angles, <cos(phi(t) - phi(t + k))> = exp(C(k) - 1) at unit variance."""
    angles = np.stack([_ornstein_uhlenbeck(np_rng, 60_000, 0.95) for _ in range(4)], axis=-1)
    wrapped = np.angle(np.exp(1j * (angles + np.array([0.0, 3.0, 1.0, -2.0]))))
    wrapped = np.concatenate([wrapped, np.full((len(wrapped), 1), np.nan)], axis=1)
    curve, _ = kinetics.torsion_autocorrelation([wrapped.astype(np.float32)], num_lags=60)
    decay = 0.95 ** np.arange(61)
    baseline = np.exp(-1.0)
    np.testing.assert_allclose(
      curve, (np.exp(decay - 1.0) - baseline) / (1.0 - baseline), atol=0.03
    )
    # MDGen's form of it.
    cosine = [
      np.mean(np.cos(wrapped[k:, :4] - wrapped[: len(wrapped) - k, :4]), axis=0) for k in range(61)
    ]
    rest = np.abs(np.exp(1j * wrapped[:, :4]).mean(axis=0)) ** 2
    np.testing.assert_allclose(curve, np.mean((cosine - rest) / (1.0 - rest), axis=1), atol=3e-3)

  def test_torsions_may_be_turned(self, np_rng):
    angles = np_rng.normal(size=(50, 3))
    turned = np.angle(np.exp(1j * (angles + 3.0)))
    np.testing.assert_allclose(
      kinetics.torsion_autocorrelation([turned])[0],
      kinetics.torsion_autocorrelation([angles])[0],
      atol=1e-12,
    )

  def test_error(self, np_rng):
    series = [_ornstein_uhlenbeck(np_rng, 200, 0.9)]
    curve, _ = kinetics.autocorrelation(series)
    assert kinetics.autocorrelation_error(curve, curve, _GRID) == (0.0, None)
    # Every other frame of the same curve.
    grid = kinetics.TimeGrid(2.0, prediction_stride=1, reference_stride=2)
    assert kinetics.autocorrelation_error(curve[::2], curve, grid) == (0.0, None)
    a, b = np.array([1.0, 0.5, 0.2]), np.array([1.0, 9.0, 0.1, 9.0, 0.3, 9.0, 0.0])
    value, _ = kinetics.autocorrelation_error(a, b, grid)
    assert value == pytest.approx((0.4 + 0.1) / 2)
    reference = kinetics.TimeGrid(2.0, prediction_stride=2, reference_stride=1)
    assert kinetics.autocorrelation_error(b, a, reference)[0] == pytest.approx(value)

  def test_reasons(self):
    for series, num_lags, why in (
      ([np.arange(3.0)], None, '3 frames are too few'),
      ([], None, '0 frames are too few'),
      ([np.arange(5.0)], 5, '5 frames are too few for 5 lags'),
      ([np.full((10, 2), 4.0)], None, 'nothing moves'),
      ([np.full((10, 2), np.nan)], None, 'nothing moves'),
      ([np.zeros((10, 0))], None, 'nothing moves'),
    ):
      curve, reason = kinetics.autocorrelation(series, num_lags)
      assert curve is None
      assert why in reason
    grid = kinetics.TimeGrid(9.0, prediction_stride=9)
    value, reason = kinetics.autocorrelation_error(np.ones(5), np.ones(5), grid)
    assert value is None
    assert 'do not reach 9 ns' in reason


class TestCaDistances:
  def test_small_protein(self, np_rng):
    positions = np_rng.normal(size=(3, 5, 4, 3))
    ca = positions[:, :, 1]
    expected = [np.linalg.norm(ca[:, i] - ca[:, j], axis=-1) for i, j in ((0, 3), (0, 4), (1, 4))]
    np.testing.assert_allclose(kinetics.ca_distances(positions), np.transpose(expected), rtol=1e-6)
    assert kinetics.ca_distances(positions[:, :3]).shape == (3, 0)

  def test_number_is_limited_and_motion_of_the_whole_is_not_seen(self, np_rng):
    positions = peptides.helix(200)[None, :, :4] + np_rng.normal(size=(2, 200, 4, 3))
    features = kinetics.ca_distances(positions)
    assert features.shape == (2, 190)
    rotation, shift = builders.random_motion(seed=4)
    moved = kinetics.ca_distances(positions @ rotation.T + shift)
    np.testing.assert_allclose(moved, features, rtol=1e-5)


class TestSlowCoordinates:
  def _mixed(self, rng, num_frames):
    """Three hidden coordinates, slow to fast, seen through eight features."""
    hidden = np.stack([_ornstein_uhlenbeck(rng, num_frames, a) for a in (0.98, 0.8, 0.1)], axis=-1)
    return hidden, hidden * [1.0, 2.0, 10.0] @ np.random.default_rng(0).normal(size=(3, 8)) + 5.0

  def test_finds_the_slow_ones(self, np_rng):
    hidden, features = self._mixed(np_rng, 20_000)
    fitted, reason = kinetics.slow_coordinates([features[:12_000], features[12_000:]], lag=5)
    assert reason is None
    slow = fitted.transform(features)
    assert slow.shape == (20_000, 3)
    np.testing.assert_allclose(slow.var(axis=0), 1.0, atol=0.01)
    for k in range(2):
      assert abs(np.corrcoef(slow[:, k], hidden[:, k])[0, 1]) > 0.99

  def test_agrees_with_deeptime(self, np_rng):
    from deeptime.decomposition import TICA

    _, features = self._mixed(np_rng, 2_000)
    features = features[:, :3]
    fitted, _ = kinetics.slow_coordinates([features], lag=3)
    model = TICA(lagtime=3, scaling=None).fit_from_timeseries(features).fetch_model()
    ours, theirs = fitted.transform(features), model.transform(features)
    ours, theirs = (x - x.mean(axis=0) for x in (ours, theirs))
    sign = np.sign(np.sum(ours * theirs, axis=0))
    np.testing.assert_allclose(ours * sign, theirs, atol=1e-6)
    # A time scale does not depend on the basis.
    expected = np.sort(model.timescales()[model.singular_values > 0.0])[::-1]
    scales, _ = kinetics.tica_time_scales([fitted.transform(features)], lag=3)
    np.testing.assert_allclose(scales, expected, rtol=1e-6)

  def test_number_of_components_grows_with_the_data(self, np_rng):
    noise = np_rng.normal(size=(25, 8))
    fitted, _ = kinetics.slow_coordinates([noise], lag=1)
    assert fitted.weights.shape == (8, 2)

  def test_reasons(self, np_rng):
    noise = np_rng.normal(size=(30, 8))
    for features, lag, why in (
      ([noise[:10]], 1, '9 pairs of frames 1 frames apart are too few'),
      ([noise], 30, '0 pairs'),
      ([np.full((30, 8), 5.0)], 1, 'no distance between residues varies'),
      ([np.zeros((30, 0))], 1, 'no distance between residues'),
      # What moves is shorter than the lag.
      ([np.full((30, 8), 5.0), noise[:5]], 5, 'no distance between residues varies'),
    ):
      fitted, reason = kinetics.slow_coordinates(features, lag)
      assert fitted is None
      assert why in reason


class TestTimeScales:
  def test_tica_of_known_processes(self, np_rng):
    decays = np.array([0.98, 0.9])
    series = [
      np.stack([_ornstein_uhlenbeck(np_rng, 100_000, a) for a in decays], axis=-1) for _ in range(2)
    ]
    scales, reason = kinetics.tica_time_scales([series[0], series[1], np.zeros((2, 2))], lag=4)
    assert reason is None
    np.testing.assert_allclose(scales, -1.0 / np.log(decays), rtol=0.05)

  def test_msm_of_a_two_state_chain(self, np_rng):
    chains = [_two_states(np_rng, 50_000, 0.02, 0.05) for _ in range(2)]
    scales, reason = kinetics.msm_time_scales([*chains, chains[0][:2]], lag=3)
    assert reason is None
    # Two states are reversible whatever the counts.
    counts = sum(np.histogram2d(x[:-3], x[3:], bins=2)[0] for x in chains)
    matrix = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scales, [-3.0 / np.log(np.trace(matrix) - 1.0)], rtol=1e-4)
    np.testing.assert_allclose(scales, [-1.0 / np.log(1.0 - 0.02 - 0.05)], rtol=0.05)

  def test_msm_leaves_out_what_is_not_connected(self, np_rng):
    chain = _two_states(np_rng, 5_000, 0.1, 0.1)
    alone, _ = kinetics.msm_time_scales([chain], lag=1)
    with_others, _ = kinetics.msm_time_scales([chain, np.full(300, 5), np.array([2, 0])], lag=1)
    np.testing.assert_allclose(with_others, alone, rtol=0.01)

  def test_reasons(self):
    still, alternating = np.zeros((50, 2)), np.tile([[1.0], [-1.0]], (25, 1))
    for (scales, reason), why in (
      (kinetics.tica_time_scales([still[:5]], 1), '4 pairs of frames'),
      (kinetics.tica_time_scales([still], 1), 'nothing moves'),
      (kinetics.tica_time_scales([alternating], 1), 'no eigenvalue is between 0 and 1'),
      (kinetics.msm_time_scales([np.zeros(50, int)], 1), 'no two states'),
      (kinetics.msm_time_scales([np.arange(50)], 1), 'no two states'),
      (kinetics.msm_time_scales([np.arange(5)], 5), 'no replica is longer than the lag'),
      (kinetics.msm_time_scales([np.arange(50) % 2], 1), 'no eigenvalue is between 0 and 1'),
    ):
      assert scales is None
      assert why in reason


class TestMicrostates:
  def test_nearest_center(self, np_rng):
    points = np_rng.normal(size=(300, 2))
    centers = kinetics.microstate_centers([points[:100], points[100:]])
    assert centers.shape == (30, 2)
    distance = np.linalg.norm(points[:, None] - centers, axis=-1)
    np.testing.assert_array_equal(kinetics.microstates(points, centers), distance.argmin(axis=1))
    np.testing.assert_array_equal(kinetics.microstate_centers([points]), centers)


class TestSlowDynamics:
  def _features(self, rng, num_frames, decay=0.95):
    hidden = [_ornstein_uhlenbeck(rng, num_frames, a) for a in (decay, 0.5, 0.1)]
    return np.stack(hidden, axis=-1) @ np.random.default_rng(0).normal(size=(3, 6)) + 10.0

  def test_of_the_reference_itself(self, np_rng):
    features = [self._features(np_rng, 400) for _ in range(2)]
    found, reason = kinetics.slow_dynamics(features, features, kinetics.TimeGrid(0.5))
    assert reason is None
    assert found.notes == ()
    assert found.lag_ns == 10.0
    assert found.autocorrelation_error == 0.0
    np.testing.assert_array_equal(*found.tica_time_scales)
    np.testing.assert_array_equal(*found.msm_time_scales)
    np.testing.assert_array_equal(found.coordinates[0], found.coordinates[1])

  def test_time_step_only_scales(self, np_rng):
    prediction = [self._features(np_rng, 300)]
    reference = [self._features(np_rng, 400)]
    one, _ = kinetics.slow_dynamics(prediction, reference, kinetics.TimeGrid(1.0))
    two, _ = kinetics.slow_dynamics(prediction, reference, kinetics.TimeGrid(2.0))
    for k in range(2):
      np.testing.assert_allclose(2.0 * one.tica_time_scales[k], two.tica_time_scales[k])
      np.testing.assert_allclose(2.0 * one.msm_time_scales[k], two.msm_time_scales[k])

  def test_time_steps_may_differ(self, np_rng):
    """The same process, seen every fifth time; its slowest time scale is 19.5 frames."""
    # Short replicas: the lag is a twentieth of one, and must be as long as the process.
    reference = [self._features(np_rng, 400) for _ in range(100)]
    prediction = [self._features(np_rng, 400)[::5] for _ in range(100)]
    grid, _ = kinetics.time_grid(0.5, 0.1)
    found, _ = kinetics.slow_dynamics(prediction, reference, grid)
    assert found.lag_ns == pytest.approx(2.0)
    expected = -0.1 / np.log(0.95)
    for k in range(2):
      assert found.tica_time_scales[k][0] == pytest.approx(expected, rel=0.1)
      assert found.msm_time_scales[k][0] == pytest.approx(expected, rel=0.2)
    assert found.autocorrelation_error < 0.05

  def test_deterministic(self, np_rng):
    features = [self._features(np_rng, 300)]
    one, two = (kinetics.slow_dynamics(features, features, _GRID)[0] for _ in range(2))
    np.testing.assert_array_equal(one.msm_time_scales[0], two.msm_time_scales[0])

  def test_what_is_missing_is_said(self, np_rng):
    reference = [self._features(np_rng, 300)]
    still = [np.repeat(reference[0][:1], 100, axis=0)]
    found, _ = kinetics.slow_dynamics(still, reference, _GRID)
    assert found.autocorrelation[0] is None
    assert found.autocorrelation_error is None
    assert found.tica_time_scales[0] is None
    assert found.msm_time_scales[0] is None
    assert found.tica_time_scales[1] is not None
    assert len(found.notes) == 3
    assert all('prediction' in note for note in found.notes)
    found, reason = kinetics.slow_dynamics(reference, still, _GRID)
    assert found is None
    assert 'no distance' in reason

  @pytest.mark.parametrize('num_reference', [2, 5, 11, 20, 60])
  @pytest.mark.parametrize('num_prediction', [2, 3, 7, 30])
  def test_short_data_neither_fails_nor_gives_nan(self, np_rng, num_prediction, num_reference):
    for scale in (0.0, 1e-6, 1.0, 1e3):
      prediction = [10.0 + scale * np_rng.normal(size=(num_prediction, 6)).astype(np.float32)]
      reference = [self._features(np_rng, num_reference) for _ in range(2)]
      with warnings.catch_warnings():
        warnings.simplefilter('error')
        found, reason = kinetics.slow_dynamics(prediction, reference, _GRID)
      assert (found is None) == bool(reason)
      if found is not None:
        values = [
          *found.coordinates[0],
          *found.autocorrelation,
          *found.tica_time_scales,
          *found.msm_time_scales,
        ]
        assert all(np.isfinite(value).all() for value in values if value is not None)
        assert len(found.notes) >= sum(value is None for value in values)


def test_without_deeptime_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'deeptime.decomposition', None)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[evaluate\]'"):
    kinetics.slow_coordinates([np.random.default_rng(0).normal(size=(100, 2))], 1)

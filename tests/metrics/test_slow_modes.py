import numpy as np
import pytest
import scipy.signal
from deeptime import decomposition

from tempo_jax.metrics import kinetics, slow_modes

_GRID = kinetics.TimeGrid(dt_ns=1.0)
_DECAY = (0.99, 0.95, 0.5)


def _processes(rng, frames, num=3):
  """[F, num] independent Ornstein-Uhlenbeck processes of unit variance."""
  columns = []
  for decay in _DECAY[:num]:
    noise = np.sqrt(1.0 - decay**2) * rng.normal(size=frames)
    noise[0] = rng.normal()
    columns.append(scipy.signal.lfilter([1.0], [1.0, -decay], noise))
  return np.stack(columns, axis=1)


def _residues(rng, frames, profiles, noise=0.05):
  """[F, L, 3] Å of residues that take part in slow processes, as `profiles` [processes, L] say."""
  slow = _processes(rng, frames, len(profiles))
  direction = np.array([0.6, 0.0, 0.8])
  moved = (slow @ profiles)[..., None] * direction
  return moved + noise * rng.normal(size=moved.shape)


class TestFit:
  def test_is_that_of_deeptime(self, np_rng):
    mixing = np_rng.normal(size=(3, 6))
    series = [_processes(np_rng, n) @ mixing for n in (900, 700)]
    found, reason = slow_modes.fit(series, 4)
    assert reason is None
    model = decomposition.TICA(lagtime=4, scaling=None).fit_from_timeseries(series).fetch_model()
    np.testing.assert_allclose(found.eigenvalues[:3], model.singular_values[:3], rtol=1e-6)
    projected = (series[0] - found.mean) @ found.weights[:, :3]
    theirs = model.transform(series[0])[:, :3]
    signs = np.sign(np.sum(projected * theirs, axis=0))
    np.testing.assert_allclose(projected, signs * theirs, atol=1e-5)

  def test_finds_known_time_scales(self, np_rng):
    series = [_processes(np_rng, 60_000) @ np_rng.normal(size=(3, 5))]
    found, _ = slow_modes.fit(series, 10)
    np.testing.assert_allclose(found.eigenvalues[:2], [0.99**10, 0.95**10], atol=0.03)

  def test_what_alternates_does_not_lead(self, np_rng):
    alternating = np.where(np.arange(2_000) % 2, 1.0, -1.0) + 0.1 * np_rng.normal(size=2_000)
    slow = _processes(np_rng, 2_000, 1)[:, 0]
    found, _ = slow_modes.fit([np.stack([alternating, slow], axis=1)], 1)
    assert found.eigenvalues.shape == (1,)
    assert found.eigenvalues[0] > 0.9
    assert abs(found.weights[1, 0]) > abs(found.weights[0, 0])

  def test_pairs_do_not_cross_replicas_nor_invalid_frames(self, np_rng):
    series = [np_rng.normal(size=(n, 2)) for n in (30, 25)]
    (before, after), _ = slow_modes._pairs(series, 5, None)
    assert len(before) == 25 + 20
    np.testing.assert_array_equal(after[25:], series[1][5:])
    valid = [np.ones(30, bool), np.ones(25, bool)]
    valid[0][7] = valid[1][0] = False
    (before, _), _ = slow_modes._pairs(series, 5, valid)
    assert len(before) == 25 + 20 - 3
    assert not (before == series[0][7]).all(axis=1).any()

  def test_sees_no_more_features_than_data_carry(self, np_rng):
    noise = [np_rng.normal(size=(60, 20, 3))]
    found, _ = slow_modes.fit(noise, 5)
    assert np.linalg.matrix_rank(found.weights) <= 5  # 55 pairs.
    assert found.eigenvalues[0] < 0.9


class TestTicaCorrelation:
  def test_same_residues(self, np_rng):
    profiles = np.array([[4.0, 1.0, 0.0, 0.2, 0.0], [0.0, 3.0, 1.0, 0.0, 0.1]])
    series = [_residues(np_rng, 20_000, profiles)]
    value, reason = slow_modes.tica_correlation(series, series, _GRID, 5.0)
    assert reason is None
    assert value == pytest.approx(1.0)
    again = [_residues(np_rng, 20_000, profiles)]
    elsewhere = [_residues(np_rng, 20_000, profiles[:, ::-1])]
    close, _ = slow_modes.tica_correlation(again, series, _GRID, 5.0)
    far, _ = slow_modes.tica_correlation(elsewhere, series, _GRID, 5.0)
    assert close > 0.98
    assert far < 0.7

  def test_contributions_are_displacements(self, np_rng):
    frames = _residues(np_rng, 500, np.eye(3, 4))
    lag = 5
    modes, _ = slow_modes.fit([frames], lag)
    found = slow_modes.residue_contributions(modes, 4)
    # The frames that pairs are made of, each as often as it is in one.
    both = np.concatenate([frames[:-lag], frames[lag:]]).reshape(-1, 12)
    projected = (both - modes.mean) @ modes.weights
    np.testing.assert_allclose(projected.std(axis=0), 1.0)
    for k in range(2):
      for i in range(4):
        along = [np.mean(projected[:, k] * both[:, 3 * i + axis]) for axis in range(3)]
        assert found[k, i] == pytest.approx(np.linalg.norm(along))

  def test_lags_are_common_times(self, np_rng):
    fine = [_residues(np_rng, 400, np.eye(3, 5))]
    grid = kinetics.TimeGrid(2.0, prediction_stride=2)
    coarse = [_residues(np_rng, 300, np.eye(3, 5))]
    value, _ = slow_modes.tica_correlation(fine, coarse, grid, 6.0)
    ours, theirs = (
      slow_modes.residue_contributions(slow_modes.fit(x, lag)[0], 5)[:2]
      for x, lag in ((fine, 6), (coarse, 3))
    )
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)])
    assert value == pytest.approx(expected)

  def test_reasons(self, np_rng):
    series = [np_rng.normal(size=(40, 5, 3))]
    value, reason = slow_modes.tica_correlation([series[0][:34]], series, _GRID, 5.0)
    assert value is None
    assert reason == 'prediction: 29 pairs of valid frames 5 frames apart, fewer than 30'
    value, reason = slow_modes.tica_correlation(series, [series[0][:2]], _GRID, 5.0)
    assert value is None
    assert reason == 'reference: a lag of 5 ns is longer than the longest replica, 1 ns'
    value, reason = slow_modes.tica_correlation(series, series, _GRID, 2.5)
    assert value is None
    assert reason == 'prediction: a lag of 2.5 ns is no multiple of the 1 ns between frames'
    value, reason = slow_modes.tica_correlation(
      series, series, _GRID, 5.0, valid=[np.arange(40) % 2 == 0]
    )
    assert value is None
    assert 'prediction: 0 pairs of valid frames' in reason
    value, reason = slow_modes.tica_correlation([np.ones((40, 5, 3))], series, _GRID, 5.0)
    assert value is None
    assert reason == 'prediction: nothing moves'
    value, reason = slow_modes.tica_correlation([series[0][:, :1]], [series[0][:, :1]], _GRID, 5.0)
    assert value is None
    assert '1 residues' in reason


class TestVamp2:
  def test_is_that_of_deeptime(self, np_rng):
    series = [_processes(np_rng, n) @ np_rng.normal(size=(3, 2)) + 4.0 for n in (500, 300)]
    value, reason = slow_modes.vamp2(series, 7)
    assert reason is None
    model = decomposition.VAMP(lagtime=7, epsilon=1e-12).fit_from_timeseries(series).fetch_model()
    assert value == pytest.approx(model.score(2) - 1.0, rel=1e-6)  # Theirs counts the constant.

  def test_of_known_processes(self, np_rng):
    value, _ = slow_modes.vamp2([_processes(np_rng, 80_000, 2)], 5)
    assert value == pytest.approx(0.99**10 + 0.95**10, abs=0.03)

  def test_deviation(self, np_rng):
    a, b = ([_processes(np_rng, 300)] for _ in range(2))
    value, _ = slow_modes.vamp2_deviation(a, b, _GRID, 5.0)
    ours, theirs = (slow_modes.vamp2([x[0][:, :2]], 5)[0] for x in (a, b))
    assert value == pytest.approx(abs(ours - theirs))
    assert slow_modes.vamp2_deviation(a, a, _GRID, 5.0) == (0.0, None)

  def test_lags_are_common_times(self, np_rng):
    fine, coarse = [_processes(np_rng, 900)], [_processes(np_rng, 300)]
    for ours, theirs, grid, lags in (
      (fine, coarse, kinetics.TimeGrid(3.0, prediction_stride=3), (12, 4)),
      (coarse, fine, kinetics.TimeGrid(3.0, reference_stride=3), (4, 12)),
    ):
      value, _ = slow_modes.vamp2_deviation(ours, theirs, grid, 12.0)
      scores = [
        slow_modes.vamp2([x[0][:, :2]], lag)[0] for x, lag in zip((ours, theirs), lags, strict=True)
      ]
      assert value == pytest.approx(abs(scores[0] - scores[1]))

  def test_of_one_direction_and_of_none(self, np_rng):
    line = _processes(np_rng, 300, 1) @ np.ones((1, 2))
    value, _ = slow_modes.vamp2([line], 5)
    assert 0.0 < value <= 1.0
    value, reason = slow_modes.vamp2([np.full((300, 2), 7.7)], 5)
    assert value is None
    assert reason == 'nothing moves'
    value, reason = slow_modes.vamp2_deviation([line[:34]], [line], _GRID, 5.0)
    assert value is None
    assert 'prediction: 29 pairs' in reason
    value, reason = slow_modes.vamp2_deviation([line], [line[:9]], _GRID, 5.0)
    assert value is None
    assert 'reference: 4 pairs' in reason

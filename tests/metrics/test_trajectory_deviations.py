import numpy as np
import pytest
import scipy.signal

from tempo_jax.metrics import kinetics, trajectory_deviations

_GRID = kinetics.TimeGrid(dt_ns=1.0)


def _walk(rng, frames, residues=4):
  return 3.0 + 0.3 * np.cumsum(rng.normal(size=(frames, residues, 3)), axis=0)


def _rmsd(replicas, lag):
  """Pair by pair."""
  return np.mean(
    [
      np.sqrt(np.mean(np.sum((x[t + lag] - x[t]) ** 2, axis=-1)))
      for x in replicas
      for t in range(len(x) - lag)
    ]
  )


class TestRmsdOverLags:
  def test_is_its_definition(self, np_rng):
    # Longer than a block, and one that is no longer than the lags.
    replicas = [_walk(np_rng, n) for n in (300, 41, 20)]
    found = trajectory_deviations.rmsd_over_lags(replicas, 30)
    assert found[0] == 0.0
    for lag in (1, 2, 13, 19, 20, 30):
      assert found[lag] == pytest.approx(_rmsd(replicas, lag), rel=1e-9)

  def test_many_lags(self, np_rng):
    replicas = [_walk(np_rng, 520, residues=1)]
    found = trajectory_deviations.rmsd_over_lags(replicas, 519)
    for lag in (200, 300, 519):
      assert found[lag] == pytest.approx(_rmsd(replicas, lag), rel=1e-9)


class TestLeavesOutFrames:
  @pytest.fixture
  def replicas(self, np_rng):
    return [_walk(np_rng, n) for n in (300, 41)]

  @pytest.fixture
  def valid(self):
    masks = [np.ones(300, bool), np.ones(41, bool)]
    masks[0][100:150] = masks[1][7] = False
    return masks

  def test_rmsd(self, replicas, valid):
    found = trajectory_deviations.rmsd_over_lags(replicas, 30, valid)
    for lag in (1, 13, 30):
      every = [
        np.sqrt(np.mean(np.sum((x[t + lag] - x[t]) ** 2, axis=-1)))
        for x, mask in zip(replicas, valid, strict=True)
        for t in range(len(x) - lag)
        if mask[t] and mask[t + lag]
      ]
      assert found[lag] == pytest.approx(np.mean(every), rel=1e-9)

  def test_autocorrelation(self, replicas, valid):
    series = [x.reshape(len(x), -1) for x in replicas]
    found, _ = trajectory_deviations.component_autocorrelation(series, 30, valid)
    kept = np.concatenate([x[mask] for x, mask in zip(series, valid, strict=True)])
    mean, variance = kept.mean(axis=0), np.sum(kept.var(axis=0))
    for lag in (0, 1, 13, 30):
      every = [
        (x[t] - mean) @ (x[t + lag] - mean)
        for x, mask in zip(series, valid, strict=True)
        for t in range(len(x) - lag)
        if mask[t] and mask[t + lag]
      ]
      assert found[lag] == pytest.approx(np.mean(every) / variance, rel=1e-9)

  def test_of_strided_frames(self, replicas, valid):
    grid = kinetics.TimeGrid(2.0, prediction_stride=2)
    sparse = [x[::2] for x in replicas], [mask[::2] for mask in valid]
    for measure in (
      trajectory_deviations.rmsd_deviation,
      lambda a, b, *rest: trajectory_deviations.autocorrelation_deviation(
        *([x.reshape(len(x), -1) for x in side] for side in (a, b)), *rest
      ),
    ):
      found, _ = measure(replicas, replicas[1:], grid, valid)
      expected, _ = measure(sparse[0], replicas[1:], _GRID, sparse[1])
      assert found == pytest.approx(expected) != 0.0

  def test_the_reference_is_looked_at_once(self, replicas, valid):
    kept = {}

    def once(key, compute):
      if key not in kept:
        kept[key] = compute()
      return kept[key]

    first, again = (
      trajectory_deviations.rmsd_deviation(replicas[:1], replicas[1:], _GRID, masks, once)
      for masks in (None, valid[:1])
    )
    assert len(kept) == 1
    assert first == trajectory_deviations.rmsd_deviation(replicas[:1], replicas[1:], _GRID)
    assert again != first


class TestRmsdDeviation:
  def test_is_a_mean_over_lags(self, np_rng):
    a, b = [_walk(np_rng, 50)], [_walk(np_rng, 90), _walk(np_rng, 81)]
    grid = kinetics.TimeGrid(2.0, prediction_stride=1, reference_stride=2)
    value, reason = trajectory_deviations.rmsd_deviation(a, b, grid)
    assert reason is None
    coarse = [x[::2] for x in b]  # 45 and 41 frames: 22 lags.
    expected = np.mean([abs(_rmsd(a, lag) - _rmsd(coarse, lag)) for lag in range(1, 23)])
    assert value == pytest.approx(expected)

  def test_against_itself(self, np_rng):
    a = [_walk(np_rng, 50)]
    assert trajectory_deviations.rmsd_deviation(a, a, _GRID) == (0.0, None)

  def test_sees_the_order_of_frames(self, np_rng):
    a = [_walk(np_rng, 200)]
    shuffled = [np_rng.permutation(a[0])]
    assert trajectory_deviations.rmsd_deviation(shuffled, a, _GRID)[0] > 0.3


class TestAutocorrelationDeviation:
  def test_is_its_definition(self, np_rng):
    a = [np.cumsum(np_rng.normal(size=(n, 3)), axis=0) for n in (40, 36)]
    b = [np.cumsum(np_rng.normal(size=(44, 3)), axis=0)]
    value, reason = trajectory_deviations.autocorrelation_deviation(a, b, _GRID)
    assert reason is None
    curves = []
    for replicas in (a, b):
      pooled = np.concatenate(replicas)
      mean, square = pooled.mean(axis=0), np.mean(np.sum((pooled - pooled.mean(axis=0)) ** 2, -1))
      curves.append(
        [
          np.mean([(x[t] - mean) @ (x[t + k] - mean) for x in replicas for t in range(len(x) - k)])
          / square
          for k in range(1, 21)
        ]
      )
    assert value == pytest.approx(np.mean(np.abs(np.subtract(*curves))), rel=1e-9)

  def test_of_known_processes(self, np_rng):
    series = []
    for decay in (0.5, 0.9):
      noise = np.sqrt(1.0 - decay**2) * np_rng.normal(size=(40_000, 4))
      series.append([scipy.signal.lfilter([1.0], [1.0, -decay], noise, axis=0)[:, None]])
    curves = [trajectory_deviations.component_autocorrelation([x[0][:, 0]], 20)[0] for x in series]
    for curve, decay in zip(curves, (0.5, 0.9), strict=True):
      np.testing.assert_allclose(curve, decay ** np.arange(21.0), atol=0.05)

  def test_against_itself(self, np_rng):
    a = [np_rng.normal(size=(50, 2))]
    assert trajectory_deviations.autocorrelation_deviation(a, a, _GRID) == (0.0, None)


@pytest.mark.parametrize(
  'measure',
  [trajectory_deviations.rmsd_deviation, trajectory_deviations.autocorrelation_deviation],
)
def test_below_thirty_pairs_there_is_no_number(np_rng, measure):
  long = [_walk(np_rng, 80)] if 'rmsd' in measure.__name__ else [np_rng.normal(size=(80, 2))]
  value, reason = measure([long[0][:30]], long, _GRID)
  assert value is None
  assert reason == 'prediction: 29 pairs of frames 1 ns apart, fewer than 30'
  assert measure([long[0][:31]], long, _GRID)[1] is None
  value, reason = measure(long, [long[0][:2]], _GRID)
  assert value is None
  assert 'reference: 1 pairs' in reason


def test_what_rests_has_no_autocorrelation(np_rng):
  rests, moves = [np.ones((80, 2))], [np_rng.normal(size=(80, 2))]
  for pair, who in (((rests, moves), 'prediction'), ((moves, rests), 'reference')):
    value, reason = trajectory_deviations.autocorrelation_deviation(*pair, _GRID)
    assert value is None
    assert reason == f'{who}: nothing moves'


class TestDynamicContent:
  def test_is_a_correlation_of_amplitudes(self, np_rng):
    ours = [scale * _walk(np_rng, 12) for scale in (1.0, 2.0, 3.0, 4.0)]
    theirs = [scale * _walk(np_rng, 12) for scale in (1.0, 2.0, 3.0, 4.0)]
    found = trajectory_deviations.dynamic_content(ours, theirs, _GRID)
    assert found.notes == ()

    def distance(x, y):
      return np.sqrt(np.mean(np.sum((x - y) ** 2, axis=-1)))

    amplitudes = [
      [[distance(x[t], x[0]) for t in range(1, 12)] for x in side] for side in (ours, theirs)
    ]
    steps = [
      [[distance(x[t], x[t - 1]) for t in range(1, 12)] for x in side] for side in (ours, theirs)
    ]
    assert found.frame == pytest.approx(np.corrcoef(*(np.ravel(x) for x in amplitudes))[0, 1])
    assert found.step == pytest.approx(np.corrcoef(*(np.ravel(x) for x in steps))[0, 1])
    means = [np.mean(x, axis=1) for x in amplitudes]
    assert found.trajectory == pytest.approx(np.corrcoef(*means)[0, 1])

  def test_against_itself_at_common_times(self, np_rng):
    coarse = [_walk(np_rng, 15) for _ in range(3)]
    fine = [np.repeat(x, 2, axis=0) for x in coarse]
    grid = kinetics.TimeGrid(2.0, prediction_stride=2)
    found = trajectory_deviations.dynamic_content(fine, coarse, grid)
    assert (found.trajectory, found.frame, found.step) == pytest.approx((1.0, 1.0, 1.0))

  def test_takes_principal_components(self, np_rng):
    series = [np.cumsum(np_rng.normal(size=(40, 2)), axis=0) for _ in range(3)]
    assert trajectory_deviations.dynamic_content(series, series, _GRID).frame == pytest.approx(1.0)

  def test_reasons(self, np_rng):
    long = [_walk(np_rng, 40)]
    found = trajectory_deviations.dynamic_content(long, long, _GRID)
    assert found.trajectory is None
    assert found.frame == pytest.approx(1.0)
    assert found.notes == ('over trajectories: 1 of them, fewer than 3',)
    found = trajectory_deviations.dynamic_content(long, [long[0][:2]], _GRID)
    assert (found.trajectory, found.frame, found.step) == (None, None, None)
    assert '1 pairs of frames, fewer than 30' in found.notes[0]
    rests = [np.ones((40, 4, 3))] * 3
    found = trajectory_deviations.dynamic_content(rests, long * 3, _GRID)
    assert (found.trajectory, found.frame, found.step) == (None, None, None)
    assert all('does not vary' in note for note in found.notes)
    found = trajectory_deviations.dynamic_content(long, long * 2, _GRID)
    assert found.notes == ('prediction and MD have no common starts',)

import itertools

import numpy as np
import pytest
import scipy.signal
import scipy.stats

from tempo_jax.metrics import uncertainty


def _ornstein_uhlenbeck(rng, shape, decay):
  """[..., F] of unit variance: C(k) = decay^k, g = (1 + decay) / (1 - decay)."""
  noise = np.sqrt(1.0 - decay**2) * rng.normal(size=shape)
  noise[..., 0] = rng.normal(size=shape[:-1])
  return scipy.signal.lfilter([1.0], [1.0, -decay], noise, axis=-1)


def _pymbar(x):
  """Chodera's g, as its code has it: lag by lag, in float64."""
  num, deviation = len(x), x - x.mean()
  g, t = 1.0, 1
  while t < num - 1:
    c = np.sum(deviation[: num - t] * deviation[t:]) / ((num - t) * np.mean(deviation**2))
    if c <= 0.0 and t > 3:
      break
    g += 2.0 * c * (1.0 - t / num)
    t += 1
  return max(1.0, g)


def _true_inefficiency(num_frames, decay):
  """g of the mean of so many frames of such a process, by the definition."""
  lags = np.arange(1, num_frames)
  return 1.0 + 2.0 * np.sum((1.0 - lags / num_frames) * decay**lags)


class TestStatisticalInefficiency:
  @pytest.mark.parametrize('decay', [0.0, 0.5, 0.9])
  def test_is_choderas(self, np_rng, decay):
    x = _ornstein_uhlenbeck(np_rng, (700,), decay)
    found, reason = uncertainty.statistical_inefficiency([5.0 + x])
    assert reason is None
    assert found == pytest.approx(_pymbar(x), rel=1e-9)

  @pytest.mark.parametrize('decay', [0.5, 0.9, 0.98])
  def test_of_a_known_process(self, np_rng, decay):
    replicas = list(_ornstein_uhlenbeck(np_rng, (4, 50_000), decay))
    found, _ = uncertainty.statistical_inefficiency(replicas)
    assert found == pytest.approx((1.0 + decay) / (1.0 - decay), rel=0.15)

  def test_is_never_below_one(self, np_rng):
    x = np.tile([1.0, -1.0], 50) + 0.1 * np_rng.normal(size=100)
    assert uncertainty.statistical_inefficiency([x])[0] == 1.0

  @pytest.mark.parametrize(
    ('series', 'why'),
    [([], '0 frames'), ([np.arange(2.0)], '2 frames'), ([np.ones(50)], 'nothing moves')],
  )
  def test_reasons(self, series, why):
    found, reason = uncertainty.statistical_inefficiency(series)
    assert found is None
    assert why in reason


class TestMeanError:
  @pytest.mark.parametrize('decay', [0.0, 0.8, 0.95])
  def test_is_the_spread_of_means(self, np_rng, decay):
    runs = _ornstein_uhlenbeck(np_rng, (200, 1_000), decay)
    true = np.sqrt(_true_inefficiency(1_000, decay) / 1_000)
    errors = np.array([uncertainty.mean_error([x])[0].error for x in runs])
    assert errors.mean() == pytest.approx(true, rel=0.1)
    covered = np.mean(np.abs(runs.mean(axis=1)) < 2.0 * errors)
    assert 0.88 <= covered <= 0.99

  def test_of_replicas(self, np_rng):
    runs = list(_ornstein_uhlenbeck(np_rng, (5, 400), 0.8))
    found, reason = uncertainty.mean_error(runs)
    assert reason is None
    assert found.error == pytest.approx(np.sqrt(9.0 / 2_000), rel=0.2)
    assert found.num_independent == pytest.approx(2_000 / found.inefficiency)

  @pytest.mark.parametrize(
    ('series', 'why'),
    [
      ([np.arange(2.0)], '2 frames'),
      ([np.zeros(50)], 'nothing moves'),
      ([np.arange(40.0)], 'worth'),
    ],
  )
  def test_reasons(self, series, why):
    found, reason = uncertainty.mean_error(series)
    assert found is None
    assert why in reason


class TestBlockError:
  @pytest.mark.parametrize('decay', [0.0, 0.8, 0.95])
  def test_is_the_spread_of_means(self, np_rng, decay):
    """Of 200 runs of a process whose error is known, it is right on average, and for nearly all."""
    num_frames = 4_000
    runs = _ornstein_uhlenbeck(np_rng, (200, num_frames), decay)
    g = _true_inefficiency(num_frames, decay)
    true = np.sqrt(g / num_frames)
    found = [uncertainty.block_error([x])[0] for x in runs]
    errors = np.array([x.error for x in found])
    assert errors.mean() == pytest.approx(true, rel=0.1)
    assert np.all(errors > 0.5 * true)
    assert np.mean([x.inefficiency for x in found]) == pytest.approx(g, rel=0.15)
    # Two standard errors hold the true mean, 0, as often as they should.
    covered = np.mean(np.abs(runs.mean(axis=1)) < 2.0 * errors)
    assert 0.88 <= covered <= 0.99

  def test_blocks_end_with_replicas(self, np_rng):
    """A jump between replicas is no correlation within them."""
    runs = list(_ornstein_uhlenbeck(np_rng, (4, 2_000), 0.8))
    pooled, _ = uncertainty.block_error([np.concatenate(runs)])
    apart, _ = uncertainty.block_error(runs)
    assert apart.error == pytest.approx(pooled.error, rel=0.3)
    assert apart.num_blocks * apart.block_length <= 8_000

  def test_of_independent_frames_is_that_of_every_textbook(self, np_rng):
    x = np_rng.normal(size=400)
    found, _ = uncertainty.block_error([x])
    assert found.block_length * found.num_blocks <= 400
    assert found.error == pytest.approx(x.std(ddof=1) / 20.0, rel=0.3)

  @pytest.mark.parametrize(
    ('series', 'why'),
    [
      ([np.arange(2.0)], '2 frames'),
      ([np.full(50, 3.3)], 'constant'),
      ([np.zeros(50)], 'constant'),
      ([np.arange(20.0)], 'correlation time'),  # A drift never ends.
    ],
  )
  def test_reasons(self, series, why):
    found, reason = uncertainty.block_error(series)
    assert found is None
    assert why in reason


class TestBootstrap:
  @pytest.mark.parametrize('num', [2, 3, 5])
  def test_of_few_replicas_is_exact(self, np_rng, num):
    values = np_rng.normal(size=num).tolist()
    found, reason = uncertainty.bootstrap(lambda x: float(np.mean(x)), values)
    assert reason is None
    draws = [np.mean(draw) for draw in itertools.product(values, repeat=num)]
    assert found.standard_error == pytest.approx(np.std(draws) * np.sqrt(num / (num - 1)))
    # Of a mean, that is the standard error of every textbook.
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(num))
    assert found.low == pytest.approx(np.percentile(draws, 2.5))
    assert found.high == pytest.approx(np.percentile(draws, 97.5))
    assert found.num_drawn_from == num

  def test_of_many_is_drawn(self, np_rng):
    values = np_rng.normal(size=40).tolist()
    found, _ = uncertainty.bootstrap(lambda x: float(np.mean(x)), values, seed=1)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(40), rel=0.1)
    again, _ = uncertainty.bootstrap(lambda x: float(np.mean(x)), values, seed=1)
    other, _ = uncertainty.bootstrap(lambda x: float(np.mean(x)), values, seed=2)
    assert again == found
    assert other != found

  def test_takes_arrays(self, np_rng):
    replicas = [np_rng.normal(size=(n, 2)) for n in (5, 7, 9)]
    found, _ = uncertainty.bootstrap(lambda x: float(np.concatenate(x).max()), replicas)
    assert found.high == pytest.approx(max(x.max() for x in replicas))

  def test_reasons(self):
    assert 'no spread' in uncertainty.bootstrap(lambda x: 1.0, [1.0])[1]
    assert 'no replica' in uncertainty.bootstrap(lambda x: 1.0, [])[1]
    found, reason = uncertainty.bootstrap(lambda x: None if 1 in x else 1.0, [1, 2, 3])
    assert found is None
    assert reason == '19 of 27 draws have no value'
    found, _ = uncertainty.bootstrap(lambda x: float('nan') if x == [1, 1, 1] else 2.0, [1, 2, 3])
    assert found.standard_error == 0.0


class TestBootstrapOfProteins:
  def test_of_a_mean_and_a_median(self, np_rng):
    values = np_rng.normal(size=101)
    mean, _ = uncertainty.bootstrap_values(values, np.mean)
    assert mean.standard_error == pytest.approx(values.std(ddof=1) / np.sqrt(101), rel=0.1)
    median, _ = uncertainty.bootstrap_values([*values, None, float('nan')])
    assert median.num_drawn_from == 101
    assert median.low < np.median(values) < median.high
    assert median.standard_error == pytest.approx(np.sqrt(np.pi / 2 / 101), rel=0.4)

  def test_reasons(self):
    found, reason = uncertainty.bootstrap_values([1.0, None, None])
    assert found is None
    assert '1 of 3' in reason
    assert uncertainty.bootstrap_values([])[0] is None


class TestBlockBootstrap:
  def test_of_a_mean_is_the_block_error(self, np_rng):
    replicas = list(_ornstein_uhlenbeck(np_rng, (2, 4_000), 0.9))
    series = np.concatenate(replicas)
    found, reason = uncertainty.block_bootstrap(
      lambda frames: float(series[frames].mean()), [4_000, 4_000], 100, num_draws=300
    )
    assert reason is None
    true = np.sqrt(19.0 / 8_000)
    assert found.standard_error == pytest.approx(true, rel=0.25)

  def test_blocks_are_successive_frames_of_one_replica(self):
    drawn = []
    lengths = [30, 7, 23]  # The second is shorter than a block.
    uncertainty.block_bootstrap(lambda frames: drawn.append(frames) or 0.0, lengths, 7)
    of = np.repeat([0, 1, 2], lengths)
    for frames in drawn:
      assert len(frames) == 60
      for first in range(0, 60, 7):
        block = frames[first : first + 7]
        assert np.all(np.diff(block) == 1)
        assert len(set(of[block])) == 1
    assert {0, 59} <= set(np.concatenate(drawn).tolist())

  def test_reasons(self):
    found, reason = uncertainty.block_bootstrap(lambda frames: 1.0, [29], 6)
    assert found is None
    assert 'too few' in reason
    found, reason = uncertainty.block_bootstrap(lambda frames: 1.0, [3] * 30, 6)
    assert found is None
    assert 'no replica' in reason


class TestParts:
  def test_of_a_mean_both_are_the_standard_error(self, np_rng):
    parts = np_rng.normal(size=(6, 50))
    expected = scipy.stats.sem(parts.mean(axis=1))
    assert uncertainty.section_error(parts.mean(axis=1)) == pytest.approx(expected)
    without = [np.delete(parts, k, axis=0).mean() for k in range(6)]
    assert uncertainty.jackknife_error(without) == (pytest.approx(expected), None)

  def test_jackknife_is_its_definition(self, np_rng):
    parts = np_rng.normal(size=(5, 40))
    without = np.array([np.delete(parts, k, axis=0).var() for k in range(5)])
    expected = np.sqrt(4.0 / 5.0 * np.sum((without - without.mean()) ** 2))
    assert uncertainty.jackknife_error(without) == (pytest.approx(expected), None)

  def test_a_number_that_no_part_changes_has_no_error(self):
    for value in (1.0, 0.0, -3.0):
      found, reason = uncertainty.jackknife_error([value] * 5)
      assert found is None
      assert 'no part changes it' in reason

  @pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.98, 1.0])
  def test_error_of_a_share_covers_it(self, np_rng, share):
    """Shares of 100 frames, of which most are at or near the bound: two errors hold the truth."""
    shares = np_rng.binomial(100, share, 4_000) / 100.0
    errors = np.array([uncertainty.share_error(x, 100.0) for x in shares])
    assert np.mean(np.abs(shares - share) <= 2.0 * errors) > 0.93
    # Never 0, and little more than the scatter: that of a share of at least 3.5 %.
    scatter = np.sqrt(share * (1.0 - share) / 100.0)
    assert 0.95 * scatter < errors.mean() < max(1.05 * scatter, 0.0185 + 1e-3)
    assert errors.min() > 0.013

  @pytest.mark.parametrize(('inefficiencies', 'share'), [(1.0, 0.73), (2.5, 0.89)])
  def test_short_parts_make_errors_too_small(self, np_rng, inefficiencies, share):
    """By as much as the docstring says, of four parts."""
    decay = 0.95
    length = int(inefficiencies * (1.0 + decay) / (1.0 - decay))
    runs = _ornstein_uhlenbeck(np_rng, (2_000, 4 * length), decay)
    parts = runs.reshape(2_000, 4, length).mean(axis=2)
    found = np.sqrt(np.mean([uncertainty.section_error(x) ** 2 for x in parts]))
    true = np.sqrt(_true_inefficiency(4 * length, decay) / (4 * length))
    assert found / true == pytest.approx(share, abs=0.04)


def test_what_is_noise():
  assert uncertainty.is_noise(0.1, 0.2)
  assert uncertainty.is_noise(-0.1, 0.2)
  assert not uncertainty.is_noise(-0.2, 0.1)
  assert uncertainty.text(0.123, 0.031) == '0.12 ± 0.03'
  assert uncertainty.text(0.02, 0.05) == '0.02 ± 0.05 (noise)'
  assert uncertainty.text(None, 0.05) == '-'
  assert uncertainty.text(1.0, None, 1) == '1.0'

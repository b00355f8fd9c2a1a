import numpy as np
import pytest
import scipy.signal

from tempo_jax.metrics import tica


def _ornstein_uhlenbeck(rng, num_frames, decay):
  """[F] of unit variance: C(k) = decay^k; also for negative decays."""
  noise = np.sqrt(1.0 - decay**2) * rng.normal(size=num_frames)
  noise[0] = rng.normal()
  return scipy.signal.lfilter([1.0], [1.0, -decay], noise)


def _mixed(rng, num_frames, decays, num_features=5):
  hidden = np.stack([_ornstein_uhlenbeck(rng, num_frames, a) for a in decays], axis=-1)
  mixing = np.random.default_rng(0).normal(size=(len(decays), num_features))
  return hidden, hidden @ mixing + 5.0


class TestFit:
  def test_of_ornstein_uhlenbeck_processes(self, np_rng):
    decays = np.array([0.98, 0.9, 0.5])
    hidden, features = _mixed(np_rng, 100_000, decays)
    found, reason = tica.fit([features[:60_000], features[60_000:]], lag=4)
    assert reason is None
    np.testing.assert_allclose(found.eigenvalues, decays**4, atol=0.015)
    scales = -4.0 / np.log(found.eigenvalues)
    np.testing.assert_allclose(scales, -1.0 / np.log(decays), rtol=0.06)
    slow = found.kinetic_map(features)
    # As wide as slow, uncorrelated, and the hidden processes.
    np.testing.assert_allclose(slow.std(axis=0), found.eigenvalues, rtol=0.01)
    np.testing.assert_allclose(np.corrcoef(slow.T), np.eye(3), atol=0.01)
    for k in range(3):
      assert abs(np.corrcoef(slow[:, k], hidden[:, k])[0, 1]) > 0.99

  @pytest.mark.parametrize('lag', [1, 7])
  def test_agrees_with_deeptime(self, np_rng, lag):
    from deeptime.decomposition import TICA

    _, features = _mixed(np_rng, 900, (0.97, 0.8, 0.3, -0.6), 4)
    replicas = [features[:400], features[400:], features[:lag]]
    found, _ = tica.fit(replicas, lag, by_magnitude=True)
    model = TICA(lagtime=lag).fit_from_timeseries(replicas[:2]).fetch_model()
    np.testing.assert_allclose(found.eigenvalues, model.singular_values, rtol=1e-6)
    ours, theirs = found.kinetic_map(features), model.transform(features)
    sign = np.sign(np.sum(ours * theirs, axis=0))
    np.testing.assert_allclose(ours * sign, theirs, atol=1e-5)

  def test_noise_does_not_lead(self, np_rng):
    """What alternates is not slow, but has the greatest |eigenvalue|."""
    _, features = _mixed(np_rng, 5_000, (-0.95, 0.6))
    found, _ = tica.fit([features], 1)
    np.testing.assert_allclose(found.eigenvalues, [0.6], atol=0.05)
    found, _ = tica.fit([features], 1, by_magnitude=True)
    np.testing.assert_allclose(found.eigenvalues, [-0.95, 0.6], atol=0.05)

  def test_what_hardly_varies_takes_no_part(self, np_rng):
    _, features = _mixed(np_rng, 500, (0.9, 0.5), 2)
    still = 3.0 + 0.9e-3 * _ornstein_uhlenbeck(np_rng, 500, 0.999)[:, None]
    found, _ = tica.fit([np.concatenate([features, still], axis=1)], 2)
    alone, _ = tica.fit([features], 2)
    assert len(found.eigenvalues) == 2
    np.testing.assert_allclose(found.eigenvalues, alone.eigenvalues, rtol=1e-3)

  def test_signs_and_units_of_features_do_not_matter(self, np_rng):
    _, features = _mixed(np_rng, 500, (0.9, 0.5), 3)
    found, _ = tica.fit([features], 2)
    other, _ = tica.fit([features * [-1.0, 10.0, 1.0]], 2)
    np.testing.assert_allclose(other.eigenvalues, found.eigenvalues, rtol=1e-9)
    assert np.all(np.abs(found.components).max(axis=0) == found.components.max(axis=0))

  def test_time_may_run_backwards(self, np_rng):
    _, features = _mixed(np_rng, 500, (0.9, 0.5), 3)
    found, _ = tica.fit([features], 2)
    backwards, _ = tica.fit([features[::-1]], 2)
    np.testing.assert_allclose(backwards.components, found.components, rtol=1e-9)

  def test_reasons(self, np_rng):
    noise = np_rng.normal(size=(30, 8))
    alternating = np.tile([[1.0], [-1.0]], (25, 1))
    for features, lag, why in (
      ([noise], 30, 'longer than the lag of 30 frames'),
      ([], 1, 'longer than the lag'),
      ([np.full((30, 8), 5.0)], 1, 'no feature varies'),
      ([np.zeros((30, 0))], 1, 'no feature varies'),
      ([noise[:9]], 1, '8 pairs of frames 1 frames apart are too few for 8 features'),
      ([alternating], 1, 'nothing stays correlated for 1 frames'),
    ):
      found, reason = tica.fit(features, lag)
      assert found is None
      assert why in reason


def test_num_holding():
  values = np.sqrt([0.6, 0.3, 0.06, 0.04])
  assert [tica.num_holding(values, share) for share in (0.5, 0.7, 0.95, 0.97)] == [1, 2, 3, 4]
  assert tica.num_holding(np.array([0.5])) == 1


class TestFeatures:
  def test_spaced_residues(self):
    np.testing.assert_array_equal(tica.spaced_residues(5, 2500), np.arange(5))
    np.testing.assert_array_equal(tica.spaced_residues(20, 177), [0, 2, 5, 8, 10, 13, 16, 19])
    assert len(tica.spaced_residues(300, 100_000)) == 40
    # No more distances than a fifth of the frames.
    for frames in (20, 177, 1000, 3700):
      m = len(tica.spaced_residues(300, frames))
      assert m * (m - 1) / 2 <= frames / 5
    assert len(tica.spaced_residues(10, 2)) == 0

  def test_ca_distances(self, np_rng):
    positions = np_rng.normal(size=(3, 7, 4, 3)).astype(np.float32)
    found = tica.ca_distances(positions, np.array([0, 3, 6]))
    ca = positions[:, :, 1].astype(np.float64)
    pairs = (0, 3), (0, 6), (3, 6)
    expected = [np.linalg.norm(ca[:, i] - ca[:, j], axis=-1) for i, j in pairs]
    np.testing.assert_allclose(found, np.transpose(expected), rtol=1e-12)

  def test_cosines_and_sines(self, np_rng):
    angles = np_rng.uniform(-3.0, 3.0, size=(6, 3))
    unknown = angles.copy()
    unknown[4, 1] = np.nan
    found = tica.cosines_and_sines(unknown)
    np.testing.assert_allclose(np.arctan2(found[:, 2:], found[:, :2]), angles[:, [0, 2]])

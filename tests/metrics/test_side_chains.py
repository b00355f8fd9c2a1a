"""Against scipy, wrapped normals and a Markov chain, whose numbers are known."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from tempo_jax.metrics import side_chains
from tempo_jax.protein import protein as protein_lib
from tests.metrics import rotamer_chains


def types(*names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names])


def one_chi(values, names, residue, number):
  """[F, L, 4] that is 0 but for one chi."""
  chi = np.zeros((len(values), len(names), 4), np.float32)
  chi[:, names.index(residue), number - 1] = values
  return chi


def bins_of_wrapped_normal(mean, sd, period):
  """[36] shares of its bins, from 0 on."""
  edges = np.linspace(0.0, period, 37)
  images = edges + period * np.arange(-6, 7)[:, None]
  return np.diff(stats.norm.cdf(images, mean, sd), axis=-1).sum(axis=0)


@pytest.mark.parametrize(
  ('residue', 'number', 'period'),
  [('LEU', 1, 2.0 * np.pi), ('PHE', 2, np.pi), ('HIS', 2, 2 * np.pi)],
)
def test_jsd_of_wrapped_normals(np_rng, residue, number, period):
  names = ['GLY', residue, 'ALA']
  (mean_a, sd_a), (mean_b, sd_b) = (3.0, 0.3), (-2.6, 0.5)  # On both sides of 180°.
  a, b = (
    one_chi(
      (np_rng.normal(mean, sd, 40_000) + np.pi) % (2.0 * np.pi) - np.pi, names, residue, number
    )
    for mean, sd in ((mean_a, sd_a), (mean_b, sd_b))
  )
  found = side_chains.chi_jsd(a, b, types(*names))
  p, q = (bins_of_wrapped_normal(mean, sd, period) for mean, sd in ((mean_a, sd_a), (mean_b, sd_b)))
  expected = distance.jensenshannon(p, q, base=2) ** 2
  assert 0.1 < expected < 0.9
  assert found[1, number - 1] == pytest.approx(expected, abs=0.006)
  assert np.isnan(found[[0, 2]]).all()


def test_jsd_folds_what_is_symmetric_only(np_rng):
  names = ['PHE', 'TYR', 'ASP', 'GLU', 'HIS', 'ASN', 'TRP', 'GLN', 'LEU']
  chi = np_rng.uniform(-1.2, -0.2, (400, len(names), 4))
  turned = chi + np.pi
  near_0 = np.isclose(side_chains.chi_jsd(chi, turned, types(*names)), 0.0, atol=0.15)
  folded = {(name, 2) for name in ('PHE', 'TYR', 'ASP')} | {('GLU', 3)}
  assert {(names[i], k + 1) for i, k in np.argwhere(near_0).tolist()} == folded


def test_jsd_is_0_of_the_same_and_1_of_disjoint():
  angles = np.linspace(-np.pi, np.pi, 73)  # Both ends are one angle.
  chi = one_chi(angles, ['VAL'], 'VAL', 1)
  assert side_chains.chi_jsd(chi, chi, types('VAL'))[0, 0] == 0.0
  a = np.full((7, 1, 4), np.pi)
  assert side_chains.chi_jsd(a, -a, types('VAL'))[0, 0] == 0.0
  assert side_chains.chi_jsd(a, -0.5 * a, types('VAL'))[0, 0] == 1.0


def test_unknown_chi_are_left_out(np_rng):
  rt = types('LEU', 'LYS')
  a = np_rng.normal(size=(50, 2, 4))
  b = a.copy()
  b[3, 0, 1] = np.nan
  found = side_chains.chi_jsd(a, b, rt)
  np.testing.assert_array_equal(np.isnan(found), [[False, True, True, True], [False] * 4])
  assert side_chains.mean_of(found, 2) == 0.0
  assert np.isnan(side_chains.mean_of(np.full((2, 4), np.nan), 1))
  assert np.isnan(side_chains.share_near(b[:, :1], a[:, :1], rt[:1], 2))
  assert np.isnan(side_chains.share_jumps(b[:, :1], rt[:1], 2))


def test_floor_is_that_of_halves(np_rng):
  rt = types('LEU', 'SER')
  replicas = [np_rng.uniform(-np.pi, np.pi, (n, 2, 4)) for n in (80, 61)]
  found = side_chains.floor(replicas, rt)
  expected = [
    side_chains.chi_jsd(replicas[0][:40], replicas[0][40:], rt),
    side_chains.chi_jsd(replicas[1][:31], replicas[1][31:], rt),
  ]
  np.testing.assert_allclose(found, (expected[0] + expected[1]) / 2)
  assert found[0, 0] > 0.02


def test_share_near_goes_round_and_folds():
  rt = types('PHE', 'GLY', 'LEU')
  degrees = np.zeros((2, 3, 4))
  reference = np.zeros((2, 3, 4))
  degrees[:, 0, 0], reference[:, 0, 0] = [175.0, 100.0], [-160.0, 59.0]  # 25 and 41 apart.
  degrees[:, 2, 0], reference[:, 2, 0] = [-60.0, 10.0], [-60.0, -29.0]  # 0 and 39.
  degrees[:, 0, 1], reference[:, 0, 1] = [95.0, 170.0], [-80.0, 29.0]  # 5 and 39 folded.
  degrees[:, 2, 1], reference[:, 2, 1] = [95.0, 170.0], [-80.0, 29.0]  # 175 and 141.
  a, b = np.deg2rad(degrees), np.deg2rad(reference)
  assert side_chains.share_near(a, b, rt) == 0.75
  assert side_chains.share_near(a, b, rt, 2) == 0.5
  # One reference for all frames: 175 and 100 to -160, -60 and 10 to -60.
  assert side_chains.share_near(a, b[:1], rt) == 0.5


def test_share_jumps():
  rt = types('PHE', 'ALA', 'LEU')
  chi = np.zeros((4, 3, 4))
  chi[:, 0, 0] = np.deg2rad([170.0, -150.0, -90.5, 60.0])  # 40, 59.5, 150.5
  chi[:, 2, 0] = np.deg2rad([-60.0, 180.0, -60.0, 0.5])  # 120, 120, 60.5
  chi[:, 1, 0] = [0.0, 3.0, 0.0, 3.0]  # Of alanine: nothing.
  chi[:, 0, 1] = np.deg2rad([90.0, -90.0, 90.0, 20.0])  # 0, 0, 70
  assert side_chains.share_jumps(chi, rt) == pytest.approx(4 / 6)
  assert side_chains.share_jumps(chi, rt, 2) == pytest.approx(1 / 6)
  assert np.isnan(side_chains.share_jumps(chi[:1], rt))


def test_autocorrelation_of_a_markov_chain(np_rng):
  """Of three wells that are left at one rate, <cos> at a lag is the chance of not having left."""
  stay, num_frames = 0.93, 20_000
  decay = (3.0 * stay - 1.0) / 2.0  # Second eigenvalue.
  state = rotamer_chains.states(np_rng, stay, num_frames, 12)
  chi = np.zeros((num_frames, 12, 4))
  chi[..., 0] = np.deg2rad(60.0 + 120.0 * state)
  rt = types(*['ILE'] * 12)
  replicas = [chi[:8000], chi[8000:]]
  found, reason = side_chains.autocorrelation(replicas, rt, 20)
  assert reason is None
  np.testing.assert_allclose(found, decay ** np.arange(21), atol=0.02)
  for lag in (1, 5):
    turned, reason = side_chains.decorrelation(replicas, rt, lag)
    assert reason is None
    assert turned == pytest.approx(1.0 - decay**lag, abs=0.015)
  # Residues without chi1 are left out.
  wide = np.concatenate([chi, np.zeros_like(chi)], axis=1)
  both = side_chains.decorrelation([wide], types(*['ILE'] * 12, *['ALA'] * 12), 5)
  assert both[0] == pytest.approx(side_chains.decorrelation([chi], rt, 5)[0])


def test_no_correlation_where_nothing_is_known():
  rt = types('GLY', 'VAL')
  chi = np.zeros((10, 2, 4))
  assert side_chains.autocorrelation([chi], rt)[1] == 'nothing moves'
  assert side_chains.decorrelation([chi], rt, 10)[1] == 'no replica has more than 10 frames'
  assert side_chains.decorrelation([chi[:, :1]], rt[:1], 1)[1] == 'no residue has chi1'


def test_correlation_time():
  ramp = 1.0 - np.arange(20) / 7.5  # To 0 between two lags.
  assert side_chains.correlation_time(ramp, 0.01) == pytest.approx(0.01 * 7.5 / 2.0)
  fall = np.exp(-np.arange(4000) / 200.0)
  assert side_chains.correlation_time(fall, 0.5) == pytest.approx(100.0, rel=1e-4)

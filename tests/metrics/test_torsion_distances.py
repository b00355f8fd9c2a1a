import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import torsion_distances
from tests.metrics import golden


def _of_torsions(case):
  (ours, our_chi), (theirs, their_chi) = case.torsions
  return torsion_distances.torsion_distances(ours, theirs, our_chi, their_chi)


@pytest.mark.parametrize('name', golden.NAMES)
class TestMdgen:
  def test_means(self, shared_data, name):
    case = golden.load(shared_data, name)
    found, reason = _of_torsions(case)
    assert reason is None
    expected = case.numbers['mdgen']
    for attribute, key in (('backbone', 'backbone'), ('side_chain', 'sidechain'), ('all', 'all')):
      value, wanted = getattr(found, attribute), expected[f'torsion_jsd_{key}']
      if wanted is None:
        assert value is None
        assert any('side-chain' in note for note in found.notes)
      else:
        np.testing.assert_allclose(value, wanted, rtol=1e-5)  # Not only `TOLERANCE`.

  def test_each_torsion(self, shared_data, name):
    case = golden.load(shared_data, name)
    found, _ = _of_torsions(case)
    residues = [residue.resSeq for residue in case.reference.top.residues]
    seen = 0
    for label, wanted in case.intermediates['mdgen']['per_torsion_jsd'].items():
      kind, _, _, number = label.split()
      row = residues.index(int(number))
      if kind in ('PHI', 'PSI'):
        value = found.of_backbone[row, ('PHI', 'PSI').index(kind)]
      else:
        value = found.of_chi[row, int(kind[3:]) - 1]
      np.testing.assert_allclose(value, wanted, rtol=1e-4, err_msg=label)
      seen += 1
    assert seen == np.count_nonzero(~np.isnan(found.of_backbone)) + np.count_nonzero(
      ~np.isnan(found.of_chi)
    )

  def test_decorrelation(self, shared_data, name):
    case = golden.load(shared_data, name)
    expected = case.numbers['mdgen']
    for key, (backbone, _) in zip(('our', 'md'), case.torsions, strict=True):
      angles = backbone.reshape(len(backbone), -1)
      angles = angles[:, ~np.isnan(angles[0])].astype(float)
      curves, reason = torsion_distances.decorrelation([angles], 100)
      assert reason is None
      # Their code computes from <cos> on in half precision.
      m = np.abs(np.exp(1j * angles).mean(axis=0)) ** 2
      half = (curves * (1.0 - m) + m).astype(np.float16)
      half = (half - m.astype(np.float16)) / (1.0 - m).astype(np.float16)
      for lag in (1, 10, 100):
        wanted = expected[f'{key}_decorrelation_backbone_mean_lag{lag}']
        np.testing.assert_allclose(half[lag].astype(float).mean(), wanted, atol=1e-4)


def test_distances_are_those_of_scipy(np_rng):
  a = np.arctan2(*np_rng.normal(size=(2, 80, 5, 2)))
  b = np.arctan2(*(np_rng.normal(size=(2, 60, 5, 2)) + 0.7))
  a[0, 0, 0] = np.pi
  b[3, 0, 0] = np.float32(np.pi)  # More than pi.
  a[:, 4, 1] = b[:, 4, 1] = np.nan
  found, reason = torsion_distances.torsion_distances(a, b)
  assert reason is None
  edges = np.linspace(-np.pi, np.pi, 101)
  clipped = np.minimum(b, np.pi)
  for i in range(5):
    for k in range(2):
      counts = [np.histogram(x[:, i, k], edges)[0] for x in (a, clipped)]
      if (i, k) == (4, 1):
        assert np.isnan(found.of_backbone[i, k])
      else:
        assert found.of_backbone[i, k] == pytest.approx(distance.jensenshannon(*counts))
    if i < 4:
      cells = [
        np.histogram2d(x[:, i, 0], x[:, i, 1], bins=50, range=[[-np.pi, np.pi]] * 2)[0].ravel()
        for x in (a, clipped)
      ]
      assert found.of_phi_psi[i] == pytest.approx(distance.jensenshannon(*cells))
  assert np.isnan(found.of_phi_psi[4])
  assert found.backbone == pytest.approx(np.nanmean(found.of_backbone))
  assert found.all == found.backbone
  assert found.phi_psi == pytest.approx(np.nanmean(found.of_phi_psi))
  assert found.side_chain is None
  assert found.of_chi is None


def test_all_weighs_every_torsion_alike(np_rng):
  a, b = np.arctan2(*np_rng.normal(size=(2, 2, 40, 3, 6)))
  b[..., 2:] = 0.1
  found, _ = torsion_distances.torsion_distances(a[..., :2], b[..., :2], a[..., 2:], b[..., 2:])
  assert found.all == pytest.approx((2 * found.backbone + 4 * found.side_chain) / 6)
  assert found.side_chain > found.backbone


def test_against_itself(np_rng):
  a = np.arctan2(*np_rng.normal(size=(2, 40, 3, 2)))
  found, _ = torsion_distances.torsion_distances(a, a, a, a)
  assert (found.backbone, found.side_chain, found.all, found.phi_psi) == (0.0, 0.0, 0.0, 0.0)
  apart, _ = torsion_distances.torsion_distances(0.1 + 0.0 * a, 0.0 * a - 0.1)
  assert apart.backbone == pytest.approx(np.sqrt(np.log(2.0)))


def test_what_there_is_not():
  nothing = np.full((5, 1, 2), np.nan)
  found, reason = torsion_distances.torsion_distances(nothing, nothing)
  assert found is None
  assert 'no torsion' in reason
  found, reason = torsion_distances.torsion_distances(nothing[:0], nothing)
  assert found is None
  assert 'no frames' in reason
  # One residue has chi, but neither phi nor psi.
  chi = np.zeros((5, 1, 4))
  found, _ = torsion_distances.torsion_distances(nothing, nothing, chi, chi)
  assert found.backbone is None
  assert found.phi_psi is None
  assert (found.side_chain, found.all) == (0.0, 0.0)
  assert len(found.notes) == 2
  # Glycine.
  found, _ = torsion_distances.torsion_distances(
    np.zeros((5, 1, 2)), np.zeros((5, 1, 2)), np.full((5, 1, 4), np.nan), chi
  )
  assert found.side_chain is None
  assert 'side-chain' in found.notes[0]


class TestDecorrelation:
  def test_is_its_definition(self, np_rng):
    replicas = [np.cumsum(np_rng.normal(size=(n, 2)), axis=0) for n in (23, 17)]
    curves, _ = torsion_distances.decorrelation(replicas, 12)
    pooled = np.concatenate(replicas)
    m = np.cos(pooled).mean(0) ** 2 + np.sin(pooled).mean(0) ** 2
    for lag in range(13):
      pairs = np.concatenate([x[lag:] - x[: len(x) - lag] for x in replicas])
      expected = (np.cos(pairs).mean(axis=0) - m) / (1.0 - m)
      np.testing.assert_allclose(curves[lag], expected, atol=1e-12)

  def test_time_of_a_diffusing_angle(self, np_rng):
    # <cos(phi(t + k) - phi(t))> = exp(-k s^2 / 2): 1/e at k = 20.
    steps = np.sqrt(2.0 / 20.0) * np_rng.normal(size=(40_000, 3))
    curves, _ = torsion_distances.decorrelation([np.cumsum(steps, axis=0)], 200)
    assert np.all(np.abs(torsion_distances.decorrelation_lags(curves) - 20) <= 3)

  def test_reasons(self):
    rests = np.ones((9, 2))
    assert torsion_distances.decorrelation([rests])[1] == 'no torsion moves'
    assert 'too few' in torsion_distances.decorrelation([rests[:1]])[1]
    assert 'too few' in torsion_distances.decorrelation([rests], 9)[1]
    one = np.stack([np.arange(9.0), np.ones(9)], axis=1)
    curves, reason = torsion_distances.decorrelation([one])
    assert reason is None
    assert np.isnan(curves[:, 1]).all()
    assert torsion_distances.decorrelation_lags(curves).tolist()[1] == -1


def test_phi_and_psi_are_of_one_residue(shared_data):
  """Not of two, as MDGen's pairs."""
  case = golden.load(shared_data, '2jof')
  found, _ = _of_torsions(case)
  psi = [mdtraj.compute_psi(x)[1][:, 1] for x in (case.prediction, case.reference)]  # ALA 2
  phi = [mdtraj.compute_phi(x)[1] for x in (case.prediction, case.reference)]
  measured = []
  for column in (0, 2):  # ALA 2; ALA 4, which theirs takes.
    cells = [
      np.histogram2d(q, p[:, column], bins=50, range=[[-np.pi, np.pi]] * 2)[0].ravel()
      for p, q in zip(phi, psi, strict=True)
    ]
    measured.append(distance.jensenshannon(*cells))
  theirs = case.intermediates['mdgen']['their_pairs_2d_jsd']['PSI 0 ALA 2|PHI 0 ALA 4']
  assert measured[1] == pytest.approx(theirs, rel=1e-4)
  assert found.of_phi_psi[1] == pytest.approx(measured[0], rel=1e-9)


def test_distances_of_histograms_are_those_of_angles(np_rng):
  a, b = (np_rng.uniform(-np.pi, np.pi, (n, 5, 2)) for n in (30, 50))
  a[:, 1, 0], b[3, 2, 1] = np.nan, np.nan
  counts = [torsion_distances.histograms(x) for x in (a, b)]
  assert counts[0].shape == (5, 2, 100)
  np.testing.assert_array_equal(counts[0].sum(axis=-1)[2], 30)
  expected = torsion_distances.js_distances(a, b)
  assert np.isnan(expected).sum() == 2
  np.testing.assert_allclose(torsion_distances.js_distances_of(*counts), expected)

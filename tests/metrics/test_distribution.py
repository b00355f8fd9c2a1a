import dataclasses
import sys

import mdtraj
import numpy as np
import ot
import pytest
from scipy import linalg, optimize
from scipy.spatial import distance
from sklearn import decomposition

from tempo_jax.errors import InputError
from tempo_jax.metrics import distribution, superposition, torsions
from tests.metrics import ensembles


@pytest.fixture
def pair(np_rng):
  """Two ensembles of 40 and 40 frames."""
  return ensembles.ensemble(np_rng, 40), ensembles.ensemble(np_rng, 40, scale=0.8)


def ca_of(positions):
  return superposition.superpose(positions, ensembles.native(), 'ca')[:, :, 1]


def gaussian(rng, frames, mean, covariance):
  """Points whose sample mean and covariance are exactly these."""
  points = rng.normal(size=(frames, 3))
  points -= points.mean(0)
  points = points @ np.linalg.inv(linalg.sqrtm(points.T @ points / frames))
  return mean + points @ linalg.sqrtm(covariance)


def test_w2_of_gaussians_with_a_known_answer(np_rng):
  a = gaussian(np_rng, 30, [0.0, 0.0, 0.0], np.diag([4.0, 1.0, 0.25]))
  b = gaussian(np_rng, 50, [3.0, 4.0, 0.0], np.diag([1.0, 1.0, 4.0]))
  found = distribution.root_mean_w2(a[:, None], b[:, None])
  # Along each axis: the difference of the standard deviations.
  expected = (np.sqrt(25.0 + 1.0 + 2.25), 5.0, np.sqrt(3.25))
  np.testing.assert_allclose(dataclasses.astuple(found), expected, atol=1e-8)


def test_w2_of_gaussians_is_that_of_pot(pair):
  a, b = (superposition.superpose(x, ensembles.native()) for x in pair)
  found = distribution.root_mean_w2(a, b)
  squares, shifts = [], []
  for i in range(9):
    for k in range(4):
      means = [x[:, i, k].mean(0) for x in (a, b)]
      covariances = [np.cov(x[:, i, k].T, bias=True) for x in (a, b)]
      squares.append(ot.gaussian.bures_wasserstein_distance(*means, *covariances) ** 2)
      shifts.append(np.sum((means[0] - means[1]) ** 2))
  np.testing.assert_allclose(found.total, np.sqrt(np.mean(squares)), atol=1e-4)
  np.testing.assert_allclose(found.translation, np.sqrt(np.mean(shifts)), atol=1e-4)
  np.testing.assert_allclose(found.total**2, found.translation**2 + found.variance**2)
  np.testing.assert_allclose(
    dataclasses.astuple(distribution.root_mean_w2(b, a)), dataclasses.astuple(found), atol=1e-10
  )


def test_w2_of_an_ensemble_to_itself_and_to_one_that_stands_still(pair):
  a = superposition.superpose(pair[0], ensembles.native())
  np.testing.assert_allclose(distribution.root_mean_w2(a, a).total, 0.0, atol=1e-6)
  still = np.tile(a.mean(0), (5, 1, 1, 1))
  for found in (distribution.root_mean_w2(a, still), distribution.root_mean_w2(still, a)):
    expected = np.sqrt(np.mean(np.sum((a - a.mean(0)) ** 2, -1)))
    np.testing.assert_allclose(found.variance, expected, atol=1e-6)
    np.testing.assert_allclose(found.translation, 0.0, atol=1e-6)
  scaled = distribution.root_mean_w2(a.mean(0) + 3.0 * (a - a.mean(0)), a)
  np.testing.assert_allclose(scaled.total, 2.0 * expected, atol=1e-6)


def test_pca_is_that_of_scikit_learn(pair):
  a, b = map(ca_of, pair)
  for found, frames in (
    (distribution.Pca.fit(a, num_components=3), a),
    (distribution.Pca.fit(a, b, num_components=3), np.concatenate([a, b])),
  ):
    expected = decomposition.PCA(3, svd_solver='full').fit(frames.reshape(len(frames), -1))
    signs = np.sign(np.sum(found.components * expected.components_, axis=1))
    np.testing.assert_allclose(found.components, signs[:, None] * expected.components_, atol=1e-6)
    bias = (len(frames) - 1) / len(frames)
    np.testing.assert_allclose(found.variances, bias * expected.explained_variance_, rtol=1e-8)
    projected = expected.transform(b.reshape(40, -1)) * signs
    np.testing.assert_allclose(found.project(b), projected, atol=1e-6)


def test_joint_pca_does_not_depend_on_how_often_frames_are_repeated(pair):
  a, b = map(ca_of, pair)
  once, often = distribution.Pca.fit(a, b), distribution.Pca.fit(a, np.concatenate([b, b, b]))
  np.testing.assert_allclose(often.mean, once.mean, atol=1e-10)
  np.testing.assert_allclose(often.components, once.components, atol=1e-8)


def test_wasserstein_of_as_many_and_of_more_points(np_rng):
  a, b = np_rng.normal(size=(2, 12, 2))
  squares = distance.cdist(a, b) ** 2
  expected = np.sqrt(ot.emd2(np.full(12, 1 / 12), np.full(12, 1 / 12), squares))
  np.testing.assert_allclose(distribution.wasserstein(a, b), expected, atol=1e-8)
  # Each point three times: the same distribution.
  np.testing.assert_allclose(distribution.wasserstein(a, np.tile(b, (3, 1))), expected, atol=1e-8)
  np.testing.assert_allclose(distribution.wasserstein(np.tile(b, (3, 1)), a), expected, atol=1e-8)
  np.testing.assert_allclose(distribution.wasserstein(a, a[::-1]), 0.0, atol=1e-12)
  np.testing.assert_allclose(distribution.wasserstein(a, a + np.array([3.0, 4.0])), 5.0, atol=1e-8)


def test_wasserstein_of_many_points_is_that_of_linear_assignment(np_rng):
  a, b = np_rng.normal(size=(2, 501, 2))
  squares = distance.cdist(a, b) ** 2
  expected = np.sqrt(squares[optimize.linear_sum_assignment(squares)].mean())
  np.testing.assert_allclose(distribution.wasserstein(a, b), expected, rtol=1e-9)
  np.testing.assert_allclose(distribution.wasserstein(a, a[::-1]), 0.0, atol=1e-12)


def test_wasserstein_of_more_points_is_within_its_bound(np_rng, monkeypatch):
  """Points merge with near ones: what W2 changes by is less than how far they move."""
  a, b = np_rng.normal(size=(2, 400, 2)) + np.array([[[0.0, 0.0]], [[0.3, 0.0]]])
  exact = distribution.wasserstein(a, b)
  monkeypatch.setattr(distribution, '_FEW', 0)
  assert distribution.wasserstein(a, b) == pytest.approx(exact)
  monkeypatch.setattr(distribution, 'MAX_W2_POINTS', 100)
  points, mass = distribution._merged(a)
  assert points.shape == (100, 2)
  assert mass.sum() == pytest.approx(1.0)
  # Each point is the mean of those for which it stands.
  np.testing.assert_allclose(mass @ points, a.mean(axis=0), atol=1e-12)
  moved = [distribution._merged(x)[0] for x in (a, b)]
  bound = sum(
    np.sqrt(np.mean(distance.cdist(x, y, 'sqeuclidean').min(axis=1)))
    for x, y in zip((a, b), moved, strict=True)
  )
  found = distribution.wasserstein(a, b)
  assert found != exact
  assert abs(found - exact) < 0.3 * bound < 0.15
  assert distribution.wasserstein(a, a) == pytest.approx(0.0, abs=1e-7)


def test_w2_on_components(pair):
  a, b = map(ca_of, pair)
  pca = distribution.Pca.fit(a, num_components=5)
  expected = distribution.wasserstein(pca.project(a)[:, :2], pca.project(b)[:, :2]) / 3.0
  np.testing.assert_allclose(distribution.pca_w2(pca, a, b), expected)
  # A shift by 1 Å of all CA atoms along the leading component, as an RMSD.
  shifted = a + 3.0 * pca.components[0].reshape(9, 3)
  np.testing.assert_allclose(distribution.pca_w2(pca, a, shifted), 1.0, atol=1e-8)


def test_similarity_of_components(pair):
  a, b = map(ca_of, pair)
  first, second = distribution.Pca.fit(a), distribution.Pca.fit(b)
  expected = [decomposition.PCA(1).fit(x.reshape(40, -1)).components_[0] for x in (a, b)]
  found = distribution.pc_sim(first, second)
  np.testing.assert_allclose(found, abs(np.dot(*expected)), atol=1e-4)
  assert found == distribution.pc_sim(second, first)
  assert distribution.pc_sim(first, first) == pytest.approx(1.0)
  still = distribution.Pca.fit(np.tile(a[:1], (4, 1, 1)))
  assert np.isnan(distribution.pc_sim(first, still))


def test_divergence_is_the_square_of_scipys_distance(np_rng):
  p, q = np_rng.random((2, 4, 7))
  p[:, 2] = 0.0
  expected = [distance.jensenshannon(*rows, base=2) ** 2 for rows in zip(p, q, strict=True)]
  np.testing.assert_allclose(distribution.jensen_shannon(p, q), expected)
  np.testing.assert_allclose(distribution.jensen_shannon(p, 3.0 * p), 0.0, atol=1e-12)
  np.testing.assert_allclose(distribution.jensen_shannon(*np.array([[0.0, 2.0], [5.0, 0.0]])), 1.0)


def test_divergence_of_distances_is_that_of_numpys_histograms(np_rng, pair):
  a, b = pair[0], pair[1][:25]
  expected = []
  for i in range(9):
    for j in range(i):
      x, y = (np.linalg.norm((z[:, i, 1] - z[:, j, 1]).astype(np.float64), axis=-1) for z in (a, b))
      edges = np.linspace(min(x.min(), y.min()), max(x.max(), y.max()), 41)
      p, q = np.histogram(x, edges)[0], np.histogram(y, edges)[0]
      expected.append(distance.jensenshannon(p, q, base=2) ** 2)
  found = distribution.ca_distance_jsd(a, b)
  np.testing.assert_allclose(found, np.mean(expected), atol=1e-4)
  np.testing.assert_allclose(distribution.ca_distance_jsd(b, a), found)
  assert distribution.ca_distance_jsd(a, a) == 0.0
  moved = ensembles.tumbled(np_rng, a)
  np.testing.assert_allclose(distribution.ca_distance_jsd(moved, b), found, atol=2e-3)
  assert np.isnan(distribution.ca_distance_jsd(a[:, :1], b[:, :1]))


def test_distances_that_never_change_do_not_diverge(pair):
  still = np.tile(pair[0][:1], (3, 1, 1, 1))
  assert distribution.ca_distance_jsd(still, still[:2]) == 0.0
  far = still.copy()
  far[:, :, 1] *= 2.0
  assert distribution.ca_distance_jsd(still, far) == pytest.approx(1.0)


def test_divergence_of_torsions_is_that_of_numpys_histograms(pair):
  bonded = np.array([True] * 3 + [False] + [True] * 4 + [False])
  traj_a, traj_b = (ensembles.as_mdtraj(x) for x in pair)
  angles = [np.stack(torsions.backbone_torsions(x, bonded)[:2], -1) for x in pair]
  edges = np.linspace(-np.pi, np.pi, 37)
  one, two = [], []
  for i in range(9):
    there = [i > 0 and bonded[i - 1], bonded[i]]
    atoms = [[4 * i - 2, 4 * i, 4 * i + 1, 4 * i + 2], [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 4]]
    both = [
      [mdtraj.compute_dihedrals(traj, [atoms[k]])[:, 0] for k in range(2) if there[k]]
      for traj in (traj_a, traj_b)
    ]
    for x, y in zip(*both, strict=True):
      p, q = (np.histogram(z, edges)[0] for z in (x, y))
      one.append(distance.jensenshannon(p, q, base=2) ** 2)
    if all(there):
      p, q = (np.histogram2d(*x, [edges, edges])[0].ravel() for x in both)
      two.append(distance.jensenshannon(p, q, base=2) ** 2)
  assert len(one) == 14
  np.testing.assert_allclose(distribution.torsion_jsd(*angles), np.mean(one), atol=1e-4)
  np.testing.assert_allclose(distribution.ramachandran_jsd(*angles), np.mean(two), atol=1e-4)
  for metric in (distribution.torsion_jsd, distribution.ramachandran_jsd):
    np.testing.assert_allclose(metric(*angles), metric(*angles[::-1]))
    assert metric(angles[0], angles[0]) == 0.0
    assert np.isnan(metric(np.full((2, 1, 2), np.nan), np.full((2, 1, 2), np.nan)))


def test_the_two_ends_of_the_circle_meet():
  there = np.full((4, 3, 2), np.nan, np.float32)
  there[:, 1] = np.pi
  other = there.copy()
  other[:, 1] = -np.pi
  assert distribution.torsion_jsd(there, other) == 0.0
  assert distribution.ramachandran_jsd(there, other) == 0.0


def test_without_pot_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ot', None)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[evaluate\]'"):
    distribution.wasserstein(np.zeros((2, 2)), np.zeros((3, 2)))

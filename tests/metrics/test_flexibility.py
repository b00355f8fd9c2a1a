import mdtraj
import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from tempo_jax.metrics import flexibility, superposition
from tests.metrics import ensembles


@pytest.fixture
def moving(np_rng):
  return ensembles.tumbled(np_rng, ensembles.ensemble(np_rng, 6)), ensembles.native()


@pytest.fixture
def superposed(moving):
  """CA atoms [6, 9, 3] by scipy."""
  positions, native = moving
  return np.array([ensembles.superposed(frame[:, 1], native[:, 1]) for frame in positions])


def test_rmsd_is_that_of_mdtraj(moving):
  positions, native = moving
  traj, top = ensembles.as_mdtraj(positions), ensembles.as_mdtraj(native[None])
  expected = 10.0 * mdtraj.rmsd(traj, top, atom_indices=traj.top.select('name CA'))
  found = flexibility.ca_rmsd(positions.reshape(2, 3, 9, 4, 3), native)
  np.testing.assert_allclose(found.ravel(), expected, atol=1e-4)
  np.testing.assert_allclose(flexibility.ca_rmsd(native, native), 0.0, atol=1e-5)


def test_radius_of_gyration_is_that_of_mdtraj(moving):
  positions, _ = moving
  expected = 10.0 * mdtraj.compute_rg(ensembles.as_mdtraj(positions), masses=np.ones(36))
  np.testing.assert_allclose(flexibility.radius_of_gyration(positions), expected, rtol=1e-4)


def test_rmsf_is_that_of_mdtraj_over_the_backbone(moving):
  positions, native = moving
  traj = ensembles.as_mdtraj(positions)
  expected = 10.0 * mdtraj.rmsf(traj, ensembles.as_mdtraj(native[None]))
  found = flexibility.rmsf(superposition.superpose(positions, native))
  assert found.shape == (9, 4)
  np.testing.assert_allclose(found.ravel(), expected, atol=1e-4)


def test_rmsf_of_ca_is_that_of_scipy(moving, superposed):
  expected = np.sqrt(np.mean(np.sum((superposed - superposed.mean(0)) ** 2, -1), 0))
  np.testing.assert_allclose(flexibility.ca_rmsf(*moving), expected, atol=1e-4)


def test_rmsf_grows_with_the_motion(np_rng):
  superposed = np_rng.normal(size=(5, 4, 4, 3))
  found = flexibility.rmsf(3.0 * superposed + 7.0)
  np.testing.assert_allclose(found, 3.0 * flexibility.rmsf(superposed))
  still = np.tile(superposed[:1], (3, 1, 1, 1))
  np.testing.assert_allclose(flexibility.rmsf(still), 0.0, atol=1e-12)


@pytest.mark.parametrize('num_frames', [6, 1300])  # one block, and three
def test_pairwise_rmsd_is_the_mean_over_ordered_pairs(superposed, np_rng, num_frames):
  superposed = np.resize(superposed, (num_frames, 9, 3))
  superposed = superposed + np_rng.normal(scale=0.1, size=superposed.shape)
  flat = superposed.reshape(num_frames, -1)
  expected = distance.cdist(flat, flat).mean() / 3.0  # nine residues
  np.testing.assert_allclose(flexibility.pairwise_rmsd(superposed), expected, atol=1e-7)
  cut = num_frames * 2 // 3
  between = distance.cdist(flat[:cut], flat[cut - 1 :]).mean() / 3.0
  found = flexibility.pairwise_rmsd(superposed[:cut], superposed[cut - 1 :])
  np.testing.assert_allclose(found, between, atol=1e-7)


def test_pairwise_rmsd_does_not_suffer_from_distance_to_the_origin(superposed):
  near = flexibility.pairwise_rmsd(superposed, superposed[:3])
  far = flexibility.pairwise_rmsd(superposed + 1e4, superposed[:3] + 1e4)
  np.testing.assert_allclose(far, near, atol=1e-6)
  still = np.tile(superposed[:1], (4, 1, 1))
  np.testing.assert_allclose(flexibility.pairwise_rmsd(still), 0.0, atol=1e-6)


def test_pearson_is_that_of_scipy(np_rng):
  a, b = np_rng.normal(size=(2, 9, 4))
  expected = stats.pearsonr(a.ravel(), b.ravel())[0]
  np.testing.assert_allclose(flexibility.pearson(a, b), expected)
  np.testing.assert_allclose(flexibility.pearson(a, -2.0 * a + 1.0), -1.0)
  assert np.isnan(flexibility.pearson(a, np.ones_like(a)))
  assert np.isnan(flexibility.pearson(a[:1, :1], b[:1, :1]))

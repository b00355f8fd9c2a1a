import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.metrics import flexibility
from tests import builders


@pytest.fixture
def moving(np_rng):
  """A helix of 9 residues that shakes, tumbles and wanders: [6, 9, 4, 3] and its start."""
  start = builders.helix(9).positions
  frames = start + np_rng.normal(size=(6, *start.shape), scale=0.5)
  turns = Rotation.random(6, rng=np_rng).as_matrix()
  shifts = 30.0 * np_rng.normal(size=(6, 1, 1, 3))
  return np.einsum('fij,fraj->frai', turns, frames).astype(np.float32) + np.float32(shifts), start


def superposed(ca, reference):
  """CA atoms [L, 3] moved onto a reference, float64, by scipy."""
  ca, reference = ca.astype(np.float64), reference.astype(np.float64)
  centre = reference.mean(0)
  rotation, _ = Rotation.align_vectors(reference - centre, ca - ca.mean(0))
  return rotation.apply(ca - ca.mean(0)) + centre


def rmsd(a, b):
  return np.sqrt(np.mean(np.sum((superposed(a, b) - b) ** 2, -1)))


def test_rmsd_is_that_of_scipy(moving):
  positions, start = moving
  expected = [rmsd(frame[:, 1], start[:, 1]) for frame in positions]
  found = jax.jit(flexibility.ca_rmsd)(positions.reshape(2, 3, 9, 4, 3), start)
  np.testing.assert_allclose(found, np.reshape(expected, (2, 3)), atol=1e-4)


def test_radius_of_gyration_is_that_of_mdtraj(moving):
  positions, _ = moving
  top = mdtraj.Topology()
  residue = top.add_residue('ALA', top.add_chain())
  for _ in range(36):
    top.add_atom('CA', mdtraj.element.carbon, residue)
  traj = mdtraj.Trajectory(positions.reshape(6, 36, 3) / 10.0, top)
  expected = 10.0 * mdtraj.compute_rg(traj, masses=np.ones(36))
  np.testing.assert_allclose(flexibility.radius_of_gyration(positions), expected, rtol=1e-4)


def test_rmsf_is_that_of_scipy(moving):
  positions, start = moving
  ca = np.array([superposed(frame[:, 1], start[:, 1]) for frame in positions])
  expected = np.sqrt(np.mean(np.sum((ca - ca.mean(0)) ** 2, -1), 0))
  found = jax.jit(flexibility.ca_rmsf)(jnp.asarray(positions)[None], start)
  np.testing.assert_allclose(found, expected[None], atol=1e-4)


def test_pairwise_rmsd_is_the_mean_over_pairs(moving):
  positions, _ = moving
  ca = positions[:, :, 1]
  expected = np.mean([rmsd(a, b) for i, a in enumerate(ca) for b in ca[:i]])
  found = jax.jit(flexibility.pairwise_ca_rmsd)(positions)
  np.testing.assert_allclose(found, expected, atol=1e-4)

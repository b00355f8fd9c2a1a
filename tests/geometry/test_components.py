"""Vectors with their components in front, against NumPy and mdtraj's torsions."""

import mdtraj
import numpy as np

from tempo_jax.geometry import components, torsion


def test_products(np_rng):
  a, b = np.float32(np_rng.normal(size=(2, 3, 4, 5)))
  np.testing.assert_allclose(components.cross(a, b), np.cross(a, b, axis=0), atol=1e-6)
  np.testing.assert_allclose(components.dot(a, b), np.sum(a * b, axis=0), atol=1e-6)


def test_dihedral(np_rng):
  points = np.float32(np_rng.normal(size=(200, 4, 3)))
  traj = mdtraj.Trajectory(points, None)
  expected = mdtraj.compute_dihedrals(traj, [[0, 1, 2, 3]], periodic=False)[:, 0]
  found = components.dihedral(*np.moveaxis(points, 0, -1))
  np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * expected), atol=2e-4)
  same = torsion.dihedral(*np.moveaxis(points, 1, 0))
  np.testing.assert_allclose(np.exp(1j * found), np.exp(1j * np.asarray(same)), atol=2e-4)

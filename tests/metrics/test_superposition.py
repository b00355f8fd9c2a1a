import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.metrics import superposition
from tests.metrics import ensembles


@pytest.fixture
def moving(np_rng):
  return ensembles.tumbled(np_rng, ensembles.ensemble(np_rng, 6)), ensembles.native()


@pytest.mark.parametrize(('atoms', 'chosen'), [('backbone', [0, 1, 2, 3]), ('ca', [1])])
def test_superposition_is_that_of_mdtraj_and_scipy(moving, atoms, chosen):
  positions, native = moving
  found = superposition.superpose(positions, native, atoms)
  assert found.dtype == np.float64
  traj = ensembles.as_mdtraj(positions)
  rows = [4 * i + a for i in range(9) for a in chosen]
  traj.superpose(ensembles.as_mdtraj(native[None]), atom_indices=rows)
  np.testing.assert_allclose(found.reshape(6, -1, 3), 10.0 * traj.xyz, atol=1e-4)
  for frame, moved in zip(positions, found, strict=True):
    expected = ensembles.superposed(
      frame[:, chosen].reshape(-1, 3), native[:, chosen].reshape(-1, 3)
    )
    np.testing.assert_allclose(moved[:, chosen].reshape(-1, 3), expected, atol=1e-4)


def test_global_motion_of_any_frame_does_not_matter(np_rng):
  positions, native = ensembles.ensemble(np_rng, 6), ensembles.native()
  moved = ensembles.tumbled(np_rng, positions)
  found = [superposition.superpose(x, native) for x in (positions, moved)]
  np.testing.assert_allclose(*found, atol=1e-4)


def test_leading_axes_and_single_frames(moving):
  positions, native = moving
  whole = superposition.superpose(positions, native)
  parts = superposition.superpose(positions.reshape(2, 3, 9, 4, 3), native)
  np.testing.assert_array_equal(parts.reshape(whole.shape), whole)
  np.testing.assert_allclose(superposition.superpose(positions[2], native), whole[2], atol=1e-12)


def test_a_mirror_image_stays_one(np_rng):
  points = np_rng.normal(size=(20, 3))
  mirrored = points * [1.0, 1.0, -1.0]
  moved = superposition.superpose_points(mirrored, points)
  rotation, distance = Rotation.align_vectors(points - points.mean(0), mirrored - mirrored.mean(0))
  expected = rotation.apply(mirrored - mirrored.mean(0)) + points.mean(0)
  np.testing.assert_allclose(moved, expected, atol=1e-10)
  np.testing.assert_allclose(
    superposition.rmsd(mirrored, points), distance / np.sqrt(20), rtol=1e-10
  )
  assert distance > 1.0


def test_rmsd_of_each_to_each_and_to_one(moving):
  positions, native = moving
  a, b = positions[:, :, 1], positions[::-1, :, 1]
  expected = [
    np.sqrt(np.mean(np.sum((ensembles.superposed(x, y) - y) ** 2, -1)))
    for x, y in [*zip(a, b, strict=True), *((x, native[:, 1]) for x in a)]
  ]
  found = [*superposition.rmsd(a, b), *superposition.rmsd(a, native[:, 1])]
  np.testing.assert_allclose(found, expected, atol=1e-4)
  np.testing.assert_allclose(superposition.rmsd(a, a), 0.0, atol=1e-5)

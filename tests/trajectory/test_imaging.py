"""Chains that a periodic box moves from frame to frame."""

import mdtraj
import numpy as np
import pytest

from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import imaging, trajectory
from tests import builders

# A cube, and a truncated octahedron's skewed cell.
CELLS = {
  'cube': np.diag([40.0, 40.0, 40.0]),
  'skewed': np.array([[60.0, 0.0, 0.0], [20.0, 56.6, 0.0], [-20.0, 28.3, 49.0]]),
}


def helices(chains):
  arrays = builders.helix(12, chains)
  numbers = np.arange(12) + 1
  return protein_lib.Protein('x', arrays, ('A', 'B')[:chains], numbers, ('',) * 12)


@pytest.fixture(scope='module')
def whole():
  """[F, L, 4, 3] Å: two chains that diffuse and stay beside each other; and their protein."""
  protein = helices(2)
  rng = np.random.default_rng(3)
  walk = np.cumsum(rng.normal(size=(30, 2, 1, 3)), axis=0)
  walk -= walk[:1]
  index = np.asarray(protein.arrays.chain_index)
  return np.asarray(protein.arrays.positions)[None] + walk[:, index], protein


def frames_of(positions, cells, top=None):
  traj = mdtraj.Trajectory(positions.reshape(len(positions), -1, 3) / 10.0, top)
  traj.unitcell_vectors = None if cells is None else cells / 10.0
  return traj


def jumped(whole, cell):
  """Whole chains moved by box vectors, as a program that wraps molecules does; the box breathes."""
  positions, protein = whole
  rng = np.random.default_rng(4)
  cells = cell * (1.0 + 0.01 * rng.normal(size=(len(positions), 1, 1)))
  images = rng.integers(-1, 2, size=(len(positions), 2, 3)).astype(float)
  images[5:8] = 0.0
  shift = np.einsum('fci,fij->fcj', images, cells)
  return positions + shift[:, np.asarray(protein.arrays.chain_index), None], cells


def relative(positions):
  """Seen from the first atom."""
  return positions - positions[:, :1, :1]


@pytest.mark.parametrize('name', CELLS)
@pytest.mark.parametrize('block', [1, 7, 30])
def test_chains_come_back_together(whole, name, block):
  moved, cells = jumped(whole, CELLS[name])
  assert np.abs(relative(moved) - relative(whole[0])).max() > 30.0
  images = imaging.ChainImages(whole[1])
  found = [
    images.follow(moved[i : i + block], frames_of(moved[i : i + block], cells[i : i + block]))
    for i in range(0, len(moved), block)
  ]
  np.testing.assert_allclose(relative(np.concatenate(found)), relative(whole[0]), atol=1e-3)


def test_nothing_happens_without_a_box_or_a_second_chain(whole):
  moved, cells = jumped(whole, CELLS['cube'])
  images = imaging.ChainImages(whole[1])
  np.testing.assert_array_equal(images.follow(moved, frames_of(moved, None)), moved)
  np.testing.assert_array_equal(images.follow(moved, frames_of(moved, 0.0 * cells)), moved)
  alone = imaging.ChainImages(helices(1))
  np.testing.assert_array_equal(alone.follow(moved, frames_of(moved, cells)), moved)


def test_trajectories_are_read_so(whole):
  moved, cells = jumped(whole, CELLS['cube'])
  start = trajectory.Trajectory(whole[0][None].astype(np.float32), whole[1], 0.01)
  traj = frames_of(moved, cells, start.to_mdtraj().topology)
  traj.time = 10.0 * np.arange(len(moved))
  # The first frame is the conformation that the others follow.
  traj.xyz[0] = start.to_mdtraj().xyz[0]
  found = trajectory.Trajectory.from_mdtraj(traj, 'two')
  np.testing.assert_allclose(relative(found.positions[0]), relative(whole[0]), atol=2e-3)

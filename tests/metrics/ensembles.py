"""Small ensembles that shake, tumble and wander."""

import mdtraj
import numpy as np
from scipy.spatial.transform import Rotation

from tests import builders


def native(length=9):
  """[L, 4, 3] float32 Å, a helix."""
  return builders.helix(length).positions


def ensemble(rng, frames, length=9, scale=0.5):
  """[F, L, 4, 3] float32 Å: noise about the helix, more towards the end; no global motion."""
  spread = scale * np.linspace(0.5, 1.5, length)[:, None, None]
  return (native(length) + spread * rng.normal(size=(frames, length, 4, 3))).astype(np.float32)


def tumbled(rng, positions, shift=30.0):
  """Each frame moved by a rotation and a translation of its own."""
  turns = Rotation.random(len(positions), rng=rng).as_matrix()
  shifts = shift * rng.normal(size=(len(positions), 1, 1, 3))
  moved = np.einsum('fij,fraj->frai', turns, positions.astype(np.float64)) + shifts
  return moved.astype(np.float32)


def superposed(points, reference):
  """Points [N, 3] moved onto a reference, float64, by scipy."""
  points, reference = points.astype(np.float64), reference.astype(np.float64)
  centre = reference.mean(0)
  rotation, _ = Rotation.align_vectors(reference - centre, points - points.mean(0))
  return rotation.apply(points - points.mean(0)) + centre


def as_mdtraj(positions):
  """A trajectory of alanines, nm."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  for _ in range(positions.shape[1]):
    residue = top.add_residue('ALA', chain)
    for name in ('N', 'CA', 'C', 'O'):
      top.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  return mdtraj.Trajectory(positions.reshape(len(positions), -1, 3) / 10.0, top)


def ca_of_mdtraj(trajectory):
  """[F, L, 4, 3] float32 Å; NaN but for CA, for what looks at nothing else."""
  ca = trajectory.top.select('name CA')
  positions = np.full((trajectory.n_frames, len(ca), 4, 3), np.nan, np.float32)
  positions[:, :, 1] = 10.0 * trajectory.xyz[:, ca]
  return positions

"""Torsions of side chains in trajectories of mdtraj."""

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_torsions


class TorsionReader:
  """Measures the side chains of one protein, block by block."""

  def __init__(self, protein: protein_lib.Protein):
    """Finds the atoms.

    Args:
      protein: from `backbone_atoms.select`, of the topology that the frames belong to.
    """
    self._torsions = side_chain_torsions.of_protein(protein)

  def read(self, traj: mdtraj.Trajectory, frames: slice = slice(None)) -> np.ndarray | None:
    """The chi angles of every frame.

    Args:
      traj: any number of frames. Side chains that their periodic box cuts are put together.
      frames: F of them.

    Returns:
      [F, L, 4] float32 rad, NaN where there is none or it is not known; None where the topology has
      no side chains.
    """
    if self._torsions is None:
      return None
    xyz = traj.xyz[frames]
    chi = self._torsions.measure(xyz, unit=10.0)
    cut = np.isnan(chi[:, self._torsions.known]).any(axis=1)
    # mdtraj computes box vectors anew each time.
    if cut.any() and (vectors := traj.unitcell_vectors) is not None:
      cells = 10.0 * vectors[frames][cut].astype(np.float64)
      chi[cut] = self._torsions.measure(xyz[cut], [cells], unit=10.0)
    return chi

"""Chains that stay beside each other where a periodic box would put them apart.

A program that writes every molecule into the box moves a whole chain by a box vector when its
centre leaves: nothing within the chain tells of it.
"""

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib


class ChainImages:
  """Follows the chains of one trajectory, frame by frame, from a known conformation on."""

  def __init__(self, protein: protein_lib.Protein):
    """Begins with the conformation of the protein, whose chains lie as they should."""
    index = np.asarray(protein.arrays.chain_index)
    self._members = [index == chain for chain in range(protein.num_chains)]
    self._index = index
    self._before = self._offsets(np.asarray(protein.arrays.positions)[None])[0]

  def follow(self, positions: np.ndarray, traj: mdtraj.Trajectory) -> np.ndarray:
    """The next frames, each chain in the periodic image that is nearest to the one before.

    Distances are those from the first chain, which stays where it is.

    Args:
      positions: [F, L, 4, 3] Å.
      traj: the same F frames, of which the box is taken.

    Returns:
      [F, L, 4, 3] Å, of the same type.
    """
    shifts = self.shifts(positions, traj)
    return positions if shifts is None else positions + shifts[:, :, None].astype(positions.dtype)

  def shifts(self, positions: np.ndarray, traj: mdtraj.Trajectory) -> np.ndarray | None:
    """How `follow` moves the residues of the next frames.

    Args:
      positions: [F, L, 4, 3] Å.
      traj: the same F frames.

    Returns:
      [F, L, 3] float64 Å, to add; None where nothing moves.
    """
    if traj.unitcell_vectors is None or len(self._members) < 2 or not len(positions):
      return None
    cells = 10.0 * traj.unitcell_vectors.astype(np.float64)
    if not np.all(np.abs(np.linalg.det(cells)) > 1.0):  # Formats without a box write zeros.
      return None
    offsets = self._offsets(positions)
    steps = np.diff(np.concatenate([self._before[None], offsets]), axis=0)
    images = np.cumsum(np.round(np.nan_to_num(steps) @ np.linalg.inv(cells)), axis=0)
    shifts = images @ cells
    self._before = (offsets - shifts)[-1]
    return -shifts[:, self._index] if images.any() else None

  def _offsets(self, positions: np.ndarray) -> np.ndarray:
    """[F, C, 3] Å, from the centre of the first chain to those of all."""
    ca = positions[:, :, 1].astype(np.float64)
    centres = np.stack([ca[:, members].mean(axis=1) for members in self._members], axis=1)
    return centres - centres[:, :1]

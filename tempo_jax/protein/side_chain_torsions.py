"""Torsions of side chains in atoms as files and trajectories hold them; plain numpy.

What is not known is NaN: where an atom is absent, or so far from its neighbour that something is
wrong with one of them.
"""

from collections.abc import Iterable

import numpy as np

from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

_BACKBONE = 4  # N, CA, C, O come first.
# Å, of bonds between heavy atoms: 1.2 to 1.9, and heat and poor maps move them by less.
_SHORTEST, _LONGEST = 0.8, 2.5
# Squared sine of the angle between two bonds: less is a line, which has no torsion. Angles in
# molecules are within 50 degrees of a right one.
_IN_LINE = 0.04
# Numbers that are worked on at once: a few arrays of them stay in the cache of a core.
_BLOCK = 2**16


class SideChainTorsions:
  """Measures the chi angles of one protein, in any number of frames.

  Attributes:
    known: [L, 4] bool, the residue has this angle, and its four atoms are there.
  """

  def __init__(self, atom_index: np.ndarray, residue_type: np.ndarray):
    """Finds the atoms.

    Args:
      atom_index: [L, 14] rows of the coordinates, -1 for missing atoms; `side_chain_atoms.slots`.
      residue_type: [L], index into `protein.RESIDUE_TYPES`.
    """
    slots = side_chain_table.CHI_SLOTS[np.asarray(residue_type)]
    rows = np.take_along_axis(np.asarray(atom_index)[:, None], np.maximum(slots, 0), axis=-1)
    self.known = ((slots >= 0) & (rows >= 0)).all(axis=-1)
    # Each angle goes one atom further along one path: N, CA, CB, ... Residues are worked on
    # together up to the last angle that is known.
    paths = np.concatenate([rows[:, 0], rows[:, 1:, 3]], axis=1)
    last = np.where(self.known, np.arange(1, 5), 0).max(axis=1)
    self._groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for count in range(1, 5):
      (residues,) = np.nonzero(last == count)
      if len(residues):
        known = self.known[residues, :count].T
        angles = (4 * residues + np.arange(count)[:, None])[known]
        atoms = np.maximum(paths[residues, : count + 3], 0).T
        numbers = 3 * atoms + np.arange(3)[:, None, None]
        self._groups.append((numbers, known, angles))

  def measure(
    self, coordinates: np.ndarray, cells: Iterable[np.ndarray] = (), unit: float = 1.0
  ) -> np.ndarray:
    """The angles of every frame.

    Args:
      coordinates: [F, N, 3].
      cells: periodic boxes, [3, 3] or [F, 3, 3] Å, rows are the vectors. Bonds that are too long
        are taken across the first of them that mends them.
      unit: of the coordinates, Å.

    Returns:
      [F, L, 4] float32 radians in (-pi, pi], NaN where there is none or it is not known.
    """
    num_frames, length = len(coordinates), len(self.known)
    usable = [cell for cell in cells if (np.abs(np.linalg.det(cell)) > 1.0).all()]
    boxes = [np.broadcast_to(cell, (num_frames, 3, 3)) for cell in usable]
    found = np.empty((num_frames, 4 * length), np.float32)
    size = max(1, _BLOCK // max(1, sum(numbers.size for numbers, _, _ in self._groups)))
    # Single numbers are taken faster than atoms.
    flat = coordinates.reshape(num_frames, 3 * coordinates.shape[1])
    for start in range(0, num_frames, size):
      frames = slice(start, min(start + size, num_frames))
      block = flat[frames]
      here = np.full((4 * length, len(block)), np.nan, np.float32)
      for numbers, known, angles in self._groups:
        atoms = np.ascontiguousarray(block.take(numbers, axis=1).transpose(1, 2, 3, 0))
        with np.errstate(over='ignore', invalid='ignore'):  # corrupt coordinates
          atoms *= unit
          here[angles] = _angles(atoms, [box[frames] for box in boxes])[known]
      found[frames] = here.T
    return found.reshape(num_frames, length, 4)


def _angles(atoms: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
  """Of paths [3, 3 + n, R, F] Å the n torsions [n, R, F]; loops run along residues and frames."""
  bonds = np.diff(atoms, axis=1)
  squares = _dot(bonds, bonds)
  for box in boxes:
    far = ~(squares < _LONGEST**2)
    if not far.any():
      break
    bond, residue, frame = np.nonzero(far)
    moved = _nearest_image(bonds[:, bond, residue, frame].T, box[frame])
    better = _dot(moved.T, moved.T) < _LONGEST**2
    bonds[:, bond[better], residue[better], frame[better]] = moved[better].T
    squares = _dot(bonds, bonds)
  normals = _cross(bonds[:, :-1], bonds[:, 1:])
  sound = (squares > _SHORTEST**2) & (squares < _LONGEST**2)
  sound = sound[:-1] & sound[1:]
  sound &= _dot(normals, normals) > _IN_LINE * squares[:-1] * squares[1:]
  sine = np.sqrt(squares[1:-1]) * _dot(bonds[:, :-2], normals[:, 1:])
  angles = np.arctan2(sine, _dot(normals[:, :-1], normals[:, 1:])).astype(np.float32)
  angles[angles == -np.float32(np.pi)] = np.pi  # Of half a turn, if the sine is -0.
  angles[~(sound[:-1] & sound[1:])] = np.nan
  return angles


def of_protein(found: protein_lib.Protein) -> SideChainTorsions | None:
  """For the frames of the source that a protein was read from; None if it has no side chains."""
  if found.arrays.chi is None or found.heavy_atom_index is None:
    return None
  return SideChainTorsions(found.heavy_atom_index, found.arrays.residue_type)


def of_structure(
  coordinates: np.ndarray, atom_index: np.ndarray, residue_type: np.ndarray
) -> np.ndarray | None:
  """The angles of one conformation.

  Args:
    coordinates: [N, 3] Å.
    atom_index: [L, 14] rows, -1 for missing atoms.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4] float32 radians, NaN where there is none or it is not known; None where residues should
    have side chains, and not one atom of them is there.
  """
  expected = side_chain_atoms.atom_mask(residue_type)[:, _BACKBONE:]
  if expected.any() and (atom_index[:, _BACKBONE:] < 0).all():
    return None
  return SideChainTorsions(atom_index, residue_type).measure(coordinates[None])[0]


def missing_atoms(atom_index: np.ndarray, residue_type: np.ndarray) -> tuple[tuple[str, ...], ...]:
  """Of each residue, the names of the atoms of its side chain that it should have and has not."""
  missing = side_chain_atoms.atom_mask(residue_type) & (atom_index < 0)
  missing[:, :_BACKBONE] = False
  return tuple(
    tuple(side_chain_atoms.ATOM_NAMES[kind][slot] for slot in np.flatnonzero(of_residue))
    for kind, of_residue in zip(residue_type.tolist(), missing, strict=True)
  )


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """np.cross takes three times as long."""
  found = np.empty_like(a)
  for k in range(3):
    i, j = (k + 1) % 3, (k + 2) % 3
    np.multiply(a[i], b[j], out=found[k])
    found[k] -= a[j] * b[i]
  return found


def _nearest_image(steps: np.ndarray, cells: np.ndarray) -> np.ndarray:
  """[n, 3] across boxes [n, 3, 3]."""
  images = np.round(np.nan_to_num(steps)[:, None].astype(np.float64) @ np.linalg.inv(cells))
  return (steps[:, None] - images @ cells)[:, 0].astype(steps.dtype)

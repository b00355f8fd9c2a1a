"""Torsions of side chains in atoms as files and trajectories hold them; plain numpy.

What is not known is NaN: where an atom is absent, or so far from its neighbour that something is
wrong with one of them.
"""

from collections.abc import Iterable, Iterator

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
_BLOCK = 2**15


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
    quartets = rows[self.known]
    # Angles of a side chain share bonds, and planes of two bonds: each is computed once.
    self._atoms, quartets = _unique(quartets)
    pairs = np.stack([quartets[:, :-1], quartets[:, 1:]], axis=-1)  # [angle, bond, atom]
    self._bonds, bonds = _unique(pairs, 1)
    planes = np.stack([bonds[:, :-1], bonds[:, 1:]], axis=-1)
    self._planes, self._sides = _unique(planes, 1)
    self._first, self._axis = bonds[:, 0], bonds[:, 1]

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
    found = np.full((len(coordinates), *self.known.shape), np.nan, np.float32)
    if not self.known.any() or not len(coordinates):
      return found
    boxes = [np.broadcast_to(cell, (len(coordinates), 3, 3)) for cell in cells]
    boxes = [box for box in boxes if (np.abs(np.linalg.det(box)) > 1.0).all()]
    size = max(1, _BLOCK // len(self._atoms))
    for frames in _slices(len(coordinates), size):
      with np.errstate(over='ignore', invalid='ignore', divide='ignore'):  # corrupt coordinates
        atoms = unit * coordinates[frames].take(self._atoms, axis=1).transpose(2, 1, 0)
        angles = self._of_block(np.ascontiguousarray(atoms), [box[frames] for box in boxes])
      found[frames][:, self.known] = angles.T
    return found

  def _of_block(self, atoms: np.ndarray, boxes: list[np.ndarray]) -> np.ndarray:
    """[angles, F] of atoms [3, A, F] Å; all is [3, ..., F], so that loops run along frames."""
    bonds = atoms.take(self._bonds[:, 1], axis=1) - atoms.take(self._bonds[:, 0], axis=1)
    squares = _dot(bonds, bonds)
    for box in boxes:
      far = ~(squares < _LONGEST**2)
      if not far.any():
        break
      bond, frame = np.nonzero(far)
      moved = _nearest_image(bonds[:, bond, frame].T, box[frame])
      better = _dot(moved.T, moved.T) < _LONGEST**2
      bonds[:, bond[better], frame[better]] = moved[better].T
      squares = _dot(bonds, bonds)
    first, second = self._planes.T
    normals = _cross(bonds.take(first, axis=1), bonds.take(second, axis=1))
    sizes = _dot(normals, normals)
    sound = (squares > _SHORTEST**2) & (squares < _LONGEST**2)
    flat = sizes > _IN_LINE * squares.take(first, axis=0) * squares.take(second, axis=0)
    flat &= sound.take(first, axis=0) & sound.take(second, axis=0)
    left, right = self._sides.T
    after = normals.take(right, axis=1)
    sine = np.sqrt(squares.take(self._axis, axis=0)) * _dot(bonds.take(self._first, axis=1), after)
    cosine = _dot(normals.take(left, axis=1), after)
    angles = np.arctan2(sine, cosine).astype(np.float32)
    angles[angles == -np.float32(np.pi)] = np.pi  # Of half a turn, if the sine is -0.
    angles[~(flat.take(left, axis=0) & flat.take(right, axis=0))] = np.nan
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


def _unique(values: np.ndarray, num_last: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """What occurs (items of the last `num_last` axes), and where each stands therein."""
  shape = values.shape[: values.ndim - num_last]
  found, inverse = np.unique(
    values.reshape(-1, *values.shape[len(shape) :]), return_inverse=True, axis=0
  )
  return found, inverse.reshape(shape)


def _slices(end: int, size: int) -> Iterator[slice]:
  for start in range(0, end, size):
    yield slice(start, min(start + size, end))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """np.cross takes three times as long."""
  return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _nearest_image(steps: np.ndarray, cells: np.ndarray) -> np.ndarray:
  """[n, 3] across boxes [n, 3, 3]."""
  images = np.round(np.nan_to_num(steps)[:, None].astype(np.float64) @ np.linalg.inv(cells))
  return (steps[:, None] - images @ cells)[:, 0].astype(steps.dtype)

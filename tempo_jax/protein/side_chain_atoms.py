"""Which heavy atoms and chi angles a residue type has, and where they stand among named atoms."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import protein as protein_lib

ATOM_NAMES: tuple[tuple[str, ...], ...] = side_chain_table.ATOM_NAMES
"""By index into `protein.RESIDUE_TYPES`: N, CA, C, O, CB, then outwards in the PDB's order."""

MISSING = -1
_OTHER_NAMES = {
  'O': candidate_lib.OXYGEN_NAMES[1:],
  # CHARMM and GROMOS, isoleucine.
  'CD1': ('CD',),
  # Selenomethionine and selenocysteine, which are read as their sulphur parents.
  'SD': ('SE',),
  'SG': ('SE',),
}
# Half a turn changes nothing: benzene rings and carboxylates.
_HALF_TURN = {'PHE': 2, 'TYR': 2, 'ASP': 2, 'GLU': 3}
# How many chi angles, from the first, are about bonds between tetrahedral carbons. The others,
# about a bond to a plane (the last one of ARG, ASN, ASP, GLN, GLU, of rings) or to sulphur (the
# last of MET), have no forbidden values.
_STAGGERED = {
  **dict.fromkeys(('CYS', 'ASP', 'PHE', 'HIS', 'ASN', 'SER', 'THR', 'VAL', 'TRP', 'TYR'), 1),
  **dict.fromkeys(('GLU', 'ILE', 'LEU', 'MET', 'GLN'), 2),
  'ARG': 3,
  'LYS': 4,
}
_NUM_STAGGERED = np.array([_STAGGERED.get(name, 0) for name in protein_lib.RESIDUE_TYPES])
_MASKS = np.array(
  [np.arange(side_chain_table.NUM_ATOMS) < len(names) for names in side_chain_table.ATOM_NAMES]
)
_CHI_MASKS = side_chain_table.CHI_SLOTS[..., 0] >= 0
# Å^2, of the cross product of two bonds: less is a line, which has no torsion.
_DEGENERATE = 1e-5


def atom_mask(residue_type: np.ndarray) -> np.ndarray:
  """Which of 14 slots are atoms.

  Args:
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 14] bool.
  """
  return _MASKS[np.asarray(residue_type)]


def chi_mask(residue_type: np.ndarray) -> np.ndarray:
  """Which chi angles a residue has; of proline chi1 alone, since its ring fixes the other.

  Args:
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4] bool.
  """
  return _CHI_MASKS[np.asarray(residue_type)]


def staggered_mask(residue_type: np.ndarray) -> np.ndarray:
  """Which chi angles are staggered, near -60, 60 or 180 degrees, and seldom between.

  Args:
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4] bool.
  """
  counted = _NUM_STAGGERED[np.asarray(residue_type)]
  return np.arange(side_chain_table.NUM_CHI) < counted[..., None]


def chi_period(residue_type: np.ndarray) -> np.ndarray:
  """After which turn atoms of the same elements are in the same places.

  Args:
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4] float64 radians: pi for chi2 of PHE, TYR and ASP and chi3 of GLU, else 2 pi.
  """
  periods = np.full((len(ATOM_NAMES), side_chain_table.NUM_CHI), 2.0 * math.pi)
  for name, chi in _HALF_TURN.items():
    periods[protein_lib.RESIDUE_TYPES.index(name), chi - 1] = math.pi
  return periods[np.asarray(residue_type)]


def slots(atoms: Sequence[Mapping[str, int]], residue_type: np.ndarray) -> np.ndarray:
  """Named atoms -> the 14 of each residue.

  Args:
    atoms: of each of L residues, atom name -> row of the coordinates, e.g. `Candidate.atoms`.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 14] int64 rows, -1 where an atom is missing or the type lacks it. Other programs' names of
    an atom count where the PDB's own is not there: CD of ILE, SE of selenium, OT1.
  """
  found = np.full((len(atoms), side_chain_table.NUM_ATOMS), MISSING, np.int64)
  for row, of_residue, kind in zip(found, atoms, np.asarray(residue_type).tolist(), strict=True):
    for slot, name in enumerate(ATOM_NAMES[kind]):
      for called in (name, *_OTHER_NAMES.get(name, ())):
        if called in of_residue:
          row[slot] = of_residue[called]
          break
  return found


def measured_chi(
  coordinates: np.ndarray, atom_index: np.ndarray, residue_type: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Chi angles of atoms as they come from a file.

  Args:
    coordinates: [..., N, 3] Å.
    atom_index: [L, 14] rows, from `slots`.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    Angles [..., L, 4] float64, radians in (-pi, pi], 0 where unknown; and [..., L, 4] bool: the
    residue has this chi, and its four atoms are there, are numbers, and make a torsion.
  """
  atom_index, residue_type = np.asarray(atom_index), np.asarray(residue_type)
  of_chi = side_chain_table.CHI_SLOTS[residue_type]
  rows = np.take_along_axis(atom_index[:, None], np.maximum(of_chi, 0), axis=-1)
  there = (of_chi >= 0).all(axis=-1) & (rows >= 0).all(axis=-1)
  # What is not known is not computed: one chi in three.
  a, b, c, d = (np.asarray(coordinates, np.float64)[..., row, :] for row in rows[there].T)
  axis = c - b
  left, right = np.cross(b - a, axis), np.cross(axis, d - c)
  length = np.linalg.norm(axis, axis=-1)
  sine, cosine = length * ((b - a) * right).sum(axis=-1), (left * right).sum(axis=-1)
  sizes = np.minimum(np.linalg.norm(left, axis=-1), np.linalg.norm(right, axis=-1))
  usable = sizes > _DEGENERATE  # False for what is not a number.
  angles = np.zeros((*sizes.shape[:-1], *there.shape))
  known = np.zeros(angles.shape, bool)
  # Atan2 gives -pi for half a turn if the sine is -0.
  turned = np.arctan2(sine, cosine)
  angles[..., there] = np.where(usable, np.where(turned > -math.pi, turned, math.pi), 0.0)
  known[..., there] = usable
  return angles, known

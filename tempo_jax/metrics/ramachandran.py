"""Residues whose phi and psi are where hardly any residue has them. Plain numpy.

The regions are contours of our own (`geometry.ramachandran_table`), good for comparing a
prediction with MD, no substitute for MolProbity's.

Blind to: the other torsions, the residue type within a class (valine and isoleucine have less
room), cis peptides before proline, D amino acids (all but a few of which are outliers), and whether
the neighbours suit. A strained residue of a real protein, as in tight turns, counts.
"""

import numpy as np

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ramachandran_table
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import ramachandran_classes

_NONE = -1
_UNKNOWN = protein_lib.RESIDUE_TYPES.index('UNK')


def classes(residue_type: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds) -> np.ndarray:
  """The class of each residue: glycine and proline come before pre-proline.

  Args:
    residue_type: [L] index into `protein.RESIDUE_TYPES`.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.

  Returns:
    [L] int64 index into `ramachandran_table.CLASSES`, -1 where the residue type is unknown.
  """
  residue_type = np.asarray(residue_type)
  here, there = bonds_lib.pairs(bonded)
  before_proline = np.zeros(len(residue_type), bool)
  before_proline[here] = residue_type[there] == ramachandran_classes.PROLINE
  found = ramachandran_classes.of(residue_type, before_proline, np.where)
  return np.where(residue_type == _UNKNOWN, _NONE, found)


def outliers(
  phi: np.ndarray,
  psi: np.ndarray,
  residue_type: np.ndarray,
  bonded: np.ndarray | bonds_lib.Bonds,
) -> tuple[np.ndarray, np.ndarray]:
  """Residues outside of the contour of their class.

  Args:
    phi: [F, L] radians, from `torsions.backbone_torsions`.
    psi: [F, L] radians, alike.
    residue_type: [L] index into `protein.RESIDUE_TYPES`.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.

  Returns:
    [F, L] bool, and [L] bool, which residues are judged: those with phi and psi, but unknown ones.
    Of a judged residue, angles that are not numbers are outliers.
  """
  kinds = classes(residue_type, bonded)
  here, there = bonds_lib.pairs(bonded)
  judged = kinds != _NONE
  judged &= np.isin(np.arange(len(kinds)), here) & np.isin(np.arange(len(kinds)), there)
  x, y = phi[:, judged], psi[:, judged]
  numbers = np.isfinite(x + y)
  cell = (ramachandran_table.cells(np.where(numbers, angle, 0.0)) for angle in (x, y))
  inside = ramachandran_table.contours()[kinds[judged], *cell]
  outlier = np.zeros(phi.shape, bool)
  outlier[:, judged] = ~(inside & numbers)
  return outlier, judged

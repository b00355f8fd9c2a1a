"""The hands of chiral centres and the omegas of peptides, for topologies of OpenMM."""

from typing import Any

import numpy as np

# Of the residues named (all, if none): a centre and three neighbours, in the order that makes
# the triple product of the bonds to them positive.
_CENTERS = (
  ('CA', ('N', 'C', 'CB'), None),
  ('CB', ('CA', 'CG1', 'CG2'), 'ILE'),
  ('CB', ('CA', 'OG1', 'CG2'), 'THR'),
)

# Å³. In 100,000 frames of MD at 320 K 2.5 ± 0.2, never below 1.4; a D-residue has -2.5.
_MIN_VOLUME = 0.5
# Degrees. There |omega| of a trans peptide is never below 134.
_MIN_TRANS, _MAX_CIS = 120.0, 60.0


def label(residue: Any) -> str:
  """How messages name a residue of OpenMM, e.g. 'A:52B GLY'."""
  chain, code = residue.chain.id.strip(), residue.insertionCode.strip()
  return f'{chain + ":" if chain else ""}{residue.id.strip()}{code} {residue.name}'


class Stereochemistry:
  """Finds the centres and peptides of one `openmm.app.Topology`."""

  def __init__(self, topology: Any):
    self._centers: list[tuple[Any, str]] = []
    self._peptides: list[str] = []
    self._to_proline: list[bool] = []
    center_atoms, peptide_atoms = [], []
    for chain in topology.chains():
      before, previous = None, dict[str, int]()
      for residue in chain.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        for center, neighbours, name in _CENTERS:
          if name in (None, residue.name) and {center, *neighbours} <= atoms.keys():
            self._centers.append((residue, center))
            center_atoms.append([atoms[atom] for atom in (center, *neighbours)])
        if {'CA', 'C'} <= previous.keys() and {'N', 'CA'} <= atoms.keys():
          self._peptides.append(f'{label(before)} and {label(residue)}')
          self._to_proline.append(residue.name == 'PRO')
          peptide_atoms.append([previous['CA'], previous['C'], atoms['N'], atoms['CA']])
        before, previous = residue, atoms
    self._center_atoms = np.array(center_atoms, np.int64).reshape(-1, 4)
    self._peptide_atoms = np.array(peptide_atoms, np.int64).reshape(-1, 4)

  def wrong_hands(self, positions: np.ndarray) -> list[tuple[Any, str]]:
    """Residues, and which of their atoms, 'CA' or 'CB', has not the hand of an L-residue.

    Args:
      positions: [N, 3] nm.
    """
    points = 10.0 * np.asarray(positions, np.float64)[self._center_atoms]
    volume = np.linalg.det(points[:, 1:] - points[:, :1])
    return [self._centers[i] for i in np.flatnonzero(~(volume > _MIN_VOLUME))]

  def omegas(self, positions: np.ndarray) -> np.ndarray:
    """[number of peptides] degrees, from positions [N, 3] nm."""
    a, b, c, d = np.moveaxis(np.asarray(positions, np.float64)[self._peptide_atoms], 1, 0)
    axis = (c - b) / np.linalg.norm(c - b, axis=-1, keepdims=True)
    u, v = np.cross(axis, a - b), np.cross(axis, d - c)
    return np.rad2deg(np.arctan2(np.sum(np.cross(u, v) * axis, -1), np.sum(u * v, -1)))

  def twisted(self, positions: np.ndarray) -> list[str]:
    """Peptides that are neither cis nor trans; positions [N, 3] nm."""
    return [
      f'{peptide} ({omega:.0f}°)'
      for peptide, omega in zip(self._peptides, self.omegas(positions), strict=True)
      if not (abs(omega) >= _MIN_TRANS or abs(omega) <= _MAX_CIS)
    ]

  def cis_without_proline(self, positions: np.ndarray) -> list[str]:
    """Cis peptides before other residues than proline; positions [N, 3] nm."""
    peptides = zip(self._peptides, self._to_proline, self.omegas(positions), strict=True)
    return [peptide for peptide, pro, omega in peptides if not pro and abs(omega) <= _MAX_CIS]

  def problems(self, positions: np.ndarray, reference: np.ndarray) -> list[str]:
    """What is wrong with a conformation; one line each.

    Args:
      positions: [N, 3] nm.
      reference: [N, 3] nm, in which every peptide is as it should be.
    """
    lines = [
      f'{label(residue)} has the hand of a D-residue at {center}'
      for residue, center in self.wrong_hands(positions)
    ]
    pairs = zip(self._peptides, self.omegas(positions), self.omegas(reference), strict=True)
    for peptide, omega, was in pairs:
      if not (abs(omega) <= _MAX_CIS if abs(was) <= 90.0 else abs(omega) >= _MIN_TRANS):
        lines.append(f'omega between {peptide} is {omega:.0f}°, and was {was:.0f}°')
    return lines

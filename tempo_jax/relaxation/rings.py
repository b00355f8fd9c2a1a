"""Bonds that pass through a ring of another side chain: no minimiser and no MD pulls them out."""

import dataclasses
from typing import Any

import numpy as np
from scipy import spatial

from tempo_jax.preparation.simulation import stereochemistry

_RINGS = {
  'PHE': (('CG', 'CD1', 'CE1', 'CZ', 'CE2', 'CD2'),),
  'TYR': (('CG', 'CD1', 'CE1', 'CZ', 'CE2', 'CD2'),),
  'HIS': (('CG', 'ND1', 'CE1', 'NE2', 'CD2'),),
  'PRO': (('N', 'CA', 'CB', 'CG', 'CD'),),
  'TRP': (
    ('CG', 'CD1', 'NE1', 'CE2', 'CD2'),
    ('CD2', 'CE2', 'CZ2', 'CH2', 'CZ3', 'CE3'),
  ),
}
# nm, between the centre of a ring and the middle of a bond through it: half of the longest bond
# (S-S, stretched) and the radius of a ring.
_REACH = 0.3


@dataclasses.dataclass(frozen=True)
class Piercing:
  """A bond through a ring.

  Attributes:
    ring: indices of the ring's atoms, in their order around it.
    bond: indices of the two atoms of the bond.
    text: for messages.
  """

  ring: tuple[int, ...]
  bond: tuple[int, int]
  text: str


class Rings:
  """The rings and the bonds of one `openmm.app.Topology`."""

  def __init__(self, topology: Any):
    self._atoms = list(topology.atoms())
    self._rings: list[np.ndarray] = []
    for residue in topology.residues():
      index = {atom.name: atom.index for atom in residue.atoms()}
      for names in _RINGS.get(residue.name, ()):
        if index.keys() >= set(names):
          self._rings.append(np.array([index[name] for name in names]))
    bonds = [(first.index, second.index) for first, second in topology.bonds()]
    self._bonds = np.array(bonds, np.int64).reshape(-1, 2)

  def pierced(self, positions: np.ndarray) -> list[Piercing]:
    """The bonds that cross the surface that a ring spans.

    The surface is a fan of triangles from the ring's centre, so that puckered rings have one, too.
    Bonds of the ring's own atoms do not count.

    Args:
      positions: [N, 3] nm.
    """
    positions = np.asarray(positions, np.float64)
    if not self._rings or not len(self._bonds):
      return []
    middles = positions[self._bonds].mean(axis=1)
    centres = np.array([positions[ring].mean(axis=0) for ring in self._rings])
    near = spatial.cKDTree(middles).query_ball_point(centres, _REACH)
    found = []
    for ring, centre, rows in zip(self._rings, centres, near, strict=True):
      bonds = self._bonds[sorted(rows)]
      bonds = bonds[~np.isin(bonds, ring).any(axis=1)]
      corners = positions[ring]
      crossed = _crosses(positions[bonds], centre, corners, np.roll(corners, -1, axis=0))
      found += [self._piercing(ring, bond) for bond in bonds[crossed]]
    return found

  def _piercing(self, ring: np.ndarray, bond: np.ndarray) -> Piercing:
    first, second = (self._atoms[i] for i in bond)
    labels = [stereochemistry.label(atom.residue) for atom in (first, second)]
    if labels[0] == labels[1]:
      text = f'{labels[0]} {first.name}-{second.name}'
    else:
      text = f'{labels[0]} {first.name} - {labels[1]} {second.name}'
    text += f' through the ring of {stereochemistry.label(self._atoms[ring[0]].residue)}'
    return Piercing(tuple(ring.tolist()), (int(bond[0]), int(bond[1])), text)


def _crosses(
  bonds: np.ndarray, centre: np.ndarray, corners: np.ndarray, following: np.ndarray
) -> np.ndarray:
  """[B] bool: which segments [B, 2, 3] cross a triangle of the centre [3] and corners [K, 3] twice.

  Moeller & Trumbore, J. Graphics Tools 2, 21 (1997).
  """
  start = bonds[:, None, 0]
  along = bonds[:, None, 1] - start
  one, other = corners - centre, following - centre
  across = np.cross(along, other)
  determinant = np.sum(one * across, axis=-1)
  parallel = np.abs(determinant) < 1e-12
  scale = 1.0 / np.where(parallel, 1.0, determinant)
  offset = start - centre
  u = scale * np.sum(offset * across, axis=-1)
  normal = np.cross(offset, one)
  v = scale * np.sum(along * normal, axis=-1)
  where = scale * np.sum(other * normal, axis=-1)
  inside = (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0) & (where >= 0.0) & (where <= 1.0)
  return np.any(inside & ~parallel, axis=-1)

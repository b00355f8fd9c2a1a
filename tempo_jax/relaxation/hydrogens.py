"""Hydrogens whose place the heavy atoms determine.

OpenMM lets new hydrogens repel each other and everything else. Where atoms overlap, that pushes
some HA to the side of CB, and minimisation would then turn the hand of the residue.
"""

from typing import Any

import numpy as np

_LENGTH = {'C': 0.109, 'N': 0.101}  # nm; ff14SB has 1.08 to 1.09 Å and 1.01 Å


def straighten(topology: Any, positions: np.ndarray) -> np.ndarray:
  """Puts each hydrogen that is alone on an atom with several heavy neighbours opposite to them.

  Args:
    topology: `openmm.app.Topology` of all atoms, with bonds.
    positions: [N, 3] nm.

  Returns:
    [N, 3] nm, a copy.
  """
  positions = np.array(positions, np.float64)
  neighbours: dict[int, list[Any]] = {}
  for first, second in topology.bonds():
    neighbours.setdefault(first.index, []).append(second)
    neighbours.setdefault(second.index, []).append(first)
  for atom in topology.atoms():
    found = neighbours.get(atom.index, [])
    hydrogens = [other.index for other in found if other.element.symbol == 'H']
    heavy = [other.index for other in found if other.element.symbol != 'H']
    if len(hydrogens) == 1 and len(heavy) > 1 and atom.element.symbol in _LENGTH:
      away = positions[atom.index] - positions[heavy]
      away /= np.linalg.norm(away, axis=-1, keepdims=True)
      direction = away.sum(axis=0)
      size = np.linalg.norm(direction)
      if size > 0.1:  # Else they lie in a line, or around it.
        length = _LENGTH[atom.element.symbol]
        positions[hydrogens[0]] = positions[atom.index] + length * direction / size
  return positions

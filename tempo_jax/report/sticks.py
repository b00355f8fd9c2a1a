"""Side chains as the 3-D viewer draws them: their atoms, and the bonds between these."""

import dataclasses

import numpy as np

from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import covalent_bonds, side_chain_atoms
from tempo_jax.protein import protein as protein_lib

_N, _CA, _C, _O = range(4)
_SLOTS = side_chain_table.NUM_ATOMS


@dataclasses.dataclass(frozen=True)
class Sticks:
  """What is drawn beside the cartoon of the backbone.

  Attributes:
    residue: [S] of each atom, by index.
    slot: [S] of each atom, among the 14 of its residue.
    elements: S letters.
    bonds: [B, 2] between these atoms, by index; -1 - i stands for CA of residue i.
  """

  residue: np.ndarray
  slot: np.ndarray
  elements: str
  bonds: np.ndarray

  @classmethod
  def of(cls, protein: protein_lib.ProteinArrays) -> 'Sticks':
    """Of all side chains, with the N of prolines, whose rings it closes, and disulphides."""
    types = np.asarray(protein.residue_type)
    there = side_chain_atoms.atom_mask(types)
    there[:, : _O + 1] = False
    there[types == protein_lib.RESIDUE_TYPES.index('PRO'), _N] = True
    residue, slot = np.nonzero(there)
    elements = ''.join(
      side_chain_atoms.ATOM_NAMES[types[i]][k][0] for i, k in zip(residue, slot, strict=True)
    )
    index = np.full(there.size, there.size)  # of what is not drawn
    index[np.flatnonzero(there)] = np.arange(len(residue))
    index[_CA::_SLOTS] = -1 - np.arange(len(types))
    bonds = index[covalent_bonds.between_atoms(protein)]
    drawn = (bonds < there.size).all(axis=1) & (bonds >= 0).any(axis=1)
    return cls(residue, slot, elements, bonds[drawn])

  def from_ca(self, heavy_atoms: np.ndarray) -> np.ndarray:
    """[F, S, 3] Å: where the atoms are, seen from CA of their residue, of [F, L, 14, 3] Å."""
    return heavy_atoms[:, self.residue, self.slot] - heavy_atoms[:, self.residue, _CA]

"""Which heavy atoms of a protein are bonded: within residues, along chains, by disulphides.

Atoms are numbered 14 x residue + slot, the slots those of `side_chain_atoms.ATOM_NAMES`.
"""

import numpy as np
from scipy import sparse

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

_N, _C = 0, 2
_BACKBONE = (('N', 'CA'), ('CA', 'C'), ('C', 'O'))
# The table of `side_chain_table` puts each atom onto one; these bonds close rings.
_CLOSING = {
  'HIS': [('CE1', 'NE2')],
  'PHE': [('CE2', 'CZ')],
  'PRO': [('CG', 'CD'), ('CD', 'N')],
  'TRP': [('NE1', 'CE2'), ('CZ3', 'CH2')],
  'TYR': [('CE2', 'CZ')],
}


def within_residue(residue_type: int) -> np.ndarray:
  """[B, 2] slots of bonded atoms of a residue type, an index into `protein.RESIDUE_TYPES`."""
  names = side_chain_atoms.ATOM_NAMES[residue_type]
  kind = protein_lib.RESIDUE_TYPES[residue_type]
  found = [*_BACKBONE, *([('CA', 'CB')] if 'CB' in names else [])]
  found += [(row.onto[-1], row.atom) for row in side_chain_table.PLACED.get(kind, ())]
  found += _CLOSING.get(kind, [])
  return np.array([[names.index(atom) for atom in bond] for bond in found])


def between_atoms(protein: protein_lib.ProteinArrays) -> np.ndarray:
  """[B, 2] int64 atoms of every bond, without padding."""
  types = np.asarray(protein.residue_type)
  found = [
    side_chain_table.NUM_ATOMS * i + within_residue(kind) for i, kind in enumerate(types.tolist())
  ]
  here, there = bonds_lib.pairs(protein.bonds)
  found.append(
    np.stack(
      [side_chain_table.NUM_ATOMS * here + _C, side_chain_table.NUM_ATOMS * there + _N], axis=-1
    )
  )
  found.append(sulphur_bridges(protein))
  return np.concatenate(found)


def sulphur_bridges(protein: protein_lib.ProteinArrays) -> np.ndarray:
  """[B, 2] int64 SG of every disulphide; each bridge once."""
  if protein.disulphides is None:
    return np.zeros((0, 2), np.int64)
  partner = np.asarray(protein.disulphides).astype(np.int64)
  cysteine = protein_lib.RESIDUE_TYPES.index('CYS')
  slot = side_chain_atoms.ATOM_NAMES[cysteine].index('SG')
  (first,) = np.nonzero(partner > np.arange(len(partner)))
  return side_chain_table.NUM_ATOMS * np.stack([first, partner[first]], axis=-1) + slot


def pairs_within(protein: protein_lib.ProteinArrays, num_bonds: int) -> np.ndarray:
  """Pairs of atoms that at most so many bonds part.

  Args:
    protein: [L] residues, without padding.
    num_bonds: e.g. 2: bonded atoms, and those that have a bonded one in common.

  Returns:
    [P] int64, sorted: a x (14 L) + b, of atoms a < b.
  """
  size = side_chain_table.NUM_ATOMS * len(protein.residue_type)
  a, b = between_atoms(protein).T
  step = sparse.coo_array((np.ones(len(a), np.int32), (a, b)), shape=(size, size)).tocsr()
  step = step + step.T + sparse.eye_array(size, dtype=np.int32, format='csr')
  reached = step
  for _ in range(num_bonds - 1):
    reached = reached @ step
  a, b = (index.astype(np.int64) for index in reached.nonzero())
  return np.sort((a * size + b)[a < b])

"""The atoms that trajectories hold: the four of the backbone, or all heavy ones.

An array of positions is [..., L, 4, 3], N, CA, C, O, or [..., L, 14, 3], of which each residue
fills the slots of its type (`side_chain_atoms`) and the others are at its CA. Files and mdtraj hold
only the atoms that exist, one after the other: [..., N, 3].
"""

import jax
import mdtraj
import numpy as np

from tempo_jax.protein import covalent_bonds, side_chain_atoms
from tempo_jax.protein import protein as protein_lib

BACKBONE, HEAVY = 'backbone', 'heavy'
CHOICES = (HEAVY, BACKBONE)
NUM_SLOTS = {BACKBONE: 4, HEAVY: 14}
_CA = 1


def choice_of(positions: jax.Array | np.ndarray) -> str:
  """Which of both an array [..., L, A, 3] holds.

  Raises:
    ValueError: A is neither 4 nor 14.
  """
  for choice, num_slots in NUM_SLOTS.items():
    if positions.ndim > 2 and positions.shape[-2:] == (num_slots, 3):
      return choice
  raise ValueError(f'positions have shape {positions.shape}, not (..., residues, 4 or 14, 3)')


def mask(residue_type: np.ndarray, choice: str) -> np.ndarray:
  """[L, A] bool: the slots that the residues fill."""
  return np.asarray(side_chain_atoms.atom_mask(residue_type))[:, : NUM_SLOTS[choice]]


def names(residue_type: np.ndarray, choice: str) -> list[tuple[str, ...]]:
  """Of each residue, in the order of the trajectory."""
  num_slots = NUM_SLOTS[choice]
  return [side_chain_atoms.ATOM_NAMES[i][:num_slots] for i in np.asarray(residue_type).tolist()]


def flat(positions: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """[..., N, 3], the atoms that exist, of [..., L, A, 3]."""
  choice = choice_of(positions)
  if choice == BACKBONE:  # without a copy
    return positions.reshape(*positions.shape[:-3], -1, 3)
  return positions[..., mask(residue_type, choice), :]


def unflat(coordinates: np.ndarray, residue_type: np.ndarray, choice: str) -> np.ndarray:
  """[..., L, A, 3] of the atoms that exist, [..., N, 3]."""
  lead = coordinates.shape[:-2]
  if choice == BACKBONE:
    return coordinates.reshape(*lead, -1, 4, 3)
  there = mask(residue_type, choice)
  slot = np.cumsum(there.ravel()).reshape(there.shape) - 1
  return coordinates[..., np.where(there, slot, slot[:, _CA, None]), :]


def topology(protein: protein_lib.Protein, choice: str = BACKBONE) -> mdtraj.Topology:
  """The atoms of every residue, in the order of the trajectory, with their bonds.

  Chains are kept apart and carry their ids, residues their author's number (mdtraj has no
  insertion codes); peptide bonds only where residues are bonded. With all heavy atoms, disulphides
  are bonds, too.

  Args:
    protein: names, numbering and chains.
    choice: one of `CHOICES`.
  """
  arrays = protein.arrays
  top = mdtraj.Topology()
  # mdtraj writes a blank chain id only if it is a space.
  chains = [top.add_chain(chain_id or ' ') for chain_id in protein.chain_ids]
  found = {}  # by the numbers of `covalent_bonds`
  own_names = names(arrays.residue_type, choice)
  for i, (name, atom_names) in enumerate(zip(protein.residue_names, own_names, strict=True)):
    chain = chains[arrays.chain_index[i]]
    residue = top.add_residue(name, chain, resSeq=int(protein.residue_number[i]))
    for slot, atom in enumerate(atom_names):
      element = mdtraj.element.get_by_symbol(atom[0])
      found[NUM_SLOTS[HEAVY] * i + slot] = top.add_atom(atom, element, residue)
  for a, b in covalent_bonds.between_atoms(arrays).tolist():
    if a in found and b in found:
      top.add_bond(found[a], found[b])
  return top

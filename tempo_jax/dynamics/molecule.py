"""Atoms of states: the backbone, or every heavy atom, with the overlaps of side chains relieved."""

import jax

from tempo_jax.dynamics import rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib


def positions(states: state_lib.State, protein: protein_lib.ProteinArrays, atoms: str) -> jax.Array:
  """The atoms of states, all frames at once.

  Args:
    states: [F, L].
    protein: [L] residues; its positions are not read.
    atoms: 'heavy' or 'backbone'.

  Returns:
    [F, L, 14, 3] or [F, L, 4, 3] Å.
  """
  backbone = state_lib.to_positions(states)
  if atoms == atoms_lib.BACKBONE:
    return backbone
  assert states.side_chains is not None, 'settings.atoms_of has checked it'
  return heavy_atoms(backbone, states.side_chains, protein)


def heavy_atoms(
  backbone: jax.Array, side_chain: rotamers.SideChains, protein: protein_lib.ProteinArrays
) -> jax.Array:
  """All heavy atoms [F, L, 14, 3] Å of backbones [F, L, 4, 3] Å and side chains [F, L]."""
  return side_chains.heavy_atoms(backbone, side_chain.chi, protein.residue_type)

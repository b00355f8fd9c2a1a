"""Atoms of states: the backbone, or every heavy atom; side chains turned and bent apart."""

import jax

from tempo_jax.dynamics import side_chain_bending, side_chain_relief
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib

# Frames: a fifth faster on two cores than all 400 of a protein of 64 residues, in a sixteenth of
# the memory.
_TOGETHER = 25


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
  return heavy_atoms(backbone, states.side_chains.chi, protein)


def heavy_atoms(
  backbone: jax.Array, chi: jax.Array, protein: protein_lib.ProteinArrays
) -> jax.Array:
  """All heavy atoms [F, L, 14, 3] Å, side chains bent off what they overlap.

  Args:
    backbone: [F, L, 4, 3] Å.
    chi: [F, L, 4] rad.
    protein: [L] residues; its positions are not read.
  """

  def one(frame):
    backbone, chi = frame
    atoms = side_chains.heavy_atoms(backbone, chi, protein.residue_type)
    return side_chain_bending.bent(atoms, protein)

  return jax.lax.map(one, (backbone, chi), batch_size=_TOGETHER)


def relieved_chi(
  backbone: jax.Array,
  chi: jax.Array,
  protein: protein_lib.ProteinArrays,
  spring: float,
) -> jax.Array:
  """Torsions [F, L, 4] rad, turned apart where side chains overlap: `side_chain_relief.relieved`.

  Args:
    backbone: [F, L, 4, 3] Å.
    chi: [F, L, 4] rad.
    protein: [L] residues.
    spring: as of `side_chain_relief.relieved`.
  """

  def one(frame):
    backbone, chi = frame
    return side_chain_relief.relieved(
      backbone, chi, protein.residue_type, protein.mask, protein.disulphides, spring=spring
    )

  return jax.lax.map(one, (backbone, chi), batch_size=_TOGETHER)

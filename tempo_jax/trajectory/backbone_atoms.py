"""Backbone atoms, found among all atoms."""

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import residue_selection, residues
from tempo_jax.trajectory import structure as structure_lib


def select(
  structure: structure_lib.Structure | mdtraj.Trajectory, name: str, source: str | None = None
) -> tuple[protein_lib.Protein, np.ndarray]:
  """Chooses residues by the rules of `structure_file.load_protein`.

  Bonds are judged in the start conformation, the first frame of a trajectory: molecules that the
  periodic box cuts must have been made whole.

  Args:
    structure: any atoms.
    name: of the protein.
    source: what error messages call the structure. Default: the name.

  Returns:
    The protein, and the atom index [L, 4] int64 of N, CA, C, O in the structure, -1 where there is
    no O (`positions` places it).

  Raises:
    InputError: fewer than two residues with a complete backbone; a structure that its periodic box
      tears.
  """
  if isinstance(structure, mdtraj.Trajectory):
    structure = structure_lib.of_mdtraj(structure)
  atoms = structure.atoms
  return residue_selection.select(
    residues.candidates(atoms),
    atoms.coordinates,
    name=name,
    source=source or name,
    warnings=atoms.warnings,
    box=atoms.box,
  )


def positions(
  traj: mdtraj.Trajectory, protein: protein_lib.Protein, atom_index: np.ndarray
) -> np.ndarray:
  """Backbone atoms of every frame.

  Args:
    traj: F frames.
    protein: L residues.
    atom_index: [L, 4], from `select`.

  Returns:
    [F, L, 4, 3] float32 Å.
  """
  found = 10.0 * traj.xyz[:, atom_index].astype(np.float32)
  return residue_selection.place_oxygen(found, protein.arrays.bonds, atom_index[:, 3] < 0)

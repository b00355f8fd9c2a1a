"""Backbone atoms in mdtraj: found among all atoms, or alone as a topology."""

import mdtraj
import numpy as np

from tempo_jax.protein import atom_records, residue_selection, residues
from tempo_jax.protein import protein as protein_lib

ATOM_NAMES = ('N', 'CA', 'C', 'O')


def select(traj: mdtraj.Trajectory, name: str) -> tuple[protein_lib.Protein, np.ndarray]:
  """Chooses residues by the rules of `structure_file.load_protein`.

  The start conformation is frame 0, and bonds are judged in it: molecules that the periodic box
  cuts must have been made whole.

  Args:
    traj: any atoms.
    name: of the protein, and what error messages call the source.

  Returns:
    The protein, and the atom index [L, 4] int64 of N, CA, C, O in the trajectory, -1 where there is
    no O (`positions` places it).

  Raises:
    InputError: fewer than two residues with a complete backbone.
  """
  molecule = _molecules(traj.topology)
  records = [
    atom_records.AtomRecord(
      name=atom.name,
      altloc='',
      residue_name=residue.name.strip().upper(),
      chain=(getattr(residue.chain, 'chain_id', None) or '').strip(),
      part=f'{residue.chain.index} {molecule[residue.index]}',
      segment='',
      number=residue.resSeq,
      insertion_code='',
      is_hetero=False,
      occupancy=1.0,
    )
    for residue in traj.topology.residues
    for atom in residue.atoms
  ]
  rows = [atom.index for residue in traj.topology.residues for atom in residue.atoms]
  atoms = atom_records.Atoms(records, 10.0 * traj.xyz[0, rows].astype(np.float64), None, ())
  protein, found = residue_selection.select(
    residues.candidates(atoms), atoms.coordinates, name=name, source=name
  )
  return protein, np.where(found < 0, -1, np.array(rows, np.int64)[found])


def _molecules(topology: mdtraj.Topology) -> list[int]:
  """A number per residue, of its molecule, where a topology has no chains but bonds (prmtop).

  Of backbones alone only bonds between neighbours are known, and not those across a gap.
  """
  found = list(topology.residues)
  only_backbone = all(atom.name in ATOM_NAMES for atom in topology.atoms)
  if topology.n_chains > 1 or not topology.n_bonds or only_backbone:
    return [0] * len(found)
  number = {
    atom.residue.index: k
    for k, molecule in enumerate(topology.find_molecules())
    for atom in molecule
  }
  return [number.get(residue.index, 0) for residue in found]


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
  return residue_selection.place_oxygen(
    found, np.asarray(protein.arrays.bonded), atom_index[:, 3] < 0
  )


def topology(protein: protein_lib.Protein) -> mdtraj.Topology:
  """N, CA, C, O of every residue, in the order of the trajectory, with their bonds.

  Chains are kept apart and carry their ids, residues their author's number
  (mdtraj has no insertion codes); peptide bonds only where residues are bonded.
  """
  top = mdtraj.Topology()
  # mdtraj writes a blank chain id only if it is a space.
  chains = [top.add_chain(chain_id or ' ') for chain_id in protein.chain_ids]
  elements = [mdtraj.element.get_by_symbol(name[0]) for name in ATOM_NAMES]
  carbonyl = None
  for i, name in enumerate(protein.residue_names):
    chain = chains[protein.arrays.chain_index[i]]
    residue = top.add_residue(name, chain, resSeq=int(protein.residue_number[i]))
    n, ca, c, o = (
      top.add_atom(atom, element, residue)
      for atom, element in zip(ATOM_NAMES, elements, strict=True)
    )
    if carbonyl is not None:
      top.add_bond(carbonyl, n)
    for bond in ((n, ca), (ca, c), (c, o)):
      top.add_bond(*bond)
    carbonyl = c if protein.arrays.bonded[i] else None
  return top

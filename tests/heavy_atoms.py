"""All heavy atoms, for mdtraj to measure; chains of all residue types."""

import dataclasses

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders, peptides

ALL_TYPES = np.arange(len(protein_lib.RESIDUE_TYPES))


def helix(num_frames, length=21, seed=0):
  """Backbones [T, L, 4, 3] float32 Å and chi [T, L, 4] float32: any angles, PRO's ring ones."""
  rng = np.random.default_rng(seed)
  backbone = np.broadcast_to(peptides.helix(length)[:, :4], (num_frames, length, 4, 3))
  chi = rng.uniform(-np.pi, np.pi, (num_frames, length, 4))
  chi[:, ALL_TYPES[:length] == protein_lib.RESIDUE_TYPES.index('PRO')] /= 4.1
  return backbone.astype(np.float32), chi.astype(np.float32)


def crowded_helices(length, spread):
  """Two helices, 12 Å apart, of all residue types, in eight conformations that overlap.

  Returns:
    The protein, [8, L, 4, 3] Å and chi [8, L, 4] rad, so many radians about staggered.
  """
  protein = dataclasses.replace(
    builders.helix(length, chains=2), residue_type=np.arange(length, dtype=np.int32) % 21
  )
  protein.positions[length // 2 :, :, 2] += 3
  rng = np.random.default_rng(5)
  chi = rng.choice(np.deg2rad([-65, 180]), (length, 4))
  chi = chi + spread * rng.normal(size=(8, length, 4))
  backbone = np.broadcast_to(protein.positions, (8, length, 4, 3))
  return protein, backbone.astype(np.float32), chi.astype(np.float32)


def as_mdtraj(atoms, residue_type):
  """[T, L, 14, 3] Å as a trajectory with its bonds; slots without an atom are left out."""
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for number, kind in enumerate(residue_type, 1):
    residue = topology.add_residue(protein_lib.RESIDUE_TYPES[kind], chain, resSeq=number)
    for name in side_chain_atoms.ATOM_NAMES[kind]:
      topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  topology.create_standard_bonds()
  there = side_chain_atoms.atom_mask(residue_type)
  return mdtraj.Trajectory(np.asarray(atoms)[:, there] / 10, topology)


def from_mdtraj(trajectory):
  """[T, L, 14, 3] Å, residue types [L] and rows [L, 14] of the residues that have every atom."""
  kept = [
    residue
    for residue in trajectory.top.residues
    if residue.name in protein_lib.RESIDUE_TYPES
    and set(side_chain_atoms.ATOM_NAMES[protein_lib.RESIDUE_TYPES.index(residue.name)])
    <= {atom.name for atom in residue.atoms}
  ]
  kinds = np.array([protein_lib.RESIDUE_TYPES.index(residue.name) for residue in kept])
  named = [{atom.name: atom.index for atom in residue.atoms} for residue in kept]
  rows = side_chain_atoms.slots(named, kinds)
  filled = np.where(rows < 0, rows[:, 1:2], rows)
  return 10 * trajectory.xyz[:, filled], kinds, rows

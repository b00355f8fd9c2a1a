"""Trajectories with side chains: of MD in the repository, and of every residue type."""

import functools
import pathlib

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.trajectory import backbone_atoms
from tempo_jax.trajectory import trajectory as trajectory_lib

SIMULATED = pathlib.Path(__file__).parents[1] / 'data_prep' / 'simulated'


def slots_of(traj: mdtraj.Trajectory) -> np.ndarray:
  """[F, L, 14, 3] float32 Å of a protein's atoms, found by their names; absent ones at CA."""
  residues = []
  for residue in traj.top.residues:
    index = {atom.name: atom.index for atom in residue.atoms}
    number = protein_lib.RESIDUE_TYPES.index(residue.name)
    names = side_chain_atoms.ATOM_NAMES[number]
    residues.append([index[name] for name in names] + [index['CA']] * (14 - len(names)))
  return 10.0 * traj.xyz[:, np.array(residues)]


@functools.cache
def simulated(name: str, frames: int = 5) -> trajectory_lib.Trajectory:
  """The first frames of MD in data_prep/simulated, of a protein without caps."""
  folder = SIMULATED / name
  traj = mdtraj.load(str(folder / f'{name}_R1.xtc'), top=str(folder / f'{name}.pdb'))[:frames]
  protein, _ = backbone_atoms.select(traj, name)
  return trajectory_lib.Trajectory.of_atoms(slots_of(traj)[None], protein, dt_ns=0.01)


def of_every_type(replicas: int = 1, frames: int = 4, seed: int = 0) -> trajectory_lib.Trajectory:
  """All 21 residue types and a second CYS, bonded to the first one; atoms anywhere.

  Two chains of 11, and coordinates that tell every atom of every frame.
  """
  rng = np.random.default_rng(seed)
  types = np.append(np.arange(21), protein_lib.RESIDUE_TYPES.index('CYS')).astype(np.int32)
  length = len(types)
  first = protein_lib.RESIDUE_TYPES.index('CYS')
  partner = np.full(length, -1, np.int32)
  partner[[first, length - 1]] = length - 1, first
  atoms = rng.uniform(-40.0, 40.0, (replicas, frames, length, 14, 3)).astype(np.float32)
  there = np.asarray(side_chain_atoms.atom_mask(types))
  atoms = np.where(there[..., None], atoms, atoms[..., 1:2, :])
  arrays = protein_lib.ProteinArrays(
    residue_type=types,
    residue_index=np.arange(length, dtype=np.int32) % 11,
    chain_index=np.repeat(np.arange(2, dtype=np.int32), 11),
    bonded=np.arange(length) % 11 < 10,
    mask=np.ones(length, bool),
    positions=atoms[0, 0, :, :4],
    disulphides=partner,
  )
  protein = protein_lib.Protein('every', arrays, ('A', 'B'), np.arange(1, 23), ('',) * length)
  return trajectory_lib.Trajectory.of_atoms(atoms, protein, dt_ns=0.01)

"""Real structures as mdtraj sees them, with backbone atoms in Å beside."""

import pathlib

import mdtraj
import numpy as np
import pytest

ATOMS = ('N', 'CA', 'C', 'O')


def backbone_atoms(trajectory: mdtraj.Trajectory) -> np.ndarray:
  """[T, L, 4, 3] float32 Å; mdtraj has nm."""
  index = [[residue.atom(name).index for name in ATOMS] for residue in trajectory.top.residues]
  return trajectory.xyz[:, np.array(index)] * np.float32(10)


@pytest.fixture(scope='session')
def trpcage(shared_data: pathlib.Path) -> tuple[mdtraj.Trajectory, np.ndarray]:
  """Trp-cage at 320 K, every tenth frame: 20 residues, one chain."""
  folder = shared_data / 'openmm_implicit' / '2jof'
  trajectory = mdtraj.load(folder / '2jof_R1.xtc', top=folder / '2jof.pdb')[::10]
  return trajectory, backbone_atoms(trajectory)


def load_residues(path: pathlib.Path) -> mdtraj.Trajectory:
  """The residues that have all backbone atoms: no water, ions or caps."""
  trajectory = mdtraj.load(path)
  keep = [
    atom.index
    for residue in trajectory.top.residues
    if {atom.name for atom in residue.atoms}.issuperset(ATOMS)
    for atom in residue.atoms
  ]
  return trajectory.atom_slice(keep)


@pytest.fixture(scope='session')
def villin(shared_data: pathlib.Path) -> np.ndarray:
  """The crystal structure of the villin headpiece (2F4K, 1.05 Å), [1, 35, 4, 3] Å."""
  return backbone_atoms(load_residues(shared_data / 'native' / '2F4K.pdb'))


@pytest.fixture(scope='session')
def two_chains(shared_data: pathlib.Path) -> tuple[mdtraj.Trajectory, np.ndarray, np.ndarray]:
  """The crystal structure of NuG2, chains A and B, and `bonded` [L] from the chain ends."""
  trajectory = load_residues(shared_data / 'native' / 'NuG2.pdb')
  chain = np.array([residue.chain.index for residue in trajectory.top.residues])
  assert len(set(chain)) == 2
  return trajectory, backbone_atoms(trajectory), np.append(chain[1:] == chain[:-1], False)

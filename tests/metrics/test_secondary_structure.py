"""Helices and strands: of the backbone alone, and of residues that mdtraj does not know."""

import dataclasses

import mdtraj
import numpy as np

from tempo_jax.metrics import secondary_structure
from tests import heavy_trajectories


def letters(found):
  return [''.join(secondary_structure.KINDS[kind] for kind in row) for row in found]


def test_the_backbone_tells_what_all_atoms_tell():
  trajectory = heavy_trajectories.simulated('nug2')
  found = secondary_structure.assign(trajectory.positions[0], trajectory.protein)
  folder = heavy_trajectories.SIMULATED / 'nug2'
  md = mdtraj.load(str(folder / 'nug2_R1.xtc'), top=str(folder / 'nug2.pdb'))[:5]
  assert letters(found) == [''.join(row) for row in mdtraj.compute_dssp(md)]
  assert set(found.ravel()) == {0, 1, 2}


def test_residues_of_no_known_type_are_coil():
  trajectory = heavy_trajectories.simulated('nug2')
  protein = trajectory.protein
  types = np.full_like(protein.arrays.residue_type, 20)
  arrays = dataclasses.replace(protein.arrays, residue_type=types)
  unknown = dataclasses.replace(protein, arrays=arrays)
  found = secondary_structure.assign(trajectory.positions[0], unknown)
  assert found.shape == (5, 56)
  assert set(letters(found)[0]) <= set('CHE')

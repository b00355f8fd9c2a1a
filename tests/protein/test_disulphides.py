"""Which cysteines are bonded."""

import dataclasses

import jax
import numpy as np

from tempo_jax.protein import disulphides, padding, structure_file
from tests import builders, peptides


def of(sulphur):
  """Residues that have SG at these places, Å; None: no SG."""
  atoms, coordinates = [], []
  for place in sulphur:
    atoms.append({} if place is None else {'SG': len(coordinates)})
    coordinates += [] if place is None else [place]
  found = disulphides.find(atoms, np.array(coordinates, float).reshape(-1, 3))
  return None if found is None else found.tolist()


def test_by_the_distance_of_sulphur_atoms():
  assert of([]) is None
  assert of([None, (0, 0, 0)]) is None
  assert of([(0, 0, 0), None, (2.05, 0, 0)]) == [2, -1, 0]
  assert of([(0, 0, 0), (3.5, 0, 0)]) is None
  assert of([(0, 0, 0), (0.5, 0, 0)]) is None  # One atom twice.
  assert of([(0, 0, 0), (np.nan, 0, 0), (0, 2.0, 0)]) == [2, -1, 0]


def test_each_has_one_partner():
  assert of([(0, 0, 0), (2.3, 0, 0), (4.3, 0, 0)]) == [-1, 2, 1]


def test_from_a_file(tmp_path):
  sequence = ('CYS', 'ALA', 'GLY', 'CYX', 'SER', 'CYS')
  text = peptides.peptide(sequence)
  for number, place in ((1, (50, 0, 0)), (4, (52.0, 0, 0)), (6, (60, 0, 0))):
    text += peptides.line('SG', sequence[number - 1], 'A', number, place)
  path = tmp_path / 'x.pdb'
  path.write_text(text)
  protein = structure_file.load_protein(path)
  assert protein.arrays.disulphides.tolist() == [3, -1, -1, 0, -1, -1]
  assert (protein.label(0), protein.label(3)) == ('A:1 CYS', 'A:4 CYS')
  padded = padding.pad(protein.arrays, 8)
  assert padded.disulphides.tolist() == [3, -1, -1, 0, -1, -1, -1, -1]
  assert len(jax.tree.leaves(padded)) == 9


def test_without_any_the_arrays_have_no_trace_of_it():
  arrays = builders.helix(8)
  assert arrays.disulphides is None
  assert len(jax.tree.leaves(padding.pad(arrays, 10))) == 6
  assert len(jax.tree.leaves(dataclasses.replace(arrays, disulphides=arrays.chain_index))) == 7

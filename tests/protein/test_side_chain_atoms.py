"""Oracles: mdtraj's atoms and chi angles; what force fields call atoms."""

import mdtraj
import numpy as np
import pytest

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import heavy_atoms

ILE, MET, ALA, PHE = (protein_lib.RESIDUE_TYPES.index(x) for x in ('ILE', 'MET', 'ALA', 'PHE'))


def named(*names):
  return dict(zip(names, range(10, 10 + len(names)), strict=True))


def test_masks_count_the_atoms_of_each_type():
  expected = dict(
    zip(
      'ACDEFGHIKLMNPQRSTVWYX',
      [5, 6, 8, 9, 11, 4, 10, 8, 9, 8, 8, 8, 7, 9, 11, 6, 7, 7, 14, 12, 4],
      strict=True,
    )
  )
  mask = side_chain_atoms.atom_mask(heavy_atoms.ALL_TYPES)
  assert mask.shape == (21, 14)
  assert mask.sum(axis=1).tolist() == list(expected.values())
  assert all(
    len(names) == count
    for names, count in zip(side_chain_atoms.ATOM_NAMES, mask.sum(1), strict=True)
  )
  chi = side_chain_atoms.chi_mask(heavy_atoms.ALL_TYPES)
  assert chi.sum(axis=1).tolist() == [0, 1, 2, 3, 2, 0, 2, 2, 4, 2, 3, 2, 1, 3, 4, 1, 1, 1, 2, 2, 0]
  assert (chi[:, 1:] <= chi[:, :-1]).all()


def test_atoms_stand_in_the_order_of_crystal_structures(shared_data):
  seen = set()
  for name in ('Kortemme-Lab_1PGA', 'Kortemme-Lab_4LYZ', 'Kortemme-Lab_1STN'):
    for residue in mdtraj.load(shared_data / 'structures' / f'{name}.pdb.gz').top.residues:
      if residue.name in protein_lib.ONE_LETTER:
        kind = protein_lib.RESIDUE_TYPES.index(residue.name)
        ours = list(side_chain_atoms.ATOM_NAMES[kind])
        theirs = [a.name for a in residue.atoms if a.element.symbol != 'H' and a.name != 'OXT']
        if len(theirs) == len(ours):
          seen.add(kind)
          assert theirs == ours
  assert len(seen) == 20


def test_half_a_turn_of_a_benzene_ring_or_a_carboxylate_changes_nothing():
  period = side_chain_atoms.chi_period(heavy_atoms.ALL_TYPES)
  half = {(protein_lib.RESIDUE_TYPES[i], k + 1) for i, k in zip(*np.where(period < 4), strict=True)}
  assert half == {('PHE', 2), ('TYR', 2), ('ASP', 2), ('GLU', 3)}
  assert set(np.unique(period)) == {np.pi, 2 * np.pi}


def test_slots_know_what_others_call_an_atom():
  charmm = named('N', 'CA', 'CB', 'CG2', 'CG1', 'CD', 'C', 'OT1', 'OT2')
  selenium = named('N', 'CA', 'C', 'O', 'CB', 'CG', 'SE', 'CE')
  found = side_chain_atoms.slots(
    [charmm, selenium, named('N', 'CA', 'C', 'H')], np.array([ILE, MET, ALA])
  )
  assert found[0].tolist() == [10, 11, 16, 17, 12, 14, 13, 15] + 6 * [-1]
  assert found[1].tolist() == [*range(10, 18)] + 6 * [-1]
  assert found[2].tolist() == [10, 11, 12] + 11 * [-1]
  # Its own name counts first.
  both = named('CD', 'CD1')
  assert side_chain_atoms.slots([both], np.array([ILE]))[0, 7] == 11


def test_measured_chi_are_those_of_mdtraj(shared_data):
  trajectory = mdtraj.load(shared_data / 'native/2F4K.pdb', no_boxchk=True)
  _, kinds, rows = heavy_atoms.from_mdtraj(trajectory)
  chi, known = side_chain_atoms.measured_chi(10 * trajectory.xyz, rows, kinds)
  assert chi.dtype == np.float64
  assert (known == side_chain_atoms.chi_mask(kinds)).all()
  of_ca = {int(row[1]): i for i, row in enumerate(rows)}
  for k in range(4):
    index, angles = getattr(mdtraj, f'compute_chi{k + 1}')(trajectory, periodic=False)
    for atoms, angle in zip(index, angles.T, strict=True):
      residue = trajectory.top.atom(atoms[1]).residue
      i = of_ca.get(residue.atom('CA').index)
      if i is not None and known[0, i, k]:
        np.testing.assert_allclose(np.angle(np.exp(1j * (chi[:, i, k] - angle))), 0, atol=2e-5)


@pytest.mark.parametrize('broken', ['missing', 'nan', 'together'])
def test_chi_without_its_four_atoms_is_unknown(broken):
  names = side_chain_atoms.ATOM_NAMES[PHE]
  coordinates = np.random.default_rng(0).normal(scale=2, size=(len(names), 3))
  atoms = {name: i for i, name in enumerate(names)}
  if broken == 'missing':
    del atoms['CD1']
  elif broken == 'nan':
    coordinates[names.index('CD1')] = np.nan
  else:
    coordinates[names.index('CD1')] = coordinates[names.index('CG')]
  rows = side_chain_atoms.slots([atoms], np.array([PHE]))
  chi, known = side_chain_atoms.measured_chi(coordinates, rows, np.array([PHE]))
  assert known.tolist() == [[True, False, False, False]]
  assert chi[0, 0]
  assert not chi[0, 1:].any()

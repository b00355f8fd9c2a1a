"""Eclipsed chi angles, counted one by one."""

import math

import numpy as np
import pytest

from tempo_jax.geometry import side_chain_table
from tempo_jax.metrics import rotamers
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import heavy_atoms


def count(name, *degrees):
  chi = np.zeros((1, 1, 4))
  chi[0, 0, : len(degrees)] = np.deg2rad(degrees)
  return rotamers.outliers(chi, np.array([protein_lib.RESIDUE_TYPES.index(name)])).tolist()


@pytest.mark.parametrize('chi1', [-179, -60, 60, 180, -25, 25, 145, -95, 95])
def test_staggered_chi_are_no_outliers(chi1):
  assert count('SER', chi1) == [0]
  assert count('LYS', 180, chi1, 180, 180) == [0]
  assert count('LYS', 180, 180, 180, chi1) == [0]


@pytest.mark.parametrize('chi1', [-15, 0, 15, 105, 120, 135, -120, -135])
def test_eclipsed_chi_are_outliers(chi1):
  assert count('SER', chi1) == [1]
  assert count('ILE', 60, chi1) == [1]
  assert count('LYS', 180, 180, 180, chi1) == [1]
  assert count('LYS', chi1, chi1, chi1, chi1) == [1]  # residues, not angles
  # About bonds to planes and to sulphur, any angle may be.
  assert count('PHE', 60, chi1) == [0]
  assert count('GLU', 60, 60, chi1) == [0]
  assert count('MET', 60, 60, chi1) == [0]
  assert count('ARG', 60, 60, 60, chi1) == [0]


def test_the_ring_of_proline_may_be_flat_but_not_torn():
  assert count('PRO', 0) == count('PRO', -30) == count('PRO', 49) == [0]
  assert count('PRO', 51) == count('PRO', 180) == [1]


def test_residues_without_chi_and_unknown_ones_are_no_outliers():
  for name in ('GLY', 'ALA', 'UNK'):
    assert count(name, 0) == [0]
  assert count('LEU', math.nan, math.nan) == [0]
  assert count('LEU', math.nan, 0) == [1]


def test_every_staggered_chi_is_about_a_bond_of_tetrahedral_carbons():
  """Such an atom has 3 other neighbours: the ideal angles at it are below 117, not 120."""
  for name, counted in side_chain_atoms._STAGGERED.items():
    kind = protein_lib.RESIDUE_TYPES.index(name)
    assert side_chain_atoms.chi_mask(np.array([kind]))[0, :counted].all()
    turning = {row.chi: row for row in side_chain_table.PLACED[name] if row.chi}
    for chi in range(1, counted + 1):
      assert turning[chi].angle < 117.0


def test_a_third_of_random_chi_are_outliers():
  _, chi = heavy_atoms.helix(2000, seed=1)
  found = rotamers.outliers(chi, heavy_atoms.ALL_TYPES)
  expected = sum(1 - (2 / 3) ** number for number in side_chain_atoms._STAGGERED.values())
  np.testing.assert_allclose(found.mean(), expected, atol=0.15)

"""Contours of phi and psi: known conformations, MD that did not make them, and their cells."""

import pathlib

import mdtraj
import numpy as np
import pytest

from tempo_jax.geometry import bonds
from tempo_jax.metrics import ramachandran
from tempo_jax.protein import protein as protein_lib

SIMULATED = pathlib.Path(__file__).parents[2] / 'data_prep/simulated'
HELIX, SHEET, PPII, LEFT = (-63.0, -43.0), (-120.0, 130.0), (-70.0, 145.0), (57.0, 40.0)
NOWHERE = (0.0, 0.0), (0.0, 180.0), (120.0, 60.0), (-10.0, 90.0), (100.0, -160.0)


def types_of(names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names.split()])


def is_outlier(names, angles):
  """Of the residue in the middle of three."""
  phi, psi = (np.full((1, 3), np.deg2rad(angle)) for angle in angles)
  outlier, judged = ramachandran.outliers(phi, psi, types_of(names), np.array([True, True, False]))
  assert judged.tolist() == [False, True, False]
  return bool(outlier[0, 1])


@pytest.mark.parametrize(
  ('names', 'allowed', 'disallowed'),
  [
    ('ALA ALA ALA', [HELIX, SHEET, PPII, LEFT, (179.0, 175.0)], [*NOWHERE, (60.0, -150.0)]),
    ('GLY VAL ALA', [HELIX, SHEET, PPII], [*NOWHERE, (130.0, -120.0)]),
    ('ALA GLY ALA', [HELIX, SHEET, PPII, LEFT, (80.0, -170.0), (63.0, 43.0)], NOWHERE[:2]),
    ('ALA PRO ALA', [HELIX, PPII], [SHEET, LEFT, (-130.0, 150.0), *NOWHERE]),
    ('ALA PRO PRO', [HELIX, PPII], [SHEET, LEFT, *NOWHERE]),
    ('ALA ALA PRO', [SHEET, PPII, (-60.0, -50.0)], [LEFT, (-90.0, 0.0), *NOWHERE]),
    ('ALA GLY PRO', [SHEET, PPII, LEFT], NOWHERE[:2]),
  ],
)
def test_conformations_that_are_known(names, allowed, disallowed):
  assert not any(is_outlier(names, angles) for angles in allowed)
  assert all(is_outlier(names, angles) for angles in disallowed)


def test_classes_follow_the_bonds():
  types = types_of('ALA PRO ALA PRO GLY PRO UNK PRO PRO LEU')
  bonded = np.array([True, True, False, True, True, True, True, True, True, False])
  general, glycine, proline, before = range(4)
  expected = [before, proline, general, proline, glycine, proline, -1, proline, proline, general]
  np.testing.assert_array_equal(ramachandran.classes(types, bonded), expected)
  ring = np.full(10, -1)
  ring[9] = 1  # Leucine before proline.
  to_next = bonded.copy()
  to_next[9] = True
  closed = ramachandran.classes(types, bonds.Bonds(to_next, ring))
  np.testing.assert_array_equal(closed, [*expected[:-1], before])


def test_ends_and_unknown_residues_are_not_judged():
  types = types_of('ALA ALA UNK ALA ALA')
  angles = np.zeros((2, 5))
  outlier, judged = ramachandran.outliers(angles, angles, types, np.array([True] * 4 + [False]))
  np.testing.assert_array_equal(judged, [False, True, False, True, False])
  np.testing.assert_array_equal(outlier, [judged, judged])


def test_angles_that_are_no_numbers_are_outliers():
  phi = np.deg2rad(np.full((3, 3), HELIX[0]))
  psi = np.deg2rad(np.full((3, 3), HELIX[1]))
  phi[1, 1] = np.nan
  bonded = np.array([True, True, False])
  outlier, _ = ramachandran.outliers(phi, psi, types_of('ALA ALA ALA'), bonded)
  assert outlier[:, 1].tolist() == [False, True, False]


def test_md_that_was_held_out_has_few_outliers_and_its_mirror_image_many():
  folder = SIMULATED / 'hp35'
  traj = mdtraj.load(str(folder / 'hp35_R1.xtc'), top=str(folder / 'hp35.pdb'))
  phi, psi = (np.full((len(traj), traj.n_residues), np.nan) for _ in range(2))
  for angles, compute, atom in ((phi, mdtraj.compute_phi, 1), (psi, mdtraj.compute_psi, 0)):
    atoms, values = compute(traj)
    angles[:, [traj.top.atom(i).residue.index for i in atoms[:, atom]]] = values
  types = types_of(' '.join(residue.name for residue in traj.top.residues))
  bonded = np.arange(len(types)) < len(types) - 1
  outlier, judged = ramachandran.outliers(phi, psi, types, bonded)
  assert judged.sum() == len(types) - 2
  assert outlier[:, judged].mean() < 0.003
  mirrored, _ = ramachandran.outliers(-phi, -psi, types, bonded)
  assert mirrored[:, judged].mean() > 0.2

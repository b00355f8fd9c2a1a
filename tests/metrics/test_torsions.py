import mdtraj
import numpy as np
import pytest

from tempo_jax.metrics import torsions
from tests import builders, peptides


@pytest.fixture(scope='module')
def bpti(shared_data):
  folder = shared_data / 'trajectories/bpti_5ns'
  return mdtraj.load(folder / 'bpti.xtc', top=folder / 'bpti.gro', stride=20)


def test_agrees_with_mdtraj(bpti):
  residues = [r for r in bpti.topology.residues if r.is_protein]
  index = [[r.atom(name).index for name in ('N', 'CA', 'C', 'O')] for r in residues]
  bonded = np.arange(len(residues)) < len(residues) - 1
  phi, psi, omega = torsions.backbone_torsions(10.0 * bpti.xyz[:, index], bonded)
  assert phi.dtype == np.float32
  assert np.isnan(phi[:, 0]).all()
  assert np.isnan(psi[:, -1]).all()
  assert np.isnan(omega[:, -1]).all()
  for ours, compute in (
    (phi[:, 1:], mdtraj.compute_phi),
    (psi[:, :-1], mdtraj.compute_psi),
    (omega[:, :-1], mdtraj.compute_omega),
  ):
    theirs = compute(bpti)[1]
    assert ours.shape == theirs.shape
    difference = np.angle(np.exp(1j * (ours - theirs)))
    np.testing.assert_allclose(difference, 0.0, atol=1e-4)


def test_ideal_helix_moved_and_mirrored():
  helix = peptides.helix(6)[None, :, :4]
  rotation, shift = builders.random_motion(seed=3)
  bonded = np.arange(6) < 5
  for positions, sign in ((helix, 1.0), (helix @ rotation.T + shift, 1.0), (-helix, -1.0)):
    phi, psi, omega = torsions.backbone_torsions(positions, bonded)
    np.testing.assert_allclose(np.rad2deg(phi[0, 1:]), sign * -57.0, atol=1e-6)
    np.testing.assert_allclose(np.rad2deg(psi[0, :-1]), sign * -47.0, atol=1e-6)
    np.testing.assert_allclose(np.abs(np.rad2deg(omega[0, :-1])), 180.0, atol=1e-5)


def test_undefined_at_a_break():
  helix = peptides.helix(6)[None, :, :4]
  bonded = np.array([True, True, False, True, True, True])  # The last one has no next.
  phi, psi, omega = torsions.backbone_torsions(helix, bonded)
  np.testing.assert_array_equal(np.flatnonzero(np.isnan(phi[0])), [0, 3])
  np.testing.assert_array_equal(np.flatnonzero(np.isnan(psi[0])), [2, 5])
  np.testing.assert_array_equal(np.flatnonzero(np.isnan(omega[0])), [2, 5])


def test_blocks_of_frames_make_no_difference(np_rng):
  positions = np_rng.normal(size=(50, 700, 4, 3)).astype(np.float32)
  bonded = np.ones(700, bool)
  # 1,400 frames of 700 residues are three blocks; 50 frames are one.
  many = torsions.backbone_torsions(np.tile(positions, (28, 1, 1, 1)), bonded)
  for found, expected in zip(many, torsions.backbone_torsions(positions, bonded), strict=True):
    np.testing.assert_array_equal(found, np.tile(expected, (28, 1)))


def test_atoms_on_a_line_are_no_error():
  positions = np.zeros((2, 3, 4, 3))
  phi, _, _ = torsions.backbone_torsions(positions, np.array([True, True, False]))
  np.testing.assert_array_equal(phi[:, 1:], 0.0)

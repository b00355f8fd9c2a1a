"""Oracles: bonds, angles and torsions as mdtraj measures them; real MD and crystal structures."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry import backbone, torsion
from tempo_jax.geometry.rigid import Rigid
from tests import peptides
from tests.geometry import gradients
from tests.geometry.measured import CA, C, N, O, as_mdtraj, within

atoms_from_frames = jax.jit(backbone.atoms_from_frames)
backbone_torsions = jax.jit(torsion.backbone_torsions)
frames_from_atoms = jax.jit(backbone.frames_from_atoms)


@jax.jit
def rebuild(positions, bonded):
  angles, _ = torsion.backbone_torsions(positions, bonded)
  frames = backbone.frames_from_atoms(positions)
  return backbone.atoms_from_frames(frames, angles[..., 1], bonded)


@pytest.fixture
def chain_bonded():
  return np.arange(20) < 19


def test_frames_and_back_to_frames_is_exact(trpcage, chain_bonded):
  _, positions = trpcage
  frames = frames_from_atoms(positions)
  again = frames_from_atoms(rebuild(positions, chain_bonded))
  np.testing.assert_allclose(again.rotation, frames.rotation, atol=1e-5)
  np.testing.assert_allclose(again.translation, frames.translation, atol=1e-5)


def test_rebuilt_atoms_have_ideal_geometry(trpcage, chain_bonded):
  _, positions = trpcage
  rebuilt = rebuild(positions, chain_bonded)
  measured = as_mdtraj(rebuilt)
  for atoms, ideal in (((N, CA), 1.459), ((CA, C), 1.525), ((C, O), 1.231)):
    distance = 10 * mdtraj.compute_distances(measured, within(20, *atoms), periodic=False)
    np.testing.assert_allclose(distance, ideal, atol=2e-5)
  for atoms, ideal in (((N, CA, C), 111.0), ((CA, C, O), 120.1)):
    angle = mdtraj.compute_angles(measured, within(20, *atoms), periodic=False)
    np.testing.assert_allclose(np.rad2deg(angle), ideal, atol=2e-3)
  # O lies in the peptide plane, trans to the next N.
  psi = mdtraj.compute_psi(measured, periodic=False)[1]
  opposite = mdtraj.compute_dihedrals(measured, within(20, N, CA, C, O), periodic=False)
  np.testing.assert_allclose(np.cos(opposite[:, :-1] - psi), -1, atol=1e-6)


def test_rebuilt_md_stays_near_the_original(trpcage, chain_bonded):
  """Idealisation at 320 K, mostly bending of N-CA-C (5 degrees: 0.13 Å at C, more at O)."""
  _, positions = trpcage
  distance = np.linalg.norm(rebuild(positions, chain_bonded) - positions, axis=-1)
  rms = np.sqrt(np.mean(distance**2, axis=(0, 1)))
  assert (rms < [0.06, 1e-6, 0.16, 0.32]).all()
  assert (distance.max(axis=(0, 1)) < [0.2, 1e-6, 0.5, 0.9]).all()


def test_rebuilt_crystal_structure_stays_near_the_original(villin):
  distance = np.linalg.norm(rebuild(villin, np.arange(villin.shape[1]) < 34) - villin, axis=-1)
  rms = np.sqrt(np.mean(distance**2, axis=(0, 1)))
  assert (rms < [0.02, 1e-6, 0.06, 0.13]).all()
  assert distance.max() < 0.4


def test_given_psi_counts_only_where_not_bonded(trpcage, chain_bonded):
  _, positions = trpcage
  frames = frames_from_atoms(positions)
  broken = chain_bonded & (np.arange(20) != 7)
  zero = np.zeros(positions.shape[:2], np.float32)
  moved = np.abs(
    atoms_from_frames(frames, zero, broken) - atoms_from_frames(frames, zero + 1, broken)
  )
  assert (moved[:, [7, 19], O].max(axis=-1) > 0.1).all()
  moved[:, [7, 19], O] = 0
  np.testing.assert_array_equal(moved, 0)
  # bonded at the end of a crop has no next residue to look at.
  np.testing.assert_array_equal(
    atoms_from_frames(frames, zero, np.ones(20, bool)),
    atoms_from_frames(frames, zero, chain_bonded),
  )


def test_given_psi_comes_back_from_the_atoms(np_rng, trpcage):
  _, positions = trpcage
  unbonded = np.zeros(20, bool)
  psi = np_rng.uniform(-3.1, 3.1, size=positions.shape[:2]).astype(np.float32)
  atoms = atoms_from_frames(frames_from_atoms(positions), psi, unbonded)
  np.testing.assert_allclose(backbone_torsions(atoms, unbonded)[0][..., 1], psi, atol=2e-5)


def test_oxygen_stands_at_psi_plus_pi(trpcage):
  _, positions = trpcage
  psi = np.linspace(-3, 3, 20, dtype=np.float32)[None]
  atoms = atoms_from_frames(frames_from_atoms(positions[:1]), psi, np.zeros(20, bool))
  opposite = mdtraj.compute_dihedrals(as_mdtraj(atoms), within(20, N, CA, C, O), periodic=False)
  np.testing.assert_allclose(np.exp(1j * opposite), -np.exp(1j * psi), atol=1e-5)


def test_mirror_image_has_other_frames(trpcage):
  """N, CA, C of a residue lie in a plane, so only the frames and torsions carry the hand."""
  _, positions = trpcage
  mirror = np.float32([1, 1, -1])

  @jax.jit
  def next_origin(positions):
    frames = backbone.frames_from_atoms(positions)
    return frames[:, :-1].apply_inverse(frames[:, 1:].translation)

  original, other = np.asarray(next_origin(positions)), np.asarray(next_origin(positions * mirror))
  np.testing.assert_allclose(other, original * mirror, atol=1e-4)
  assert np.abs(other - original).max() > 1


def test_rebuilding_commutes_with_a_motion(np_rng, trpcage, chain_bonded):
  _, positions = trpcage
  positions = positions - positions.mean(axis=(1, 2), keepdims=True)
  vector, translation = np_rng.normal(size=(2, 1, 1, 1, 3)).astype(np.float32)
  motion = Rigid.exp(10 * translation, vector)
  moved = rebuild(motion.apply(positions), chain_bonded)
  np.testing.assert_allclose(moved, motion.apply(rebuild(positions, chain_bonded)), atol=1e-4)


def test_batch_equals_loop(trpcage, chain_bonded):
  _, positions = trpcage
  batch = positions[:4].reshape(2, 2, 20, 4, 3)
  rebuilt = rebuild(batch, chain_bonded)
  for index in np.ndindex(2, 2):
    np.testing.assert_allclose(rebuilt[index], rebuild(batch[index], chain_bonded), atol=2e-5)


def test_gradients_are_finite_in_padding_and_on_md(trpcage):
  _, positions = trpcage
  bonded = np.array([True, True, False, False])
  padded = positions[:1, :4] * np.float32([1, 1, 1, 0])[:, None, None]

  def energy(x):
    frames = backbone.frames_from_atoms(x)
    psi = torsion.backbone_torsions(x, bonded)[0][..., 1]
    return jnp.sum(backbone.atoms_from_frames(frames, psi, bonded) ** 2)

  gradients.assert_finite_gradients(energy, padded)


def test_gradients_agree_with_finite_differences(np_rng, trpcage):
  _, positions = trpcage
  bonded = np.array([True, True, False])
  vector, psi = np_rng.normal(size=(3, 3)), np_rng.normal(size=3)

  def atoms(translation, vector, psi):
    return backbone.atoms_from_frames(Rigid.exp(translation, vector), psi, bonded)

  gradients.assert_derivatives(atoms, positions[0, :3, CA], vector, psi, atol=1e-6)


def test_float64_in_float64_out(trpcage, chain_bonded):
  _, positions = trpcage
  with jax.enable_x64(True):
    assert rebuild(jnp.asarray(positions[0], jnp.float64), chain_bonded).dtype == jnp.float64
    assert rebuild(jnp.asarray(positions[0]), chain_bonded).dtype == jnp.float32


def test_virtual_cb_is_where_cb_is(np_rng):
  """0.1 Å from the CB of ideal geometry (Engh & Huber), and turns with the residue."""
  helix = peptides.helix(6)
  found = np.asarray(backbone.virtual_cb(jnp.asarray(helix[:, :4], jnp.float32)))
  assert np.linalg.norm(found - helix[:, 4], axis=-1).max() < 0.15
  rotation = Rotation.random(rng=np_rng).as_matrix()
  some = np.arange(len(helix)) % 2 == 0
  mixed = np.asarray(backbone.virtual_cb(jnp.asarray(helix[:, :4], jnp.float32), some))
  image = np.asarray(backbone.virtual_cb(jnp.asarray(-helix[:, :4], jnp.float32)))
  np.testing.assert_allclose(mixed, np.where(some[:, None], -image, found), atol=1e-5)
  turned = np.asarray(backbone.virtual_cb(jnp.asarray(helix[:, :4] @ rotation.T, jnp.float32)))
  np.testing.assert_allclose(turned, found @ rotation.T, atol=1e-4)


def test_n_ca_c_is_that_of_mdtraj(np_rng):
  positions = peptides.helix(6)[:, :4] + 0.1 * np_rng.normal(size=(6, 4, 3))
  found = np.asarray(backbone.n_ca_c_angles(jnp.asarray(positions, jnp.float32)))
  traj = as_mdtraj(positions[None])
  atoms = 4 * np.arange(6)[:, None] + np.arange(3)
  np.testing.assert_allclose(found, mdtraj.compute_angles(traj, atoms)[0], atol=1e-4)


def test_n_ca_c_of_atoms_on_one_line_is_ideal_and_has_no_gradient():
  line = jnp.zeros((3, 4, 3)).at[1, :, 0].set(jnp.arange(4.0)).at[2, 0, 0].set(1.4)
  value, gradient = jax.value_and_grad(lambda x: jnp.sum(backbone.n_ca_c_angles(x)))(line)
  np.testing.assert_allclose(value, 3 * np.deg2rad(111.0), rtol=1e-6)
  np.testing.assert_array_equal(gradient, 0.0)

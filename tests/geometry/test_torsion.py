"""Oracle: mdtraj's torsions on MD of Trp-cage and on a crystal structure of two chains."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from tempo_jax.geometry import torsion
from tests.geometry import gradients

backbone_torsions = jax.jit(torsion.backbone_torsions)
dihedral = jax.jit(torsion.dihedral)
from_sin_cos = jax.jit(torsion.from_sin_cos)
to_sin_cos = jax.jit(torsion.to_sin_cos)

PHI, PSI, OMEGA = range(3)


def difference(a, b):
  """Of angles, on the circle."""
  return np.abs(np.angle(np.exp(1j * (np.asarray(a, np.float64) - np.asarray(b)))))


def mdtraj_torsions(trajectory):
  """[T, L, 3] with NaN where mdtraj knows no torsion, in our order and place."""
  angles = np.full((trajectory.n_frames, trajectory.n_residues, 3), np.nan)
  residue = np.array([atom.residue.index for atom in trajectory.top.atoms])
  for kind, compute, atom in (
    (PHI, mdtraj.compute_phi, 1),
    (PSI, mdtraj.compute_psi, 0),
    (OMEGA, mdtraj.compute_omega, 0),
  ):
    indices, values = compute(trajectory, periodic=False)
    angles[:, residue[indices[:, atom]], kind] = values
  return angles


def four_points(angle):
  """Seen along b->c (here +z), d is clockwise of a by `angle`."""
  zero = np.zeros_like(angle)
  a = np.stack([zero + 1.5, zero, zero], -1)
  b, c = np.zeros_like(a), np.stack([zero, zero, zero + 1.4], -1)
  d = np.stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), zero + 2], -1)
  return np.float32([a, b, c, d])


def test_dihedral_has_the_iupac_sign_over_the_whole_circle():
  angle = np.linspace(-np.pi, np.pi, 73)
  assert difference(dihedral(*four_points(angle)), angle).max() < 1e-6
  # The definition itself: +60 degrees turns the near bond clockwise onto the far one.
  assert dihedral(*four_points(np.array([np.pi / 3])))[0] == pytest.approx(np.pi / 3, abs=1e-6)


def test_dihedral_reverses_in_the_mirror_and_not_in_the_reverse_order(np_rng):
  points = np_rng.normal(size=(4, 50, 3)).astype(np.float32)
  angle = dihedral(*points)
  assert difference(dihedral(*points[::-1]), angle).max() < 1e-5
  assert difference(dihedral(*(points * np.float32([1, -1, 1]))), -angle).max() < 1e-5


def test_agrees_with_mdtraj_on_md(trpcage):
  trajectory, positions = trpcage
  length = positions.shape[1]
  angles, mask = backbone_torsions(positions, np.arange(length) < length - 1)
  expected = mdtraj_torsions(trajectory)
  np.testing.assert_array_equal(mask, np.isfinite(expected))
  assert difference(angles, expected)[mask].max() < 1e-5
  assert not mask[:, 0, PHI].any()
  assert not mask[:, -1, PSI:].any()
  assert (angles[:, 0, PHI] == 0).all()
  assert (angles[:, -1, OMEGA] == 0).all()


def test_agrees_with_mdtraj_on_two_chains(two_chains):
  trajectory, positions, bonded = two_chains
  angles, mask = backbone_torsions(positions, bonded)
  expected = mdtraj_torsions(trajectory)
  np.testing.assert_array_equal(mask, np.isfinite(expected))
  assert difference(angles, expected)[mask].max() < 1e-5
  assert (~mask).sum() == 6


def test_a_break_masks_the_three_torsions_across_it(trpcage):
  trajectory, positions = trpcage
  whole = np.arange(20) < 19
  broken = whole & (np.arange(20) != 7)
  _, mask = backbone_torsions(positions, whole)
  angles, broken_mask = backbone_torsions(positions, broken)
  changed = [tuple(index) for index in np.argwhere(np.asarray(mask != broken_mask)[0])]
  assert changed == [(7, PSI), (7, OMEGA), (8, PHI)]
  assert difference(angles, mdtraj_torsions(trajectory))[broken_mask].max() < 1e-5
  # Nothing is read across the break.
  moved = positions.copy()
  moved[:, 8:] += np.float32([30, 0, 0])
  np.testing.assert_allclose(backbone_torsions(moved, broken)[0], angles, atol=2e-5)


def test_the_last_residue_of_a_crop_is_not_bonded(trpcage):
  _, positions = trpcage
  crop = positions[:, :10]
  every = backbone_torsions(crop, np.ones(10, bool))
  right = backbone_torsions(crop, np.arange(10) < 9)
  np.testing.assert_array_equal(every[0], right[0])
  np.testing.assert_array_equal(every[1], right[1])


def test_psi_comes_from_the_oxygen_where_masked(trpcage):
  trajectory, positions = trpcage
  angles, mask = backbone_torsions(positions, np.zeros(20, bool))
  assert not mask.any()
  top = trajectory.top
  quartets = [[r.atom(name).index for name in ('N', 'CA', 'C', 'O')] for r in top.residues]
  opposite = mdtraj.compute_dihedrals(trajectory, quartets, periodic=False)
  assert difference(angles[..., PSI], opposite - np.pi).max() < 1e-5
  assert (np.abs(angles[..., PSI]) <= np.float32(np.pi)).all()
  # The peptide plane makes it the true psi, to the planarity of MD at 320 K.
  true_psi = mdtraj_torsions(trajectory)[:, :-1, PSI]
  assert difference(angles[:, :-1, PSI], true_psi).max() < 0.4
  assert difference(angles[:, :-1, PSI], true_psi).mean() < 0.12
  assert (angles[..., [PHI, OMEGA]] == 0).all()


@pytest.mark.parametrize(
  ('opposite', 'psi'), [(0, np.pi), (np.pi, 0), (3, 3 - np.pi), (-3, 0.14159)]
)
def test_psi_from_the_oxygen_is_wrapped(opposite, psi):
  positions = four_points(np.array([float(opposite)]))[:, 0][None]
  angles, _ = backbone_torsions(positions, np.zeros(1, bool))
  assert angles[0, PSI] == pytest.approx(psi, abs=1e-5)


def test_masks_broadcast_and_batch_equals_loop(trpcage):
  _, positions = trpcage
  batch = positions[:6].reshape(2, 3, 20, 4, 3)
  bonded = np.arange(20) < 19
  bonded = np.stack([bonded, bonded & (np.arange(20) != 4)])[:, None]
  angles, mask = backbone_torsions(batch, bonded)
  assert angles.shape == mask.shape == (2, 3, 20, 3)
  assert angles.dtype == jnp.float32
  assert mask.dtype == bool
  for b, t in np.ndindex(2, 3):
    one, one_mask = backbone_torsions(batch[b, t], bonded[b, 0])
    assert difference(angles[b, t], one).max() < 2e-6
    np.testing.assert_array_equal(mask[b, t], one_mask)


DEGENERATE = np.float32(
  [
    np.zeros((4, 3)),  # all on one point
    [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0]],  # a, b, c straight
    [[0, 1, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]],  # b, c, d straight
    [[0, 1, 0], [1, 0, 0], [1, 0, 0], [2, 0, 1]],  # b on c
    [[1, 0, 0], [1, 0, 0], [2, 0, 0], [2, 1, 0]],  # a on b
    [[0, 1, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0]],  # c on d
  ]
)


def test_degenerate_dihedrals_are_zero_with_zero_gradient():
  gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda p: torsion.dihedral(*p))))
  value, slope = gradient(DEGENERATE)
  np.testing.assert_array_equal(value, 0)
  np.testing.assert_array_equal(slope, 0)


def test_gradients_are_finite_where_the_angle_is_special():
  angles = np.array([0, np.pi / 2, np.pi, -np.pi, np.pi - 1e-6])
  points = np.moveaxis(four_points(angles), 0, 1)
  gradients.assert_finite_gradients(lambda p: torsion.dihedral(*p), points)
  # A stretch of padding: every atom at the origin.
  padding = np.zeros((1, 5, 4, 3))
  bonded = np.zeros(5, bool)
  gradients.assert_finite_gradients(lambda x: torsion.backbone_torsions(x, bonded)[0], padding)


def test_gradients_agree_with_finite_differences(np_rng):
  bonded = np.array([True, False, True, False])

  def features(positions):
    return torsion.to_sin_cos(torsion.backbone_torsions(positions, bonded)[0])

  gradients.assert_derivatives(features, np_rng.normal(size=(4, 4, 3)))


def test_sin_cos_order_and_round_trip(np_rng):
  angles = np_rng.uniform(-np.pi, np.pi, size=(2, 9, 3)).astype(np.float32)
  sin_cos = to_sin_cos(angles)
  assert sin_cos.shape == (2, 9, 6)
  expected = [np.sin(angles[..., i]) for i in range(3)] + [np.cos(angles[..., i]) for i in range(3)]
  np.testing.assert_allclose(sin_cos, np.stack(expected, -1), atol=1e-6)
  lengths = np_rng.uniform(0.1, 10, size=(2, 9, 3)).astype(np.float32)
  scaled = sin_cos * jnp.concatenate([lengths, lengths], -1)
  assert difference(from_sin_cos(scaled), angles).max() < 1e-6


def test_from_sin_cos_at_zero_length():
  value, slope = jax.jit(jax.value_and_grad(lambda x: jnp.sum(from_sin_cos(x))))(jnp.zeros(6))
  assert value == 0
  np.testing.assert_array_equal(slope, 0)


def test_float64_is_exact():
  angle = np.linspace(-3, 3, 7)
  with jax.enable_x64(True):
    points = jnp.asarray(four_points(angle), jnp.float64)
    assert dihedral(*points).dtype == jnp.float64
    exact = points.at[3, :, :2].set(1.2 * np.stack([np.cos(angle), np.sin(angle)], -1))
    np.testing.assert_allclose(dihedral(*exact), angle, rtol=0, atol=1e-14)

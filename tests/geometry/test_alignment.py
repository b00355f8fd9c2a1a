"""Oracles: mdtraj's superposition and RMSD, and scipy's Rotation.align_vectors."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry import alignment
from tempo_jax.geometry.rigid import Rigid
from tests.geometry import gradients

rmsd = jax.jit(alignment.rmsd)
superpose = jax.jit(alignment.superpose)


def assert_proper(rotation):
  rotation = np.asarray(rotation, np.float64)
  identity = np.broadcast_to(np.eye(3), rotation.shape)
  np.testing.assert_allclose(rotation @ rotation.swapaxes(-1, -2), identity, atol=2e-6)
  np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=2e-6)


def test_agrees_with_mdtraj(trpcage):
  trajectory, positions = trpcage
  atoms = positions.reshape(len(positions), -1, 3)
  weights = np.ones(atoms.shape[1], np.float32)
  index = [r.atom(name).index for r in trajectory.top.residues for name in ('N', 'CA', 'C', 'O')]
  part = trajectory.atom_slice(index)
  moved = superpose(atoms, atoms[3:4], weights)[..., None].apply(atoms)
  part.superpose(part[3])
  np.testing.assert_allclose(moved, part.xyz * 10, atol=1e-3)
  # mdtraj.rmsd centres its arguments in place, so it comes last.
  expected = 10 * mdtraj.rmsd(part, part, frame=3)
  np.testing.assert_allclose(rmsd(atoms, atoms[3:4], weights), expected, atol=2e-4)
  assert expected.max() > 1


def test_agrees_with_scipy_for_any_weights(np_rng):
  mobile, target = np_rng.normal(size=(2, 6, 15, 3)) * 5
  weights = np_rng.uniform(size=(6, 15))
  motion = superpose(*(jnp.float32(x) for x in (mobile, target, weights)))
  assert_proper(motion.rotation)
  share = (weights / weights.sum(-1, keepdims=True))[..., None]
  centres = [(share * x).sum(-2, keepdims=True) for x in (mobile, target)]
  distances = rmsd(*(jnp.float32(x) for x in (mobile, target, weights)))
  for i in range(6):
    x, y = mobile[i] - centres[0][i], target[i] - centres[1][i]
    rotation, distance = Rotation.align_vectors(y, x, weights=weights[i])
    np.testing.assert_allclose(motion.rotation[i], rotation.as_matrix(), atol=2e-5)
    assert distances[i] == pytest.approx(distance / np.sqrt(weights[i].sum()), abs=1e-5)
    moved = motion.rotation[i] @ centres[0][i, 0] + motion.translation[i]
    np.testing.assert_allclose(moved, centres[1][i, 0], atol=1e-5)


def test_undoes_a_motion_far_from_the_origin(np_rng, trpcage):
  _, positions = trpcage
  atoms = positions[0].reshape(-1, 3)
  rotation = Rotation.random(rng=np_rng).as_matrix()
  translation = np.array([80.0, -100.0, 60.0])
  target = (atoms @ rotation.T + translation).astype(np.float32)
  weights = np.ones(len(atoms), np.float32)
  motion = superpose(atoms, target, weights)
  np.testing.assert_allclose(motion.rotation, rotation, atol=5e-6)
  np.testing.assert_allclose(motion.translation, translation, atol=1e-4)
  np.testing.assert_allclose(motion[..., None].apply(atoms), target, atol=1e-4)
  assert rmsd(atoms, target, weights) < 5e-5


def test_points_of_weight_zero_do_not_count(np_rng):
  mobile, target = np_rng.normal(size=(2, 10, 3)).astype(np.float32)
  mask = np.arange(10) < 6
  motion, distance = superpose(mobile, target, mask), rmsd(mobile, target, mask)
  mobile[6:] = 1000
  again = superpose(mobile, target, mask)
  np.testing.assert_allclose(again.rotation, motion.rotation, atol=1e-6)
  np.testing.assert_allclose(again.translation, motion.translation, atol=1e-6)
  assert rmsd(mobile, target, mask) == pytest.approx(float(distance), abs=1e-6)
  np.testing.assert_allclose(
    superpose(mobile[:6], target[:6], np.ones(6)).rotation, motion.rotation, atol=1e-5
  )


def test_never_a_reflection(trpcage):
  _, positions = trpcage
  atoms = positions[0].reshape(-1, 3)
  mirror = atoms * np.float32([1, 1, -1])
  weights = np.ones(len(atoms), np.float32)
  assert_proper(superpose(atoms, mirror, weights).rotation)
  assert_proper(superpose(atoms, -atoms, weights).rotation)
  assert rmsd(atoms, mirror, weights) > 2
  assert rmsd(atoms, -atoms, weights) == pytest.approx(
    float(rmsd(atoms, mirror, weights)), abs=1e-4
  )


LINE = np.outer([-1.0, 0, 1, 3], [1, 2, 3])
RANK_DEFICIENT = np.float32(
  [
    np.zeros((4, 3)),  # one point
    np.ones((4, 3)),
    LINE,
    [[0, 0, 1], [0, 0, 2], [0, 0, 1], [0, 0, 1]],  # two points
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]],  # a plane
  ]
)


def test_rank_deficient_sets_give_a_proper_rotation(np_rng):
  weights = np.ones((len(RANK_DEFICIENT), 4), np.float32)
  target = (RANK_DEFICIENT @ Rotation.random(rng=np_rng).as_matrix().T).astype(np.float32)
  motion = superpose(RANK_DEFICIENT, target, weights)
  assert_proper(motion.rotation)
  moved = motion[..., None].apply(RANK_DEFICIENT)
  np.testing.assert_allclose(moved, target, atol=1e-5)
  # Onto generic points, and generic points onto them.
  generic = np.broadcast_to(np_rng.normal(size=(1, 4, 3)).astype(np.float32), target.shape)
  assert_proper(superpose(RANK_DEFICIENT, generic, weights).rotation)
  assert_proper(superpose(generic, RANK_DEFICIENT, weights).rotation)


def test_without_weights_the_identity(np_rng):
  mobile, target = np_rng.normal(size=(2, 4, 3)).astype(np.float32)
  motion = superpose(mobile, target, np.zeros(4, np.float32))
  np.testing.assert_array_equal(motion.rotation, np.eye(3))
  np.testing.assert_array_equal(motion.translation, np.zeros(3))
  assert rmsd(mobile, target, np.zeros(4, np.float32)) == 0


def everything(mobile, target, weights):
  motion = alignment.superpose(mobile, target, weights)
  return motion.rotation, motion.translation, alignment.rmsd(mobile, target, weights)


def test_gradients_agree_with_finite_differences(np_rng):
  """Also for a regular octahedron, where the derivative of the SVD itself is infinite."""
  octahedron = np.concatenate([np.eye(3), -np.eye(3)])
  mobile = np.stack([np_rng.normal(size=(6, 3)), octahedron])
  turned = octahedron * 1.1 @ Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix().T
  target = np.stack([np_rng.normal(size=(6, 3)), turned])
  weights = np.stack([np_rng.uniform(0.5, 1, size=6), np.ones(6)])
  gradients.assert_derivatives(everything, mobile, target, weights, atol=1e-6)


def test_gradients_are_finite_where_the_rotation_is_open(np_rng):
  generic = np_rng.normal(size=(4, 3)).astype(np.float32)
  weighted = np.concatenate([RANK_DEFICIENT, np.ones((len(RANK_DEFICIENT), 4, 1))], axis=-1)
  weightless = np.concatenate([generic, np.zeros((4, 1))], axis=-1)

  def both(point):
    x, weights = point[:, :3], point[:, 3]
    return everything(x, generic, weights), everything(x, x, weights)

  gradients.assert_finite_gradients(both, np.concatenate([weighted, weightless[None]]))


def test_batch_equals_loop_and_targets_broadcast(np_rng):
  mobile = np_rng.normal(size=(2, 3, 7, 3)).astype(np.float32)
  target = np_rng.normal(size=(7, 3)).astype(np.float32)
  weights = np_rng.uniform(size=7).astype(np.float32)
  motion, distance = superpose(mobile, target, weights), rmsd(mobile, target, weights)
  assert isinstance(motion, Rigid)
  assert motion.shape == distance.shape == (2, 3)
  for index in np.ndindex(2, 3):
    one = superpose(mobile[index], target, weights)
    np.testing.assert_allclose(motion.rotation[index], one.rotation, atol=1e-5)
    np.testing.assert_allclose(motion.translation[index], one.translation, atol=1e-5)
    assert distance[index] == pytest.approx(float(rmsd(mobile[index], target, weights)), abs=1e-5)


def test_dtype_follows_the_input(np_rng):
  with jax.enable_x64(True):
    mobile, target = np_rng.normal(size=(2, 7, 3))
    weights = np.ones(7)
    assert superpose(mobile, target, weights).translation.dtype == jnp.float64
    single = jnp.float32(mobile), jnp.float32(target)
    assert superpose(*single, weights).rotation.dtype == jnp.float32
    assert rmsd(*single, weights).dtype == jnp.float32


@pytest.mark.parametrize('platform', ['cpu', 'cuda', 'tpu'])
def test_lowers_for_every_platform(platform):
  points = jax.ShapeDtypeStruct((2, 5, 3), jnp.float32)
  weights = jax.ShapeDtypeStruct((2, 5), jnp.float32)
  jax.export.export(superpose, platforms=[platform])(points, points, weights)

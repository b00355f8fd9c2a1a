"""Oracles: 4x4 matrices in float64 numpy, and the paper's frame formula written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry.rigid import Rigid
from tests.geometry import gradients

from_three_points = jax.jit(Rigid.from_three_points)
orthonormalised = jax.jit(Rigid.orthonormalised)
ANGSTROM = 1e-5


def random_rigid(np_rng, shape=(5,)):
  count = int(np.prod(shape))
  rotation = Rotation.random(count, rng=np_rng).as_matrix().reshape(*shape, 3, 3)
  translation = np_rng.normal(size=(*shape, 3)) * 10
  return Rigid(jnp.float32(rotation), jnp.float32(translation))


def homogeneous(rigid):
  matrix = np.zeros((*rigid.shape, 4, 4))
  matrix[..., :3, :3] = rigid.rotation
  matrix[..., :3, 3] = rigid.translation
  matrix[..., 3, 3] = 1
  return matrix


def assert_rotations(rotation, atol=1e-6):
  rotation = np.asarray(rotation, np.float64)
  identity = np.broadcast_to(np.eye(3), rotation.shape)
  np.testing.assert_allclose(rotation.swapaxes(-1, -2) @ rotation, identity, atol=atol)
  np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=atol)


def paper_frame(n, ca, c):
  x = (n - ca) / np.linalg.norm(n - ca, axis=-1, keepdims=True)
  v = (c - ca) / np.linalg.norm(c - ca, axis=-1, keepdims=True)
  z = np.cross(x, v)
  z /= np.linalg.norm(z, axis=-1, keepdims=True)
  return np.stack([x, np.cross(z, x), z], axis=-1)


def test_composition_and_inverse_are_those_of_matrices(np_rng):
  a, b = random_rigid(np_rng), random_rigid(np_rng)
  expected = homogeneous(a) @ homogeneous(b)
  np.testing.assert_allclose(homogeneous(a @ b), expected, atol=ANGSTROM)
  np.testing.assert_array_equal(homogeneous(a.compose(b)), homogeneous(a @ b))
  np.testing.assert_allclose(homogeneous(a.inverse()), np.linalg.inv(homogeneous(a)), atol=ANGSTROM)
  identity = homogeneous(Rigid.identity((5,)))
  np.testing.assert_array_equal(identity, np.broadcast_to(np.eye(4), (5, 4, 4)))
  np.testing.assert_allclose(homogeneous(a @ a.inverse()), identity, atol=ANGSTROM)
  np.testing.assert_allclose(homogeneous(a.inverse() @ a), identity, atol=ANGSTROM)


def test_apply_moves_points_and_apply_inverse_undoes_it(np_rng):
  rigid = random_rigid(np_rng)
  points = np_rng.normal(size=(5, 3)).astype(np.float32)
  expected = homogeneous(rigid) @ np.pad(points, [(0, 0), (0, 1)], constant_values=1)[..., None]
  np.testing.assert_allclose(rigid.apply(points), expected[:, :3, 0], atol=ANGSTROM)
  np.testing.assert_allclose(rigid.apply_inverse(rigid.apply(points)), points, atol=ANGSTROM)
  np.testing.assert_allclose(
    rigid.apply_inverse(points), rigid.inverse().apply(points), atol=ANGSTROM
  )


def test_apply_inverse_is_accurate_far_from_the_origin(np_rng):
  rigid = random_rigid(np_rng)
  far = Rigid(rigid.rotation, jnp.full_like(rigid.translation, 512.0))
  points = np.float32(512) + np.float32([1, 2, 3])
  expected = np.asarray(rigid.rotation, np.float64).swapaxes(-1, -2) @ np.array([1.0, 2, 3])
  moved = far.apply_inverse(np.broadcast_to(points, (5, 3)))
  np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_indexing_takes_leading_axes(np_rng):
  rigid = random_rigid(np_rng, (2, 4))
  points = np_rng.normal(size=(2, 4, 6, 3)).astype(np.float32)
  moved = rigid[..., None].apply(points)
  assert rigid.shape == (2, 4)
  assert rigid[..., None].shape == (2, 4, 1)
  assert rigid[0].shape == (4,)
  assert rigid[0, 1].shape == ()
  assert rigid[:, 1:].shape == (2, 3)
  assert rigid[:, None].shape == (2, 1, 4)
  for b, residue, p in np.ndindex(2, 4, 6):
    one = rigid[b, residue].apply(points[b, residue, p])
    np.testing.assert_allclose(moved[b, residue, p], one, atol=ANGSTROM)
  with pytest.raises(IndexError):
    rigid[0, 0, 0]


def test_is_a_pytree(np_rng):
  a, b = random_rigid(np_rng), random_rigid(np_rng)
  expected = homogeneous(a @ b)
  np.testing.assert_allclose(homogeneous(jax.jit(Rigid.compose)(a, b)), expected, atol=ANGSTROM)
  np.testing.assert_allclose(homogeneous(jax.vmap(Rigid.compose)(a, b)), expected, atol=ANGSTROM)
  first = jax.vmap(Rigid.compose, in_axes=(None, 0))(a[0], b)
  np.testing.assert_allclose(homogeneous(first), homogeneous(a)[:1] @ homogeneous(b), atol=1e-5)
  assert len(jax.tree.leaves(a)) == 2


def test_exp_and_log_take_the_translation_as_it_is(np_rng):
  translation, vector = np_rng.normal(size=(2, 7, 3)).astype(np.float32)
  rigid = jax.jit(Rigid.exp)(translation, vector)
  np.testing.assert_array_equal(rigid.translation, translation)
  np.testing.assert_allclose(rigid.rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-6)
  for actual, expected in zip(jax.jit(Rigid.log)(rigid), (translation, vector), strict=True):
    np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_dtype_follows_the_input(np_rng):
  @jax.jit
  def walk(n, ca, c):
    frames = Rigid.from_three_points(n, ca, c)
    return frames, (frames @ frames.inverse()).orthonormalised(), frames.apply(n)

  atoms = np_rng.normal(size=(3, 5, 3))
  with jax.enable_x64(True):
    double, single = walk(*jnp.asarray(atoms)), walk(*jnp.asarray(atoms, jnp.float32))
    assert {leaf.dtype for leaf in jax.tree.leaves(double)} == {jnp.dtype('float64')}
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {jnp.dtype('float32')}
    assert Rigid.identity((2,), jnp.float64).rotation.dtype == jnp.float64
  np.testing.assert_allclose(double[0].rotation, paper_frame(*atoms), rtol=0, atol=1e-14)


def test_orthonormalised_removes_drift(np_rng):
  steps = jnp.float32(np_rng.normal(size=(20_000, 3)) * 0.3)
  start = Rigid.identity()

  def roll(correct):
    def step(state, vector):
      state = state @ Rigid.exp(jnp.zeros(3), vector)
      return (state.orthonormalised() if correct else state), None

    return jax.lax.scan(step, start, steps)[0]

  def defect(rigid):
    r = np.asarray(rigid.rotation, np.float64)
    return np.abs(r.T @ r - np.eye(3)).max()

  drifted = roll(correct=False)
  assert defect(drifted) > 1e-5
  assert defect(orthonormalised(drifted)) < 5e-7
  assert defect(roll(correct=True)) < 5e-7
  np.testing.assert_allclose(
    orthonormalised(drifted).rotation, drifted.rotation, atol=10 * defect(drifted)
  )


def test_frames_follow_the_paper(np_rng):
  n, ca, c = np_rng.normal(size=(3, 100, 3)) * 2 + 20
  frames = from_three_points(*(jnp.float32(x) for x in (n, ca, c)))
  np.testing.assert_allclose(frames.rotation, paper_frame(n, ca, c), atol=1e-4)
  np.testing.assert_array_equal(frames.translation, jnp.float32(ca))
  assert_rotations(frames.rotation)


def test_frames_move_with_the_atoms_but_not_with_their_mirror_image(np_rng):
  atoms = np_rng.normal(size=(3, 20, 3)).astype(np.float32)
  motion = random_rigid(np_rng, (1,))
  frames = from_three_points(*atoms)
  moved = from_three_points(*motion[None].apply(atoms))
  np.testing.assert_allclose(homogeneous(moved), homogeneous(motion @ frames), atol=1e-4)
  mirror = np.float32([1, 1, -1])
  reflected = from_three_points(*(atoms * mirror)).rotation
  np.testing.assert_allclose(
    reflected, np.asarray(frames.rotation) * mirror[:, None] * mirror, atol=1e-5
  )
  assert_rotations(reflected)


DEGENERATE = {
  'all equal': [[1, 2, 3], [1, 2, 3], [1, 2, 3]],
  'all zero': [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
  'N on CA': [[0, 0, 0], [0, 0, 0], [1, 1, 0]],
  'C on CA': [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
  'C on N': [[0, 1, 0], [0, 0, 0], [0, 1, 0]],
  'straight': [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
  'straight along y': [[0, 1, 0], [0, 0, 0], [0, -2, 0]],
  'straight to rounding': [[1, 1, 1], [0, 0, 0], [-1, -1, -1.000001]],
  'nearly straight': [[1.1, 1.2, 1.3], [0, 0, 0], [-1.1, -1.2, -1.30002]],
  'less straight': [[1.1, 1.2, 1.3], [0, 0, 0], [-1.1, -1.2, -1.303]],
  'tiny': [[1e-20, 0, 0], [0, 0, 0], [0, 1e-20, 0]],
}


def test_degenerate_frames_are_rotations_with_finite_gradients():
  points = jnp.float32(list(DEGENERATE.values()))
  rotation = from_three_points(*jnp.moveaxis(points, 1, 0)).rotation
  assert_rotations(rotation)
  gradients.assert_finite_gradients(lambda p: Rigid.from_three_points(*p).rotation, points)


def test_gradients_of_the_algebra_agree_with_finite_differences(np_rng):
  def invariants(translation, vector, points):
    rigid = Rigid.exp(translation, vector)
    moved = (rigid @ rigid).inverse().apply(points)
    frames = Rigid.from_three_points(*moved[:, None])
    return frames.apply_inverse(points), frames.rotation

  translation, vector = np_rng.normal(size=(2, 1, 3))
  gradients.assert_derivatives(invariants, translation, vector, np_rng.normal(size=(3, 3)))

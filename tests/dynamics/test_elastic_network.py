"""The elastic network against float64 NumPy, and what must not change it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import elastic_network
from tempo_jax.metrics import baselines
from tests import builders

LENGTH = 12


@functools.cache
def _compiled():
  return builders.numpy_jit(
    lambda protein: elastic_network.of_reference(protein.positions, protein)
  )


def network(protein):
  return _compiled()(dataclasses.replace(protein, chi=None, chi_known=None))


def moved(protein, rotation, shift=0.0):
  positions = np.float32(np.float64(protein.positions) @ rotation.T + shift)
  return dataclasses.replace(protein, positions=positions)


def covariance(found):
  """[L, 3, L, 3] of displacements in the pose of the reference, float64."""
  turn, root = np.float64(found.frames.rotation), np.float64(found.root)
  length = len(turn)
  root = np.einsum('lxy,lym->lxm', turn, root.reshape(length, 3, -1)).reshape(3 * length, -1)
  return (root @ root.T).reshape(length, 3, length, 3)


def test_the_hessian_is_that_of_the_anisotropic_network():
  """Equal springs within 15 Å: `metrics.baselines`, float64."""
  ca = np.asarray(builders.helix(LENGTH).positions)[:, 1]
  apart = np.linalg.norm(ca[:, None] - ca[None], axis=-1)
  constant = ((apart < 15.0) & (apart > 0.0)).astype(np.float32)
  found = np.asarray(jax.jit(elastic_network.hessian)(ca, constant)).reshape(3 * LENGTH, -1)
  np.testing.assert_allclose(found, baselines.hessian(ca), atol=1e-4)


def test_motion_is_the_inverse_of_the_hessian():
  """Of float64 NumPy, without the motion of the whole."""
  protein = builders.helix(LENGTH)
  ca = np.float64(np.asarray(protein.positions)[:, 1])
  constant = np.float64(jax.jit(lambda ca: elastic_network.springs(ca, protein))(ca))
  between = ca[:, None] - ca[None]
  square = np.sum(between**2, axis=-1) + np.eye(LENGTH)
  blocks = -(constant / square)[..., None, None] * between[..., :, None] * between[..., None, :]
  index = np.arange(LENGTH)
  blocks[index, index] = -blocks.sum(axis=1)
  stiffness = np.moveaxis(blocks, 1, 2).reshape(3 * LENGTH, -1) + 0.06 * np.eye(3 * LENGTH)
  expected = np.linalg.inv(stiffness)
  centred = ca - ca.mean(axis=0)
  rigid = [np.tile(axis, (LENGTH, 1)) for axis in np.eye(3)]
  rigid += [np.cross(axis, centred) for axis in np.eye(3)]
  basis = np.linalg.qr(np.reshape(rigid, (6, -1)).T)[0]
  internal = np.eye(3 * LENGTH) - basis @ basis.T
  found = covariance(network(protein)).reshape(3 * LENGTH, -1)
  scale = np.abs(internal @ expected @ internal).max()
  np.testing.assert_allclose(
    internal @ found @ internal, internal @ expected @ internal, atol=2e-5 * scale
  )
  # The whole hardly moves.
  assert np.trace(basis.T @ found @ basis) < 0.02 * np.trace(found)


def test_a_turned_protein_moves_alike():
  protein = builders.helix(LENGTH)
  rotation = Rotation.from_rotvec([0.4, -1.1, 2.0]).as_matrix()
  before, after = network(protein), network(moved(protein, rotation, 30.0))
  np.testing.assert_allclose(after.root, before.root, atol=2e-4)
  np.testing.assert_allclose(after.spread, before.spread, rtol=1e-4)
  normal = np.random.default_rng(0).normal(size=(3, LENGTH, 3)).astype(np.float32)
  draws = [np.asarray(x.displacements(normal)) for x in (before, after)]
  np.testing.assert_allclose(draws[1], draws[0] @ rotation.T, atol=1e-3)


def test_a_mirror_image_moves_otherwise():
  """Numbers are drawn in residue frames: chirality is kept."""
  protein = builders.helix(LENGTH)
  image = moved(protein, np.diag([1.0, 1.0, -1.0]))
  normal = np.random.default_rng(0).normal(size=(LENGTH, 3)).astype(np.float32)
  one, other = (np.asarray(network(x).displacements(normal)) for x in (protein, image))
  assert np.abs(one - other * [1.0, 1.0, -1.0]).max() > 0.1


def test_padding_changes_nothing():
  protein = builders.helix(LENGTH)
  alone, padded = network(protein), network(builders.pad(protein, LENGTH + 4))
  np.testing.assert_allclose(padded.root[: 3 * LENGTH, : 3 * LENGTH], alone.root, atol=1e-5)
  assert not padded.root[3 * LENGTH :].any()
  assert not padded.root[:, 3 * LENGTH :].any()
  np.testing.assert_array_equal(padded.spread[LENGTH:], 1.0)


@pytest.mark.parametrize('length', [1, 2, 3])
def test_few_residues_stay_within_five_angstroms(length):
  found = network(builders.helix(length))
  assert np.isfinite(found.root).all()
  assert (found.spread < 5.0).all()


def test_separate_chains_stay_together():
  """Nothing holds them: the least stiffness of every residue does."""
  protein = builders.helix(LENGTH, chains=2)
  positions = np.array(protein.positions)
  positions[LENGTH // 2 :] += 60.0
  found = network(dataclasses.replace(protein, positions=positions))
  assert np.isfinite(found.root).all()
  assert (found.spread < 5.0).all()


def test_disulphides_and_bonds_are_stiff():
  protein = builders.helix(LENGTH)
  partner = np.full(LENGTH, -1, np.int32)
  partner[[1, 9]] = 9, 1
  bridged = dataclasses.replace(protein, disulphides=partner)
  ca = jnp.asarray(protein.positions)[:, 1]
  free, held = (np.asarray(elastic_network.springs(ca, x)) for x in (protein, bridged))
  assert held[1, 9] == held[9, 1] == free[0, 1] == free[5, 4] == 100.0
  assert 0.0 < free[1, 9] < 1.0
  np.testing.assert_array_equal(held, held.T)
  assert not np.diag(held).any()


def test_residues_two_apart_keep_the_angles_of_the_chain():
  """Where both bonds between them are there: not over a gap, not from chain to chain."""
  protein = builders.helix(LENGTH, chains=2)
  to_next = np.array(protein.bonds.to_next)
  to_next[2] = False
  gap = dataclasses.replace(protein, bonded=to_next)
  found = np.asarray(elastic_network.springs(jnp.asarray(protein.positions)[:, 1], gap))
  two_apart = np.diag(found, 2)
  half = LENGTH // 2
  stiff = {i for i in range(LENGTH - 2) if not {i, i + 1} & {2, half - 1}}
  assert stiff == {0, 3, 6, 7, 8, 9}
  np.testing.assert_array_equal(two_apart == 10.0, [i in stiff for i in range(LENGTH - 2)])
  np.testing.assert_array_equal(found, found.T)
  ring = builders.ring(LENGTH, behind=2)
  found = np.asarray(elastic_network.springs(jnp.asarray(ring.positions)[:, 1], ring))
  assert found[LENGTH - 2, 0] == found[LENGTH - 1, 1] == 10.0
  assert found[LENGTH - 1, 0] == 100.0
  assert (found[LENGTH:] < 10.0).sum() == found[LENGTH:].size - 2

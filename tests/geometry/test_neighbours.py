"""The search for nearest neighbours, against scipy's k-d tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import spatial

from tempo_jax.geometry import neighbours
from tests import builders

nearest = builders.numpy_jit(neighbours.nearest, static_argnums=2)


@pytest.mark.parametrize('length', [2, 17, 128, 300])
@pytest.mark.parametrize('count', [1, 12])
def test_agrees_with_a_k_d_tree(np_rng, length, count):
  count = min(count, length - 1)
  points = np_rng.normal(scale=12.0, size=(length, 3)).astype(np.float32)
  indices, found = nearest(points, np.ones(length, bool), count)
  assert indices.shape == found.shape == (length, count)
  assert found.all()
  expected = spatial.cKDTree(points).query(points, count + 1)[0][:, 1:]
  apart = np.linalg.norm(points[indices].astype(np.float64) - points[:, None], axis=-1)
  # Neighbours that are as far away may change places.
  np.testing.assert_allclose(apart, expected, rtol=1e-4)
  for own, listed in enumerate(indices):
    assert len({own, *listed}) == count + 1


@pytest.mark.parametrize('real', [0, 1, 2, 5])
def test_only_points_of_the_mask_are_neighbours(np_rng, real):
  length, count = 12, 6
  points = np_rng.normal(size=(length, 3)).astype(np.float32)
  members = np.sort(np_rng.permutation(length)[:real])
  mask = np.isin(np.arange(length), members)
  indices, found = nearest(points, mask, count)
  assert ((indices >= 0) & (indices < length)).all()
  assert not found[~mask].any()
  for own in members:
    others = members[members != own]
    order = others[np.argsort(np.linalg.norm(points[others] - points[own], axis=-1))]
    np.testing.assert_array_equal(found[own], np.arange(count) < len(order))
    np.testing.assert_array_equal(indices[own][: len(order)], order)


def test_points_on_one_spot_are_each_others_nearest():
  points = np.repeat(np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], np.float32), 3, axis=0)
  indices, found = nearest(points, np.ones(6, bool), 5)
  assert found.all()
  for own, listed in enumerate(indices):
    assert {own, *listed} == set(range(6))
    assert set(listed[:2]) == {3 * (own // 3) + k for k in range(3)} - {own}


def test_a_global_motion_changes_nothing(np_rng):
  points, mask = np_rng.normal(scale=8.0, size=(40, 3)).astype(np.float32), np.ones(40, bool)
  rotation, shift = builders.random_motion(1, translation=30.0)
  moved = (points @ rotation.T + shift).astype(np.float32)
  np.testing.assert_array_equal(nearest(moved, mask, 8)[0], nearest(points, mask, 8)[0])


def test_the_search_passes_no_gradient(np_rng):
  points = np_rng.normal(size=(8, 3)).astype(np.float32)

  def total(x):
    indices, _ = neighbours.nearest(x, jnp.ones(8, bool), 3)
    return jnp.sum((x[indices] - jax.lax.stop_gradient(x)[:, None]) ** 2)

  gradient = builders.numpy_jit(jax.grad(total))(points)
  indices, _ = nearest(points, np.ones(8, bool), 3)
  expected = np.zeros((8, 3))
  for own, listed in enumerate(indices):
    for k in listed:
      expected[k] += 2.0 * (points[k] - points[own])
  np.testing.assert_allclose(gradient, expected, atol=1e-4)

"""Who follows whom in chains, and in rings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.geometry import bonds

# A chain of two, a ring of three, a chain of three.
TO_NEXT = np.array([True, False, True, True, True, True, True, False])
RING = np.array([-1, -1, -1, -1, 2, -1, -1, -1], np.int32)
FOLLOWING = {0: 1, 2: 3, 3: 4, 4: 2, 5: 6, 6: 7}


@pytest.mark.parametrize('use', [np.asarray, jnp.asarray])
def test_neighbours(use):
  found = bonds.Bonds(use(TO_NEXT), use(RING))
  x = use(np.arange(8) + 10)
  after, before = np.asarray(found.after(x, 0)), np.asarray(found.before(x, 0))
  to_previous = np.asarray(found.to_previous)
  for here, there in FOLLOWING.items():
    assert after[here] == there + 10
    assert before[there] == here + 10
  assert np.flatnonzero(to_previous).tolist() == sorted(FOLLOWING.values())
  assert dict(zip(*bonds.pairs(found), strict=True)) == FOLLOWING


def test_without_rings_the_next_residue_follows():
  plain = np.array([True, True, False, True, False])
  nowhere = np.full(5, -1, np.int32)
  x = jnp.arange(10.0).reshape(2, 5)
  for found in (bonds.of(plain), bonds.Bonds(plain, nowhere)):
    np.testing.assert_array_equal(found.after(x, 1)[:, :-1], x[:, 1:])
    np.testing.assert_array_equal(found.before(x, 1)[:, 1:], x[:, :-1])
    np.testing.assert_array_equal(found.to_previous, [False, True, True, False, True])
    assert [x.tolist() for x in bonds.pairs(found)] == [[0, 1, 3], [1, 2, 4]]


def test_nothing_follows_the_last_residue_of_a_crop():
  everything = np.ones(4, bool)
  found = bonds.of(everything).broadcast((3, 4))
  np.testing.assert_array_equal(found.to_next, [[True, True, True, False]] * 3)
  closed = bonds.Bonds(everything, np.array([-1, -1, -1, 1], np.int32)).broadcast((4,))
  assert closed.to_next.tolist() == [True] * 4
  opened = bonds.Bonds(everything, np.array([-1, 0, -1, -1], np.int32)).broadcast((4,))
  assert opened.to_next.tolist() == [True, True, True, False]


def test_rings_are_found_by_their_bond():
  rng = np.random.default_rng(0)
  positions = 100.0 * rng.normal(size=(9, 4, 3))
  chain = np.repeat([0, 1, 2], [4, 2, 3])
  assert bonds.rings(positions, chain, 2.0) is None
  positions[3, 2] = positions[0, 0] + [1.33, 0.0, 0.0]
  positions[5, 2] = positions[4, 0] + [1.33, 0.0, 0.0]  # Two residues are no ring.
  positions[8, 2] = positions[6, 0] + [1.9, 0.0, 0.0]
  assert bonds.rings(positions, chain, 2.0).tolist() == [-1, -1, -1, 0, -1, -1, -1, -1, 6]
  assert bonds.rings(positions, chain, 1.5).tolist() == [-1, -1, -1, 0, -1, -1, -1, -1, -1]


def test_is_a_pytree():
  found = jax.tree.map(lambda x: x[:4], bonds.Bonds(TO_NEXT, RING))
  assert len(found.to_next) == len(found.ring) == 4
  assert len(jax.tree.leaves(bonds.of(TO_NEXT))) == 1

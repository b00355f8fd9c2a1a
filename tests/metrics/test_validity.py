import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import validity


def crowded(np_rng, *shape):
  """Backbones of L residues so tightly packed that many atoms clash."""
  *lead, length = shape
  size = 1.5 * length ** (1 / 3)
  return np_rng.uniform(0.0, size, (*lead, length, 4, 3)).astype(np.float32)


def count_clashes(frame, bonded):
  """Pair by pair, float64."""
  atoms = frame.reshape(-1, 3).astype(np.float64)
  total = 0
  for a, b in np.argwhere(np.triu(distance.squareform(distance.pdist(atoms)) < 1.2, k=1)):
    i, j = a // 4, b // 4
    peptide = j == i + 1 and bonded[i] and (a % 4, b % 4) == (2, 0)
    total += i != j and not peptide
  return total


@pytest.mark.parametrize('length', [2, 3, 8, 9])
def test_clashes_are_those_of_a_loop_over_pairs(np_rng, length):
  positions = crowded(np_rng, 2, 5, length)
  bonded = np.arange(length) % 3 != 2
  bonded[-1] = False
  expected = [[count_clashes(frame, bonded) for frame in replica] for replica in positions]
  assert np.sum(expected) > 0
  np.testing.assert_array_equal(validity.num_clashes(positions, bonded), expected)


def test_c_and_n_of_a_bond_do_not_clash(np_rng):
  positions = 50.0 * np_rng.normal(size=(3, 4, 3)).astype(np.float32)
  positions[1, 0] = positions[0, 2] + [1.1, 0.0, 0.0]
  positions[2, 0] = positions[1, 2] + [1.1, 0.0, 0.0]
  for bonded, expected in (([True, True, False], 0), ([True, False, False], 1)):
    assert int(validity.num_clashes(jnp.asarray(positions), jnp.array(bonded))) == expected


def test_clashes_of_long_chains_need_little_memory():
  positions = jax.ShapeDtypeStruct((100, 1024, 4, 3), np.float32)
  bonded = jax.ShapeDtypeStruct((1024,), bool)
  compiled = jax.jit(validity.num_clashes).lower(positions, bonded).compile()
  # All pairs of atoms of all frames would be 1.7 GB.
  size = positions.size * positions.dtype.itemsize
  assert compiled.memory_analysis().temp_size_in_bytes < 4 * size


def test_bond_lengths_are_those_of_mdtraj(np_rng):
  length, frames = 7, 4
  positions = np_rng.normal(size=(frames, length, 4, 3), scale=3.0).astype(np.float32)
  bonded = np.array([True, True, False, True, True, True, False])
  top = mdtraj.Topology()
  chain = top.add_chain()
  for _ in range(length):
    residue = top.add_residue('ALA', chain)
    for name in ('N', 'CA', 'C', 'O'):
      top.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  traj = mdtraj.Trajectory(positions.reshape(frames, -1, 3) / 10.0, top)
  (pairs,) = np.nonzero(bonded)
  ca = 10.0 * mdtraj.compute_distances(traj, np.stack([4 * pairs + 1, 4 * pairs + 5], -1))
  c_n = 10.0 * mdtraj.compute_distances(traj, np.stack([4 * pairs + 2, 4 * pairs + 4], -1))

  low, high = validity.ca_ca_range(jnp.asarray(positions), jnp.asarray(bonded))
  np.testing.assert_allclose(low, ca.min(1), rtol=1e-5)
  np.testing.assert_allclose(high, ca.max(1), rtol=1e-5)
  found = validity.c_n_max(jnp.asarray(positions), jnp.asarray(bonded))
  np.testing.assert_allclose(found, c_n.max(1), rtol=1e-5)


def test_without_bonds_nothing_is_broken(np_rng):
  positions = jnp.asarray(np_rng.normal(size=(2, 3, 4, 3)), jnp.float32)
  bonded = jnp.zeros(3, bool)
  low, high = validity.ca_ca_range(positions, bonded)
  longest = validity.c_n_max(positions, bonded)
  assert np.all(np.isposinf(low))
  assert np.all(np.isneginf(high))
  assert np.all(np.isneginf(longest))
  assert not np.any(validity.is_broken(low, high, longest))


def test_chains_break_at_the_limits():
  #                 cis   sound collapsed apart  open peptide bond
  low = jnp.array([2.95, 3.7, 2.49, 3.7, 3.7])
  high = jnp.array([3.9, 3.9, 3.9, 4.51, 3.9])
  c_n = jnp.array([1.4, 1.4, 1.4, 1.4, 2.01])
  broken = validity.is_broken(low, high, c_n)
  np.testing.assert_array_equal(broken, [False, False, True, True, True])


@pytest.mark.parametrize('name', ['2jof', 'cln025'])
def test_md_is_valid(shared_data, name):
  folder = shared_data / 'openmm_implicit' / name
  traj = mdtraj.load(folder / f'{name}_R1.xtc', top=folder / f'{name}.pdb')
  rows = [[residue.atom(a).index for a in ('N', 'CA', 'C', 'O')] for residue in traj.top.residues]
  positions = jnp.asarray(10.0 * traj.xyz[:, np.array(rows)])
  bonded = jnp.arange(len(rows)) < len(rows) - 1
  low, high = validity.ca_ca_range(positions, bonded)
  assert not np.any(validity.is_broken(low, high, validity.c_n_max(positions, bonded)))
  assert not np.any(validity.num_clashes(positions, bonded))

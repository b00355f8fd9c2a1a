import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import interfaces, thermodynamics
from tests.metrics import ensembles

LENGTH, SHORT = 12, 4
CHAINS = np.repeat([0, 1], [SHORT, LENGTH - SHORT])


@pytest.fixture
def native():
  """[L, 4, 3] Å: a helix of eight residues, and one of four at its side."""
  positions = ensembles.native(LENGTH).astype(np.float64)
  positions[:SHORT] = positions[SHORT : 2 * SHORT] + np.array([9.0, 1.0, 0.5])
  return positions


def frames(native, seed=0, number=6):
  rng = np.random.default_rng(seed)
  return native + 0.3 * rng.normal(size=(number, *native.shape))


def test_pairs_of_chains_that_touch(native):
  (found,) = interfaces.of_native(native, CHAINS)
  np.testing.assert_array_equal(found.receptor, np.arange(SHORT, LENGTH))
  np.testing.assert_array_equal(found.ligand, np.arange(SHORT))
  between = distance.cdist(native[:SHORT].reshape(-1, 3), native[SHORT:].reshape(-1, 3))
  near = np.argwhere(between < 10.0) + np.array([0, 4 * SHORT])
  assert len(near) > 50
  np.testing.assert_array_equal(found.pairs, near)
  np.testing.assert_allclose(found.native_distance, between[between < 10.0])


def test_chains_that_do_not_touch_have_no_interface(native):
  assert interfaces.of_native(native, np.zeros(LENGTH, int)) == []
  native[:SHORT] += 100.0
  assert interfaces.of_native(native, CHAINS) == []


def test_of_three_chains_each_pair_that_touches(native):
  chains = np.repeat([0, 1, 2], 4)
  first, second, third = interfaces.of_native(native, chains)
  assert [len(x.pairs) > 0 for x in (first, second, third)] == [True] * 3
  for found, one, other in ((first, 0, 1), (second, 0, 2), (third, 1, 2)):
    np.testing.assert_array_equal(found.receptor // 4, one)
    np.testing.assert_array_equal(found.ligand // 4, other)


def test_contacts_are_those_of_all_between_the_chains(native):
  """Best-Hummer's q, pair by pair in float64."""
  (found,) = interfaces.of_native(native, CHAINS)
  positions = frames(native)
  atoms = positions.reshape(len(positions), -1, 3)
  between = np.linalg.norm(atoms[:, found.pairs[:, 0]] - atoms[:, found.pairs[:, 1]], axis=-1)
  expected = np.mean(1.0 / (1.0 + np.exp(5.0 * (between - 1.2 * found.native_distance))), axis=1)
  np.testing.assert_allclose(interfaces.native_contacts(positions, found), expected, atol=1e-5)
  apart = positions.copy()
  apart[:, :SHORT] += [30.0, 0.0, 0.0]
  assert (interfaces.native_contacts(apart, found) < 1e-6).all()
  # Contacts within chains do not count.
  whole, _ = thermodynamics.fraction_of_native_contacts(apart, native, CHAINS)
  assert (whole > 0.1).all()


def test_ligand_rmsd_is_that_of_mdtraj(native):
  (found,) = interfaces.of_native(native, CHAINS)
  positions = frames(native)
  trajectory = ensembles.as_mdtraj(positions.astype(np.float32))
  reference = ensembles.as_mdtraj(native[None].astype(np.float32))
  receptor = np.arange(4 * SHORT, 4 * LENGTH)
  moved = 10.0 * trajectory.superpose(reference, atom_indices=receptor).xyz[:, : 4 * SHORT]
  away = moved - native[:SHORT].reshape(-1, 3)
  expected = np.sqrt(np.mean(np.sum(away**2, axis=-1), axis=-1))
  np.testing.assert_allclose(interfaces.ligand_rmsd(positions, native, found), expected, atol=1e-4)


def test_how_the_whole_tumbles_does_not_count(native):
  (found,) = interfaces.of_native(native, CHAINS)
  positions = np.repeat(native[None], 8, axis=0)
  # The ligand goes to and fro by 2 Å.
  positions[1::2, :SHORT] += [0.0, 2.0, 0.0]
  tumbled = ensembles.tumbled(np.random.default_rng(1), positions)
  for each in (positions, tumbled):
    rmsd = interfaces.ligand_rmsd(each, native, found)
    np.testing.assert_allclose(rmsd, [0.0, 2.0] * 4, atol=1e-4)
    assert interfaces.ligand_rmsf(each, native, found) == pytest.approx(1.0, abs=1e-4)
  np.testing.assert_allclose(
    interfaces.native_contacts(tumbled, found),
    interfaces.native_contacts(positions, found),
    atol=1e-5,
  )

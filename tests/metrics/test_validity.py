import tracemalloc

import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.geometry import bonds
from tempo_jax.metrics import ramachandran, torsions, validity
from tempo_jax.protein import protein as protein_lib
from tests import peptides
from tests.metrics import ensembles


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
    assert validity.num_clashes(positions, np.array(bonded)) == expected


def test_clashes_of_long_chains_need_little_memory(np_rng):
  positions = np_rng.uniform(0.0, 60.0, (20, 1024, 4, 3)).astype(np.float32)
  bonded = np.zeros(1024, bool)
  tracemalloc.start()
  try:
    assert validity.num_clashes(positions, bonded).min() > 0
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < 2 * positions.nbytes  # all pairs of atoms of one frame would be 70 times as much


def test_frames_that_are_no_numbers_are_broken():
  positions = np.full((2, 3, 4, 3), np.nan)
  positions[0] = peptides.helix(3)[:, :4]
  bonded = np.array([True, True, False])
  broken = validity.is_broken(
    *validity.ca_ca_range(positions, bonded), validity.c_n_max(positions, bonded)
  )
  np.testing.assert_array_equal(broken, [False, True])
  np.testing.assert_array_equal(validity.num_clashes(positions, bonded), [0, 0])
  np.testing.assert_array_equal(validity.passes_bioemu_filter(positions, bonded), [True, False])


def test_bond_lengths_are_those_of_mdtraj(np_rng):
  length, frames = 7, 4
  positions = np_rng.normal(size=(frames, length, 4, 3), scale=3.0).astype(np.float32)
  bonded = np.array([True, True, False, True, True, True, False])
  traj = ensembles.as_mdtraj(positions)
  (pairs,) = np.nonzero(bonded)
  ca = 10.0 * mdtraj.compute_distances(traj, np.stack([4 * pairs + 1, 4 * pairs + 5], -1))
  c_n = 10.0 * mdtraj.compute_distances(traj, np.stack([4 * pairs + 2, 4 * pairs + 4], -1))

  low, high = validity.ca_ca_range(positions, bonded)
  np.testing.assert_allclose(low, ca.min(1), rtol=1e-5)
  np.testing.assert_allclose(high, ca.max(1), rtol=1e-5)
  found = validity.c_n_max(positions, bonded)
  np.testing.assert_allclose(found, c_n.max(1), rtol=1e-5)


def test_without_bonds_nothing_is_broken(np_rng):
  positions = np_rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
  bonded = np.zeros(3, bool)
  low, high = validity.ca_ca_range(positions, bonded)
  longest = validity.c_n_max(positions, bonded)
  assert np.all(np.isposinf(low))
  assert np.all(np.isneginf(high))
  assert np.all(np.isneginf(longest))
  assert not np.any(validity.is_broken(low, high, longest))


def test_chains_break_at_the_limits():
  #                 cis   sound collapsed apart  open peptide bond
  low = np.array([2.95, 3.7, 2.49, 3.7, 3.7])
  high = np.array([3.9, 3.9, 3.9, 4.51, 3.9])
  c_n = np.array([1.4, 1.4, 1.4, 1.4, 2.01])
  broken = validity.is_broken(low, high, c_n)
  np.testing.assert_array_equal(broken, [False, False, True, True, True])


@pytest.mark.parametrize('name', ['2jof', 'cln025'])
def test_md_is_valid(shared_data, name):
  folder = shared_data / 'openmm_implicit' / name
  traj = mdtraj.load(folder / f'{name}_R1.xtc', top=folder / f'{name}.pdb')
  rows = [[residue.atom(a).index for a in ('N', 'CA', 'C', 'O')] for residue in traj.top.residues]
  positions = 10.0 * traj.xyz[:, np.array(rows)]
  bonded = np.arange(len(rows)) < len(rows) - 1
  low, high = validity.ca_ca_range(positions, bonded)
  assert not np.any(validity.is_broken(low, high, validity.c_n_max(positions, bonded)))
  assert not np.any(validity.num_clashes(positions, bonded))
  assert np.all(validity.passes_bioemu_filter(positions, bonded))
  phi, psi, omega = torsions.backbone_torsions(positions, bonded)
  types = np.array([protein_lib.RESIDUE_TYPES.index(r.name) for r in traj.top.residues])
  outlier, judged = ramachandran.outliers(phi, psi, types, bonded)
  assert outlier[:, judged].mean() < 0.003
  positive, judged = validity.positive_phi(phi, types)
  assert positive[:, judged].mean() < 0.1
  mirrored, _ = validity.positive_phi(torsions.backbone_torsions(-positions, bonded)[0], types)
  assert mirrored[:, judged].mean() > 0.9
  cis, there = validity.cis_peptides(omega)
  assert not cis.any()
  np.testing.assert_array_equal(there, bonded)


def bioemu_keeps(frame, bonded):
  """By mdtraj's shortest distances between residues at least three apart."""
  traj = ensembles.as_mdtraj(frame[None])
  contacts, _ = mdtraj.compute_contacts(traj, 'all', periodic=False)
  near = [np.linalg.norm(frame[i + 1, 1] - frame[i, 1]) < 4.5 for i in np.flatnonzero(bonded)]
  near += [np.linalg.norm(frame[i + 1, 0] - frame[i, 2]) < 2.0 for i in np.flatnonzero(bonded)]
  return all(near) and np.all(10.0 * contacts > 1.0)


def test_bioemus_filter_is_that_of_mdtrajs_contacts(np_rng):
  start = peptides.helix(8)[:, :4]
  bonded = np.array([True] * 3 + [False] + [True] * 3 + [False])
  positions = np.tile(start, (40, 1, 1, 1))
  positions[:20] += 0.15 * np_rng.normal(size=(20, 8, 4, 3))
  for frame in positions[20:]:  # an atom is put near another one
    (i, j), (k, m) = np_rng.integers(8, size=2), np_rng.integers(4, size=2)
    if i != j:
      frame[i, k] = frame[j, m] + np_rng.uniform(-0.7, 0.7, 3)
  positions[5, 4:] += 10.0  # where there is no bond
  positions[6, 3:] += 3.0  # where there is one
  expected = [bioemu_keeps(frame, bonded) for frame in positions]
  assert 5 < sum(expected) < 35
  found = validity.passes_bioemu_filter(positions.reshape(2, 20, 8, 4, 3), bonded)
  np.testing.assert_array_equal(found.ravel(), expected)
  # Nor is there a contact where there is no clash.
  clashes = validity.num_clashes(positions, bonded)
  found = validity.passes_bioemu_filter(positions, bonded, clashes)
  np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(('c_n', 'expected'), [(0.5, False), (1.3, True)])
def test_a_ring_bond_that_is_too_short_fails_bioemus_filter(c_n, expected):
  """Although it is no clash."""
  positions = peptides.helix(8)[:, :4]
  away = positions[0, 0] - positions[0, 1]
  away /= np.linalg.norm(away)
  aside = np.cross(away, positions[7].mean(axis=0) - positions[0, 0])
  aside /= np.linalg.norm(aside)
  positions[7] = positions[0, 0] + np.array([2.8, 1.4, 0.0, 0.7])[:, None] * away + c_n * away
  positions[7, 3] += 1.2 * aside
  ring = np.full(8, bonds.NO_RING)
  ring[7] = 0
  closed = bonds.Bonds(np.array([True] * 6 + [False, True]), ring)
  clashes = validity.num_clashes(positions, closed)
  assert clashes == 0
  assert validity.passes_bioemu_filter(positions, closed) == expected
  assert validity.passes_bioemu_filter(positions, closed, clashes) == expected


def test_contacts_of_second_neighbours_pass_bioemus_filter():
  positions = peptides.helix(8)[:, :4]
  bonded = np.arange(8) < 7
  for far, expected in ((2, True), (3, False)):
    near = positions.copy()
    near[far, 3] = near[0, 3] + [0.5, 0.0, 0.0]
    assert validity.passes_bioemu_filter(near, bonded) == expected
    assert validity.num_clashes(near, bonded) == 1


def test_ca_atoms_apart_fail_bioemus_filter_though_the_bonds_hold():
  positions = peptides.helix(8)[:, :4]
  positions[3, 1] += 1.5 * (positions[3, 1] - positions[4, 1]) / 3.8
  bonded = np.arange(8) < 7
  assert validity.ca_ca_range(positions, bonded)[1] > 4.5
  assert validity.c_n_max(positions, bonded) < 2.0
  assert not validity.passes_bioemu_filter(positions, bonded)


def test_positive_phi_is_judged_but_of_glycine():
  types = np.array([protein_lib.RESIDUE_TYPES.index(x) for x in ('ALA', 'GLY', 'PRO', 'UNK')])
  positive, judged = validity.positive_phi(np.array([[0.1, 0.1, 1.0, 0.1]]), types)
  np.testing.assert_array_equal(judged, [True, False, True, False])
  np.testing.assert_array_equal(positive, [judged])
  assert not validity.positive_phi(np.full((1, 4), -0.1), types)[0].any()


def test_cis_peptides():
  omega = np.deg2rad([[179.0, -59.0, 61.0, 5.0, np.nan]])
  cis, there = validity.cis_peptides(omega)
  np.testing.assert_array_equal(cis, [[False, True, False, True, False]])
  np.testing.assert_array_equal(there, [True, True, True, True, False])

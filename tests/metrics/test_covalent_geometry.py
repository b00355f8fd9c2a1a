"""Bonds and angles against mdtraj, and their table against the MD that it was made from."""

import pathlib

import mdtraj
import numpy as np
import pytest

from experiments.benchmarks import covalent_geometry as script
from experiments.benchmarks import limits
from tempo_jax.geometry import ideal
from tempo_jax.metrics import covalent_geometry
from tempo_jax.protein import protein as protein_lib
from tests import builders, heavy_atoms, peptides

SIMULATED = pathlib.Path(__file__).parents[2] / 'data_prep/simulated'

N, CA, C, O = range(4)  # noqa: E741


@pytest.fixture(scope='module')
def frames():
  """[3, 8, 4, 3] Å: a helix, shaken, in two chains."""
  rng = np.random.default_rng(0)
  return peptides.helix(8)[None, :, :4] + 0.05 * rng.normal(size=(3, 8, 4, 3))


BONDED = np.array([True, True, True, False, True, True, True, False])


def index(*atoms):
  """Of atoms (residues further on, atom) of every bonded residue."""
  here = np.flatnonzero(BONDED)
  return np.stack([4 * (here + step) + atom for step, atom in atoms], axis=-1)


def trajectory(frames):
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for _ in range(8):
    residue = topology.add_residue('ALA', chain)
    for name in ('N', 'CA', 'C', 'O'):
      topology.add_atom(name, mdtraj.element.get_by_symbol(name[0]), residue)
  return mdtraj.Trajectory(frames.reshape(3, -1, 3) / 10.0, topology)


def test_values_are_those_of_mdtraj(frames):
  traj = trajectory(frames)
  lengths = dict(covalent_geometry.lengths(frames, BONDED))
  pairs = {
    'C-N': index((0, C), (1, N)),
    'N-CA': np.stack([4 * np.arange(8), 4 * np.arange(8) + 1], -1),
  }
  for name, atoms in pairs.items():
    expected = 10.0 * mdtraj.compute_distances(traj, atoms)
    np.testing.assert_allclose(lengths[name], expected, atol=1e-4)
  angles = dict(covalent_geometry.angles(frames, BONDED))
  triples = {
    'CA-C-N': index((0, CA), (0, C), (1, N)),
    'O-C-N': index((0, O), (0, C), (1, N)),
    'C-N-CA': index((0, C), (1, N), (1, CA)),
  }
  for name, atoms in triples.items():
    expected = np.rad2deg(mdtraj.compute_angles(traj, atoms))
    np.testing.assert_allclose(angles[name], expected, atol=0.05)
  atoms = index((0, CA), (0, C), (1, N), (1, CA))
  omega = np.abs(np.rad2deg(mdtraj.compute_dihedrals(traj, atoms)))
  np.testing.assert_allclose(angles['omega'], np.minimum(omega, 180.0 - omega), atol=0.05)


def test_counts_what_is_outside(frames):
  ideal = peptides.helix(8)[None, :, :4]
  assert [x.tolist() for x in covalent_geometry.outside(ideal, BONDED)] == [[0], [0]]
  stretched = ideal.copy()
  stretched[0, 4:] += [0.0, 0.0, 20.0]  # Nothing is bonded there.
  assert [x.tolist() for x in covalent_geometry.outside(stretched, BONDED)] == [[0], [0]]
  # O of the last residue goes to where CA is, seen from C, and further.
  to_ca = stretched[0, 7, CA] - stretched[0, 7, C]
  stretched[0, 7, O] = stretched[0, 7, C] + 2.0 * to_ca
  bonds, angles = covalent_geometry.outside(stretched, BONDED)
  assert bonds.tolist() == [1]  # C-O
  assert angles.tolist() == [1]  # CA-C-O
  nowhere = np.full_like(ideal, np.nan)
  bonds, angles = covalent_geometry.outside(nowhere, BONDED)
  assert bonds.tolist() == [3 * 8 + 6]
  assert angles.tolist() == [2 * 8 + 4 * 6]


def test_rings_are_judged_whole():
  protein = builders.ring(9)
  positions = protein.positions[None].copy()
  # The last residue is moved away: its bonds to the one before and to the first one are outside.
  positions[0, 8] += np.float32([0.0, 0.0, 1.0])
  bonds, angles = covalent_geometry.outside(positions, protein.bonds)
  as_chain, _ = covalent_geometry.outside(positions, protein.bonded)
  assert bonds.tolist() == [2]
  assert as_chain.tolist() == [1]
  # Wherever the numbers begin.
  order = np.roll(np.arange(9), -3)
  again = covalent_geometry.outside(positions[:, order], protein.bonds)
  assert [x.tolist() for x in again] == [bonds.tolist(), angles.tolist()]


def test_limits_do_not_depend_on_how_long_a_chain_is(frames):
  """Twice the chain has twice the bonds outside."""
  shaken = np.concatenate([frames * 1.08, frames * 1.08 + 100.0], axis=1)
  once = covalent_geometry.outside(frames * 1.08, BONDED)
  twice = covalent_geometry.outside(shaken, np.tile(BONDED, 2))
  assert sum(x.sum() for x in once) > 0
  for a, b in zip(once, twice, strict=True):
    np.testing.assert_array_equal(2 * a, b)


def test_our_md_is_within_the_limits():
  """Of 730,000 bonds and angles none is outside, and the limits are not far from the outermost."""
  md = script.of_md()
  assert md.keys() == covalent_geometry.LIMITS.keys() | {'CA-CA'}
  for name, (least, greatest) in covalent_geometry.LIMITS.items():
    values = md[name]
    assert least <= values.min() <= values.max() <= greatest, name
    # Others' MD has more room, with means that differ.
    room = 2.0 * np.abs(values - values.mean()).max()
    assert greatest - values.mean() < room, name
    assert values.mean() - least < room, name


def test_crystals_are_in_the_middle_of_the_limits():
  """The means of Engh & Huber, which are also the model's ideal peptide."""
  for name, (mean, _) in limits.ENGH_HUBER.items():
    least, greatest = covalent_geometry.LIMITS[name]
    assert abs(mean - (least + greatest) / 2.0) < (greatest - least) / 6.0, name
  assert limits.ENGH_HUBER['N-CA'][0] == ideal.N_CA
  assert limits.ENGH_HUBER['N-CA-C'][0] == pytest.approx(np.rad2deg(ideal.N_CA_C))


@pytest.fixture(scope='module')
def whole():
  """MD of NuG2: heavy atoms [F, L, 14, 3] Å, and the residue types."""
  folder = SIMULATED / 'nug2'
  traj = mdtraj.load(str(folder / 'nug2_R1.xtc'), top=str(folder / 'nug2.pdb'))[::40]
  atoms, types, _ = heavy_atoms.from_mdtraj(traj)
  return atoms, types


def number_of(types, *names):
  return sum(np.count_nonzero(types == protein_lib.RESIDUE_TYPES.index(name)) for name in names)


def test_hands_of_md_are_those_of_l_amino_acids_and_of_its_mirror_image_wrong(whole):
  atoms, types = whole
  np.testing.assert_array_equal(covalent_geometry.wrong_hands(atoms, types), 0)
  branched = number_of(types, 'ILE', 'THR')
  assert branched > number_of(types, 'ILE') > 0
  expected = len(types) - number_of(types, 'GLY') + branched
  np.testing.assert_array_equal(covalent_geometry.wrong_hands(-atoms, types), expected)


@pytest.mark.parametrize(('name', 'one', 'other'), [('ILE', 5, 6), ('THR', 5, 6), ('ALA', 2, 4)])
def test_a_hand_is_wrong_once_two_neighbours_change_places(whole, name, one, other):
  atoms, types = whole
  swapped = atoms.copy()
  at = np.flatnonzero(types == protein_lib.RESIDUE_TYPES.index(name))[0]
  swapped[0, at, [one, other]] = atoms[0, at, [other, one]]
  assert covalent_geometry.wrong_hands(swapped, types).tolist() == [1, *[0] * (len(atoms) - 1)]


def test_atoms_in_a_plane_and_no_numbers_have_wrong_hands(whole):
  atoms, types = whole
  flat = atoms.copy()
  at = np.flatnonzero(types == protein_lib.RESIDUE_TYPES.index('ALA'))[0]
  flat[1, at, 4] = flat[1, at, 1] + (flat[1, at, 1] - flat[1, at, 0])  # CB behind N
  flat[2, at, 4] = np.nan
  assert covalent_geometry.wrong_hands(flat, types)[:4].tolist() == [0, 1, 1, 0]


def test_volumes_are_those_of_mdtraj(whole):
  """The improper torsion N, C, CB about CA has the sign, and at ideal angles the size."""
  atoms, types = whole
  (alanine,) = np.nonzero(types == protein_lib.RESIDUE_TYPES.index('ALA'))
  volumes = dict(covalent_geometry.volumes(atoms[:, alanine], types[alanine]))
  traj = mdtraj.Trajectory(atoms[:, alanine].reshape(len(atoms), -1, 3) / 10.0, None)
  start = 14 * np.arange(len(alanine))
  ca, n, c, cb = (start + slot for slot in (1, 0, 2, 4))
  angles = {
    pair: mdtraj.compute_angles(traj, np.stack([one, ca, other], axis=-1))
    for pair, (one, other) in {'nc': (n, c), 'nb': (n, cb), 'cb': (c, cb)}.items()
  }
  x, y, z = (np.cos(angles[pair].astype(float)) for pair in ('nc', 'nb', 'cb'))
  gram = 1.0 - x**2 - y**2 - z**2 + 2.0 * x * y * z
  np.testing.assert_allclose(volumes['CA'], np.sqrt(gram), atol=1e-4)
  assert volumes['CB of ILE'].shape == volumes['CB of THR'].shape == (len(atoms), 0)

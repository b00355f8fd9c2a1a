"""Close contacts and overlaps against mdtraj's distances, in MD of the repository."""

import dataclasses
import itertools
import pathlib

import mdtraj
import numpy as np
import pytest

from tempo_jax.metrics import close_contacts
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.trajectory import backbone_atoms
from tests import heavy_trajectories

SIMULATED = pathlib.Path(__file__).parents[2] / 'data_prep/simulated'
BACKBONE = {'N', 'CA', 'C', 'O', 'CB'}


@pytest.fixture(scope='module')
def md():
  """Trp-cage: four prolines, tryptophan; heavy atoms [F, L, 14, 3] Å, arrays, mdtraj."""
  folder = SIMULATED / '2jof'
  traj = mdtraj.load(str(folder / '2jof_R1.xtc'), top=str(folder / '2jof.pdb'))[:60:10]
  protein, _ = backbone_atoms.select(traj, '2jof')
  rows = side_chain_atoms.slots(
    [{atom.name: atom.index for atom in residue.atoms} for residue in traj.top.residues],
    protein.arrays.residue_type,
  )
  filled = np.where(rows < 0, rows[:, 1:2], rows)
  return 10.0 * traj.xyz[:, filled], protein.arrays, traj


def contacts_by_mdtraj(traj):
  atoms = [atom for atom in traj.top.atoms if atom.name != 'OXT']
  found = np.zeros(traj.n_frames, int)
  for a, b in itertools.combinations(atoms, 2):
    beyond = a.name not in BACKBONE or b.name not in BACKBONE
    if a.residue.index == b.residue.index or not beyond:
      continue
    polar = a.element.symbol in 'NO' and b.element.symbol in 'NO'
    distance = mdtraj.compute_distances(traj, [(a.index, b.index)])[:, 0]
    found += 10.0 * distance < (2.4 if polar else 3.0)
  return found


def test_contacts_are_those_of_mdtraj(md):
  atoms, protein, traj = md
  shaken = traj[:]
  shaken.xyz = traj.xyz + np.random.default_rng(0).normal(size=traj.xyz.shape, scale=0.05)
  squeezed = atoms.copy()
  rows = {(a.residue.index, a.name): a.index for a in traj.top.atoms}
  for i, kind in enumerate(protein.residue_type):
    for slot, name in enumerate(side_chain_atoms.ATOM_NAMES[kind]):
      squeezed[:, i, slot] = 10.0 * shaken.xyz[:, rows[i, name]]
  expected = contacts_by_mdtraj(shaken)
  assert expected.min() > 10
  np.testing.assert_array_equal(close_contacts.count(squeezed, protein), expected)


def test_md_has_the_contacts_of_its_prolines_and_no_overlaps(md):
  atoms, protein, _ = md
  prolines = np.count_nonzero(protein.residue_type == protein_lib.RESIDUE_TYPES.index('PRO'))
  assert prolines <= close_contacts.count(atoms, protein).mean() <= 3 * prolines
  np.testing.assert_array_equal(close_contacts.overlaps(atoms, protein), 0)


@pytest.mark.parametrize(
  ('one', 'other', 'limit'),
  [
    ((5, 'CZ3'), (15, 'CB'), 2.8),  # TRP
    ((8, 'OD2'), (15, 'NE'), 2.35),  # ASP, ARG
    ((4, 'OE1'), (17, 'CG'), 2.55),  # GLN, PRO
    ((2, 'CD1'), (2, 'O'), 2.55),  # of one residue
  ],
)
def test_atoms_that_are_nearer_than_in_md_overlap(md, one, other, limit):
  atoms, protein, _ = md
  frame = atoms[:1].copy()
  (i, a), (j, b) = (
    (n, side_chain_atoms.ATOM_NAMES[protein.residue_type[n]].index(name))
    for n, name in (one, other)
  )
  # Away from the rest.
  frame[0, i, a] = 200.0
  for distance, expected in ((limit - 0.01, 1), (limit + 0.01, 0)):
    frame[0, j, b] = 200.0, 200.0, 200.0 + distance
    assert close_contacts.overlaps(frame, protein).tolist() == [expected]


def test_atoms_that_bonds_hold_near_do_not_overlap(md):
  atoms, protein, _ = md
  frame = atoms[:1].copy()
  frame[0] += 50.0 * np.arange(len(frame[0]))[:, None, None]  # no residue near another
  assert close_contacts.overlaps(frame, protein).tolist() == [0]
  lone = dataclasses.replace(protein, bonded=np.zeros_like(protein.bonded))
  assert close_contacts.overlaps(atoms[:1], lone)[0] > 50


def test_a_disulphide_is_no_contact():
  sulphur = protein_lib.RESIDUE_TYPES.index('CYS')
  atoms = np.zeros((1, 2, 14, 3))
  atoms[0, :, :6] = 10.0 * np.arange(6)[:, None]
  atoms[0, 1] += [0.0, 100.0, 0.0]
  atoms[0, 1, 5] = atoms[0, 0, 5] + [2.05, 0.0, 0.0]
  arrays = protein_lib.ProteinArrays(
    residue_type=np.array([sulphur, sulphur], np.int32),
    residue_index=np.array([0, 9], np.int32),
    chain_index=np.zeros(2, np.int32),
    bonded=np.zeros(2, bool),
    mask=np.ones(2, bool),
    positions=np.zeros((2, 4, 3), np.float32),
  )
  bridged = dataclasses.replace(arrays, disulphides=np.array([1, 0], np.int32))
  assert close_contacts.count(atoms, arrays).tolist() == [1]
  assert close_contacts.overlaps(atoms, arrays).tolist() == [1]
  assert close_contacts.count(atoms, bridged).tolist() == [0]
  assert close_contacts.overlaps(atoms, bridged).tolist() == [0]


def test_only_known_atoms_count(md):
  atoms, protein, _ = md
  known = side_chain_atoms.atom_mask(protein.residue_type) & (np.arange(14) < 5)
  assert close_contacts.count(atoms, protein).sum() > 0
  np.testing.assert_array_equal(close_contacts.count(atoms, protein, known), 0)


def test_frames_that_diverged_have_no_pairs(md):
  atoms, protein, _ = md
  broken = atoms[:2].copy()
  broken[0, 5, 7] = np.nan
  assert close_contacts.count(broken, protein)[0] == 0
  assert close_contacts.count(broken, protein)[1] > 0
  assert close_contacts.overlaps(broken, protein).tolist() == [0, 0]


def test_both_at_once_are_the_same():
  trajectory = heavy_trajectories.simulated('hp35')
  arrays = trajectory.protein.arrays
  # Some frames are squeezed, and one is not a number.
  frames = trajectory.heavy_atoms[0] * np.linspace(1.0, 0.8, 5, dtype=np.float32)[:, *[None] * 3]
  frames[3, 2, 1, 0] = np.nan
  contacts, overlapping = close_contacts.count_and_overlaps(frames, arrays)
  np.testing.assert_array_equal(contacts, close_contacts.count(frames, arrays))
  np.testing.assert_array_equal(overlapping, close_contacts.overlaps(frames, arrays))
  assert contacts[3] == overlapping[3] == 0
  assert contacts[4] > contacts[0] > 0
  assert overlapping[4] > 0

"""What frames.csv says of side chains, and which of it decides whether a frame is sound."""

import mdtraj
import numpy as np
import pytest

from tempo_jax.metrics import close_contacts
from tempo_jax.output import frame_table
from tempo_jax.protein import protein as protein_lib
from tests import heavy_trajectories

ECLIPSED = {  # Of these, in NuG2, chi1 alone is judged, or chi1 and chi2.
  **dict.fromkeys(('ASP', 'ASN', 'PHE', 'THR', 'TRP', 'TYR', 'VAL', 'SER', 'HIS', 'CYS'), 1),
  **dict.fromkeys(('GLU', 'GLN', 'ILE', 'LEU', 'MET'), 2),
  **{'ARG': 3, 'LYS': 4},
}


@pytest.fixture(scope='module')
def md():
  """NuG2, held by MD: [30, L, 14, 3] Å and its residues."""
  found = heavy_trajectories.simulated('nug2', 30)
  return np.asarray(found.heavy_atoms)[0], found.protein.arrays


def columns(atoms, protein):
  return dict(zip(frame_table.COLUMNS, frame_table.per_frame(atoms, protein).T, strict=True))


def rare_rotamers(traj):
  """Of each frame, residues with a chi more than 40 degrees from 60, 180 and 300, by mdtraj."""
  off = np.zeros((traj.n_frames, traj.n_residues), bool)
  computed = (
    *(mdtraj.compute_chi1, mdtraj.compute_chi2),
    *(mdtraj.compute_chi3, mdtraj.compute_chi4),
  )
  for number, compute in enumerate(computed, 1):
    rows, angles = compute(traj)
    for four, values in zip(rows, angles.T, strict=True):
      residue = traj.top.atom(four[1]).residue
      if number <= ECLIPSED.get(residue.name, 0):
        apart = np.rad2deg(values)[:, None] - np.array([60.0, 180.0, 300.0])
        apart = np.abs((apart + 180.0) % 360.0 - 180.0).min(axis=1)
        off[:, residue.index] |= apart > 40.0
  return off.sum(axis=1)


def test_frames_of_md_are_sound_though_some_rotamers_are_rare(md):
  atoms, protein = md
  found = columns(atoms, protein)
  assert found['sound'].all()
  for name in ('clashes', 'bonds_outside', 'angles_outside', 'overlaps', 'wrong_hands'):
    assert not found[name].any(), name
  np.testing.assert_array_equal(found['close_contacts'], close_contacts.count(atoms, protein))
  folder = heavy_trajectories.SIMULATED / 'nug2'
  traj = mdtraj.load(str(folder / 'nug2_R1.xtc'), top=str(folder / 'nug2.pdb'))[:30]
  expected = rare_rotamers(traj)
  assert expected.max() > 0
  np.testing.assert_array_equal(found['rotamer_outliers'], expected)


def test_overlaps_and_wrong_hands_are_not_sound(md):
  atoms, protein = md
  changed = atoms[:3].copy()
  (tyrosine, *_) = np.flatnonzero(protein.residue_type == protein_lib.RESIDUE_TYPES.index('TYR'))
  changed[0, tyrosine, 11] = changed[0, tyrosine - 3, 3] + np.float32(0.6)  # OH upon an O
  (threonine, *_) = np.flatnonzero(protein.residue_type == protein_lib.RESIDUE_TYPES.index('THR'))
  changed[1, threonine, [5, 6]] = atoms[1, threonine, [6, 5]]
  found = columns(changed, protein)
  assert found['overlaps'][0] > 0 == found['overlaps'][2]
  assert found['wrong_hands'].tolist() == [0, 1, 0]
  assert found['sound'].tolist() == [0, 0, 1]


def test_the_backbone_alone_has_none_of_them(md):
  atoms, protein = md
  found, whole = columns(atoms[:, :, :4], protein), columns(atoms, protein)
  last = frame_table.COLUMNS[-4:]
  assert last == ('close_contacts', 'overlaps', 'wrong_hands', 'rotamer_outliers')
  for name in frame_table.COLUMNS:
    if name in last:
      assert np.isnan(found[name]).all()
    else:
      np.testing.assert_array_equal(found[name], whole[name])


def test_diverged_frames_are_judged_without_warnings(md):
  atoms, protein = md
  broken = atoms[:2].copy()
  broken[0, 5] = 1e8
  broken[1, 2, 7:] = np.nan  # Of TYR.
  found = columns(broken, protein)
  assert not found['sound'].any()
  assert found['wrong_hands'][0] > 0


def test_why_frames_are_not_sound():
  """The most frequent fault first; of frames that have it, how often."""
  numbers = np.zeros((2, 4, len(frame_table.COLUMNS)))
  for name, values in (
    ('overlaps', [[0, 2, 0, 1], [0, 0, 0, 0]]),
    ('angles_outside', [[0, 0, 0, 0], [3, 1, 1, 0]]),
    ('clashes', [[9, 9, 9, 9], [9, 9, 9, 9]]),
  ):
    numbers[..., frame_table.COLUMNS.index(name)] = values
  found = frame_table.FrameTable(0.01, 0.01, list(numbers))
  assert found.why_unsound == '37.5 % for angles (1.7 each), 25.0 % for overlaps (1.5 each)'
  numbers[:] = 0.0
  numbers[..., -4:] = np.nan
  assert frame_table.FrameTable(0.01, 0.01, list(numbers)).why_unsound == ''

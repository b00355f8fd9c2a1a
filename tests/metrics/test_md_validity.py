import dataclasses

import mdtraj
import numpy as np
import pytest

from tempo_jax.geometry import bonds
from tempo_jax.metrics import md_validity, ramachandran, rotamers, torsions
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests.metrics import ensembles, golden


def _types(*names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names])


def _bonded(length):
  return np.arange(length) < length - 1


@pytest.fixture(scope='module')
def md(shared_data):
  """Positions, residue types, bonds and chi of two trajectories of one protein."""
  folder = shared_data / 'openmm_implicit/2jof'
  found = []
  for run in ('R1', 'R2'):
    traj = mdtraj.load(str(folder / f'2jof_{run}.xtc'), top=str(folder / '2jof.pdb'))
    atoms = [{atom.name: atom.index for atom in residue.atoms} for residue in traj.top.residues]
    types = _types(*(residue.name for residue in traj.top.residues))
    rows = [[names[a] for a in ('N', 'CA', 'C', 'O')] for names in atoms]
    positions = 10.0 * traj.xyz
    slots = side_chain_atoms.slots(atoms, types)
    chi, known = side_chain_atoms.measured_chi(positions, slots, types)
    found.append((positions[:, np.array(rows)], np.where(known, chi, np.nan)))
  return found, types, _bonded(len(types))


class TestNearestCa:
  def test_is_that_of_pairs_that_no_bond_joins(self, np_rng):
    positions = np_rng.normal(size=(5, 7, 4, 3)) * 4.0
    bonded = np.array([True, True, False, True, True, True, False])
    found = md_validity.nearest_ca(positions, bonded)
    for frame, value in zip(positions[:, :, 1], found, strict=True):
      apart = [
        np.linalg.norm(frame[i] - frame[j])
        for i in range(7)
        for j in range(i + 1, 7)
        if not (j == i + 1 and bonded[i])
      ]
      assert value == pytest.approx(min(apart))

  def test_the_bond_that_closes_a_ring_is_one(self, np_rng):
    positions = np_rng.normal(size=(1, 6, 4, 3)) * 9.0
    positions[0, 5] = positions[0, 0] + 0.1
    bonded = np.append(_bonded(6)[:-1], True)
    ring = np.full(6, bonds.NO_RING)
    ring[5] = 0
    open_chain = md_validity.nearest_ca(positions, _bonded(6))[0]
    assert open_chain == pytest.approx(0.1 * np.sqrt(3.0))
    assert md_validity.nearest_ca(positions, bonds.Bonds(bonded, ring))[0] > 1.0


class TestMeasure:
  def test_values(self, md):
    (positions, chi), types, bonded = md[0][0], md[1], md[2]
    found = md_validity.measure(positions, types, bonded, chi)
    ca = positions[:, :, 1]
    steps = np.linalg.norm(ca[:, 1:] - ca[:, :-1], axis=-1)
    np.testing.assert_allclose(found.longest_step, steps.max(axis=1), rtol=1e-6)
    phi, psi, _ = torsions.backbone_torsions(positions, bonded)
    outlier, judged = ramachandran.outliers(phi, psi, types, bonded)
    np.testing.assert_allclose(found.ramachandran_outliers, outlier[:, judged].mean(axis=1))
    # Tryptophan cage without its glycines, and alanines, has 20 - 3 - 2 side chains with rotamers.
    expected = rotamers.outliers(chi, types) / 15
    np.testing.assert_allclose(found.rotamer_outliers, expected)

  def test_of_one_residue_and_of_none_that_is_judged(self):
    positions = np.zeros((3, 1, 4, 3), np.float32)
    found = md_validity.measure(positions, _types('GLY'), _bonded(1), np.full((3, 1, 4), np.nan))
    assert np.all(found.nearest_ca == np.inf)
    assert np.all(found.longest_step == -np.inf)
    assert not found.ramachandran_outliers.any()
    assert not found.rotamer_outliers.any()


class TestLimits:
  def test_are_percentiles_of_md(self, np_rng):
    values = md_validity.FrameValues(*np_rng.uniform(size=(4, 1_000)))
    found, reason = md_validity.limits_of(values)
    assert reason is None
    assert found.nearest_ca == pytest.approx(np.quantile(values.nearest_ca, 0.01))
    assert found.longest_step == pytest.approx(np.quantile(values.longest_step, 0.99))
    assert found.rotamer_outliers == pytest.approx(np.quantile(values.rotamer_outliers, 0.99))
    shares, reason = md_validity.valid_shares(values, found)
    assert reason is None
    # 1 % is beyond each limit.
    assert shares.ca == pytest.approx(98.0, abs=0.3)
    assert shares.all_atom == pytest.approx(98.0, abs=0.3)
    assert shares.both == pytest.approx(96.0, abs=0.6)
    assert shares.frames_ca.mean() == pytest.approx(shares.ca / 100.0)

  def test_of_a_single_residue(self):
    positions = np.zeros((100, 1, 4, 3), np.float32)
    values = md_validity.measure(positions, _types('ALA'), _bonded(1))
    found, _ = md_validity.limits_of(values)
    shares, _ = md_validity.valid_shares(values, found)
    assert shares.ca == 100.0

  def test_need_a_hundred_frames(self, np_rng):
    values = md_validity.measure(ensembles.ensemble(np_rng, 99), _types(*['ALA'] * 9), _bonded(9))
    found, reason = md_validity.limits_of(values)
    assert found is None
    assert '99 frames of MD' in reason


class TestValidShares:
  def test_of_md_by_other_md(self, md):
    (first, second), types, bonded = md
    values = [md_validity.measure(x, types, bonded, chi) for x, chi in (first, second)]
    limits, _ = md_validity.limits_of(values[0])
    assert 3.5 < limits.nearest_ca < 5.0
    assert 3.9 < limits.longest_step < 4.2
    itself, _ = md_validity.valid_shares(values[0], limits)
    other, _ = md_validity.valid_shares(values[1], limits)
    for shares in (itself, other):
      assert shares.ca > 94.0
      assert shares.all_atom > 90.0
      assert shares.ca + shares.all_atom - 100.0 <= shares.both <= min(shares.ca, shares.all_atom)

  def test_sees_what_is_broken(self, md):
    ((positions, chi), _), types, bonded = md
    limits, _ = md_validity.limits_of(md_validity.measure(positions, types, bonded, chi))
    frames = positions[:4].copy()
    chis = chi[:4].copy()
    clean, _ = md_validity.valid_shares(md_validity.measure(frames, types, bonded, chis), limits)
    assert clean.both == 100.0
    frames[0, 10:] += 4.0  # Torn.
    frames[1, 3] = frames[1, 15]  # On top of another.
    chis[2, :, 0] = 0.0  # Eclipsed.
    frames[3] = np.nan
    found, _ = md_validity.valid_shares(md_validity.measure(frames, types, bonded, chis), limits)
    assert found.frames_ca.tolist() == [False, False, True, False]
    assert found.ca == 25.0
    assert found.both == 0.0

  def test_of_a_backbone_there_is_no_all_atom_share(self, md):
    ((positions, chi), _), types, bonded = md
    whole = md_validity.measure(positions, types, bonded, chi)
    bare = md_validity.measure(positions, types, bonded)
    for values, limits in ((bare, whole), (whole, bare)):
      found, _ = md_validity.valid_shares(values, md_validity.limits_of(limits)[0])
      assert found.ca > 97.0
      assert found.all_atom is None
      assert found.both is None
      assert 'no side chains' in found.notes[0]

  def test_without_frames(self, md):
    ((positions, _), _), types, bonded = md
    limits, _ = md_validity.limits_of(md_validity.measure(positions, types, bonded))
    found, reason = md_validity.valid_shares(
      md_validity.measure(positions[:0], types, bonded), limits
    )
    assert found is None
    assert reason == 'there are no frames'


@pytest.mark.parametrize('name', golden.NAMES)
def test_limits_of_the_earlier_code(shared_data, name):
  case = golden.load(shared_data, name)
  expected = case.numbers['confdiff_state_recovery']
  for ca, who in zip(case.ca, ('prediction', 'reference'), strict=True):
    positions = np.repeat(ca[:, :, None], 4, axis=2)  # CA alone is looked at.
    length = ca.shape[1]
    values = md_validity.FrameValues(
      md_validity.nearest_ca(positions, _bonded(length)),
      np.linalg.norm(np.diff(ca, axis=1), axis=-1).max(axis=1),
      np.zeros(len(ca)),
      None,
    )
    found, _ = md_validity.valid_shares(values, md_validity.CONFDIFF)
    assert found.ca == expected[f'ca_valid_percent_{who}']


def test_values_are_read_only_once(np_rng):
  """Of all frames together is of each frame."""
  positions = ensembles.ensemble(np_rng, 6)
  types, bonded = _types(*['ALA'] * 9), _bonded(9)
  whole = dataclasses.astuple(md_validity.measure(positions, types, bonded))[:3]
  parts = [dataclasses.astuple(md_validity.measure(x[None], types, bonded))[:3] for x in positions]
  for value, singles in zip(whole, zip(*parts, strict=True), strict=True):
    np.testing.assert_allclose(value, np.concatenate(singles))

"""The table of where side chains stand in their wells, from MD and crystals that are made up."""

import numpy as np
import pytest

from experiments.benchmarks import rotamer_wells
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

VAL, PHE = (protein_lib.RESIDUE_TYPES.index(x) for x in ('VAL', 'PHE'))


def conformations(*residues):
  """Of one protein: types and chi1, chi2 in degrees of each frame."""
  types = np.array([kind for kind, *_ in residues])
  chi = np.zeros((len(residues[0][1]), len(types), 4))
  for i, (_, *angles) in enumerate(residues):
    for k, own in enumerate(angles):
      chi[:, i, k] = np.deg2rad(own)
  return chi, side_chain_atoms.chi_mask(types), types


@pytest.fixture
def table(monkeypatch):
  """A function of what MD and crystals have."""

  def of(simulated, crystals=()):
    monkeypatch.setattr(rotamer_wells, 'simulated', lambda _: iter(simulated))
    monkeypatch.setattr(rotamer_wells, 'crystals', lambda _: iter(crystals))
    return rotamer_wells.table(None)

  return of


def test_every_residue_counts_alike_and_shares_among_its_wells(table):
  """A hundred residues of one frame at 50 degrees; a hundred of four, half of them at 70."""
  few = conformations(*[(VAL, [50.0])] * 100)
  many = conformations(*[(VAL, [70.0, 70.0, 180.0, 180.0])] * 100)
  found = table([few, many])
  total = 100 * 50 + 50 * 70 + 2 * 60  # Two residues in the middle of the well.
  assert found[VAL, 0, 0][0] == pytest.approx(total / 152 - 60.0, abs=1e-3)
  assert found[VAL, 0, 1][0] == pytest.approx(0.0, abs=1e-3)
  # Of a phase, 2 chi: 5 degrees are 10.
  found = table([conformations((VAL, [50.0]), *[(PHE, [60.0], [95.0])] * 98)])
  assert found[PHE, 1, 1][0] == pytest.approx(10.0 * 0.98, abs=1e-3)


def test_where_md_has_little_crystals_count_as_two_residues(table):
  of_md, of_crystals = conformations((VAL, [50.0])), conformations(*[(VAL, [75.0])] * 9)
  found = table([of_md], [of_crystals])
  # Nine at 15 degrees and one in the middle are 13.5 on average.
  assert found[VAL, 0, 0][0] == pytest.approx((-10.0 + 2 * 13.5) / 3, abs=1e-3)
  assert table([of_md])[VAL, 0, 0][0] == pytest.approx(-10.0 / 3, abs=1e-3)


def test_spreads_are_about_the_mean_and_lean_on_greater_groups(table):
  draws = 12.0 * np.random.default_rng(0).normal(size=2000)
  protein = conformations(*[(VAL, 64.0 + draws)] * 500, (PHE, 60.0 + 0.0 * draws, 90.0 + draws))
  found = table([protein])
  assert found[VAL, 0, 0][0] == pytest.approx(4.0, abs=0.5)
  assert found[VAL, 0, 0][1] == pytest.approx(12.0, rel=0.05)
  # Nothing was seen there: as the torsion's other wells are.
  assert found[VAL, 0, 2] == (0.0, pytest.approx(found[VAL, 0, 0][1], rel=0.02))
  # One residue, without any spread, counts against two in the torsion, and in the well again.
  assert found[PHE, 0, 0][1] == pytest.approx(12.0 * 2 / 3, rel=0.06)

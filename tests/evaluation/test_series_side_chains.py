"""Distributions of chi for a report, on a series made by hand."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.evaluation import series_side_chains
from tempo_jax.metrics import rotamer_changes
from tempo_jax.protein import structure_file
from tests.evaluation import cases

NAMES = ('LEU', 'PHE', 'ALA')


@pytest.fixture(scope='module')
def protein(tmp_path_factory):
  path = tmp_path_factory.mktemp('protein') / 'three.pdb'
  cases.write_native(path, 3, first=7, names=NAMES)
  return structure_file.load_protein(path)


def chi_of(chi1, chi2_of_phe):
  """[F, 3, 4] radians, of LEU and PHE; chi2 of LEU is at 180°."""
  found = np.full((len(chi1), 3, 4), np.nan)
  found[:, 0, 0], found[:, 0, 1] = np.deg2rad(chi1), np.pi - 1e-3
  found[:, 1, 0], found[:, 1, 1] = np.deg2rad(-60.0), np.deg2rad(chi2_of_phe)
  return found


def of(reference, prediction, protein):
  types = protein.arrays.residue_type
  rotamers = [
    np.concatenate([rotamer_changes.states(chi, types) for chi in side])
    for side in (reference, prediction)
  ]
  return series_side_chains.of_chi(reference, prediction, tuple(rotamers), protein)


def test_by_hand(protein):
  # LEU chi1: half of MD's frames at 60 and at -60°; all of the first half at 60°.
  reference = [chi_of([62.0] * 4 + [-62.0] * 4, 95.0)]
  prediction = [chi_of([62.0, -62.0], -85.0), chi_of([-62.0, -62.0], 95.0)]
  found = of(reference, prediction, protein)
  assert found.names == ['LEU 7', 'PHE 8', 'ALA 9']
  assert found.counts[0, 0, 0].nonzero()[0].tolist() == [6, 29]  # Of 10°, from 0.
  assert found.counts[0, 0, 0, [6, 29]].tolist() == [4, 4]
  assert found.counts[1, 0, 0, [6, 29]].tolist() == [1, 3]
  assert not found.counts[:, 2].any()
  expected = distance.jensenshannon([0.5, 0.5], [0.25, 0.75], base=2.0) ** 2
  assert found.divergences[0, 0] == pytest.approx(expected)
  assert found.half_divergences[0, 0] == pytest.approx(1.0)
  # A ring that is turned over is the same.
  assert found.divergences[1, 1] == pytest.approx(0.0, abs=1e-12)
  assert found.periods[1, 1] == pytest.approx(np.pi)
  assert np.isnan(found.divergences[2]).all()
  np.testing.assert_allclose(found.populations[:, 0, 0], [[0.5, 0.0, 0.5], [0.25, 0.0, 0.75]])
  assert np.rad2deg(found.wells[0, 0]).round().tolist() == [60.0, 180.0, 300.0]


def test_what_is_unknown_on_one_side_is_left_out(protein):
  known = chi_of([60.0] * 4, 90.0)
  other = known.copy()
  other[2, 1] = np.nan
  found = of([known], [other], protein)
  assert np.isnan(found.divergences[1]).all()
  assert not found.counts[:, 1].any()
  assert not np.isnan(found.divergences[0, :2]).any()
  assert of([known], [np.full_like(known, np.nan)], protein) is None


def test_chains_are_named_where_there_are_several(protein):
  arrays = dataclasses.replace(protein.arrays, chain_index=np.array([0, 0, 1]))
  two = dataclasses.replace(protein, arrays=arrays, chain_ids=('A', 'B'))
  assert series_side_chains.residue_names(two) == ['A LEU 7', 'A PHE 8', 'B ALA 9']

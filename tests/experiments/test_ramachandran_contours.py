"""How contours come from residues; the table of the package needs data that is not here."""

import numpy as np
import pytest

from experiments.benchmarks import md_atoms, ramachandran_contours
from tempo_jax.geometry import ramachandran_table


def blob(phi, psi, size=20_000, seed=0):
  """[72, 72] counts of a residue about phi and psi, degrees."""
  angles = np.random.default_rng(seed).normal((phi, psi), 10.0, (size, 2))
  cells = ramachandran_table.cells(np.deg2rad((angles + 180.0) % 360.0 - 180.0))
  found = np.zeros((72, 72))
  np.add.at(found, tuple(cells.T), 1.0)
  return found


def test_a_contour_holds_its_level_of_a_gaussian():
  found = blob(-60.0, 120.0)
  allowed = ramachandran_contours.contour('proline', [[[found]]])
  # Two dimensions: radius sqrt(-2 ln 0.0005) = 3.9 sd, of 10 and 5 degrees together.
  expected = np.pi * (10.0**2 + 5.0**2) * 2.0 * np.log(1.0 / 0.0005) / 5.0**2
  assert allowed.sum() == pytest.approx(expected, rel=0.1)
  assert found[~allowed].sum() < 0.001 * found.sum()
  assert allowed[24, 60]
  np.testing.assert_array_equal(allowed, ramachandran_contours.contour('proline', [[[7 * found]]]))


def test_one_protein_opens_no_region_of_general_residues():
  common, strained = blob(-60.0, -45.0), blob(170.0, -100.0, 200, seed=1)
  two = [[[common], [common, strained]]]
  assert not ramachandran_contours.contour('general', two)[70, 16]
  assert ramachandran_contours.contour('general', two)[24, 27]
  assert ramachandran_contours.contour('proline', two)[70, 16]
  both = [[[common, strained], [strained]]]
  assert ramachandran_contours.contour('general', both)[70, 16]


def test_regions_reach_around_the_edges_of_the_plot():
  allowed = ramachandran_contours.contour('pre-proline', [[[blob(178.0, -178.0)]]])
  assert allowed[[0, 0, -1, -1], [0, -1, 0, -1]].all()


def test_glycine_is_symmetric():
  allowed = ramachandran_contours.contour('glycine', [[[blob(60.0, 30.0)]]])
  np.testing.assert_array_equal(allowed, allowed[::-1, ::-1])
  assert allowed[48, 42]
  assert allowed[23, 29]


def test_our_md_is_read_with_its_side_chains():
  sources = {source.name: source for source in md_atoms.sources(None)}
  assert not sources.keys() & {'hp35', '2m9i', 'ehee0053'}
  frames = md_atoms.read(*sources['gb1_hairpin'])
  names = frames.protein.residue_names
  assert frames.atoms.shape == (150, len(names), 14, 3)
  assert frames.known.sum() == 131  # Of 132 atoms, one is OXT.
  found = list(ramachandran_contours.counts(frames.backbone, frames.protein.arrays))
  assert len(found) == len(names) - 2
  assert [kind for kind, _ in found].count('glycine') == names[1:-1].count('GLY')
  assert all(cells.sum() == 150 for _, cells in found)


def test_frames_are_judged_by_boxes_and_by_contours():
  source = next(x for x in md_atoms.sources(None) if x.name == 'nug2')
  row = ramachandran_contours.judge(md_atoms.read(*source))
  assert row[0] == 'nug2'
  assert float(row[1]) < 0.1
  assert float(row[2]) < 0.1
  assert row[-2:] == ['-', '-']  # It has no proline.

import dataclasses

import mdtraj
import numpy as np
import pytest

from tempo_jax.preparation import frame_checks
from tempo_jax.protein import protein, structure_file
from tests import peptides

L = 8


@pytest.fixture
def found(tmp_path) -> protein.Protein:
  (tmp_path / 'toy.pdb').write_text(peptides.peptide(first=5) + 'END\n')
  return structure_file.load_protein(tmp_path / 'toy.pdb')


@pytest.fixture
def positions(np_rng):
  """Six vibrating frames, [6, L, 4, 3] Å."""
  x = peptides.helix(L)[None, :, :4] + np_rng.normal(scale=0.02, size=(6, L, 4, 3))
  return x.astype(np.float32)


def test_sound(positions, found):
  assert frame_checks.sound(positions, found.arrays.bonded).all()
  assert frame_checks.first_problem(positions, found) is None


@pytest.mark.parametrize('value', [np.nan, np.inf, 2e7, 0.0, 1e38])
def test_one_bad_frame(positions, found, value):
  positions[3] = value
  good = frame_checks.sound(positions, found.arrays.bonded)
  assert good.tolist() == [True, True, True, False, True, True]
  problem = frame_checks.first_problem(positions, found, start=100)
  assert (problem.frame, problem.bond, problem.residue) == (103, 'N-CA', 0)
  assert problem.message.startswith('frame 103: N-CA of ALA 5 is')


BONDS = [(*row, 0) for row in frame_checks.WITHIN] + [(*row, 1) for row in frame_checks.BETWEEN]


@pytest.mark.parametrize(('bond', 'a', 'b', 'low', 'high', 'shift'), BONDS)
def test_limits(positions, found, bond, a, b, low, high, shift):
  """A bond set to a length is refused outside its limits, and there only."""
  for length, is_good in ((low + 0.05, True), (low - 0.05, False), (high + 0.05, False)):
    x = positions.copy()
    step = x[2, 4 + shift, b] - x[2, 4, a]
    move = step * (length / np.linalg.norm(step) - 1.0)
    x[(2, 5) if shift else (2, 4, b)] += move
    only_this = dataclasses.replace(
      found, arrays=dataclasses.replace(found.arrays, bonded=np.arange(L) == (4 if shift else -1))
    )
    problem = frame_checks.first_problem(x, only_this)
    named = problem is not None and problem.bond == bond and problem.residue == 4
    assert named != is_good
    if named:
      assert problem.length == pytest.approx(length, abs=1e-4)
      assert ('LYS 9 and ASP 10' if shift else 'LYS 9 is') in problem.message


def test_unbonded_residues_may_be_anywhere(positions, found):
  positions[:, 4:] += 50.0
  assert not frame_checks.sound(positions, found.arrays.bonded).any()
  gap = np.array([True] * 3 + [False] + [True] * 3 + [False])
  assert frame_checks.sound(positions, gap).all()


@pytest.mark.parametrize(
  ('change', 'diagnosis'),
  [
    (lambda x: x * 10.0, 'its units are probably not those'),
    (lambda x: x * 0.1, 'its units are probably not those'),
    (lambda x: np.where(np.arange(L)[:, None, None] < 4, x, x + 60.0), 'over the periodic box'),
    (lambda x: x[:, :, [2, 0, 3, 1]], 'in another order'),
    (lambda x: 5.0 * x[:, [5, 2, 7, 0, 4, 1, 6, 3]][:, :, [2, 0, 3, 1]], 'in another order'),
    (lambda x: x * 0.0, 'all atoms lie on one point: cut the frame out'),
    (lambda x: x * np.nan, 'not numbers'),
  ],
)
def test_diagnosis(positions, found, change, diagnosis):
  assert diagnosis in frame_checks.first_problem(change(positions), found).message


@pytest.mark.parametrize('triclinic', [False, True])
def test_make_whole(positions, found, np_rng, triclinic):
  """Wrapped into the box atom by atom, as mdtraj does, and back."""
  box = np.diag([20.0, 22.0, 24.0])
  if triclinic:
    box = np.array([[20.0, 0.0, 0.0], [4.0, 22.0, 0.0], [-6.0, 5.0, 24.0]])
  moved = positions + np_rng.uniform(-40.0, 40.0, size=(6, 1, 1, 3))
  wrapped = (moved - np.floor(moved @ np.linalg.inv(box)) @ box).astype(np.float32)
  assert not frame_checks.sound(wrapped, found.arrays.bonded).all()
  whole = frame_checks.make_whole(wrapped, box)
  assert whole.dtype == np.float32
  assert frame_checks.sound(whole, found.arrays.bonded).all()
  expected = positions - positions[:, :1, :1] + wrapped[:, :1, :1]
  np.testing.assert_allclose(whole, expected, atol=2e-5)
  cells = np.repeat(box[None], 6, axis=0)
  np.testing.assert_array_equal(frame_checks.make_whole(wrapped, cells), whole)


def test_make_whole_as_mdtraj_does(positions, found, np_rng):
  box = np.array([30.0, 32.0, 34.0])
  moved = positions + np_rng.uniform(-40.0, 40.0, size=(6, 1, 1, 3))
  wrapped = (moved - np.floor(moved / box) * box).astype(np.float32)
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for name in found.residue_names:
    residue = topology.add_residue(name, chain)
    for atom in ('N', 'CA', 'C', 'O'):
      topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
  topology.create_standard_bonds()
  traj = mdtraj.Trajectory(wrapped.reshape(6, -1, 3) / 10.0, topology)
  traj.unitcell_lengths, traj.unitcell_angles = np.tile(box / 10.0, (6, 1)), np.full((6, 3), 90.0)
  expected = 10.0 * traj.make_molecules_whole().xyz.reshape(6, L, 4, 3)
  whole = frame_checks.make_whole(wrapped, np.diag(box))
  center = [x - x[:, :1, :1] for x in (whole, expected)]
  np.testing.assert_allclose(*center, atol=5e-5)


def test_cut_by_box(positions, found):
  gapped = dataclasses.replace(
    found, arrays=dataclasses.replace(found.arrays, bonded=np.arange(L) % 4 != 3)
  )
  box = np.repeat(np.diag([20.0, 20.0, 20.0])[None], 6, axis=0)
  assert frame_checks.cut_by_box(positions, box, gapped) is None
  positions[4, 4:] += [20.0, -20.0, 0.0]
  line = frame_checks.cut_by_box(positions, box, gapped, start=10)
  assert line.startswith('frame 14: the periodic box cuts the chain between LEU 8 and LYS 9:')
  assert frame_checks.cut_by_box(positions, 1.3 * box, gapped) is None

import numpy as np
import pytest

from tempo_jax.geometry import bonds, ideal
from tempo_jax.protein import frame_faults, residue_selection
from tempo_jax.protein.frame_faults import Fault
from tests import peptides

L = 12
BONDED = np.arange(L) < L - 1


@pytest.fixture
def frame(np_rng):
  """A vibrating helix, [L, 4, 3] Å."""
  return peptides.helix(L)[:, :4] + np_rng.normal(scale=0.03, size=(L, 4, 3))


def other_places(frame, seed):
  """The same atoms, all of them in random order."""
  order = np.random.default_rng(seed).permutation(4 * L)
  return frame.reshape(-1, 3)[order].reshape(L, 4, 3)


def without_oxygen(frame):
  return residue_selection.place_oxygen(frame, BONDED, np.ones(L, bool))


@pytest.mark.parametrize('power', [-2, -1, 1, 2])
@pytest.mark.parametrize('change', [lambda x: x, without_oxygen], ids=['all atoms', 'O placed'])
def test_a_unit_scales_every_bond(frame, change, power):
  """O is placed at its distance in Å, whatever the unit is."""
  scaled = change(frame * 10.0**power)
  assert frame_faults.of_frame(scaled, BONDED) is Fault.UNITS
  ratio = frame_faults.length_ratios(scaled, BONDED)
  assert frame_faults.power_of_ten(ratio) == power
  # Digits lost: nm as XTC keeps them, where they are taken for Å.
  rough = change(np.round(frame * 10.0**power, 2 if power > -2 else 3))
  assert frame_faults.of_frame(rough, BONDED) is Fault.UNITS


@pytest.mark.parametrize('factor', [1.0, 1.8, 3.0, 0.4])
def test_what_is_no_unit(frame, factor):
  assert frame_faults.power_of_ten(frame_faults.length_ratios(factor * frame, BONDED)) == 0


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('scale', [1.0, 3.0])
def test_shuffled_atoms_are_in_another_order(frame, seed, scale):
  """However far apart they lie: a long chain has the median bond of a wrong unit."""
  x = frame.copy()
  x[:, :, 0] += scale * 1.5 * np.arange(L)[:, None]
  assert frame_faults.of_frame(other_places(x, seed), BONDED) is Fault.ORDER


@pytest.mark.parametrize('order', [[2, 0, 3, 1], [3, 2, 1, 0], [1, 0, 2, 3]])
def test_atoms_shuffled_in_each_residue(frame, order):
  assert frame_faults.of_frame(frame[:, order], BONDED) is Fault.ORDER


def test_one_point(frame):
  for value in (0.0, 3.7, 2e7, 1e38):
    assert frame_faults.of_frame(np.full_like(frame, value), BONDED) is Fault.ONE_POINT
  # Chains may have been moved by a box vector since.
  apart = np.zeros((L, 4, 3))
  apart[6:] += 50.0
  assert frame_faults.of_frame(apart, BONDED & (np.arange(L) != 5)) is Fault.ONE_POINT
  apart[3, 2] += 1.0
  assert frame_faults.of_frame(apart, BONDED) is not Fault.ONE_POINT
  some = np.stack([frame, 0.0 * frame, frame])
  assert frame_faults.lies_on_points(some).tolist() == [False, True, False]


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_what_is_no_number(frame, value):
  frame[3, 1, 2] = value
  assert frame_faults.of_frame(frame, BONDED) is Fault.NO_NUMBERS


@pytest.mark.parametrize('by', ['atom', 'residue', 'half'])
def test_the_box_cuts_few_bonds_by_far(frame, by):
  box = np.array([12.0, 60.0, 60.0])
  x = frame if by == 'atom' else frame[:, :1]
  shift = np.floor(x / box) if by != 'half' else (np.arange(L) < 5)[:, None, None] * [1.0, 0, 0]
  assert shift.any()
  assert frame_faults.of_frame(frame - shift * box, BONDED) is Fault.BOX


def test_a_stretched_bond_is_neither_box_nor_order(frame):
  frame[6:] += 1.8 * (frame[6, 0] - frame[5, 2])
  assert frame_faults.of_frame(frame, BONDED) is Fault.DISTORTED
  assert 'native.pdb is not the one' in Fault.DISTORTED.advice('native.pdb')


def test_every_advice_is_one_line():
  for fault in Fault:
    assert '\n' not in fault.advice('x.pdb')
    assert '{' not in fault.advice('x.pdb')


def test_the_bond_that_closes_a_ring_is_one(frame):
  ring = np.full(L, -1)
  ring[-1] = 0
  ratio = frame_faults.length_ratios(frame, bonds.Bonds(np.ones(L, bool), ring))
  assert len(ratio) == 4 * L
  closing = np.linalg.norm(frame[0, 0] - frame[-1, 2]) / ideal.C_N
  np.testing.assert_allclose(ratio[-1], closing, rtol=1e-12)


def test_length_ratios(frame):
  frame[:] = peptides.helix(L)[:, :4]
  ratio = frame_faults.length_ratios(np.stack([frame, 2.0 * frame]), BONDED)
  assert ratio.shape == (2, 4 * L - 1)
  np.testing.assert_allclose(ratio[0], 1.0, atol=2e-3)
  np.testing.assert_allclose(ratio[1], 2.0 * ratio[0], rtol=1e-12)

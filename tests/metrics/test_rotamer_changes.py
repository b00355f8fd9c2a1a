"""Rotamers by hand, and of a Markov chain whose rates are known."""

import numpy as np
import pytest

from tempo_jax.metrics import rotamer_changes
from tempo_jax.protein import protein as protein_lib
from tests.metrics import rotamer_chains


def types(*names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names])


def series(name, number, degrees):
  """chi [F, 1, 4] and type of one residue, and what its states are."""
  chi = np.zeros((len(degrees), 1, 4))
  chi[:, 0, number - 1] = np.deg2rad(degrees)
  state = rotamer_changes.states(chi, types(name))
  return state[:, 0, number - 1].tolist(), int(rotamer_changes.changes(state)[0, number - 1])


def test_by_hand():
  # Between cores a side chain belongs where it was; 300° is -60°; 180° is met from both sides.
  degrees = [120, 61, 95, 119, 141, 125, -175, -101, -99, -20, 15, 21]
  state = [-1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 0]
  assert series('LEU', 1, degrees) == (state, 3)
  assert series('LYS', 2, degrees) == (state, 3)


def test_recrossing_is_not_counted_again():
  degrees = [80, *[118, 122] * 20, 80]
  assert series('VAL', 1, degrees) == ([0] * 42, 0)
  assert series('VAL', 1, [*degrees, 150, *[122, 118] * 20])[1] == 1


def test_wells_of_other_residues():
  assert series('PRO', 1, [28, 5, -5, -12, 9, 30]) == ([0, 0, 0, 1, 1, 0], 2)
  assert series('TRP', 2, [-95, 10, 60, 140, -150, -120]) == ([1, 1, 0, 0, 0, 1], 2)
  for name in ('PHE', 'TYR', 'ASN', 'ASP'):
    assert series(name, 2, [60, 180, -60]) == ([-1] * 3, 0)
  for name in ('GLY', 'ALA', 'UNK'):
    assert series(name, 1, [60, 180, -60]) == ([-1] * 3, 0)


def test_unknown_chi_has_no_state():
  chi = np.deg2rad([[[60.0, 180.0, 0.0, 0.0]], [[180.0, 60.0, 0.0, 0.0]]])
  chi[1, 0, 0] = np.nan
  state = rotamer_changes.states(chi, types('ILE'))
  np.testing.assert_array_equal(state[:, 0], [[-1, 1], [-1, 0]])
  np.testing.assert_array_equal(rotamer_changes.changes(state), [[0, 1]])


def test_markov_chain(np_rng):
  """In its cores the states are those of the chain, and the rate is the chain's."""
  stay, dt_ns, num_frames, length = 0.97, 0.01, 6000, 10
  chi = np.zeros((num_frames, length, 4))
  state = np.stack(
    [rotamer_chains.states(np_rng, stay, num_frames, length) for _ in range(2)], axis=-1
  )
  noise = np.clip(np_rng.normal(0.0, 15.0, state.shape), -39.9, 39.9)
  turns = 360.0 * np_rng.integers(-1, 2, state.shape)
  chi[..., :2] = np.deg2rad(60.0 + 120.0 * state + noise + turns)
  rt = types(*['MET'] * length)
  found = rotamer_changes.states(chi, rt)
  np.testing.assert_array_equal(found, state)
  np.testing.assert_array_equal(
    rotamer_changes.changes(found), np.count_nonzero(np.diff(state, axis=0), axis=0)
  )
  rate = rotamer_changes.changes_per_ns([chi[:4000], chi[4000:]], rt, dt_ns)
  assert rate == pytest.approx(2 * length * (1.0 - stay) / dt_ns, rel=0.08)
  np.testing.assert_allclose(rotamer_changes.occupancy(found), 1 / 3, atol=0.1)


def test_rate_of_several_replicas():
  chi = np.zeros((5, 1, 4))
  chi[:, 0, 0] = np.deg2rad([60.0, 180.0, 180.0, 60.0, 60.0])  # 2 changes in 4 steps
  rate = rotamer_changes.changes_per_ns([chi, chi[1:3]], types('SER'), 0.5)  # and 0 in 1
  assert rate == pytest.approx(2 / (5 * 0.5))
  assert np.isnan(rotamer_changes.changes_per_ns([chi[:1]], types('SER'), 0.5))


def test_puckers_are_counted_apart():
  chi = np.zeros((4, 2, 4))
  chi[:, 0, 0] = np.deg2rad([30.0, -30.0, 30.0, -30.0])  # 3 in 3 steps
  chi[:, 1, 0] = np.deg2rad([60.0, 60.0, 180.0, 180.0])  # 1
  rt = types('PRO', 'VAL')
  assert rotamer_changes.changes_per_ns([chi], rt, 0.1) == pytest.approx(1 / 0.3)
  assert rotamer_changes.changes_per_ns([chi], rt, 0.1, puckers=True) == pytest.approx(3 / 0.3)


def test_occupancy():
  chi = np.zeros((5, 2, 4))
  chi[:, 0, 0] = np.deg2rad([0.0, 60.0, 60.0, 180.0, -60.0])
  found = rotamer_changes.occupancy(rotamer_changes.states(chi, types('SER', 'GLY')))
  np.testing.assert_allclose(found[0, 0], [0.5, 0.25, 0.25])
  assert np.isnan(found[0, 1]).all()
  assert np.isnan(found[1]).all()

"""Hops of side chains onto other atoms, which are taken back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.dynamics import hops, rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders

LENGTH = 14
NAMES = ('LEU', 'PHE', 'LYS', 'ILE', 'TRP', 'GLU', 'VAL')


@pytest.fixture(scope='module')
def protein():
  kinds = [protein_lib.RESIDUE_TYPES.index(NAMES[i % len(NAMES)]) for i in range(LENGTH)]
  found = dataclasses.replace(builders.helix(LENGTH), residue_type=np.array(kinds, np.int32))
  return builders.with_side_chains(found)


@builders.numpy_jit
def ideal(positions, bonds):
  """The backbone as the state has it."""
  return state_lib.to_positions(state_lib.from_positions(positions, bonds))


def heavy(protein, chi):
  backbone = ideal(protein.positions, protein.bonds)
  return np.float64(builders.numpy_jit(geometry.heavy_atoms)(backbone, chi, protein.residue_type))


def overlaps_by_hand(protein, chi, among):
  """[L] Å^2 of side chains with `chi` among residues with `among`, pair by pair of residues."""
  names = [side_chain_atoms.ATOM_NAMES[kind] for kind in protein.residue_type]
  ours, others = heavy(protein, chi), heavy(protein, among)
  found = np.zeros(LENGTH)
  for i in range(LENGTH):
    for j in range(LENGTH):
      if i == j:
        continue
      apart = distance.cdist(ours[i, 5 : len(names[i])], others[j, : len(names[j])])
      polar = np.array(
        [[a[0] + b[0] in ('NO', 'ON', 'OO') for b in names[j]] for a in names[i][5:]]
      )
      allowed = np.where(polar.reshape(apart.shape), 2.55, 3.15)
      found[i] += np.sum(np.maximum(allowed - apart, 0.0) ** 2)
  return found


def wells_of(protein, chi):
  there = side_chain_atoms.chi_mask(protein.residue_type)
  side_chains = rotamers.SideChains(chi, np.broadcast_to(there, chi.shape))
  return np.asarray(rotamers.wells(side_chains, protein.residue_type))


@builders.numpy_jit
def run(protein, before, drawn):
  newest = state_lib.from_positions(protein.positions, protein.bonds)
  states = jax.tree.map(lambda x: jnp.stack([x] * drawn.chi.shape[0]), newest)
  states = dataclasses.replace(states, side_chains=drawn)
  newest = dataclasses.replace(newest, side_chains=before)
  return hops.taken_back(states, newest, protein).side_chains


@pytest.fixture(scope='module')
def case(protein):
  """Side chains before, and 40 draws in which every other one has hopped."""
  rng = np.random.default_rng(0)
  there = side_chain_atoms.chi_mask(protein.residue_type)
  before = np.where(there, rng.choice([-1.1, 1.0, 3.1], there.shape), 0.0).astype(np.float32)
  turn = rng.choice([-2.1, 2.1, 0.1, 0.05], (40, *there.shape)) * there
  drawn = np.angle(np.exp(1j * (before + turn))).astype(np.float32)
  return there, before, drawn


def test_hops_into_overlaps_are_taken_back_where_there_was_room(protein, case):
  there, before, drawn = case
  known = np.broadcast_to(there, drawn.shape)
  found = run(protein, rotamers.SideChains(before, there), rotamers.SideChains(drawn, known))
  np.testing.assert_array_equal(found.known, known)
  num_back = num_stay = 0
  for chi, after in zip(drawn, found.chi, strict=True):
    now = overlaps_by_hand(protein, chi, chi)
    then = overlaps_by_hand(protein, before, chi)
    hopped = (wells_of(protein, chi) != wells_of(protein, before)).any(axis=-1)
    back = hopped & (now > 0.1) & (then < 0.5 * now)
    np.testing.assert_array_equal(after, np.where(back[:, None], before, chi))
    num_back += back.sum()
    num_stay += (hopped & ~back).sum()
  # The case has both, and side chains that overlap without having hopped.
  assert num_back > 50
  assert num_stay > 50


def test_what_was_not_known_before_cannot_go_back(protein, case):
  there, before, drawn = case
  some = there.copy()
  some[::2] = False
  given = rotamers.SideChains(np.where(some, before, 0.0).astype(np.float32), some)
  known = np.broadcast_to(there, drawn.shape)
  found = run(protein, given, rotamers.SideChains(drawn, known))
  np.testing.assert_array_equal(found.chi[:, ::2], drawn[:, ::2])
  assert (found.chi[:, 1::2] != drawn[:, 1::2]).any()


def test_padding_and_partners_of_disulphides_are_not_landed_on(protein, case):
  """A residue that stands in the way is none once it is padding."""
  there, before, drawn = case
  args = (
    rotamers.SideChains(before, there),
    rotamers.SideChains(drawn, np.broadcast_to(there, drawn.shape)),
  )
  every = run(protein, *args).chi
  mask = protein.mask.copy()
  mask[7:] = False
  half = run(dataclasses.replace(protein, mask=mask), *args).chi
  assert (half[:, :7] != every[:, :7]).any()
  np.testing.assert_array_equal(half[:, 7:], drawn[:, 7:])
  partner = np.full(LENGTH, -1, np.int32)
  partner[[3, 7]] = 7, 3
  joined = run(dataclasses.replace(protein, disulphides=partner), *args).chi
  assert (joined != every).any()


def test_one_residue_and_models_without_side_chains(protein):
  alone = builders.take(protein, slice(1))
  chi = np.zeros((2, 1, 4), np.float32)
  there = side_chain_atoms.chi_mask(alone.residue_type)
  drawn = rotamers.SideChains(chi, np.broadcast_to(there, chi.shape))
  found = run(alone, rotamers.SideChains(chi[0] + 2.0 * there, there), drawn)
  np.testing.assert_array_equal(found.chi, chi)
  states = state_lib.from_positions(protein.positions[None], protein.bonds)
  assert hops.taken_back(states, states[0], protein) is states

"""Oracles: contacts as scipy counts them; distances within a side chain, which is rigid."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import molecule, side_chain_bending
from tempo_jax.geometry import side_chains
from tempo_jax.metrics import close_contacts
from tempo_jax.protein import padding
from tempo_jax.protein import protein as protein_lib
from tests import builders, heavy_atoms

LENGTH = 24
PROLINE, GLYCINE = (protein_lib.RESIDUE_TYPES.index(name) for name in ('PRO', 'GLY'))
bend = builders.numpy_jit(jax.vmap(side_chain_bending.bent, in_axes=(0, None)))
build = builders.numpy_jit(side_chains.heavy_atoms)


@pytest.fixture(scope='module')
def bundle():
  protein, backbone, chi = heavy_atoms.crowded_helices(LENGTH, spread=0.1)
  return protein, build(backbone, chi, protein.residue_type)


def arms(atoms):
  """From CA to CB and beyond, [F, L, 10, 3] Å; 0 in the slots that a residue lacks."""
  return atoms[:, :, 4:].astype(np.float64) - atoms[:, :, 1:2]


def test_side_chains_lean_away_as_rigid_bodies(bundle):
  protein, atoms = bundle
  after = bend(atoms, protein)
  np.testing.assert_array_equal(after[:, :, :4], atoms[:, :, :4])
  before = close_contacts.count(atoms, protein)
  assert before.mean() > 15
  assert (close_contacts.count(after, protein) < before).all()
  assert close_contacts.count(after, protein).mean() < 0.8 * before.mean()
  one, other = arms(atoms), arms(after)
  between = [np.linalg.norm(x[:, :, :, None] - x[:, :, None], axis=-1) for x in (one, other)]
  np.testing.assert_allclose(*between, atol=1e-4)
  length = np.linalg.norm(one, axis=-1)
  np.testing.assert_allclose(np.linalg.norm(other, axis=-1), length, atol=1e-4)
  chord = np.linalg.norm(other - one, axis=-1) / np.maximum(length, 1e-3)
  assert 7.5 < np.degrees(2.0 * np.arcsin(chord / 2.0)).max() < 8.01
  stay = np.isin(protein.residue_type, (PROLINE, GLYCINE))
  np.testing.assert_allclose(after[:, stay], atoms[:, stay], atol=1e-6)


def test_nothing_moves_without_an_overlap():
  """A stretched chain, extended side chains."""
  kinds = np.array([protein_lib.RESIDUE_TYPES.index(x) for x in ('GLY', 'LYS', 'MET')], np.int32)
  protein = dataclasses.replace(builders.helix(3), residue_type=kinds)
  apart = (protein.positions + 12 * np.arange(3)[:, None, None])[None].astype(np.float32)
  atoms = build(apart, np.full((1, 3, 4), np.pi, np.float32), kinds)
  np.testing.assert_allclose(bend(atoms, protein), atoms, atol=1e-6)


def test_motion_of_the_whole_changes_nothing(bundle):
  protein, atoms = bundle
  turn = Rotation.random(random_state=1).as_matrix()
  difference = bend((atoms @ turn.T + 15).astype(np.float32), protein) - (
    bend(atoms, protein) @ turn.T + 15
  )
  # Which atoms are the nearest is on the verge here and there.
  assert np.percentile(np.abs(difference), 99) < 1e-3


def test_padding_changes_nothing(bundle):
  protein, atoms = bundle
  more = 5
  longer = padding.pad(protein, LENGTH + more)
  padded = np.concatenate([atoms, atoms[:, 3 : 3 + more]], axis=1)  # Where it would be in the way.
  found = bend(padded, longer)
  np.testing.assert_allclose(found[:, :LENGTH], bend(atoms, protein), atol=1e-4)
  np.testing.assert_allclose(found[:, LENGTH:], padded[:, LENGTH:], atol=1e-6)


def test_the_sulphurs_of_a_disulphide_are_drawn_together():
  kinds = np.array([protein_lib.RESIDUE_TYPES.index(x) for x in ('CYS', 'CYS')], np.int32)
  one = builders.helix(1).positions.astype(np.float64)
  chi = np.full((1, 4), -1.0, np.float32)
  first = build(one.astype(np.float32), chi, kinds[:1])[0].astype(np.float64)
  # The second one comes from the other side; its sulphur is beside the first one's.
  out = (first[5] - first[1]) / np.linalg.norm(first[5] - first[1])
  across = np.cross(out, first[0] - first[1])
  across /= np.linalg.norm(across)
  half = Rotation.from_rotvec(np.pi * across).as_matrix()
  second = (first - first[5]) @ half.T + first[5] + 2.4 * across
  atoms = np.stack([first, second])[None].astype(np.float32)

  def length(atoms):
    return np.linalg.norm(atoms[0, 0, 5] - atoms[0, 1, 5])

  protein = dataclasses.replace(
    builders.helix(2, chains=2), residue_type=kinds, disulphides=np.array([1, 0], np.int32)
  )
  assert abs(length(bend(atoms, protein)) - 2.05) < 0.8 * abs(length(atoms) - 2.05)


@pytest.mark.parametrize('length', [1, 2])
def test_a_short_chain(length, bundle):
  protein = dataclasses.replace(
    builders.helix(length), residue_type=bundle[0].residue_type[1 : 1 + length]
  )
  atoms = bundle[1][:, 1 : 1 + length]
  assert np.isfinite(bend(atoms, protein)).all()


def test_degenerate_atoms_give_numbers(bundle):
  protein, atoms = bundle
  assert np.isfinite(bend(np.zeros_like(atoms), protein)).all()


def test_what_is_written_is_bent(bundle):
  """More frames than are computed together."""
  protein, atoms = bundle
  frames = np.concatenate(4 * [atoms])
  chi = builders.numpy_jit(side_chains.chi_angles)(frames, protein.residue_type)
  written = builders.numpy_jit(molecule.heavy_atoms)(frames[:, :, :4], chi, protein)
  assert len(written) > molecule._TOGETHER
  np.testing.assert_allclose(written, np.concatenate(4 * [bend(atoms, protein)]), atol=0.02)
  assert np.abs(written - frames).max() > 0.3


def test_no_gradient_flows_through_the_bend(bundle):
  protein, atoms = bundle
  gradient = jax.jit(jax.grad(lambda x: side_chain_bending.bent(x, protein).sum()))(atoms[0])
  # Of each residue: what moves it as a whole moves all of its atoms.
  np.testing.assert_allclose(np.sum(gradient, axis=1), 14.0, atol=1e-3)
  np.testing.assert_allclose(gradient[:, (0, 2, 3)], 1.0, atol=1e-6)

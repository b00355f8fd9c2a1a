"""Peptide planes that are turned, against a plain search in float64 with torsions by mdtraj."""

import dataclasses
import itertools
import pathlib

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import chain_closure, peptide_planes, proline_rings, state, steric
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ramachandran_table, rigid, side_chains
from tempo_jax.metrics import ramachandran
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import structure_file
from tests import builders

LENGTH = 10
GLYCINE, PROLINE, ALANINE = map(protein_lib.RESIDUE_TYPES.index, ('GLY', 'PRO', 'ALA'))


def turned_by(positions, peptide, degrees):
  """The positions [L, 4, 3] with C, O and the next N about the axis of the CA."""
  found = np.float64(positions)
  ca, following = found[peptide, 1], found[peptide + 1, 1]
  axis = (following - ca) / np.linalg.norm(following - ca)
  turn = Rotation.from_rotvec(np.deg2rad(degrees) * axis)
  found[peptide, 2:] = ca + turn.apply(found[peptide, 2:] - ca)
  found[peptide + 1, 0] = ca + turn.apply(found[peptide + 1, 0] - ca)
  return found


def torsions_of(positions):
  """phi and psi [L] radians, by mdtraj; NaN at the ends of a chain without breaks."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  for _ in positions:
    residue = top.add_residue('ALA', chain)
    for name in ('N', 'CA', 'C', 'O'):
      top.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
  traj = mdtraj.Trajectory(np.float32(positions).reshape(1, -1, 3) / 10.0, top)
  phi, psi = np.full((2, len(positions)), np.nan)
  phi[1:], psi[:-1] = mdtraj.compute_phi(traj)[1][0], mdtraj.compute_psi(traj)[1][0]
  return phi, psi


def outliers(positions, protein):
  phi, psi = torsions_of(positions)
  found, _ = ramachandran.outliers(phi[None], psi[None], protein.residue_type, protein.bonded)
  return found[0]


def run(positions, protein):
  """The positions [L, 4, 3] after `turned`, and whether frames or angles are other numbers."""
  before = state.from_positions(jnp.asarray(positions, jnp.float32), protein.bonds)
  frames, angle = jax.jit(peptide_planes.turned)(before.frames, before.n_ca_c, protein)
  after = state.from_frames(frames, before.psi, protein.bonds, angle)
  same = (frames.rotation == before.frames.rotation).all((-1, -2)) & (angle == before.n_ca_c)
  np.testing.assert_array_equal(frames.translation, before.frames.translation)
  return np.asarray(state.to_positions(after)), ~np.asarray(same)


@pytest.fixture
def helix():
  protein = builders.helix(LENGTH)
  types = np.full(LENGTH, ALANINE, np.int32)
  types[[3, 7]] = GLYCINE, PROLINE
  return dataclasses.replace(protein, residue_type=types)


def cost(positions, protein, turn):
  phi, psi = torsions_of(positions)
  kinds = ramachandran.classes(protein.residue_type, protein.bonded)
  total = 0.1 * abs(turn)
  inner = slice(1, -1)
  sign = np.ones(len(phi)) if protein.mirrored is None else np.where(protein.mirrored, -1.0, 1.0)
  cells = (ramachandran_table.cells((sign * x)[inner]) for x in (phi, psi))
  total += ramachandran_table.distances()[kinds[inner], *cells].sum()
  n, c = positions[:, 0] - positions[:, 1], positions[:, 2] - positions[:, 1]
  cosine = np.sum(n * c, -1) / np.linalg.norm(n, axis=-1) / np.linalg.norm(c, axis=-1)
  middle = chain_closure.N_CA_C
  off = np.rad2deg(np.abs(cosine - np.cos(middle)) / np.sin(middle))
  return total + np.maximum(off - np.rad2deg(chain_closure.N_CA_C_WIDTH), 0).sum()


@pytest.mark.parametrize(
  ('peptide', 'degrees'), [(0, -70.0), (2, -60.0), (3, -90.0), (4, -50.0), (6, 80.0), (8, -75.0)]
)
def test_the_best_turn_is_taken(helix, peptide, degrees):
  off = turned_by(helix.positions, peptide, degrees)
  assert outliers(off, helix).any()
  found, moved = run(off, helix)
  # Idealised, as the state is.
  off = np.asarray(state.to_positions(state.from_positions(jnp.float32(off), helix.bonds)))
  choices = itertools.product(range(LENGTH - 1), peptide_planes._TURNS)
  options = {x: cost(turned_by(off, *x), helix, x[1]) for x in choices}
  best = min(options, key=options.get)
  assert best[1] != 0.0
  assert np.flatnonzero(moved).tolist() == [best[0], best[0] + 1]
  expected = turned_by(off, *best)
  np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=2e-4)
  assert outliers(found, helix).sum() < outliers(off, helix).sum()


def test_what_is_allowed_stays_the_same(helix):
  assert not outliers(helix.positions, helix).any()
  _, moved = run(helix.positions, helix)
  assert not moved.any()


def with_rings(positions, protein):
  """[L, 14, 3] Å: all side chains, of prolines with one pucker."""
  chi = np.tile(np.float32([0.5, 0.0, 0.0, 0.0]), (len(positions), 1))
  return side_chains.heavy_atoms(jnp.float32(positions), chi, protein.residue_type)


def off_plane(positions, protein, index):
  """Degrees by which C before a proline is farther from the plane of its ring than 1.5 sd of MD."""
  atoms = np.asarray(with_rings(positions, protein))
  points = np.stack([atoms[index - 1, 2], *atoms[index, :2], atoms[index, 6]])
  traj = mdtraj.Trajectory(points[None] / 10.0, None)
  (torsion,) = np.rad2deg(mdtraj.compute_dihedrals(traj, [[0, 1, 2, 3]])[0])
  return max(abs((torsion - 175.0 + 180.0) % 360.0 - 180.0) - 14.0, 0.0)


@pytest.mark.parametrize('degrees', [-40.0, -25.0, 45.0, 60.0])
def test_c_stays_in_the_plane_of_the_ring_of_a_proline(helix, degrees):
  off = turned_by(helix.positions, 6, degrees)
  before = state.from_positions(jnp.float32(off), helix.bonds)
  off = np.asarray(state.to_positions(before))
  ring = proline_rings.turn_of_ring(before.frames, with_rings(off, helix))
  frames, angle = jax.jit(peptide_planes.turned)(before.frames, before.n_ca_c, helix, ring)
  after = state.from_frames(frames, before.psi, helix.bonds, angle)
  found = np.asarray(state.to_positions(after))
  choices = itertools.product(range(LENGTH - 1), peptide_planes._TURNS)
  turned = {x: turned_by(off, *x) for x in choices}
  options = {x: cost(turned[x], helix, x[1]) + off_plane(turned[x], helix, 7) for x in turned}
  best = min(options, key=options.get)
  assert off_plane(off, helix, 7) > 5.0
  assert off_plane(found, helix, 7) < 0.5 * off_plane(off, helix, 7)
  np.testing.assert_allclose(found[:, :3], turned[best][:, :3], atol=1e-3)
  # Without its ring nothing tells.
  if not outliers(off, helix).any():
    assert not run(off, helix)[1].any()


def crumpled(seed, protein):
  """Frames with noise, so that many residues are where none is."""
  rng = np.random.default_rng(seed)
  length = len(protein.mask)
  frames = state.from_positions(jnp.asarray(protein.positions), protein.bonds).frames
  kick = rigid.Rigid.exp(
    jnp.float32(rng.normal(0.0, 0.1, (length, 3))), jnp.float32(rng.normal(0.0, 0.4, (length, 3)))
  )
  return frames @ kick, jnp.float32(rng.normal(1.95, 0.05, length))


@pytest.mark.parametrize('hands', [None, np.arange(LENGTH) % 3 == 1])
def test_what_is_crumpled_gains(helix, hands):
  """Each residue by its own hand."""
  helix = dataclasses.replace(helix, mirrored=hands)
  gained = []
  for seed in range(8):
    frames, angle = crumpled(seed, helix)
    psi = np.zeros(LENGTH, np.float32)
    before = np.asarray(state.to_positions(state.from_frames(frames, psi, helix.bonds, angle)))
    after, moved = run(before, helix)
    gained.append(cost(before, helix, 0.0) - cost(after, helix, 0.0))
    assert gained[-1] > 0 or not moved.any()
  assert np.mean(gained) > 10.0


def mirrored(frames):
  """The frames of the mirror image in x: N, CA and C are reflected, the normal keeps its hand."""
  flip = np.diag(np.float32([-1.0, 1.0, 1.0]))
  rotation = flip @ frames.rotation @ np.diag(np.float32([1.0, 1.0, -1.0]))
  return rigid.Rigid(rotation, frames.translation @ flip)


def test_a_mirror_image_is_turned_as_one(helix):
  """D-residues are judged with the other signs of phi and psi."""
  turn = jax.jit(peptide_planes.turned)
  image = dataclasses.replace(helix, mirrored=np.ones(LENGTH, bool))
  some, others = 0, 0
  for seed in range(4):
    frames, angle = crumpled(seed, helix)
    expected, expected_bent = turn(frames, angle, helix)
    found, bent = turn(mirrored(frames), angle, image)
    np.testing.assert_allclose(found.rotation, mirrored(expected).rotation, atol=1e-4)
    np.testing.assert_allclose(bent, expected_bent, atol=1e-4)
    some += np.abs(found.rotation - mirrored(frames).rotation).max() > 0.1
    as_if, _ = turn(mirrored(frames), angle, helix)
    others += np.abs(as_if.rotation - found.rotation).max() > 0.1
  assert some >= 2
  assert others >= 2


def test_the_mirror_image_of_md_stays_as_it_is():
  """As the start that it mirrors does."""
  path = pathlib.Path(__file__).parents[2] / 'data_prep/simulated/hp35/hp35.pdb'
  protein = structure_file.load_protein(path).arrays
  assert not run(protein.positions, protein)[1].any()
  image = protein.positions * np.float32([-1.0, 1.0, 1.0])
  known = dataclasses.replace(protein, mirrored=np.ones(len(protein.mask), bool))
  assert not run(image, known)[1].any()
  assert run(image, protein)[1].any()


def test_padding_and_a_motion_of_all_change_nothing(helix):
  frames, angle = crumpled(1, helix)
  turn = jax.jit(peptide_planes.turned)
  expected = turn(frames, angle, helix)
  assert not np.allclose(expected[0].rotation, frames.rotation, atol=0.1)
  padded = builders.pad(helix, LENGTH + 5)
  more = rigid.Rigid.identity((5,))
  longer = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), frames, more)
  found = turn(longer, jnp.concatenate([angle, jnp.full(5, 2.0)]), padded)
  np.testing.assert_allclose(found[0].rotation[:LENGTH], expected[0].rotation, atol=1e-6)
  np.testing.assert_allclose(found[1][:LENGTH], expected[1], atol=1e-6)
  motion = rigid.Rigid(*map(jnp.float32, builders.random_motion(3, translation=10.0)))
  found = turn(motion[None] @ frames, angle, helix)
  np.testing.assert_allclose(found[0].rotation, (motion[None] @ expected[0]).rotation, atol=1e-4)
  np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def test_a_ring_has_no_first_residue():
  ring = builders.ring(9)
  frames, angle = crumpled(2, ring)
  turn = jax.jit(peptide_planes.turned)
  expected, bent = turn(frames, angle, ring)
  changed = np.abs(expected.rotation - frames.rotation).max((-1, -2)) > 1e-3
  order = np.roll(np.arange(9), 4)
  rolled = dataclasses.replace(ring, residue_type=ring.residue_type[order])
  found, found_bent = turn(frames[order], angle[order], rolled)
  assert changed.any()
  np.testing.assert_allclose(found.rotation, expected.rotation[order], atol=1e-5)
  np.testing.assert_allclose(found_bent, bent[order], atol=1e-5)


def test_nothing_is_turned_where_there_is_no_bond(helix):
  frames, angle = crumpled(1, helix)
  apart = dataclasses.replace(helix, bonded=np.zeros(LENGTH, bool))
  found, bent = peptide_planes.turned(frames, angle, apart)
  np.testing.assert_array_equal(found.rotation, frames.rotation)
  np.testing.assert_array_equal(bent, angle)


def test_gradients_are_numbers_and_those_of_turns_that_are_constants(helix):
  frames, angle = crumpled(1, helix)
  weight = jnp.float32(np.random.default_rng(0).normal(size=(LENGTH, 3, 3)))

  def loss(frames, angle):
    frames, bent = peptide_planes.turned(frames, angle, helix)
    return jnp.sum(weight * frames.rotation) + jnp.sum(bent)

  of_frames, of_angle = jax.jit(jax.grad(loss, (0, 1)))(frames, angle)
  after, _ = peptide_planes.turned(frames, angle, helix)
  change = np.swapaxes(frames.rotation, -1, -2) @ after.rotation
  np.testing.assert_allclose(of_frames.rotation, weight @ np.swapaxes(change, -1, -2), atol=1e-5)
  np.testing.assert_array_equal(of_angle, 1.0)


def test_classes_are_those_of_the_metric():
  types = np.array([ALANINE, PROLINE, GLYCINE, PROLINE, ALANINE, ALANINE, PROLINE], np.int32)
  bonded = np.array([True, True, True, False, True, True, False])
  found = peptide_planes.classes(types, bonds_lib.Bonds(bonded).broadcast(types.shape))
  np.testing.assert_array_equal(found, ramachandran.classes(types, bonded))


def test_closed_chains_have_planes_that_are_allowed(helix):
  off = turned_by(turned_by(helix.positions, 1, -55.0), 6, 60.0)
  assert outliers(off, helix).sum() > 1
  states = state.from_positions(jnp.float32(off), helix.bonds)
  states = jax.tree.map(lambda x: x[None], states)
  cis = np.zeros(LENGTH, bool)
  frames, angle = jax.jit(steric.separated_chains)(states, helix, cis)
  after = state.to_positions(state.from_frames(frames, states.psi, helix.bonds, angle))[0]
  assert not outliers(after, helix).any()
  again, _ = chain_closure.close_chains(frames, angle, helix.bonds, cis)
  np.testing.assert_allclose(again.rotation, frames.rotation, atol=0.02)

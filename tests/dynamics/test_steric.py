"""Overlapping residues, against a plain numpy loop over all pairs of atoms."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import chain_closure, side_chain_relief, state, steric
from tempo_jax.geometry import backbone, rigid, side_chains
from tempo_jax.metrics import validity
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import backbone_atoms
from tests import builders, heavy_trajectories

LENGTH = 12
ALANINE, GLYCINE, PROLINE = map(protein_lib.RESIDUE_TYPES.index, ('ALA', 'GLY', 'PRO'))
# Å: of residues far apart in the chain, N, CA, C, O and CB; and what of neighbours is judged.
NEAREST = {
  **{'NN': 3.3, 'NA': 3.35, 'NC': 2.8, 'NO': 2.5, 'NB': 3.2, 'AA': 3.6, 'AC': 3.6, 'AO': 2.8},
  **{'AB': 3.3, 'CC': 3.7, 'CO': 2.95, 'CB': 3.3, 'OO': 2.65, 'OB': 2.8, 'BB': 3.2},
}
IN_CHAIN = {'OC': 2.7, 'OO': 2.65, 'OB': 2.8, 'BO': 3.2}


def random_rotations(rng, count):
  return Rotation.random(count, rng=rng).as_matrix().astype(np.float32)


def protein_of(bonded, mask=None, residue_type=ALANINE, **fields):
  """Residues of which no more than this matters."""
  length = len(bonded)
  return protein_lib.ProteinArrays(
    residue_type=np.broadcast_to(np.int32(residue_type), length),
    residue_index=np.arange(length, dtype=np.int32),
    chain_index=np.zeros(length, np.int32),
    bonded=np.asarray(bonded),
    mask=np.ones(length, bool) if mask is None else np.asarray(mask),
    positions=np.full((length, 4, 3), np.nan, np.float32),
    **fields,
  )


@pytest.fixture
def crowded(np_rng):
  """A chain of twelve residues in a box of 6 Å, some of them glycines, and a break in it."""
  frames = rigid.Rigid(
    random_rotations(np_rng, LENGTH),
    np_rng.uniform(0.0, 6.0, (LENGTH, 3)).astype(np.float32),
  )
  protein = protein_of(
    np.arange(LENGTH) != 6, residue_type=np.where(np_rng.random(LENGTH) < 0.3, GLYCINE, ALANINE)
  )
  return state.from_frames(frames, np.zeros(LENGTH, np.float32), protein.bonded), protein


def nearest(i, a, j, b, bonded):
  """Å, below which atom a of residue i and b of j overlap, letters each; 0: not judged."""
  if abs(i - j) == 1 and bonded[min(i, j)]:
    return IN_CHAIN.get(a + b if i < j else b + a, 0.0)
  return NEAREST.get(a + b) or NEAREST[b + a]


def plain(positions, protein):
  """The same motions in float64; of what side chains see, the list is given."""
  n, ca, c = np.moveaxis(np.float64(positions[:, :3]), 1, 0)
  # trRosetta's CB.
  cb = ca + 0.56802827 * (ca - n) - 0.54067466 * (c - ca) - 0.58273431 * np.cross(ca - n, c - ca)
  atoms = np.concatenate([np.float64(positions[:, :4]), cb[:, None]], axis=1)
  seen, allowed = np.zeros((2, 0, len(positions), 9))
  if positions.shape[1] > 4:
    seen, allowed = (np.asarray(x) for x in side_chain_relief.nearest_atoms(positions, protein))
  shift = np.zeros((len(positions), 3))
  for _ in range(steric._NUM_ITERATIONS):
    moved = atoms + shift[:, None]
    motion, weight = np.zeros_like(shift), np.zeros(len(shift))
    for i, j in itertools.permutations(np.flatnonzero(protein.mask), 2):
      for (k, a), (m, b) in itertools.product(enumerate('NACOB'), repeat=2):
        if (a == 'B' and protein.residue_type[i] == GLYCINE) or (
          b == 'B' and protein.residue_type[j] == GLYCINE
        ):
          continue
        apart = moved[i, k] - moved[j, m]
        distance = np.linalg.norm(apart)
        overlap = nearest(i, a, j, b, protein.bonded) - distance
        if overlap > 0:
          motion[i] += overlap * 0.5 * overlap * apart / distance
          weight[i] += overlap
    for k, i, slot in np.argwhere(allowed > 0):
      j, other = divmod(int(seen[k, i, slot]), 14)
      apart = positions[i, 5 + slot] + shift[i] - positions[j, other] - shift[j]
      distance = np.linalg.norm(apart)
      overlap = max(allowed[k, i, slot] - distance, 0.0)
      motion[i] += overlap * 0.5 * overlap * apart / distance
      weight[i] += overlap
    for i in np.flatnonzero(protein.residue_type == PROLINE) if positions.shape[1] > 4 else ():
      for k, limit in {0: 3.15, 4: 3.05}.items():
        if not i or not protein.bonded[i - 1] or (k, protein.residue_type[i - 1]) == (4, GLYCINE):
          continue
        apart = positions[i, 6] + shift[i] - moved[i - 1, k]  # CD
        distance = np.linalg.norm(apart)
        overlap = max(limit - distance, 0.0)
        for residue, sign in ((i, 1.0), (i - 1, -1.0)):
          motion[residue] += sign * overlap * 0.5 * overlap * apart / distance
          weight[residue] += overlap
    shift += motion / np.maximum(weight, 1e-6)[:, None]
  return shift


def test_pairs_move_apart(crowded):
  crowd, protein = crowded
  protein = dataclasses.replace(protein, mask=np.arange(LENGTH) < 10)
  assert len(set(protein.residue_type[:10])) == 2
  positions = np.asarray(state.to_positions(crowd))
  separation = functools.partial(steric.separation, num_neighbours=LENGTH)
  shift = builders.numpy_jit(separation)(positions, protein)
  np.testing.assert_allclose(shift, plain(positions, protein), atol=1e-3)
  assert np.abs(shift[:10]).max() > 0.5
  assert (shift[10:] == 0).all()


def test_a_mirror_image_moves_as_one(crowded):
  """The CB of D-residues is on the other side."""
  crowd, protein = crowded
  positions = np.asarray(state.to_positions(crowd))
  flip = np.float32([-1.0, 1.0, 1.0])
  separation = builders.numpy_jit(functools.partial(steric.separation, num_neighbours=LENGTH))
  expected = separation(positions, protein) * flip
  known = dataclasses.replace(protein, mirrored=np.ones(LENGTH, bool))
  np.testing.assert_allclose(separation(positions * flip, known), expected, atol=1e-4)
  assert np.abs(separation(positions * flip, protein) - expected).max() > 0.1


def test_two_atoms_are_moved_by_half_of_their_overlap():
  positions = np.array([[0.0, -5.0, -10.0, -15.0], [1.4, 20.0, 25.0, 30.0]], np.float32)
  positions = positions[..., None] * np.array([1.0, 0.0, 0.0], np.float32)
  shift = steric.separation(positions, protein_of(np.zeros(2, bool), residue_type=GLYCINE))
  np.testing.assert_allclose(shift, [[-0.95, 0, 0], [0.95, 0, 0]], atol=1e-5)


def test_nothing_happens_where_nothing_overlaps():
  positions = builders.helix(LENGTH).positions
  shift = steric.separation(positions, protein_of(np.arange(LENGTH) < LENGTH - 1))
  np.testing.assert_array_equal(shift, 0.0)
  alone = steric.separation(positions[:1], protein_of(np.zeros(1, bool)))
  np.testing.assert_array_equal(alone, 0.0)


def facing(distance):
  """[2, 4, 3] Å: residues whose CB alone are near, so far from each other; the way from 0 to 1."""
  one = np.asarray(builders.helix(1).positions)
  n, ca, c = one[0, :3]
  cb = ca + 0.56802827 * (ca - n) - 0.54067466 * (c - ca) - 0.58273431 * np.cross(ca - n, c - ca)
  out = (cb - ca) / np.linalg.norm(cb - ca)
  # Turned by half a turn about an axis that is at right angles to CA-CB.
  axis = np.cross(out, n - ca)
  turn = Rotation.from_rotvec(np.pi * axis / np.linalg.norm(axis)).as_matrix()
  other = (one - cb) @ turn.T + cb + distance * out
  return np.concatenate([one, other]).astype(np.float32), out


def test_glycine_has_no_cb():
  positions, out = facing(2.8)
  alone = np.zeros(2, bool)
  shift = np.asarray(steric.separation(positions, protein_of(alone)))
  np.testing.assert_allclose(shift, np.outer([-0.2, 0.2], out), atol=1e-4)
  for kinds in ([GLYCINE, ALANINE], [ALANINE, GLYCINE], [GLYCINE, GLYCINE]):
    shift = steric.separation(positions, protein_of(alone, residue_type=kinds))
    np.testing.assert_array_equal(shift, 0.0)


def test_md_is_left_as_it_is():
  """The distances come from MD: of 1,610 residues of HP35, at most a few are moved."""
  folder = heavy_trajectories.SIMULATED / 'hp35'
  traj = mdtraj.load(str(folder / 'hp35_R1.xtc'), top=str(folder / 'hp35.pdb'))
  protein, atom_index = backbone_atoms.select(traj, 'hp35')
  positions = backbone_atoms.positions(traj, protein, atom_index)
  run = builders.numpy_jit(jax.vmap(lambda x: steric.separation(x, protein.arrays)))
  moved = np.linalg.norm(run(positions), axis=-1)
  assert np.mean(moved > 1e-6) < 0.005
  assert moved.max() < 0.2


def test_turns_with_the_protein(crowded, np_rng):
  crowd, protein = crowded
  positions = np.asarray(state.to_positions(crowd))
  rotation = random_rotations(np_rng, 1)[0]
  separation = builders.numpy_jit(steric.separation)
  turned = separation(positions @ rotation.T + 50.0, protein)
  np.testing.assert_allclose(turned, separation(positions, protein) @ rotation.T, atol=1e-3)


def test_jammed_helices_come_apart_and_stay_closed(np_rng):
  """Two helices, one 5.5 Å from the other, each residue moved by 0.3 Å and 0.3 rad."""
  helix = np.asarray(builders.helix(10).positions)
  positions = np.concatenate([helix, helix + np.array([5.5, 1.0, 0.0], np.float32)])
  bonded = np.arange(20) % 10 != 9
  protein = state.from_positions(jnp.asarray(positions), bonded)
  moved = rigid.Rigid(
    protein.frames.rotation,
    protein.frames.translation + 0.3 * np_rng.normal(size=(20, 3)).astype(np.float32),
  )
  cis, residues = np.zeros(20, bool), protein_of(bonded)

  def atoms(frames, angle):
    return np.asarray(state.to_positions(state.from_frames(frames, protein.psi, bonded, angle)))

  def once(frames):
    states = jax.tree.map(lambda x: x[None], protein.with_frames(frames))
    return jax.tree.map(lambda x: x[0], steric.separated_chains(states, residues, cis))

  closed = chain_closure.close_chains(moved, protein.n_ca_c, bonded, cis)
  assert validity.num_clashes(atoms(*closed), bonded) > 0
  apart = jax.jit(once)(moved)
  assert validity.num_clashes(atoms(*apart), bonded) == 0
  frame = atoms(*apart)[None]
  low_high = validity.ca_ca_range(frame, bonded)
  assert not validity.is_broken(*low_high, validity.c_n_max(frame, bonded)).any()


def test_derivative_takes_the_motions_for_constants(crowded):
  crowd, protein = crowded
  cis = np.zeros(LENGTH, bool)

  def total(translation):
    frames = rigid.Rigid(crowd.frames.rotation, translation)
    states = jax.tree.map(lambda x: x[None], crowd.with_frames(frames))
    return jnp.sum(steric.separated_chains(states, protein, cis)[0].translation)

  gradient = jax.jit(jax.grad(total))(crowd.frames.translation)
  np.testing.assert_allclose(gradient, 1.0, atol=1e-5)


def test_disulphides_are_held_together(np_rng):
  """Two helices whose cysteines have drifted apart, and one pair that is too near."""
  helix = np.asarray(builders.helix(10).positions)
  far = helix + np.array([12.0, 1.0, 0.0], np.float32)
  positions = np.concatenate([helix, far])
  bonded = np.arange(20) % 10 != 9
  partner = np.full(20, -1, np.int32)
  partner[[4, 14]] = 14, 4
  joined = protein_of(bonded, disulphides=partner)
  protein = state.from_positions(jnp.asarray(positions), bonded)
  states = jax.tree.map(lambda x: x[None], protein)

  def distance(positions):
    cb = np.asarray(backbone.virtual_cb(positions))
    return np.linalg.norm(cb[4] - cb[14])

  assert distance(positions) > 8.0
  for _ in range(6):
    frames, n_ca_c = jax.jit(steric.separated_chains)(states, joined, np.zeros(20, bool))
    # As every step does.
    states = state.from_frames(frames.orthonormalised(), states.psi, bonded, n_ca_c)
  after = np.asarray(state.to_positions(states))[0]
  assert 3.2 < distance(after) < 4.6
  assert validity.num_clashes(after[None], bonded) == 0
  assert validity.c_n_max(after[None], bonded) < 1.5
  # Bonds of others, and of padding, do nothing.
  none = np.full(20, -1, np.int32)
  np.testing.assert_array_equal(
    steric.separation(positions, protein_of(bonded, disulphides=none)),
    steric.separation(positions, protein_of(bonded)),
  )
  # Those within their range stay as they are.
  near, _ = facing(3.9)
  pair = protein_of(np.zeros(2, bool), disulphides=np.array([1, 0], np.int32))
  np.testing.assert_array_equal(steric.separation(near, pair), 0.0)
  far, out = facing(6.3)
  shift = np.asarray(steric.separation(far, pair))
  np.testing.assert_allclose(shift, np.outer([1.0, -1.0], out), atol=1e-4)


PHENYLALANINE = protein_lib.RESIDUE_TYPES.index('PHE')


def side_by_side(distance):
  """[2, 14, 3] Å: two phenylalanines whose tips are so far apart; the way from 0 to 1."""
  residue = np.asarray(builders.helix(1).positions)
  chi = np.array([[-1.1, 1.5, 0.0, 0.0]], np.float32)
  one = np.asarray(side_chains.heavy_atoms(residue, chi, np.array([PHENYLALANINE]))).astype(
    np.float64
  )
  tip = one[0, 10]  # CZ
  out = (tip - one[0, 1]) / np.linalg.norm(tip - one[0, 1])
  axis = np.cross(out, one[0, 0] - one[0, 1])
  turn = Rotation.from_rotvec(np.pi * axis / np.linalg.norm(axis)).as_matrix()
  other = (one - tip) @ turn.T + tip + distance * out
  return np.concatenate([one, other]).astype(np.float32), out


def nearest_side_atoms(atoms):
  """Å, between the 11 atoms of two phenylalanines, of the residues 0 and 1."""
  return np.linalg.norm(atoms[0, :11, None] - atoms[1, None, :11], axis=-1).min()


def test_residues_move_where_side_chains_overlap():
  """Two carbons may come to 3.15 Å before their residues move; at 2.25 Å each is pushed by 0.4."""
  protein = protein_of(np.zeros(2, bool), residue_type=PHENYLALANINE)
  atoms, out = side_by_side(2.25)
  assert nearest_side_atoms(atoms) == pytest.approx(2.25, abs=1e-4)
  run = builders.numpy_jit(steric.separation)
  shift = run(atoms, protein)
  assert nearest_side_atoms(atoms + shift[:, None]) > 3.1
  # Apart, along the line between the tips.
  assert shift[0] @ out < -0.35
  assert shift[1] @ out > 0.35
  np.testing.assert_allclose(shift[0], -shift[1], atol=1e-3)
  # Their backbones alone do not touch, and what is far enough stays.
  np.testing.assert_array_equal(run(atoms[:, :4], protein), 0.0)
  np.testing.assert_array_equal(run(side_by_side(3.2)[0], protein), 0.0)


def test_crowded_side_chains_move_as_in_a_plain_loop():
  folder = heavy_trajectories.SIMULATED / 'hp35'
  traj = mdtraj.load(str(folder / 'hp35_R1.xtc'), top=str(folder / 'hp35.pdb'))
  protein, _ = backbone_atoms.select(traj, 'hp35')
  atoms = 10.0 * traj.xyz[0, np.maximum(protein.heavy_atom_index, 0)]
  # Residues as they are, nearer to the middle; the last ones are padding.
  ca = atoms[:, 1:2]
  atoms = jnp.asarray(atoms - 0.15 * (ca - ca.mean(axis=0)))
  arrays = dataclasses.replace(protein.arrays, mask=np.arange(len(atoms)) < 30)
  separation = functools.partial(steric.separation, num_neighbours=len(atoms))
  shift = builders.numpy_jit(separation)(atoms, arrays)
  np.testing.assert_allclose(shift, plain(np.asarray(atoms), arrays), atol=2e-3)
  backbone_alone = builders.numpy_jit(separation)(atoms[:, :4], arrays)
  assert np.abs(shift - backbone_alone).max() > 0.3
  assert (shift[30:] == 0).all()


@pytest.mark.parametrize('slot', [0, 4])
def test_the_ring_of_a_proline_finds_room(slot):
  """N and CB of the residue before are 2.7 Å from CD, and nothing else of either is near."""
  atoms = np.full((3, 14, 3), 1e3, np.float32) * np.arange(1, 4, dtype=np.float32)[:, None, None]
  atoms[:, :4] += np.float32(builders.helix(3).positions)
  cb = np.asarray(backbone.virtual_cb(jnp.asarray(atoms[:, :4])))
  corner = np.concatenate([atoms[0, :4], cb[:1]])[slot]
  out = (corner - atoms[0, 1]) / np.linalg.norm(corner - atoms[0, 1])
  atoms[1, 6] = corner + 2.7 * out
  run = builders.numpy_jit(steric.separation)
  bonded = np.array([True, True, False])
  types = np.array([ALANINE, PROLINE, ALANINE])
  shift = run(atoms, protein_of(bonded, residue_type=types))
  missing = {0: 3.15, 4: 3.05}[slot] - 2.7
  np.testing.assert_allclose(shift[1] - shift[0], missing * out, atol=0.02)
  np.testing.assert_allclose(shift[0], -shift[1], atol=1e-3)
  # Other residues have no ring, and glycine has no CB.
  assert not run(atoms, protein_of(bonded, residue_type=ALANINE)).any()
  types[0] = GLYCINE
  expected = 0.0 if slot == 4 else shift
  np.testing.assert_allclose(run(atoms, protein_of(bonded, residue_type=types)), expected)


def test_side_chains_in_padding_push_nobody():
  atoms, _ = side_by_side(2.25)
  protein = protein_of(np.zeros(2, bool), np.array([True, False]), PHENYLALANINE)
  np.testing.assert_array_equal(steric.separation(atoms, protein), 0.0)


def test_side_chains_push_alike_wherever_the_protein_is(np_rng):
  protein = protein_of(np.zeros(2, bool), residue_type=PHENYLALANINE)
  atoms, _ = side_by_side(2.25)
  rotation = random_rotations(np_rng, 1)[0]
  run = builders.numpy_jit(steric.separation)
  np.testing.assert_allclose(
    run(atoms @ rotation.T + 30.0, protein), run(atoms, protein) @ rotation.T, atol=1e-3
  )


def test_side_chains_of_md_move_hardly_a_residue():
  """Of 1,610 residues of HP35 3 %, whose side chains are nearer than 2.85 Å to something."""
  folder = heavy_trajectories.SIMULATED / 'hp35'
  traj = mdtraj.load(str(folder / 'hp35_R1.xtc'), top=str(folder / 'hp35.pdb'))
  protein, _ = backbone_atoms.select(traj, 'hp35')
  index = protein.heavy_atom_index
  atoms = 10.0 * traj.xyz[:, np.maximum(index, 0)].astype(np.float32)
  run = builders.numpy_jit(jax.vmap(lambda x: steric.separation(x, protein.arrays)))
  moved = np.linalg.norm(run(atoms), axis=-1)
  assert np.mean(moved > 1e-6) < 0.04
  assert moved.max() < 0.3

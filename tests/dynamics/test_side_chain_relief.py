"""Oracles: contacts as scipy counts them, nearest atoms by brute force, autodiff of the overlap."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import side_chain_relief
from tempo_jax.geometry import side_chains
from tempo_jax.metrics import close_contacts
from tempo_jax.protein import covalent_bonds, side_chain_atoms
from tempo_jax.protein import protein as protein_lib
from tests import builders, heavy_atoms

LENGTH = 24
build = builders.numpy_jit(side_chains.heavy_atoms)


def types(names):
  return np.array([protein_lib.RESIDUE_TYPES.index(name) for name in names], np.int32)


@pytest.fixture(scope='module')
def bundle():
  return heavy_atoms.crowded_helices(LENGTH, spread=0.3)


@functools.lru_cache
def run_with(spring):
  run = functools.partial(side_chain_relief.relieved, spring=spring)
  return builders.numpy_jit(jax.vmap(run, in_axes=(0, 0, None, None, None)))


def relieve(protein, backbone, chi, spring=side_chain_relief.LOOSE):
  run = run_with(spring)
  return run(backbone, chi, protein.residue_type, protein.mask, protein.disulphides)


def test_contacts_go_and_rotamers_stay(bundle):
  protein, backbone, chi = bundle
  after = relieve(protein, backbone, chi)

  def contacts(chi):
    atoms = build(backbone, chi, protein.residue_type)
    return close_contacts.count(atoms, protein).mean()

  assert contacts(chi) > 15
  assert contacts(after) < 0.4 * contacts(chi)
  turn = np.abs(after - chi)
  assert turn.max() < np.deg2rad(50.001)
  assert np.median(turn[:, side_chain_atoms.chi_mask(protein.residue_type)]) < np.deg2rad(8)
  proline = protein.residue_type == protein_lib.RESIDUE_TYPES.index('PRO')
  fixed = proline[:, None] | ~side_chain_atoms.chi_mask(protein.residue_type)
  assert not turn[:, fixed].any()


def test_a_stiff_spring_turns_less(bundle):
  """And leaves more of the overlaps."""
  protein, backbone, chi = bundle
  loose, held = (
    relieve(protein, backbone, chi, spring) - chi
    for spring in (side_chain_relief.LOOSE, side_chain_relief.STIFF)
  )
  assert np.sqrt(np.mean(held**2)) < 0.7 * np.sqrt(np.mean(loose**2))
  # Two in five contacts go all the same.
  counts = [
    close_contacts.count(build(backbone, x, protein.residue_type), protein).mean()
    for x in (chi, chi + held)
  ]
  assert counts[1] < 0.6 * counts[0]
  # Stiffer than any overlap is deep.
  np.testing.assert_allclose(relieve(protein, backbone, chi, 1e6), chi, atol=1e-4)


def test_no_chi_is_turned_into_another_rotamer(bundle):
  """Those about tetrahedral carbons end within 50 degrees of staggered, or nearer than before."""
  protein, backbone, chi = bundle
  kinds = protein.residue_type
  staggered = side_chain_atoms.staggered_mask(kinds) & side_chain_atoms.chi_mask(kinds)
  # From 40 degrees off, where a turn of 50 could reach the next one, and from 55.
  for off in (40, 55):
    rng = np.random.default_rng(off)
    middle = np.deg2rad(rng.choice([60, 180, -60], chi.shape))
    begin = middle + np.deg2rad(off) * rng.choice([-1, 1], chi.shape)
    begin = np.where(staggered, begin, chi).astype(np.float32)
    turn = relieve(protein, backbone, begin) - begin
    away = np.abs(begin + turn - middle)[:, staggered]
    assert away.max() < np.deg2rad(max(off, 50) + 0.01)
    assert np.abs(turn[:, staggered]).max() > np.deg2rad(30)


def test_nothing_moves_without_an_overlap():
  """A stretched chain, extended side chains."""
  kinds = types(['GLY', 'LYS', 'GLY', 'GLY', 'MET', 'GLY'])
  protein = dataclasses.replace(builders.helix(6), residue_type=kinds)
  apart = protein.positions + 12 * np.arange(6)[:, None, None]
  chi = np.full((1, 6, 4), np.pi, np.float32)
  np.testing.assert_array_equal(relieve(protein, apart[None].astype(np.float32), chi), chi)


def test_motion_of_the_whole_changes_nothing(bundle):
  protein, backbone, chi = bundle
  turn = Rotation.random(random_state=1).as_matrix()
  moved = (backbone @ turn.T + 15).astype(np.float32)
  difference = relieve(protein, moved, chi) - relieve(protein, backbone, chi)
  # Contacts on the verge are decided by rounding.
  assert np.median(np.abs(difference)) < 1e-5
  assert np.percentile(np.abs(difference), 99) < np.deg2rad(0.5)


def test_padding_changes_nothing(bundle):
  protein, backbone, chi = bundle
  more = 5
  longer = dataclasses.replace(
    protein,
    residue_type=np.append(protein.residue_type, np.full(more, 18, np.int32)),
    mask=np.append(protein.mask, np.zeros(more, bool)),
  )
  # Where it would be in the way.
  padded = np.concatenate([backbone, backbone[:, 3 : 3 + more]], axis=1)
  angles = np.concatenate([chi, chi[:, :more]], axis=1)
  found = relieve(longer, padded, angles)
  np.testing.assert_allclose(found[:, :LENGTH], relieve(protein, backbone, chi), atol=1e-5)
  np.testing.assert_array_equal(found[:, LENGTH:], chi[:, :more])


@pytest.mark.parametrize('length', [1, 2])
def test_a_short_chain(length):
  protein = dataclasses.replace(builders.helix(length), residue_type=types(['ARG', 'LEU'])[:length])
  chi = np.full((1, length, 4), 1.0, np.float32)
  assert np.isfinite(relieve(protein, protein.positions[None], chi)).all()


def test_degenerate_atoms_give_numbers(bundle):
  protein, backbone, chi = bundle
  assert np.isfinite(relieve(protein, np.zeros_like(backbone), chi)).all()


@pytest.mark.parametrize('spring', [side_chain_relief.LOOSE, side_chain_relief.STIFF])
def test_a_disulphide_is_kept_and_the_rest_pushed_apart(spring):
  """Two cysteines whose CB are 3.8 Å apart, one turned the wrong way by 30 degrees."""
  kinds = types(['GLY', 'CYS', 'GLY'] * 2)
  protein = dataclasses.replace(
    builders.helix(6, chains=2),
    residue_type=kinds,
    disulphides=np.array([-1, 4, -1, -1, 1, -1], np.int32),
  )
  first = protein.positions[:3]
  cb = build(first, np.zeros((3, 4), np.float32), kinds[:3])[1, 4]
  # The second one is the first, turned by half about an axis beside CB.
  outwards = (cb - first[1, 1]) / np.linalg.norm(cb - first[1, 1])
  across = np.cross(outwards, [0.3, 0.9, 0.1])
  across /= np.linalg.norm(across)
  center = cb + 1.9 * outwards * 0.55 + 1.9 * across * np.sqrt(1 - 0.55**2)
  axis = np.cross(outwards, across) * 0.8 + 0.6 * outwards
  half = Rotation.from_rotvec(np.pi * axis / np.linalg.norm(axis)).as_matrix()
  second = (first - center) @ half.T + center
  backbone = np.concatenate([first, second])[None].astype(np.float32)
  best = None
  for angle in np.linspace(-np.pi, np.pi, 72):
    chi = np.full((1, 6, 4), angle, np.float32)
    sulphur = build(backbone, chi, kinds)[0, [1, 4], 5]
    length = np.linalg.norm(sulphur[0] - sulphur[1])
    if best is None or abs(length - 2.05) < best[0]:
      best = abs(length - 2.05), angle
  chi = np.full((1, 6, 4), best[1] + np.deg2rad(30), np.float32)
  found = relieve(protein, backbone, chi, spring)
  before, after = (build(backbone, x, kinds)[0, [1, 4], 5] for x in (chi, found))
  assert abs(np.linalg.norm(before[0] - before[1]) - 2.05) > 0.3
  assert np.linalg.norm(after[0] - after[1]) == pytest.approx(2.05, abs=0.08)


def lists(protein, atoms):
  tables = side_chain_relief._Tables(*(x[protein.residue_type] for x in side_chain_relief.TABLES))
  return jax.jit(side_chain_relief._nearest_atoms, static_argnums=4)(
    atoms, tables, protein.mask, None, LENGTH - 1
  )


def test_lists_hold_the_nearest_atoms(bundle):
  protein, backbone, chi = bundle
  atoms = build(backbone[0], chi[0], protein.residue_type)
  index, allowed = map(np.asarray, lists(protein, atoms))
  mask = side_chain_atoms.atom_mask(protein.residue_type).ravel()
  names = [protein_lib.RESIDUE_TYPES[k] for k in protein.residue_type]
  atom_names = np.array(
    [[*side_chain_atoms.ATOM_NAMES[k], *[''] * 14][:14] for k in protein.residue_type]
  ).ravel()
  nitrogen, oxygen = (np.char.startswith(atom_names, x) for x in 'NO')
  polar = nitrogen | oxygen
  bonding = polar[:, None] & polar & (oxygen[:, None] | oxygen)
  limit = np.where(bonding, 2.55, 3.15)
  ratio = distance.cdist(atoms.reshape(-1, 3), atoms.reshape(-1, 3)) / limit
  near = covalent_bonds.pairs_within(protein, 3)
  ratio[near // len(mask), near % len(mask)] = np.inf
  ratio = np.minimum(ratio, ratio.T)
  ratio[:, ~mask] = np.inf
  checked = 0
  for i, name in enumerate(names):
    # Pairs within a residue that no chi parts are left out; prolines see what they are bonded to.
    if name == 'PRO':
      continue
    for slot in range(5, 14):
      if not mask[14 * i + slot]:
        assert not allowed[:, i, slot - 5].any()
        continue
      others = ratio[14 * i + slot].reshape(-1, 14).copy()
      others[i] = np.inf
      nearest = 14 * others.min(axis=1).argmin() + others[others.min(axis=1).argmin()].argmin()
      found = [j for j in index[:, i, slot - 5] if j // 14 != i]
      if others.min() < 1:
        checked += 1
        assert nearest in found
        place = list(index[:, i, slot - 5]).index(nearest)
        assert allowed[place, i, slot - 5] == pytest.approx(limit[14 * i + slot, nearest])
  assert checked > 10


def test_lists_of_what_bends_have_atoms_of_the_same_residue(bundle):
  """If they are asked for: N, C and O, and others that at least four bonds part."""
  protein, backbone, chi = bundle
  atoms = build(backbone[0], chi[0], protein.residue_type)
  near = covalent_bonds.pairs_within(protein, 3)
  size = 14 * LENGTH
  own = {}
  for within in (False, True):
    index, allowed = side_chain_relief.nearest_atoms(atoms, protein, within=within)
    at = 14 * np.arange(LENGTH)[:, None] + np.arange(5, 14)
    mine = (np.asarray(index) // 14 == np.arange(LENGTH)[:, None]) & (np.asarray(allowed) > 0)
    pairs = [
      (int(i), int(at[row, slot]))
      for (_, row, slot), i in zip(np.argwhere(mine), np.asarray(index)[mine], strict=True)
    ]
    own[within] = pairs
  assert not own[False]
  assert len(own[True]) > 10
  assert not {min(p) * size + max(p) for p in own[True]} & set(near.tolist())
  assert {i % 14 for i, _ in own[True]} >= {0, 2, 3}


def test_torques_are_the_derivative_of_the_overlap(bundle):
  """Of the squares of the overlaps; the other atoms are held, since theirs is another torque."""
  protein, backbone, chi = bundle
  chi, tables = chi[0], side_chain_relief.TABLES
  index, allowed = lists(protein, build(backbone[0], chi, protein.residue_type))

  @jax.jit
  def both(chi):
    atoms = side_chains.heavy_atoms(backbone[0], chi, protein.residue_type)
    force, contacts = side_chain_relief.overlaps(atoms, index, allowed, None)
    turned = jnp.asarray(tables.turned[protein.residue_type])
    others = atoms.reshape(-1, 3)[index]

    def energy(chi):
      side = side_chains.heavy_atoms(backbone[0], chi, protein.residue_type)[:, 5:]
      apart = jnp.sqrt(jnp.sum((side[None] - others) ** 2, axis=-1) + 1e-9)
      return 0.5 * jnp.sum(jnp.maximum(allowed - apart, 0) ** 2)

    return side_chain_relief._torques(atoms, force, contacts, turned)[0], jax.grad(energy)(chi)

  torque, gradient = both(chi)
  proline = protein.residue_type == protein_lib.RESIDUE_TYPES.index('PRO')
  assert np.abs(gradient).max() > 0.5
  np.testing.assert_allclose(torque[~proline], -gradient[~proline], atol=2e-3)


def test_md_of_bpti_with_noise(shared_data):
  """Side chains built with ideal geometry, chi off by 15 degrees: 1.5 times MD's contacts."""
  folder = shared_data / 'trajectories/bpti_5ns'
  trajectory = mdtraj.load(folder / 'bpti.xtc', top=folder / 'bpti.pdb')[::100]
  atoms, kinds, _ = heavy_atoms.from_mdtraj(trajectory)
  sulphur = np.linalg.norm(atoms[0, :, None, 5] - atoms[0, :, 5], axis=-1)
  sulphur[:, kinds != 1] = sulphur[kinds != 1] = np.inf
  np.fill_diagonal(sulphur, np.inf)
  partner = np.where(sulphur.min(axis=1) < 2.5, sulphur.argmin(axis=1), -1).astype(np.int32)
  protein = dataclasses.replace(
    builders.helix(len(kinds)), residue_type=kinds.astype(np.int32), disulphides=partner
  )
  rng = np.random.default_rng(0)
  chi = np.asarray(side_chains.chi_angles(atoms, kinds))
  chi = (chi + np.deg2rad(15) * rng.normal(size=chi.shape)).astype(np.float32)
  backbone = atoms[:, :, :4]
  before, after = (build(backbone, x, kinds) for x in (chi, relieve(protein, backbone, chi)))
  of_md, noisy, found = (close_contacts.count(x, protein).mean() for x in (atoms, before, after))
  assert noisy > 3.5 * of_md
  assert found < 1.6 * of_md
  bridged = np.flatnonzero(partner >= 0)
  length = np.linalg.norm(after[:, bridged, 5] - after[:, partner[bridged], 5], axis=-1)
  np.testing.assert_allclose(length, 2.05, atol=0.15)

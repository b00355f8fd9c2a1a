"""Oracles: the table as mdtraj measures it, mdtraj's chi angles, crystal structures, MD."""

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.geometry import side_chain_table, side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders, heavy_atoms
from tests.geometry import gradients
from tests.heavy_atoms import ALL_TYPES

build = builders.numpy_jit(side_chains.heavy_atoms)
chi_angles = builders.numpy_jit(side_chains.chi_angles)
MASK = side_chain_atoms.atom_mask(ALL_TYPES)
CHI_MASK = side_chain_atoms.chi_mask(ALL_TYPES)
PRO = protein_lib.RESIDUE_TYPES.index('PRO')


def wrap(angle):
  return np.angle(np.exp(1j * angle))


@pytest.fixture(scope='module')
def built():
  """Eight frames of one residue of each type, and their chi."""
  backbone, chi = heavy_atoms.helix(8)
  return build(backbone, chi, ALL_TYPES), chi


def measure(built, kind, atoms):
  """Å or degrees, [T], of two, three or four atoms named in one residue, by mdtraj."""
  trajectory = heavy_atoms.as_mdtraj(built[0], ALL_TYPES)
  residue = trajectory.top.residue(kind)
  index = np.array([[residue.atom(name).index for name in atoms]])
  if len(atoms) == 2:
    return 10 * mdtraj.compute_distances(trajectory, index, periodic=False)[:, 0]
  compute = {3: mdtraj.compute_angles, 4: mdtraj.compute_dihedrals}[len(atoms)]
  return np.rad2deg(compute(trajectory, index, periodic=False)[:, 0])


def test_types_are_those_of_proteins():
  assert side_chain_table.TYPES == protein_lib.RESIDUE_TYPES


@pytest.mark.parametrize('name', side_chain_table.PLACED)
def test_atoms_have_the_geometry_of_the_table(built, name):
  kind = protein_lib.RESIDUE_TYPES.index(name)
  for row in side_chain_table.PLACED[name]:
    *_, b, c = row.onto
    np.testing.assert_allclose(measure(built, kind, (c, row.atom)), row.length, atol=1e-4)
    np.testing.assert_allclose(measure(built, kind, (b, c, row.atom)), row.angle, atol=0.02)
    turn = np.rad2deg(built[1][:, kind, row.chi - 1]) if row.chi else 0.0
    torsion = measure(built, kind, (*row.onto, row.atom))
    np.testing.assert_allclose(
      wrap(np.deg2rad(torsion - row.torsion - turn)), 0, atol=np.deg2rad(0.03)
    )


@pytest.mark.parametrize('name', side_chain_table.BETA)
def test_cb_has_the_angles_of_the_table(name):
  """At the N-CA-C that goes with them; the peptide's is made so."""
  kind, beta = protein_lib.RESIDUE_TYPES.index(name), side_chain_table.BETA[name]
  angle = np.deg2rad(beta.n_ca_c)
  backbone = np.array(
    [[1.46, 0, 0], [0, 0, 0], [1.525 * np.cos(angle), 1.525 * np.sin(angle), 0], [0, 3, 0]]
  )
  atoms = build(backbone[None].astype(np.float32), np.zeros((1, 4), np.float32), np.array([kind]))
  cb = atoms[0, 4]
  length = np.linalg.norm(cb)
  assert length == pytest.approx(beta.length, abs=1e-5)
  for other, expected in ((0, beta.n_ca_cb), (2, beta.c_ca_cb)):
    cosine = cb @ backbone[other] / (length * np.linalg.norm(backbone[other]))
    assert np.rad2deg(np.arccos(cosine)) == pytest.approx(expected, abs=1e-3)
  # An L-residue: seen from H, which is opposite to CB, CO, R and N go clockwise.
  assert np.dot(np.cross(backbone[0], backbone[2]), cb) > 1


def test_bent_n_ca_c_bends_both_angles_of_cb_alike():
  """As springs would: 10 degrees more at N-CA-C take 2 to 4 from each of the others."""
  kind = np.array([protein_lib.RESIDUE_TYPES.index('ALA')])
  found = []
  for degrees in (111.2, 121.2):
    angle = np.deg2rad(degrees)
    n, c = np.array([1.46, 0, 0]), 1.525 * np.array([np.cos(angle), np.sin(angle), 0])
    backbone = np.stack([n, 0 * n, c, 2 * c])[None].astype(np.float32)
    cb = build(backbone, np.zeros((1, 4), np.float32), kind)[0, 4]
    found.append(
      [np.rad2deg(np.arccos(cb @ x / np.linalg.norm(cb) / np.linalg.norm(x))) for x in (n, c)]
    )
  change = np.subtract(*found)
  assert (change > 2).all()
  assert (change < 4).all()
  assert abs(change[0] - change[1]) < 0.1


def test_bonds_are_those_that_mdtraj_knows(built):
  """Each is 1.2 to 1.9 Å long, those that close rings, too."""
  trajectory = heavy_atoms.as_mdtraj(built[0], ALL_TYPES)
  bonds = {tuple(sorted((a.index, b.index))) for a, b in trajectory.top.bonds}
  bonds = {
    (i, j) for i, j in bonds if trajectory.top.atom(i).residue == trajectory.top.atom(j).residue
  }
  assert len(bonds) == MASK.sum() - len(ALL_TYPES) + 6  # Of rings: F, H, P, Y, and two of W.
  for residue in trajectory.top.residues:
    atoms = [atom.index for atom in residue.atoms]
    pairs = np.array([(a, b) for a in atoms for b in atoms if a < b])
    distance = 10 * mdtraj.compute_distances(trajectory, pairs, periodic=False)
    joined = np.array([tuple(pair) in bonds for pair in pairs])
    assert (distance[:, joined] > 1.2).all(), residue
    assert (distance[:, joined] < 1.9).all(), residue


@pytest.mark.parametrize('chi', [1, 2, 3, 4])
def test_chi_are_those_of_mdtraj(built, chi):
  trajectory = heavy_atoms.as_mdtraj(built[0], ALL_TYPES)
  index, angles = getattr(mdtraj, f'compute_chi{chi}')(trajectory, periodic=False)
  residues = np.array([trajectory.top.atom(i).residue.index for i in index[:, 1]])
  free = residues != PRO if chi > 1 else np.full(len(residues), True)
  assert (np.flatnonzero(CHI_MASK[:, chi - 1]) == residues[free]).all()
  found = chi_angles(built[0], ALL_TYPES)[..., chi - 1]
  np.testing.assert_allclose(wrap(found[:, residues] - angles)[:, free], 0, atol=1e-4)
  assert not found[:, ~CHI_MASK[:, chi - 1]].any()


def test_chi_come_back(built):
  atoms, chi = built
  difference = wrap(chi_angles(atoms, ALL_TYPES) - chi)[:, CHI_MASK]
  np.testing.assert_allclose(difference, 0, atol=2e-5)


def test_slots_without_an_atom_hold_ca(built):
  atoms, _ = built
  ca = np.broadcast_to(atoms[:, :, 1:2], atoms.shape)
  np.testing.assert_array_equal(atoms[:, ~MASK], ca[:, ~MASK])
  distance = np.linalg.norm(atoms - ca, axis=-1)[:, MASK & (np.arange(14) != 1)]
  assert (distance > 1).all()


def test_the_ring_of_proline_closes_in_both_puckers():
  """Bonds always; angles near those of crystals, 112 and 105 degrees."""
  chi = np.zeros((91, 1, 4), np.float32)
  chi[:, 0, 0] = np.deg2rad(np.linspace(-45, 45, 91))
  backbone = np.broadcast_to(heavy_atoms.helix(1, 1)[0], (91, 1, 4, 3))
  atoms = build(backbone, chi, np.array([PRO]))[:, 0]
  n, ca, _, _, cb, cg, cd = np.moveaxis(atoms[:, :7], 1, 0)
  np.testing.assert_allclose(np.linalg.norm(cd - n, axis=-1), side_chain_table.N_CD, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(cd - cg, axis=-1), side_chain_table.CG_CD, atol=1e-5)

  def angle(a, b, c):
    cosine = ((a - b) * (c - b)).sum(-1)
    return np.rad2deg(
      np.arccos(cosine / np.linalg.norm(a - b, axis=-1) / np.linalg.norm(c - b, axis=-1))
    )

  assert (np.abs(angle(ca, n, cd) - 112) < 10).all()
  assert (np.abs(angle(cb, cg, cd) - 105) < 12).all()
  usual = (np.abs(chi[:, 0, 0]) > np.deg2rad(20)) & (np.abs(chi[:, 0, 0]) < np.deg2rad(36))
  assert (np.abs(angle(ca, n, cd) - 112)[usual] < 5).all()
  assert (np.abs(angle(cb, cg, cd) - 105)[usual] < 7).all()
  # Smooth: no step of a degree moves CD by more than a degree of its way about CA moves it.
  assert np.linalg.norm(np.diff(cd, axis=0), axis=-1).max() < 0.06
  # Up and down: CG on the one and the other side of the plane of N, CA and CB.
  side = ((cg - ca) * np.cross(n - ca, cb - ca)).sum(-1)
  assert side[0] * side[-1] < 0
  outside = build(backbone[:1], chi[:1] - 2, np.array([PRO]))[0, :]
  np.testing.assert_array_equal(outside, atoms[:1])


def test_angles_that_a_residue_lacks_are_not_read(built):
  backbone, chi = heavy_atoms.helix(8)
  again = build(backbone, np.where(CHI_MASK, chi, np.nan), ALL_TYPES)
  np.testing.assert_array_equal(again, built[0])


def test_all_atoms_move_with_the_backbone(built):
  backbone, chi = heavy_atoms.helix(8)
  turn = Rotation.random(random_state=3).as_matrix()
  moved = build((backbone @ turn.T + 20).astype(np.float32), chi, ALL_TYPES)
  np.testing.assert_allclose(moved, built[0] @ turn.T + 20, atol=3e-5)


def test_residues_do_not_see_each_other(built):
  """So that padding changes nothing, whatever it holds."""
  backbone, chi = heavy_atoms.helix(8)
  backbone = np.concatenate([backbone, np.zeros_like(backbone)], axis=1)
  longer = build(backbone, np.concatenate([chi, chi], axis=1), np.concatenate([ALL_TYPES] * 2))
  np.testing.assert_array_equal(longer[:, : len(ALL_TYPES)], built[0])
  assert np.isfinite(longer).all()


def test_atoms_of_crystal_structures_are_rebuilt(shared_data):
  """Ideal angles and lengths: 0.1 to 0.2 Å, more at the end of the long ones."""
  names = ('Kortemme-Lab_1UCS_A', 'Kortemme-Lab_2PPN_A', 'Haddox_1aho_clean_0001')
  files = [shared_data / 'structures' / f'{name}.pdb.gz' for name in names]
  side, near = [], []
  for atoms, kinds, _ in (heavy_atoms.from_mdtraj(mdtraj.load(file)) for file in files):
    rebuilt = build(atoms[..., :4, :], chi_angles(atoms, kinds), kinds)
    distance = np.linalg.norm(rebuilt - atoms, axis=-1)[0]
    mask = side_chain_atoms.atom_mask(kinds)
    # Some files have NH1 and NH2 exchanged, which no chi tells.
    mask[kinds == protein_lib.RESIDUE_TYPES.index('ARG'), 9:] = False
    assert not distance[:, :4].any()
    side.append(distance[:, 4:][mask[:, 4:]])
    near.append(distance[:, 4][mask[:, 4]])
  assert np.median(np.concatenate(near)) < 0.06
  assert np.median(np.concatenate(side)) < 0.14
  assert np.concatenate(side).max() < 1.5


def test_derivatives():
  """Of an aspartate, a proline and an arginine, against differences."""
  kinds = np.array([2, PRO, 14])
  backbone, chi = heavy_atoms.helix(1)
  gradients.assert_derivatives(
    lambda x, y: side_chains.heavy_atoms(x, y, kinds),
    *(backbone[0, :3], chi[0, kinds].clip(-3, 3)),
    atol=1e-6,
  )


def test_gradients_are_finite_wherever_atoms_are():
  """All at one place, N, CA and C on one line, or CA on N."""
  rng = np.random.default_rng(0)
  backbone = np.zeros((4, len(ALL_TYPES), 4, 3))
  backbone[1, :, :, 0] = np.arange(4)
  backbone[2] = rng.normal(size=backbone[2].shape)
  backbone[2, :, 0] = backbone[2, :, 1]
  backbone[3] = 1e-3 * rng.normal(size=backbone[3].shape)
  chi = jnp.zeros((len(ALL_TYPES), 4))

  def both(x):
    atoms = side_chains.heavy_atoms(x, chi, ALL_TYPES)
    return jnp.sum(jnp.sin(atoms)), jnp.sum(jnp.sin(side_chains.chi_angles(atoms, ALL_TYPES)))

  gradients.assert_finite_gradients(both, backbone)
  by_chi = jax.jit(
    jax.vmap(
      jax.grad(lambda x, y: side_chains.heavy_atoms(x, y, ALL_TYPES).sum(), argnums=1),
      in_axes=(0, None),
    )
  )
  assert np.isfinite(by_chi(jnp.float32(backbone), chi)).all()

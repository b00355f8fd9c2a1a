"""Side chains as files have them. Oracles: gemmi on the written file, mdtraj, what was built."""

import gemmi
import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.protein import padding, side_chain_atoms, side_chain_torsions, structure_file
from tempo_jax.protein import protein as protein_lib
from tests import heavy_atoms, peptides

# The atoms that chi 1, 2, 3, 4 turn, outwards from CB.
TURNED = {
  'ARG': 'CG CD NE CZ', 'ASN': 'CG OD1', 'ASP': 'CG OD1', 'CYS': 'SG', 'GLN': 'CG CD OE1',
  'GLU': 'CG CD OE1', 'HIS': 'CG ND1', 'ILE': 'CG1 CD1', 'LEU': 'CG CD1', 'LYS': 'CG CD CE NZ',
  'MET': 'CG SD CE', 'PHE': 'CG CD1', 'PRO': 'CG', 'SER': 'OG', 'THR': 'OG1', 'TRP': 'CG CD1',
  'TYR': 'CG CD1', 'VAL': 'CG1',
}  # fmt: skip
CHI = np.deg2rad([-65.0, 170.0, 62.0, -92.0])


def side_chain(backbone, num_angles, chi=CHI):
  """[n, 3] Å from [5, 3]: atoms 1.5 Å and 112 degrees behind one another."""
  atoms = [backbone[0], backbone[1], backbone[4]]
  for angle in chi[:num_angles]:
    atoms.append(peptides._next_atom(*atoms[-3:], 1.5, 112.0, np.rad2deg(angle)))
  return np.array(atoms[3:]).reshape(-1, 3)


def residue(name, number, backbone, chi=CHI, *, atoms=None, chain='A', rename=None, **columns):
  """Lines of a residue with the atoms of its chi; `atoms`: only those."""
  kind = protein_lib.standard_residue(name)
  turned = TURNED.get(kind, '').split()
  names = [*peptides.ATOMS[: 4 if kind == 'GLY' else 5], *turned]
  xyz = np.concatenate([backbone, side_chain(backbone, len(turned), chi)])
  return ''.join(
    peptides.line((rename or {}).get(atom, atom), name, chain, number, place, **columns)
    for atom, place in zip(names, xyz if kind != 'GLY' else backbone[:4], strict=True)
    if atoms is None or atom in atoms
  )


def chain_of(names, first=1, **columns):
  backbone = peptides.helix(len(names))
  return ''.join(residue(name, first + i, backbone[i], **columns) for i, name in enumerate(names))


@pytest.fixture
def load(tmp_path):
  def write_and_load(text, name='x.pdb'):
    (tmp_path / name).write_text(text)
    return structure_file.load_protein(tmp_path / name)

  return write_and_load


def measured(path):
  """What gemmi measures in the file, residue by residue; NaN where an atom is absent."""
  found = []
  for chain in gemmi.read_structure(str(path))[0]:
    for of in chain:
      names = ['N', 'CA', 'CB', *TURNED.get(of.name, '').split()]
      found.append([np.nan] * 4)
      for k in range(len(names) - 3):
        atoms = [of.find_atom(name, '*') for name in names[k : k + 4]]
        if all(atoms):
          found[-1][k] = gemmi.calculate_dihedral(*(atom.pos for atom in atoms))
  return np.array(found)


def assert_chi(arrays, expected, atol=1e-5):
  known = ~np.isnan(expected)
  np.testing.assert_array_equal(arrays.chi_known, known)
  assert (arrays.chi.dtype, arrays.chi_known.dtype) == (np.float32, np.bool_)
  assert not arrays.chi[~known].any()
  turns = arrays.chi[known] - expected[known]
  np.testing.assert_allclose(np.remainder(turns + np.pi, 2 * np.pi) - np.pi, 0.0, atol=atol)


def test_all_residue_types(load, tmp_path):
  names = protein_lib.RESIDUE_TYPES[:20]
  protein = load(chain_of(names))
  expected = measured(tmp_path / 'x.pdb')
  assert_chi(protein.arrays, expected)
  assert_chi(protein.arrays, np.where(np.isnan(expected), np.nan, CHI), atol=3e-3)
  mask = side_chain_atoms.chi_mask(protein.arrays.residue_type)
  np.testing.assert_array_equal(protein.arrays.chi_known, mask)
  padded = padding.pad(protein.arrays, 24)
  np.testing.assert_array_equal(padded.chi_known[:20], mask)
  assert not padded.chi_known[20:].any()


def test_mmcif_says_the_same(load, tmp_path):
  pdb = load(chain_of(protein_lib.RESIDUE_TYPES[:20]))
  structure = gemmi.read_structure(str(tmp_path / 'x.pdb'))
  structure.setup_entities()
  structure.make_mmcif_document().write_file(str(tmp_path / 'x.cif'))
  cif = structure_file.load_protein(tmp_path / 'x.cif')
  np.testing.assert_array_equal(cif.arrays.chi_known, pdb.arrays.chi_known)
  np.testing.assert_allclose(cif.arrays.chi, pdb.arrays.chi, atol=1e-6)


@pytest.mark.parametrize(
  ('name', 'rename', 'hetero'),
  [
    ('MSE', {'SD': 'SE'}, True),
    ('SEC', {'SG': 'SE'}, True),
    ('ILE', {'CD1': 'CD'}, False),
    *[(name, {}, False) for name in ('HSD', 'HSE', 'HIE', 'HID', 'HIP', 'HISE', 'CHIE')],
    *[(name, {}, False) for name in ('CYX', 'CYM', 'NCYX', 'LYN', 'ASH', 'GLH', 'ARGN', 'NLYS')],
    *[(name, {}, True) for name in ('SEP', 'TPO', 'PTR')],
  ],
)
def test_names_of_force_fields_and_modified_residues(load, name, rename, hetero):
  """They have the side chain of the type that stands for them."""
  backbone = peptides.helix(4)
  others = [residue('ALA', i + 1, backbone[i]) for i in (0, 1, 3)]
  text = residue(name, 3, backbone[2], rename=rename, hetero=hetero)
  protein = load(''.join([*others[:2], text, others[2]]))
  kind = protein.residue_names[2]
  num_angles = len(TURNED[kind].split())
  assert protein.arrays.chi_known.sum(axis=1).tolist() == [0, 0, num_angles, 0]
  expected = np.full((4, 4), np.nan)
  expected[2, :num_angles] = CHI[:num_angles]
  assert_chi(protein.arrays, expected, 3e-3)


def test_a_missing_atom(load):
  backbone = peptides.helix(4)
  text = residue('ALA', 1, backbone[0])
  text += residue('LYS', 2, backbone[1], atoms=['N', 'CA', 'C', 'O', 'CB', 'CG', 'CE', 'NZ'])
  text += residue('SER', 3, backbone[2], atoms=['N', 'CA', 'C', 'O'])
  text += residue('MET', 4, backbone[3])
  protein = load(text)
  assert protein.arrays.chi_known.astype(int).tolist() == [
    [0, 0, 0, 0],
    [1, 0, 0, 0],
    [0, 0, 0, 0],
    [1, 1, 1, 0],
  ]
  assert protein.missing_atoms == ((), ('CD',), ('CB', 'OG'), ())
  assert protein.incomplete_side_chains == (
    'side chains of 2 residues are incomplete: A:2 LYS (no CD), A:3 SER (no CB, OG)'
  )
  assert not any('side chain' in warning for warning in protein.warnings)
  one = load(residue('GLY', 1, backbone[0]) + residue('CYS', 2, backbone[1], atoms='N CA C O CB'))
  assert one.incomplete_side_chains == ('side chain of 1 residue is incomplete: A:2 CYS (no SG)')


@pytest.mark.parametrize(
  ('place', 'known'),
  [
    (lambda cg, cd: (0.0, 0.0, 0.0), [1, 0, 0, 0]),  # a placeholder
    (lambda cg, cd: cg, [1, 0, 0, 0]),  # coincides
    (lambda cg, cd: cg + 2.0 * (cd - cg), [1, 0, 0, 0]),  # 3 Å away
    (lambda cg, cd: ('********',) * 3, [1, 0, 0, 0]),
    (lambda cg, cd: cg + 1.2 * (cd - cg), [1, 1, 1, 1]),  # poor, but still bonded
  ],
)
def test_an_atom_that_is_not_where_it_should_be(load, place, known):
  backbone = peptides.helix(3)
  cg, cd, *_ = side_chain(backbone[1], 4)
  text = residue('ALA', 1, backbone[0])
  text += residue('LYS', 2, backbone[1], atoms=['N', 'CA', 'C', 'O', 'CB', 'CG', 'CE', 'NZ'])
  text += peptides.line('CD', 'LYS', 'A', 2, place(cg, cd)) + residue('ALA', 3, backbone[2])
  protein = load(text)
  # Without CD nothing turns further out either, unless CE happens to be near.
  assert protein.arrays.chi_known[1].astype(int).tolist() == known
  placeless = isinstance(place(cg, cd)[0], str)
  assert protein.missing_atoms[1] == (('CD',) if placeless else ())


def test_atoms_in_a_line_have_no_torsion(load):
  backbone = peptides.helix(2)
  cb, (cg, *_) = backbone[1][4], side_chain(backbone[1], 1)
  text = residue('ALA', 1, backbone[0]) + residue('LEU', 2, backbone[1], atoms='N CA C O CB CG')
  text += peptides.line('CD1', 'LEU', 'A', 2, cg + 0.99 * (cg - cb) + [0.01, 0.0, 0.0])
  assert load(text).arrays.chi_known[1].tolist() == [True, False, False, False]


def test_backbones_have_no_side_chains(load):
  names = ('ALA', 'LYS', 'GLY', 'TRP')
  protein = load(chain_of(names, atoms=['N', 'CA', 'C', 'O']))
  assert protein.arrays.chi is protein.arrays.chi_known is None
  assert protein.incomplete_side_chains == 'it has no side chains'
  assert padding.pad(protein.arrays, 8).chi is None
  # CB alone is an incomplete side chain.
  protein = load(chain_of(names, atoms=['N', 'CA', 'C', 'O', 'CB']))
  assert not protein.arrays.chi_known.any()
  assert '2 residues are incomplete: A:2 LYS (no CG, CD, CE, NZ), A:4' in (
    protein.incomplete_side_chains
  )


def test_a_chain_of_glycines_is_complete(load):
  protein = load(chain_of(('GLY',) * 4))
  assert protein.arrays.chi.shape == (4, 4)
  assert not protein.arrays.chi_known.any()
  assert protein.incomplete_side_chains == ''


def test_another_conformation_has_other_side_chains(load):
  protein = load(chain_of(('LYS', 'SER')))
  moved = protein.with_positions(protein.arrays.positions + 1.0)
  assert moved.arrays.chi is moved.arrays.chi_known is None


def test_disulphide_across_chains(load):
  backbone = peptides.helix(3)
  far = {}
  for sign, chain in ((1.0, 'A'), (-1.0, 'B')):
    (sg,) = side_chain(backbone[1], 1)
    turn = Rotation.align_vectors([[sign, 0.0, 0.0]], [sg - backbone[:, 1].mean(0)])[0]
    placed = turn.apply(backbone.reshape(-1, 3)).reshape(backbone.shape)
    (sg,) = side_chain(placed[1], 1)
    far[chain] = placed - sg + [-sign * 1.02, 0.0, 0.0]
  text = ''.join(
    residue(name, i + 1, far[chain][i], chain=chain)
    for chain in 'AB'
    for i, name in enumerate(('ALA', 'CYX', 'ALA'))
  )
  protein = load(text)
  assert protein.arrays.disulphides.tolist() == [-1, 4, -1, -1, 1, -1]
  expected = np.full((6, 4), np.nan)
  expected[[1, 4], 0] = CHI[0]
  assert_chi(protein.arrays, expected, 3e-3)


# --- alternate rotamers ---

OTHER = np.deg2rad([60.0, 65.0, 180.0, 170.0])


def with_rotamers(middle):
  backbone = peptides.helix(3)
  ends = [residue('ALA', i, backbone[i - 1]) for i in (1, 3)]
  return ends[0] + middle(backbone[1]) + ends[1]


@pytest.mark.parametrize(('share', 'expected'), [(0.6, CHI), (0.4, OTHER), (0.5, CHI)])
@pytest.mark.parametrize('alone', [True, False], ids=['side chain', 'whole residue'])
def test_alternate_rotamers(load, share, expected, alone):
  """That of the backbone that was taken; where the side chain alone has some, the likelier one."""
  outer = TURNED['LYS'].split()

  def middle(xyz):
    columns = ({'altloc': 'A', 'occupancy': share}, {'altloc': 'B', 'occupancy': 1.0 - share})
    if not alone:
      shifted = xyz + np.array([0.05, 0.0, 0.0])
      return residue('LYS', 2, xyz, CHI, **columns[0]) + residue(
        'LYS', 2, shifted, OTHER, **columns[1]
      )
    text = residue('LYS', 2, xyz, atoms=peptides.ATOMS)
    pairs = zip(
      residue('LYS', 2, xyz, CHI, atoms=outer, **columns[0]).splitlines(True),
      residue('LYS', 2, xyz, OTHER, atoms=outer, **columns[1]).splitlines(True),
      strict=True,
    )
    return text + ''.join(line for pair in pairs for line in pair)

  protein = load(with_rotamers(middle))
  nothing = np.full(4, np.nan)
  assert_chi(protein.arrays, np.stack([nothing, expected, nothing]), 4e-3)


def test_rotamers_are_not_mixed(load):
  """Each atom has an occupancy of its own, as some programs refine them; B has more in all."""
  outer = TURNED['LYS'].split()
  occupancy = {'A': (0.55, 0.45, 0.4, 0.52), 'B': (0.45, 0.55, 0.6, 0.48)}

  def middle(xyz):
    text = residue('LYS', 2, xyz, atoms=peptides.ATOMS)
    for altloc, chi in (('A', CHI), ('B', OTHER)):
      for atom, share in zip(outer, occupancy[altloc], strict=True):
        text += residue('LYS', 2, xyz, chi, atoms=[atom], altloc=altloc, occupancy=share)
    return text

  arrays = load(with_rotamers(middle)).arrays
  assert arrays.chi_known[1].all()
  np.testing.assert_allclose(np.cos(arrays.chi[1] - OTHER), 1.0, atol=1e-4)


# --- many frames ---


@pytest.fixture
def moving(np_rng):
  """Coordinates [F, N, 3] Å of all residue types, rows, types, and mdtraj's angles."""
  from tempo_jax.geometry import side_chains  # Placed by the code under test of another module.

  backbone, chi = heavy_atoms.helix(11)
  atoms = np.asarray(side_chains.heavy_atoms(backbone, chi, heavy_atoms.ALL_TYPES))
  atoms = atoms + np_rng.normal(scale=0.05, size=atoms.shape)
  trajectory = heavy_atoms.as_mdtraj(atoms, heavy_atoms.ALL_TYPES)
  named = [{a.name: a.index for a in r.atoms} for r in trajectory.top.residues]
  rows = side_chain_atoms.slots(named, heavy_atoms.ALL_TYPES)
  return 10 * trajectory.xyz, rows, by_mdtraj(trajectory)


def by_mdtraj(trajectory):
  """[F, L, 4] rad, NaN where this package knows no such angle (chi2 of PRO)."""
  chains = [r.name for r in trajectory.top.residues]
  found = np.full((trajectory.n_frames, len(chains), 4), np.nan)
  for k in range(4):
    quartets, angles = getattr(mdtraj, f'compute_chi{k + 1}')(trajectory, periodic=False)
    for quartet, angle in zip(quartets, angles.T, strict=True):
      found[:, trajectory.top.atom(quartet[1]).residue.index, k] = angle
  found[:, [name == 'PRO' for name in chains], 1:] = np.nan
  return found


def assert_turns(found, expected, atol=1e-5):
  np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
  assert np.nanmax(np.abs(np.angle(np.exp(1j * (found - expected))))) < atol
  assert np.nanmin(found) > -np.pi
  assert np.nanmax(found) <= np.float32(np.pi)


@pytest.mark.parametrize('block', [1, 300, 2**15])
def test_every_frame(moving, monkeypatch, block):
  xyz, rows, expected = moving
  monkeypatch.setattr(side_chain_torsions, '_BLOCK', block)
  torsions = side_chain_torsions.SideChainTorsions(rows, heavy_atoms.ALL_TYPES)
  found = torsions.measure(xyz)
  assert found.dtype == np.float32
  assert_turns(found, expected)
  np.testing.assert_allclose(torsions.measure(0.1 * xyz, unit=10.0), found, atol=2e-5)


@pytest.mark.parametrize(
  'cell', [np.diag([9.0, 11.0, 13.0]), [[12, 0, 0], [3, 11, 0], [-4, 2, 10]]]
)
def test_side_chains_that_a_box_cuts(moving, np_rng, cell):
  """Every atom is wrapped into the box by itself, in each frame elsewhere."""
  xyz, rows, expected = moving
  cell = np.array(cell, float)
  shifted = xyz + np_rng.uniform(-50.0, 50.0, (len(xyz), 1, 3))
  wrapped = ((shifted @ np.linalg.inv(cell)) % 1.0 @ cell).astype(np.float32)
  torsions = side_chain_torsions.SideChainTorsions(rows, heavy_atoms.ALL_TYPES)
  assert np.isnan(torsions.measure(wrapped)).sum() > np.isnan(expected).sum()
  assert_turns(torsions.measure(wrapped, [cell]), expected, 1e-4)
  per_frame = np.broadcast_to(cell, (len(xyz), 3, 3))
  wrong = 10.0 * cell
  assert_turns(torsions.measure(wrapped, [wrong, per_frame]), expected, 1e-4)
  # Formats without a box write zeros.
  assert_turns(torsions.measure(xyz, [np.zeros((3, 3))]), expected)


def test_corrupt_frames_are_not_known(moving):
  xyz, rows, expected = moving
  xyz = xyz.copy()
  xyz[2], xyz[4], xyz[6] = np.nan, 0.0, 1e30
  xyz[8, rows[heavy_atoms.ALL_TYPES == 8, 5]] += 5.0  # CG of LYS
  torsions = side_chain_torsions.SideChainTorsions(rows, heavy_atoms.ALL_TYPES)
  expected[[2, 4, 6]] = np.nan
  expected[8, 8] = np.nan
  assert_turns(torsions.measure(xyz), expected)


def test_half_a_turn_has_one_sign():
  """Flat: the sine may be -0."""
  rows = np.full((1, 14), -1)
  rows[0, [0, 1, 4, 5]] = range(4)
  serine = np.array([protein_lib.RESIDUE_TYPES.index('SER')])
  xyz = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0], [2.5, -1.0, 0.0]])
  images = np.array([xyz, xyz * [1, -1, 1], xyz[:, ::-1], -xyz, xyz + 1e-3])
  found = side_chain_torsions.SideChainTorsions(rows, serine).measure(images)[:, 0, 0]
  np.testing.assert_array_equal(found, np.float32(np.pi))


def test_no_angles_and_no_frames():
  rows = np.tile(np.arange(14), (2, 1))
  glycine = np.full(2, protein_lib.RESIDUE_TYPES.index('GLY'))
  xyz = np.zeros((3, 14, 3), np.float32)
  assert np.isnan(side_chain_torsions.SideChainTorsions(rows, glycine).measure(xyz)).all()
  serine = np.full(2, protein_lib.RESIDUE_TYPES.index('SER'))
  found = side_chain_torsions.SideChainTorsions(rows, serine).measure(xyz[:0])
  assert found.shape == (0, 2, 4)


# --- real files ---


@pytest.mark.parametrize(
  'name', ['Kortemme-Lab_1PGA', 'Kortemme-Lab_4LYZ', 'Kortemme-Lab_1STN', 'Haddox_1kth_clean_0001']
)
def test_crystal_structures(shared_data, name):
  path = shared_data / 'structures' / f'{name}.pdb.gz'
  protein = structure_file.load_protein(path)
  trajectory = mdtraj.load(str(path))
  protein_atoms = trajectory.top.select('protein')
  expected = by_mdtraj(trajectory.atom_slice(protein_atoms))[0]
  assert_chi(protein.arrays, expected, 2e-4)
  lacking = side_chain_atoms.chi_mask(protein.arrays.residue_type) & ~protein.arrays.chi_known
  assert all(protein.missing_atoms[i] for i in np.flatnonzero(lacking.any(axis=1)))


def test_selenomethionine(shared_data):
  protein = structure_file.load_protein(shared_data / 'nasty_structures' / '1A8O_MSE.pdb')
  methionine = np.array(protein.residue_names) == 'MET'
  assert methionine.sum() == 4
  assert protein.arrays.chi_known[methionine, :3].all()

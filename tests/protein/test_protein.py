"""Reading structures: the rules on synthetic peptides, then real and awkward files."""

import collections
import gzip
import re

import gemmi
import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.protein import mirror_images, padding, residue_selection, structure_file
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import backbone_atoms, structure
from tests import peptides, random_structures

HELIX = peptides.helix(8)


@pytest.fixture
def load(tmp_path):
  """Writes PDB text and reads it with `load_protein`."""

  def write_and_load(text, name='x.pdb', **kwargs):
    path = tmp_path / name
    path.write_text(text)
    return structure_file.load_protein(path, **kwargs)

  return write_and_load


def reasons(protein):
  return {(out.residue_name, out.number): out.reason for out in protein.left_out}


def said(protein, words):
  return [warning for warning in protein.warnings if words in warning]


# --- names ---


def test_residue_types_follow_the_alphabet_of_one_letter_codes():
  letters = gemmi.one_letter_code(list(protein_lib.RESIDUE_TYPES[:20]))
  assert letters == 'ACDEFGHIKLMNPQRSTVWY'
  assert protein_lib.RESIDUE_TYPES[20] == 'UNK'
  assert protein_lib.THREE_LETTER['W'] == 'TRP'
  assert protein_lib.ONE_LETTER['UNK'] == 'X'


@pytest.mark.parametrize(
  ('name', 'standard'),
  [
    *[(name, name) for name in protein_lib.RESIDUE_TYPES],
    *[(name, 'HIS') for name in ('HSD', 'HSE', 'HSP', 'HID', 'HIE', 'HIP', 'HISE', 'CHIE')],
    *[(name, 'CYS') for name in ('CYX', 'CYM', 'CYS2', 'SEC', 'NCYX')],
    *[('LYN', 'LYS'), ('ASH', 'ASP'), ('GLH', 'GLU'), ('ASPP', 'ASP'), ('GLUP', 'GLU')],
    *[('MSE', 'MET'), ('NLE', 'LEU'), ('SEP', 'SER'), ('TPO', 'THR'), ('PTR', 'TYR')],
    *[('MLY', 'LYS'), ('DAL', 'ALA'), ('NALA', 'ALA'), ('CGLY', 'GLY'), ('ASX', 'UNK')],
    *[(name, None) for name in ('HOH', 'ACE', 'NME', 'ZN', 'HEM', 'DA', 'U', 'XYZ')],
  ],
)
def test_standard_residue(name, standard):
  assert protein_lib.standard_residue(name) == standard


# --- what a plain file gives ---


def test_plain_peptide(load):
  protein = load(peptides.peptide(first=5) + 'TER\nEND\n', 'pep.tide.pdb')
  arrays = protein.arrays
  assert protein.name == 'pep.tide'
  assert protein.sequence == 'ASWLKDVE'
  assert protein.residue_names == peptides.SEQUENCE
  assert protein.chain_ids == ('A',)
  assert protein.chain_of_residue == ('A',) * 8
  assert protein.residue_number.tolist() == list(range(5, 13))
  assert protein.insertion_code == ('',) * 8
  assert (protein.left_out, protein.warnings) == ((), ())
  np.testing.assert_allclose(arrays.positions, HELIX[:, :4], atol=5.1e-4)
  assert arrays.residue_type.tolist() == [0, 15, 18, 9, 8, 2, 17, 3]
  assert arrays.residue_index.tolist() == list(range(8))
  assert arrays.chain_index.tolist() == [0] * 8
  assert arrays.bonded.tolist() == [True] * 7 + [False]
  assert arrays.mask.tolist() == [True] * 8
  dtypes = [getattr(arrays, name).dtype for name in ('residue_type', 'bonded', 'positions')]
  assert dtypes == [np.int32, np.bool_, np.float32]


def test_with_positions(load):
  protein = load(peptides.peptide())
  moved = protein.with_positions(protein.arrays.positions.astype(np.float64) + 1.0)
  assert moved.arrays.positions.dtype == np.float32
  np.testing.assert_allclose(moved.arrays.positions - protein.arrays.positions, 1.0, atol=1e-5)
  assert moved.sequence == protein.sequence
  with pytest.raises(ValueError, match=r'\(7, 4, 3\)'):
    protein.with_positions(protein.arrays.positions[1:])


@pytest.mark.parametrize('name', ['p.cif', 'p.pdb', 'p.mmcif.gz', 'p.ent.gz', 'wrong.pdb.cif'])
def test_formats_give_the_same(load, tmp_path, name):
  text = (
    peptides.peptide(chain='A', first=-2, icode='B')
    + 'TER\n'
    + peptides.peptide(chain='B', offset=(20, 0, 0))
    + 'TER\n'
    + peptides.line('O', 'HOH', 'A', 301, (90, 0, 0), hetero=True)
  )
  expected = load(text, 'p.pdb')
  if 'cif' in name and not name.startswith('wrong'):
    structure = gemmi.read_pdb_string(text)
    structure.setup_entities()
    structure.assign_label_seq_id()
    text = structure.make_mmcif_document().as_string()
  path = tmp_path / 'other' / name
  path.parent.mkdir()
  path.write_bytes(gzip.compress(text.encode()) if name.endswith('.gz') else text.encode())
  protein = structure_file.load_protein(path)
  assert protein.name == name.split('.')[0]
  assert protein.sequence == expected.sequence
  assert protein.residue_number.tolist() == expected.residue_number.tolist()
  assert protein.insertion_code == expected.insertion_code == ('B',) * 8 + ('',) * 8
  assert protein.chain_ids == expected.chain_ids == ('A', 'B')
  for field in ('bonded', 'chain_index', 'residue_index', 'positions'):
    np.testing.assert_array_equal(getattr(protein.arrays, field), getattr(expected.arrays, field))


def test_only_the_first_model(load):
  models = [
    f'MODEL     {k}\n{peptides.peptide(offset=(10.0 * k, 0, 0))}TER\nENDMDL\n' for k in (1, 2)
  ]
  protein = load(''.join(models))
  assert protein.num_residues == 8
  np.testing.assert_allclose(protein.arrays.positions[0, 0], [10, 0, 0])
  assert said(protein, 'several models')
  structure = gemmi.read_pdb_string(''.join(models))
  structure.setup_entities()
  protein = load(structure.make_mmcif_document().as_string(), 'x.cif')
  np.testing.assert_allclose(protein.arrays.positions[0, 0], [10, 0, 0])
  assert said(protein, 'several models')


# --- alternatives ---


def alternatives(first, second, index=3):
  """A peptide with residue `index` given as two sets of lines."""
  before = peptides.peptide(peptides.SEQUENCE[:index])
  after = peptides.peptide(peptides.SEQUENCE[index + 1 :], first=index + 2, xyz=HELIX[index + 1 :])
  return before + first + second + after


def conformer(altloc, occupancy, shift, name='LEU', atoms=peptides.ATOMS):
  xyz = HELIX[3] + [shift, 0.0, 0.0]
  return peptides.residue(name, 'A', 4, xyz, atoms, altloc=altloc, occupancy=occupancy)


@pytest.mark.parametrize(
  ('first', 'second', 'name', 'shift'),
  [
    pytest.param(('A', 0.4, 0.1), ('B', 0.6, 0.2), 'LEU', 0.2, id='the more occupied'),
    pytest.param(('A', 0.5, 0.1), ('B', 0.5, 0.2), 'LEU', 0.1, id='equal: the first letter'),
    pytest.param(('2', 0.5, 0.1), ('1', 0.5, 0.2), 'LEU', 0.2, id='not the first in the file'),
    pytest.param(('A', 0.4, 0.1), ('B', 0.6, 0.2, 'PRO'), 'PRO', 0.2, id='two residue types'),
    pytest.param(('', 0.4, 0.1), ('A', 0.6, 0.2, 'PRO'), 'PRO', 0.2, id='one without letter'),
    pytest.param(('A', 0.6, 0.1), ('', 0.4, 0.2, 'PRO'), 'LEU', 0.1, id='the other without'),
    pytest.param(('A', 0.0, 0.1), ('B', 0.0, 0.2), 'LEU', 0.1, id='no occupancies'),
    pytest.param(
      ('A', 0.4, 0.1), ('B', 0.6, 0.2, 'LEU', ('CA', 'CB')), 'LEU', 0.1, id='the complete one'
    ),
  ],
)
def test_alternate_locations(load, first, second, name, shift):
  protein = load(alternatives(conformer(*first), conformer(*second)))
  assert protein.num_residues == 8
  assert protein.residue_names[3] == name
  expected = HELIX[:, :4] + np.where(np.arange(8) == 3, shift, 0.0)[:, None, None] * [1, 0, 0]
  np.testing.assert_allclose(protein.arrays.positions, expected, atol=1e-3)
  assert np.all(protein.arrays.bonded[:7])


def test_one_location_for_the_whole_backbone(load):
  """O alone is more occupied in A: the residue as a whole still is B."""
  atoms = ('N', 'CA', 'C', 'CB')
  text = ''.join(
    [
      conformer('A', 0.3, 0.1, atoms=atoms) + conformer('A', 0.9, 0.1, atoms=('O',)),
      conformer('B', 0.7, 0.2, atoms=atoms) + conformer('B', 0.1, 0.2, atoms=('O',)),
    ]
  )
  protein = load(alternatives(text, ''))
  np.testing.assert_allclose(protein.arrays.positions[3], HELIX[3, :4] + [0.2, 0.0, 0.0], atol=1e-3)


def test_shared_atoms_and_split_atoms_mix(load):
  """N has no letter, C only a letter that loses: each is still found."""
  text = (
    conformer('', 1.0, 0.0, atoms=('N',))
    + conformer('A', 0.3, 0.1, atoms=('CA', 'C', 'O'))
    + conformer('B', 0.7, 0.2, atoms=('CA', 'C'))
  )
  positions = load(alternatives(text, '')).arrays.positions[3]
  np.testing.assert_allclose((positions - HELIX[3, :4])[:, 0], [0, 0.2, 0.2, 0.1], atol=1e-3)


def test_locations_are_chosen_along_the_chain(load):
  """Each residue by itself would take the more occupied one; their bonds would be broken."""
  text = peptides.peptide(peptides.SEQUENCE[:3])
  for i, occupancies in ((3, (0.6, 0.4)), (4, (0.45, 0.55))):
    for letter, occupancy, shift in zip('AB', occupancies, (0.0, 0.5), strict=True):
      xyz = HELIX[i] + [shift, shift, shift]
      name = peptides.SEQUENCE[i]
      text += peptides.residue(name, 'A', i + 1, xyz, altloc=letter, occupancy=occupancy)
  text += peptides.peptide(peptides.SEQUENCE[5:], first=6, xyz=HELIX[5:])
  protein = load(text)
  np.testing.assert_allclose(protein.arrays.positions, HELIX[:, :4], atol=1e-3)
  assert np.all(protein.arrays.bonded[:7])


def test_a_tiny_stretch_weighs_less_than_the_occupancy(load):
  """C-N of 1.46 Å, for 1.33 with a tenth of the occupancy."""
  axis = HELIX[4, 0] - HELIX[3, 2]
  stretched = HELIX[3] - 0.13 * axis / np.linalg.norm(axis)
  text = peptides.residue('LEU', 'A', 4, stretched, altloc='A', occupancy=0.9)
  text += peptides.residue('LEU', 'A', 4, HELIX[3], altloc='B', occupancy=0.1)
  positions = load(alternatives(text, '')).arrays.positions
  np.testing.assert_allclose(positions[3], stretched[:4], atol=1e-3)


def test_a_location_without_numbers_is_not_taken(load):
  nowhere = ''.join(
    peptides.line(atom, 'LEU', 'A', 4, ('********',) * 3, altloc='A', occupancy=0.7)
    for atom in peptides.ATOMS
  )
  protein = load(alternatives(nowhere, conformer('B', 0.3, 0.0)))
  np.testing.assert_allclose(protein.arrays.positions, HELIX[:, :4], atol=1e-3)


@pytest.mark.parametrize('interleaved', [True, False])
def test_alternatives_without_their_letters_are_one_residue(load, interleaved):
  """Scripts blank the column; the first of each atom stays."""
  first, second = (conformer('', 0.5, shift).splitlines(True) for shift in (0.0, 0.3))
  lines = [x for pair in zip(first, second, strict=True) for x in pair]
  protein = load(alternatives(''.join(lines if interleaved else first + second), ''))
  assert protein.sequence == 'ASWLKDVE'
  assert protein.left_out == ()
  np.testing.assert_allclose(protein.arrays.positions, HELIX[:, :4], atol=1e-3)


def test_an_unlabelled_atom_may_be_the_more_occupied_one(load):
  text = conformer('', 0.8, 0.0) + conformer('B', 0.2, 0.2)
  positions = load(alternatives(text, '')).arrays.positions
  np.testing.assert_allclose(positions, HELIX[:, :4], atol=1e-3)


def test_duplicate_atoms_keep_the_first(load):
  text = peptides.peptide() + peptides.line('CA', 'ALA', 'A', 1, (9, 9, 9))
  np.testing.assert_allclose(load(text).arrays.positions, HELIX[:, :4], atol=5.1e-4)


# --- numbering, chains, bonds ---


def test_insertion_codes_are_residues_of_their_own(load):
  numbers = [(5, ''), (5, 'A'), (5, 'B'), (6, ''), (-1, ''), (8, ''), (8, 'C'), (100, '')]
  text = ''.join(
    peptides.residue(name, 'A', number, xyz, icode=icode)
    for name, (number, icode), xyz in zip(peptides.SEQUENCE, numbers, HELIX, strict=True)
  )
  protein = load(text)
  assert list(zip(protein.residue_number, protein.insertion_code, strict=True)) == numbers
  # Numbers jump and fall, but the peptide bonds are there: one chain, no break.
  assert protein.arrays.bonded.tolist() == [True] * 7 + [False]
  assert protein.arrays.residue_index.tolist() == list(range(8))
  assert protein.num_chains == 1


@pytest.mark.parametrize(('renumber', 'step'), [(0, 3), (-2, 2)])
def test_chain_break(load, renumber, step):
  """Residues 4 and 5 are missing; the author's numbers say so, or do not."""
  text = peptides.peptide(peptides.SEQUENCE[:3])
  text += peptides.peptide(peptides.SEQUENCE[5:], first=6 + renumber, xyz=HELIX[5:])
  protein = load(text)
  assert protein.arrays.bonded.tolist() == [True, True, False, True, True, False]
  assert protein.arrays.residue_index.tolist() == [0, 1, 2, 2 + step, 3 + step, 4 + step]
  assert protein.num_chains == 1
  assert said(protein, f'between: A:3 TRP and A:{6 + renumber} ASP')


@pytest.mark.parametrize(
  ('chains', 'ter', 'first'),
  [
    pytest.param('AB', 'TER\n', 1, id='two ids'),
    pytest.param('AB', '', 1, id='two ids without TER'),
    pytest.param('AA', 'TER\n', 1, id='one id twice'),
    pytest.param('  ', 'TER\n', 1, id='blank ids'),
    pytest.param('  ', '', 1, id='blank ids, no TER, numbers start again'),
    pytest.param('AA', 'TER\n', 9, id='numbers that go on'),
  ],
)
def test_two_molecules_are_two_chains(load, chains, ter, first):
  one = peptides.peptide(chain=chains[0]) + ter
  two = peptides.peptide(chain=chains[1], first=first, offset=(30, 0, 0)) + ter
  protein = load(one + two)
  assert protein.chain_ids == tuple(chain.strip() for chain in chains)
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  assert protein.arrays.residue_index.tolist() == [*range(8)] * 2
  assert np.flatnonzero(~protein.arrays.bonded).tolist() == [7, 15]
  np.testing.assert_allclose(protein.arrays.positions[8:, :, 0], HELIX[:, :4, 0] + 30, atol=1e-3)


def test_segment_ids_tell_molecules_apart(load):
  one = peptides.peptide(chain='', segment='PROA')
  two = peptides.peptide(chain='', segment='PROB', first=20, offset=(30, 0, 0))
  assert load(one + two).arrays.chain_index.tolist() == [0] * 8 + [1] * 8


def test_segment_ids_do_not_split_a_residue(load):
  text = peptides.residue('LEU', 'A', 4, HELIX[3], ('N', 'CA'), segment='A')
  protein = load(alternatives(text, peptides.residue('LEU', 'A', 4, HELIX[3], ('C', 'O'))))
  assert protein.sequence == 'ASWLKDVE'
  assert protein.num_chains == 1


def test_a_bond_joins_across_ter_and_never_across_ids(load):
  halves = [
    lambda chain: peptides.peptide(peptides.SEQUENCE[:4], chain),
    lambda chain: peptides.peptide(peptides.SEQUENCE[4:], chain, first=5, xyz=HELIX[4:]),
  ]
  one_id = load(halves[0]('A') + 'TER\n' + halves[1]('A'))
  assert one_id.num_chains == 1
  assert np.all(one_id.arrays.bonded[:7])
  two_ids = load(halves[0]('A') + halves[1]('B'))
  assert two_ids.chain_ids == ('A', 'B')
  assert np.flatnonzero(~two_ids.arrays.bonded).tolist() == [3, 7]


@pytest.mark.parametrize(
  ('chains', 'expected'),
  [
    *[(None, ('A', 'B', 'AA')), ('', ('A', 'B', 'AA')), ('B', ('B',))],
    *[('AA, A', ('A', 'AA')), (['B', 'A'], ('A', 'B'))],
  ],
)
def test_choice_of_chains(load, chains, expected):
  """Two-letter ids, which some programs write into PDB, are understood."""
  text = ''.join(
    peptides.peptide(chain=chain, offset=(20.0 * k, 0, 0)) for k, chain in enumerate('AB')
  )
  third = peptides.peptide(('HIS', 'ALA', 'ALA'), chain='A', offset=(60, 0, 0))
  text += ''.join(f'{x[:20]}A{x[21:]}\n' for x in third.splitlines())
  assert load(text, chains=chains).chain_ids == expected


def test_parts_of_a_chain_come_together(load):
  text = (
    peptides.peptide(peptides.SEQUENCE[:4])
    + peptides.peptide(chain='B', offset=(30, 0, 0))
    + peptides.peptide(peptides.SEQUENCE[4:], first=5, xyz=HELIX[4:])
  )
  protein = load(text)
  assert protein.sequence == 'ASWLKDVE' * 2
  assert protein.chain_ids == ('A', 'B')
  assert np.flatnonzero(~protein.arrays.bonded).tolist() == [7, 15]


# --- molecules that share names and numbers ---


@pytest.mark.parametrize('spelling', ['{:<4}', '{:>4}', ' {:<3}', '{:^4}'])
def test_copies_of_one_molecule_are_two_chains(load, spelling):
  """One id, the same numbers, no TER; names of atoms anywhere in their columns."""
  text = peptides.peptide() + peptides.peptide(offset=(30, 0, 0))
  lines = [
    f'{line[:12]}{spelling.format(line[12:16].strip())}{line[16:]}\n' for line in text.splitlines()
  ]
  protein = load(''.join(lines))
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  assert protein.residue_number.tolist() == [*range(1, 9)] * 2
  np.testing.assert_allclose(protein.arrays.positions[8:, :, 0], HELIX[:, :4, 0] + 30, atol=1e-3)


def test_residues_of_one_number_are_kept_apart(load):
  names = ('LEU', 'LEU', 'GLY', 'LEU', 'LEU', 'LEU', 'VAL', 'VAL')
  text = ''.join(
    peptides.residue(name, 'A', 1, xyz) for name, xyz in zip(names, HELIX, strict=True)
  )
  protein = load(text)
  assert protein.residue_names == names
  assert np.all(protein.arrays.bonded[:7])


@pytest.mark.parametrize(('atom', 'residue'), [('OXT', 0), ('OT2', 0), ('H3', 1), ('HT3', 1)])
def test_atoms_of_termini_tell_molecules_apart(load, atom, residue):
  """Numbers that go on, one id, no TER."""
  one = peptides.peptide()
  two = peptides.peptide(first=9, offset=(30, 0, 0))
  number, name = ((8, 'GLU'), (9, 'ALA'))[residue]
  extra = peptides.line(atom, name, 'A', number, (1.0, 2.0, 3.0))
  assert load(one + two).num_chains == 1
  protein = load(one + extra + two)
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  assert not said(protein, 'chain breaks')


def test_alternatives_lie_at_one_place(load):
  """Two molecules of one chain and the same numbers: one's alternatives are not the other's."""
  one = peptides.peptide()
  labelled = peptides.residue('LYS', 'A', 5, HELIX[4], altloc='A')
  lines = one.splitlines(keepends=True)
  fifth = [i for i, line in enumerate(lines) if int(line[22:26]) == 5]
  one = ''.join([*lines[: fifth[0]], labelled, *lines[fifth[-1] + 1 :]])
  other = tuple(reversed(peptides.SEQUENCE))
  two = peptides.peptide(other, offset=(30, 0, 0))
  protein = load(one + two)
  assert protein.num_residues == 16
  assert not protein.left_out
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8


def test_atoms_that_are_no_alternatives_stay_in_a_topology(tmp_path):
  """Waters: numbers begin again, one has a label, one the number of a residue with alternatives."""
  text = peptides.peptide()
  text += peptides.residue('LYS', 'A', 9, HELIX[4] + 12.0, altloc='A')
  text += peptides.residue('LYS', 'A', 9, HELIX[4] + 12.3, altloc='B')
  text += peptides.line('O', 'HOH', 'A', 9, (60, 0, 0))
  for number, altloc in ((20, 'A'), (21, ''), (20, ''), (21, '')):
    text += peptides.line(
      'O', 'HOH', 'A', number, (70 + number, 3.0 * bool(altloc), 0), altloc=altloc
    )
  path = tmp_path / 'x.pdb'
  path.write_text(text)
  found = structure.of_file(path)
  assert found.n_atoms == 8 * 5 + 5 + 1 + 4


def test_a_ring_is_named(load):
  angles = 2.0 * np.pi * np.arange(8) / 8
  assert not said(load(peptides.peptide()), 'a ring')
  closed = HELIX.copy()
  closed[:, :, :] = (
    HELIX[0]
    + 3.8
    / (2.0 * np.sin(np.pi / 8))
    * np.stack([np.cos(angles), np.sin(angles), 0.0 * angles], -1)[:, None]
  )
  closed[-1, 2] = closed[0, 0] + [0.8, 0.8, 0.6]
  closed[-1, 1] = closed[-1, 2] + [0.0, 0.9, 1.2]
  closed[-1, 0] = closed[-1, 1] + [0.9, 0.0, 1.1]
  protein = load(peptides.peptide(xyz=closed))
  assert said(protein, 'a ring, closed by a peptide bond from A:8 GLU to A:1 ALA')
  assert protein.arrays.ring.tolist() == [-1] * 7 + [0]
  assert not protein.arrays.bonded[-1]
  assert protein.arrays.bonds.to_next.tolist()[-1]


# --- mmCIF ---

COLUMNS = (
  *('group_PDB', 'label_atom_id', 'label_alt_id', 'label_comp_id', 'label_asym_id'),
  *('label_seq_id', 'auth_seq_id', 'auth_asym_id', 'pdbx_PDB_ins_code', 'pdbx_PDB_model_num'),
  *('Cartn_x', 'Cartn_y', 'Cartn_z', 'occupancy'),
)


def mmcif(*molecules, without=(), name='x'):
  """Of (label_asym_id, auth_asym_id, number of residue i, shift in Å along x) helices."""
  columns = [column for column in COLUMNS if column not in without]
  rows = []
  for label, author, number, shift in molecules:
    for i, (residue, xyz) in enumerate(zip(peptides.SEQUENCE, HELIX, strict=True)):
      for atom, (x, y, z) in zip(peptides.ATOMS, xyz, strict=True):
        row = dict.fromkeys(COLUMNS, '.') | {
          'group_PDB': 'ATOM', 'label_atom_id': atom, 'label_comp_id': residue,
          'label_asym_id': label, 'auth_asym_id': author, 'label_seq_id': str(i + 1),
          'auth_seq_id': number(i), 'pdbx_PDB_ins_code': '?', 'pdbx_PDB_model_num': '1',
          'Cartn_x': f'{x + shift:.3f}', 'Cartn_y': f'{y:.3f}', 'Cartn_z': f'{z:.3f}',
          'occupancy': '1.0',
        }  # fmt: skip
        rows.append(' '.join(row[column] for column in columns))
  names = '\n'.join(f'_atom_site.{column}' for column in columns)
  return f'data_{name}\nloop_\n{names}\n' + '\n'.join(rows) + '\n'


def counted(i):
  return str(i + 1)


@pytest.mark.parametrize('labels', ['AB', 'AA'])
def test_one_author_chain_of_two_molecules(load, labels):
  text = mmcif(*((label, 'A', counted, 30.0 * k) for k, label in enumerate(labels)))
  protein = load(text, 'x.cif')
  assert protein.chain_ids == ('A', 'A')
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8


@pytest.mark.parametrize('name', ['no labels', 'no author', 'no numbers', 'blocks', 'mark'])
def test_sparse_mmcif(tmp_path, name):
  one = ('A', 'B', counted, 0.0)
  text = {
    'no labels': mmcif(one, without=('label_asym_id', 'label_seq_id')),
    'no author': mmcif(one, without=('auth_asym_id', 'auth_seq_id')),
    'no numbers': mmcif(('A', 'B', lambda i: '.', 0.0), without=('label_seq_id',)),
    'blocks': 'data_\n_entry.id x\ndata_comp_LIG\n_chem_comp.id LIG\n' + mmcif(one),
    'mark': '\ufeff' + mmcif(one),
  }[name]
  path = tmp_path / 'x.cif'
  path.write_text(text, encoding='utf-8')
  protein = structure_file.load_protein(path)
  assert protein.sequence == 'ASWLKDVE'
  assert protein.residue_number.tolist() == list(range(1, 9))
  assert protein.chain_ids == (('A',) if name == 'no author' else ('B',))
  np.testing.assert_allclose(protein.arrays.positions, HELIX[:, :4], atol=1e-3)


def ignored(protein):
  """name -> number, of what warnings say that it is no protein."""
  lines = said(protein, 'not protein, ignored: ')
  return {name: int(n) for n, name in re.findall(r'(\d+) (\S+?)(?:,|$)', ' '.join(lines))}


@pytest.mark.parametrize('seed', range(40))
def test_whatever_is_in_a_file_is_kept_or_named(tmp_path, seed):
  """PDB and mmCIF of the same random atoms give the same residues, and all of them."""
  made = random_structures.make(seed)
  (tmp_path / 'x.pdb').write_text(made.pdb)
  (tmp_path / 'x.cif').write_text(made.cif)
  one, other = (structure_file.load_protein(tmp_path / f'x.{x}') for x in ('pdb', 'cif'))
  for protein in (one, other) if not made.blank else (one,):
    kept = zip(
      protein.chain_of_residue, protein.residue_number.tolist(), protein.insertion_code, strict=True
    )
    left_out = [(out.chain, out.number, out.insertion_code) for out in protein.left_out]
    assert collections.Counter(kept) + collections.Counter(left_out) == made.amino_acids
    assert ignored(protein) == made.others
    ca = protein.arrays.positions[:, None, 1]
    assert np.linalg.norm(ca - np.array(made.ca), axis=-1).min(axis=1).max() < 1e-3
  assert one.num_residues + len(one.left_out) == sum(made.amino_acids.values())
  if made.blank:
    return
  assert one.sequence == other.sequence
  assert one.left_out == other.left_out
  assert one.chain_ids == other.chain_ids
  for field in ('bonded', 'chain_index', 'residue_index', 'positions'):
    np.testing.assert_array_equal(getattr(one.arrays, field), getattr(other.arrays, field))


# --- files that programs and editors leave behind ---


def test_lines_that_end_after_z(load):
  text = ''.join(f'{line[:54]}\n' for line in peptides.peptide().splitlines())
  assert load(text[:-1]).sequence == 'ASWLKDVE'


def test_records_that_say_nothing_of_positions(load):
  text = peptides.peptide()
  anisou = 'ANISOU    9  CA  GLY A  99      100    100    100      0      0      0       C\n'
  protein = load('\xe9\xff remarks\n' + anisou + text)
  assert protein.sequence == 'ASWLKDVE'
  assert protein.warnings == ()


def test_stretched_bonds_within_a_residue_are_kept(load):
  xyz = HELIX.copy()
  xyz[3, 1] += 0.9 * (xyz[3, 1] - xyz[3, 0]) / np.linalg.norm(xyz[3, 1] - xyz[3, 0])
  assert np.linalg.norm(xyz[3, 1] - xyz[3, 0]) == pytest.approx(2.36, abs=0.01)
  assert load(peptides.peptide(xyz=xyz)).num_residues == 8


@pytest.mark.parametrize('by', ['atom', 'residue'])
def test_torn_by_the_box(load, by):
  box, cryst1 = (
    12.0,
    f'CRYST1{12:9.3f}{40:9.3f}{40:9.3f}{90:7.2f}{90:7.2f}{90:7.2f} P 1           1\n',
  )
  offset = (5.0, 10.0, 10.0)
  whole = load(cryst1 + peptides.peptide(offset=offset))
  assert whole.num_residues == 8
  torn = HELIX + np.array(offset)
  shift = torn[..., :1] > 8.0 if by == 'atom' else torn[:, :1, :1] > 8.0
  assert shift.any()
  assert not shift.all()
  torn = torn - shift * np.array([box, 0.0, 0.0])
  with pytest.raises(InputError, match=r'broken over the periodic box, .* of A:.*whole'):
    load(cryst1 + peptides.peptide(xyz=torn))


@pytest.mark.parametrize('cell', [(360.0, 90.0, 90.0), (170.0, 20.0, 20.0)])
def test_a_cell_that_is_none(load, cell):
  angles = ''.join(f'{angle:7.2f}' for angle in cell)
  assert load(f'CRYST1{50:9.3f}{50:9.3f}{50:9.3f}{angles} P 1\n' + peptides.peptide()).num_chains


@pytest.mark.parametrize('end', ['END\n', 'MODEL\n', 'ENDMDL\n'])
def test_frames_without_models_are_models(load, end):
  protein = load(peptides.peptide() + end + peptides.peptide(offset=(0.1, 0, 0)) + end)
  assert protein.num_residues == 8
  assert said(protein, 'several models')


@pytest.mark.parametrize('record', ['ATOM  1', 'ATOM 10', 'atom  1'])
def test_records_of_any_serial_number_and_case(load, record):
  text = ''.join(f'{record}{line[7:]}\n' for line in peptides.peptide().splitlines())
  assert load(text).sequence == 'ASWLKDVE'


def test_numbers_that_are_not_needed_may_be_missing(load):
  calcium = peptides.line('CA', 'CA', 'A', '****', (40.0, 0.0, 0.0), hetero=True)
  assert said(load(peptides.peptide() + calcium), 'not protein, ignored: 1 CA')


def test_coordinates_with_their_uncertainty(load):
  text = re.sub(r'(\.\d{3}) ', r'\1(3) ', mmcif(('A', 'A', counted, 0.0)))
  assert '(3)' in text
  np.testing.assert_allclose(load(text, 'x.cif').arrays.positions, HELIX[:, :4], atol=1e-3)


@pytest.mark.parametrize('factor', [0.1, 10.0])
@pytest.mark.parametrize('atoms', [peptides.ATOMS, ('N', 'CA', 'C'), ('N', 'CA')])
def test_another_unit_is_that_of_the_whole_file(load, factor, atoms):
  """Chains, gaps, and what has no number do not hide it; a few residues do not make it."""
  nowhere = peptides.line('N', 'LEU', 'B', 9, ('********',) * 3)
  parts = [
    peptides.peptide(chain=chain, offset=(factor * 25.0 * k, 0, 0), xyz=factor * HELIX, atoms=atoms)
    for k, chain in enumerate('ABA')
  ]
  with pytest.raises(InputError, match=r'x.pdb: N-CA .* all others are like that: its unit is'):
    load('TER\n'.join([*parts, nowhere]))
  if atoms == peptides.ATOMS:
    assert load('TER\n'.join([parts[0], peptides.peptide(chain='C')])).num_residues == 8


# --- what is kept and what is not ---


@pytest.mark.parametrize('hetero', [False, True])
def test_a_free_amino_acid_is_no_chain(load, hetero):
  ligand = peptides.residue('GLU', 'A', 203, HELIX[0] + [50, 0, 0], hetero=hetero)
  protein = load(peptides.peptide() + 'TER\n' + ligand)
  assert protein.sequence == 'ASWLKDVE'
  assert reasons(protein) == {('GLU', 203): 'a free amino acid, bonded to nothing'}
  # A lone residue between two breaks is part of its chain.
  helix = peptides.helix(9)
  parts = [
    peptides.peptide(('ALA',) * len(part), first=int(part[0]) + 1, xyz=helix[part])
    for part in (np.arange(3), np.array([4]), np.arange(6, 9))
  ]
  assert load(''.join(parts)).num_residues == 7


def test_a_residue_between_two_ters_is_part_of_its_chain(load):
  """Programs write TER at gaps, too."""
  helix = peptides.helix(9)
  parts = [
    peptides.peptide(('ALA',) * len(part), first=int(part[0]) + 1, xyz=helix[part])
    for part in (np.arange(3), np.array([4]), np.arange(6, 9))
  ]
  protein = load('TER\n'.join(parts))
  assert protein.residue_number.tolist() == [1, 2, 3, 5, 7, 8, 9]
  assert protein.left_out == ()


def test_parts_of_a_chain_around_another_are_told_apart(load):
  """A, TER, B, TER, and again A, which is another molecule."""
  parts = [
    peptides.peptide(chain=chain, first=first, offset=(30.0 * k, 0, 0)) + 'TER\n'
    for k, (chain, first) in enumerate([('A', 1), ('B', 1), ('A', 12)])
  ]
  protein = load(''.join(parts))
  assert protein.chain_ids == ('A', 'A', 'B')
  assert not said(protein, 'chain breaks')


@pytest.mark.parametrize('order', [(3, 2, 4), (3, 4, 2), (4, 3, 2), (2, 3, 4), (4, 2, 3)])
def test_modified_residues_listed_last_go_back(load, order):
  """Neighbours among them, in any order."""
  names = ('ALA', 'SER', 'MSE', 'MSE', 'MSE', 'ASP', 'VAL', 'GLU')
  lines = [
    peptides.residue(name, 'A', i + 1, xyz, hetero=name == 'MSE')
    for i, (name, xyz) in enumerate(zip(names, HELIX, strict=True))
  ]
  last = ''.join(lines[i] for i in order)
  protein = load(''.join(lines[:2] + lines[5:]) + 'TER\n' + last)
  assert protein.sequence == 'ASMMMDVE'
  assert protein.residue_number.tolist() == list(range(1, 9))
  assert np.all(protein.arrays.bonded[:7])
  assert protein.num_chains == 1


def with_residue(name, index=3, **columns):
  names = peptides.SEQUENCE
  return (
    peptides.peptide(names[:index])
    + peptides.residue(name, 'A', index + 1, HELIX[index], **columns)
    + peptides.peptide(names[index + 1 :], first=index + 2, xyz=HELIX[index + 1 :])
  )


@pytest.mark.parametrize(
  ('name', 'letter', 'warning'),
  [
    ('MSE', 'M', 'A:4 MSE as MET'),
    ('SEP', 'S', 'A:4 SEP as SER'),
    ('HSD', 'H', None),
    ('CYX', 'C', None),
    ('ASPP', 'D', None),
    ('XAA', 'X', '1 unknown amino acids, kept as UNK: A:4 XAA'),
    ('UNK', 'X', '1 unknown amino acids, kept as UNK: A:4 UNK'),
    ('S1P', 'S', 'A:4 S1P as SER'),
    ('NLN', 'N', 'A:4 NLN as ASN'),
  ],
)
def test_modified_residues(load, name, letter, warning):
  protein = load(with_residue(name, hetero=len(name) == 3))
  assert protein.sequence == f'ASW{letter}KDVE'
  assert np.all(protein.arrays.bonded[:7])
  assert protein.warnings == () if warning is None else said(protein, warning)


def test_caps_waters_and_ligands(load):
  helix = peptides.helix(10)
  text = (
    peptides.residue('ACE', 'A', 1, helix[0], ('C', 'O'), hetero=True)
    + peptides.peptide(first=2, xyz=helix[1:9])
    + peptides.residue('NME', 'A', 10, helix[9], ('N', 'CA'), hetero=True)
    + 'TER\n'
    + peptides.line('O', 'HOH', 'A', 201, (40, 0, 0), hetero=True)
    + peptides.line('CA', 'CA', 'A', 202, (45, 0, 0), hetero=True)
    + peptides.residue('GLU', 'A', 203, HELIX[0] + [50, 0, 0], hetero=True)
    + peptides.line("C1'", 'DA', 'C', 1, (60, 0, 0))
  )
  protein = load(text)
  assert protein.sequence == 'ASWLKDVE'
  assert protein.chain_ids == ('A',)
  assert reasons(protein) == {
    ('ACE', 1): 'a cap',
    ('NME', 10): 'a cap',
    ('GLU', 203): 'a free amino acid, bonded to nothing',
  }
  assert str(protein.left_out[0]) == 'A:1 ACE (a cap)'
  assert said(protein, 'not protein, ignored: 1 CA, 1 DA')


@pytest.mark.parametrize(
  ('lines', 'reason'),
  [
    (peptides.residue('LEU', 'A', 4, HELIX[3], ('N', 'C', 'O')), 'no CA'),
    (peptides.residue('LEU', 'A', 4, HELIX[3], ('CA',)), 'no N, C'),
    (peptides.residue('LEU', 'A', 4, 0.0 * HELIX[3]), 'N, CA and C coincide'),
    (peptides.residue('LEU', 'A', 4, 1.8 * HELIX[3]), 'broken geometry: N-CA is 2.63 Å'),
    (
      peptides.residue('LEU', 'A', 4, np.outer(np.arange(5), [1.0, 0.5, 0.5])),
      'broken geometry: N, CA and C lie in a line',
    ),
    *[
      (
        peptides.line('CA', 'LEU', 'A', 4, (1.0, word, 1.0))
        + peptides.residue('LEU', 'A', 4, HELIX[3], ('N', 'C', 'O')),
        'coordinates are not numbers or beyond 100,000 Å',
      )
      for word in ('********', '     nan', '    -inf', '        ', '99999999')
    ],
  ],
)
def test_residues_left_out(load, lines, reason):
  protein = load(alternatives(lines, ''))
  assert reasons(protein) == {('LEU', 4): reason}
  assert protein.sequence == 'ASWKDVE'
  assert protein.arrays.bonded.tolist() == [True, True, False, True, True, True, False]
  assert protein.arrays.residue_index.tolist() == [0, 1, 2, 4, 5, 6, 7]
  assert np.all(np.isfinite(protein.arrays.positions))


def test_missing_oxygen_is_placed(load):
  """In the middle it follows from the next N, at the end from a helical psi."""
  protein = load(peptides.peptide(atoms=('N', 'CA', 'C')))
  np.testing.assert_allclose(protein.arrays.positions, HELIX[:, :4], atol=0.01)
  assert said(protein, '8 missing O atoms placed from the geometry: A:1 ALA,')


@pytest.mark.parametrize('name', ['OT1', 'O1', 'OXT'])
def test_terminal_oxygen_by_other_names(load, name):
  text = peptides.peptide(peptides.SEQUENCE[:7])
  text += peptides.residue('GLU', 'A', 8, HELIX[7], ('N', 'CA', 'C'))
  protein = load(text + peptides.line(name, 'GLU', 'A', 8, HELIX[7, 3] + 0.1))
  assert protein.warnings == ()
  np.testing.assert_allclose(protein.arrays.positions[7, 3], HELIX[7, 3] + 0.1, atol=1e-3)


@pytest.mark.parametrize('xyz', [('********',) * 3, (0, 0, 0)])
def test_unusable_oxygen_is_placed(load, xyz):
  text = peptides.residue('LEU', 'A', 4, HELIX[3], ('N', 'CA', 'C'))
  protein = load(alternatives(text, peptides.line('O', 'LEU', 'A', 4, xyz)))
  np.testing.assert_allclose(protein.arrays.positions[3], HELIX[3, :4], atol=0.01)
  assert said(protein, '1 missing O')


def test_oxygen_is_placed_opposite_to_the_next_nitrogen(np_rng):
  """Batched; psi as mdtraj measures it, and where there is no next N, that of a helix."""
  positions = HELIX[:, :4] + np_rng.normal(scale=0.1, size=(3, 8, 4, 3))
  bonded = np.array([True, True, True, False, True, True, True, False])
  missing = np.arange(8) % 2 == 1
  placed = residue_selection.place_oxygen(positions, bonded, missing)
  np.testing.assert_array_equal(placed[:, ~missing], positions[:, ~missing])
  traj = mdtraj.Trajectory(np.zeros((3, 4, 3)), None)
  n, ca, c, _ = np.moveaxis(positions, -2, 0)
  traj.xyz = np.stack([n, ca, c, np.roll(n, -1, axis=1)], axis=2).reshape(-1, 4, 3)
  psi = mdtraj.compute_dihedrals(traj, [[0, 1, 2, 3]], periodic=False).reshape(3, 8)
  psi = np.where(bonded, psi, residue_selection.DEFAULT_PSI)
  for index in np.argwhere(missing & np.ones((3, 8), bool)):
    atoms = (x[tuple(index)] for x in (n, ca, c))
    expected = peptides._next_atom(*atoms, 1.231, 120.1, np.rad2deg(psi[tuple(index)]) + 180.0)
    np.testing.assert_allclose(placed[(*index, 3)], expected, atol=1e-4)


def test_mirror_image_is_kept_with_a_warning(load):
  mirror = load(peptides.peptide(xyz=HELIX * [-1, 1, 1]))
  assert mirror.num_residues == 8
  assert said(mirror, 'a mirror image: 8 of 8')
  assert mirror.arrays.mirrored.tolist() == [True] * 8
  assert padding.pad(mirror.arrays, 10).mirrored.tolist() == [True] * 8 + [False] * 2
  assert load(peptides.peptide(xyz=HELIX)).arrays.mirrored is None
  backbone_only = load(peptides.peptide(xyz=HELIX * [-1, 1, 1], atoms=('N', 'CA', 'C', 'O')))
  assert backbone_only.warnings == ()
  assert backbone_only.arrays.mirrored is None
  one = HELIX.copy()
  n, ca, c, cb = one[3, 0], one[3, 1], one[3, 2], one[3, 4]
  normal = np.cross(n - ca, c - ca) / np.linalg.norm(np.cross(n - ca, c - ca))
  one[3, 4] = cb - 2.0 * np.dot(cb - ca, normal) * normal
  protein = load(peptides.peptide(xyz=one))
  assert said(protein, 'D-residues: A:4 LEU')
  assert np.flatnonzero(protein.arrays.mirrored).tolist() == [3]


def test_a_residue_without_cb_has_the_hand_of_most():
  atoms = [
    dict.fromkeys(('N', 'CA', 'C'), 0),
    *({'CA': 0, 'N': 1, 'C': 2, 'CB': k} for k in (3, 3, 4)),
  ]
  coordinates = np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.5, 0], [0, 0, -1.5], [0, 0, 1.5]])
  assert mirror_images.find(atoms, coordinates).tolist() == [True, True, True, False]
  atoms[1] = atoms[3]
  assert mirror_images.find(atoms, coordinates).tolist() == [False, False, True, False]
  assert mirror_images.find(atoms[:1], coordinates) is None


def test_clashes_are_named(load):
  copy = peptides.peptide(chain='B', offset=(0.5, 0.5, 0.5))
  assert said(load(peptides.peptide() + copy), 'closer than 1.2 Å: A:1 ALA and B:1 ALA')


# --- errors ---


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('', 'no atoms in it'),
    ('hello\nworld\n', 'no atoms in it'),
    ('data_x\n_cell.length_a 1\n', 'no atoms in it'),
    ('data_x\nloop_\n', 'not a sound PDB or mmCIF file'),
    (b'\x00\x01\xff' * 100, 'no atoms in it'),
    (gzip.compress(peptides.peptide().encode())[:200], 'cannot read'),
    (peptides.peptide(('ALA',)), r'at least 2 residues .* found A:1 ALA \(complete\)'),
    (peptides.peptide(atoms=('CA',)), r'found 8 left out \(no N, C\)'),
    (peptides.peptide(xyz=0.0 * HELIX), r'found 8 left out \(N, CA and C coincide\)'),
    (peptides.peptide(xyz=0.0 * HELIX), r'all atoms lie on one point: give a file'),
    (peptides.peptide(xyz=0.0 * HELIX + HELIX[:, :1]), r'at least 2 .* \(N, CA and C coincide\)'),
    (peptides.peptide(xyz=0.1 * HELIX), r'N-CA of A:1 ALA is 0\.146 Å, .* unit is nm, .* by ten'),
    (peptides.peptide(xyz=10.0 * HELIX), r'N-CA of A:1 ALA is 14\.600 Å, .* not Å: .* by 0\.1'),
    (peptides.line('O', 'HOH', 'A', 1, (0, 0, 0)), 'found 1 water'),
    (
      peptides.residue('ALA', 'A', '****', HELIX[0]),
      r"residue number '\*\*\*\*' cannot be read .*; number each",
    ),
  ],
)
def test_errors_name_the_file_and_the_cause(tmp_path, content, message):
  path = tmp_path / 'bad.pdb'
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(InputError, match=message) as error:
    structure_file.load_protein(path)
  assert str(path) in str(error.value)
  assert '\n' not in str(error.value)


def test_errors_without_a_file(tmp_path):
  with pytest.raises(InputError, match=r'no such structure file: .*none\.pdb'):
    structure_file.load_protein(tmp_path / 'none.pdb')
  with pytest.raises(InputError, match='is a folder; give'):
    structure_file.load_protein(tmp_path)


def test_absent_chain(load):
  water = peptides.line('O', 'HOH', 'W', 1, (50, 0, 0))
  for chain in 'CW':
    with pytest.raises(InputError, match=f"x.pdb: no protein chain '{chain}'; .* are: 'A'"):
      load(peptides.peptide() + water, chains=f'A,{chain}')


# --- through mdtraj ---


def test_from_mdtraj_chooses_the_same(load, tmp_path):
  helix = peptides.helix(11)
  text = (
    peptides.residue('ACE', 'A', 1, helix[0], ('C', 'O'))
    + peptides.peptide(('HSD', 'LYN', 'MSE', 'CYX'), first=2, xyz=helix[1:5])
    + peptides.peptide(('ALA', 'GLY', 'UNK'), first=8, xyz=helix[7:10])
    + peptides.residue('NME', 'A', 11, helix[10], ('N', 'CA'))
    + 'TER\n'
    + peptides.peptide(chain='B', offset=(30, 0, 0), atoms=('N', 'CA', 'C'))
    + 'TER\n'
    + peptides.line('O', 'HOH', 'W', 1, (50, 0, 0))
  )
  protein = load(text)
  traj = mdtraj.load(tmp_path / 'x.pdb')
  other, atom_index = backbone_atoms.select(traj, 'x')
  assert other.sequence == protein.sequence == 'HKMCAGXASWLKDVE'
  assert other.chain_ids == protein.chain_ids == ('A', 'B')
  assert [out.reason for out in other.left_out] == [out.reason for out in protein.left_out]
  for field in ('residue_index', 'chain_index', 'bonded', 'residue_type', 'mask'):
    np.testing.assert_array_equal(getattr(other.arrays, field), getattr(protein.arrays, field))
  np.testing.assert_allclose(other.arrays.positions, protein.arrays.positions, atol=1e-4)
  names = np.array([atom.name for atom in traj.topology.atoms])
  assert np.all(names[atom_index[:7]] == ['N', 'CA', 'C', 'O'])
  assert np.all(atom_index[7:, 3] == -1)
  frames = mdtraj.join([traj, traj])
  frames.xyz[1] += 1.0
  positions = backbone_atoms.positions(frames, other, atom_index)
  assert positions.dtype == np.float32
  np.testing.assert_allclose(positions[0], other.arrays.positions, atol=1e-4)
  np.testing.assert_allclose(positions[1], positions[0] + 10.0, atol=1e-4)


def test_from_mdtraj_without_chain_ids():
  """As GRO and PRMTOP files come: one chain for all, the numbers start again; N twice."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  xyz = np.concatenate([HELIX, HELIX + np.array([30, 0, 0])])
  for i, name in enumerate(peptides.SEQUENCE * 2):
    residue = top.add_residue(name, chain, resSeq=i % 8 + 1)
    for atom in (*peptides.ATOMS, 'N'):
      top.add_atom(atom, mdtraj.element.carbon, residue)
  xyz = np.concatenate([xyz, xyz[:, :1] + 7.0], axis=1)
  traj = mdtraj.Trajectory(xyz.reshape(1, -1, 3) / 10.0, top)
  protein, atom_index = backbone_atoms.select(traj, 'two')
  assert protein.chain_ids == ('', '')
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  np.testing.assert_array_equal(atom_index, 6 * np.arange(16)[:, None] + np.arange(4))
  np.testing.assert_allclose(protein.arrays.positions, xyz[:, :4], atol=1e-4)


def test_from_mdtraj_residues_of_one_number():
  """As GRO files without numbers come; and OXT ends the first molecule of a chain."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  xyz = np.concatenate([HELIX, HELIX + np.array([30, 0, 0])]).reshape(-1, 3)
  for i, name in enumerate(('LEU', 'LEU', 'GLY', 'LEU', 'LEU', 'LEU', 'VAL', 'VAL') * 2):
    residue = top.add_residue(name, chain, resSeq=1)
    for atom in peptides.ATOMS:
      top.add_atom(atom, mdtraj.element.carbon, residue)
    if i == 7:
      top.add_atom('OXT', mdtraj.element.oxygen, residue)
      xyz = np.insert(xyz, 40, xyz[39] + 1.0, axis=0)
  protein, atom_index = backbone_atoms.select(mdtraj.Trajectory(xyz[None] / 10.0, top), 'two')
  assert protein.sequence == 'LLGLLLVV' * 2
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  first = np.arange(16) * 5 + (np.arange(16) > 7)
  np.testing.assert_array_equal(atom_index, first[:, None] + np.arange(4))


def test_from_mdtraj_bonds_tell_molecules_apart():
  """As prmtop files come: one chain for all, numbers that go on, no atom of a terminus."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  xyz = np.concatenate([HELIX, HELIX + np.array([30, 0, 0])])
  carbonyl = None
  for i, name in enumerate(peptides.SEQUENCE * 2):
    residue = top.add_residue(name, chain, resSeq=i + 1)
    n, ca, c, o, cb = (top.add_atom(x, mdtraj.element.carbon, residue) for x in peptides.ATOMS)
    for bond in ((n, ca), (ca, c), (c, o), (ca, cb)):
      top.add_bond(*bond)
    if carbonyl is not None and i != 8:
      top.add_bond(carbonyl, n)
    carbonyl = c
  traj = mdtraj.Trajectory(xyz.reshape(1, -1, 3) / 10.0, top)
  protein, _ = backbone_atoms.select(traj, 'two')
  assert protein.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  assert not said(protein, 'chain breaks')
  # Of the backbone alone a missing bond is a gap.
  alone = traj.atom_slice(traj.topology.select('name N CA C O'))
  protein, _ = backbone_atoms.select(alone, 'one')
  assert protein.num_chains == 1
  assert said(protein, 'chain breaks')


def test_from_mdtraj_without_protein():
  top = mdtraj.Topology()
  top.add_atom('O', mdtraj.element.oxygen, top.add_residue('HOH', top.add_chain()))
  with pytest.raises(InputError, match=r'water box: at least 2 residues .* found 1 water'):
    backbone_atoms.select(mdtraj.Trajectory(np.zeros((1, 1, 3)), top), 'water box')


# --- real files ---

# Residues per chain, breaks, residues left out; counted in the ATOM lines of model 1.
READABLE = {
  '1A8O_MSE.pdb': ({'A': 70}, 0, 0),
  '1dix_insertion_codes.pdb': ({'A': 208}, 0, 0),
  '1k6p_altloc_digits_12.pdb': ({'A': 99, 'B': 99}, 0, 0),
  '1o1z_negative_resid_altloc.pdb': ({'A': 226}, 0, 0),
  '2JOF_backbone_only.pdb': ({'A': 20}, 0, 0),
  '3o5r_altloc_large.pdb': ({'A': 128}, 0, 0),
  '4E43_altloc_peptide_chainC_ligands.pdb': ({'A': 99, 'B': 99, 'C': 6}, 0, 0),
  '4OH9_twochain.pdb': ({'A': 51, 'B': 50}, 0, 0),
  '5a7u_zincfinger_numbering.pdb': ({'A': 27}, 0, 0),
  'A6PA6_nochain_occ0.pdb': ({'': 13}, 0, 0),
  'aaqaa_capped_ACE_NMA.pdb': ({'': 14}, 0, 2),
  # Fragments in one chain: ALA 1, GLY 2 and, a molecule of its own, again GLY 1.
  'chemfiles_psfgen.pdb': ({'A': 2}, 1, 1),
  'disordered.pdb': ({'A': 6}, 0, 0),
  'openmm_twochain_caps_LYN.pdb': ({'A': 7, 'B': 20}, 0, 2),
  'pdbtools_altloc.pdb': ({'A': 4}, 0, 1),
}
UNREADABLE = {
  'ala2_native2.pdb': r'found 2 ALA \(complete\), 2 left out \(a cap\)',
  'alanine_dipeptide_ACE_NME.pdb': r'found A:2 ALA \(complete\), 2 left out \(a cap\)',
  # Its MODEL record holds one residue, and the chain follows without a MODEL.
  'biopython_a_structure_everything_wrong.pdb': r'found 1 left out .*; several models',
  'chemfiles_atom_id_0.pdb': 'found 1 EST',
  'chemfiles_end_endmdl.pdb': 'found 4 XXX',
  'chemfiles_insertion_code.pdb': 'found 4 XXX',
  'ensemble_error_1.pdb': r'found 1 left out \(no CA, C\)',
  'incomplete_records.pdb': r'found 3 left out \(no N, C\)',
  'nonconsecutive_resSeq.pdb': r'found 3 ALA \(complete\), 2 left out \(a cap\)',
  'occupancy.pdb': r'found A:152 ASP \(complete\)',
  'openmm_altlocs2.pdb': r'found A:25 ILE \(complete\)',
  'overflow_indexing.pdb': 'found 2 water',
  'pdbtools_hetatm.pdb': r'found 2 left out \(no N, CA\), 2 left out \(no N, C\), 1 left out',
  'pdbtools_vu7.pdb': 'found 1 VU7',
}
NATIVE = {
  'native/1vii.pdb': ({'A': 36}, 0, 0),
  'native/2F4K.pdb': ({'A': 35}, 0, 0),
  'native/CLN025.pdb': ({'A': 10}, 0, 0),
  'native/NuG2.pdb': ({'A': 61, 'B': 62}, 0, 0),
  'mdcath/topologies/153lA00.pdb': ({'A': 185}, 0, 0),
  'mdcath/topologies/16pkA02.pdb': ({'A': 208}, 0, 0),
  'mdcath/topologies/1a02F00.pdb': ({'A': 53}, 0, 0),
  'mdcath/topologies/1a0aA00.pdb': ({'A': 63}, 0, 0),
  'atlas/6okd_C/6okd_C.pdb': ({'': 51}, 0, 0),
  'atlas/7lp1_A/7lp1_A.pdb': ({'': 39}, 0, 0),
  'openmm_implicit/2jof/2jof.pdb': ({'A': 20}, 0, 0),
  'openmm_implicit/2m9i/2m9i.pdb': ({'A': 34}, 0, 0),
  'openmm_implicit/6a5j/6a5j.pdb': ({'A': 13}, 0, 0),
  'openmm_implicit/cln025/cln025.pdb': ({'A': 10}, 0, 0),
  'openmm_implicit/ehee0053/ehee0053.pdb': ({'A': 40}, 0, 0),
  'openmm_implicit/fs_unf/fs_unf.pdb': ({'A': 21}, 0, 2),
  'openmm_implicit/hp35/hp35.pdb': ({'A': 35}, 0, 0),
}


def outcome(protein):
  arrays = protein.arrays
  breaks = ~arrays.bonded[:-1] & (arrays.chain_index[1:] == arrays.chain_index[:-1])
  counts = dict(collections.Counter(protein.chain_of_residue))
  return counts, int(breaks.sum()), len(protein.left_out)


def check_against_the_lines(protein, path):
  """Every atom is, number for number, one of the file's atoms of that name and residue."""
  lines = collections.defaultdict(list)
  for text in path.read_text().splitlines():
    if text.startswith(('ATOM', 'HETATM')):
      key = text[21].strip(), int(text[22:26]), text[26].strip()
      name = {'OT1': 'O'}.get(text[12:16].strip(), text[12:16].strip())
      lines[key, name].append([float(text[i : i + 8]) for i in (30, 38, 46)])
    elif text.startswith('ENDMDL'):
      break
  for i, chain in enumerate(protein.chain_of_residue):
    key = chain, int(protein.residue_number[i]), protein.insertion_code[i]
    for atom, xyz in zip(['N', 'CA', 'C', 'O'], protein.arrays.positions[i], strict=True):
      distances = np.linalg.norm(np.array(lines[key, atom]) - xyz, axis=-1)
      assert np.min(distances) < 1e-4, (key, atom)


def test_the_tables_name_every_awkward_file(shared_data):
  files = {path.name for path in (shared_data / 'nasty_structures').glob('*.pdb')}
  assert files == set(READABLE) | set(UNREADABLE)


@pytest.mark.parametrize('name', READABLE)
def test_awkward_files_that_can_be_read(shared_data, name):
  path = shared_data / 'nasty_structures' / name
  protein = structure_file.load_protein(path)
  assert outcome(protein) == READABLE[name]
  check_against_the_lines(protein, path)


@pytest.mark.parametrize('name', UNREADABLE)
def test_awkward_files_that_cannot_be_read(shared_data, name):
  with pytest.raises(InputError, match=UNREADABLE[name]):
    structure_file.load_protein(shared_data / 'nasty_structures' / name)


@pytest.mark.parametrize('name', NATIVE)
def test_good_files(shared_data, name):
  path = shared_data / name
  protein = structure_file.load_protein(path)
  assert outcome(protein) == NATIVE[name]
  assert not said(protein, 'D-residues')
  assert not said(protein, 'placed')
  check_against_the_lines(protein, path)
  traj = mdtraj.load_pdb(path, no_boxchk=True)
  same, atom_index = backbone_atoms.select(traj, 'x')
  np.testing.assert_allclose(same.arrays.positions, protein.arrays.positions, atol=1e-4)
  assert same.sequence == protein.sequence
  assert outcome(same) == outcome(protein)
  atoms = [traj.topology.atom(i).name for i in atom_index[-1]]
  assert atoms == ['N', 'CA', 'C', 'O']


def test_details_of_awkward_files(shared_data):
  def read(name):
    return structure_file.load_protein(shared_data / 'nasty_structures' / name)

  mixed = read('pdbtools_altloc.pdb')  # SER 0.53 | PRO 0.47, and ILE 0.61 | LEU 0.99
  assert mixed.residue_names == ('SER', 'GLU', 'ALA', 'LEU')
  assert reasons(mixed) == {('GLU', 26): 'no N, C'}
  fkbp = read('3o5r_altloc_large.pdb')  # MET 48: A 0.25, B 0.75
  (i,) = np.flatnonzero(fkbp.residue_number == 48)
  np.testing.assert_allclose(fkbp.arrays.positions[i, 1], [61.644, 21.720, 2.897], atol=1e-4)
  rnase = read('1dix_insertion_codes.pdb')
  codes = [(n, c) for n, c in zip(rnase.residue_number, rnase.insertion_code, strict=True) if c]
  assert codes == [(1, 'X'), (2, 'X'), (3, 'X'), (4, 'X')]
  negative = read('1o1z_negative_resid_altloc.pdb')
  assert negative.residue_number[:5].tolist() == [-3, -2, -1, 0, 1]
  selenium = read('1A8O_MSE.pdb')
  assert selenium.sequence.startswith('MDIRQGPKEPFRDYVDRFYKTLRAEQASQEVKNWMTETLLVQNANPDCK')
  twisted = read('openmm_twochain_caps_LYN.pdb')  # its PRO B 17 is built with the wrong hand
  assert said(twisted, 'D-residues: B:17 PRO')

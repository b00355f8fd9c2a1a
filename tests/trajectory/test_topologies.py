"""Whatever program reads a structure file, it finds the same residues in it."""

import gzip

import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import upsample
from tempo_jax.errors import InputError
from tempo_jax.evaluation import replica
from tempo_jax.preparation import trajectories
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import structure_file
from tempo_jax.store import store
from tempo_jax.trajectory import backbone_atoms, reader, trajectory
from tests import peptides, random_structures

# mdtraj leaves files open that it cannot read.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

HELIX = peptides.helix(8)


def as_topology(path) -> protein_lib.Protein:
  """As evaluation, up-sampling and preparation read one."""
  found, atom_index = backbone_atoms.select(reader.load_structure(path, path), str(path))
  assert atom_index.shape == (found.num_residues, 4)
  return found


def assert_same(found: protein_lib.Protein, expected: protein_lib.Protein):
  """Residues, their names in messages, chains, bonds and what was left out."""
  assert found.sequence == expected.sequence
  assert found.residue_number.tolist() == expected.residue_number.tolist()
  assert found.insertion_code == expected.insertion_code
  assert found.chain_ids == expected.chain_ids
  assert sorted(map(str, found.left_out)) == sorted(map(str, expected.left_out))
  for field in ('bonded', 'chain_index', 'residue_index', 'residue_type'):
    np.testing.assert_array_equal(getattr(found.arrays, field), getattr(expected.arrays, field))
  np.testing.assert_allclose(found.arrays.positions, expected.arrays.positions, atol=1e-3)


@pytest.mark.parametrize('seed', range(40))
@pytest.mark.parametrize('suffix', ['pdb', 'cif'])
def test_every_program_reads_the_same_residues(tmp_path, suffix, seed):
  """`tests/protein` says that these are all residues of the file."""
  path = tmp_path / f'x.{suffix}'
  path.write_text(getattr(random_structures.make(seed), suffix))
  expected = structure_file.load_protein(path)
  assert_same(as_topology(path), expected)
  if seed < 5:
    assert_same(replica.Native(path).protein, expected)
    assert_same(
      trajectories.find_protein(reader.load_structure(path, path), 'x', path)[0], expected
    )


# --- files that programs and editors leave behind ---


def two_letter_chain(text: str) -> str:
  return ''.join(f'{line[:20]}A{line[21:]}\n' for line in text.splitlines())


def mmcif(text_of_atoms: str, head: str = '') -> str:
  """The same atoms; without labels, as some programs write it."""
  columns = ('label_atom_id', 'label_comp_id', 'auth_asym_id', 'auth_seq_id')
  names = (*columns, 'Cartn_x', 'Cartn_y', 'Cartn_z', 'pdbx_PDB_model_num')
  rows = [
    f'{x[12:16].strip()} {x[17:20]} {x[21]} {x[22:26].strip()} {x[30:38]} {x[38:46]} {x[46:54]} 1'
    for x in text_of_atoms.splitlines()
  ]
  loop = '\n'.join(f'_atom_site.{name}' for name in names)
  return f'{head}data_x\nloop_\n{loop}\n' + '\n'.join(rows) + '\n'


PLAIN = peptides.peptide()
MARK = b'\xef\xbb\xbf'
MODELS = f'MODEL 1\n{PLAIN}ENDMDL\nMODEL 2\n{peptides.peptide(peptides.SEQUENCE[:5])}ENDMDL\n'
FILES = {
  'plain.pdb': PLAIN.encode(),
  'mark.pdb': MARK + PLAIN.encode(),
  'mark.cif': MARK + mmcif(PLAIN).encode(),
  'latin1.pdb': 'REMARK   1 RÉSOLUTION 2 Å\n'.encode('latin-1') + PLAIN.encode(),
  'zipped.pdb': gzip.compress(PLAIN.encode()),
  'zipped.cif.gz': gzip.compress(mmcif(PLAIN).encode()),
  'zipped.ent.gz': gzip.compress(PLAIN.encode()),
  'models.pdb': MODELS.encode(),
  'short_lines.pdb': '\n'.join(line[:54] for line in PLAIN.splitlines()).encode(),
  'restraints_first.cif': mmcif(PLAIN, 'data_comp_LIG\n_chem_comp.id LIG\n').encode(),
}


@pytest.mark.parametrize('name', FILES)
def test_any_way_to_write_a_file(tmp_path, name):
  path = tmp_path / name
  path.write_bytes(FILES[name])
  expected = structure_file.load_protein(path)
  assert expected.sequence == 'ASWLKDVE'
  np.testing.assert_allclose(expected.arrays.positions, HELIX[:, :4], atol=1e-3)
  assert_same(as_topology(path), expected)


@pytest.mark.parametrize('names', [peptides.SEQUENCE, ('ALA', 'GLY', 'ILE', 'PRO')])
def test_chain_ids_of_two_letters(tmp_path, names):
  path = tmp_path / 'x.pdb'
  second = peptides.peptide(names, chain='C', offset=(30.0, 0.0, 0.0))
  path.write_text(two_letter_chain(peptides.peptide(names, chain='B') + 'TER\n' + second))
  found = as_topology(path)
  assert found.chain_ids == ('AB', 'AC')
  assert found.residue_names == tuple(names) * 2
  assert_same(found, structure_file.load_protein(path))


@pytest.mark.parametrize('by', ['atom', 'residue'])
def test_a_structure_that_the_box_tears_is_refused(tmp_path, by):
  torn = HELIX + np.array([5.0, 10.0, 10.0])
  out = torn[..., :1] > 8.0 if by == 'atom' else torn[:, :1, :1] > 8.0
  path = tmp_path / 'x.pdb'
  box = 'CRYST1   12.000   40.000   40.000  90.00  90.00  90.00 P 1           1\n'
  path.write_text(box + peptides.peptide(xyz=torn - out * np.array([12.0, 0.0, 0.0])))
  for read in (structure_file.load_protein, as_topology):
    with pytest.raises(InputError, match=r'x.pdb: broken over the periodic box, .*whole'):
      read(path)


def test_a_gro_file_whose_numbers_go_on(tmp_path):
  """OXT ends the first of two molecules."""
  atoms = []
  for k, shift in enumerate((0.0, 30.0)):
    for i, (name, xyz) in enumerate(zip(peptides.SEQUENCE, HELIX, strict=True)):
      for atom, x in zip(peptides.ATOMS, xyz + np.array([shift, 0.0, 0.0]), strict=True):
        atoms.append((name, 8 * k + i + 1, atom, x))
    atoms.append((peptides.SEQUENCE[-1], 8 * k + 8, 'OXT', HELIX[-1, 3] + [shift + 1.0, 0.0, 0.0]))
  lines = [
    f'{number:5d}{name:<5}{atom:>5}{i % 100_000:5d}' + ''.join(f'{x / 10.0:8.3f}' for x in xyz)
    for i, (name, number, atom, xyz) in enumerate(atoms, start=1)
  ]
  path = tmp_path / 'x.gro'
  path.write_text('two\n' + f'{len(lines)}\n' + '\n'.join(lines) + '\n   9.0   9.0   9.0\n')
  found = as_topology(path)
  assert found.sequence == 'ASWLKDVE' * 2
  assert found.arrays.chain_index.tolist() == [0] * 8 + [1] * 8
  assert found.arrays.residue_index.tolist() == [*range(8)] * 2


# --- together with a trajectory ---


def shaken(path, native, xyz, rng, box=None, moved=None) -> np.ndarray:
  """Writes ten frames, 0.2 ns apart, of atoms [N, 3] Å; `moved` [10, N, 3] Å is added on disk."""
  frames = xyz + 0.05 * rng.normal(size=(10, *xyz.shape))
  on_disk = frames if moved is None else frames + moved
  traj = mdtraj.Trajectory(on_disk / 10.0, mdtraj.load(str(native)).topology)
  traj.time = 200.0 * np.arange(1, 11)
  if box is not None:
    traj.unitcell_lengths, traj.unitcell_angles = np.full((10, 3), box / 10.0), np.full((10, 3), 90)
  traj.save(str(path))
  return frames


def by_every_program(tmp_path, native, file) -> dict[str, np.ndarray]:
  """[10, L, 4, 3] Å: what evaluation, up-sampling and preparation make of a trajectory."""
  trajectories.prepare(native, [file], tmp_path / 'store', name='x', num_workers=1)
  return {
    'evaluate': replica.Native(native).read(file).positions,
    'upsample': upsample.read_coarse(str(native), str(file)).positions[0],
    'prepare': store.Store(tmp_path / 'store').read('x/T300/R1'),
  }


@pytest.mark.parametrize('hetero', [False, True])
def test_a_free_amino_acid_is_nowhere(tmp_path, np_rng, hetero):
  """Sample, then evaluate with the same structure; prepare and up-sample its MD."""
  native = tmp_path / 'native.pdb'
  free = HELIX[0] + [30.0, 0.0, 0.0]
  native.write_text(PLAIN + 'TER\n' + peptides.residue('GLU', 'A', 203, free, hetero=hetero))
  protein = structure_file.load_protein(native)
  assert [out.reason for out in protein.left_out] == ['a free amino acid, bonded to nothing']
  xyz = np.concatenate([HELIX, free[None]]).reshape(-1, 3)
  frames = shaken(tmp_path / 'md.xtc', native, xyz, np_rng)
  expected = frames.reshape(10, 9, 5, 3)[:, :8, :4]
  for name, found in by_every_program(tmp_path, native, tmp_path / 'md.xtc').items():
    np.testing.assert_allclose(found, expected, atol=0.011, err_msg=name)
  sampled = trajectory.Trajectory(expected[None].astype(np.float32), protein, 0.01)
  trajectory.save_structure(tmp_path / 'topology.pdb', protein)
  sampled.save(tmp_path / 'sampled.xtc')
  found = replica.Native(native).read(tmp_path / 'sampled.xtc').positions
  np.testing.assert_allclose(found, expected, atol=0.011)


def test_a_chain_that_jumps_over_the_box_comes_back(tmp_path, np_rng):
  native, box = tmp_path / 'native.pdb', 45.0
  shift = np.array([0.0, 12.0, 0.0])
  native.write_text(PLAIN + 'TER\n' + peptides.peptide(chain='B', offset=shift) + 'TER\nEND\n')
  xyz = np.concatenate([HELIX, HELIX + shift])
  moved = np.zeros((10, 16, 5, 3))
  moved[3:7, 8:] = [0.0, -box, box]
  file = tmp_path / 'md.xtc'
  frames = shaken(file, native, xyz.reshape(-1, 3), np_rng, box, moved.reshape(10, -1, 3))
  expected = frames.reshape(10, 16, 5, 3)[:, :, :4]
  for name, found in by_every_program(tmp_path, native, file).items():
    np.testing.assert_allclose(found, expected, atol=0.011, err_msg=name)


def test_a_time_step_that_contradicts_the_file_is_told(tmp_path, np_rng, capsys):
  native, file = tmp_path / 'native.pdb', tmp_path / 'md.xtc'
  native.write_text(PLAIN)
  shaken(file, native, HELIX.reshape(-1, 3), np_rng)
  said = f'warning: {file}: its frames are 0.2 ns apart, it says; --dt_ns=10 is used'
  trajectories.prepare(native, [file], tmp_path / 'store', dt_ns=10.0, num_workers=1)
  assert said in capsys.readouterr().out
  upsample.read_coarse(str(native), str(file), 10.0)
  assert said in capsys.readouterr().out

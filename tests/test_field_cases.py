"""Files from the field that once went wrong: the right result, or one clear line, by every program.

`RIGHT.txt` in each folder of field_cases says what is right; each folder has a test of its name.
Small inputs that show the same without these files are tested where the code is.
"""

import gzip
import itertools
import pathlib

import numpy as np
import pytest

from tempo_jax.cli import upsample
from tempo_jax.errors import InputError
from tempo_jax.evaluation import replica
from tempo_jax.geometry import bonds, ideal
from tempo_jax.metrics import validity
from tempo_jax.preparation import trajectories
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import structure_file
from tempo_jax.store import store
from tempo_jax.trajectory import reader
from tempo_jax.trajectory import trajectory as trajectory_lib

# mdtraj leaves files open that it cannot read, and misses netCDF4.
pytestmark = [
  pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
  pytest.mark.filterwarnings('ignore:.*netCDF4:UserWarning'),
]


@pytest.fixture
def folder(shared_data, request) -> pathlib.Path:
  """The folder that a test is named after."""
  name = request.node.originalname.removeprefix('test_')
  return shared_data / 'field_cases' / name


def as_sample_reads(path):
  return structure_file.load_protein(path)


def as_evaluate_reads(path):
  return replica.Native(path).protein


def as_preparation_reads(path):
  structure = reader.load_structure(path, path)
  return trajectories.find_protein(structure, 'x', path)[0]


READERS = (as_sample_reads, as_evaluate_reads, as_preparation_reads)
every_reader = pytest.mark.parametrize('read', READERS)
topology_readers = pytest.mark.parametrize('read', READERS[1:])


def breaks(protein: protein_lib.Protein) -> int:
  """Bonds that miss within chains."""
  arrays = protein.arrays
  same = arrays.chain_index[1:] == arrays.chain_index[:-1]
  return int(np.count_nonzero(same & ~arrays.bonded[:-1]))


def outcome(protein: protein_lib.Protein) -> tuple[int, int, int]:
  """Residues, chains, breaks."""
  return protein.num_residues, protein.num_chains, breaks(protein)


def one_line(error) -> str:
  message = str(error.value)
  assert '\n' not in message
  return message


def read_or_refused(read, path, words: str) -> protein_lib.Protein | None:
  """What is read; None for a line that says such words."""
  try:
    return read(path)
  except InputError as error:
    message = str(error)
  assert words in message
  assert '\n' not in message
  return None


def prepared(tmp_path, topology, file, **kwargs) -> store.Store:
  trajectories.prepare(topology, [file], tmp_path / 'store', num_workers=1, name='x', **kwargs)
  return store.Store(tmp_path / 'store')


def test_the_table_has_every_folder(shared_data):
  folders = {path.name for path in (shared_data / 'field_cases').iterdir() if path.is_dir()}
  tests = {name.removeprefix('test_') for name in globals() if name.startswith('test_')}
  assert folders <= tests
  assert all((shared_data / 'field_cases' / name / 'RIGHT.txt').is_file() for name in folders)


# --- which atoms make a residue, and which residues a chain ---


def peptide_bonds(protein: protein_lib.Protein) -> np.ndarray:
  """[L - 1] Å."""
  return np.linalg.norm(protein.arrays.positions[1:, 0] - protein.arrays.positions[:-1, 2], axis=-1)


def conformers(path: pathlib.Path) -> dict[int, list[dict[str, np.ndarray]]]:
  """By residue number: N and C [3] Å of each conformer that has them."""
  content = path.read_bytes()
  text = (gzip.decompress(content) if path.suffix == '.gz' else content).decode()
  atoms: dict[int, dict[str, dict[str, np.ndarray]]] = {}
  for line in text.splitlines():
    if line.startswith('ATOM'):
      xyz = np.array([float(line[i : i + 8]) for i in (30, 38, 46)])
      by_name = atoms.setdefault(int(line[22:26]), {}).setdefault(line[12:16].strip(), {})
      by_name[line[16].strip()] = xyz
  found = {}
  for number, by_name in atoms.items():
    letters = {letter for name in ('N', 'C') for letter in by_name[name]} - {''} or {''}
    found[number] = [
      {name: by_name[name].get(x, by_name[name].get('')) for name in ('N', 'C')} for x in letters
    ]
  return found


def least_strain(here, there, before: np.ndarray | None, after: np.ndarray | None) -> float:
  """Å: of all pairs of conformers of two residues, the smallest worst deviation of three bonds."""
  strains = []
  for a, b in itertools.product(here, there):
    if any(xyz is None for xyz in (*a.values(), *b.values())):
      continue
    steps = [b['N'] - a['C']]
    steps += [a['N'] - before] if before is not None else []
    steps += [after - b['C']] if after is not None else []
    strains.append(np.abs(np.linalg.norm(steps, axis=-1) - ideal.C_N).max())
  return float(min(strains))


@every_reader
@pytest.mark.parametrize('name', ['altloc_crossing_occupancies.pdb', 'qfit_multiconformer.pdb.gz'])
def test_altloc_mixed(folder, read, name):
  """No bond is above 1.5 Å, but where no choice gives a better one.

  Of the qfit entry no choice keeps all below: without residues 40 and 99, one of 1.53 Å is left.
  """
  path = folder / name
  protein, choices = read(path), conformers(path)
  numbers = protein.residue_number.tolist()
  assert set(numbers) == choices.keys()
  assert outcome(protein) == (len(choices), 1, 0)
  lengths, positions = peptide_bonds(protein), protein.arrays.positions
  for i in np.flatnonzero(lengths > 1.5).tolist():
    around = [choices[number] for number in numbers[i : i + 2]]
    before = positions[i - 1, 2] if i else None
    after = positions[i + 2, 0] if i + 2 < len(positions) else None
    chosen = np.abs(lengths[max(0, i - 1) : i + 2] - ideal.C_N).max()
    assert chosen < least_strain(*around, before, after) + 2e-3, numbers[i]


@pytest.mark.parametrize('name', ['dimer_continuing.gro', 'openmm_from_amber_dimer.pdb'])
@every_reader
def test_amber_dimer_chains(folder, read, name):
  if name.endswith('.gro') and read is as_sample_reads:
    with pytest.raises(InputError, match=r'dimer_continuing\.gro'):
      read(folder / name)
    return
  protein = read(folder / name)
  assert (protein.num_chains, breaks(protein)) == (2, 0)
  # Equal chains, counted from their own first residue.
  half = protein.num_residues // 2
  assert protein.arrays.residue_index.tolist() == [*range(half)] * 2
  assert protein.sequence[:half] == protein.sequence[half:]


def test_amber_dimer_chains_of_a_prmtop(shared_data, tmp_path):
  folder = shared_data / 'field_cases' / 'amber_dimer_chains'
  topology, file = folder / 'ava_aaa.parm7', folder / 'ava_aaa_rep.nc'
  coarse = upsample.read_coarse(str(topology), str(file), dt_ns=0.2).protein
  (entry,) = prepared(tmp_path, topology, file, dt_ns=0.2).entries
  for found in (coarse.arrays, entry):
    assert found.chain_index.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.residue_index.tolist() == [0, 1, 2, 0, 1, 2]
  assert coarse.sequence == entry.sequence == 'AVAAAA'


@every_reader
@pytest.mark.parametrize('kind', ['atom', 'hetatm'])
def test_amino_acid_ligand(folder, read, kind):
  protein = read(folder / f'ligand_glu_{kind}.pdb')
  assert outcome(protein) == (76, 1, 0)
  assert [(out.residue_name, out.reason) for out in protein.left_out] == [
    ('GLU', 'a free amino acid, bonded to nothing')
  ]


@pytest.mark.parametrize('kind', ['atom', 'hetatm'])
def test_amino_acid_ligand_from_sample_to_evaluate(shared_data, tmp_path, kind):
  folder = shared_data / 'field_cases' / 'amino_acid_ligand'
  structure = folder / f'ligand_glu_{kind}.pdb'
  native = replica.Native(structure)
  assert native.read(folder / 'ref.xtc').positions.shape[1] == 76
  protein = structure_file.load_protein(structure)
  positions = np.repeat(protein.arrays.positions[None, None], 3, axis=1)
  trajectory_lib.save_structure(tmp_path / 'topology.pdb', protein)
  trajectory_lib.Trajectory(positions, protein, 0.01).save(tmp_path / 'sampled.xtc')
  found = native.read(tmp_path / 'sampled.xtc')
  np.testing.assert_allclose(found.positions, positions[0], atol=0.011)


@every_reader
def test_merged_copies_left_justified(folder, read):
  left, right = (read(folder / f'homodimer_same_id_{side}just.pdb') for side in ('left', 'right'))
  for protein in (left, right):
    assert outcome(protein) == (152, 2, 0)
  np.testing.assert_allclose(left.arrays.positions, right.arrays.positions, atol=1e-4)


@every_reader
def test_merged_equal_numbers(folder, read):
  """All residues have the number 1: neighbours of one name are two residues."""
  path = folder / 'all_resid_1.pdb.gz'
  model = gzip.decompress(path.read_bytes()).decode().partition('ENDMDL')[0].splitlines()
  ca = [line for line in model if line[:4] == 'ATOM' and line[12:16].strip() == 'CA']
  assert len(ca) == 277
  if protein := read_or_refused(read, path, 'number'):
    assert protein.num_residues == len(ca)
    xyz = [[float(line[i : i + 8]) for i in (30, 38, 46)] for line in ca]
    np.testing.assert_allclose(protein.arrays.positions[:, 1], xyz, atol=1e-3)


@every_reader
@pytest.mark.parametrize('name', ['same_auth_same_label_twice', 'same_auth_two_label'])
def test_mmcif_same_author_chain(folder, read, name):
  if protein := read_or_refused(read, folder / f'{name}.cif', 'chain'):
    assert outcome(protein) == (40, 2, 0)


@every_reader
def test_mmcif_same_author_chain_without_numbers(shared_data, read):
  path = shared_data / 'field_cases' / 'mmcif_same_author_chain' / 'seq_all_dots.cif'
  if protein := read_or_refused(read, path, 'number'):
    assert outcome(protein) == (20, 1, 0)
    assert len(set(protein.residue_number.tolist())) == 20


@every_reader
def test_modified_residues_at_end(folder, read):
  protein = read(folder / 'hetatm_mse_at_end.cif')
  assert outcome(protein) == (20, 1, 0)
  assert np.all(np.diff(protein.residue_number) == 1)
  assert protein.sequence == 'MQIFVKTLTGKTITLEVEPS'
  assert any('A:106 MLY as LYS, A:111 MLY as LYS' in line for line in protein.warnings)


@every_reader
def test_two_letter_chains_topology(folder, read):
  protein = read(folder / 'two_letter_chain.pdb')
  assert protein.chain_ids == ('AB', 'AC')
  assert protein.sequence == 'MQIFVKTLTGKT' * 2
  assert outcome(protein) == (24, 2, 0)


@every_reader
def test_cyclic_peptide(folder, read):
  """The ring is kept closed."""
  protein = read(folder / '5vav.pdb')
  assert outcome(protein) == (14, 1, 0)
  assert protein.arrays.ring.tolist() == [-1] * 13 + [0]
  here, there = bonds.pairs(protein.arrays.bonds)
  assert (here[-1], there[-1]) == (13, 0)
  # As all the others, the bond that closes it counts in the checks.
  assert validity.c_n_max(protein.arrays.positions, protein.arrays.bonds) < 1.5
  opened = protein.arrays.positions + np.linspace(0.0, 3.0, 14)[:, None, None]
  assert validity.c_n_max(opened, protein.arrays.bonds) > 4.0


# --- which bonds are bonds ---


@every_reader
def test_stretched_bonds_4hhb(folder, read):
  protein = read(folder / '4hhb.pdb.gz')
  assert outcome(protein) == (574, 4, 0)
  assert protein.left_out == ()


@every_reader
@pytest.mark.parametrize('name', ['pbc_cut.pdb', 'pbc_cut_by_residue.pdb'])
def test_torn_by_box_in_sample(folder, read, name):
  if protein := read_or_refused(read, folder / name, 'whole'):
    # It was made whole.
    assert outcome(protein) == (76, 1, 0)
    assert peptide_bonds(protein).max() < 1.5


# --- names of residues ---


@every_reader
def test_unknown_residues_silent(folder, read):
  unknown = read(folder / 'poly_unk.pdb')
  assert unknown.sequence == 'X' * 20
  assert any('20 unknown amino acids' in line for line in unknown.warnings)
  assert read(folder / 'glycopeptide.pdb').sequence == 'NANAN'
  phosphorylated = read(folder / 's1p_amber_phospho.pdb')
  letters = dict(zip(phosphorylated.residue_number, phosphorylated.sequence, strict=True))
  assert [letters[number] for number in (7, 20, 59)] == ['T', 'S', 'Y']
  assert 'X' not in phosphorylated.sequence


# --- how files are written ---


@every_reader
def test_byte_order_mark(folder, tmp_path, read):
  protein = read(folder / 'bom.cif')
  assert outcome(protein) == (20, 1, 0)
  (tmp_path / 'without.cif').write_bytes((folder / 'bom.cif').read_bytes()[3:])
  without = structure_file.load_protein(tmp_path / 'without.cif')
  assert protein.sequence == without.sequence
  np.testing.assert_allclose(protein.arrays.positions, without.arrays.positions, atol=1e-4)


@every_reader
def test_last_line_54_columns(folder, read):
  assert outcome(read(folder / 'cols_to_54_noend_nl.pdb')) == (3, 1, 0)


@every_reader
@pytest.mark.parametrize(
  'name', ['no_label_asym_seq', 'phenix_restraints_first', 'two_blocks_first_empty']
)
def test_mmcif_blocks_and_labels(folder, read, name):
  assert outcome(read(folder / f'{name}.cif')) == (20, 1, 0)


@every_reader
@pytest.mark.parametrize(('name', 'length'), [('gz_named_pdb.pdb', 12), ('jof_latin1.pdb', 20)])
def test_latin1_topology(folder, read, name, length):
  assert outcome(read(folder / name)) == (length, 1, 0)


def test_latin1_topology_of_a_trajectory(shared_data, tmp_path):
  folder = shared_data / 'field_cases' / 'latin1_topology'
  topology, file = folder / 'jof_latin1.pdb', folder / 'jof_coarse.xtc'
  coarse = upsample.read_coarse(str(topology), str(file), dt_ns=0.2).positions[0]
  judged = replica.Native(topology).read(file).positions
  stored = prepared(tmp_path, topology, file, dt_ns=0.2).read('x/T300/R1')
  np.testing.assert_allclose(judged, coarse, atol=1e-3)
  np.testing.assert_allclose(stored, coarse, atol=1e-3)


@topology_readers
def test_nmr_unequal_models(folder, read):
  """Model 1, as sample reads it."""
  path = folder / '2axd.pdb.gz'
  expected, found = structure_file.load_protein(path), read(path)
  assert found.sequence == expected.sequence
  np.testing.assert_array_equal(found.residue_number, expected.residue_number)
  np.testing.assert_allclose(found.arrays.positions, expected.arrays.positions, atol=1e-3)


# --- trajectories ---


def between_chains(positions: np.ndarray, protein: protein_lib.Protein) -> np.ndarray:
  """[F] Å, from the centre of the first chain to that of the second."""
  first = protein.arrays.chain_index == 0
  ca = positions[:, :, 1]
  return np.linalg.norm(ca[:, first].mean(axis=1) - ca[:, ~first].mean(axis=1), axis=-1)


def test_chain_jumps_over_box(folder, tmp_path):
  topology = folder / 'dimer.pdb'
  native = replica.Native(topology)
  good = native.read(folder / 'dimer_good.xtc').positions
  apart = between_chains(good, native.protein)
  assert np.ptp(apart) < 5.0
  jumps = native.read(folder / 'dimer_chainB_jumps.xtc').positions
  np.testing.assert_allclose(between_chains(jumps, native.protein), apart, atol=0.05)
  opened = prepared(tmp_path, topology, folder / 'dimer_chainB_jumps.xtc')
  stored = opened.read('x/T300/R1')
  np.testing.assert_allclose(between_chains(stored, native.protein), apart, atol=0.05)
  coarse = upsample.read_coarse(str(topology), str(folder / 'dimer_coarse_jumps.xtc'), dt_ns=0.2)
  for positions in coarse.positions:
    found = between_chains(positions, coarse.protein)
    assert apart.min() - 2.0 < found.min()
    assert found.max() < apart.max() + 2.0
  bonded = native.protein.arrays.bonded
  for positions in (jumps, stored, coarse.positions[0]):
    assert validity.c_n_max(positions, bonded).max() < 2.0


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('last_frame_off', r'its time steps vary, .*\(after frame [1-9]\d*\)'),
    ('overlap_restart', r'its times go back after frame [1-9]\d*, .*: drop the frames'),
    ('late_100us', r'its times, .* are rounded to .*--dt_ns'),
    ('truncated', r'beyond frame 39 \(40 good frames\)'),
  ],
)
def test_restart_times(folder, tmp_path, name, message):
  topology, file = folder / 'bpti.pdb', folder / f'{name}.xtc'
  with pytest.raises(InputError, match=rf'{name}.xtc: .*{message}') as error:
    prepared(tmp_path, topology, file)
  one_line(error)
  assert not (tmp_path / 'store').exists()
  if name == 'late_100us':
    (entry,) = prepared(tmp_path, topology, file, dt_ns=0.01).entries
    assert entry.dt_ns == 0.01


def test_time_overridden(folder, shared_data, tmp_path, capsys):
  topology, file = shared_data / 'field_cases' / 'restart_times' / 'bpti.pdb', folder / 'good.xtc'
  said = 'good.xtc: its frames are 0.01 ns apart, it says; --dt_ns=10 is used'
  (entry,) = prepared(tmp_path, topology, file, dt_ns=10.0).entries
  assert entry.dt_ns == 10.0
  assert said in capsys.readouterr().out
  upsample.read_coarse(str(topology), str(file), dt_ns=10.0)
  assert said in capsys.readouterr().out
  upsample.read_coarse(str(topology), str(file), dt_ns=0.01)
  assert 'warning' not in capsys.readouterr().out

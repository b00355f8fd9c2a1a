"""The reader of trajectory files, against mdtraj's own loading."""

import contextlib
import gc
import pathlib
import subprocess
import sys
import warnings

import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.trajectory import backbone_atoms, reader
from tests import peptides

# mdtraj leaves open what it fails to read.
pytestmark = pytest.mark.filterwarnings('ignore:unclosed file:ResourceWarning')
ROOT = pathlib.Path(__file__).parents[2]
NUM_FRAMES, NUM_ATOMS = 100, 40
# Formats, and how far a coordinate is rounded, nm.
ROUNDING = {'xtc': 5.1e-4, 'trr': 1e-6, 'dcd': 1e-6, 'h5': 1e-6, 'nc': 1e-6, 'pdb': 5.1e-5}
NAMES_ATOMS = ('pdb', 'pdb.gz', 'cif', 'h5')
HAS_TIMES = ('xtc', 'trr', 'h5', 'nc')
KNOWS_LENGTH = ('xtc', 'trr', 'dcd', 'h5', 'nc')
FORMATS = (*ROUNDING, 'pdb.gz', 'cif')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('trajectories')


@pytest.fixture(scope='module')
def written(folder):
  """A helix of 8 residues with CB in 100 shaken frames 10 ps apart, the first at 5 ps."""
  rng = np.random.default_rng(3)
  (folder / 'start.pdb').write_text(peptides.peptide())
  start = mdtraj.load(folder / 'start.pdb')
  xyz = start.xyz + rng.normal(scale=0.3, size=(NUM_FRAMES, NUM_ATOMS, 3))
  xyz[0] = start.xyz[0]
  return mdtraj.Trajectory(
    xyz.astype(np.float32), start.topology, time=5.0 + 10.0 * np.arange(NUM_FRAMES)
  )


@pytest.fixture(scope='module')
def file_of(folder, written):
  """file_of('xtc'): the `TrajectoryFile` of these frames."""

  def make(extension):
    path = folder / f'run.{extension}'
    if not path.exists():
      with reader.quiet():
        written.save(str(path))
    return reader.TrajectoryFile(path, written.topology, folder / 'start.pdb')

  return make


def loaded(file):
  """What mdtraj loads at once."""
  names_atoms = str(file.path).endswith(NAMES_ATOMS)
  with reader.quiet():
    return mdtraj.load(str(file.path), **({} if names_atoms else {'top': file.atoms}))


def joined(blocks):
  return [np.concatenate([getattr(x, name) for x in blocks]) for name in ('xyz', 'time')]


@pytest.mark.parametrize('extension', FORMATS)
def test_blocks_are_what_mdtraj_loads(file_of, written, extension):
  file = file_of(extension)
  expected = loaded(file)
  blocks = list(file.blocks(40))
  assert [len(block) for block in blocks] == [40, 40, 20]
  xyz, time = joined(blocks)
  np.testing.assert_array_equal(xyz, expected.xyz)
  # Lengths are nm, whatever the unit of the format.
  np.testing.assert_allclose(xyz, written.xyz, atol=ROUNDING.get(extension, 5.1e-5))
  if extension in HAS_TIMES:
    np.testing.assert_allclose(time, 5.0 + 10.0 * np.arange(NUM_FRAMES))  # ps
  else:
    assert np.issubdtype(time.dtype, np.integer)
  (whole,) = file.blocks()
  np.testing.assert_array_equal(whole.xyz, xyz)
  np.testing.assert_array_equal(whole.time, time)


@pytest.mark.parametrize('extension', FORMATS)
@pytest.mark.parametrize('stride', [1, 7, 99, 1000])
def test_read_takes_every_so_many_frames(file_of, extension, stride):
  file = file_of(extension)
  expected = loaded(file)[::stride]
  found = file.read(stride)
  np.testing.assert_array_equal(found.xyz, expected.xyz)
  if extension in HAS_TIMES:
    np.testing.assert_array_equal(found.time, expected.time)


def test_a_stride_goes_on_from_block_to_block(file_of, written):
  file = file_of('xtc')
  np.testing.assert_array_equal(file.read(7, frames=11).time, written.time[::7])
  np.testing.assert_array_equal(file.read(30, frames=11).time, written.time[::30])


@pytest.mark.parametrize('extension', FORMATS)
def test_what_is_known_without_reading(file_of, extension):
  file = file_of(extension)
  assert file.num_frames() == (NUM_FRAMES if extension in KNOWS_LENGTH else None)
  assert reader.holds_its_atoms(file.path) == (extension in NAMES_ATOMS)
  if extension in ('xtc', 'trr', 'dcd', 'h5', 'nc'):
    assert reader.num_atoms(file.path) == NUM_ATOMS


@pytest.mark.parametrize('extension', HAS_TIMES)
def test_the_time_step_is_that_of_the_file(file_of, extension):
  blocks, dt_ns = file_of(extension).even_blocks()
  assert dt_ns == 0.01
  assert sum(len(block) for block in blocks) == NUM_FRAMES


@pytest.mark.parametrize('extension', ['dcd', 'pdb', 'cif'])
def test_a_time_step_must_be_given_where_the_format_has_none(file_of, extension):
  with pytest.raises(InputError, match=rf'run\.{extension}: its format has no times.*--dt_ns'):
    file_of(extension).even_blocks()
  blocks, dt_ns = file_of(extension).even_blocks(0.2)
  assert dt_ns == 0.2
  assert sum(len(block) for block in blocks) == NUM_FRAMES


def test_uneven_times_are_found_beyond_the_first_block(written, folder):
  late = written[:]
  late.time = np.where(np.arange(NUM_FRAMES) < 80, late.time, late.time + 3.0)
  late.save(str(folder / 'late.xtc'))
  file = reader.TrajectoryFile(folder / 'late.xtc', written.topology, 'start.pdb')
  blocks, dt_ns = file.even_blocks(frames=40)
  assert dt_ns == 0.01
  message = r'late\.xtc: its time steps vary, between 10 and 13 ps \(after frame 79\)'
  with pytest.raises(InputError, match=message):
    list(blocks)


def at_times(written, path, time):
  frames = written[:]
  frames.time = time
  frames.save(str(path))
  return reader.TrajectoryFile(path, written.topology, 'start.pdb')


@pytest.mark.parametrize('frames', [None, 40])
def test_the_frame_out_of_step_is_named(written, folder, frames):
  time = 10.0 * np.arange(NUM_FRAMES)
  last = at_times(written, folder / 'last.xtc', np.append(time[:-1], time[-1] - 5.0))
  message = rf'between 5 and 10 ps \(after frame {NUM_FRAMES - 2}\): .* leave out those'
  with pytest.raises(InputError, match=message):
    list(last.even_blocks(frames=frames)[0])
  again = np.concatenate([time[:30], time[25:-5]])
  repeated = at_times(written, folder / 'repeated.xtc', again)
  message = r'go back after frame 29, from 290 to 250 ps: drop the frames .* restart has repeated'
  with pytest.raises(InputError, match=message):
    list(repeated.even_blocks(frames=frames)[0])


def test_times_that_cannot_tell_frames_apart(written, folder):
  file = at_times(written, folder / 'far.xtc', 1e8 + 10.0 * np.arange(NUM_FRAMES))
  with pytest.raises(InputError, match=r'around 1e\+08 ps, are rounded to 8 ps: say .*--dt_ns'):
    file.even_blocks()
  assert file.contradiction(0.01) is None
  assert file.even_blocks(0.01)[1] == 0.01


@pytest.mark.parametrize('extension', FORMATS)
def test_who_says_another_time_step_is_told(file_of, extension):
  file = file_of(extension)
  assert file.contradiction(0.01) is None
  said = file.contradiction(10.0)
  if extension in HAS_TIMES:
    assert said == f'{file.path}: its frames are 0.01 ns apart, it says; --dt_ns=10 is used'
  else:
    assert said is None


@pytest.mark.parametrize('extension', FORMATS)
def test_the_backbone_is_found_among_all_atoms(file_of, written, extension):
  """Positions in Å of N, CA, C, O; the CB stay out."""
  file = file_of(extension)
  top = file.path if extension in NAMES_ATOMS else file.source
  structure = reader.load_structure(top, file.path)
  assert structure.n_atoms == NUM_ATOMS
  protein, atom_index = backbone_atoms.select(structure, 'run')
  assert (protein.num_residues, protein.name) == (8, 'run')
  found = np.concatenate(
    [backbone_atoms.positions(x, protein, atom_index) for x in file.blocks(40)]
  )
  backbone = [atom.index for atom in written.topology.atoms if atom.name != 'CB']
  expected = 10.0 * written.xyz[:, backbone].reshape(NUM_FRAMES, 8, 4, 3)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, expected, atol=10 * ROUNDING.get(extension, 5.1e-5))


def cut(file, share=0.617):
  """The first part of its bytes, as an interrupted copy leaves them."""
  path = file.path.with_name(f'cut_{file.path.name}')
  content = file.path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  return reader.TrajectoryFile(path, file.atoms, file.source)


@pytest.mark.parametrize(
  ('extension', 'what'),
  [
    ('pdb', 'frame 61 has .* atoms, the first one has 40: give a sound file'),
    ('pdb.gz', 'cannot read .*end-of-stream'),
    ('cif', 'is not a sound PDB or mmCIF file: .*'),
  ],
)
def test_a_truncated_structure_is_one_line(file_of, extension, what):
  file = cut(file_of(extension))
  with pytest.raises(InputError, match=what) as error:
    list(file.blocks(40))
  assert str(file.path) in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('extension', ['xtc', 'trr', 'h5', 'nc'])
def test_a_truncated_file_is_one_line(file_of, extension):
  file = cut(file_of(extension))
  with pytest.raises(InputError) as error:
    list(file.blocks(40))
  message = str(error.value)
  assert message.startswith(f'{file.path}: mdtraj cannot read it ')
  assert ': give the topology that belongs to it, or a sound file (' in message
  assert '\n' not in message
  # However large the blocks are.
  assert ('beyond frame 60 (61 good frames)' in message) == (extension in ('xtc', 'trr'))
  del error
  with warnings.catch_warnings():
    # mdtraj leaves such a file open: it is closed here, and not in a later test.
    warnings.simplefilter('ignore')
    gc.collect()


def test_of_a_truncated_dcd_whole_frames_are_read(file_of, written):
  """Its header may be wrong: simulations that were stopped leave such files."""
  file = cut(file_of('dcd'))
  xyz, _ = joined(list(file.blocks(40)))
  assert len(xyz) == file.num_frames() == 61
  np.testing.assert_allclose(xyz, written.xyz[:61], atol=1e-6)


@pytest.mark.parametrize('extension', FORMATS)
def test_other_files_are_one_line(file_of, folder, written, extension):
  for content in (b'', b'no trajectory\n' * 99):
    path = folder / f'other.{extension}'
    path.write_bytes(content)
    file = reader.TrajectoryFile(path, written.topology, 'start.pdb')
    with pytest.raises(InputError, match=rf'other\.{extension}: ') as error:
      file.read()
    assert '\n' not in str(error.value)
    assert reader.num_atoms(path) is None
  gone = reader.TrajectoryFile(folder / f'gone.{extension}', written.topology, 'start.pdb')
  with pytest.raises(InputError, match=rf'gone\.{extension}: '):
    gone.read()
  assert gone.num_frames() is None


@pytest.mark.parametrize('extension', FORMATS)
def test_another_number_of_atoms_is_one_line(file_of, written, extension):
  file = file_of(extension)
  fewer = written.topology.subset(range(NUM_ATOMS - 5))
  with pytest.raises(InputError, match=rf'run\.{extension}: .*(35|40).*topology that belongs'):
    reader.TrajectoryFile(file.path, fewer, 'fewer.pdb').read()


def test_a_topology_that_is_none_is_one_line(file_of, folder):
  (folder / 'none.pdb').write_text('no structure\n')
  for name, what in (
    ('none.pdb', 'none.pdb: no atoms in it: give'),
    ('gone.pdb', 'no such structure file: .*gone.pdb'),
    ('gone.prmtop', 'gone.prmtop: mdtraj cannot read it as a topology: give'),
    ('gone.psf', 'gone.psf: mdtraj cannot read it as a topology: give'),
  ):
    with pytest.raises(InputError, match=what):
      reader.load_structure(folder / name, file_of('xtc').path)


@pytest.mark.parametrize('extension', ROUNDING)
def test_nothing_is_printed(file_of, extension):
  """By no library: what C prints shows up when its process ends."""
  path = cut(file_of(extension)).path
  code = (
    'import mdtraj\n'
    'from tempo_jax.errors import InputError\n'
    'from tempo_jax.trajectory import reader\n'
    f'structure = reader.load_structure({str(path.parent / "start.pdb")!r}, {str(path)!r})\n'
    f'file = reader.TrajectoryFile({str(path)!r}, structure.topology, "start.pdb")\n'
    'print("before")\n'
    'file.num_frames()\n'
    'try:\n'
    '  file.read()\n'
    'except InputError:\n'
    '  pass\n'
    'print("after")\n'
  )
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout == 'before\nafter\n'


def test_reads_in_a_program_without_a_console(file_of):
  with contextlib.redirect_stdout(None):
    (block,) = file_of('.xtc').blocks(100)
  assert len(block) == 100


def test_a_model_without_atoms_is_a_frame_that_lacks_them(tmp_path):
  atom = 'ATOM      1  CA  ALA A   1       1.000   2.000   3.000\n'
  whole, empty = f'MODEL\n{atom}ENDMDL\n', 'MODEL\nENDMDL\n'
  path = tmp_path / 'x.pdb'
  top = mdtraj.Topology()
  top.add_atom('CA', mdtraj.element.carbon, top.add_residue('ALA', top.add_chain()))
  file = reader.TrajectoryFile(path, top, 'top.pdb')
  path.write_text(whole * 3)
  assert file.read().n_frames == 3
  path.write_text(whole + empty + whole)
  with pytest.raises(InputError, match=r'x.pdb: frame 1 has 0 atoms, the first one has 1'):
    file.read()
  path.write_text('REMARK nothing\nEND\n')
  with pytest.raises(InputError, match=r'x.pdb: no atoms in it'):
    file.read()

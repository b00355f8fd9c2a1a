"""Predictions as other programs write them, read by `replica.Native`."""

import gzip
import shutil

import gemmi
import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.evaluation import cache, columns, peer_files, replica, suite
from tempo_jax.evaluation.scores import Settings
from tests import heavy_trajectories
from tests.evaluation import cases

LENGTH, FRAMES = 9, 12
NATIVE = heavy_trajectories.SIMULATED / 'cln025' / 'cln025.pdb'


@pytest.fixture(scope='module')
def md():
  """MD of all heavy atoms."""
  traj = mdtraj.load(str(NATIVE.with_name('cln025_R1.xtc')), top=str(NATIVE), stride=10)[:FRAMES]
  return traj.atom_slice(traj.topology.select('element != H'))


def save_array(path, array):
  np.save(path, array)
  return path


def test_models_of_openfold(files, tmp_path):
  """AlphaFlow's and MDGen's: `MODEL 0`, `PARENT`, `TER`, `ENDMDL`, no times."""
  native, positions = files
  lines = [line for line in native.read_text().splitlines() if line.startswith('ATOM')]
  text = ''
  for number, frame in enumerate(positions):
    text += f'MODEL     {number}\nPARENT N/A\n'
    for line, xyz in zip(lines, frame.reshape(-1, 3), strict=True):
      text += f'{line[:30]}{"".join(f"{x:8.3f}" for x in xyz)}{line[54:]}\n'
    text += 'TER      46      ILE A   9\nENDMDL\n'
  (tmp_path / 'P.pdb').write_text(text + 'END\n')
  found = replica.Native(native).read(tmp_path / 'P.pdb')
  np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=0.00051)
  assert found.time_ns is None


@pytest.mark.parametrize('suffix', ['.pdb.gz', '.cif', '.cif.gz'])
def test_models_in_other_files(files, tmp_path, suffix):
  native, positions = files
  plain = tmp_path / f'P{suffix.removesuffix(".gz")}'
  cases.save(tmp_path / 'models.pdb', positions, native)
  structure = gemmi.read_structure(str(tmp_path / 'models.pdb'))
  assert len(structure) == FRAMES
  structure.setup_entities()
  if '.cif' in suffix:
    structure.make_mmcif_document().write_file(str(plain))
  else:
    shutil.copy(tmp_path / 'models.pdb', plain)
  if suffix.endswith('.gz'):
    with open(plain, 'rb') as source, gzip.open(f'{plain}.gz', 'wb') as target:
      shutil.copyfileobj(source, target)
    plain.unlink()
  found = replica.Native(native).read(tmp_path / f'P{suffix}', dt_ns=0.4)
  np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=0.00051)
  assert found.dt_ns == pytest.approx(0.4)


@pytest.mark.parametrize(
  ('trajectory', 'topology'),
  [('a_sample0.xtc', 'a_sample0.pdb'), ('a.traj.dcd', 'a.top.pdb'), ('a.xtc', 'topology.pdb')],
)
def test_a_structure_beside_names_the_atoms(files, tmp_path, trajectory, topology):
  """ConfRover's and MDGen's, aSAM's, BioEmu's; here of N, CA, C, O and in another order."""
  native, positions = files
  folder = tmp_path / 'predicted'
  folder.mkdir()
  structure = mdtraj.load(str(native))
  order = [a.index for a in structure.topology.atoms if a.name in ('C', 'N', 'CA')]
  structure.atom_slice(order).save(str(folder / topology))
  traj = mdtraj.Trajectory(positions.reshape(FRAMES, -1, 3) / 10.0, structure.topology)
  traj.atom_slice(order).save(str(folder / trajectory))
  found = replica.Native(native).read(folder / trajectory)
  np.testing.assert_allclose(found.positions[:, :, :3], positions[:, :, :3], atol=0.011)
  assert peer_files.topologies_beside(folder / trajectory) == [folder / topology]


def test_the_file_itself_names_no_other(tmp_path):
  (tmp_path / 'P.pdb').touch()
  assert peer_files.topologies_beside(tmp_path / 'P.pdb') == []


def test_mdgen_arrays(md, tmp_path):
  """[F, L, 14, 3], with side chains and, where it is asked for, times."""
  array = heavy_trajectories.slots_of(md)
  empty = (array == array[:, :, 1:2]).all(axis=(0, 3))
  empty[:, 1] = False
  array[:, empty] = 0.0
  path = save_array(tmp_path / 'P.npy', array[None])
  found = replica.Native(NATIVE).read(path, dt_ns=0.01, block_frames=5)
  expected = heavy_trajectories.slots_of(md)
  np.testing.assert_allclose(found.heavy_atoms, expected, atol=1e-3)
  md.save(str(tmp_path / 'same.h5'))
  same = replica.Native(NATIVE).read(tmp_path / 'same.h5')
  np.testing.assert_allclose(found.side_chains.chi, same.side_chains.chi, atol=1e-3)
  np.testing.assert_array_equal(found.side_chains.known, same.side_chains.known)
  assert found.remarks == ()
  np.testing.assert_allclose(found.time_ns, 0.01 * np.arange(1, FRAMES + 1))
  assert replica.Native(NATIVE).read(path).remarks == ('its format has no times',)


def test_backbones_in_nm(files, tmp_path):
  native, positions = files
  path = save_array(tmp_path / 'P.npy', positions[:, :, [0, 1, 2, 4, 3]] / 10.0)
  found = replica.Native(native).read(path)
  np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=1e-4)
  assert found.side_chains is None  # CB alone is no side chain of these residues.
  assert 'its unit is taken to be nm' in found.remarks[1]


def test_biokinema_arrays(files, tmp_path):
  """[frame, sample, atom, 3] of the atoms of a CIF; each sample is a replica."""
  native, positions = files
  structure = gemmi.read_structure(str(native))
  structure.setup_entities()
  structure.make_mmcif_document().write_file(str(tmp_path / 'a_s0_f0.cif'))
  both = np.stack([positions, positions[::-1]], axis=1).reshape(FRAMES, 2, -1, 3)
  path = save_array(tmp_path / 'a_pred_coordinates.npy', both)
  read = replica.Native(native)
  one, two = read.read_all(path, tmp_path / 'a_s0_f0.cif', dt_ns=10.0)
  np.testing.assert_allclose(one.positions, positions[:, :, :4], atol=1e-4)
  np.testing.assert_array_equal(two.positions, one.positions[::-1])
  assert one.source == f'{path} (sample 1 of 2)'
  assert (one.dt_ns, two.dt_ns) == (10.0, 10.0)
  with pytest.raises(InputError, match='holds 2 samples: give one'):
    read.read(path)
  # The native structure has the same atoms; and there may be one sample, or none said.
  for array in (both[:, :1], both[:, 0]):
    (alone,) = read.read_all(save_array(tmp_path / 'P.npy', array))
    np.testing.assert_array_equal(alone.positions, one.positions)


def test_times_that_are_given(files, tmp_path):
  """ConfRover's XTC has a frame per ps, whatever their spacing is."""
  native, positions = files
  path = cases.save(tmp_path / 'P.xtc', positions, native, np.arange(FRAMES, dtype=float))
  read = replica.Native(native)
  assert read.read(path).dt_ns == pytest.approx(0.001)
  found = read.read(path, dt_ns=1.2)
  assert found.dt_ns == pytest.approx(1.2)
  assert found.remarks == ('it says that its frames are 0.001 ns apart; 1.2 ns are used',)
  assert read.read(path, dt_ns=0.001).remarks == ()
  uneven = cases.save_uneven(tmp_path / 'U.xtc', native, FRAMES)
  assert read.read(uneven, dt_ns=0.1).dt_ns == pytest.approx(0.1)


MISTAKES = {
  'CA alone in an array': (
    lambda x: x[:, :, 1],
    r'holds CA atoms alone, and the numbers need N, CA and C of every residue: rebuild',
  ),
  'another length': (lambda x: x[:, 1:], r'holds \[12, 8, 5, 3\], 8 residues, and .*pdb has 9'),
  'other atoms': (lambda x: x.reshape(FRAMES, -1, 3)[:, 1:], r'has 44 atoms, .*native.pdb has 45'),
  'other unit': (lambda x: 100.0 * x, r'N-CA is 14\d.\d+ Å on the whole: its units'),
  'other order': (lambda x: x[:, :, [3, 2, 0, 1, 4]], 'its atoms are probably others'),
  'no number': (lambda x: np.where(np.arange(FRAMES)[:, None, None, None] == 5, np.nan, x),
                'frame 5 has coordinates that are not numbers'),
  'one frame': (lambda x: x[:1], '1 frames, and at least 2'),
}  # fmt: skip


@pytest.mark.parametrize('what', MISTAKES)
def test_mistakes(files, tmp_path, what):
  native, positions = files
  change, message = MISTAKES[what]
  path = save_array(tmp_path / 'P.npy', change(positions))
  with pytest.raises(InputError, match=f'P.npy: .*({message})') as raised:
    replica.Native(native).read(path)
  assert '\n' not in str(raised.value)


@pytest.mark.parametrize('name', ['P.pdb', 'P.xtc'])
def test_ca_alone_in_a_file(files, tmp_path, name):
  native, positions = files
  structure = mdtraj.load(str(native))
  traj = mdtraj.Trajectory(positions.reshape(FRAMES, -1, 3) / 10.0, structure.topology)
  traj = traj.atom_slice(traj.topology.select('name CA'))
  traj[0].save(str(tmp_path / 'P.pdb'))
  traj.save(str(tmp_path / name))
  with pytest.raises(InputError, match=r'P.pdb: holds CA atoms alone, and the numbers') as raised:
    replica.Native(native).read(tmp_path / name)
  assert '\n' not in str(raised.value)


class TestFolder:
  @staticmethod
  def _write(folder, native, positions):
    folder.mkdir()
    structure = mdtraj.load(str(native))
    for k, frame in enumerate(positions, start=1):
      one = mdtraj.Trajectory(frame.reshape(1, -1, 3) / 10.0, structure.topology)
      one.save(str(folder / f'frame_{k}.pdb'))
    return folder

  def test_its_structures_are_frames(self, files):
    """frame_10 is after frame_2, and topology.pdb is no frame."""
    native, positions = files
    folder = self._write(native.parent / 'frames', native, positions)
    (folder / 'topology.pdb').write_text(native.read_text())
    found = replica.Native(native).read(folder, dt_ns=0.5)
    np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=1e-3)
    np.testing.assert_allclose(found.time_ns, 0.5 * np.arange(1, FRAMES + 1))
    assert replica.Native(native).read(folder).time_ns is None

  def test_what_cannot_be_joined(self, files):
    native, positions = files
    folder = native.parent / 'empty'
    folder.mkdir()
    with pytest.raises(InputError, match=r'empty: is a folder without PDB or mmCIF files'):
      replica.Native(native).read(folder)
    folder = self._write(native.parent / 'frames', native, positions)
    lines = (folder / 'frame_5.pdb').read_text().splitlines(keepends=True)
    (folder / 'frame_5.pdb').write_text(''.join(x for x in lines if ' CB ' not in x))
    with pytest.raises(InputError, match=r'frame_5.pdb: has other atoms.* than frame_1.pdb'):
      replica.Native(native).read(folder)

  def test_a_frame_that_changes_is_seen(self, files):
    native, positions = files
    folder = self._write(native.parent / 'frames', native, positions)
    case = suite.Case('one', native, (folder,), (folder,))
    columns.check(case)
    before = cache.fingerprint(case, Settings(), False)
    (folder / 'frame_3.pdb').write_text((folder / 'frame_4.pdb').read_text() + 'REMARK\n')
    assert cache.fingerprint(case, Settings(), False) != before

import gc

import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.evaluation import replica
from tests import peptides
from tests.evaluation import cases

LENGTH = 9
FRAMES = 12


def test_native_keeps_what_stands_in_the_file(files):
  native = replica.Native(files[0])
  assert native.protein.num_residues == LENGTH
  by_hand = mdtraj.load(str(files[0])).xyz[0].reshape(LENGTH, 5, 3)[:, :4] * 10.0
  np.testing.assert_allclose(native.protein.arrays.positions, by_hand, atol=1e-4)


@pytest.mark.parametrize('suffix', ['.xtc', '.h5', '.dcd', '.trr', '.pdb'])
def test_reads_formats_with_the_native_topology(files, tmp_path, suffix):
  native, positions = files
  path = cases.save(tmp_path / f'md{suffix}', positions, native)
  found = replica.Native(native).read(path)
  assert found.positions.shape == (FRAMES, LENGTH, 4, 3)
  assert found.positions.dtype == np.float32
  np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=0.011)
  assert found.source == str(path)
  if suffix in ('.xtc', '.h5', '.trr'):
    assert found.dt_ns == pytest.approx(cases.DT_PS / 1000.0)
    assert found.time_ns[0] == pytest.approx(0.01)
    assert found.remarks == ()
  else:
    assert found.dt_ns is None
    assert found.remarks == ('its format has no times',)


@pytest.mark.parametrize('suffix', ['.xtc', '.dcd', '.pdb', '.h5'])
def test_reads_the_backbone_that_sample_writes(files, tmp_path, suffix):
  native, positions = files
  path = cases.save_sampled(tmp_path / 'sampled', positions, native, suffix)
  with_structure = replica.Native(native).read(path)
  np.testing.assert_allclose(with_structure.positions, positions[:, :, :4], atol=0.011)
  # Nor is topology.pdb needed: there are four atoms a residue.
  (path.parent / 'topology.pdb').unlink()
  alone = replica.Native(native).read(path)
  np.testing.assert_array_equal(alone.positions, with_structure.positions)


def test_reads_with_a_topology_beside_or_named(files, tmp_path, np_rng):
  native, positions = files
  # The prediction has hydrogens that the native structure has not.
  atoms = (*peptides.ATOMS, 'HA')
  lines, xyz = '', np.concatenate([positions[0], positions[0, :, 1:2] + 0.6], axis=1)
  for i, name in enumerate(cases.NAMES[:LENGTH]):
    lines += ''.join(peptides.line(a, name, 'A', i + 1, x) for a, x in zip(atoms, xyz[i]))  # noqa: B905
  folder = tmp_path / 'predicted'
  folder.mkdir()
  topology = folder / 'topology.pdb'
  topology.write_text(lines + 'TER\nEND\n')
  frames = np.concatenate([positions, positions[:, :, 1:2] + 0.6], axis=2)
  path = cases.save(folder / 'P.xtc', frames, topology)
  beside = replica.Native(native).read(path)
  np.testing.assert_allclose(beside.positions, positions[:, :, :4], atol=0.011)
  topology.rename(tmp_path / 'elsewhere.pdb')
  with pytest.raises(InputError, match=r'P.xtc: has 54 atoms, .*native.pdb has 45: put'):
    replica.Native(native).read(path)
  named = replica.Native(native).read(path, tmp_path / 'elsewhere.pdb')
  np.testing.assert_array_equal(named.positions, beside.positions)


def test_the_topology_beside_tells_another_protein_of_equal_length(files, tmp_path):
  """The backbone of both has as many atoms."""
  native, positions = files
  other = tmp_path / 'other.pdb'
  cases.write_native(other, LENGTH, names=cases.NAMES[::-1])
  path = cases.save_sampled(tmp_path / 'sampled', positions, other)
  with pytest.raises(InputError, match=r'topology.pdb: is of another sequence than .*native.pdb'):
    replica.Native(native).read(path)


def test_a_topology_beside_of_other_atoms_is_left_alone(files, tmp_path):
  native, positions = files
  cases.write_native(tmp_path / 'topology.pdb', 8)
  path = cases.save(tmp_path / 'md.dcd', positions, native)
  found = replica.Native(native).read(path)
  np.testing.assert_allclose(found.positions, positions[:, :, :4], atol=1e-3)


def test_places_a_missing_oxygen(files, tmp_path):
  native, positions = files
  path = cases.save(tmp_path / 'md.h5', positions, native)
  traj = mdtraj.load(str(path))
  traj.atom_slice(traj.topology.select('name N CA C')).save(str(tmp_path / 'nco.h5'))
  found = replica.Native(native).read(tmp_path / 'nco.h5')
  np.testing.assert_allclose(found.positions[:, :, :3], positions[:, :, :3], atol=1e-4)
  np.testing.assert_allclose(
    np.linalg.norm(found.positions[:, :, 3] - found.positions[:, :, 2], axis=-1), 1.23, atol=0.05
  )


def test_reads_in_blocks(files, tmp_path):
  native, positions = files
  path = cases.save(tmp_path / 'md.xtc', positions, native)
  whole = replica.Native(native).read(path)
  blocks = replica.Native(native).read(path, block_frames=5)
  np.testing.assert_array_equal(blocks.positions, whole.positions)
  np.testing.assert_array_equal(blocks.time_ns, whole.time_ns)


def test_time_step_survives_the_rounding_of_late_times(files, tmp_path):
  native, positions = files
  times = 1e6 + cases.DT_PS * np.arange(FRAMES)
  path = cases.save(tmp_path / 'md.xtc', positions, native, times)
  assert replica.Native(native).read(path).dt_ns == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
  ('times', 'remark'),
  [
    (np.cumsum([10.0, 10.0, 30.0] * 4), 'its frames are 10 to 30 ps apart'),
    (np.zeros(FRAMES), 'its frames are 0 to 0 ps apart'),
    (10.0 * np.arange(FRAMES)[::-1], 'its frames are -10 to -10 ps apart'),
  ],
)
def test_uneven_times_are_none(files, tmp_path, times, remark):
  native, positions = files
  path = cases.save(tmp_path / 'md.xtc', positions, native, times)
  found = replica.Native(native).read(path)
  assert found.time_ns is None
  assert found.dt_ns is None
  assert found.remarks == (remark,)


def test_other_numbers_are_a_remark(files, tmp_path):
  native, positions = files
  other = tmp_path / 'other.pdb'
  cases.write_native(other, LENGTH, first=101)
  path = cases.save(tmp_path / 'md.xtc', positions, native)
  found = replica.Native(native).read(path, other)
  assert len(found.remarks) == 1
  assert 'other.pdb numbers residues otherwise (101 for 1)' in found.remarks[0]


# What is wrong, and what the one line must say.
BAD = {
  'other order, as many atoms': r'P.dcd: .*in another order, than those of .*native.pdb',
  'other sequence': r'other.pdb: is of another sequence than .* \(F in place of W at position 3\)',
  'shorter': r'other.pdb: is of another sequence than .*native.pdb \(8 residues, not 9\)',
  'one frame': r'P.dcd: 1 frames, and at least 2 are needed',
  'no file': r'P.dcd: no such file',
  'no topology': r'nowhere.pdb: no such file',
  'not a number': r'P.dcd: frame 3 has coordinates that are not numbers',
  'ten times': r'P.dcd: N-CA is 14.\d+ Å on the whole: its unit',
  'a tenth': r'P.dcd: N-CA is 0.1\d Å on the whole: its unit',
  'shuffled': r'P.dcd: \d+ % of bonds .* in another order, than those of .*native.pdb',
  'zeros': r'P.dcd: frame 4: all atoms lie on one point: cut the frame out',
  'structure in nm': r'native.pdb: N-CA of A:1 ALA is 0.14\d Å, .*: its unit is nm, .* by ten',
  'not a trajectory': r'P.dcd: mdtraj cannot read it with the 45 atoms of .*native.pdb',
  'empty': r'P.dcd: ',
  'unknown format': r'P.abc: ',
  'atoms of another structure': r'P.dcd: .*(has 45 atoms, .*other.pdb has 40|cannot read).*give',
}


@pytest.mark.parametrize('what', BAD)
def test_what_is_wrong_is_said_in_one_line(files, tmp_path, what):
  native, positions = files
  path, other, topology = tmp_path / 'P.dcd', tmp_path / 'other.pdb', None
  if what == 'other sequence':
    names = list(cases.NAMES)
    names[2] = 'PHE'
    cases.write_native(other, LENGTH, names=names)
    topology = other
  elif what in ('shorter', 'atoms of another structure'):
    cases.write_native(other, 8)
    topology = other
  elif what == 'no topology':
    topology = tmp_path / 'nowhere.pdb'
  elif what == 'one frame':
    positions = positions[:1]
  elif what == 'not a number':
    positions[3, 4, 1, 2] = np.nan
  elif what == 'ten times':
    positions = 10.0 * positions
  elif what == 'a tenth':
    positions = 0.1 * positions
  elif what == 'shuffled':
    shape = positions.shape
    order = np.random.default_rng(0).permutation(5 * LENGTH)
    positions = 3.0 * positions.reshape(FRAMES, -1, 3)[:, order].reshape(shape)
  elif what == 'zeros':
    positions[4] = 0.0
  elif what == 'other order, as many atoms':
    positions = positions[:, :, [2, 0, 4, 3, 1]]
  saved = cases.save(path, positions, native)
  if what == 'atoms of another structure':
    native = tmp_path / 'native.pdb'
    cases.write_native(native, 8)
  elif what == 'structure in nm':
    native.write_text(peptides.peptide(cases.NAMES[:LENGTH], xyz=0.1 * cases.helix(LENGTH)))
  elif what == 'no file':
    path.unlink()
  elif what == 'not a trajectory':
    path.write_text('no trajectory' * 30)
  elif what == 'empty':
    path.write_bytes(b'')
  elif what == 'unknown format':
    saved = path.rename(tmp_path / 'P.abc')
  with pytest.raises(InputError, match=BAD[what]) as raised:
    replica.Native(native).read(saved, topology)
  assert '\n' not in str(raised.value)


def test_the_atoms_of_other_residues_are_noticed(tmp_path, np_rng):
  """8 residues of 5 atoms are 40 atoms, as is the backbone of 10."""
  native = tmp_path / 'native.pdb'
  cases.write_native(native, 8)
  longer = tmp_path / 'longer.pdb'
  xyz = cases.write_native(longer, 10)
  path = cases.save_sampled(tmp_path / 'sampled', cases.wander(np_rng, xyz, 5), longer)
  (path.parent / 'topology.pdb').unlink()
  with pytest.raises(InputError, match=r'25 % of bonds .* in another order'):
    replica.Native(native).read(path)


def test_a_broken_prediction_is_still_read(files, tmp_path, np_rng):
  """Bad predictions are to be judged, not refused."""
  native, positions = files
  noisy = positions + 0.2 * np_rng.normal(size=positions.shape)
  noisy[: FRAMES // 3] *= 3.0
  path = cases.save(tmp_path / 'P.xtc', noisy, native)
  assert replica.Native(native).read(path).num_frames == FRAMES


# mdtraj leaves a file open that it cannot read.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('text', [None, 'no structure\n', 'water'])
def test_a_native_structure_that_is_none(tmp_path, text):
  path = tmp_path / 'native.pdb'
  if text == 'water':
    text = peptides.line('O', 'HOH', 'W', 1, (0.0, 0.0, 0.0), hetero=True)
  if text is not None:
    path.write_text(text)
  with pytest.raises(InputError) as raised:
    replica.Native(path)
  assert str(raised.value).startswith(str(path))
  assert '\n' not in str(raised.value)
  del raised
  gc.collect()

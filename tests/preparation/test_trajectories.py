import itertools
import json
import pathlib
import subprocess
import sys

import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.preparation import trajectories
from tempo_jax.store import batching, store, windows
from tests import peptides

REPOSITORY = pathlib.Path(__file__).parents[2]
NUM_FRAMES = 40
BOX_NM = 6.0


@pytest.fixture
def toy(tmp_path, np_rng) -> mdtraj.Trajectory:
  """Vibrating helix of 8 residues, 10 ps between frames; toy.pdb is its topology."""
  (tmp_path / 'toy.pdb').write_text(peptides.peptide() + 'END\n')
  native = mdtraj.load(str(tmp_path / 'toy.pdb'))
  noise = np_rng.normal(scale=0.003, size=(NUM_FRAMES, native.n_atoms, 3))
  traj = mdtraj.Trajectory(native.xyz + noise, native.topology, 10.0 * np.arange(1, NUM_FRAMES + 1))
  traj.unitcell_lengths = np.full((NUM_FRAMES, 3), BOX_NM)
  traj.unitcell_angles = np.full((NUM_FRAMES, 3), 90.0)
  return traj


@pytest.fixture
def prepare(tmp_path):
  """Prepares files of tmp_path into tmp_path / 'store' and opens it."""

  def run(*files, topology='toy.pdb', code=0, **kwargs):
    files = [tmp_path / file for file in files]
    kwargs = {'num_workers': 1, **kwargs}
    assert trajectories.prepare(tmp_path / topology, files, tmp_path / 'store', **kwargs) == code
    return store.Store(tmp_path / 'store')

  return run


def backbone(file, topology):
  """[F, L, 4, 3] Å, chosen by hand."""
  traj = mdtraj.load(str(file), top=str(topology))
  residues = [
    r for r in traj.topology.residues if {'N', 'CA', 'C', 'O'} <= {a.name for a in r.atoms}
  ]
  index = [[r.atom(name).index for name in ('N', 'CA', 'C', 'O')] for r in residues]
  return traj.xyz[:, index] * np.float32(10.0), residues


@pytest.mark.parametrize('suffix', ['xtc', 'trr', 'h5', 'nc', 'dcd', 'pdb'])
@pytest.mark.filterwarnings('ignore:.*netCDF4:UserWarning')
def test_any_format(tmp_path, toy, prepare, suffix):
  toy.save(str(tmp_path / f'run.{suffix}'))
  kwargs = {}
  if suffix in ('dcd', 'pdb'):
    with pytest.raises(InputError, match=r'no times: say how far apart frames are \(--dt_ns\)'):
      prepare(f'run.{suffix}')
    assert not (tmp_path / 'store').exists()
    kwargs = {'dt_ns': 0.01}
  opened = prepare(f'run.{suffix}', **kwargs)
  (entry,) = opened.entries
  assert (entry.key, entry.dt_ns, entry.num_frames) == ('toy/T300/R1', 0.01, NUM_FRAMES)
  assert entry.sequence == 'ASWLKDVE'
  expected = toy.xyz.reshape(NUM_FRAMES, 8, 5, 3)[:, :, :4] * 10.0
  tolerance = {'xtc': 0.0051, 'pdb': 0.00051}.get(suffix, 1e-5)
  np.testing.assert_allclose(opened.read(entry), expected, rtol=0, atol=tolerance)


def test_small_blocks_change_nothing(tmp_path, toy, prepare):
  toy.save(str(tmp_path / 'run.xtc'))
  whole = prepare('run.xtc', name='whole').read('whole/T300/R1')
  parts = prepare('run.xtc', name='parts', block_frames=7).read('parts/T300/R1')
  np.testing.assert_array_equal(parts, whole)


def test_replicas_splits_and_second_runs(tmp_path, toy, prepare, capsys):
  for i in range(3):
    toy[i:].save(str(tmp_path / f'R{i}.xtc'))
  kwargs = {'temperature_K': 320.0, 'name': 'protein'}
  prepare('R0.xtc', 'R1.xtc', **kwargs)
  opened = prepare('R2.xtc', replica=3, split='validation', **kwargs)
  assert [(e.replica, e.split, e.num_frames) for e in opened.entries] == [
    (1, 'train', 40),
    (2, 'train', 39),
    (3, 'validation', 38),
  ]
  assert {e.key for e in opened.entries} == {f'protein/T320/R{r}' for r in (1, 2, 3)}
  arrays = [e.array for e in opened.entries]
  capsys.readouterr()
  opened = prepare('R0.xtc', 'R1.xtc', **kwargs)
  assert [e.array for e in opened.entries] == arrays
  assert capsys.readouterr().out.count('skipped') == 2
  with pytest.raises(InputError, match=r'protein/T320/R1 is there already, with other sources:'):
    prepare('R2.xtc', **kwargs)
  opened = prepare('R2.xtc', overwrite=True, **kwargs)
  assert opened.entries[0].num_frames == 38


def test_irregular_times(tmp_path, toy, prepare):
  toy.time[NUM_FRAMES // 2 :] += 5.0
  toy.save(str(tmp_path / 'run.xtc'))
  with pytest.raises(InputError, match=r'run.xtc: its time steps vary, between .* and 15 ps'):
    prepare('run.xtc')
  # The step of another length lies between two blocks.
  with pytest.raises(InputError, match=r'between 10 and 15 ps \(after frame 19\)'):
    prepare('run.xtc', block_frames=NUM_FRAMES // 2)
  assert not (tmp_path / 'store').exists()
  assert prepare('run.xtc', dt_ns=0.01).entries[0].num_frames == NUM_FRAMES
  toy.time[:] = 0.0
  toy.save(str(tmp_path / 'zero.xtc'))
  with pytest.raises(InputError, match='its times do not increase'):
    prepare('zero.xtc')


@pytest.mark.parametrize(('dt_ps', 'start_ps'), [(0.1, 0.0), (10.1, 1e6), (2.3, 1e5)])
def test_times_are_float32(tmp_path, toy, prepare, dt_ps, start_ps):
  toy.time = start_ps + dt_ps * np.arange(NUM_FRAMES)
  toy.save(str(tmp_path / 'run.xtc'))
  (entry,) = prepare('run.xtc').entries
  assert entry.dt_ns == pytest.approx(dt_ps / 1000.0, rel=1e-3 if start_ps else 1e-9)


@pytest.mark.parametrize(
  ('first_atom', 'topology', 'message'),
  [
    (25, 'whole', r'cut.xtc: frame 20: C-N of LYS 5 and ASP 6 is .* periodic box: re-image it'),
    (27, 'whole', r'cut.xtc: frame 20: CA-C of ASP 6 is .* periodic box: re-image it'),
    # The topology shows the same break: no bond there, or no usable residue.
    (25, 'cut', r'cut.pdb: broken over the periodic box, C-N of A:5 LYS and A:6 ASP: make'),
    (27, 'cut', r'cut.pdb: broken over the periodic box, CA-C of A:6 ASP: make'),
    # And knows of no box.
    (25, 'cut, no box', r'cut.xtc: frame 20: the periodic box cuts .* LYS 5 and ASP 6'),
    (27, 'cut, no box', r'cut.pdb: .*6 ASP.*: molecules must be whole'),
  ],
)
def test_broken_molecules(tmp_path, toy, prepare, first_atom, topology, message):
  toy.xyz[20:, first_atom:, 0] += BOX_NM
  toy.save(str(tmp_path / 'cut.xtc'))
  start = toy[0 if topology == 'whole' else 30]
  if topology == 'cut, no box':
    start.unitcell_vectors = None
  start.save(str(tmp_path / 'cut.pdb'))
  with pytest.raises(InputError, match=message):
    prepare('cut.xtc', topology='cut.pdb', block_frames=7)
  assert not (tmp_path / 'store').exists()


@pytest.mark.parametrize('factor', [0.1, 10.0])
def test_wrong_units(tmp_path, toy, prepare, factor):
  toy.xyz *= factor
  toy.unitcell_lengths *= 10.0
  toy.save(str(tmp_path / 'run.trr'))
  with pytest.raises(InputError, match=r'frame 0: N-CA of ALA 1 is .* its units are probably not'):
    prepare('run.trr')


def test_shuffled_atoms_are_not_another_unit(tmp_path, toy, prepare, np_rng):
  toy.xyz = toy.xyz[:, np_rng.permutation(toy.n_atoms)] * np.array([3.0, 3.0, 3.0])
  toy.save(str(tmp_path / 'run.dcd'))
  with pytest.raises(InputError, match=r'run.dcd: frame 0: N-CA .* in another order than in'):
    prepare('run.dcd', dt_ns=0.01)


def test_frames_that_were_not_written(tmp_path, toy, prepare):
  toy.xyz[7:] = 0.0
  toy.save(str(tmp_path / 'run.dcd'))
  with pytest.raises(InputError, match=r'run.dcd: frame 7: .* all atoms lie on one point: cut'):
    prepare('run.dcd', dt_ns=0.01)


@pytest.mark.parametrize('factor', [0.1, 10.0])
def test_a_topology_in_another_unit(tmp_path, toy, prepare, factor):
  toy.save(str(tmp_path / 'run.xtc'))
  toy.xyz *= factor
  toy[0].save(str(tmp_path / 'other.pdb'))
  what = 'its unit is nm, PDB' if factor < 1.0 else 'its unit is not Å: multiply .* by 0.1'
  with pytest.raises(InputError, match=rf'/other.pdb: N-CA of A:1 ALA is .*: {what}') as raised:
    prepare('run.xtc', topology='other.pdb', name='other')
  assert '\n' not in str(raised.value)


def test_wrong_topologies(tmp_path, toy, prepare):
  toy.save(str(tmp_path / 'run.xtc'))
  backwards = peptides.peptide(peptides.SEQUENCE, atoms=('CB', 'C', 'O', 'CA', 'N'))
  (tmp_path / 'backwards.pdb').write_text(backwards + 'END\n')
  with pytest.raises(InputError, match=r'run.xtc: frame 0: .* in another order'):
    prepare('run.xtc', topology='backwards.pdb')
  (tmp_path / 'short.pdb').write_text(peptides.peptide(peptides.SEQUENCE[:-1]) + 'END\n')
  with pytest.raises(InputError, match=r'run.xtc: .* with the 35 atoms of .*short.pdb: give the'):
    prepare('run.xtc', topology='short.pdb')
  # A format that brings its own topology.
  toy.save(str(tmp_path / 'run.h5'))
  wrong = r'run.h5: has 40 atoms, .*short.pdb has 35: give the topology'
  with pytest.raises(InputError, match=wrong):
    prepare('run.h5', topology='short.pdb')
  (tmp_path / 'toy.doc').write_text('')
  with pytest.raises(InputError, match=r'toy.doc: mdtraj cannot read it as a topology'):
    prepare('run.xtc', topology='toy.doc')
  assert not (tmp_path / 'store').exists()


def test_damaged_files_do_not_stop_the_rest(tmp_path, toy, prepare, capsys):
  toy.save(str(tmp_path / 'run.xtc'))
  content = (tmp_path / 'run.xtc').read_bytes()
  (tmp_path / 'cut.xtc').write_bytes(content[: len(content) * 2 // 3])
  (tmp_path / 'junk.xtc').write_bytes(b'junk' * 100)
  for file in ('cut.xtc', 'junk.xtc'):
    with pytest.raises(InputError, match=f'{file}: mdtraj cannot read it'):
      prepare(file)
  assert not (tmp_path / 'store').exists()
  (entry,) = prepare('cut.xtc', 'run.xtc', 'junk.xtc', code=1).entries
  assert (entry.replica, entry.num_frames) == (2, NUM_FRAMES)
  printed = capsys.readouterr()
  lines = [line for line in printed.err.splitlines() if line.startswith('error: ')]
  assert [file in line for file, line in zip(('cut.xtc', 'junk.xtc'), lines, strict=True)]
  assert f'{NUM_FRAMES} frames written; 3 files read, 2 of them with the errors' in printed.out


def test_arguments(tmp_path, toy, prepare):
  toy.save(str(tmp_path / 'run.xtc'))
  with pytest.raises(InputError, match=r'nothing.xtc: no such file'):
    prepare('nothing.xtc')
  with pytest.raises(InputError, match=r'names a file twice'):
    prepare('run.xtc', 'run.xtc')
  for value in (0.0, -1.0, float('nan'), float('inf')):
    with pytest.raises(InputError, match=r'--dt_ns=.*above zero'):
      prepare('run.xtc', dt_ns=value)
    with pytest.raises(InputError, match=r'--temperature_K=.*above zero'):
      prepare('run.xtc', temperature_K=value)
  (tmp_path / 'my protein (1).pdb').write_bytes((tmp_path / 'toy.pdb').read_bytes())
  assert prepare('run.xtc', topology='my protein (1).pdb').entries[0].name == 'my_protein_1_'


def run_binary(*args):
  command = [sys.executable, '-m', 'data_prep.trajectories', *args]
  return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_command_line(tmp_path, toy):
  toy.save(str(tmp_path / 'run.xtc'))
  (tmp_path / 'junk.xtc').write_bytes(b'junk' * 100)
  done = run_binary(
    f'--topology={tmp_path}/toy.pdb',
    f'--trajectories={tmp_path}/run.xtc,{tmp_path}/junk.xtc',
    f'--store={tmp_path}/store',
    '--name=x',
    '--dt_ns=0.02',
    '--temperature_K=350.5',
    '--replica=4',
    '--split=test',
  )
  assert 'x/T350.5/R4: 8 residues, 0.02 ns between frames' in done.stdout
  assert done.returncode == 1
  (line,) = [line for line in done.stderr.splitlines() if line.startswith('error:')]
  assert f'{tmp_path}/junk.xtc: mdtraj cannot read it' in line
  assert 'Traceback' not in done.stderr
  (entry,) = store.Store(tmp_path / 'store').entries
  assert (entry.key, entry.dt_ns, entry.split) == ('x/T350.5/R4', 0.02, 'test')


def test_real_replicas_end_to_end(tmp_path, shared_data):
  folder = shared_data / 'openmm_implicit/2jof'
  files = [folder / f'2jof_R{r}.xtc' for r in (1, 2)]
  trajectories.prepare(folder / '2jof.pdb', files, tmp_path / 's', temperature_K=320.0)
  opened = store.Store(tmp_path / 's')
  for entry, file in zip(opened.entries, files, strict=True):
    facts = json.loads(file.with_suffix('.json').read_text())
    assert entry.num_frames == facts['n_frames']
    assert entry.dt_ns == facts['frame_dt_ps'] / 1000.0
    expected, residues = backbone(file, folder / '2jof.pdb')
    np.testing.assert_array_equal(opened.read(entry), expected)
    assert entry.sequence == ''.join(r.code for r in residues)
    assert entry.bonded.tolist() == [True] * 19 + [False]
    np.testing.assert_array_equal(entry.residue_number, [r.resSeq for r in residues])

  # Coarse and fine windows of the bundled model's levels.
  for dt_ns, num_frames in ((0.2, 2), (0.01, 21)):
    source = windows.WindowSource(opened, dt_ns, num_frames, time_block=(0.0, 0.8))
    batch, names = batching.Loader(source, 8).batch(0)
    assert batch.positions.shape == (8, num_frames, 24, 4, 3)
    for x, name in zip(batch.positions, names, strict=True):
      key, start = name.split('@')
      expected, _ = backbone(files[int(key[-1]) - 1], folder / '2jof.pdb')
      frames = int(start) + round(dt_ns / 0.01) * np.arange(num_frames)
      np.testing.assert_array_equal(x[:, :20], expected[frames])
  with pytest.raises(InputError, match='longer than a quarter'):
    windows.WindowSource(opened, 1.0, 2)


def test_real_trajectory_of_58_residues(tmp_path, shared_data):
  folder = shared_data / 'trajectories/bpti_5ns'
  trajectories.prepare(folder / 'bpti.pdb', [folder / 'bpti.xtc'], tmp_path / 's')
  opened = store.Store(tmp_path / 's')
  (entry,) = opened.entries
  assert (entry.length, entry.num_frames, entry.dt_ns) == (58, 500, 0.01)
  expected, _ = backbone(folder / 'bpti.xtc', folder / 'bpti.pdb')
  np.testing.assert_array_equal(opened.read(entry), expected)
  # One chunk holds 188 frames: a fine window needs one chunk file, or two.
  files = sorted((tmp_path / 's').glob('entries/*/*/*/*/c/*/0/0/0'))
  assert len(files) == 3
  files[2].unlink()
  opened = store.Store(tmp_path / 's')
  np.testing.assert_array_equal(opened.read(entry, slice(180, 201)), expected[180:201])
  with pytest.raises(InputError, match='frame 376 of bpti/T300/R1 is missing'):
    opened.read(entry, slice(370, 391))


def test_gro_topology(tmp_path, shared_data):
  folder = shared_data / 'trajectories/bpti_5ns'
  for suffix in ('pdb', 'gro'):
    trajectories.prepare(
      folder / f'bpti.{suffix}', [folder / 'bpti.xtc'], tmp_path / 's', name=suffix
    )
  opened = store.Store(tmp_path / 's')
  gro, pdb = opened.entries
  assert gro.sequence == pdb.sequence
  np.testing.assert_array_equal(opened.read(gro), opened.read(pdb))


def test_real_mistakes(tmp_path, shared_data):
  folder = shared_data / 'trajectories'
  trpcage = folder / 'trpcage_tc5b_1ns'
  ubiquitin = folder / 'ubiquitin_1ns'
  for topology, file, message in (
    (trpcage / '1l2y_nmr38.pdb', trpcage / '1l2y_md.xtc', 'in another order'),
    (ubiquitin / 'ubq.pdb', ubiquitin / 'ubq_1ns.xtc', 'its time steps vary, between 1 and 2 ps'),
  ):
    with pytest.raises(InputError, match=message):
      trajectories.prepare(topology, [file], tmp_path / 's')
  assert not (tmp_path / 's').exists()
  trajectories.prepare(trpcage / '1l2y_md_protein.pdb', [trpcage / '1l2y_md.xtc'], tmp_path / 's')
  assert store.Store(tmp_path / 's').entries[0].dt_ns == 0.001


def test_flags_are_explained():
  done = run_binary('--help')
  text = ' '.join(itertools.chain(done.stdout.split(), done.stderr.split()))
  for flag in ('topology', 'trajectories', 'store', 'name', 'dt_ns', 'temperature_K', 'scheduler'):
    assert f'--{flag}' in text or f'--[no]{flag}' in text
  assert 'Time between two frames, ns.' in text
  assert 'conditioned on it. Default: 300.0.' in text

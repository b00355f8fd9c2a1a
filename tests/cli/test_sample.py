import dataclasses
import errno
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from absl import flags

from tempo_jax import config as config_lib
from tempo_jax.cli import execution, sample
from tempo_jax.errors import InputError
from tempo_jax.geometry import ideal
from tempo_jax.models import centres
from tempo_jax.models import model as model_lib
from tempo_jax.output import expected_error, provenance, trajectory_files
from tempo_jax.protein import structure_file
from tempo_jax.trajectory import writers
from tests import peptides
from tests.cli import commands

ROOT = pathlib.Path(__file__).parents[2]
FILES = {'topology.pdb', 'frames.csv', 'metadata.json'}


@pytest.fixture
def structure(tmp_path):
  """Two helices of 8 residues, a cap and a water."""
  path = tmp_path / 'pair.pdb'
  cap = peptides.line('C', 'ACE', 'A', 9, (0.0, 0.0, -3.0))
  water = peptides.line('O', 'HOH', 'W', 1, (30.0, 0.0, 0.0), hetero=True)
  # As in an experiment, bonds are not quite ideal.
  shaken = peptides.helix(8) + 0.03 * np.random.default_rng(0).normal(size=(8, 5, 3))
  second = peptides.peptide(chain='B', offset=(0.0, 12.0, 0.0), xyz=shaken)
  path.write_text(f'{cap}{peptides.peptide(first=10)}TER\n{second}TER\n{water}')
  return path


@pytest.fixture
def run(tmp_path, model_dir, structure, monkeypatch):
  """run('--seed=1', ...): samples 5 frames into tmp_path/out without a network; the directory."""
  commands.shake_instead(monkeypatch)

  def run_sample(*args):
    start = (f'--structure={structure}', f'--model={model_dir}', f'--out={tmp_path}/out')
    return sample.sample(commands.parse(sample, *start, '--num_frames=5', *args))

  return run_sample


def names(folder):
  return {path.name for path in folder.iterdir()}


@pytest.mark.slow  # Compiles the bundled model.
def test_the_network_samples_replicas_and_the_same_seed_gives_the_same_files(
  run, tmp_path, model_dir, structure, monkeypatch
):
  monkeypatch.undo()
  compiled = commands.compile_once(monkeypatch)
  first, second = (
    run('--num_replicas=2', '--num_frames=21', f'--out={tmp_path}/{k}', '--seed=7') for k in '12'
  )
  # How a trajectory begins, and how it goes on.
  assert len(compiled) == 2
  assert names(first) == FILES | {'trajectory_r1.xtc', 'trajectory_r2.xtc'}
  for name in ('trajectory_r1.xtc', 'trajectory_r2.xtc', 'topology.pdb', 'frames.csv'):
    assert (first / name).read_bytes() == (second / name).read_bytes(), name
  one, two = (
    mdtraj.load(first / f'trajectory_r{k}.xtc', top=first / 'topology.pdb') for k in (1, 2)
  )
  for traj in (one, two):
    assert traj.n_frames == 21
    np.testing.assert_allclose(traj.time, 10.0 * np.arange(1, 22), rtol=1e-6)
    assert np.all(np.isfinite(traj.xyz))
    # It stays in the coordinate frame of the input.
    assert np.linalg.norm(10.0 * traj.xyz[0].mean(0) - _centre(structure)) < 3.0
  assert np.abs(one.xyz - two.xyz).max() > 0.01


def _centre(structure):
  return structure_file.load_protein(structure).arrays.positions.mean((0, 1))


def test_metadata_tells_how_it_came_about(run, model_dir, structure, tmp_path):
  out = run('--seed=3', '--temperature_K=350', '--num_replicas=2')
  data = json.loads((out / 'metadata.json').read_text())
  model = model_lib.load_model(model_dir)
  expected = {
    'model': str(model_dir),
    'model_sha256': provenance.model_sha256(model),
    'levels_ns': {'coarse': 0.2, 'fine': 0.01},
    'versions': provenance.versions(),
    'device': {'platform': 'cpu', 'kind': 'cpu', 'count': 8},
    'seed': 3,
    'temperature_K': 350.0,
    'dt_ns': 0.01,
    'first_frame_ns': 0.01,
    'num_frames': 5,
    'num_replicas': 2,
    'atoms': 'backbone',
    'name': 'pair',
    'num_residues': 16,
    'chains': [{'id': 'A', 'num_residues': 8}, {'id': 'B', 'num_residues': 8}],
  }
  assert {key: data[key] for key in expected} == expected
  (cap,) = data['left_out']
  assert (cap['chain'], cap['residue_name'], cap['number']) == ('A', 'ACE', 9)
  assert cap['reason'] == 'a cap'
  assert data['flags'] == {
    'structure': str(structure),
    'model': str(model_dir),
    'num_frames': 5,
    'num_replicas': 2,
    'dt_ns': None,
    'chains': [],
    'temperature_K': 350.0,
    'solvent': 'explicit',
    'seed': 3,
    'out': f'{tmp_path}/out',
    'format': 'xtc',
    'atoms': None,
    'report': False,
    'overwrite': False,
    'passes': None,
    'precision': None,
    'segment_batch_size': None,
    'replica_batch_size': None,
  }
  assert 0.0 < data['compile_seconds'] < data['wall_seconds']
  assert 0.0 < data['sample_seconds'] < data['wall_seconds']


def test_prints_what_was_read_and_what_came_of_it(run, capsys):
  out = run()
  text = capsys.readouterr().out
  assert '16 residues; chains: A (8), B (8)' in text
  assert 'A:9 ACE (a cap)' in text
  assert '1 x 5 frames, 0.01 ns apart: 0.05 ns each, at 320 K' in text
  assert 'compiled in' in text
  assert '0.0 % of 5 frames have a broken chain' in text
  assert f'written to {out}' in text


def test_the_topology_is_the_start_as_the_model_sees_it(run, structure):
  out = run()
  start = mdtraj.load(out / 'topology.pdb')
  given = structure_file.load_protein(structure).arrays.positions
  assert [a.name for a in start.top.atoms] == ['N', 'CA', 'C', 'O'] * 16
  assert [chain.n_residues for chain in start.top.chains] == [8, 8]
  assert [r.resSeq for r in start.top.residues] == [*range(10, 18), *range(1, 9)]
  found = 10.0 * start.xyz[0].reshape(-1, 4, 3)
  np.testing.assert_allclose(found[:, 1], given[:, 1], atol=2e-3)
  n_ca = np.linalg.norm(found[:, 0] - found[:, 1], axis=-1)
  np.testing.assert_allclose(n_ca, ideal.N_CA, atol=2e-3)
  assert 0.02 < np.abs(found - given).max() < 0.3


def test_chains_are_chosen(run):
  data = json.loads((run('--chains=B') / 'metadata.json').read_text())
  assert data['chains'] == [{'id': 'B', 'num_residues': 8}]
  assert data['flags']['chains'] == ['B']


@pytest.mark.parametrize('extension', ['xtc', 'dcd', 'pdb', 'h5'])
def test_formats(run, extension):
  out = run(f'--format={extension}')
  assert names(out) == FILES | {f'trajectory.{extension}'}
  # PDB and HDF5 bring their own topology, and mdtraj warns of another.
  top = {} if extension in ('pdb', 'h5') else {'top': out / 'topology.pdb'}
  traj = mdtraj.load(out / f'trajectory.{extension}', **top)
  assert traj.n_frames == 5
  assert np.all(np.diff(traj.time) > 0)


def test_warns_of_what_the_model_has_not_seen(run, model_dir, tmp_path, capsys):
  """Which warnings there are, tests/test_trained_range.py tells."""
  model = model_lib.load_model(model_dir)
  config = config_lib.from_dict(config_lib.to_dict(model.config))
  config.trained_on.update(
    temperatures_K=(280.0, 320.0), num_residues=(1, 99), num_chains=1, longest_ns=((99, 99.0),)
  )
  dataclasses.replace(model, config=config).save(tmp_path / 'model')
  out = run(f'--model={tmp_path}/model', '--temperature_K=350.5')
  warning = 'the model was trained at 280 to 320 K; 350.5 K is outside'
  assert warning in json.loads((out / 'metadata.json').read_text())['warnings']
  assert f'warning: {warning}' in capsys.readouterr().out.splitlines()


def test_says_whether_the_mean_is_known(run, model_dir, structure, tmp_path, capsys):
  said = 'it fluctuates about the mean of MD that the model was trained on'
  assert not json.loads((run() / 'metadata.json').read_text())['known_centre']
  assert said not in capsys.readouterr().out
  protein = structure_file.load_protein(structure)
  name = centres.key(protein.sequence, protein.arrays.chain_index)
  known = {name: protein.arrays.positions[:, 1]}
  dataclasses.replace(model_lib.load_model(model_dir), centres=known).save(tmp_path / 'model')
  out = run(f'--model={tmp_path}/model', '--overwrite')
  assert json.loads((out / 'metadata.json').read_text())['known_centre']
  assert said in capsys.readouterr().out.splitlines()


def test_says_how_well_the_model_did_on_others(run, model_dir, monkeypatch, capsys):
  """In the solvent asked for and over such a time; of a model that nobody compared, nothing."""
  assert json.loads((run() / 'metadata.json').read_text())['expected_error'] is None
  assert 'how far to trust it' not in capsys.readouterr().out
  rows = [
    expected_error.Comparison('x', 50, solvent, length_ns, ratio, 0.5)
    for solvent, length_ns, ratio in (
      *(('implicit', 0.1, 1.0), ('implicit', 0.2, 0.8), ('implicit', 0.4, 2.0)),
      *(('implicit', 90.0, 9.0), ('explicit', 0.1, 9.0)),
    )
  ]
  monkeypatch.setattr(expected_error, 'read', lambda model: rows * (model.name == str(model_dir)))
  out = run('--solvent=implicit', '--overwrite')
  said = json.loads((out / 'metadata.json').read_text())['expected_error']
  assert said.startswith('in 3 comparisons with MD of unseen proteins (implicit solvent, ')
  assert '0.80 to 2.00 times as much as in MD' in said
  assert said.endswith('none of them is near 16 residues')
  assert f'how far to trust it: {said}' in capsys.readouterr().out.splitlines()


def test_batch_sizes_reach_the_sampler_and_are_named_when_memory_runs_out(run, monkeypatch):
  asked = commands.shake_instead(monkeypatch)

  def exhausted(self):
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 9 GB')

  monkeypatch.setattr(commands.Shaken, '__iter__', exhausted)
  with pytest.raises(InputError, match='lower --replica_batch_size or --segment_batch_size, or'):
    run('--num_replicas=3', '--segment_batch_size=4', '--replica_batch_size=2')
  assert asked == [(5, 3, 4, 2)]


def test_a_start_that_does_not_fit_pdb_is_moved(run, structure, tmp_path):
  far = mdtraj.load(structure)
  far.xyz += 1010.0
  far.save(str(tmp_path / 'far.cif'))
  with pytest.raises(InputError, match='do not fit PDB; move the structure near the origin'):
    run(f'--structure={tmp_path}/far.cif')


def test_a_report_is_written_when_asked_for(run, monkeypatch):
  pytest.importorskip('matplotlib')
  monkeypatch.setattr(trajectory_files, '_PICKED_FRAMES', 3)
  out = run('--report')
  assert names(out) == FILES | {'trajectory.xtc', 'report.html'}
  text = (out / 'report.html').read_text()
  picked = 'Of the 5 frames of each trajectory this page holds 3, evenly picked (one of 2)'
  for said in ('pair: sampled trajectory', picked, 'left out: A:9 ACE', 'segment_batch_size'):
    assert said in text


def test_an_existing_output_is_refused_before_any_computing(run, tmp_path, monkeypatch):
  (tmp_path / 'out').mkdir()
  monkeypatch.setattr(model_lib.Model, 'stream', None)
  with pytest.raises(InputError, match=r'--out=.*/out exists already.*--overwrite'):
    run()
  assert names(tmp_path / 'out') == set()


def test_a_folder_of_others_is_not_overwritten(run, tmp_path, monkeypatch):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'trajectory.xtc').write_text('precious')
  monkeypatch.setattr(model_lib.Model, 'stream', None)
  with pytest.raises(InputError, match='is not an output of tempo_jax'):
    run('--overwrite')
  assert (tmp_path / 'out' / 'trajectory.xtc').read_text() == 'precious'


def test_overwrite_replaces_what_an_earlier_run_wrote(run, tmp_path):
  run('--num_replicas=2', '--format=dcd')
  (tmp_path / 'out' / 'notes.txt').write_text('mine')
  run('--overwrite')
  assert names(tmp_path / 'out') == FILES | {'trajectory.xtc', 'notes.txt'}


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_failure_midway_leaves_everything_as_it_was(run, tmp_path, monkeypatch, overwrite):
  if overwrite:
    run('--seed=1')
  before = {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()}

  def full(self, positions):
    self.path.write_bytes(b'half')
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(writers.Writer, 'append', full)
  with pytest.raises(InputError, match=r'cannot write .*/out: No space left on device'):
    run('--overwrite' if overwrite else '--nooverwrite')
  assert {p: p.read_bytes() for p in tmp_path.rglob('*') if p.is_file()} == before
  assert (tmp_path / 'out').exists() == overwrite


def test_a_model_that_runs_off_is_one_line(run, tmp_path, monkeypatch):
  shake = commands.Shaken.__iter__

  def run_off(self):
    for job, positions, first in shake(self):
      yield (
        job,
        jnp.where(np.arange(len(positions))[:, None, None, None] > 2, np.inf, positions),
        first,
      )

  monkeypatch.setattr(commands.Shaken, '__iter__', run_off)
  with pytest.raises(InputError, match=r'diverged \(non-finite coordinates\) at frame 4 of 13'):
    run('--num_frames=13')
  assert not (tmp_path / 'out').exists()


def test_ctrl_c_leaves_nothing(run, tmp_path, monkeypatch):
  shake = commands.Shaken.__iter__

  def stop(self):
    yield next(shake(self))
    raise KeyboardInterrupt

  monkeypatch.setattr(commands.Shaken, '__iter__', stop)
  with pytest.raises(KeyboardInterrupt):
    run()
  assert names(tmp_path) == {'pair.pdb'}


def test_long_runs_tell_how_far_they_are(run, monkeypatch, capsys):
  monkeypatch.setattr(execution, '_SECONDS_BETWEEN_LINES', 0.0)
  run('--num_frames=11', '--num_replicas=2')
  lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('frame ')]
  assert [line.split(',')[0] for line in lines] == [
    f'frame {n} of 22' for n in (4, 8, 11, 15, 19, 22)
  ]
  assert all(line.endswith(' frames/s') for line in lines)


def test_several_structures_get_a_folder_each(run, structure, tmp_path, capsys):
  other = tmp_path / 'other' / 'pair.pdb'
  other.parent.mkdir()
  other.write_text(peptides.peptide(chain='A'))
  alone = run('--num_replicas=2', f'--out={tmp_path}/alone')
  out = run(f'--structure={structure},{other}', '--num_replicas=2', '--report')
  assert names(out) == {'pair', 'pair_2', 'metadata.json'}
  files = FILES | {'trajectory_r1.xtc', 'trajectory_r2.xtc'}
  for name, residues in (('pair', 16), ('pair_2', 8)):
    assert names(out / name) == files | {'report.html'}
    traj = mdtraj.load(out / name / 'trajectory_r2.xtc', top=out / name / 'topology.pdb')
    assert (traj.n_frames, traj.n_residues) == (5, residues)
    assert json.loads((out / name / 'metadata.json').read_text())['num_residues'] == residues
  for name in files - {'metadata.json'}:
    assert (out / 'pair' / name).read_bytes() == (alone / name).read_bytes()
  data = json.loads((out / 'metadata.json').read_text())
  assert data['structures'] == {'pair': str(structure), 'pair_2': str(other)}
  assert 'pair_2: validity: ' in capsys.readouterr().out
  # Another run replaces what it wrote, and no more.
  (out / 'pair' / 'notes').write_text('mine')
  run('--overwrite')
  assert names(out) == FILES | {'trajectory.xtc', 'pair'}
  assert names(out / 'pair') == {'notes'}
  with pytest.raises(InputError, match=r'/out/pair is not an output of tempo_jax'):
    run(f'--structure={structure},{other}', '--overwrite')


def test_a_bad_structure_among_several_is_refused_before_any_computing(
  run, structure, tmp_path, monkeypatch
):
  monkeypatch.setattr(model_lib.Model, 'stream', None)
  with pytest.raises(InputError, match='no such structure file: nowhere'):
    run(f'--structure={structure},nowhere.pdb')
  assert names(tmp_path) == {'pair.pdb'}


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--structure=nowhere.pdb'], 'no such structure file: nowhere.pdb'),
    (['--chains=A,Q'], r"no protein chain 'Q'; its protein chains are: 'A', 'B'"),
    (['--model=nowhere'], 'no model at nowhere'),
    (['--temperature_K=0'], 'temperature_K = 0.0: a positive number'),
    (['--temperature_K=nan'], 'temperature_K = nan: a positive number'),
    (['--out=pair.pdb/out'], 'cannot write .*: Not a directory'),
  ],
)
def test_a_mistake_is_one_line_before_any_computing(run, tmp_path, monkeypatch, args, message):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(model_lib.Model, 'stream', None)
  with pytest.raises(InputError, match=message) as error:
    run(*args)
  assert '\n' not in str(error.value)
  assert names(tmp_path) == {'pair.pdb'}


def test_a_report_without_matplotlib_is_refused_before_any_computing(run, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'matplotlib', None)
  monkeypatch.setattr(model_lib.Model, 'stream', None)
  with pytest.raises(InputError, match=r"pip install 'tempo-jax\[report\]'"):
    run('--report')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
  'arg',
  [
    '--num_frames=0',
    '--num_frames=many',
    '--num_replicas=-1',
    '--temperature_K=warm',
    '--seed=-1',
    '--format=trr',
    '--segment_batch_size=0',
    '--replica_batch_size=0',
  ],
)
def test_bad_values_are_refused_by_the_flags(arg):
  with pytest.raises(flags.IllegalFlagValueError, match=arg.split('=')[0]):
    commands.parse(sample, arg)


@pytest.mark.parametrize(
  ('arg', 'message'),
  [
    ('--structure=nowhere.pdb', 'error: no such structure file: nowhere.pdb'),
    ('--num_frame=3', "error: Unknown command line flag 'num_frame'"),
  ],
)
def test_a_mistake_ends_the_command_with_one_line(tmp_path, arg, message):
  result = subprocess.run(
    [sys.executable, '-m', 'experiments.sample', arg, f'--out={tmp_path}/out'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert result.returncode == 2, result.stderr
  assert result.stderr.count('\n') == 1
  assert result.stderr.startswith(message)
  assert not result.stdout
  assert not list(tmp_path.iterdir())

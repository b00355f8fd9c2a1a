"""`--dt_ns` of a model of any time step, and of one that has a single one."""

import json

import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import execution, sample, upsample
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tests import builders, peptides
from tests.cli import commands


@pytest.fixture(scope='module')
def any_dir(tmp_path_factory):
  """A small random model of 0.01 to 5 ns."""
  path = tmp_path_factory.mktemp('model')
  config = builders.any_step_config(0.01, 5.0)
  model_lib.Model('any', config, {'any': builders.params(config)}).save(path)
  return path


@pytest.fixture
def run_sample(tmp_path, monkeypatch):
  """run_sample(model, '--dt_ns=1', ...): without a network; the output directory."""
  asked = commands.shake_instead(monkeypatch)
  (tmp_path / 'helix.pdb').write_text(peptides.peptide(xyz=peptides.helix(8)))

  def run(model, *args):
    start = (f'--structure={tmp_path}/helix.pdb', f'--model={model}', f'--out={tmp_path}/out')
    return sample.sample(commands.parse(sample, *start, '--num_frames=3', *args))

  run.asked = asked
  return run


@pytest.mark.parametrize(
  ('args', 'dt_ns', 'levels_ns'),
  [
    ([], 0.01, {'coarse_2': 4.0, 'coarse': 0.2, 'fine': 0.01}),
    (['--dt_ns=0.5'], 0.5, {'coarse': 5.0, 'fine': 0.5}),
    (['--dt_ns=5'], 5.0, {'fine': 5.0}),
  ],
)
def test_samples_frames_that_far_apart(run_sample, any_dir, capsys, args, dt_ns, levels_ns):
  out = run_sample(any_dir, *args)
  data = json.loads((out / 'metadata.json').read_text())
  assert (data['dt_ns'], data['first_frame_ns']) == (dt_ns, dt_ns)
  assert data['levels_ns'] == levels_ns
  assert data['flags']['dt_ns'] == (dt_ns if args else None)
  traj = mdtraj.load(out / 'trajectory.xtc', top=out / 'topology.pdb')
  np.testing.assert_allclose(traj.time, 1000.0 * dt_ns * np.arange(1, 4), rtol=1e-6)
  assert f'3 frames, {dt_ns:g} ns apart' in capsys.readouterr().out


@pytest.mark.parametrize('dt_ns', ['0.009', '5.1', '0', 'nan'])
def test_a_step_out_of_range_is_one_line(run_sample, any_dir, tmp_path, dt_ns):
  with pytest.raises(
    InputError, match=r'dt_ns = .*: this model has learnt steps of 0\.01 to 5 ns: choose one'
  ) as error:
    run_sample(any_dir, f'--dt_ns={dt_ns}')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists()
  assert run_sample.asked == []


def test_a_model_with_a_step_of_its_own(run_sample, model_dir, tmp_path):
  with pytest.raises(
    InputError, match=r'dt_ns = 0\.2: the frames of the model .* are 0\.01 ns apart: leave dt_ns'
  ) as error:
    run_sample(model_dir, '--dt_ns=0.2')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists()
  assert run_sample(model_dir, '--dt_ns=0.01') == tmp_path / 'out'


@pytest.fixture
def run_upsample(tmp_path, monkeypatch):
  """run_upsample(model, first and step (ps) of three frames, '--dt_ns=0.02', ...): no network."""
  calls = []

  def compute(upsampler, params, protein, positions, rng, temperature_K):
    # Segments of equal parts, each as it began.
    calls.append(sorted(params))
    count = calls_frames[0]
    return np.repeat(positions[:-1], count, axis=0), execution.Seconds(0.1, 0.1)

  calls_frames = [0]
  monkeypatch.setattr(execution, 'compute', compute)
  (tmp_path / 'helix.pdb').write_text(peptides.peptide(xyz=peptides.helix(8)))
  structure = mdtraj.load(tmp_path / 'helix.pdb')

  def run(model, first_ps, step_ps, per_segment, *args, extension='xtc'):
    noise = 0.003 * np.random.default_rng(0).normal(size=(3, structure.n_atoms, 3))
    time = first_ps + step_ps * np.arange(3)
    traj = mdtraj.Trajectory(np.float32(structure.xyz + noise), structure.topology, time=time)
    traj.save(str(tmp_path / f'coarse.{extension}'))
    calls_frames[0] = per_segment
    start = (
      f'--topology={tmp_path}/helix.pdb',
      f'--coarse_trajectory={tmp_path}/coarse.{extension}',
      f'--model={model}',
      f'--out={tmp_path}/out',
    )
    return upsample.upsample(commands.parse(upsample, *start, *args))

  run.calls = calls
  return run


@pytest.mark.parametrize(
  ('args', 'extension', 'first_ns', 'spacing_ns', 'dt_ns', 'levels_ns'),
  [
    (['--dt_ns=0.02'], 'xtc', 1.0, 0.1, 0.02, {'coarse': 0.1, 'fine': 0.02}),
    (['--coarse_dt_ns=0.3', '--dt_ns=0.1'], 'dcd', 0.3, 0.3, 0.1, {'coarse': 0.3, 'fine': 0.1}),
    ([], 'xtc', 1.0, 0.1, 0.01, {'coarse': 0.1, 'fine': 0.01}),
    (
      ['--dt_ns=0.02', '--coarse_dt_ns=1'],
      'dcd',
      1.0,
      1.0,
      0.02,
      {'coarse_2': 1.0, 'coarse': 0.2, 'fine': 0.02},
    ),
  ],
)
def test_fills_in_frames_that_far_apart(
  run_upsample, any_dir, capsys, args, extension, first_ns, spacing_ns, dt_ns, levels_ns
):
  count = round(spacing_ns / dt_ns)
  out = run_upsample(any_dir, 1000.0, 100.0, count, *args, extension=extension)
  assert run_upsample.calls == [sorted(levels_ns)]
  data = json.loads((out / 'metadata.json').read_text())
  assert data['levels_ns'] == levels_ns
  assert (data['dt_ns'], data['num_frames']) == (dt_ns, 2 * count)
  traj = mdtraj.load(out / 'trajectory.xtc', top=out / 'topology.pdb')
  expected = 1000.0 * (first_ns + dt_ns * np.arange(1, 2 * count + 1))
  np.testing.assert_allclose(traj.time, expected, rtol=1e-6)
  said = capsys.readouterr().out
  assert f'3 coarse frames {spacing_ns:g} ns apart -> {2 * count} frames {dt_ns:g} ns apart' in said


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--dt_ns=0.03'], r'coarse_dt_ns = 0\.1: not a whole multiple of dt_ns = 0\.03'),
    (['--dt_ns=0.2'], r'coarse_dt_ns = 0\.1: not a whole multiple of dt_ns = 0\.2'),
    (['--dt_ns=0.001'], r'dt_ns = 0\.001: this model has learnt steps of 0\.01 to 5 ns'),
    (['--coarse_dt_ns=7'], r'dt_ns = 7: this model has learnt steps of 0\.01 to 5 ns'),
    (['--coarse_dt_ns=0'], r'--coarse_dt_ns=0\.0: give a number above zero'),
    (['--coarse_dt_ns=nan'], r'--coarse_dt_ns=nan: give a number above zero'),
  ],
)
def test_distances_that_do_not_go_together(run_upsample, any_dir, tmp_path, args, message):
  with pytest.raises(InputError, match=message) as error:
    run_upsample(any_dir, 1000.0, 100.0, 1, *args)
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists()
  assert run_upsample.calls == []


def test_a_distance_that_the_file_contradicts_is_named(run_upsample, any_dir, capsys):
  run_upsample(any_dir, 1000.0, 100.0, 30, '--coarse_dt_ns=0.3')
  assert '0.1 ns apart, it says; --coarse_dt_ns=0.3 is used' in capsys.readouterr().out


def test_a_model_with_a_step_of_its_own_fills_in_nothing_else(run_upsample, model_dir):
  with pytest.raises(InputError, match=r'dt_ns = 0\.05: the frames of the model .* leave dt_ns'):
    run_upsample(model_dir, 200.0, 200.0, 4, '--dt_ns=0.05')

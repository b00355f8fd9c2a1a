"""What stops `tempo-jax sample`, and how the same command goes on."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tempo_jax.cli import run_record, sample
from tempo_jax.compilation import interruption
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.output import trajectory_files, unfinished
from tests import builders, peptides
from tests.cli import commands

ROOT = pathlib.Path(__file__).parents[2]
HIDDEN = '.out.unfinished'
SAME = ('topology.pdb', 'frames.csv', *(f'trajectory_r{k}.xtc' for k in (1, 2, 3)))

_STUCK = """
import ctypes, signal, jax
from tempo_jax.cli import main
from tempo_jax.compilation import ahead_of_time

def stuck(lowered, **options):
  # As XLA, it hears no signals; and it never returns.
  lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(256)
  lock(mutex)
  print('stuck', flush=True)
  lock(mutex)

# As in a shell's foreground: jobs in the background, and below nohup, ignore some.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
ahead_of_time.options()  # Which compiles something, too.
jax.stages.Lowered.compile = stuck
main.run()
"""


@pytest.fixture
def structure(tmp_path):
  path = tmp_path / 'helix.pdb'
  path.write_text(peptides.peptide())
  return path


@pytest.fixture
def run(tmp_path, model_dir, structure, monkeypatch):
  """run('--seed=1', ...): three trajectories of 5 frames into tmp_path/out, without a network."""
  commands.shake_instead(monkeypatch)
  monkeypatch.setattr(interruption, '_left', threading.Event())
  start = (f'--structure={structure}', f'--model={model_dir}', f'--out={tmp_path}/out')
  start += '--num_frames=5', '--num_replicas=3'
  return lambda *args: sample.sample(commands.parse(sample, *start, *args))


@pytest.fixture
def stopped(run, monkeypatch):
  """stopped(n, error, ...): the same; after n trajectories and a half the error is raised."""

  def run_stopped(count, error, *args):
    shake = commands.Shaken.__iter__

    def iterate(self):
      finished = 0
      for job, positions, first in shake(self):
        if finished == count and first:
          raise error
        yield job, positions, first
        finished += bool(first)

    with monkeypatch.context() as patch, pytest.raises(BaseException) as raised:  # noqa: PT012
      patch.setattr(commands.Shaken, '__iter__', iterate)
      run(*args)
    return raised.value

  return run_stopped


@pytest.fixture
def sampled(monkeypatch):
  """The trajectories that are sampled from here on."""
  found = []
  shake = commands.Shaken.__iter__

  def iterate(self):
    for job, *rest in shake(self):
      if job not in found:
        found.append(job)
      yield job, *rest

  monkeypatch.setattr(commands.Shaken, '__iter__', iterate)
  return found


def check_whole(out, whole):
  assert {path.name for path in out.iterdir()} == {*SAME, 'metadata.json'}
  for name in SAME:
    assert (out / name).read_bytes() == (whole / name).read_bytes(), name
  assert not (out.parent / HIDDEN).exists()


@pytest.mark.skipif(sys.platform != 'linux', reason='the mutex is that of Linux')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_while_it_compiles(tmp_path, structure, model_dir, number):
  out = tmp_path / 'parent' / 'out'
  flags = f'--structure={structure}', f'--model={model_dir}', '--compilation_cache_dir=off'
  with subprocess.Popen(
    [sys.executable, '-c', _STUCK, 'sample', *flags, f'--out={out}'],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
  ) as process:  # fmt: skip
    try:
      assert 'stuck\n' in iter(process.stdout.readline, '')
      assert len(list(out.parent.iterdir())) == 1
      time.sleep(0.5)  # It said so just before.
      process.send_signal(number)
      started = time.monotonic()
      _, said = process.communicate(timeout=30)
      seconds = time.monotonic() - started
    finally:
      process.kill()
  assert (process.returncode, said) == (130, 'stopped; nothing was written\n')
  assert seconds < 5.0
  assert list(tmp_path.iterdir()) == [structure]


def test_the_end_does_not_wait_for_blocks_under_way(stopped):
  assert not interruption.is_left()
  stopped(1, KeyboardInterrupt())
  assert interruption.is_left()


def test_the_same_command_goes_on(run, stopped, sampled, tmp_path, capsys):
  whole = run(f'--out={tmp_path}/whole')
  error = stopped(1, KeyboardInterrupt())
  assert str(error) == 'stopped; 1 of 3 trajectories are kept: the same command goes on'
  assert not (tmp_path / 'out').exists()
  assert stopped(1, KeyboardInterrupt()).args[0].startswith('stopped; 2 of 3 ')
  sampled.clear()
  capsys.readouterr()
  out = run()
  assert '2 of 3 trajectories are there already: going on\n' in capsys.readouterr().out
  assert [job.replica for job in sampled] == [2]
  check_whole(out, whole)
  taken_over = [json.loads((x / 'metadata.json').read_text())['taken_over'] for x in (whole, out)]
  assert taken_over == [0, 2]


def test_what_is_half_done_is_not_kept(stopped, structure):
  assert str(stopped(0, KeyboardInterrupt())) == 'stopped; nothing was written'
  assert list(structure.parent.iterdir()) == [structure]


def test_errors_keep_what_is_finished(run, stopped, tmp_path):
  whole = run(f'--out={tmp_path}/whole')
  said = '1 of 3 trajectories are kept: the same command goes on'
  assert str(stopped(1, InputError('it diverged'))) == f'it diverged; {said}'
  # Everything but the message is as it was.
  error = stopped(0, RuntimeError('a fault'))
  assert (str(error), error.__notes__) == ('a fault', [said])
  check_whole(run(), whole)


def test_a_killed_run_goes_on(run, stopped, tmp_path, monkeypatch, sampled):
  """The files as they are when the power fails: in the midst of a trajectory."""
  whole = run(f'--out={tmp_path}/whole')
  close = trajectory_files.ReplicaFile.abandon

  def copy_first(self):
    shutil.copytree(tmp_path / HIDDEN, tmp_path / 'copy')
    close(self)

  monkeypatch.setattr(trajectory_files.ReplicaFile, 'abandon', copy_first)
  stopped(1, KeyboardInterrupt())
  shutil.rmtree(tmp_path / HIDDEN)
  (tmp_path / 'copy').rename(tmp_path / HIDDEN)
  (half,) = (tmp_path / HIDDEN).glob('partial*/trajectory*')
  assert half.name == 'trajectory_r2.xtc'
  sampled.clear()
  check_whole(run(), whole)
  assert [job.replica for job in sampled] == [1, 2]


def test_a_run_that_is_stopped_at_its_end_only_ends(run, stopped, tmp_path, monkeypatch, capsys):
  whole = run(f'--out={tmp_path}/whole')

  def stop(*args, **kwargs):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match='3 of 3'):  # noqa: PT012
    patch.setattr(run_record, 'complete', stop)
    run()
  capsys.readouterr()
  out = run()
  assert 'compiling' not in capsys.readouterr().out
  check_whole(out, whole)


@pytest.mark.parametrize(
  'change',
  [
    *('--seed=1', '--temperature_K=300', '--num_frames=6', '--num_replicas=2', '--format=dcd'),
    *('--precision=bfloat16', 'structure', 'model', 'version', 'device'),
  ],
)
def test_other_settings_do_not_take_over(
  run, stopped, sampled, structure, tmp_path, monkeypatch, capsys, change
):
  stopped(1, KeyboardInterrupt())
  sampled.clear()
  args = [change] if change.startswith('--') else []
  if change == 'structure':
    structure.write_text(peptides.peptide(xyz=peptides.helix(8) + 1.0))
  elif change == 'model':
    config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
    params = {name: builders.params(config, seed + 5) for seed, name in enumerate(config.levels)}
    model_lib.Model('other', config, params).save(tmp_path / 'model')
    args = [f'--model={tmp_path}/model']
  elif change == 'version':
    monkeypatch.setattr(sample.provenance.version, '__version__', '9.9')
  elif change == 'device':
    device = {'platform': 'gpu', 'kind': 'other', 'count': 8}
    monkeypatch.setattr(sample.provenance, 'device', lambda: device)
  out = run(*args)
  said = 'replaced what a stopped run of other settings had kept (trajectories: 1)\n'
  assert said in capsys.readouterr().out
  assert [job.replica for job in sampled] == [0, 1, 2][: 2 if '--num_replicas=2' in args else 3]
  assert not (tmp_path / HIDDEN).exists()
  fresh = run(*args, f'--out={tmp_path}/fresh')
  for path in fresh.iterdir():
    if path.name != 'metadata.json':
      assert (out / path.name).read_bytes() == path.read_bytes()


def test_settings_that_change_no_frame_go_on(run, stopped, sampled, tmp_path):
  whole = run(f'--out={tmp_path}/whole')
  stopped(1, KeyboardInterrupt())
  sampled.clear()
  check_whole(run('--replica_batch_size=1', '--segment_batch_size=2', '--overwrite'), whole)
  assert [job.replica for job in sampled] == [1, 2]


def test_overwriting_goes_on_too_and_keeps_the_old_until_then(run, stopped, sampled, tmp_path):
  whole = run(f'--out={tmp_path}/whole')
  out = run('--seed=1')
  old = {path.name: path.read_bytes() for path in out.iterdir()}
  stopped(2, KeyboardInterrupt(), '--overwrite')
  assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == old
  sampled.clear()
  check_whole(run('--overwrite'), whole)
  assert [job.replica for job in sampled] == [2]


def test_an_empty_folder_can_be_overwritten_twice(run, stopped, tmp_path):
  whole = run(f'--out={tmp_path}/whole')
  (tmp_path / 'out').mkdir()
  stopped(2, KeyboardInterrupt(), '--overwrite')
  check_whole(run('--overwrite'), whole)


def test_several_structures_go_on(run, stopped, sampled, structure, tmp_path):
  (tmp_path / 'other.pdb').write_text(peptides.peptide('ACD'))
  several = f'--structure={structure},{tmp_path}/other.pdb'
  whole = run(several, f'--out={tmp_path}/whole')
  assert str(stopped(4, KeyboardInterrupt(), several)).startswith('stopped; 4 of 6 ')
  sampled.clear()
  out = run(several)
  assert [(job.protein, job.replica) for job in sampled] == [(1, 1), (1, 2)]
  for name in ('helix', 'other'):
    check_whole(out / name, whole / name)


def test_a_second_run_into_one_folder_is_refused_before_any_computing(run, tmp_path, monkeypatch):
  with unfinished.output_directory(tmp_path / 'out', {}, 3) as first:
    (first.partial / 'trajectory_r1.xtc').write_text('half')
    with monkeypatch.context() as patch:
      patch.setattr(model_lib.Model, 'stream', None)
      with pytest.raises(InputError, match=r'/out is in use: another process writes into it: wait'):
        run()
    assert (first.partial / 'trajectory_r1.xtc').read_text() == 'half'
  assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ['out']

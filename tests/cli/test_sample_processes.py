"""Several processes sample as one does, and fail as one."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import pytest

from tempo_jax.cli import multiprocess, sample
from tempo_jax.models import model as model_lib
from tempo_jax.output import trajectory_files
from tests import builders, peptides
from tests.cli import commands

_TIMEOUT_S = 240


@pytest.fixture
def flags(tmp_path):
  """Of a run with a small network and two structures."""
  for name, count in (('a', 8), ('b', 6)):
    text = peptides.peptide(peptides.SEQUENCE[:count])
    (tmp_path / f'{name}.pdb').write_text(text)
  # A single time scale: the less to compile.
  config = builders.small_config({'fine': 0.01})
  model_lib.Model('small', config, {'fine': builders.params(config)}).save(tmp_path / 'model')
  structures = f'--structure={tmp_path}/a.pdb,{tmp_path}/b.pdb'
  return structures, f'--model={tmp_path}/model', '--num_frames=3'


def start(tmp_path, flags):
  """`tempo-jax sample` once for each tuple of flags, with one device each; what they return."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  environment = os.environ | {
    'XLA_FLAGS': os.environ['XLA_FLAGS'].replace('device_count=8', 'device_count=1')
  }
  command = [sys.executable, '-m', 'tempo_jax', 'sample', f'--compilation_cache_dir={tmp_path}/xla']
  command += [f'--coordinator_address={address}', f'--num_processes={len(flags)}']
  processes = [
    subprocess.Popen(
      [*command, f'--process_id={index}', *more],
      cwd=pathlib.Path(__file__).parents[2],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index, more in enumerate(flags)
  ]
  try:
    outputs = [process.communicate(timeout=_TIMEOUT_S)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  return [process.returncode for process in processes], outputs


@pytest.mark.slow  # Two groups of processes.
def test_processes_write_what_one_writes(tmp_path, flags):
  """Two trajectories, three processes: one has nothing to do."""
  codes, outputs = start(tmp_path, [(*flags, f'--out={tmp_path}/shared')] * 3)
  assert codes == [0] * 3, '\n'.join(outputs)[-5000:]
  assert ['written to' in output for output in outputs] == [True, False, False]
  sample.sample(commands.parse(sample, *flags, f'--out={tmp_path}/alone'))
  found, expected = (
    {str(p.relative_to(tmp_path / name)): p for p in (tmp_path / name).rglob('*') if p.is_file()}
    for name in ('shared', 'alone')
  )
  assert found.keys() == expected.keys()
  for name in found:
    if not name.endswith('metadata.json'):
      assert found[name].read_bytes() == expected[name].read_bytes(), name
  assert not list(tmp_path.glob('.partial*')) + list(tmp_path.glob('.*unfinished'))


@pytest.mark.slow  # Compiles in two processes.
def test_processes_go_on_where_one_was_stopped(tmp_path, flags, monkeypatch):
  flags = *flags, '--num_replicas=2'
  alone = sample.sample(commands.parse(sample, *flags, f'--out={tmp_path}/alone'))
  close = trajectory_files.ReplicaFile.close
  closed = []

  def stop_after_one(self):
    if closed:
      raise KeyboardInterrupt
    close(self)
    closed.append(self)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match='1 of 4'):  # noqa: PT012
    patch.setattr(trajectory_files.ReplicaFile, 'close', stop_after_one)
    sample.sample(commands.parse(sample, *flags, f'--out={tmp_path}/out'))
  codes, outputs = start(tmp_path, [(*flags, f'--out={tmp_path}/out')] * 2)
  assert codes == [0, 0], '\n'.join(outputs)[-5000:]
  said = '1 of 4 trajectories are there already: going on'
  assert [said in output for output in outputs] == [True, False]
  # And once more, with programs that were compiled before.
  codes, outputs = start(tmp_path, [(*flags, f'--out={tmp_path}/again')] * 2)
  assert codes == [0, 0], '\n'.join(outputs)[-5000:]
  for path in alone.rglob('trajectory*'):
    for name in ('out', 'again'):
      assert (tmp_path / name / path.relative_to(alone)).read_bytes() == path.read_bytes()
  assert not list(tmp_path.glob('.*unfinished'))


def test_what_one_refuses_ends_all(tmp_path, flags):
  out = f'--out={tmp_path}/out'
  codes, outputs = start(tmp_path, [(*flags, out), (*flags, out, '--chains=Q')])
  assert codes == [2, 2]
  assert 'error: process 1 failed: see what it says' in outputs[0]
  assert "no protein chain 'Q'" in outputs[1]
  assert not list(tmp_path.glob('out')) + list(tmp_path.glob('.*'))


def test_jax_does_not_take_sigterm_for_itself(monkeypatch):
  def initialize(*args):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

  def stop(number, frame):
    raise AssertionError

  monkeypatch.setattr(jax.distributed, 'initialize', initialize)
  earlier = signal.signal(signal.SIGTERM, stop)
  try:
    multiprocess.join(commands.parse(sample, '--coordinator_address=auto'))
    assert signal.getsignal(signal.SIGTERM) is stop
  finally:
    signal.signal(signal.SIGTERM, earlier)

"""Two processes with four devices each train as one process with eight devices does."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from tempo_jax.models import workdir as workdir_lib
from tests.training import examples

_TIMEOUT_S = 240


def overrides(store_path):
  return {
    'data.store': str(store_path),
    # Validation would be one more compilation.
    'data.validation_split': 'none',
    'model.encoder.num_neighbours': 0,
    'train.num_steps': 4,
    'train.unroll': 1,
    'train.rematerialise': False,
    'train.checkpoint_every': 2,
    'train.warmup_steps': 1,
  }


def train(store_path, workdir, cache, num_processes):
  """`experiments.train`, so many times, with eight devices in all; what they wrote."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  flags = os.environ['XLA_FLAGS'].replace('device_count=8', f'device_count={8 // num_processes}')
  environment = os.environ | {
    'XLA_FLAGS': flags,
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  command = [
    *(sys.executable, '-m', 'experiments.train', '--config=experiments/configs/tiny.py:scale=fine'),
    f'--workdir={workdir}',
    f'--coordinator_address={address}',
    f'--num_processes={num_processes}',
    *(f'--config.{name}={value}' for name, value in overrides(store_path).items()),
  ]
  processes = [
    subprocess.Popen(
      [*command, f'--process_id={index}'],
      cwd=pathlib.Path(__file__).parents[2],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in range(num_processes)
  ]
  try:
    outputs = [process.communicate(timeout=_TIMEOUT_S)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  for process, output in zip(processes, outputs, strict=True):
    assert process.returncode == 0, output[-5000:]
  return outputs


def metrics(workdir):
  lines = (workdir / 'metrics.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.fixture(scope='module')
def store_path(tmp_path_factory):
  # Unequal lengths: the processes' shares of a batch count different numbers of residues.
  path = tmp_path_factory.mktemp('store') / 'store'
  return examples.write_store(path, lengths=(9, 11, 14), side_chains=True)


@pytest.fixture(scope='module')
def alone(store_path, tmp_path_factory):
  """The same experiment in one process, with all eight devices.

  By the command, which compiles as those of several processes do (`compilation.miscompilation`).
  """
  folder = tmp_path_factory.mktemp('alone')
  train(store_path, folder / 'run', folder / 'xla', 1)
  return folder / 'run'


def assert_same_run(workdir, alone):
  written, expected = metrics(workdir), metrics(alone)
  assert [line['step'] for line in written] == [1, 2, 3, 4]
  for a, b in zip(written, expected, strict=True):
    assert a.keys() == b.keys()
    for name in a.keys() - {'steps_per_s', 'tokens_per_s', 'data_wait_share'}:
      np.testing.assert_allclose(a[name], b[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow  # Two groups of processes.
def test_two_processes_train_and_resume_as_one(store_path, alone, tmp_path):
  workdir, cache = tmp_path / 'run', tmp_path / 'xla'
  outputs = train(store_path, workdir, cache, 2)
  assert all('8 devices' in output for output in outputs)
  assert_same_run(workdir, alone)

  # As if the machine had died after the checkpoint of step 2.
  shutil.rmtree(workdir / 'checkpoints' / '4')
  outputs = train(store_path, workdir, cache, 2)
  assert all('resumed from step 2' in output for output in outputs)
  assert_same_run(workdir, alone)

  (_, states, step), (_, expected, _) = map(workdir_lib.load, (workdir, alone))
  assert step == 4
  for a, b in zip(*map(jax.tree.leaves, (states['fine'], expected['fine'])), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

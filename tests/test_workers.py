import logging
import os
import signal
import subprocess
import sys

import pytest

from tempo_jax import workers
from tempo_jax.errors import InputError


def square(task):
  if task == 'bad':
    raise InputError('bad.h5: truncated: download it again')
  if task == 'odd':
    raise KeyError('coords')
  if task == 'fatal':
    os.kill(os.getpid(), signal.SIGKILL)
  return workers.Result(str(task), lines=(f'{task} in {os.getpid()}',), frames=task**2)


def check(results):
  assert [result.frames for result in results] == [1, 0, 9, 0, 25]
  assert results[1].errors == ('bad.h5: truncated: download it again',)
  assert results[3].errors == ("d: KeyError: 'coords'",)
  assert not results[0].errors


def test_in_this_process():
  results = workers.run(square, [1, 'bad', 3, 'odd', 5], names='abcde', num_workers=1)
  check(results)
  assert results[0].lines == (f'1 in {os.getpid()}',)


@pytest.fixture(scope='module')
def dask_results():
  """Two local processes; a task that kills its process loses neither the others nor itself."""
  return workers.run(square, [1, 'bad', 3, 'odd', 5, 'fatal'], names='abcdef', num_workers=2)


def test_local_processes(dask_results):
  check(dask_results[:5])
  pids = {result.lines[0].split()[-1] for result in dask_results if result.lines}
  assert pids
  assert str(os.getpid()) not in pids


def test_dead_process(dask_results):
  (line,) = dask_results[5].errors
  assert line.startswith('f: KilledWorker')


def complain(task):
  # As a worker does whose scheduler is gone before it is.
  logging.getLogger('distributed.worker').error('heartbeat failed')
  return workers.Result(str(task), frames=1)


def test_what_workers_log_at_their_end_is_not_shown(capfd):
  results = workers.run(complain, [1, 2], names='ab', num_workers=2)
  assert [result.frames for result in results] == [1, 1]
  assert 'heartbeat' not in capfd.readouterr().err


def test_no_cluster_there():
  dask = pytest.importorskip('dask')
  with (
    dask.config.set({'distributed.comm.timeouts.connect': '200ms'}),
    pytest.raises(InputError, match=r'tcp://127\.0\.0\.1:9: no Dask scheduler answers'),
  ):
    workers.run(square, [1, 2], names='ab', scheduler='tcp://127.0.0.1:9')


def test_cluster(tmp_path):
  """`--scheduler` runs the tasks in workers that somebody else started."""
  distributed = pytest.importorskip('distributed')
  with distributed.LocalCluster(
    n_workers=1, processes=False, dashboard_address=None, host='127.0.0.1', protocol='tcp'
  ) as cluster:
    results = workers.run(square, [1, 'bad', 3], names='abc', scheduler=cluster.scheduler_address)
  assert [result.frames for result in results] == [1, 0, 9]


def test_summary(capsys):
  good = workers.Result('a', lines=('a: fine', 'shared'), frames=7)
  assert workers.summarize([good, workers.Result('b', lines=('shared',), frames=1)]) == 0
  assert capsys.readouterr().out.splitlines() == [
    'a: fine',
    'shared',
    '8 frames written; 2 files read, no errors',
  ]
  assert workers.summarize([good, workers.Result('b', errors=('b: broken\n  here',))]) == 1
  printed = capsys.readouterr()
  assert printed.err == 'error: b: broken here\n'
  assert '7 frames written; 2 files read, 1 of them with the errors above' in printed.out


def test_progress_in_a_log():
  code = (
    'from tempo_jax import workers\n'
    'from tests import test_workers\n'
    'workers.run(test_workers.square, [2, 3], names="ab", num_workers=1)'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stderr.splitlines()[-1].startswith('2 of 2 files, ')

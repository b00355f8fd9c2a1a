"""What stays of a run that was stopped, file by file."""

import errno
import os

import pytest

from tempo_jax.errors import InputError
from tempo_jax.output import unfinished

METADATA = '{"versions": {"tempo_jax": "1"}}'


def tree(folder):
  """Paths of all files, without the lock."""
  return sorted(
    str(path.relative_to(folder))
    for path in folder.rglob('*')
    if path.is_file() and path.name != '.lock'
  )


def stop(out, *names, error=None):
  """Leaves these files in the result, and another under way."""
  with (  # noqa: PT012
    pytest.raises((KeyboardInterrupt, InputError)) as raised,
    unfinished.output_directory(out, {'for': 'a'}, 4) as work,
  ):
    for name in names:
      (work.result / name).write_text('new')
    (work.partial / 'trajectory_r4.xtc').write_text('half')
    raise error or KeyboardInterrupt
  return str(raised.value)


def test_finished_trajectories_stay_and_a_report_does_not(tmp_path):
  out = tmp_path / 'parent' / 'out'
  names = 'report.html', 'topology.pdb', 'trajectory_r1.xtc', 'trajectory_r2.xtc'
  assert stop(out, *names).startswith('stopped; 2 of 4 trajectories are kept')
  hidden = [
    f'.out.unfinished/{name}' for name in ('made_for.json', *(f'result/{x}' for x in names))
  ]
  assert tree(out.parent) == hidden
  with unfinished.output_directory(out, {'for': 'a'}, 4) as work:
    assert tree(work.result) == list(names[1:])
    assert not list(work.partial.iterdir())
    assert work.replaced == 0
  assert tree(out.parent) == [f'out/{name}' for name in names[1:]]


def test_nothing_stays_without_a_trajectory(tmp_path):
  assert stop(tmp_path / 'parent' / 'out', 'topology.pdb') == 'stopped; nothing was written'
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('record', ['{"for": "b"}', '', None])
def test_what_was_made_for_something_else_is_replaced(tmp_path, record):
  stop(tmp_path / 'out', 'trajectory.xtc', 'other')
  path = tmp_path / '.out.unfinished' / 'made_for.json'
  path.unlink()
  if record is not None:
    path.write_text(record)
  with unfinished.output_directory(tmp_path / 'out', {'for': 'a'}, 4) as work:
    assert work.replaced == 1
    assert not list(work.result.iterdir())


def test_errors_name_the_directory_that_was_asked_for(tmp_path):
  out = tmp_path / 'out'
  said = stop(out, 'trajectory.xtc', error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
  assert said.startswith(f'cannot write {out}: No space left on device')
  assert said.endswith('; 1 of 4 trajectories are kept: the same command goes on')
  for part in ('result', 'partial'):
    with (
      pytest.raises(InputError, match=rf'^{out}/x: too big; 1 of 4 '),
      unfinished.output_directory(out, {'for': 'a'}, 4) as work,
    ):
      raise InputError(f'{getattr(work, part) / "x"}: too big')

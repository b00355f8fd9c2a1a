import errno
import json
import os
import re

import pytest

from tempo_jax.errors import InputError
from tempo_jax.output import staging

OURS = re.compile(r'result\d?|metadata.json')
METADATA = '{"versions": {"tempo_jax": "1"}}'
WRITTEN = {'out': None, 'out/metadata.json': METADATA}


def tree(folder):
  return {
    str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in folder.rglob('*')
  }


def write(out, overwrite=False, name='result', text='new', error=None):
  with staging.output_directory(out, OURS, overwrite) as folder:
    (folder / name).write_text(text)
    (folder / 'metadata.json').write_text(METADATA)
    if error:
      raise error


def test_appears_at_the_end_with_its_parents(tmp_path):
  out = tmp_path / 'a' / 'b'
  with staging.output_directory(out, OURS) as folder:
    (folder / 'result').write_text('new')
    assert not out.exists()
  assert tree(tmp_path) == {'a': None, 'a/b': None, 'a/b/result': 'new'}
  assert out.stat().st_mode & 0o777 == 0o777 & ~_umask()


def _umask():
  umask = os.umask(0)
  os.umask(umask)
  return umask


@pytest.mark.parametrize('error', [RuntimeError('x'), KeyboardInterrupt()])
def test_leaves_nothing_when_it_fails(tmp_path, error):
  with pytest.raises(type(error)):
    write(tmp_path / 'a' / 'b', error=error)
  assert tree(tmp_path) == {}


def test_refuses_what_exists_before_anything_else(tmp_path):
  write(tmp_path / 'out')
  entered = False
  with (
    pytest.raises(InputError, match=r'--out=.*/out exists already: .*--overwrite'),
    staging.output_directory(tmp_path / 'out', OURS),
  ):
    entered = True
  assert not entered
  assert tree(tmp_path) == {**WRITTEN, 'out/result': 'new'}


def test_refuses_a_file(tmp_path):
  (tmp_path / 'out').write_text('precious')
  with pytest.raises(InputError, match='is a file'):
    write(tmp_path / 'out', overwrite=True)
  assert tree(tmp_path) == {'out': 'precious'}


def test_overwrites_its_own_files_only(tmp_path):
  out = tmp_path / 'out'
  write(out, text='old')
  write(out, overwrite=True, name='result2', text='old')
  (out / 'notes').write_text('mine')
  assert not (out / 'result').exists()
  write(out, overwrite=True)
  assert tree(tmp_path) == {**WRITTEN, 'out/result': 'new', 'out/notes': 'mine'}


def write_folders(out, *names):
  with staging.output_directory(out, OURS, overwrite=out.exists(), folders=names) as folder:
    for name in names:
      (folder / name).mkdir()
      for file in ('result', 'metadata.json'):
        (folder / name / file).write_text(METADATA)
    metadata = METADATA.replace('}}', f'}}, "structures": {json.dumps(dict.fromkeys(names))}}}')
    (folder / 'metadata.json').write_text(metadata)


def test_overwrites_its_own_folders_only(tmp_path):
  out = tmp_path / 'out'
  write_folders(out, 'a', 'b', 'c')
  write(out / 'other')
  (out / 'b' / 'notes').write_text('mine')
  before = tree(out / 'other')
  write_folders(out, 'a', 'd')
  assert set(tree(out)) == {
    *('metadata.json', 'a', 'a/result', 'a/metadata.json', 'd', 'd/result', 'd/metadata.json'),
    *('b', 'b/notes', 'other', 'other/result', 'other/metadata.json'),
  }
  assert tree(out / 'other') == before
  with pytest.raises(InputError, match=r'/out/b is not an output of tempo_jax'):
    write_folders(out, 'b')


@pytest.mark.parametrize('metadata', [None, '{}', '[1]', 'half {', '{"versions": {"other": "1"}}'])
def test_overwrites_no_folder_of_others(tmp_path, metadata):
  out = tmp_path / 'out'
  out.mkdir()
  (out / 'result').write_text('precious')
  if metadata:
    (out / 'metadata.json').write_text(metadata)
  before = tree(tmp_path)
  entered = False
  with (
    pytest.raises(InputError, match=r'/out is not an output of tempo_jax.*: give another --out'),
    staging.output_directory(out, OURS, overwrite=True),
  ):
    entered = True
  assert not entered
  assert tree(tmp_path) == before


def test_overwrites_an_empty_folder(tmp_path):
  (tmp_path / 'out').mkdir()
  write(tmp_path / 'out', overwrite=True)
  assert tree(tmp_path) == {**WRITTEN, 'out/result': 'new'}


def test_overwriting_loses_nothing_when_it_fails(tmp_path):
  out = tmp_path / 'out'
  write(out, text='old')
  with pytest.raises(RuntimeError):
    write(out, overwrite=True, text='half', error=RuntimeError())
  assert tree(tmp_path) == {**WRITTEN, 'out/result': 'old'}


def test_a_full_disk_is_one_line(tmp_path):
  with (
    pytest.raises(InputError, match=r'cannot write .*/out: No space left on device'),
    staging.output_directory(tmp_path / 'out', OURS),
  ):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  assert tree(tmp_path) == {}


def test_errors_name_the_directory_that_was_asked_for(tmp_path):
  with (
    pytest.raises(InputError, match=re.escape(f'{tmp_path}/out/result: too big')),
    staging.output_directory(tmp_path / 'out', OURS) as folder,
  ):
    raise InputError(f'{folder / "result"}: too big')


def test_a_parent_that_is_no_directory_is_one_line(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'cannot write .*/file/out: Not a directory'):
    write(tmp_path / 'file' / 'out')


def test_one_run_at_a_time(tmp_path):
  out = tmp_path / 'out'
  for overwrite in (False, True):
    with staging.output_directory(out, OURS, overwrite) as folder:
      (folder / 'result').write_text('first')
      (folder / 'metadata.json').write_text(METADATA)
      before = tree(tmp_path)
      with pytest.raises(InputError, match=r'/out is in use: another process writes into it: wait'):
        write(out, overwrite)
      assert tree(tmp_path) == before
    assert tree(tmp_path) == {**WRITTEN, 'out/result': 'first'}


@pytest.mark.parametrize('overwrite', [False, True])
def test_what_a_killed_run_left_is_replaced(tmp_path, overwrite):
  out, hidden = tmp_path / 'out', tmp_path / '.out.unfinished'
  if overwrite:
    write(out, text='old')
    hidden = out / '.unfinished'
  (hidden / 'result' / 'folder').mkdir(parents=True)
  (hidden / 'result' / 'result2').write_text('half')
  (hidden / 'file').write_text('half')
  write(out, overwrite)
  assert tree(tmp_path) == {**WRITTEN, 'out/result': 'new'}


def test_ctrl_c_says_that_nothing_was_written(tmp_path):
  with pytest.raises(KeyboardInterrupt, match='stopped; nothing was written'):
    write(tmp_path / 'out', error=KeyboardInterrupt())


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_no_permission_is_found_out_before_anything_else(tmp_path):
  tmp_path.chmod(0o500)
  entered = False
  with (
    pytest.raises(InputError, match='Permission denied'),
    staging.output_directory(tmp_path / 'out', OURS),
  ):
    entered = True
  assert not entered

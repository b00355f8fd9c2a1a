"""Files that appear whole or not at all, under the failures that a disk really has."""

import os
import pathlib
import subprocess
import sys
import threading

import pytest

from tempo_jax import files
from tempo_jax.errors import InputError
from tests import disk


def tree(folder):
  return {
    str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob('*')
  }


def test_writes_text_as_it_is(tmp_path):
  files.write_text(tmp_path / 'a' / 'b' / 'x', 'Å\r\n')
  assert tree(tmp_path / 'a') == {'b': None, 'b/x': 'Å\r\n'.encode()}
  umask = os.umask(0)
  os.umask(umask)
  assert (tmp_path / 'a' / 'b' / 'x').stat().st_mode & 0o777 == 0o666 & ~umask


def test_replaces_at_the_end(tmp_path):
  path = tmp_path / 'x.xtc'
  path.write_bytes(b'old')
  with files.aside(path) as new:
    assert new.name == path.name  # writers go by the extension
    assert not new.exists()
    new.write_bytes(b'new')
    assert path.read_bytes() == b'old'
  assert tree(tmp_path) == {'x.xtc': b'new'}


@pytest.mark.parametrize('error', [RuntimeError('x'), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, error):
  (tmp_path / 'x').write_bytes(b'old')
  for path in (tmp_path / 'x', tmp_path / 'a' / 'b' / 'x'):
    with pytest.raises(type(error)), files.aside(path) as new:  # noqa: PT012
      new.write_bytes(b'half')
      raise error
  assert tree(tmp_path) == {'x': b'old'}


def write_directory(path, *contents):
  with files.aside(path) as new:
    new.mkdir()
    for number, content in enumerate(contents):
      (new / str(number)).write_bytes(content)


def test_a_directory_must_be_new_or_empty(tmp_path):
  (tmp_path / 'empty').mkdir()
  for name in ('empty', 'new'):
    write_directory(tmp_path / name, b'1')
  with pytest.raises(InputError, match=r'cannot write .*/new: Directory not empty: .*another name'):
    write_directory(tmp_path / 'new', b'2')
  with pytest.raises(InputError, match=r'cannot write .*/new: Is a directory: choose another name'):
    files.write_bytes(tmp_path / 'new', b'2')
  assert tree(tmp_path) == {'empty': None, 'empty/0': b'1', 'new': None, 'new/0': b'1'}


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
  files.write_bytes(tmp_path / 'x', b'old')
  with disk.files_end_at(1000):
    with pytest.raises(InputError, match=r'^cannot write .*/x: File too large: [^\n]*$'):
      files.write_bytes(tmp_path / 'x', bytes(1001))
    with pytest.raises(InputError, match=r'cannot write .*/a/out: File too large'):
      write_directory(tmp_path / 'a' / 'out', bytes(1000), bytes(1001))
  assert tree(tmp_path) == {'x': b'old'}


def test_a_full_disk_says_what_to_do(tmp_path):
  with (
    pytest.raises(InputError, match=r'/x: No space left on device: free some space'),
    files.aside(tmp_path / 'x'),
  ):
    pathlib.Path('/dev/full').write_bytes(b'x')


def test_errors_of_other_files_are_not_taken_for_its_own(tmp_path):
  with pytest.raises(FileNotFoundError, match='absent'), files.aside(tmp_path / 'x'):
    (tmp_path / 'absent').read_bytes()
  with (
    pytest.raises(InputError, match=rf'^{tmp_path}/x: too big$'),
    files.aside(tmp_path / 'x') as new,
  ):
    raise InputError(f'{new}: too big')
  assert tree(tmp_path) == {}


def test_a_parent_that_is_a_file(tmp_path):
  files.write_bytes(tmp_path / 'x', b'1')
  for path in (tmp_path / 'x' / 'y', tmp_path / 'x' / 'y' / 'z'):
    with pytest.raises(InputError, match=rf'cannot write {path}: Not a directory'):
      files.write_bytes(path, b'2')


def test_the_content_of_two_writers_never_mixes(tmp_path):
  """Both are at it before either ends."""
  barrier = threading.Barrier(2)

  def write(content):
    with files.aside(tmp_path / 'x') as new:
      new.write_bytes(content)
      barrier.wait()

  contents = [b'1' * 1000, b'2' * 2000]
  threads = [threading.Thread(target=write, args=(content,)) for content in contents]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert (tmp_path / 'x').read_bytes() in contents
  assert len(tree(tmp_path)) == 1


def test_a_folder_that_another_process_uses(tmp_path):
  code = (
    'import sys; from tempo_jax import files\nwith files.in_use(sys.argv[1], "works there"): pass'
  )

  def other():
    command = [sys.executable, '-c', code, str(tmp_path)]
    return subprocess.run(command, capture_output=True, text=True)

  with files.in_use(tmp_path, 'works there'):
    done = other()
  assert done.returncode == 1
  assert f'InputError: {tmp_path} is in use: another process works there: wait' in done.stderr
  assert other().returncode == 0
  with files.in_use(tmp_path, 'works there'):  # And again by this one.
    pass

"""Files and directories that appear whole or not at all.

Everything is written aside, into a hidden folder `.partial_*` next to its destination, and renamed
when complete. So:

- A failure leaves what was there before, and removes what was written so far. Only a killed process
  leaves its `.partial_*` behind, which may be deleted.
- The content reaches the disk before the rename: after a power failure, too, the old content is
  there or the new.
- Missing folders are made, and removed again after a failure.
- Of two writers at once the last to finish wins; their content never mixes.
- A disk that is full, a folder without permission, ... end in an `InputError` of one line that
  names the destination.
"""

import contextlib
import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

from tempo_jax.errors import InputError

LOCK = '.lock'
"""The file that `in_use` makes in a folder."""

_REMEDIES = {
  **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), 'free some space, or choose another place'),
  **dict.fromkeys((errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR), 'choose another name'),
}


@contextlib.contextmanager
def in_use(folder: str | os.PathLike[str], what: str) -> Iterator[None]:
  """Keeps a folder to this process, by a lock that ends with it.

  Where neither the system nor the disk has locks, nothing is kept.

  Args:
    folder: it is there; a hidden file in it holds the lock.
    what: the process does there, e.g. 'trains into it'.

  Raises:
    InputError: another process has it.
  """
  try:
    import fcntl  # Unix only
  except ImportError:
    yield
    return
  with open(pathlib.Path(folder) / LOCK, 'a') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise InputError(
        f'{folder} is in use: another process {what}: wait for it, or give another folder'
      ) from None
    except OSError:  # A file system without locks.
      pass
    yield


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a text file in UTF-8, line ends as they are; see the module for what happens when.

  Raises:
    InputError: it cannot be written.
  """
  write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
  """Writes a file; see the module for what happens when.

  Raises:
    InputError: it cannot be written.
  """
  with aside(path) as new:
    new.write_bytes(content)


def copy(source: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
  """Copies the content of a file; see the module for what happens when.

  Raises:
    InputError: it cannot be written.
    OSError: the source cannot be read.
  """
  with aside(path) as new:
    shutil.copyfile(source, new)


@contextlib.contextmanager
def aside(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Replaces a file, or makes a directory, when the block ends without an error.

      with files.aside('out/frames.csv') as new:
        new.write_text(...)

  Args:
    path: the destination: a file, which is replaced, or a directory, which must be new or empty. A
      symbolic link is replaced, not followed.

  Yields:
    A path of the same name, at which nothing is yet. The block makes a file there, or a directory
    with files in it.

  Raises:
    InputError: it cannot be written. An InputError of the block gives the destination for the
      passing path; an OSError that names a file elsewhere passes unchanged.
  """
  path = pathlib.Path(path).expanduser().absolute()
  with made_folder(path.parent, path), hidden_folder(path.parent, path) as folder:
    new = folder / path.name
    yield new
    flush_to_disk(new)
    new.replace(path)


@contextlib.contextmanager
def made_folder(folder: pathlib.Path, path: pathlib.Path) -> Iterator[None]:
  """Makes a folder and its parents, and removes them again if the block leaves them empty.

  Args:
    folder: may be there already.
    path: what error messages call the destination.

  Raises:
    InputError: it cannot be made.
  """
  missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
  try:
    if missing:
      folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise _cannot_write(path, error) from error
  try:
    yield
  finally:
    with contextlib.suppress(OSError):  # what was written is in it
      for parent in missing:
        parent.rmdir()


@contextlib.contextmanager
def hidden_folder(parent: pathlib.Path, path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A folder on the disk of the destination, removed at the end with all that is still in it.

  Args:
    parent: folder that it is made in, and that error messages name in its place.
    path: what other error messages call the destination.

  Raises:
    InputError: it, or something in it, cannot be written.
  """
  try:
    temporary = tempfile.TemporaryDirectory(
      prefix='.partial_', dir=parent, ignore_cleanup_errors=True
    )
  except OSError as error:
    raise _cannot_write(path, error) from error
  with temporary as folder, errors_name(parent, pathlib.Path(folder), path):
    yield pathlib.Path(folder)


@contextlib.contextmanager
def errors_name(
  parent: pathlib.Path, folder: pathlib.Path, path: pathlib.Path | None = None
) -> Iterator[None]:
  """Makes errors name the destination, not the folder in which it is made.

  Args:
    parent: what messages name in place of the folder.
    folder: hidden, in which the destination is made.
    path: what other messages call the destination; by default `parent`.

  Raises:
    InputError: one of the block, or an OSError of the folder.
  """
  try:
    yield
  except (BrokenPipeError, ConnectionError, TimeoutError):  # Of other things than files.
    raise
  except OSError as error:
    if error.filename is not None and not str(error.filename).startswith(str(folder)):
      raise
    raise _cannot_write(path or parent, error) from error
  except InputError as error:
    raise InputError(str(error).replace(str(folder), str(parent))) from error


def flush_to_disk(path: pathlib.Path) -> None:
  """A file, or every file of a directory."""
  for file in [path, *path.rglob('*')]:
    if file.is_file():
      handle = os.open(file, os.O_RDONLY)
      try:
        os.fsync(handle)
      finally:
        os.close(handle)


def _cannot_write(path: pathlib.Path, error: OSError) -> InputError:
  remedy = _REMEDIES.get(error.errno or 0, 'choose another place')
  return InputError(f'cannot write {path}: {error.strerror or error}: {remedy}')

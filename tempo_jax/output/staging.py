"""Output directories that appear whole or not at all.

They are made in a hidden folder of a fixed name beside the destination, or in it where it exists
already. One run at a time has that folder, by a lock; what a killed process left in it is replaced.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Collection, Iterator

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.output import trajectory_files

FOLDERS = 'structures'
"""What metadata.json calls the folders of a run that wrote several."""
_HIDDEN = '.unfinished'


@contextlib.contextmanager
def output_directory(
  out: str | os.PathLike[str],
  ours: re.Pattern[str],
  overwrite: bool = False,
  folders: Collection[str] = (),
) -> Iterator[pathlib.Path]:
  """A folder to write into that becomes `out` when the block ends, and is gone when it fails.

  Whether `out` can be written is found out on entry. Where `out` exists, its files are replaced
  one by one at the end, those of an earlier run that have no successor are removed, and what
  `ours` does not match stays.

  Args:
    out: the directory wanted; missing parents are made.
    ours: matches the whole name of every file that may be written.
    overwrite: accept that `out` exists, empty or written by an earlier run.
    folders: names of the folders in it that will be written, too; metadata.json must list them
      as `FOLDERS`.

  Yields:
    The folder to write into.

  Raises:
    InputError: `out` exists, or holds what no run wrote, or it cannot be written: permission,
      space, ...; or another run is writing it.
  """
  with begun(out, overwrite, folders) as place:
    place.clear()
    try:
      yield place.result
    except KeyboardInterrupt:
      raise KeyboardInterrupt('stopped; nothing was written') from None
    place.finish(ours)


@dataclasses.dataclass(frozen=True)
class Place:
  """Where an output directory is made.

  Attributes:
    out: the directory wanted.
    folder: hidden, on the disk of `out`, and kept to this process.
  """

  out: pathlib.Path
  folder: pathlib.Path

  @property
  def result(self) -> pathlib.Path:
    """The folder that becomes `out`, or whose files go there."""
    return self.folder / 'result'

  def clear(self) -> None:
    """Removes what an earlier run left, and makes an empty `result`."""
    for path in self.folder.iterdir():
      if path.is_dir():
        shutil.rmtree(path)
      elif path.name != files.LOCK:
        path.unlink()
    self.result.mkdir()

  def finish(self, ours: re.Pattern[str]) -> None:
    """Puts `result` into its place; see `output_directory`."""
    files.flush_to_disk(self.result)
    if self.folder.parent == self.out:
      _replace_files(self.result, self.out, ours)
    else:
      self.result.replace(self.out)


@contextlib.contextmanager
def begun(
  out: str | os.PathLike[str],
  overwrite: bool,
  folders: Collection[str],
  keep: Callable[[Place], bool] = lambda place: False,
) -> Iterator[Place]:
  """The place where `out` is made, for this process alone; removed at the end.

  Args:
    out: see `output_directory`; so are the next two, and the errors.
    overwrite: see there.
    folders: see there.
    keep: whether to leave the hidden folder behind after all.
  """
  try:
    out = pathlib.Path(out).expanduser().resolve()
    replace = _may_replace(out, overwrite, folders)
  except OSError as error:
    raise InputError(f'cannot write {out}: {error.strerror or error}') from error
  place = Place(out, out / _HIDDEN if replace else out.with_name(f'.{out.name}{_HIDDEN}'))
  with (
    files.made_folder(place.folder.parent, out),
    files.errors_name(out, place.folder),
    files.errors_name(out, place.result),
  ):
    place.folder.mkdir(exist_ok=True)
    with files.in_use(place.folder, 'writes into it'):
      try:
        yield place
      finally:
        if not keep(place):
          shutil.rmtree(place.folder, ignore_errors=True)


def _may_replace(out: pathlib.Path, overwrite: bool, folders: Collection[str]) -> bool:
  """Whether there is something to replace."""
  if not out.exists():
    return False
  if not out.is_dir():
    raise InputError(f'--out={out} is a file: give a directory')
  if not overwrite:
    raise InputError(f'--out={out} exists already: choose another, or replace it with --overwrite')
  replaced = [out, *(out / name for name in sorted(folders) if (out / name).exists())]
  for path in replaced:
    if not path.is_dir() or (_is_filled(path) and _metadata(path) is None):
      raise InputError(
        f'--out={path} is not an output of tempo_jax, which --overwrite could replace: give '
        'another --out'
      )
  return True


def _is_filled(folder: pathlib.Path) -> bool:
  """Whether anything but what an unfinished run left is in a folder."""
  return any(path.name != _HIDDEN for path in folder.iterdir())


def _metadata(folder: pathlib.Path) -> dict | None:
  """What an earlier run said, if one wrote the folder. Others have a metadata.json, too."""
  try:
    metadata = json.loads((folder / trajectory_files.METADATA).read_text(encoding='utf-8'))
    return metadata if 'tempo_jax' in metadata['versions'] else None
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _replace_files(staging: pathlib.Path, out: pathlib.Path, ours: re.Pattern[str]) -> None:
  earlier = (_metadata(out) or {}).get(FOLDERS, ())
  new = {path.name for path in staging.iterdir()}
  for path in sorted(staging.iterdir()):
    target = out / path.name
    if path.is_dir() and target.exists():
      _replace_files(path, target, ours)
    else:
      os.replace(path, target)
  for path in out.iterdir():
    if path.name in new:
      continue
    if ours.fullmatch(path.name) and not path.is_dir():
      path.unlink()
    elif path.name in earlier and path.is_dir() and _metadata(path) is not None:
      _remove_files(path, ours)


def _remove_files(folder: pathlib.Path, ours: re.Pattern[str]) -> None:
  for path in folder.iterdir():
    if ours.fullmatch(path.name):
      path.unlink()
  with contextlib.suppress(OSError):  # something else is in it
    folder.rmdir()

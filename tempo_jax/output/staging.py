"""Output directories that appear whole or not at all."""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Collection, Iterator

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.output import trajectory_files

FOLDERS = 'structures'
"""What metadata.json calls the folders of a run that wrote several."""


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
      space, ...
  """
  try:
    out = pathlib.Path(out).expanduser().resolve()
    replace = _may_replace(out, overwrite, folders)
  except OSError as error:
    raise InputError(f'cannot write {out}: {error.strerror or error}') from error
  if replace:
    with files.hidden_folder(out, out) as folder:
      yield folder
      _replace_files(folder, out, ours)
  else:
    with files.aside(out) as folder:
      folder.mkdir()
      yield folder


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
    if not path.is_dir() or (any(path.iterdir()) and _metadata(path) is None):
      raise InputError(
        f'--out={path} is not an output of tempo_jax, which --overwrite could replace: give '
        'another --out'
      )
  return True


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

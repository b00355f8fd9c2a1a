"""Trajectories, or other parts, that a stopped run had finished: the same command goes on.

A run's output directory is made in a hidden folder beside it (`staging`):

    .NAME.unfinished/
      made_for.json   all that the frames depend on
      result/         becomes NAME; a trajectory appears in it when it is complete
      partial*/       trajectories under way, of one run

Whatever ends the run, finished trajectories stay there, and the next run that is made for the same
takes them over. Where none is finished, nothing stays.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.output import staging, trajectory_files

_MADE_FOR = 'made_for.json'


@dataclasses.dataclass(frozen=True)
class Work:
  """Where a run writes.

  Attributes:
    result: the folder that becomes the output directory, or whose files go there. It may hold
      files of trajectories that an earlier run had finished, and others that are to be replaced.
    partial: an empty folder on the same disk, for what is not complete.
    replaced: how many finished trajectories of other settings had to go.
  """

  result: pathlib.Path
  partial: pathlib.Path
  replaced: int


@dataclasses.dataclass(frozen=True)
class Parts:
  """What a run finishes one by one.

  Attributes:
    unit: what messages call them.
    is_part: whether a file of this name is one.
    files: matches the whole name of every file of a run.
  """

  unit: str
  is_part: Callable[[str], bool]
  files: re.Pattern[str]


TRAJECTORIES = Parts('trajectories', trajectory_files.is_trajectory, trajectory_files.FILE_NAMES)


@contextlib.contextmanager
def output_directory(
  out: str | os.PathLike[str],
  made_for: Mapping[str, Any],
  num_parts: int,
  overwrite: bool = False,
  folders: Collection[str] = (),
  parts: Parts = TRAJECTORIES,
) -> Iterator[Work]:
  """As `staging.output_directory`; but finished trajectories stay when the block fails.

  Args:
    out: see there; so are `overwrite`, `folders` and what happens at the end.
    made_for: all that frames depend on, as JSON can hold it.
    num_parts: that there will be.
    overwrite: see there.
    folders: see there.
    parts: what stays.

  Yields:
    Where to write.

  Raises:
    InputError: see there. One of the block, and a KeyboardInterrupt, also says what is kept.
  """

  def keep(place: staging.Place) -> bool:
    return count(place.result) > 0

  def count(result: pathlib.Path) -> int:
    """Of the parts in it, all of which are complete."""
    return sum(parts.is_part(path.name) for path in result.rglob('*'))

  with staging.begun(out, overwrite, folders, keep) as place:
    record = place.folder / _MADE_FOR
    text = json.dumps(made_for, indent=2, sort_keys=True)
    replaced = 0
    if _read(record) != text:
      replaced = count(place.result)
      place.clear()
      files.write_text(record, text)
    place.result.mkdir(exist_ok=True)
    for earlier in place.folder.glob('partial*'):  # of a process that was killed
      _remove(earlier)
    # Of a run that was stopped at its very end; this one may have been asked for none.
    for report in place.result.rglob(trajectory_files.REPORT):
      report.unlink()
    partial = pathlib.Path(tempfile.mkdtemp(prefix='partial', dir=place.folder))
    try:
      with files.errors_name(place.out, place.result), files.errors_name(place.out, partial):
        yield Work(place.result, partial, replaced)
      place.finish(parts.files)
    except BaseException as error:
      told = _told(error, count(place.result), num_parts, parts.unit)
      if told is error:
        raise
      raise told from error
    finally:
      _remove(partial)


def _read(record: pathlib.Path) -> str | None:
  try:
    return record.read_text(encoding='utf-8')
  except (OSError, ValueError):
    return None


def _remove(folder: pathlib.Path) -> None:
  # Another process of the run may still write into it.
  shutil.rmtree(folder, ignore_errors=True)


def _told(error: BaseException, kept: int, num_parts: int, unit: str) -> BaseException:
  """The error, or another that also says what is kept."""
  text = f'{kept} of {num_parts} {unit} are kept: the same command goes on'
  if isinstance(error, KeyboardInterrupt):
    return KeyboardInterrupt(f'stopped; {text if kept else "nothing was written"}')
  if kept and isinstance(error, InputError):
    return InputError(f'{error}; {text}')
  if kept:
    error.add_note(text)
  return error

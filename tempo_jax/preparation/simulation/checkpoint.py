"""What a simulation keeps on disk to go on from: checkpoints and JSON files, never half written."""

import dataclasses
import gzip
import json
import os
import pathlib
import zlib
from typing import Any

from tempo_jax import files
from tempo_jax.errors import InputError


@dataclasses.dataclass
class Checkpoint:
  """Where a replica stands.

  Attributes:
    step: of production; in equilibration below zero.
    num_bytes: of the frames up to this step.
    centers: of the chains in the last frame, nm, each [3].
    checks: what was found wrong at the start and the end of production.
    stretches: runs of the program that led here.
    state: of OpenMM, as XML; '' at the very beginning.
  """

  step: int
  num_bytes: int = 0
  centers: list[list[float]] | None = None
  checks: dict[str, list[str]] = dataclasses.field(default_factory=dict)
  stretches: list[dict[str, Any]] = dataclasses.field(default_factory=list)
  state: str = ''


def load(path: pathlib.Path) -> Checkpoint | None:
  """None if there is no such file.

  Raises:
    InputError: it is damaged.
  """
  try:
    return Checkpoint(**json.loads(gzip.decompress(path.read_bytes())))
  except FileNotFoundError:
    return None
  except (OSError, EOFError, ValueError, TypeError, zlib.error) as error:
    raise InputError(f'{path} is damaged: begin anew with --overwrite ({error})') from error


def save(path: pathlib.Path, checkpoint: Checkpoint) -> None:
  """Whole or not at all."""
  content = json.dumps(dataclasses.asdict(checkpoint)).encode()
  files.write_bytes(path, gzip.compress(content, compresslevel=1))


def restore_frames(path: pathlib.Path, finished: pathlib.Path, checkpoint: Checkpoint) -> None:
  """Leaves in the file of frames what belongs to the checkpoint.

  Args:
    path: the file; made from `finished` if it is not there and the checkpoint knows of frames.
    finished: the file of a replica that is to be made longer.
    checkpoint: where the replica stands.

  Raises:
    InputError: frames were lost.
  """
  if not path.exists() and checkpoint.num_bytes and finished.exists():
    files.copy(finished, path)
  path.touch()
  if path.stat().st_size < checkpoint.num_bytes:
    raise InputError(f'{path} has lost frames: begin anew with --overwrite')
  os.truncate(path, checkpoint.num_bytes)


def read_json(path: pathlib.Path) -> dict[str, Any]:
  """Empty where there is no such file, or nothing of this kind in it."""
  try:
    data = json.loads(path.read_text(encoding='utf-8'))
  except (OSError, ValueError):
    return {}
  return data if isinstance(data, dict) else {}


def write_json(path: pathlib.Path, data: dict[str, Any]) -> None:
  """Whole or not at all."""
  files.write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + '\n')

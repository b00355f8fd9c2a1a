"""Frames of a trajectory, completed with hydrogens and minimised: where MD may start.

`tempo_jax.cli.relax` lists the files. This module needs no OpenMM before it relaxes.
"""

import dataclasses
import math
import os
import pathlib
import re
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from tempo_jax import files, progress, version
from tempo_jax.errors import InputError
from tempo_jax.output import unfinished
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.preparation.simulation import simulate
from tempo_jax.relaxation import frames as frames_lib
from tempo_jax.relaxation import table
from tempo_jax.relaxation.table import Settings

TABLE, METADATA = 'relax.csv', 'metadata.json'
_FRAME = r'frame_\d{4,}\.pdb'
_PARTS = unfinished.Parts(
  'frames',
  lambda name: re.fullmatch(_FRAME, name) is not None,
  re.compile(rf'{_FRAME}|{re.escape(TABLE)}|{re.escape(METADATA)}'),
)


def relax(
  topology: str | os.PathLike[str],
  trajectory: str | os.PathLike[str],
  out: str | os.PathLike[str],
  *,
  frames: Sequence[int] = (),
  clusters: int = 10,
  settings: Settings | None = None,
  platform: str = 'auto',
  num_threads: int | None = None,
  overwrite: bool = False,
) -> list[table.Row]:
  """Picks frames, and relaxes them one by one.

  Args:
    topology: file that names the atoms.
    trajectory: with all heavy atoms; hydrogens are placed anew.
    out: directory for the results.
    frames: numbers from 0, from the end below zero.
    clusters: how many representative frames to take if `frames` is empty.
    settings: see there.
    platform: one of OpenMM's; 'auto' is CUDA, else OpenCL, else CPU.
    num_threads: on the CPU platform; by default as many as pay.
    overwrite: replace earlier results.

  Returns:
    What became of the frames, in the order in which they were picked. Those that are not `ok` have
    no file.

  Raises:
    InputError: OpenMM is not installed, the files cannot be used, or `out` cannot be written.
  """
  simulate.require_openmm()
  from tempo_jax.relaxation import frame_relaxer

  started = time.monotonic()
  settings = settings or Settings()
  _check(settings)
  for flag, path in (('topology', topology), ('trajectory', trajectory)):
    if not pathlib.Path(path).is_file():
      raise InputError(f'{path}: no such file: correct --{flag}')
  source = frames_lib.Source.of(topology, trajectory)
  relaxer = frame_relaxer.FrameRelaxer(source, settings, platform, num_threads)
  picked = (
    frames_lib.by_number(source, frames) if frames else frames_lib.representatives(source, clusters)
  )
  _describe(source, str(topology), len(picked))
  made_for = {
    'settings': dataclasses.asdict(settings),
    'files': [_identity(pathlib.Path(path)) for path in (topology, trajectory)],
    'picked': [dataclasses.asdict(frame) for frame in picked],
    'versions': _versions(),
  }
  with unfinished.output_directory(out, made_for, len(picked), overwrite, parts=_PARTS) as places:
    rows = {}
    for path in places.result.glob('frame_*.pdb'):
      row = table.of_file(path)
      rows[row.frame] = row
    if rows:
      print(f'{len(rows)} of {len(picked)} frames are there already')
    populations = {frame.number: frame.population for frame in picked}
    missing = [number for number in populations if number not in rows]
    with progress.Progress(total=len(missing), unit='frame') as shown:
      for done, frame in enumerate(source.read(missing), start=1):
        row = relaxer.relax(frame, populations[frame.number], places.partial, places.result)
        rows[frame.number] = row
        said = row.problem or f'{row.energy_per_residue_kJ_per_mol:.1f} kJ/mol per residue'
        shown.update(1, f'frame {frame.number} ({done} of {len(missing)}): {said}', postfix=said)
    found = [rows[frame.number] for frame in picked]
    files.write_text(places.result / TABLE, table.to_csv(found))
    simulation_checkpoint.write_json(
      places.result / METADATA,
      {
        'topology': str(topology),
        'trajectory': str(trajectory),
        'picked': {'frames': list(frames)} if frames else {'clusters': clusters},
        'num_frames': len(found),
        'num_ok': sum(row.ok for row in found),
        'num_residues': source.protein.num_residues,
        'sequence': source.protein.sequence,
        'warnings': list(source.protein.warnings),
        'left_out': [str(residue) for residue in source.protein.left_out],
        **dataclasses.asdict(settings),
        **relaxer.about(),
        'versions': _versions(),
        'wall_seconds': time.monotonic() - started,
      },
    )
  return found


def _describe(source: frames_lib.Source, topology: str, num_frames: int) -> None:
  protein = source.protein
  print(f'{topology}: {protein.num_residues} residues; {num_frames} frames to relax')
  for residue in protein.left_out:
    if residue.reason != 'a cap':
      print(f'left out: {residue}')
  for warning in protein.warnings:
    print(f'warning: {warning}')


def _check(settings: Settings) -> None:
  for name, least in (('pH', 0.0), ('md_ps', 0.0), ('temperature_K', 1.0)):
    value = getattr(settings, name)
    if not least <= value < math.inf:
      raise InputError(f'--{name}={value}: give a number from {least:g} on')


def _identity(path: pathlib.Path) -> list[Any]:
  status = path.stat()
  return [str(path.resolve()), status.st_size, status.st_mtime_ns]


def _versions() -> dict[str, str]:
  packages = 'openmm', 'pdbfixer', 'mdtraj', 'numpy', 'scipy'
  return {
    'tempo_jax': version.__version__,
    'python': sys.version.split()[0],
    **{package: metadata.version(package) for package in packages},
  }

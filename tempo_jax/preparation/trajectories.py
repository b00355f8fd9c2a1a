"""MD trajectories of one protein, in any format that mdtraj reads -> store."""

import dataclasses
import hashlib
import math
import multiprocessing
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

import mdtraj
import numpy as np

from tempo_jax import progress, workers
from tempo_jax.errors import InputError
from tempo_jax.preparation import frame_checks
from tempo_jax.protein import protein
from tempo_jax.store import store
from tempo_jax.store.frames import Frames
from tempo_jax.trajectory import backbone_atoms, imaging, reader, side_chains
from tempo_jax.trajectory import structure as structure_lib


@dataclasses.dataclass(frozen=True)
class _RawTrajectory:
  """One trajectory file, which becomes one entry."""

  topology: pathlib.Path
  file: pathlib.Path
  store: str
  name: str
  dt_ns: float | None
  temperature_K: float
  replica: int
  split: str
  solvent: str
  overwrite: bool
  block_frames: int | None


def prepare(
  topology: str | os.PathLike,
  trajectories: Sequence[str | os.PathLike],
  store_path: str | os.PathLike,
  *,
  name: str | None = None,
  dt_ns: float | None = None,
  temperature_K: float = 300.0,
  replica: int = 1,
  split: str = 'train',
  solvent: str = 'unknown',
  overwrite: bool = False,
  block_frames: int | None = None,
  num_workers: int | None = None,
  scheduler: str | None = None,
) -> int:
  """Adds trajectories of one protein to a store, and prints what became of each.

  Args:
    topology: file with the atoms of the trajectories, in their order.
    trajectories: files, each one replica.
    store_path: directory of the store.
    name: of the protein; by default that of the topology file.
    dt_ns: time between two frames, ns; by default from the files.
    temperature_K: K.
    replica: number of the first trajectory.
    split: 'train', 'validation' or 'test'.
    solvent: one of `protein.SOLVENTS`.
    overwrite: replace trajectories of the same name, temperature and replica number.
    block_frames: held in memory at a time, at least two; by default 64 MiB of them.
    num_workers: files prepared at once; by default one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if some of several files could not be used, and were reported.

  Raises:
    InputError: the only file cannot be used, or something that concerns all of them.
  """
  for flag, value in (('dt_ns', dt_ns), ('temperature_K', temperature_K)):
    if value is not None and not 0.0 < value < math.inf:
      raise InputError(f'--{flag}={value}: give a number above zero')
  top, *files = (pathlib.Path(file).expanduser() for file in (topology, *trajectories))
  for file in (top, *files):
    if not file.is_file():
      raise InputError(f'{file}: no such file: correct --topology or --trajectories')
  if len(set(files)) < len(files):
    raise InputError('--trajectories names a file twice: each file is one replica')
  name = name or re.sub(r'[^A-Za-z0-9_.+-]+', '_', top.name.split('.')[0])
  with store.StoreWriter(store_path):
    tasks = [
      _RawTrajectory(
        topology=top,
        file=file,
        store=os.fspath(store_path),
        name=name,
        dt_ns=dt_ns,
        temperature_K=temperature_K,
        replica=number,
        split=split,
        solvent=solvent,
        overwrite=overwrite,
        block_frames=block_frames,
      )
      for number, file in enumerate(files, start=replica)
    ]
    results = workers.run(
      _prepare_one,
      tasks,
      names=[str(file) for file in files],
      num_workers=num_workers,
      scheduler=scheduler,
    )
  if all(result.errors for result in results) and len({r.errors for r in results}) == 1:
    raise InputError(results[0].errors[0])  # of the only file, or of the topology
  return workers.summarize(results)


def _prepare_one(raw: _RawTrajectory) -> workers.Result:
  structure = reader.load_structure(raw.topology, raw.file)
  found, atom_index = find_protein(structure, raw.name, raw.topology)
  file = reader.TrajectoryFile(raw.file, structure.topology, raw.topology)
  said = file.contradiction(raw.dt_ns) if raw.dt_ns is not None else None
  blocks, dt_ns = file.even_blocks(raw.dt_ns, raw.block_frames)
  entry = store.Entry.of(
    found,
    temperature_K=raw.temperature_K,
    replica=raw.replica,
    dt_ns=dt_ns,
    sources={path.name: _sha256(path) for path in (raw.topology, raw.file)},
    split=raw.split,
    solvent=raw.solvent,
  )
  frames = 0

  def count(blocks: Iterator[Frames]) -> Iterator[Frames]:
    nonlocal frames
    for block in blocks:
      yield block
      frames += len(block)

  blocks = _report_progress(blocks, entry.key, file.num_frames())
  checked = count(check_geometry(blocks, found, atom_index, raw.file))
  writer = store.StoreWriter(raw.store)
  what = f'{entry.length} residues, {dt_ns:g} ns between frames, from {raw.file}'
  written = writer.add(entry, checked, overwrite=raw.overwrite)
  if not written:
    what = 'there already, skipped'
    if found.arrays.chi is not None and writer.lacks_chi(entry.key):
      what = f'there already, {store.NO_SIDE_CHAINS}'
  return workers.Result(
    name=str(raw.file),
    lines=(
      *(f'warning: {raw.topology}: {line}' for line in found.warnings),
      *([f'warning: {said}'] if said else []),
      f'{entry.key}: {what}',
    ),
    frames=frames,
    num_bytes=raw.file.stat().st_size if written else 0,
  )


def find_protein(
  structure: structure_lib.Structure, name: str, topology: pathlib.Path
) -> tuple[protein.Protein, np.ndarray]:
  """The protein of a topology file, and where its backbone is; see `backbone_atoms.select`.

  Raises:
    InputError: no protein, or one that is not whole.
  """
  found, atom_index = backbone_atoms.select(structure, name, str(topology))
  broken = [str(residue) for residue in found.left_out if 'broken geometry' in residue.reason]
  if broken:
    raise InputError(
      f'{topology}: {broken[0]}: molecules must be whole: re-image it (e.g. gmx trjconv -pbc whole)'
    )
  return found, atom_index


def check_geometry(
  blocks: Iterator[mdtraj.Trajectory],
  found: protein.Protein,
  atom_index: np.ndarray,
  file: pathlib.Path,
  stride: int = 1,
) -> Iterator[Frames]:
  """Yields the backbone of each block, chains beside each other, and its side chains.

  Args:
    blocks: of the trajectory.
    found: its protein.
    atom_index: [L, 4] of its backbone; both from `find_protein`.
    file: what messages name.
    stride: from one frame that is yielded to the next; every one is checked.

  Raises:
    InputError: a molecule is not whole, or not what the topology says.
  """
  start = 0
  images = imaging.ChainImages(found)
  torsions = side_chains.TorsionReader(found)
  for block in blocks:
    positions = backbone_atoms.positions(block, found, atom_index)
    problem = frame_checks.first_problem(positions, found, start)
    if problem:
      raise InputError(f'{file}: {problem.message}')
    if block.unitcell_vectors is not None:
      cells = 10.0 * block.unitcell_vectors.astype(np.float64)
      cut = frame_checks.cut_by_box(positions, cells, found, start)
      if cut:
        raise InputError(f'{file}: {cut}')
    positions = images.follow(positions, block)
    kept = slice(-start % stride, None, stride)
    start += block.n_frames
    yield Frames(positions[kept], torsions.read(block, kept))


def _report_progress(
  blocks: Iterator[mdtraj.Trajectory], label: str, total: int | None
) -> Iterator[mdtraj.Trajectory]:
  done = 0
  # The bars of several processes would overwrite each other.
  alone = multiprocessing.parent_process() is None
  with progress.Progress(bar=alone, desc=label, total=total, unit='frame') as shown:
    for block in blocks:
      yield block
      done += block.n_frames
      shown.update(block.n_frames, f'{label}: {done} of {total or "?"} frames')


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as handle:
    return hashlib.file_digest(handle, 'sha256').hexdigest()

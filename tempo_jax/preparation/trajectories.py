"""MD trajectories of one protein, in any format that mdtraj reads -> store."""

import contextlib
import dataclasses
import hashlib
import itertools
import math
import multiprocessing
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence

import mdtraj
import numpy as np

from tempo_jax import progress, workers
from tempo_jax.errors import InputError
from tempo_jax.preparation import frame_checks
from tempo_jax.protein import protein
from tempo_jax.store import store
from tempo_jax.trajectory import backbone_atoms, trajectory

_BLOCK_BYTES = 64 * 1024**2
_FORMATS_WITH_LENGTH = {'.xtc', '.trr', '.dcd', '.h5', '.hdf5', '.nc'}


@dataclasses.dataclass(frozen=True)
class _RawTrajectory:
  """One trajectory file, which becomes one entry."""

  topology: pathlib.Path
  file: pathlib.Path
  store: str
  name: str
  dt_ns: float | None
  temperature_K: float  # noqa: N815  (K is kelvin)
  replica: int
  split: str
  overwrite: bool


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
  overwrite: bool = False,
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
    overwrite: replace trajectories of the same name, temperature and replica number.
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
        overwrite=overwrite,
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
  with warnings.catch_warnings():
    # About dummy unit cells and optional packages: nothing that the user could act on.
    warnings.filterwarnings('ignore', module='mdtraj')
    structure = trajectory.load_structure(raw.topology, raw.file)
    found, atom_index = find_protein(structure, raw.name, raw.topology)
    blocks, dt_ns = open_blocks(raw.file, structure, raw.dt_ns)
    entry = store.Entry.of(
      found,
      temperature_K=raw.temperature_K,
      replica=raw.replica,
      dt_ns=dt_ns,
      sources={path.name: _sha256(path) for path in (raw.topology, raw.file)},
      split=raw.split,
    )
    frames = 0

    def count(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
      nonlocal frames
      for block in blocks:
        yield block
        frames += len(block)

    blocks = _report_progress(blocks, entry.key, _length(raw.file))
    positions = count(check_geometry(blocks, found, atom_index, raw.file))
    written = store.StoreWriter(raw.store).add(entry, positions, overwrite=raw.overwrite)
  what = f'{entry.length} residues, {dt_ns:g} ns between frames, from {raw.file}'
  return workers.Result(
    name=str(raw.file),
    lines=(
      *(f'warning: {raw.topology}: {line}' for line in found.warnings),
      f'{entry.key}: {what if written else "there already, skipped"}',
    ),
    frames=frames,
    num_bytes=raw.file.stat().st_size if written else 0,
  )


def _read(file: pathlib.Path, structure: mdtraj.Trajectory) -> Iterator[mdtraj.Trajectory]:
  """The frames, in blocks of at least two."""
  frames = max(2, _BLOCK_BYTES // (structure.n_atoms * 12))
  blocks = mdtraj.iterload(str(file), chunk=frames, top=structure.topology)
  for count in itertools.count():
    try:
      with silence():
        block = next(blocks, None)
    except Exception as error:  # mdtraj lets through whatever its readers raise
      raise InputError(
        f'{file}: mdtraj cannot read it beyond frame {count * frames}, with a topology of '
        f'{structure.n_atoms} atoms: give the right topology, or a sound file '
        f'({trajectory.reason(error)})'
      ) from error
    if block is None:
      return
    if block.n_atoms != structure.n_atoms:
      raise InputError(
        f'{file}: has {block.n_atoms} atoms, its topology {structure.n_atoms}: give the '
        'topology that belongs to it'
      )
    yield block


@contextlib.contextmanager
def silence() -> Iterator[None]:
  """Without what the library beneath mdtraj prints, with no end of line, before mdtraj raises."""
  sys.stderr.flush()
  with open(os.devnull, 'w') as nowhere:
    screen = os.dup(2)
    os.dup2(nowhere.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(screen, 2)
      os.close(screen)


def find_protein(
  structure: mdtraj.Trajectory, name: str, topology: pathlib.Path
) -> tuple[protein.Protein, np.ndarray]:
  """The protein of a topology file, and where its backbone is; see `backbone_atoms.select`.

  Raises:
    InputError: no protein, or one that is not whole.
  """
  found, atom_index = backbone_atoms.select(structure, name)
  broken = [str(residue) for residue in found.left_out if 'broken geometry' in residue.reason]
  if broken:
    raise InputError(
      f'{topology}: {broken[0]}: molecules must be whole: re-image it (e.g. gmx trjconv -pbc whole)'
    )
  return found, atom_index


def open_blocks(
  file: pathlib.Path, structure: mdtraj.Trajectory, dt_ns: float | None
) -> tuple[Iterator[mdtraj.Trajectory], float]:
  """Opens a trajectory of any size.

  Args:
    file: any format that mdtraj reads.
    structure: with its topology.
    dt_ns: time between two frames, ns; None to take it from the file.

  Returns:
    The frames, in blocks, and the time between them, ns.

  Raises:
    InputError: from here, or from the iterator: the file cannot be read, has another number of
      atoms, no frames, or times that are missing or not evenly spaced.
  """
  blocks = _read(file, structure)
  first = next(blocks, None)
  if first is None:
    raise InputError(f'{file}: no frames in it: leave it out')
  blocks = itertools.chain([first], blocks)
  # mdtraj counts frames, in whole numbers, where a format has no times.
  if dt_ns is None and np.issubdtype(first.time.dtype, np.integer):
    raise InputError(f'{file}: its format has no times: say how far apart frames are (--dt_ns)')
  if dt_ns is None:
    dt_ns = _time_step_ns(first, file)
    blocks = _check_times(blocks, dt_ns, file)
  return blocks, dt_ns


def _time_step_ns(block: mdtraj.Trajectory, file: pathlib.Path) -> float:
  if block.n_frames < 2:
    raise InputError(f'{file}: one frame only: leave it out')
  # 6 digits: times are float32, and 0.1 ps is not to become 0.10000000149.
  dt_ns = float(f'{(block.time[-1] - block.time[0]) / (block.n_frames - 1) / 1000.0:.6g}')
  if not dt_ns > 0.0:
    raise InputError(f'{file}: its times do not increase: say how far apart frames are (--dt_ns)')
  return dt_ns


def _check_times(
  blocks: Iterator[mdtraj.Trajectory], dt_ns: float, file: pathlib.Path
) -> Iterator[mdtraj.Trajectory]:
  """Passes the blocks on; refuses time steps other than dt_ns."""
  before = np.zeros(0)
  start = 0
  for block in blocks:
    times = np.concatenate([before, block.time.astype(np.float64)])
    steps = np.diff(times)
    rounding = 2.0 * np.spacing(np.float32(np.abs(times).max()))
    (wrong,) = np.nonzero(np.abs(steps - 1000.0 * dt_ns) > 1.0 * dt_ns + rounding)
    if wrong.size:
      frame = start - len(before) + wrong[0]
      raise InputError(
        f'{file}: its time steps vary, between {steps.min():g} and {steps.max():g} ps (after '
        f'frame {frame}): write frames at one time step (e.g. gmx trjconv -dt)'
      )
    before = times[-1:]
    start += block.n_frames
    yield block


def check_geometry(
  blocks: Iterator[mdtraj.Trajectory],
  found: protein.Protein,
  atom_index: np.ndarray,
  file: pathlib.Path,
) -> Iterator[np.ndarray]:
  """Yields backbone positions [F, L, 4, 3] Å of each block.

  Raises:
    InputError: a molecule is not whole, or not what the topology says.
  """
  start = 0
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
    start += block.n_frames
    yield positions


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


def _length(file: pathlib.Path) -> int | None:
  """Number of frames, where that costs little."""
  if file.suffix.lower() not in _FORMATS_WITH_LENGTH:
    return None
  try:
    with mdtraj.open(str(file)) as handle:
      return len(handle)
  except Exception:  # `_read` will say what is wrong
    return None


def _sha256(path: pathlib.Path) -> str:
  with path.open('rb') as handle:
    return hashlib.file_digest(handle, 'sha256').hexdigest()

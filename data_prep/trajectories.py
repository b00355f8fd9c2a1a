r"""Molecular dynamics trajectories of one protein -> store.

    python -m data_prep.trajectories --topology=2jof.pdb --trajectories=R1.xtc,R2.xtc \
        --store=stores/2jof --temperature_K=320

Reads whatever mdtraj reads (XTC, TRR, DCD, HDF5, NetCDF, multi-model PDB, ...), block by block,
so a trajectory may be larger than memory. Each file is one replica. Positions are stored as they
are: molecules may tumble, since training superposes its windows, but must be whole. Every frame
is checked for that, which also finds a topology that orders its atoms differently and
coordinates in wrong units. Running again skips what is there already.
"""

import hashlib
import itertools
import math
import os
import pathlib
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence

import mdtraj
import numpy as np
import tqdm
from absl import flags

from tempo_jax import errors, protein, trajectory
from tempo_jax.data import store
from tempo_jax.errors import InputError

_BLOCK_BYTES = 64 * 1024**2
_FORMATS_WITH_LENGTH = {'.xtc', '.trr', '.dcd', '.h5', '.hdf5', '.nc'}
_SECONDS_BETWEEN_LINES = 30.0

# Within and between bonded residues: atoms, and what no intact molecule exceeds, Å. Ideal are
# 1.46, 1.53, 1.23, 1.33, and 3.80 (cis 2.95); heat and constraints move them by less than 0.4.
_N, _CA, _C, _O = range(4)
_WITHIN = (('N-CA', _N, _CA, 0.9, 2.0), ('CA-C', _CA, _C, 0.9, 2.0), ('C-O', _C, _O, 0.7, 2.0))
_BETWEEN = (('C-N', _C, _N, 0.8, 2.5), ('CA-CA', _CA, _CA, 2.3, 4.5))


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
) -> None:
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

  Raises:
    InputError: something cannot be used. The trajectories before it are in the store.
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
  with warnings.catch_warnings(), store.StoreWriter(store_path) as writer:
    # About dummy unit cells and optional packages: nothing that the user could act on.
    warnings.filterwarnings('ignore', module='mdtraj')
    for number, file in enumerate(files, start=replica):
      structure = trajectory.load_structure(top, file)
      found, atom_index = _find_protein(structure, name, top)
      for line in found.warnings if number == replica else ():
        print(f'warning: {top}: {line}', file=sys.stderr)
      blocks, file_dt_ns = _open(file, structure, dt_ns)
      entry = store.Entry.of(
        found,
        temperature_K=temperature_K,
        replica=number,
        dt_ns=file_dt_ns,
        sources={path.name: _sha256(path) for path in (top, file)},
        split=split,
      )
      blocks = _report_progress(blocks, entry.key, _length(file))
      positions = _check_geometry(blocks, found, atom_index, file)
      written = writer.add(entry, positions, overwrite=overwrite)
      what = f'{entry.length} residues, {file_dt_ns:g} ns between frames, from {file}'
      print(f'{entry.key}: {what if written else "there already, skipped"}')


def _read(file: pathlib.Path, structure: mdtraj.Trajectory) -> Iterator[mdtraj.Trajectory]:
  """The frames, in blocks of at least two."""
  frames = max(2, _BLOCK_BYTES // (structure.n_atoms * 12))
  blocks = mdtraj.iterload(str(file), chunk=frames, top=structure.topology)
  for count in itertools.count():
    try:
      block = next(blocks, None)
    except Exception as error:  # as above
      raise InputError(
        f'{file}: mdtraj cannot read it beyond frame {count * frames}, with a topology of '
        f'{structure.n_atoms} atoms: give the right --topology, or a sound file '
        f'({trajectory.reason(error)})'
      ) from error
    if block is None:
      return
    if block.n_atoms != structure.n_atoms:
      raise InputError(
        f'{file}: has {block.n_atoms} atoms, its topology {structure.n_atoms}: give the '
        '--topology that belongs to it'
      )
    yield block


def _find_protein(
  structure: mdtraj.Trajectory, name: str, topology: pathlib.Path
) -> tuple[protein.Protein, np.ndarray]:
  found, atom_index = protein.from_mdtraj(structure, name)
  broken = [str(residue) for residue in found.left_out if 'broken geometry' in residue.reason]
  if broken:
    raise InputError(
      f'{topology}: {broken[0]}: molecules must be whole: re-image it (e.g. gmx trjconv -pbc whole)'
    )
  return found, atom_index


def _open(
  file: pathlib.Path, structure: mdtraj.Trajectory, dt_ns: float | None
) -> tuple[Iterator[mdtraj.Trajectory], float]:
  """The frames, in blocks, and the time between them, ns: dt_ns, or what the file says."""
  blocks = _read(file, structure)
  first = next(blocks, None)
  if first is None:
    raise InputError(f'{file}: no frames in it: leave it out')
  blocks = itertools.chain([first], blocks)
  # mdtraj counts frames, in whole numbers, where a format has no times.
  if dt_ns is None and np.issubdtype(first.time.dtype, np.integer):
    raise InputError(f'{file}: its format has no times: give the time between frames by --dt_ns')
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
    raise InputError(f'{file}: its times do not increase: give the time between frames by --dt_ns')
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
        f'frame {frame}): write frames at one time step (e.g. gmx trjconv -dt), or give '
        '--dt_ns if only the times are wrong'
      )
    before = times[-1:]
    start += block.n_frames
    yield block


def _check_geometry(
  blocks: Iterator[mdtraj.Trajectory],
  found: protein.Protein,
  atom_index: np.ndarray,
  file: pathlib.Path,
) -> Iterator[np.ndarray]:
  """Yields backbone positions [F, L, 4, 3] Å; refuses molecules that are not whole."""
  bonded = np.flatnonzero(found.arrays.bonded)
  chain = found.arrays.chain_index
  (gaps,) = np.nonzero(~found.arrays.bonded[:-1] & (chain[1:] == chain[:-1]))
  start = 0
  for block in blocks:
    positions = trajectory.backbone_positions(block, found, atom_index)
    everyone = np.arange(len(chain))
    for pairs, shift, limits in ((everyone, 0, _WITHIN), (bonded, 1, _BETWEEN)):
      for bond, a, b, low, high in limits:
        length = np.linalg.norm(positions[:, pairs, a] - positions[:, pairs + shift, b], axis=-1)
        wrong = ~((length > low) & (length < high))
        if wrong.any():
          frame, pair = np.argwhere(wrong)[0]
          where = _label(found, pairs[pair])
          where += f' and {_label(found, pairs[pair] + 1)}' if shift else ''
          raise InputError(
            f'{file}: frame {start + frame}: {bond} of {where} is {length[frame, pair]:.2f} Å: '
            + _diagnosis(np.median(length) / (0.5 * (low + high)), length[frame], high)
          )
    _check_gaps(positions, block.unitcell_vectors, gaps, found, file, start)
    start += block.n_frames
    yield positions


def _diagnosis(ratio: float, lengths: np.ndarray, high: float) -> str:
  """What is probably wrong: the units, the periodic box, or the order of the atoms."""
  if ratio > 5.0 or ratio < 0.2:
    return 'lengths are wrong as a whole, so its units are probably not those of its format'
  if np.mean(lengths > high) < 0.5 and lengths.max() > 3.0 * high:
    return (
      'the molecule is probably broken over the periodic box: re-image it (e.g. gmx trjconv '
      '-pbc whole, or mdtraj make_molecules_whole)'
    )
  return 'the atoms of --topology are probably in another order: give the one it was written with'


def _check_gaps(
  positions: np.ndarray,
  box: np.ndarray | None,
  gaps: np.ndarray,
  found: protein.Protein,
  file: pathlib.Path,
  start: int,
) -> None:
  """A chain that the topology shows broken, while its parts meet in the next periodic box."""
  if box is None or not gaps.size:
    return
  cells = 10.0 * box.astype(np.float64)  # [F, 3, 3] Å, rows are the box vectors
  step = positions[:, gaps + 1, _N] - positions[:, gaps, _C]
  nearest = step - np.round(step @ np.linalg.inv(cells)) @ cells
  cut = (np.linalg.norm(step, axis=-1) > 2.5) & (np.linalg.norm(nearest, axis=-1) < 2.0)
  if cut.any():
    frame, gap = np.argwhere(cut)[0]
    where = f'{_label(found, gaps[gap])} and {_label(found, gaps[gap] + 1)}'
    raise InputError(
      f'{file}: frame {start + frame}: the periodic box cuts the chain between {where}: re-image '
      'it and its topology (e.g. gmx trjconv -pbc whole)'
    )


def _label(found: protein.Protein, residue: int) -> str:
  number = f'{found.residue_number[residue]}{found.insertion_code[residue]}'
  return f'{found.residue_names[residue]} {number}'


def _report_progress(
  blocks: Iterator[mdtraj.Trajectory], label: str, total: int | None
) -> Iterator[mdtraj.Trajectory]:
  """A bar on a terminal; a line now and then in a log."""
  done, last = 0, time.monotonic()
  with tqdm.tqdm(desc=label, total=total, unit='frame', disable=None, leave=False) as bar:
    for block in blocks:
      yield block
      bar.update(block.n_frames)
      done += block.n_frames
      if bar.disable and time.monotonic() - last > _SECONDS_BETWEEN_LINES:
        print(f'{label}: {done} of {total or "?"} frames', file=sys.stderr, flush=True)
        last = time.monotonic()


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


def define_flags() -> None:
  """Called by the binary only: other binaries have flags of the same names."""
  flags.DEFINE_string(
    'topology',
    None,
    'Structure with the atoms of the trajectories in their order: PDB, GRO, HDF5, PRMTOP, PSF, '
    '... Its coordinates, if it has any, say which residues are bonded. Required.',
  )
  flags.DEFINE_list(
    'trajectories',
    None,
    'Trajectory files, comma-separated, each one replica: any format that mdtraj reads. Required.',
  )
  flags.DEFINE_string(
    'store', None, 'Directory of the store; made if it is not there, else added to. Required.'
  )
  flags.DEFINE_string(
    'name', None, 'Name of the protein in the store. Default: that of the topology file.'
  )
  flags.DEFINE_float(
    'dt_ns',
    None,
    'Time between two frames, ns. Default: from the file. Needed for formats without times (DCD, '
    'PDB, XYZ, ...); where a file has times, this overrides them.',
  )
  flags.DEFINE_float(
    'temperature_K', 300.0, 'Temperature of the simulation, K; the model is conditioned on it.'
  )
  flags.DEFINE_integer(
    'replica', 1, 'Number of the first trajectory; the others count on from it.', lower_bound=0
  )
  flags.DEFINE_enum(
    'split', 'train', ['train', 'validation', 'test'], 'What the trajectories are for.'
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace trajectories of the same name, temperature and replica number.'
  )


def main(argv: Sequence[str]) -> None:
  """From the flags to `prepare`."""
  del argv
  values = flags.FLAGS
  for flag in ('topology', 'trajectories', 'store'):
    if not values[flag].value:
      raise InputError(f'--{flag} is missing: --help says what it takes')
  prepare(
    values.topology,
    values.trajectories,
    values.store,
    name=values.name,
    dt_ns=values.dt_ns,
    temperature_K=values.temperature_K,
    replica=values.replica,
    split=values.split,
    overwrite=values.overwrite,
  )
  if not values['temperature_K'].present:
    print(f'note: stored as {values.temperature_K:g} K; say otherwise with --temperature_K')


if __name__ == '__main__':
  define_flags()
  errors.run(main)

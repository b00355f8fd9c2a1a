"""Reads trajectory files of every format that mdtraj reads, block by block; PDB and mmCIF itself.

    structure = reader.load_structure('run.pdb', 'run.xtc')
    protein, atom_index = backbone_atoms.select(structure, 'run')
    file = reader.TrajectoryFile('run.xtc', structure.topology, source='run.pdb')
    for block in file.blocks():
      positions = backbone_atoms.positions(block, protein, atom_index)

The readers of mdtraj raise whatever they come upon, warn of dummy unit cells, and let the library
beneath them print. Here every failure is an `InputError` of one line that names the file, and
nothing is printed.
"""

import contextlib
import ctypes
import dataclasses
import itertools
import os
import pathlib
import sys
import warnings
from collections.abc import Generator, Iterator

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import atom_records, residues
from tempo_jax.trajectory import structure as structure_lib
from tempo_jax.trajectory import times

_MOST_ROUNDING = 0.1  # of a time step, by which times may be rounded
_BLOCK_BYTES = 64 * 1024**2
_WITHOUT_COORDINATES = ('.prmtop', '.parm7', '.prm7', '.psf')
# Formats beside PDB and mmCIF whose files say which atoms they hold.
_WITH_ATOMS = ('.h5', '.hdf5')
_WITH_LENGTH = ('.xtc', '.trr', '.dcd', '.h5', '.hdf5', '.nc')


def load_structure(
  topology: str | os.PathLike[str], file: str | os.PathLike[str]
) -> structure_lib.Structure:
  """The atoms of a trajectory in one conformation.

  Args:
    topology: structure or topology file: PDB, mmCIF, or of any format that mdtraj reads.
    file: the trajectory; its first frame is the conformation where `topology` holds none.

  Raises:
    InputError: they cannot be read, or hold no atoms.
  """
  if structure_lib.is_pdb_or_mmcif(topology):
    return structure_lib.of_file(topology)
  suffix = pathlib.Path(topology).suffix.lower()
  sound = 'give a PDB file'
  try:
    with quiet():
      if suffix in _WITHOUT_COORDINATES:
        atoms = (mdtraj.load_psf if suffix == '.psf' else mdtraj.load_prmtop)(str(topology))
        sound = f'give one that belongs to {file}, or a sound trajectory'
        first = mdtraj.load_frame(str(file), 0, top=atoms)
      else:
        try:
          first = mdtraj.load_frame(str(topology), 0)
        except NotImplementedError:  # GRO
          first = mdtraj.load(str(topology))[0]
  except Exception as error:  # mdtraj's readers raise whatever they come upon
    raise InputError(
      f'{topology}: mdtraj cannot read it as a topology: {sound} ({reason(error)})'
    ) from error
  return structure_lib.of_mdtraj(first)


def holds_its_atoms(path: pathlib.Path) -> bool:
  """Whether files of this format say which atoms they hold."""
  return structure_lib.is_pdb_or_mmcif(path) or path.name.lower().endswith(_WITH_ATOMS)


def num_atoms(path: pathlib.Path) -> int | None:
  """Number of atoms of a trajectory file; None where its format does not say, or it is damaged."""
  try:
    with quiet(), mdtraj.open(str(path)) as file:
      xyz = file.read(n_frames=1)
      return int(np.shape(xyz[0] if isinstance(xyz, tuple) else xyz)[-2])
  except Exception:  # `TrajectoryFile.blocks` says what is wrong
    return None


@dataclasses.dataclass(frozen=True)
class TrajectoryFile:
  """A trajectory file with the atoms that it holds; it may be larger than memory.

  Attributes:
    path: the file. PDB and mmCIF are the exception to the above: all frames are read at once.
    atoms: of a frame. A file of a format that names them itself (PDB, HDF5) must have as many.
    source: the file that names the atoms, for messages.
  """

  path: str | os.PathLike[str]
  atoms: mdtraj.Topology
  source: str | os.PathLike[str]

  def num_frames(self) -> int | None:
    """Number of frames; None where counting them means reading them, or the file is damaged."""
    if pathlib.Path(self.path).suffix.lower() not in _WITH_LENGTH:
      return None
    try:
      with quiet(), mdtraj.open(str(self.path)) as file:
        return len(file)
    except Exception:  # `blocks` says what is wrong
      return None

  def blocks(self, frames: int | None = None) -> Generator[mdtraj.Trajectory]:
    """Reads the file.

    Args:
      frames: of a block; at least two. Default: 64 MiB of them.

    Yields:
      Consecutive frames, nm and ps, with times of integers where the format has none
      (`times.has_times`).

    Raises:
      InputError: the file cannot be read, or has another number of atoms.
    """
    frames = frames or max(2, _BLOCK_BYTES // (12 * self.atoms.n_atoms))
    blocks = self._read_by(frames)
    for number in itertools.count():
      try:
        with quiet():
          block = next(blocks, None)
      except InputError as error:
        known = str(error).startswith(str(self.path))
        raise error if known else InputError(f'{self.path}: {error}') from error
      except Exception as error:  # mdtraj's readers raise whatever they come upon
        good = self._num_good_frames() or number * frames
        beyond = f'beyond frame {good - 1} ({good} good frames) ' if good else ''
        reader = '' if structure_lib.is_pdb_or_mmcif(self.path) else 'mdtraj '
        raise InputError(
          f'{self.path}: {reader}cannot read it {beyond}with the {self.atoms.n_atoms} atoms of '
          f'{self.source}: give the topology that belongs to it, or a sound file ({reason(error)})'
        ) from error
      if block is None:
        return
      if block.n_atoms != self.atoms.n_atoms:
        raise InputError(self._other_number(block.n_atoms))
      yield block

  def _num_good_frames(self) -> int | None:
    """Frames before the one that cannot be read; None if there is no such frame."""
    if pathlib.Path(self.path).suffix.lower() not in _WITH_LENGTH:
      return None
    good = 0
    try:
      with quiet(), mdtraj.open(str(self.path)) as file:
        while True:
          found = file.read(n_frames=1)
          if not len(found[0] if isinstance(found, tuple) else found):
            return None
          good += 1
    except Exception:  # as in `blocks`
      return good

  def _read_by(self, frames: int) -> Iterator[mdtraj.Trajectory]:
    if not structure_lib.is_pdb_or_mmcif(self.path):
      yield from mdtraj.iterload(str(self.path), chunk=frames, top=self.atoms)
      return
    atoms, coordinates = atom_records.read_frames(pathlib.Path(self.path))
    rows = list(residues.one_conformation(atoms))
    if len(rows) != self.atoms.n_atoms:
      raise InputError(self._other_number(len(rows)))
    for first in range(0, len(coordinates), frames):
      yield self._block(coordinates[first : first + frames, rows], atoms.box, first)

  def _block(self, xyz: np.ndarray, box: np.ndarray | None, first: int) -> mdtraj.Trajectory:
    """Frames [F, N, 3] Å of a format without times, which are numbered as mdtraj does."""
    times_ps = first + np.arange(len(xyz))
    block = mdtraj.Trajectory((xyz / 10.0).astype(np.float32), self.atoms, time=times_ps)
    if box is not None:
      block.unitcell_vectors = np.tile(box.T / 10.0, (len(xyz), 1, 1)).astype(np.float32)
    return block

  def _other_number(self, count: int) -> str:
    return (
      f'{self.path}: has {count} atoms, {self.source} has {self.atoms.n_atoms}: give the topology '
      'that belongs to it'
    )

  def even_blocks(
    self, dt_ns: float | None = None, frames: int | None = None
  ) -> tuple[Iterator[mdtraj.Trajectory], float]:
    """Reads the file, whose frames must be evenly spaced.

    Args:
      dt_ns: time between two frames, ns, whatever the file says; None to take it from the file,
        and to check every frame.
      frames: of a block, see `blocks`.

    Returns:
      The blocks, and the time between two frames, ns.

    Raises:
      InputError: at once, or from the iterator: what `blocks` raises; no frames; times that are
        missing, or not evenly spaced.
    """
    blocks: Iterator[mdtraj.Trajectory] = self.blocks(frames)
    first = next(blocks, None)
    if first is None:
      raise InputError(f'{self.path}: no frames in it: leave it out')
    blocks = itertools.chain([first], blocks)
    if dt_ns is not None:
      return blocks, dt_ns
    if not times.has_times(first):
      raise InputError(
        f'{self.path}: its format has no times: say how far apart frames are (--dt_ns)'
      )
    if first.n_frames < 2:
      raise InputError(f'{self.path}: one frame only: leave it out')
    dt_ns = times.rounded(times.typical_step(first.time) / 1000.0)
    if not dt_ns > 0.0:
      raise InputError(
        f'{self.path}: its times do not increase: say how far apart frames are (--dt_ns)'
      )
    if (resolution := times.resolution(first.time)) > _MOST_ROUNDING * 1000.0 * dt_ns:
      raise InputError(
        f'{self.path}: its times, around {first.time[0]:g} ps, are rounded to {resolution:g} ps: '
        'say how far apart frames are (--dt_ns)'
      )
    return self._check_times(blocks, dt_ns), dt_ns

  def contradiction(self, dt_ns: float, flag: str = 'dt_ns') -> str | None:
    """One line where the file says another time step than the user, who is believed.

    Args:
      dt_ns: ns, of the user.
      flag: that says it.
    """
    if pathlib.Path(self.path).suffix.lower() not in _WITH_LENGTH:
      return None
    blocks = self.blocks(2)
    try:
      first = next(blocks, None)
    finally:
      blocks.close()
    if first is None or first.n_frames < 2 or not times.has_times(first):
      return None
    said_ns = times.rounded(times.typical_step(first.time) / 1000.0)
    rounding = 0.01 * said_ns + 2e-3 * times.resolution(first.time)
    if not said_ns > 0.0 or abs(said_ns - dt_ns) <= rounding:
      return None
    return f'{self.path}: its frames are {said_ns:g} ns apart, it says; --{flag}={dt_ns:g} is used'

  def _check_times(
    self, blocks: Iterator[mdtraj.Trajectory], dt_ns: float
  ) -> Iterator[mdtraj.Trajectory]:
    """Passes the blocks on; refuses time steps other than dt_ns."""
    before = np.zeros(0)
    start = 0
    for block in blocks:
      time_ps = np.concatenate([before, block.time.astype(np.float64)])
      wrong = times.uneven(time_ps, 1000.0 * dt_ns)
      if wrong.size:
        steps = np.diff(time_ps)
        frame = start - len(before) + wrong[0]
        if steps[wrong[0]] <= 0.0:
          now, then = time_ps[wrong[0] : wrong[0] + 2]
          raise InputError(
            f'{self.path}: its times go back after frame {frame}, from {now:g} to {then:g} ps: '
            'drop the frames that a restart has repeated (e.g. gmx trjcat)'
          )
        raise InputError(
          f'{self.path}: its time steps vary, between {steps.min():g} and {steps.max():g} ps '
          f'(after frame {frame}): write frames at one time step (e.g. gmx trjconv -dt), or leave '
          'out those that are out of step'
        )
      before = time_ps[-1:]
      start += block.n_frames
      yield block

  def read(self, stride: int = 1, frames: int | None = None) -> mdtraj.Trajectory:
    """Every `stride`-th frame from the first on, in memory.

    Args:
      stride: frames from one to the next.
      frames: of a block, see `blocks`.

    Raises:
      InputError: what `blocks` raises; no frames.
    """
    picked = []
    number = 0
    for block in self.blocks(frames):
      if len(block) > -number % stride:
        picked.append(block[-number % stride :: stride])
      number += len(block)
    if not picked:
      raise InputError(f'{self.path}: no frames in it')
    return picked[0] if len(picked) == 1 else mdtraj.join(picked, check_topology=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Without the warnings of mdtraj, and without what the libraries beneath it print."""
  with warnings.catch_warnings(), _silenced(1), _silenced(2):
    # About dummy unit cells and optional packages: nothing that the user could act on.
    warnings.filterwarnings('ignore', module='mdtraj')
    yield


@contextlib.contextmanager
def _silenced(stream: int) -> Iterator[None]:
  """Nothing goes to a file descriptor, neither from Python nor from C."""
  _flush()
  kept = os.dup(stream)
  try:
    with open(os.devnull, 'w') as nowhere:
      os.dup2(nowhere.fileno(), stream)
    yield
  finally:
    _flush()
    os.dup2(kept, stream)
    os.close(kept)


def _flush() -> None:
  """What was printed until now goes where it belongs."""
  for stream in (sys.stdout, sys.stderr):
    if stream is not None:  # As in programs without a console.
      stream.flush()
  ctypes.CDLL(None).fflush(None)


def reason(error: Exception) -> str:
  """What a reader of mdtraj raised, in a line."""
  return f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'

"""Files of trajectories: written block by block, verified by reading them back.

Not every writer reports a full disk: mdtraj's of HDF5 loses frames without a word. A frame that has
been written takes 48 bytes of memory, whatever the protein, until its file has been read back.
"""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import reader, writers

_ROUNDING = 0.005  # Å: XTC's, the coarsest of all formats
_CHUNK = 100  # frames that are read, and compared, at once


class Writer:
  """One trajectory on its way to disk; as a context, which closes it."""

  def __init__(
    self,
    path: pathlib.Path,
    protein: protein_lib.Protein,
    dt_ns: float,
    start_ns: float,
    atoms: str = atoms_lib.BACKBONE,
  ):
    """Opens the file, replacing what is there.

    Args:
      path: of the file; its extension, one of `writers.WRITERS`, tells the format.
      protein: names, numbering and chains.
      dt_ns: time from frame to frame, ns.
      start_ns: time of the first frame, ns.
      atoms: that it is to hold, one of `atoms.CHOICES`.

    Raises:
      InputError: the file cannot be written.
      OSError: the same.
    """
    self._path, self._protein, self._atoms = path, protein, atoms
    self._num_frames = 0
    # Sums of all x, y, z and sums with random signs: what a frame is told by. Rounding all of
    # its coordinates moves a sum by little, and anything else by much.
    num_atoms = int(np.count_nonzero(atoms_lib.mask(protein.arrays.residue_type, atoms)))
    shape = num_atoms, 3, 3
    signs = np.random.default_rng(0).choice([-1.0, 1.0], shape)
    axes = np.broadcast_to(np.eye(3), shape)
    self._weights = np.concatenate([axes, signs], axis=-1).reshape(-1, 6)
    self._sums: list[np.ndarray] = []
    with _one_line(path):
      self._file = writers.open_file(path, protein, dt_ns, start_ns, atoms)

  def append(self, positions: np.ndarray) -> None:
    """Writes the next frames.

    Args:
      positions: [F, L, A, 3] float32 Å, finite.

    Raises:
      InputError: they cannot be written, or do not fit the format.
      OSError: the same.
      ValueError: they are not the atoms that the file is to hold.
    """
    if atoms_lib.choice_of(positions) != self._atoms:
      raise ValueError(f'positions of {positions.shape[-2]} atoms for a file of {self._atoms} ones')
    for first in range(0, len(positions), _CHUNK):
      part = positions[first : first + _CHUNK]
      coordinates = atoms_lib.flat(part, self._protein.arrays.residue_type)
      with _one_line(self._path):
        self._file.append(coordinates)
      self._sums.append(self._sum(coordinates))
    self._num_frames += len(positions)

  def close(self) -> None:
    """Completes the file, and reads it back.

    Raises:
      InputError: it does not hold what was written.
      OSError: it cannot be written.
    """
    with _one_line(self._path):
      self._file.close()
      self._check()

  def abandon(self) -> None:
    """Closes the file without caring what is in it."""
    with contextlib.suppress(Exception):  # The writers raise whatever they come upon.
      self._file.close()

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, kind, error, traceback) -> None:
    if error is None:
      self.close()
    else:
      self.abandon()

  def _check(self) -> None:
    expected = np.concatenate([np.zeros((0, 6)), *self._sums])
    # Hoeffding: independent errors of up to 0.005 Å pass this once in 10^13 sums.
    tolerance = 8.0 * _ROUNDING * np.sqrt(len(self._weights))
    done = 0
    try:
      for block in _blocks(self._path, self._protein, self._atoms):
        known = expected[done : done + len(block)]
        if not np.all(np.abs(self._sum(block[: len(known)]) - known) < tolerance):
          raise InputError(f'other coordinates from frame {done} on')
        done += len(block)
    except InputError as error:
      raise InputError(
        f'{self._path} was not written correctly: is the disk full? ({error})'
      ) from error
    if done != self._num_frames:
      raise InputError(f'{self._path} holds {done} of {self._num_frames} frames: is the disk full?')

  def _sum(self, coordinates: np.ndarray) -> np.ndarray:
    """[F, 6] of coordinates [F, N, 3] Å."""
    return coordinates.reshape(len(coordinates), -1).astype(np.float64) @ self._weights


@contextlib.contextmanager
def _one_line(path: pathlib.Path) -> Iterator[None]:
  """Makes an InputError of what the writers of the formats raise: whatever they come upon."""
  try:
    yield
  except (OSError, InputError):
    raise
  except Exception as error:
    raise InputError(f'cannot write {path}: is the disk full? ({reader.reason(error)})') from error


def read(
  path: pathlib.Path,
  protein: protein_lib.Protein,
  stride: int = 1,
  atoms: str = atoms_lib.BACKBONE,
) -> Iterator[np.ndarray]:
  """Reads a file that `Writer` wrote, in little memory.

  Args:
    path: of the file.
    protein: its residues.
    stride: take every so many frames.
    atoms: that it holds, one of `atoms.CHOICES`.

  Yields:
    [F, L, A, 3] float32 Å, some frames at a time.

  Raises:
    InputError: it cannot be read.
  """
  number = 0
  for block in _blocks(path, protein, atoms):
    # A copy: a view would keep the whole block in memory.
    picked = block[-number % stride :: stride].copy()
    if len(picked):
      yield atoms_lib.unflat(picked, protein.arrays.residue_type, atoms)
    number += len(block)


def _blocks(path: pathlib.Path, protein: protein_lib.Protein, atoms: str) -> Iterator[np.ndarray]:
  """Yields [F, N, 3] float32 Å."""
  if path.suffix == '.pdb':  # of which mdtraj reads all frames at once
    num_atoms = int(np.count_nonzero(atoms_lib.mask(protein.arrays.residue_type, atoms)))
    yield from _pdb_blocks(path, num_atoms)
    return
  topology = atoms_lib.topology(protein, atoms)
  for block in reader.TrajectoryFile(path, topology, source=path).blocks(_CHUNK):
    yield 10.0 * block.xyz


def _pdb_blocks(path: pathlib.Path, num_atoms: int) -> Iterator[np.ndarray]:
  frames: list[list[float]] = []
  numbers: list[float] = []
  with open(path) as file:
    for line in file:
      if line.startswith('ATOM'):
        numbers += (float(line[field]) for field in (slice(30, 38), slice(38, 46), slice(46, 54)))
      elif line.startswith('ENDMDL'):
        if len(numbers) != 3 * num_atoms:
          raise InputError(f'{path}: {len(numbers)} coordinates in a model, not {3 * num_atoms}')
        frames.append(numbers)
        numbers = []
        if len(frames) == _CHUNK:
          yield np.array(frames, np.float32).reshape(len(frames), -1, 3)
          frames = []
  if frames:
    yield np.array(frames, np.float32).reshape(len(frames), -1, 3)

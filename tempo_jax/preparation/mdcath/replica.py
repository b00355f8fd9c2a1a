"""The frames of one replica of mdCATH, as a store wants them."""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.geometry import limits
from tempo_jax.preparation import frame_checks
from tempo_jax.preparation.mdcath import topology as mdcath_topology
from tempo_jax.protein import protein, residue_selection, side_chain_torsions
from tempo_jax.store.frames import Frames

if TYPE_CHECKING:
  import h5py

_BLOCK_BYTES = 8 * 1024**2
_N, _CA, _C = range(3)
_SMALLEST_BOX = 20.0  # Å
_FARTHEST = 1e5  # Å: beyond, float32 does not resolve a bond


class UnusableError(InputError):
  """A replica cannot be used.

  Attributes:
    cause: what is wrong and what to do, without where; others of the file may suffer from it too.
  """

  def __init__(self, where: str, cause: str):
    super().__init__(f'{where}: {cause}')
    self.cause = cause


@contextlib.contextmanager
def reading(where: str) -> Iterator[None]:
  """Makes whatever h5py raises an error of the file."""
  try:
    yield
  except InputError:
    raise
  except (FileNotFoundError, PermissionError) as error:
    raise InputError(
      f'{where}: cannot be opened: {error.strerror}: check the path and your access to it'
    ) from error
  except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
    reason = ' '.join(str(error).split())[:200]
    cause = f'cannot be read, damaged or cut short: download it again ({reason})'
    raise UnusableError(where, cause) from error


class Replica:
  """The frames of one replica: whole, checked, and superposed on the native structure.

  Attributes:
    num_frames: F, of `blocks`.
  """

  def __init__(
    self,
    group: 'h5py.Group',
    key: str,
    domain: mdcath_topology.Domain,
    *,
    num_frames: int = 0,
    extend_periodically: bool = False,
    block_frames: int | None = None,
  ):
    """Opens a replica, and finds where its sound frames end.

    Args:
      group: /DOMAIN/TEMPERATURE/REPLICA.
      key: TEMPERATURE/REPLICA, as messages name it.
      domain: its residues.
      num_frames: of more only the first ones are taken; 0 for no limit.
      extend_periodically: repeat fewer frames from the first on, up to num_frames.
      block_frames: of a block, but whole chunks of the file; by default 8 MiB of them.

    Raises:
      InputError: there are no coordinates, or of other atoms, or the first frame is not sound.
    """
    self._domain = domain
    self._key = key
    self._where = f'{domain.file.name}: {key}'
    with reading(self._where):
      if 'coords' not in group:
        raise UnusableError(self._where, 'no coords in it: download the file again')
      self._coords = group['coords']
      self._cells = _read_cells(group)
    self._total, *shape = self._coords.shape
    if shape != [domain.num_atoms, 3]:
      cause = f'pdbProteinAtoms has {domain.num_atoms} atoms: download the file again'
      raise UnusableError(f'{self._where}: coords are {self._coords.shape}', cause)
    # What is compressed is decompressed by chunks.
    self._chunk = self._coords.chunks[0] if self._coords.chunks else 1
    frames = self._whole_chunks(block_frames or _BLOCK_BYTES // (12 * domain.num_atoms))
    self._buffer = np.empty((min(self._total, frames), *shape), np.float32)
    self._probe = min(len(self._buffer), self._whole_chunks(frames // 8))
    self._torsions = side_chain_torsions.of_protein(domain.protein)
    self._native = mdtraj.Trajectory(domain.protein.arrays.positions.reshape(-1, 3), None)
    self._reimaged = np.zeros(self._total, bool)
    self._end = self._end_of_sound_frames()
    self._used = min(self._end, num_frames or self._end)
    self.num_frames = num_frames if extend_periodically and num_frames else self._used

  def sources(self) -> dict[str, str]:
    """See `mdcath_file.prepare`."""
    digest = hashlib.sha256(self._domain.text + repr(self._coords.shape).encode())
    with reading(self._where):
      for frame in (0, -1):
        digest.update(np.ascontiguousarray(self._coords[frame], '<f4').data)
    frames = f'the first {self._used} of {self._total}'
    frames += f', repeated up to {self.num_frames}' if self.num_frames > self._used else ''
    return {f'{self._domain.file.name}:{self._key}': digest.hexdigest(), 'frames': frames}

  def blocks(self) -> Iterator[Frames]:
    """Yields the backbones, superposed, and the torsions of the side chains.

    Raises:
      InputError: a frame that is not sound, cannot be made whole, and has sound frames after it.
    """
    for done in range(0, self.num_frames, self._used):  # more than once only to extend
      end = min(self._used, self.num_frames - done)
      for start in range(0, end, len(self._buffer)):
        stop = min(start + len(self._buffer), end)
        positions, sound, reimaged = self._read(start, stop)
        if not sound.all():
          raise self._problem(start + int(np.argmin(sound)))
        self._reimaged[start:stop] = reimaged
        chi = None
        if self._torsions is not None:
          chi = self._torsions.measure(self._buffer[: stop - start], self._cells)
        yield Frames(self._superpose(positions), chi)

  def notes(self) -> list[str]:
    """What was done to the frames, as far as `blocks` has come."""
    said = []
    if self._end < self._total:
      said.append(f'cut {self._total - self._end} corrupt frames from the end')
    if self._reimaged.any():
      said.append(f're-imaged {self._reimaged.sum()} frames that the periodic box had cut')
    if self.num_frames > self._used:
      said.append(f'{self._used} frames, repeated periodically up to {self.num_frames}')
    return said

  def _whole_chunks(self, frames: int) -> int:
    return max(1, frames // self._chunk) * self._chunk

  def _end_of_sound_frames(self) -> int:
    """The number of the frame from which on all are corrupt."""
    if not self._read(0, 1)[1][0]:
      raise self._problem(0)
    # From the end, so that of a sound replica only an eighth of a block is read for this.
    start = (self._total - 1) // self._probe * self._probe
    while not (sound := self._read(start, min(start + self._probe, self._total))[1]).any():
      start -= self._probe
    return start + int(np.flatnonzero(sound)[-1]) + 1

  def _read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads frames, and makes them whole where need be.

    Returns:
      Positions [F, L, 4, 3] Å; which frames [F] are sound; and which of them were re-imaged.
    """
    native = self._domain.protein.arrays
    positions = self._load(start, stop)
    raw = frame_checks.sound(positions, native.bonded)
    sound = raw.copy()
    for cell in self._cells:
      (broken,) = np.nonzero(~sound)
      broken = broken[(np.abs(positions[broken]) < _FARTHEST).all(axis=(1, 2, 3))]
      if broken.size:
        whole = frame_checks.make_whole(positions[broken], cell)
        good = frame_checks.sound(whole, native.bonded)
        positions[broken[good]] = whole[good]
        sound[broken[good]] = True
    reimaged = sound & ~raw
    for cell in self._cells:
      reimaged[sound] |= _join_parts(positions, sound, cell, native)
    return positions, sound, reimaged

  def _load(self, start: int, stop: int) -> np.ndarray:
    """Positions [F, L, 4, 3] Å as the file has them."""
    with reading(self._where):
      self._coords.read_direct(self._buffer, np.s_[start:stop], np.s_[: stop - start])
    atom_index = self._domain.atom_index
    positions = self._buffer[: stop - start].take(atom_index.ravel(), axis=1)
    positions = positions.reshape(stop - start, *atom_index.shape, 3)
    missing = atom_index[:, 3] < 0
    if missing.any():
      with np.errstate(over='ignore', invalid='ignore'):  # corrupt frames
        positions = residue_selection.place_oxygen(
          positions, self._domain.protein.arrays.bonded, missing
        )
    return positions

  def _superpose(self, positions: np.ndarray) -> np.ndarray:
    """Onto the CA atoms of the native structure, by rotation and translation."""
    shape = positions.shape
    traj = mdtraj.Trajectory(positions.reshape(len(positions), -1, 3), None)
    traj.superpose(self._native, atom_indices=np.arange(_CA, shape[1] * 4, 4), parallel=False)
    return traj.xyz.reshape(shape)

  def _problem(self, frame: int) -> UnusableError:
    found = self._domain.protein
    positions = self._load(frame, frame + 1).astype(np.float64)
    problem = frame_checks.first_problem(positions, found, frame)
    assert problem is not None
    bond = f'{problem.bond} of {frame_checks.label(found, problem.residue)}'
    return UnusableError(
      f'{self._where}: frame {frame}: {bond} is {problem.length:.2f} Å',
      f'{self._diagnosis(positions)}: download the file again, or leave this replica out by '
      '--replicas',
    )

  def _diagnosis(self, positions: np.ndarray) -> str:
    """Why the frame [1, L, 4, 3] Å is not sound."""
    bonded = self._domain.protein.arrays.bonded
    if not np.isfinite(positions).all():
      return 'coordinates are not numbers'
    for factor, size in ((10.0, 'small'), (0.1, 'large')):
      if frame_checks.sound(factor * positions, bonded)[0]:
        return f'coordinates are 10 times too {size}, so their unit is not Å'
    bond = np.median(np.linalg.norm(positions[0, :, _CA] - positions[0, :, _N], axis=-1))
    if not 0.2 < bond < 1000.0:
      return 'coordinates are corrupt'
    if bond > limits.MAX_BOND:  # a box cuts some bonds only
      return 'the atoms of coords are probably in another order than those of pdbProteinAtoms'
    return 'the molecule is broken, and the periodic box does not make it whole'


def _read_cells(group: 'h5py.Group') -> list[np.ndarray]:
  """What the box [3, 3] may be, Å, the likeliest first; its unit, nm, is not to be relied on."""
  box = np.asarray(group['box'][()] if 'box' in group else 0.0, np.float64)
  box = np.diag(box) if box.shape == (3,) else box
  if box.shape != (3, 3) or not np.isfinite(box).all():
    return []
  return [cell for cell in (10.0 * box, box) if np.diag(cell).min() > _SMALLEST_BOX]


def _join_parts(
  positions: np.ndarray, sound: np.ndarray, cell: np.ndarray, native: protein.ProteinArrays
) -> np.ndarray:
  """Brings parts that no bond joins into one periodic image, in place.

  A part is moved where its distance to the part before it thereby comes nearer to that of the
  native structure.

  Args:
    positions: [F, L, 4, 3] Å.
    sound: [F] bool, which frames.
    cell: [3, 3] Å.
    native: says which residues are bonded, and where they are in the native structure.

  Returns:
    Which of the sound frames were changed, bool.
  """
  (last,) = np.nonzero(~native.bonded[:-1])
  if not last.size:
    return np.zeros(int(sound.sum()), bool)
  expected = np.linalg.norm(native.positions[last + 1, _N] - native.positions[last, _C], axis=-1)
  step = positions[sound][:, last + 1, _N].astype(np.float64) - positions[sound][:, last, _C]
  images = np.round(step @ np.linalg.inv(cell))  # [F, parts - 1, 3]
  near = np.abs(np.linalg.norm(step - images @ cell, axis=-1) - expected)
  images *= (near < np.abs(np.linalg.norm(step, axis=-1) - expected))[..., None]
  part = np.cumsum(np.arange(len(native.bonded))[:, None] > last, axis=1)[:, -1]
  shifts = np.cumsum(images, axis=1) @ cell
  shifts = np.concatenate([np.zeros_like(shifts[:, :1]), shifts], axis=1)
  positions[sound] -= shifts[:, part, None].astype(np.float32)
  return images.any(axis=(1, 2))

"""The arrays that hold the frames of one entry: their format, and how they are written."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorstore as ts

from tempo_jax.errors import InputError
from tempo_jax.store import frames as frames_lib

# Large enough that an object store's latency is paid for, small enough that one window, often
# a few frames far apart, does not drag in much that it does not need.
_CHUNK_BYTES = 512 * 1024
# A frame has 12 coordinates a residue, and 4 torsions.
_CHI_FRAMES = 3

# A chunk that got lost reads as what no entry contains: chi that are not known are NaN.
LOST_POSITION = 'NaN'
LOST_CHI = 'Infinity'


class _Array:
  """One array of frames, which grows; where it is, nobody looks before it is closed."""

  def __init__(self, kvstore: ts.KvStore, chunk_shape: tuple[int, ...], lost: str, shuffle: str):
    metadata = {
      'shape': [2**40, *chunk_shape[1:]],  # The number of frames is known at the end.
      'data_type': 'float32',
      'chunk_grid': {'name': 'regular', 'configuration': {'chunk_shape': chunk_shape}},
      'fill_value': lost,
      'codecs': [
        {'name': 'bytes', 'configuration': {'endian': 'little'}},
        # The last bits of coordinates are noise: more effort takes twice as long, for a tenth.
        {'name': 'blosc', 'configuration': {'cname': 'zstd', 'clevel': 1, 'shuffle': shuffle}},
      ],
    }
    spec = {'driver': 'zarr3', 'kvstore': kvstore.spec().to_json(), 'metadata': metadata}
    # Waiting for the disk at every chunk would take four times as long. It matters only if the
    # machine itself goes down: `prepare inspect` finds what is damaged then.
    context = ts.Context({'file_io_sync': False})
    self._array = ts.open(spec, create=True, context=context).result()
    self._digest = hashlib.sha256()
    self._frames, self._end = chunk_shape[0], 0
    self._pending: list[np.ndarray] = []
    self._writing: ts.WriteFutures | None = None

  def append(self, frames: np.ndarray) -> None:
    """Writes the next frames in the background, once they make a whole chunk."""
    frames = np.ascontiguousarray(frames, np.float32)
    self._pending.append(frames)
    if sum(map(len, self._pending)) >= self._frames:
      self._flush()
    self._digest.update(frames.data)

  def _flush(self) -> None:
    """Begins to write what is pending, when what came before is written."""
    if self._writing is not None:
      self._writing.result()
    if self._pending:
      frames = np.concatenate(self._pending)
      self._writing = self._array[self._end : self._end + len(frames)].write(frames)
      self._end += len(frames)
      self._pending = []

  def abandon(self) -> None:
    """Waits until nothing more is written, for the directory to be removed."""
    if self._writing is not None:
      self._writing.exception()

  def close(self) -> str:
    """Sets the number of frames, and returns the ID of the content."""
    self._flush()
    if self._writing is not None:
      self._writing.result()
    shape = [self._end, *self._array.shape[1:]]
    self._array.resize(exclusive_max=shape, resize_metadata_only=True).result()
    return content_id(self._digest)


def content_id(digest: Any) -> str:
  """What names an array by its content."""
  return digest.hexdigest()[:16]


def write(
  directory: ts.KvStore,
  key: str,
  length: int,
  blocks: Iterable[np.ndarray | frames_lib.Frames],
  writing: Callable[[], AbstractContextManager[None]],
) -> tuple[int, str]:
  """Writes the frames of one entry: positions, and `chi/` in their directory if there are any.

  Args:
    directory: for the positions.
    key: of the entry, for messages.
    length: its number of residues, L.
    blocks: positions [F, L, 4, 3] Å, or frames that have chi beside them.
    writing: entered whenever something is written; it makes a user's error of what is raised.

  Returns:
    The number of frames, and the ID of their content, `Entry.array`.

  Raises:
    InputError: there are no frames, or coordinates that are not finite.
    ValueError: arrays of other shapes, chi beyond [-pi, pi], or chi of some frames only.
  """
  shape = (length, 4, 3)
  size = max(1, round(_CHUNK_BYTES / (length * 4 * 3 * 4)))
  arrays: list[_Array] = []
  start = 0
  try:
    for chunk in frames_lib.rechunk(blocks, size):
      if chunk.positions.shape[1:] != shape:
        raise ValueError(f'{key}: positions {chunk.positions.shape}, expected [frames, {shape}]')
      bad = ~np.isfinite(chunk.positions).all(axis=(1, 2, 3))
      if bad.any():
        raise InputError(
          f'{key}: frame {start + np.argmax(bad)} has coordinates that are not finite: cut the '
          'trajectory before it'
        )
      parts = [chunk.positions]
      if chunk.chi is not None:
        _check_chi(chunk.chi, length, key)
        parts.append(chunk.chi)
      if arrays and len(parts) != len(arrays):
        raise ValueError(f'{key}: side chains of some frames only')
      with writing():
        if not arrays:
          arrays.append(_Array(directory, (size, *shape), LOST_POSITION, 'shuffle'))
        if len(arrays) < len(parts):
          # Most are NaN, alike in all bytes: what is shuffled is larger, and takes longer.
          chunk_shape = (_CHI_FRAMES * size, length, 4)
          arrays.append(_Array(directory / 'chi/', chunk_shape, LOST_CHI, 'noshuffle'))
        for array, part in zip(arrays, parts, strict=True):
          array.append(part)
      start += len(chunk)
  except BaseException:
    for array in arrays:
      array.abandon()
    raise
  if not arrays:
    raise InputError(f'{key}: the trajectory has no frames: leave it out')
  with writing():
    return start, '-'.join([array.close() for array in arrays])


def _check_chi(chi: np.ndarray, length: int, key: str) -> None:
  if chi.shape[1:] != (length, 4):
    raise ValueError(f'{key}: chi {chi.shape}, expected [frames, {(length, 4)}]')
  if (np.abs(chi) > np.float32(3.1416)).any():
    raise ValueError(f'{key}: chi beyond [-pi, pi]')

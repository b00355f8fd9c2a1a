"""Prepared trajectories that can be read at random, from disk or from an object store.

    STORE/
      manifest.json                      every entry; all that `Store` needs to open
      entries/NAME/T320/R1/entry.json    one entry, which exists as soon as this file does
      entries/NAME/T320/R1/ID/           its positions: Zarr v3, [F, L, 4, 3] float32 Å
      entries/NAME/T320/R1/ID/chi/       torsions of side chains, if known: [F, L, 4] float32 rad

An entry is one trajectory: a replica, at a temperature, of a protein. Its frames go into a
directory that is renamed, when complete, to an ID made from their SHA-256; only then is
entry.json written, in one atomic step. So an entry is there whole or not at all, whenever its
writer dies, and the same input gives the same bytes, however often it was interrupted. Writers
need not know of each other: one at a time has the directory of an entry (as far as the file
system knows locks), and whoever ends last assembles the manifest from the entry.json files.
"""

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import itertools
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import tensorstore as ts

from tempo_jax.errors import InputError
from tempo_jax.store import entry as entry_lib
from tempo_jax.store import frame_arrays
from tempo_jax.store.entry import Entry
from tempo_jax.store.frames import Frames

NO_SIDE_CHAINS = 'without side chains: --overwrite adds them'
"""What preparation says of entries that an older version has written."""

_READ_THREADS = 16
_MOST_ATTEMPTS = 100


class Store:
  """Reads a store, from any number of threads.

  Attributes:
    path: as given.
    entries: every entry, sorted by name, temperature and replica (as text).
  """

  def __init__(self, path: str | os.PathLike, cache_bytes: int = 256 * 1024**2):
    """Opens a store.

    Args:
      path: a directory, or a URL that tensorstore can read: gs://, s3://, http://, ...
      cache_bytes: decoded chunks kept in memory, bytes.

    Raises:
      InputError: there is no store, or none that this version can read.
    """
    self.path = os.fspath(path)
    self._context = ts.Context({'cache_pool': {'total_bytes_limit': cache_bytes}})
    self._kv = _open_kvstore(self.path)
    data = _read_json(self._kv, 'manifest.json', self.path)
    if data is None:
      raise InputError(
        f'{self.path}: no store here (it has no manifest.json): give the --store of a `tempo-jax '
        'prepare` command, or run that command again if it was interrupted'
      )
    self.entries = entry_lib.parse(data, f'{self.path}: manifest.json')
    self._by_key = {entry.key: entry for entry in self.entries}
    self._open = functools.lru_cache(maxsize=4096)(self._open_array)
    self._pool = concurrent.futures.ThreadPoolExecutor(_READ_THREADS, 'tempo_store')

  def entry(self, key: str) -> Entry:
    """The entry of that key.

    Raises:
      InputError: the store has none.
    """
    if key not in self._by_key:
      raise InputError(f'{self.path}: no entry {key!r}: its manifest.json lists what is there')
    return self._by_key[key]

  def read(self, entry: Entry | str, frames: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Reads frames of one entry, touching only the chunks that hold them.

    Args:
      entry: an entry of this store, or its key.
      frames: what numpy would take as the first index: a slice or whole numbers.

    Returns:
      [number of frames, L, 4, 3] float32 Å.

    Raises:
      InputError: the positions, or some of the frames, are missing or damaged.
      IndexError: a frame number is out of range.
    """
    positions, entry, numbers = self._read('', entry, frames)
    self._refuse_lost(np.isnan(positions).any(axis=(1, 2, 3)), entry, numbers)
    return positions

  def read_chi(self, entry: Entry | str, frames: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Reads the torsions of the side chains in frames of one entry.

    Args:
      entry: an entry of this store, or its key.
      frames: what numpy would take as the first index: a slice or whole numbers.

    Returns:
      [number of frames, L, 4] float32 rad, NaN where there is none or it is not known: everywhere
      where the store has no side chains of the entry.

    Raises:
      InputError: they are missing or damaged.
      IndexError: a frame number is out of range.
    """
    entry = self.entry(entry) if isinstance(entry, str) else entry
    if not entry.has_chi:
      number = len(np.arange(entry.num_frames)[frames])
      return np.full((number, entry.length, 4), np.nan, np.float32)
    chi, entry, numbers = self._read('chi', entry, frames)
    self._refuse_lost(np.isinf(chi).any(axis=(1, 2)), entry, numbers)
    return chi

  def read_async(
    self, entry: Entry | str, frames: slice | np.ndarray = slice(None)
  ) -> concurrent.futures.Future[np.ndarray]:
    """Like `read`, in the background; the future's `result` returns or raises what it would."""
    return self._pool.submit(self.read, entry, frames)

  def read_chi_async(
    self, entry: Entry | str, frames: slice | np.ndarray = slice(None)
  ) -> concurrent.futures.Future[np.ndarray]:
    """Like `read_chi`, in the background."""
    return self._pool.submit(self.read_chi, entry, frames)

  def _read(
    self, what: str, entry: Entry | str, frames: slice | np.ndarray
  ) -> tuple[np.ndarray, Entry, np.ndarray]:
    """Reads 'chi' or (what is '') positions; returns entry and numbers of the frames, too."""
    entry = self.entry(entry) if isinstance(entry, str) else entry
    numbers = np.arange(entry.num_frames)[frames]
    path, shape = (entry.chi_path, (4,)) if what else (entry.path, (4, 3))
    try:
      array = self._open(path, (entry.num_frames, entry.length, *shape))
      return array[numbers].read().result(), entry, numbers
    except ValueError as error:
      raise InputError(
        f'{self.path}: the {what or "positions"} of {entry.key} cannot be read: prepare it again, '
        f'with --overwrite ({_first_line(error)})'
      ) from error

  def _refuse_lost(self, lost: np.ndarray, entry: Entry, numbers: np.ndarray) -> None:
    if lost.any():
      raise InputError(
        f'{self.path}: frame {numbers[np.argmax(lost)]} of {entry.key} is missing (a chunk of '
        'its array was lost): copy the store again, or prepare this entry with --overwrite'
      )

  def _open_array(self, path: str, shape: tuple[int, ...]) -> ts.TensorStore:
    spec = {
      'driver': 'zarr3',
      'kvstore': (self._kv / path).spec().to_json(),
      # Arrays are never rewritten in place, so what is cached stays true.
      'recheck_cached_data': 'open',
    }
    array = ts.open(spec, open=True, read=True, context=self._context).result()
    if array.shape != shape:
      raise ValueError(f'the array has shape {array.shape}, the manifest says {shape}')
    return array


class StoreWriter:
  """Adds entries to a store on this machine's file system; afterwards it can be copied anywhere.

  A context manager: the manifest is assembled at the end, also after an error, so that
  the entries that were completed count.
  """

  def __init__(self, path: str | os.PathLike):
    """Begins, or goes on with, the store at `path`; nothing is written yet.

    Raises:
      InputError: the path is a URL, a file, or a directory of other things; the store is of a
        newer version.
    """
    self.path = os.fspath(path)
    if '://' in self.path:
      raise InputError(f'{self.path}: a store is prepared on a local disk: copy it there later')
    self._root = pathlib.Path(self.path).expanduser().absolute()
    there = next(path for path in (self._root, *self._root.parents) if path.exists())
    if there.is_dir() and not os.access(there, os.W_OK | os.X_OK):
      raise InputError(
        f'{self.path}: {there} cannot be written to: choose another --store, or correct its '
        'permissions'
      )
    if there != self._root and not there.is_dir():
      raise InputError(f'{self.path}: {there} is a file: choose another --store')
    if self._root.exists():
      if not self._root.is_dir():
        raise InputError(f'{self.path}: a file, so no store can be here: choose another --store')
      known = {'entries', 'manifest.json'}
      if not known & set(os.listdir(self._root)) and os.listdir(self._root):
        raise InputError(f'{self.path}: holds something else than a store: choose another --store')
    self._kv = _open_kvstore(self.path)
    # Before anything of ours is among what we do not understand.
    if data := _read_json(self._kv, 'manifest.json', self.path):
      entry_lib.refuse_newer(data, f'{self.path}: manifest.json')

  def __enter__(self) -> 'StoreWriter':
    return self

  def __exit__(self, *_) -> None:
    self.write_manifest()

  def add(
    self,
    entry: Entry,
    frames: np.ndarray | Frames | Iterable[np.ndarray | Frames],
    overwrite: bool = False,
    notes: Callable[[], Iterable[str]] | None = None,
  ) -> bool:
    """Writes one trajectory.

    Args:
      entry: what is known of it; `num_frames` and `array` are filled in here.
      frames: positions [F, L, 4, 3] Å, or `Frames`, which may have side chains, or an iterable of
        such blocks; it is not touched if the entry is there already.
      overwrite: replace an entry of the same key.
      notes: called after the last block, for what only then can be said in `entry.notes`.

    Returns:
      False if the same entry, made from the same sources, was there already (`lacks_chi` says
      whether without side chains); it keeps its split.

    Raises:
      InputError: the name cannot be part of a path; the key is taken by something else;
        there are no frames, or coordinates that are not finite.
    """
    if not re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.+-]*', entry.name):
      raise InputError(
        f'{entry.name!r} cannot name a store entry: use letters, digits and _ . + - (--name)'
      )
    directory = self._root / 'entries' / entry.key
    with self._alone_in(directory):
      current = self._current(entry.key)
      keep = current.array if current else ''
      if current and not overwrite:
        changed = entry_lib.difference(current, entry)
        if not changed:
          return False
        raise InputError(
          f'{self.path}: {entry.key} is there already, with other {changed}: choose another name '
          'or replica number, or replace it with --overwrite'
        )
      self._clean(directory, keep)
      blocks = (frames,) if isinstance(frames, np.ndarray | Frames) else frames
      entry = dataclasses.replace(entry, array=f'partial-{uuid.uuid4().hex}')
      try:
        num_frames, digest = self._write_frames(entry, blocks)
        if digest == keep:
          self._clean(directory, keep)
        else:
          (directory / entry.array).rename(directory / digest)
        said = (*entry.notes, *(notes() if notes else ()))
        self._write_entry(
          dataclasses.replace(entry, num_frames=num_frames, array=digest, notes=said)
        )
      except BaseException:
        self._clean(directory, keep)
        raise
    return True

  def lacks_chi(self, key: str) -> bool:
    """Whether an entry is there, but without side chains, as older versions wrote it."""
    current = self._current(key)
    return current is not None and not current.has_chi

  def assign_splits(self, splits: Mapping[str, str]) -> int:
    """Says which proteins are for training, and which for validation and testing.

    Args:
      splits: 'train', 'validation' or 'test' by name of the protein.

    Returns:
      The number of entries whose split changed.
    """
    changed = 0
    for path in self._entries():
      if path.parts[0] in splits:
        with self._alone_in(self._root / 'entries' / path):
          entry = self._current(path)
          split = splits[path.parts[0]]
          if entry and entry.split != split:
            self._write_entry(dataclasses.replace(entry, split=split))
            changed += 1
    return changed

  def write_manifest(self) -> int:
    """Assembles the manifest from all entries, whoever wrote them.

    Returns:
      Their number; for none, no manifest is written.
    """
    while True:
      # Another writer may do the same at this moment: if the manifest changes between our
      # reading of the entries and our writing, begin again.
      generation = self._kv.read('manifest.json').result().stamp.generation
      entries = [entry for key in self._entries() if (entry := self._current(key))]
      if not entries:
        break
      content = entry_lib.dump(entry_lib.manifest(entries))
      with self._writing('manifest.json'):
        written = self._kv.write('manifest.json', content, if_equal=generation).result()
      if written.generation:
        break
    # Only now does no manifest refer to positions that were replaced.
    for key in self._entries():
      with (
        contextlib.suppress(BlockingIOError),
        self._alone_in(self._root / 'entries' / key, wait=False),
      ):
        if entry := self._current(key):
          self._clean(self._root / 'entries' / key, entry.array)
    return len(entries)

  def _entries(self) -> list[pathlib.Path]:
    """NAME/T/R of every entry, sorted."""
    top = self._root / 'entries'
    return sorted(path.parent.relative_to(top) for path in top.glob('*/*/*/entry.json'))

  def _write_entry(self, entry: Entry) -> None:
    content, name = entry_lib.dump(entry_lib.to_json(entry)), f'entries/{entry.key}/entry.json'
    with self._writing(name):
      self._kv.write(name, content).result()

  @contextlib.contextmanager
  def _writing(self, name: str) -> Iterator[None]:
    """Makes an InputError of what tensorstore raises, as where the disk is full."""
    try:
      yield
    except ValueError as error:
      # The paths in it, which may be of a directory that is about to go, come first.
      reason = str(error).splitlines()[0].split(' [')[0].rpartition(': ')[2]
      raise InputError(f'cannot write {self.path}/{name}: is the disk full? ({reason})') from error

  def _current(self, key: str | os.PathLike) -> Entry | None:
    name = f'entries/{os.fspath(key)}/entry.json'
    data = _read_json(self._kv, name, self.path)
    return None if data is None else entry_lib.parse(data, f'{self.path}: {name}')[0]

  def _write_frames(self, entry: Entry, blocks: Iterable[np.ndarray | Frames]) -> tuple[int, str]:
    """Returns the number of frames, and the ID of their content."""
    return frame_arrays.write(
      self._kv / entry.path,
      entry.key,
      entry.length,
      blocks,
      functools.partial(self._writing, f'entries/{entry.key}'),
    )

  def _clean(self, directory: pathlib.Path, keep: str) -> None:
    """Removes the arrays of writers that died or failed, and those that were replaced."""
    for child in directory.iterdir():
      if child.is_dir() and child.name != keep:
        shutil.rmtree(child)

  @contextlib.contextmanager
  def _alone_in(self, directory: pathlib.Path, wait: bool = True) -> Iterator[None]:
    """Holds an entry's directory, made if need be, against other writers, until they or we die.

    Raises:
      BlockingIOError: another has it, and we are not to wait.
    """
    for attempt in itertools.count():
      try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY)
      except FileNotFoundError as error:  # one that failed there has just removed it
        if attempt < _MOST_ATTEMPTS:
          continue
        raise InputError(f'{directory}: cannot be made: choose another --store') from error
      try:
        try:
          fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
          raise
        except OSError:  # some network file systems have no locks
          pass
        if _is(handle, directory):
          try:
            yield
            return
          finally:
            with contextlib.suppress(OSError):  # not empty
              while directory != self._root.parent:
                directory.rmdir()
                directory = directory.parent
      finally:
        os.close(handle)


def _is(handle: int, directory: pathlib.Path) -> bool:
  """Whether the open directory is still there, and has not been removed and made again."""
  try:
    return os.path.samestat(os.fstat(handle), os.stat(directory))
  except FileNotFoundError:
    return False


def _open_kvstore(path: str) -> ts.KvStore:
  if '://' not in path:
    local = pathlib.Path(path).expanduser().absolute()
    return ts.KvStore.open({'driver': 'file', 'path': f'{local}/'}).result()
  try:
    return ts.KvStore.open(path.rstrip('/') + '/').result()
  except ValueError as error:
    raise InputError(
      f'{path}: not a place that can be read: give a directory, or a gs://, s3:// or http:// URL '
      f'({_first_line(error)})'
    ) from error


def _read_json(kv: ts.KvStore, name: str, where: str) -> bytes | None:
  try:
    result = kv.read(name).result()
  except ValueError as error:
    raise InputError(
      f'{where}: {name} cannot be read: check the path and your access to it ({_first_line(error)})'
    ) from error
  return result.value if result.state == 'value' else None


def _first_line(error: Exception) -> str:
  return str(error).splitlines()[0].split(' [')[0][:200]

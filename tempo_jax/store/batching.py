"""Windows of proteins of unequal length, as batches of few different shapes."""

import collections
import concurrent.futures
import dataclasses
import functools
from collections.abc import Generator, Sequence
from typing import Any

import jax
import numpy as np

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import elastic_network
from tempo_jax.protein import padding
from tempo_jax.protein.protein import ProteinArrays
from tempo_jax.store import entry as entry_lib
from tempo_jax.store import lag_windows
from tempo_jax.store import windows as windows_lib

_root_of = jax.jit(elastic_network.root_of)
# References that are kept; each is 150 KB for 64 residues, 2.4 MB for 256.
_NUM_REFERENCES = 128
# Frames that show the surroundings of a window, and how long these are, in steps of the coarsest
# level: what is remembered longer moves the centre.
_STRETCH_FRAMES = 16
_STRETCH_STEPS = 5.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
  """Windows, padded to one length; a pytree of numpy arrays.

  Attributes:
    protein: every field with a leading [B]; `positions` is frame 0 of the window.
    positions: [B, T, L, 4, 3] float32 Å, N, CA, C, O, as in the store: not superposed; where
      the source draws anchors, the last one is the anchor. In padding finite, with proper
      residues apart from each other.
    anchor: [B], what the anchors are, and at which frame of the level, counted from the first.
    temperature_K: [B] float32, K.
    dt_ns: [B] float32, ns between the frames of a window.
    chi: [B, T, L, 4] float32 rad, torsions of the side chains, 0 where there is none or it is not
      known, and in padding; `protein.chi` is that of frame 0. None if the loader reads none.
    chi_known: [B, T, L, 4] bool, which are known: none of an entry that has no side chains.
    stretch: the surroundings of the windows; None if the loader reads none.
  """

  protein: ProteinArrays
  positions: Any
  anchor: anchor_lib.Place
  temperature_K: Any
  dt_ns: Any
  chi: Any = None
  chi_known: Any = None
  stretch: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stretch:
  """The surroundings of a window in its trajectory, and where that began.

  Attributes:
    reference: [B, L, 4, 3] float32 Å, first frame of the trajectory.
    root: [B, 3 L, 3 L] float32 Å, `elastic_network.root_of` the reference.
    ca: [B, S, L, 3] float32 Å, of frames at even distances around the window; not superposed.
    times_ns: [B, S] float32, ns, of these frames, from the first.
    longest_ns: [B] float32, ns, time step of the coarsest level.
  """

  reference: Any
  root: Any
  ca: Any
  times_ns: Any
  longest_ns: Any


class Loader:
  """Reads the batch of any training step, on this host's part of it.

  The windows of a batch come from one length bucket, which is as likely as its windows together,
  so the source decides how likely each is, and shapes recur.
  """

  def __init__(
    self,
    source: windows_lib.WindowSource | lag_windows.LagWindowSource,
    batch_size: int,
    *,
    shard_index: int = 0,
    num_shards: int = 1,
    buckets: Sequence[int] = padding.BUCKETS,
    prefetch: int = 4,
    with_chi: bool = False,
    with_stretch: bool = False,
  ):
    """Prepares to read.

    Args:
      source: the windows.
      batch_size: B over all hosts.
      shard_index: which of the equal slices of every batch this host gets.
      num_shards: number of slices, a divisor of batch_size.
      buckets: padded lengths, ascending.
      prefetch: batches that `iterate` reads ahead.
      with_chi: read the torsions of the side chains, too.
      with_stretch: read `Batch.stretch`, too.

    Raises:
      ValueError: the batch does not divide into the shards.
    """
    if batch_size % num_shards or not 0 <= shard_index < num_shards:
      raise ValueError(f'no slice {shard_index} of {num_shards} in a batch of {batch_size}')
    self.source, self.batch_size = source, batch_size
    self._slice = slice(
      shard_index * batch_size // num_shards, (shard_index + 1) * batch_size // num_shards
    )
    self._buckets, self._prefetch = tuple(buckets), prefetch
    self._with_chi, self._with_stretch = with_chi, with_stretch
    self._windows = {window.entry.key: window for window in source.windows}
    self._reference = functools.lru_cache(maxsize=_NUM_REFERENCES)(self._read_reference)
    self._optional = [
      name
      for name in entry_lib.OPTIONAL
      if any(getattr(window.entry, name) is not None for window in source.windows)
    ]
    self._lengths = np.array([padding.bucket(w.entry.length, buckets) for w in source.windows])

  @property
  def lengths(self) -> tuple[int, ...]:
    """The padded lengths that occur, ascending."""
    return tuple(int(length) for length in np.unique(self._lengths))

  def batch(self, step: int) -> tuple[Batch, tuple[str, ...]]:
    """This host's slice of the batch of a step: a pure function of the step.

    Returns:
      The batch, and the name KEY@FIRST_FRAME of each window, for messages.

    Raises:
      InputError: the store lacks frames that it should have.
    """
    drawn = self.source.draw(step, self.batch_size, self._lengths)
    # The length is one for the whole draw, so for all hosts.
    length = padding.bucket(drawn[0].entry.length, self._buckets)
    drawn = drawn[self._slice]
    store = self.source.store
    reads = [store.read_async(window.entry, window.frames) for window in drawn]
    chi: list[np.ndarray] | None = None
    if self._with_chi:
      chi_reads = [store.read_chi_async(window.entry, window.frames) for window in drawn]
      chi = [read.result() for read in chi_reads]
    positions = [read.result() for read in reads]
    proteins = [
      padding.pad(self._arrays(window.entry, x[0], None if chi is None else chi[k][0]), length)
      for k, (window, x) in enumerate(zip(drawn, positions, strict=True))
    ]
    batch = Batch(
      protein=jax.tree.map(lambda *fields: np.stack(fields), *proteins),
      positions=np.stack([padding.pad_positions(x, length) for x in positions]),
      anchor=anchor_lib.stack([window.anchor for window in drawn]),
      temperature_K=np.array([window.entry.temperature_K for window in drawn], np.float32),
      dt_ns=np.array([window.dt_ns for window in drawn], np.float32),
    )
    if chi is not None:
      known = [padding.pad_with_zeros(~np.isnan(x), length, axis=1) for x in chi]
      values = [padding.pad_with_zeros(np.nan_to_num(x), length, axis=1) for x in chi]
      batch = dataclasses.replace(batch, chi=np.stack(values), chi_known=np.stack(known))
    if self._with_stretch:
      stretches = self._stretches(drawn, length)
      batch = dataclasses.replace(
        batch, stretch=jax.tree.map(lambda *fields: np.stack(fields), *stretches)
      )
    return batch, tuple(window.name for window in drawn)

  def _stretches(self, drawn: Sequence[windows_lib.DrawnWindow], length: int) -> list[Stretch]:
    """Of each window, padded, without [B]."""
    reads, times_ns = [], []
    for window in drawn:
      block, entry = self._windows[window.entry.key], window.entry
      half = 0.5 * _STRETCH_STEPS * window.longest_ns / entry.dt_ns
      middle = 0.5 * float(window.frames[0] + window.frames[self.source.num_frames - 1])
      low, high = max(middle - half, block.first), min(middle + half, block.end - 1)
      frames = np.linspace(low, high, _STRETCH_FRAMES).round().astype(int)
      reads.append(self.source.store.read_async(entry, frames))
      times_ns.append(((frames - frames[0]) * entry.dt_ns).astype(np.float32))
    found = []
    for window, read, times in zip(drawn, reads, times_ns, strict=True):
      ca = padding.pad_positions(read.result(), length)[:, :, 1]
      longest_ns = np.float32(window.longest_ns)
      reference = self._reference(window.entry.key, length)
      found.append(Stretch(*reference, ca, times, longest_ns))
    return found

  def _read_reference(self, key: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a trajectory, padded: where it began, [L, 4, 3] Å, and the root of its network."""
    window = self._windows[key]
    positions = self.source.store.read(window.entry, slice(window.first, window.first + 1))[0]
    padded = padding.pad_positions(positions, length)
    protein = padding.pad(self._arrays(window.entry, positions, None), length)
    return padded, np.asarray(_root_of(padded, protein))

  def _arrays(
    self, entry: entry_lib.Entry, positions: np.ndarray, chi: np.ndarray | None
  ) -> ProteinArrays:
    """Where any protein has one of `entry.OPTIONAL`, all others say that they have none."""
    arrays = entry.arrays(positions, chi)
    missing = {
      name: np.full(entry.length, entry_lib.OPTIONAL[name])
      for name in self._optional
      if getattr(arrays, name) is None
    }
    return dataclasses.replace(arrays, **missing)

  def iterate(self, start_step: int = 0) -> Generator[tuple[Batch, tuple[str, ...]], None, None]:
    """The batches of start_step, start_step + 1, ... without end, read ahead in the background.

    An error in reading a batch is raised when that batch is due. Close the iterator (or let it
    go) to stop the background work.
    """
    pool = concurrent.futures.ThreadPoolExecutor(2, 'tempo_loader')
    ahead: collections.deque[concurrent.futures.Future] = collections.deque()
    step = start_step
    try:
      while True:
        while len(ahead) <= self._prefetch:
          ahead.append(pool.submit(self.batch, step))
          step += 1
        yield ahead.popleft().result()
    finally:
      pool.shutdown(wait=True, cancel_futures=True)

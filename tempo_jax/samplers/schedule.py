"""Which pass of which network is computed when: the plan of a trajectory, made before it is traced.

Every pass reads states and writes T others, so that a trajectory is a list of states and a list of
passes over it. One *tick* computes a batch of passes of one level: of the coarsest level a single
one, since each needs the one before, of finer levels passes of several segments. All ticks have the
same shape, and one compiled pass of the network serves them all.

Rows of the list are numbered here, in NumPy: nothing of it is traced.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from tempo_jax.dynamics import anchor as anchor_lib

ROLLOUT = -1
"""In place of a segment's number: the rollout that a trajectory as a whole is."""


# What a tick costs besides its residues, in residues. On a CPU: the overhead of small operations.
# Of accelerators nothing is measured: their many small kernels are taken to cost as much as a batch
# that keeps them busy.
_OVERHEAD_CPU, _OVERHEAD = 100, 20_000
# Residues of a batch, beyond which its attention falls out of a CPU's cache: the network of the
# paper's size took 31 / 26 / 29 / 34 ms per segment and step at 256 residues with 1 / 4 / 8 / 20.
_MOST_RESIDUES_CPU = 512


def batch_size(num_segments: int, length: int, num_passes: int, num_alone: int) -> int:
  """How many segments are best computed together on this kind of device.

  Large batches take fewer ticks, but each pass of the coarsest level costs as much as a full batch.

  Args:
    num_segments: of the finest level.
    length: padded residues.
    num_passes: of a segment.
    num_alone: ticks with a single pass, those of the coarsest level.
  """
  on_cpu = jax.default_backend() == 'cpu'
  most = max(1, _MOST_RESIDUES_CPU // length) if on_cpu else num_segments
  overhead = _OVERHEAD_CPU if on_cpu else _OVERHEAD

  def cost(batch: int) -> int:
    ticks = num_alone + num_passes * -(-num_segments // batch)
    return ticks * (overhead + batch * length)

  # No larger than so many batches need.
  sizes = {-(-num_segments // count) for count in range(1, num_segments + 1)}
  return min((size for size in sizes if size <= most), key=cost)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ticks:
  """What the passes of all ticks read and write; numbers of rows unless said otherwise.

  Attributes:
    level: [N] number of the level among those of the schedule.
    window: [N, B, T] the states that a pass starts from.
    real: [N, B, T] bool, False where there is no such frame.
    start: [N, B] where the rollout or segment began.
    anchor: [N, B] its anchor.
    place: [N, B] what the anchor is, and how far ahead.
    segment: [N, B] the segment's number among those of the level, or `ROLLOUT`.
    index: [N, B] the pass's number in its rollout or segment.
    written: [N, B, T] where its states go.
  """

  level: np.ndarray
  window: np.ndarray
  real: np.ndarray
  start: np.ndarray
  anchor: np.ndarray
  place: anchor_lib.Place
  segment: np.ndarray
  index: np.ndarray
  written: np.ndarray


@dataclasses.dataclass(frozen=True)
class Pass:
  """One place of a tick: a row of each of the fields of `Ticks`."""

  window: tuple[int, ...]
  real: tuple[bool, ...]
  start: int
  anchor: int
  place: anchor_lib.Place
  segment: int
  index: int
  written: tuple[int, ...]


class Planner:
  """Collects passes, level by level, and the rows that hold each level's states in order of time.

  Attributes:
    num_rows: rows in use.
    states: rows of the last level's states, in order of time; the start comes first, but for the
      frames that `descend` emits.
  """

  def __init__(self, states: Sequence[int], num_rows: int, window: int):
    """Begins with given states.

    Args:
      states: their rows, in order of time.
      num_rows: rows in use.
      window: T.
    """
    self.states, self.num_rows = list(states), num_rows
    self._window = window
    self._ticks: list[tuple[int, list[Pass]]] = []

  def _allocate(self, count: int) -> list[int]:
    rows = list(range(self.num_rows, self.num_rows + count))
    self.num_rows += count
    return rows

  def _passes(
    self,
    first_window: Sequence[int],
    num_frames: int,
    start: int,
    anchor: int,
    place: anchor_lib.Place,
    segment: int,
  ) -> tuple[list[Pass], list[int]]:
    """Passes that lead on from a window, and the rows of the frames, whole passes of them."""
    passes: list[Pass] = []
    rows: list[int] = []
    window = tuple(first_window)
    # One row T times: a start with nothing before it.
    alone = len(set(window)) < len(window)
    for index in range(-(-num_frames // self._window)):
      written = tuple(self._allocate(self._window))
      real = [True] * self._window
      if alone and not index:
        real = [False] * (self._window - 1) + [True]
      seen = place.after(index * self._window)
      passes.append(Pass(window, tuple(real), start, anchor, seen, segment, index, written))
      rows += written
      window = written
    return passes, rows

  def roll_out(
    self, level: int, window: Sequence[int], num_frames: int, start: int, kind: anchor_lib.Kind
  ) -> list[int]:
    """Adds the rollout of a level, one pass per tick.

    Args:
      level: its number among those of the schedule.
      window: rows [T] to start from.
      num_frames: frames wanted; they are added to `states`.
      start: row of the conformation that the trajectory began with.
      kind: of its anchor, which is that conformation.

    Returns:
      Rows [T] of the window to go on from.
    """
    passes, rows = self._passes(window, num_frames, start, start, anchor_lib.Place(kind), ROLLOUT)
    self._ticks += [(level, [one]) for one in passes]
    self.states += rows[:num_frames]
    return list(passes[-1].written) if passes else list(window)

  def seed(
    self,
    level: int,
    starts: Sequence[int],
    num_frames: int,
    batch: int,
    place: anchor_lib.Place,
    anchors: Sequence[int] | None = None,
  ) -> list[list[int]]:
    """Adds segments that set out from given states.

    Args:
      level: its number among those of the schedule.
      starts: rows [S].
      num_frames: frames of each.
      batch: segments computed together.
      place: of their anchors, seen from the start.
      anchors: rows [S]; None: the starts.

    Returns:
      Rows of the frames of each segment.
    """
    segments, frames = [], []
    for number, (start, anchor) in enumerate(zip(starts, anchors or starts, strict=True)):
      passes, rows = self._passes([start] * self._window, num_frames, start, anchor, place, number)
      segments.append(passes)
      frames.append(rows[:num_frames])
    for first in range(0, len(segments), batch):
      together = zip(*segments[first : first + batch], strict=True)
      self._ticks += [(level, list(passes)) for passes in together]
    return frames

  def fill(self, level: int, ratio: int, count: int, batch: int) -> list[int]:
    """Adds a level that fills in the steps between the states: each segment ends in the next one.

    Args:
      level: its number among those of the schedule.
      ratio: frames per step of the states.
      count: frames wanted, at most `ratio` per step.
      batch: segments computed together.

    Returns:
      Rows of the starts of the segments; none where the only segment does not reach its end.
    """
    place = anchor_lib.Place(anchor_lib.Kind.END, ratio)
    states = self.states[: 1 + -(-count // ratio)]
    starts, ends = states[:-1], states[1:]
    frames = self.seed(level, starts, min(ratio, count), batch, place, ends)
    self.states = states[:1]
    for end, rows in zip(ends, frames, strict=True):
      self.states += [*rows[: ratio - 1], end] if len(rows) == ratio else rows
    return starts if count >= ratio else []

  def descend(self, level: int, ratio: int, count: int, is_last: bool, batch: int) -> None:
    """Adds a level with a segment after each of the states.

    Args:
      level: its number among those of the schedule.
      ratio: frames per step of the states.
      count: frames of the level wanted.
      is_last: whether its frames are emitted; else they, with the states, seed the next level.
      batch: segments computed together.
    """
    # The start stands for frame 0 of its segment, and frame `ratio` is the next start: a level
    # that only seeds another need not compute it.
    num_frames = min(ratio, count) - (0 if is_last else 1)
    starts = self.states
    frames = self.seed(level, starts, num_frames, batch, anchor_lib.Place())
    if not is_last:
      frames = [[start, *rows] for start, rows in zip(starts, frames, strict=True)]
    self.states = [row for rows in frames for row in rows][:count]

  def ticks(self, batch: int) -> Ticks:
    """All of them, each with `batch` places; what empty places compute goes into one more row.

    Args:
      batch: B, at least as many as any tick has passes.
    """
    nowhere = (self.num_rows,) * self._window
    levels, places = [], []
    for level, passes in self._ticks:
      empty = dataclasses.replace(passes[0], written=nowhere)
      levels.append(level)
      places.append([*passes, *[empty] * (batch - len(passes))])

    def field(name):
      # Shapes of no ticks at all are right, too.
      width = (self._window,) if name in ('window', 'real', 'written') else ()
      values = [[getattr(one, name) for one in tick] for tick in places]
      dtype = bool if name == 'real' else np.int32
      return np.array(values, dtype).reshape(len(places), batch, *width)

    flat = [one.place for tick in places for one in tick]
    place = jax.tree.map(lambda x: x.reshape(len(places), batch), anchor_lib.stack(flat))
    fields = ('window', 'real', 'start', 'anchor', 'segment', 'index', 'written')
    return Ticks(
      level=np.array(levels, np.int32), place=place, **{name: field(name) for name in fields}
    )

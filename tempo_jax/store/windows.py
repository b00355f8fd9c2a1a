"""Training windows: which stretches of which trajectories a step trains on."""

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.errors import InputError
from tempo_jax.store import store as store_lib

_TOLERANCE = 1e-3  # relative, of a time step: files hold times in float32


@dataclasses.dataclass(frozen=True)
class DrawnWindow:
  """Which frames of which trajectory a training window consists of.

  Attributes:
    entry: the trajectory.
    frames: which of its frames, with the level's stride, forwards or backwards in time; where
      the source draws anchors, the last one is the anchor.
    anchor: what the anchor is, and at which frame of the level, counted from the first.
    dt_ns: between the frames, ns.
    longest_ns: time step of the coarsest level that such windows are sampled under, ns.
  """

  entry: store_lib.Entry
  frames: np.ndarray
  anchor: anchor_lib.Place
  dt_ns: float
  longest_ns: float

  @property
  def name(self) -> str:
    """KEY@FIRST_FRAME, for messages."""
    return f'{self.entry.key}@{self.frames[0]}'


@dataclasses.dataclass(frozen=True)
class EntryWindows:
  """All windows of one trajectory.

  Attributes:
    entry: the trajectory.
    stride: frames between two frames of a window.
    first: start frame of the first window.
    end: behind the last frame that a window may hold.
    step: frames between the starts of two windows.
    count: number of windows.
  """

  entry: store_lib.Entry
  stride: int
  first: int
  end: int
  step: int
  count: int


class WindowSource:
  """The windows of one level, drawn as a pure function of (seed, step).

  Attributes:
    store: where the trajectories are.
    dt_ns: time between the frames of a window, ns.
    num_frames: frames of a window, T.
    windows: per trajectory that serves, in the order of the store.
    num_windows: of all of them together.
    left_out: (key, reason) of the trajectories of this split that do not serve.
  """

  def __init__(
    self,
    store: store_lib.Store,
    dt_ns: float,
    num_frames: int,
    *,
    split: str = 'train',
    seed: int = 0,
    time_block: tuple[float, float] = (0.0, 1.0),
    start_stride_ns: float | None = None,
    anchors: Sequence[anchor_lib.Place] | None = None,
    reversal: float = 0.0,
    balance: float = 0.0,
    longest_ns: float | None = None,
  ):
    """Finds the windows.

    Args:
      store: an open store.
      dt_ns: time step of the level, ns; a whole multiple of a trajectory's own.
      num_frames: frames of a window, T.
      split: which trajectories: those that the store's manifest says are of this split.
      seed: of the draws.
      time_block: the part of every trajectory, as fractions of its frames, that windows
        lie wholly inside. (0, 0.9) and (0.9, 1) share no frame.
      start_stride_ns: windows start at whole multiples of this time after the beginning of
        the block, ns; None: at any frame. The paper's coarse windows (every 20th frame of the
        whole trajectory, from its beginning on) have `start_stride_ns = dt_ns`.
      anchors: what an anchor may be, seen from the window's first frame; each is as likely, one is
        drawn per window and read as one more frame. The reference is any frame of the block from
        its beginning to the window's first (backwards in time, from its end); where there is
        none, the first frame is repeated. None: no anchors, no further frame.
      reversal: share of windows that run backwards in time. MD in equilibrium does not tell
        the two directions apart.
      balance: 0: every window is equally likely; 1: every protein, whatever its number of windows;
        between: a protein in proportion to (its windows)^(1 - balance).
      longest_ns: time step of the coarsest level, ns; None: this is it.

    Raises:
      InputError: no trajectory serves, or the level is longer than a quarter of the longest
        training trajectory.
    """
    self.store, self.dt_ns, self.num_frames = store, float(dt_ns), int(num_frames)
    self._seed = seed
    self._longest_ns = self.dt_ns if longest_ns is None else float(longest_ns)
    self._anchors = None if anchors is None else tuple(anchors)
    self._reversal = float(reversal)
    low, high = time_block
    if not 0.0 <= low < high <= 1.0:
      raise InputError(f'time block {time_block}: give two fractions, 0 <= low < high <= 1')
    if not dt_ns > 0.0 or num_frames < 1 or not (start_stride_ns is None or start_stride_ns > 0.0):
      raise InputError(
        f'windows of {num_frames} frames, {dt_ns} ns apart, starting every {start_stride_ns} ns: '
        'all of these must be above zero'
      )
    candidates = [entry for entry in store.entries if entry.split == split]
    windows: list[EntryWindows] = []
    left_out: list[tuple[str, str]] = []
    for entry in candidates:
      found = self._windows_of(entry, time_block, start_stride_ns)
      if isinstance(found, str):
        left_out.append((entry.key, found))
      else:
        windows.append(found)
    if split == 'train':
      self._check_quarter(candidates)
    if not windows:
      raise InputError(self._nothing_serves(split, candidates, left_out))
    self.windows, self.left_out = tuple(windows), tuple(left_out)
    self._counts = np.array([w.count for w in windows])
    self.num_windows = int(self._counts.sum())
    self._weights = weights_of(windows, balance)

  def draw(self, step: int, batch_size: int, group: np.ndarray | None = None) -> list[DrawnWindow]:
    """Draws the windows of one training step, as likely as `balance` says.

    Args:
      step: of the training.
      batch_size: number of windows, drawn with replacement.
      group: [len(self.windows)] int. If given, all windows of a batch come from trajectories
        of one group, which is as likely as its windows together.

    Returns:
      `batch_size` windows, the same for the same seed, step and arguments.
    """
    rng = np.random.default_rng(np.random.SeedSequence([self._seed, step]))
    which = choose(rng, self._weights, group, batch_size)
    picks = rng.integers(self._counts[which])
    choices = self._anchors or (anchor_lib.Place(),)
    anchors = [choices[k] for k in rng.integers(len(choices), size=batch_size)]
    backwards = rng.random(batch_size) < self._reversal
    since = rng.random(batch_size)
    batch = []
    for pick, number, anchor, back, age in zip(
      picks, which, anchors, backwards, since, strict=True
    ):
      w = self.windows[number]
      start = w.first + w.step * int(pick)
      steps = np.arange(self.num_frames)
      if self._anchors is not None and not anchor.is_reference:
        steps = np.append(steps, anchor.frames)
      offsets = w.stride * steps
      if back:
        offsets = self._span(w.stride) - 1 - offsets
      frames = start + offsets
      if anchor.is_reference:
        # Rounded towards the window, which it may begin in.
        beginning = w.end - 1 if back else w.first
        frames = np.append(frames, frames[0] + int(age * (beginning - frames[0])))
      batch.append(DrawnWindow(w.entry, frames, anchor, self.dt_ns, self._longest_ns))
    return batch

  def _span(self, stride: int) -> int:
    last = [self.num_frames - 1, *(anchor.frames for anchor in self._anchors or ())]
    return max(last) * stride + 1

  def _windows_of(
    self, entry: store_lib.Entry, time_block: tuple[float, float], start_stride_ns: float | None
  ) -> EntryWindows | str:
    """The windows of an entry, or why there are none."""
    stride = _multiple(self.dt_ns, entry.dt_ns)
    step = 1 if start_stride_ns is None else _multiple(start_stride_ns, entry.dt_ns)
    if not stride:
      return f'its frames are {entry.dt_ns:g} ns apart, which does not divide {self.dt_ns:g} ns'
    if not step:
      return f'its frames are {entry.dt_ns:g} ns apart, which does not divide the start stride'
    # The same rounding at either end, so that neighbouring blocks meet and do not overlap.
    first, end = (round(fraction * entry.num_frames) for fraction in time_block)
    count = (end - first - self._span(stride)) // step + 1
    if count < 1:
      return (
        f'a window needs {self._span(stride)} frames of {entry.dt_ns:g} ns, its block has '
        f'{end - first}'
      )
    return EntryWindows(entry, stride, first, end, step, count)

  def _check_quarter(self, entries: list[store_lib.Entry]) -> None:
    """A step that a trajectory holds less than four times cannot be learnt from it."""
    serving = [entry for entry in entries if _multiple(self.dt_ns, entry.dt_ns)]
    if not serving:
      return
    longest = max(serving, key=_length_ns)
    if 4.0 * self.dt_ns > _length_ns(longest) * (1.0 + _TOLERANCE):
      raise InputError(
        f'{self.store.path}: a time step of {self.dt_ns:g} ns is longer than a quarter of the '
        f'longest training trajectory ({longest.key}, {_length_ns(longest):g} ns): choose '
        f'{_at_most(longest, _length_ns(longest) / 4.0)}, or add longer trajectories'
      )

  def _nothing_serves(
    self, split: str, entries: list[store_lib.Entry], left_out: list[tuple[str, str]]
  ) -> str:
    where = f'{self.store.path}: no windows of {self._span(1)} frames, {self.dt_ns:g} ns apart'
    if not entries:
      splits = ', '.join(sorted({repr(entry.split) for entry in self.store.entries})) or 'none'
      return f'{where}: no trajectory is of split {split!r} (there are: {splits}): see --split'
    key, reason = left_out[0]
    where += f', in its {len(entries)} trajectories of split {split!r} ({key}: {reason})'
    dividing = [entry for entry in entries if _multiple(self.dt_ns, entry.dt_ns)]
    if not dividing:
      steps = ', '.join(f'{dt:g}' for dt in sorted({entry.dt_ns for entry in entries})[:8])
      return f'{where}: choose a time step that is a multiple of {steps} ns'
    longest = max(dividing, key=_length_ns)
    return (
      f'{where}: choose {_at_most(longest, _length_ns(longest) / max(self._span(1), 4))}, fewer '
      'frames per window, a wider time block or longer trajectories'
    )


def weights_of(windows: Sequence[EntryWindows], balance: float) -> np.ndarray:
  """How likely each trajectory is: see `balance` of `WindowSource`."""
  of_protein: collections.Counter[str] = collections.Counter()
  for w in windows:
    of_protein[w.entry.name] += w.count
  shared = np.array([of_protein[w.entry.name] for w in windows], np.float64)
  return np.array([w.count for w in windows]) * shared**-balance


def choose(
  rng: np.random.Generator, weights: np.ndarray, group: np.ndarray | None, size: int
) -> np.ndarray:
  """[size] numbers of trajectories, of one group, which is as likely as its members together.

  Args:
    rng: draws.
    weights: [N] of the trajectories.
    group: [N] int; None: all are of one.
    size: how many.
  """
  leader = _choose(rng, weights, 1)[0]
  group = np.zeros(len(weights), np.int64) if group is None else np.asarray(group)
  (members,) = np.nonzero(group == group[leader])
  return members[_choose(rng, weights[members], size)]


def _choose(rng: np.random.Generator, weights: np.ndarray, size: int) -> np.ndarray:
  """[size] numbers from 0 to len(weights) - 1, in proportion to the weights."""
  return rng.choice(len(weights), size=size, p=weights / weights.sum())


def _multiple(time_ns: float, dt_ns: float) -> int:
  """How many steps of dt_ns make time_ns; 0 if no whole number does."""
  count = round(time_ns / dt_ns)
  return count if abs(count * dt_ns - time_ns) <= _TOLERANCE * time_ns else 0


def _length_ns(entry: store_lib.Entry) -> float:
  return entry.num_frames * entry.dt_ns


def _at_most(entry: store_lib.Entry, time_ns: float) -> str:
  """The advice on a time step: the greatest one of the trajectory that fits in time_ns."""
  steps = math.floor(time_ns / entry.dt_ns * (1.0 + _TOLERANCE))
  return f'at most {max(steps, 1) * entry.dt_ns:g} ns'

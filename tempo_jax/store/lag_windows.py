"""Training windows at all lag times: which stretches, and how far apart their frames are."""

import math
from collections.abc import Sequence

import numpy as np

from tempo_jax import time_scales
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.errors import InputError
from tempo_jax.store import store as store_lib
from tempo_jax.store import windows as windows_lib

# Share of windows that are seen as the coarsest level sees them; the others lie within a segment
# of a coarser level, whose end they see.
_COARSEST = 0.5
# Of a trajectory: a longer lag cannot be learnt from it.
_LONGEST_PART = 0.25


class LagWindowSource:
  """The windows of a model of any time step, drawn as a pure function of (seed, step).

  A lag is drawn log-uniformly between a trajectory's spacing and a quarter of its length, within
  the model's range; trajectories may have any spacings.

  Attributes:
    store: where the trajectories are.
    lags_ns: the shortest and the longest lag time that are drawn, ns.
    num_frames: frames of a window, T.
    windows: per trajectory that serves, in the order of the store; at its own spacing.
    num_windows: frames of all of them together.
    left_out: (key, reason) of the trajectories of this split that do not serve.
  """

  def __init__(
    self,
    store: store_lib.Store,
    lags_ns: Sequence[float],
    num_frames: int,
    *,
    split: str = 'train',
    seed: int = 0,
    time_block: tuple[float, float] = (0.0, 1.0),
    newest: int = 0,
    reference: bool = True,
    reversal: float = 0.0,
    balance: float = 0.0,
    range_ns: Sequence[float] | None = None,
  ):
    """Finds the trajectories.

    Args:
      store: an open store.
      lags_ns: the shortest and the longest lag time that are drawn, ns.
      num_frames: frames of a window, T.
      split: which trajectories: those that the store's manifest says are of this split.
      seed: of the draws.
      time_block: the part of every trajectory, as fractions of its frames, that windows lie
        wholly inside.
      newest: which frame of a window a segment's end is seen from.
      reference: whether the coarsest level sees the conformation that its trajectory began with.
      reversal: share of windows that run backwards in time.
      balance: 0: every frame is equally likely; 1: every protein, whatever its number of frames;
        between: a protein in proportion to (its frames)^(1 - balance).
      range_ns: the shortest and the longest lag time of the model, ns, in which coarser levels are
        laid over a window; None: those that are drawn.

    Raises:
      InputError: no trajectory serves.
    """
    self.store, self.num_frames = store, int(num_frames)
    shortest, longest = (float(x) for x in lags_ns)
    self.lags_ns = shortest, longest
    self._range_ns = self.lags_ns if range_ns is None else (float(range_ns[0]), float(range_ns[1]))
    self._seed, self._newest, self._reversal = seed, int(newest), float(reversal)
    kind = anchor_lib.Kind.REFERENCE if reference else anchor_lib.Kind.NONE
    self._coarsest = anchor_lib.Place(kind)
    windows: list[windows_lib.EntryWindows] = []
    left_out: list[tuple[str, str]] = []
    for entry in (entry for entry in store.entries if entry.split == split):
      first, end = (round(fraction * entry.num_frames) for fraction in time_block)
      least, most = self._strides(entry.dt_ns, end - first)
      if least > most:
        left_out.append((entry.key, self._reason(entry.dt_ns, end - first)))
      else:
        windows.append(windows_lib.EntryWindows(entry, 1, first, end, 1, end - first))
    if not windows:
      why = f' ({left_out[0][0]}: {left_out[0][1]})' if left_out else ''
      raise InputError(
        f'{store.path}: no trajectory of split {split!r} serves for lag times of {shortest:g} to '
        f'{longest:g} ns{why}: add longer ones, or change config.model.lags_ns'
      )
    self.windows, self.left_out = tuple(windows), tuple(left_out)
    self.num_windows = sum(w.count for w in windows)
    self._weights = windows_lib.weights_of(windows, balance)

  def draw(
    self, step: int, batch_size: int, group: np.ndarray | None = None
  ) -> list[windows_lib.DrawnWindow]:
    """Draws the windows of one training step.

    Args:
      step: of the training.
      batch_size: number of windows, drawn with replacement.
      group: [len(self.windows)] int; see `windows.choose`.

    Returns:
      `batch_size` windows, the same for the same seed, step and arguments.
    """
    rng = np.random.default_rng(np.random.SeedSequence([self._seed, step]))
    which = windows_lib.choose(rng, self._weights, group, batch_size)
    return [self._one(self.windows[k], rng.random(6)) for k in which]

  def _one(self, w: windows_lib.EntryWindows, chances: np.ndarray) -> windows_lib.DrawnWindow:
    """A window of a trajectory, by six numbers from 0 to 1."""
    of_lag, of_kind, of_end, of_start, of_reference, of_direction = chances
    least, most = self._strides(w.entry.dt_ns, w.count)
    # Whole numbers, each as likely as its share of the logarithmic scale.
    low, high = math.log(least - 0.5), math.log(most + 0.5)
    stride = min(max(round(math.exp(low + of_lag * (high - low))), least), most)
    dt_ns = stride * w.entry.dt_ns
    steps, place, longest_ns = np.arange(self.num_frames), self._coarsest, dt_ns
    room = (w.count - 1) // stride - self._newest
    ends = min(time_scales.MOST_STEPS, room)
    if of_kind >= _COARSEST and ends >= 1:
      ahead = self._newest + 1 + min(int(of_end * ends), ends - 1)
      place = anchor_lib.Place(anchor_lib.Kind.END, ahead)
      steps = np.append(steps, ahead)
      longest_ns = time_scales.steps_ns(self._range_ns, dt_ns)[0]
    offsets = stride * steps
    start = w.first + int(of_start * (w.count - int(offsets.max())))
    is_back = of_direction < self._reversal
    frames = start + (int(offsets.max()) - offsets if is_back else offsets)
    if place.kind != anchor_lib.Kind.END:
      beginning = w.end - 1 if is_back else w.first
      # Rounded towards the window, which it may begin in.
      frames = np.append(frames, frames[0] + int(of_reference * (beginning - frames[0])))
    return windows_lib.DrawnWindow(w.entry, frames, place, dt_ns, longest_ns)

  def _strides(self, dt_ns: float, num_frames: int) -> tuple[int, int]:
    """The least and the most frames of a trajectory that a lag may be."""
    shortest, longest = self.lags_ns
    tolerance = 1e-3
    least = max(math.ceil(shortest / dt_ns * (1.0 - tolerance)), 1)
    most = min(
      math.floor(longest / dt_ns * (1.0 + tolerance)),
      math.floor(_LONGEST_PART * num_frames),
      (num_frames - 1) // max(self.num_frames - 1, 1),
    )
    return least, most

  def _reason(self, dt_ns: float, num_frames: int) -> str:
    return (
      f'its block has {num_frames} frames of {dt_ns:g} ns: no lag of the range is a multiple of '
      'that and a quarter of the block, or less'
    )

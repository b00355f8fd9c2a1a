"""Error bars: of means of correlated series, and of any number by drawing its data again.

Series are lists of replicas, each [F]; a function returns its value and None, or None and the
reason why there is none. All errors are standard errors (one standard deviation of the estimate);
`Bootstrap` has percentiles, too.

Which to use: of a mean over one or few trajectories, `mean_error`, with `block_error` to check it;
of anything that is computed from several independent replicas, `bootstrap`; of one long trajectory
where the number is no mean, `block_bootstrap`; of a table over proteins, `bootstrap_values`.
"""

import collections
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from tempo_jax.metrics import kinetics
from tempo_jax.metrics.kinetics import Found, Replicas

_T = TypeVar('_T')

NUM_DRAWS = 1000
CONFIDENCE = 0.95
MIN_BLOCKS = 5
"""Of so many, the error of a block average is itself uncertain by a third."""
MIN_INDEPENDENT = 10
"""Frames / g, below which the error of a mean is not to be trusted."""
_LONGER = 1.2  # Each block length over the one before, but one frame more at the least.
_SAME = 1e-9  # Of the largest value.
_ALWAYS_COUNTED = 3  # Lags: noise below 0 does not end the sum before this (pymbar's mintime).


def statistical_inefficiency(series: Replicas) -> Found[float]:
  """How many correlated frames are worth one independent frame (Chodera's g).

  g = 1 + 2 sum_t (1 - t / F) C(t), up to the first t > 3 at which C falls to 0 (Chodera et al., J.
  Chem. Theory Comput. 3, 26 (2007); pymbar). C is that of `kinetics.autocorrelation`, about the
  mean of all replicas. Too low where the series is shorter than some 50 correlation times: it does
  not know what it has not seen.

  Args:
    series: [F] per replica, evenly spaced.

  Returns:
    1 or more, frames, and None; or None and the reason.
  """
  longest = max(map(len, series), default=0)
  if longest < _ALWAYS_COUNTED + 2:
    return None, f'{longest} frames are too few for a statistical inefficiency'
  curve, reason = kinetics.autocorrelation([np.asarray(x, np.float64) for x in series], longest - 2)
  if curve is None:
    return None, reason or ''
  lags = np.arange(1, len(curve))
  ends = np.flatnonzero((curve[1:] <= 0.0) & (lags > _ALWAYS_COUNTED))
  last = int(ends[0]) if ends.size else len(lags)
  pairs = sum(np.maximum(len(x) - lags, 0) for x in series) / sum(map(len, series))
  return max(1.0, float(1.0 + 2.0 * np.sum((pairs * curve[1:])[:last]))), None


@dataclasses.dataclass(frozen=True)
class MeanError:
  """Standard error of the mean of a correlated series.

  Attributes:
    error: in the unit of the series.
    inefficiency: g, frames.
    num_independent: frames / g.
  """

  error: float
  inefficiency: float
  num_independent: float


def mean_error(series: Replicas) -> Found[MeanError]:
  """Standard error of the mean over all frames: s (F / g - 1)^-1/2, g by Chodera.

  s is the standard deviation, about the mean of all replicas. Of 26 and of 110 independent frames
  it is right within 6 %, on average over Ornstein-Uhlenbeck processes, of 12 a fifth too small. No
  series shows that it is much shorter than its correlation time: then the error is far too small.

  Args:
    series: [F] per replica, evenly spaced.

  Returns:
    The error and None; or None and the reason: a constant series, or fewer than ten independent
    frames. Of several replicas that are no longer than their correlation time, use `bootstrap`.
  """
  inefficiency, reason = statistical_inefficiency(series)
  if inefficiency is None:
    return None, reason or ''
  pooled = np.concatenate([np.asarray(x, np.float64) for x in series])
  independent = len(pooled) / inefficiency
  if independent < MIN_INDEPENDENT:
    return None, f'{len(pooled)} frames are worth {independent:.1f} independent ones'
  error = float(pooled.std()) / math.sqrt(independent - 1.0)
  return MeanError(error, inefficiency, independent), None


@dataclasses.dataclass(frozen=True)
class BlockError:
  """Standard error of the mean of a correlated series.

  Attributes:
    error: in the unit of the series.
    block_length: frames; blocks of this length are independent.
    num_blocks: the error is uncertain by 1 part in root of 2 (num_blocks - 1).
    inefficiency: (error / that of independent frames)^2, 1 or more where frames are correlated; an
      estimate of g that is independent of `statistical_inefficiency`.
  """

  error: float
  block_length: int
  num_blocks: int
  inefficiency: float


def block_error(series: Replicas) -> Found[BlockError]:
  """Standard error of the mean over all frames, by block averages.

  Blocks of growing length, within replicas (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461
  (1989)); the shortest length B with B^3 > 2 F (s_B / s_1)^4 (Lee et al., Phys. Rev. E 83, 066706
  (2011)), s being the standard error that blocks of a length give. It needs no autocorrelation, but
  more data than `mean_error`: of 26 independent frames it is a fifth too small on average, of 110
  some 10 %.

  Args:
    series: [F] per replica, evenly spaced.

  Returns:
    The error and None; or None and the reason: a constant series, or one that is too short for its
    correlation time. Of replicas that are no longer than that, use `bootstrap`.
  """
  replicas = [np.asarray(x, np.float64) for x in series]
  num_frames = sum(map(len, replicas))
  if num_frames < MIN_BLOCKS:
    return None, f'{num_frames} frames are too few for block averages'
  pooled = np.concatenate(replicas)
  alone = float(pooled.std(ddof=1)) / math.sqrt(num_frames)
  if alone <= 1e-12 * abs(float(pooled.mean())):
    return None, 'the series is constant'
  length, error = 1, alone
  while True:
    blocks = np.concatenate([_block_means(x, length) for x in replicas])
    if len(blocks) < MIN_BLOCKS:
      return None, f'{num_frames} frames are too few for their correlation time'
    error = float(blocks.std(ddof=1)) / math.sqrt(len(blocks))
    if length**3 > 2.0 * num_frames * (error / alone) ** 4:
      return BlockError(error, length, len(blocks), (error / alone) ** 2), None
    length = max(length + 1, int(_LONGER * length))


def _block_means(series: np.ndarray, length: int) -> np.ndarray:
  """Of whole blocks; what is left over is at the start, where a run is least equilibrated."""
  num_blocks = len(series) // length
  return series[len(series) - num_blocks * length :].reshape(num_blocks, length).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class Bootstrap:
  """How a number varies if what it was computed from is drawn again.

  Attributes:
    standard_error: standard deviation over draws, times the root of n / (n - 1): without that, of n
      things that are drawn it is too small.
    low: 2.5 % of the draws are below; not corrected, too narrow for fewer than some ten things.
    high: 97.5 %.
    num_drawn_from: n.
  """

  standard_error: float
  low: float
  high: float
  num_drawn_from: int


def _of_draws(values: np.ndarray, num: int) -> Bootstrap:
  tails = 50.0 * (1.0 - CONFIDENCE), 50.0 * (1.0 + CONFIDENCE)
  low, high = np.percentile(values, tails)
  error = float(values.std()) * math.sqrt(num / (num - 1.0))
  return Bootstrap(error, float(low), float(high), num)


def bootstrap(
  statistic: Callable[[list[_T]], float | None],
  replicas: Sequence[_T],
  seed: int = 0,
  num_draws: int = NUM_DRAWS,
) -> Found[Bootstrap]:
  """Draws replicas (or proteins) with replacement.

  Up to five replicas have so few different draws (3, 10, 35, 126) that all are taken, each with its
  weight: exact, and no seed matters.

  Args:
    statistic: of as many replicas, some of them repeated; their order must not matter. None or NaN
      where it has no value.
    replicas: independent of each other, such as positions [F, L, 4, 3].
    seed: of the draws.
    num_draws: of six and more replicas.

  Returns:
    The bootstrap and None; or None and the reason: fewer than two replicas, or fewer than half of
    the draws have a value.
  """
  num = len(replicas)
  if num < 2:
    return None, f'{num} replica has no spread' if num else 'there is no replica'
  if math.comb(2 * num - 1, num) <= min(num_draws, 126):
    choices = list(itertools.combinations_with_replacement(range(num), num))
    weights = [_multiplicity(choice) for choice in choices]
  else:
    drawn = np.random.default_rng(seed).integers(num, size=(num_draws, num))
    choices, weights = [tuple(row) for row in drawn.tolist()], [1] * num_draws
  return _evaluate(lambda choice: statistic([replicas[i] for i in choice]), choices, weights, num)


def _multiplicity(choice: Sequence[int]) -> int:
  """In how many orders these can be drawn."""
  repeats = collections.Counter(choice).values()
  return math.factorial(len(choice)) // math.prod(map(math.factorial, repeats))


def _evaluate(
  statistic: Callable[[Any], float | None], choices: Sequence, weights: Sequence[int], num: int
) -> Found[Bootstrap]:
  found = [statistic(choice) for choice in choices]
  values = np.array([np.nan if x is None else x for x in found], float)
  values = np.repeat(values, weights)
  there = values[~np.isnan(values)]
  if 2 * len(there) < len(values):
    return None, f'{len(values) - len(there)} of {len(values)} draws have no value'
  return _of_draws(there, num), None


def bootstrap_values(
  values: Sequence[float | None] | np.ndarray,
  reduction: Callable[..., np.ndarray] = np.median,
  seed: int = 0,
  num_draws: int = NUM_DRAWS,
) -> Found[Bootstrap]:
  """Draws proteins with replacement, of which each has one number.

  Args:
    values: one per protein; None or NaN are left out before.
    reduction: np.median, np.mean, ..., over an axis.
    seed: of the draws.
    num_draws: how many.

  Returns:
    The bootstrap of the reduced number and None; or None and the reason: fewer than two proteins.
  """
  array = np.array([np.nan if x is None else x for x in values], float)
  array = array[~np.isnan(array)]
  if len(array) < 2:
    return None, f'{len(array)} of {len(values)} proteins have a number: there is no spread'
  drawn = np.random.default_rng(seed).integers(len(array), size=(num_draws, len(array)))
  return _of_draws(reduction(array[drawn], axis=1), len(array)), None


def block_bootstrap(
  statistic: Callable[[np.ndarray], float | None],
  lengths: Sequence[int],
  block_length: int,
  seed: int = 0,
  num_draws: int = 100,
) -> Found[Bootstrap]:
  """Draws blocks of successive frames with replacement: for what is no mean, of few trajectories.

  Moving blocks (Künsch, Ann. Stat. 17, 1217 (1989)), each within a replica, until there are as many
  frames as before. Not for numbers that depend on the order of frames, such as autocorrelations. A
  JSD and other distances rise where frames repeat: use the error, not the percentiles.

  Args:
    statistic: of frames [F] int64, indices into all replicas one after the other; None or NaN where
      it has no value.
    lengths: frames of each replica.
    block_length: frames; some correlation times, such as `BlockError.block_length` of the slowest
      series that matters.
    seed: of the draws.
    num_draws: 100 draws make an error that is uncertain by 7 %.

  Returns:
    The bootstrap and None; or None and the reason: fewer than five blocks.
  """
  num_frames = sum(lengths)
  num_blocks = num_frames // block_length
  if num_blocks < MIN_BLOCKS:
    return None, f'{num_frames} frames are too few for blocks of {block_length}'
  first = np.cumsum([0, *lengths[:-1]])
  starts = np.concatenate(
    [a + np.arange(max(n - block_length + 1, 0)) for a, n in zip(first, lengths, strict=True)]
  )
  if not starts.size:
    return None, f'no replica has {block_length} frames'
  rng = np.random.default_rng(seed)
  needed = -(-num_frames // block_length)
  chosen = starts[rng.integers(len(starts), size=(num_draws, needed))]
  frames = (chosen[..., None] + np.arange(block_length)).reshape(num_draws, -1)[:, :num_frames]
  return _evaluate(statistic, list(frames), [1] * num_draws, num_blocks)


def section_error(values: Sequence[float]) -> float:
  """Standard error of a number, from its values in parts of the data (sectioning; batch means).

  s / root of n, of n parts of equal size that are nearly independent of each other. Parts as long
  as g (`statistical_inefficiency`) make it a quarter too small, of 2.5 g a tenth. It is itself
  uncertain by 1 part in the root of 2 (n - 1). That the number is biased in short parts (as all
  distances of distributions are: too large) does not matter, as long as it is in all alike.

  Args:
    values: of two or more parts.
  """
  return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def jackknife_error(values: Sequence[float]) -> Found[float]:
  """Standard error of a number, from its values without one part of the data each.

  s (n - 1) / root of n (Tukey; Efron and Stein, Ann. Stat. 9, 586 (1981)): for numbers which a part
  alone cannot give. Of a mean it is `section_error`. Near a bound (an overlap of 0.98) it is right
  on average, but mostly 0 or too small, and sometimes far too large.

  Args:
    values: without the first part, without the second, ...; two or more.

  Returns:
    The error and None; or None and the reason: no part changes the number, which says nothing.
  """
  if np.ptp(values) <= _SAME * np.max(np.abs(values)):
    return None, 'no part changes it: it is at a bound, or counts few things'
  return section_error(values) * (len(values) - 1), None


def share_error(share: float, num_independent: float) -> float:
  """Standard error of a share of frames, also where none of them, or all, are counted.

  Agresti and Coull (Am. Stat. 52, 119 (1998)): that of a binomial share with two more frames that
  count, and two that do not. Of a share of 0 it is about 1.4 / n.

  Args:
    share: 0 to 1.
    num_independent: n, frames over their statistical inefficiency.
  """
  num = num_independent + 4.0
  nearer = (share * num_independent + 2.0) / num
  return math.sqrt(nearer * (1.0 - nearer) / num)


def is_noise(value: float, error: float) -> bool:
  """Whether a number's error is larger than the number: its sign is not known."""
  return error > abs(value)


def text(value: float | None, error: float | None = None, digits: int = 2) -> str:
  """A number with its error, such as '0.12 ± 0.03', '0.02 ± 0.05 (noise)' or '-'.

  Args:
    value: None where there is none.
    error: standard error, None where it is unknown.
    digits: after the point.
  """
  if value is None:
    return '-'
  if error is None:
    return f'{value:.{digits}f}'
  noise = ' (noise)' if is_noise(value, error) else ''
  return f'{value:.{digits}f} ± {error:.{digits}f}{noise}'

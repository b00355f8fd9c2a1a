"""What an ablation samples, how long it takes, and the MD that it is compared with."""

import dataclasses
import functools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError
from tempo_jax.metrics import calibration, kinetics
from tempo_jax.samplers import coarse_to_fine, upsample
from tempo_jax.store import store as store_lib

_LOG = logging.getLogger('tempo_jax')
STARTS = ('heldout', 'train', 'first')
_TIMED_FRAMES = 400
_TIMED_CALLS = 5


@dataclasses.dataclass(frozen=True)
class Sampling:
  """What is sampled, and what MD it is compared with.

  Attributes:
    how: 'hierarchy', all levels; 'fine', the finest one alone; 'upsample', the levels between
      held-out coarse frames; or the name of a level, which is rolled out alone.
    frames: per rollout; 'upsample' has as many as MD.
    replicas: rollouts per protein.
    start: where rollouts start: 'heldout' or 'train', frames evenly spread over that MD; 'first',
      the first frame of each held-out trajectory in turn.
    heldout_block: stretch of held-out trajectories, as fractions; None: the configuration's
      validation_block.
    heldout_split: of the held-out trajectories; None: the configuration's validation_split.
    training_block: stretch of training trajectories for the floor; None: its train_block.
    lag_ns: of TICA, ns.
    seed: of the rollouts.
    segment_batch_size: segments computed together; None: what suits the device.
  """

  how: str = 'hierarchy'
  frames: int = 3000
  replicas: int = 1
  start: str = 'heldout'
  heldout_block: tuple[float, float] | None = None
  heldout_split: str | None = None
  training_block: tuple[float, float] | None = None
  lag_ns: float = 0.2
  seed: int = 0
  segment_batch_size: int | None = None


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """MD of one protein at one temperature, all with the spacing of what is sampled.

  Attributes:
    entry: one of its trajectories, which says what protein it is.
    reference: [F, L, 4, 3] Å per held-out trajectory.
    training: the same of trajectories that were trained on; may be none.
  """

  entry: store_lib.Entry
  reference: list[np.ndarray]
  training: list[np.ndarray]

  @property
  def count(self) -> int:
    """Frames for divergences, so that prediction and floor are of equally many."""
    reference = sum(map(len, self.reference))
    return min(reference, sum(map(len, self.training))) if self.training else reference // 2

  def starts(self, start: str, replicas: int) -> np.ndarray:
    """[R, L, 4, 3] Å, where rollouts begin; see `Sampling`."""
    if start == 'first':
      return np.stack([self.reference[r % len(self.reference)][0] for r in range(replicas)])
    if start == 'train' and not self.training:
      raise InputError(
        f'--start=train: there is no training MD of {self.entry.name} at '
        f'{self.entry.temperature_K:g} K: give --start=heldout'
      )
    frames = np.concatenate(self.training if start == 'train' else self.reference)
    if len(frames) < replicas:
      raise InputError(
        f'--rollout_replicas={replicas}: there are {len(frames)} frames to start from: give fewer'
      )
    return calibration.evenly(frames, replicas)


def held_out(config: Any, sampling: Sampling, dt_ns: float) -> list[HeldOut]:
  """The MD to compare with, per protein and temperature.

  Raises:
    InputError: nothing is held out, or nothing of this spacing.
  """
  data = config.data
  block = sampling.heldout_block or data.validation_block
  split = sampling.heldout_split or data.validation_split
  if not block:
    raise InputError(
      'no held-out MD to compare with: give --heldout_block=LOW,HIGH (fractions of every '
      'trajectory) and --heldout_split, or config.data.validation_block'
    )
  store = store_lib.Store(data.store)

  def series(split: str, block: Sequence[float]) -> dict[tuple[str, float], list[Any]]:
    found: dict[tuple[str, float], list[Any]] = {}
    for entry in store.entries:
      grid, _ = kinetics.time_grid(dt_ns, entry.dt_ns)
      if entry.split != split or grid is None or grid.prediction_stride > 1:
        continue
      # The same rounding at either end, as for windows: neighbouring blocks do not overlap.
      first, end = (round(fraction * entry.num_frames) for fraction in block)
      frames = store.read(entry, slice(first, end, grid.reference_stride))
      if len(frames) > 1:
        found.setdefault((entry.name, entry.temperature_K), []).append((entry, frames))
    return found

  training = series('train', sampling.training_block or data.train_block)
  found = [
    HeldOut(
      entry=pairs[0][0],
      reference=[frames for _, frames in pairs],
      training=[frames for _, frames in training.get(key, [])],
    )
    for key, pairs in series(split, block).items()
  ]
  if not found:
    raise InputError(
      f'{data.store}: no two held-out frames {dt_ns:g} ns apart (split {split!r}, block '
      f'{tuple(block)}): correct --heldout_split or --heldout_block, or the time step'
    )
  return found


def floor(held: HeldOut, sampling: Sampling, dt_ns: float, ratio: int | None) -> Any:
  """The numbers of MD in the prediction's place."""
  predicted, reference = held.training, held.reference
  if not predicted:
    predicted = [x[: len(x) // 2] for x in held.reference]
    reference = [x[len(x) // 2 :] for x in held.reference]
  return calibration.measure(
    [x for x in predicted if len(x) > 1],
    reference,
    held.entry.bonds,
    held.reference[0][0],
    dt_ns,
    lag_ns=sampling.lag_ns,
    ratio=ratio,
    count=held.count,
  )


def sampled_config(config: Any, how: str) -> Any:
  """The configuration of the levels that are sampled, frozen.

  Raises:
    InputError: it has no such level.
  """
  levels = tuple(config.levels)
  if how in ('hierarchy', 'upsample'):
    if how == 'upsample' and len(levels) < 2:
      raise InputError('--sampling=upsample: this model has a single level: give --sampling=fine')
    return config_lib.freeze(config)
  name = levels[-1] if how == 'fine' else how
  if name not in levels:
    raise InputError(
      f'--sampling={how}: choose hierarchy, upsample, fine or a level: {", ".join(levels)}'
    )
  config = config_lib.from_dict(config_lib.to_dict(config))
  config.levels = (name,)
  # A level that learnt to end in states of another has no reference.
  config.reference = config.reference and name == levels[0]
  return config_lib.freeze(config)


def time_step_ns(config: Any) -> float:
  """Of the frames of a model, ns."""
  return config.level[config.levels[-1]].dt_ns


def frames_per_segment(config: Any) -> int | None:
  """Frames per segment of what is sampled; None where there are no segments."""
  ratios = config_lib.frames_per_segment(config)
  return ratios[-1] if ratios else None


def sample_rollouts(
  config: Any,
  params: Any,
  held: HeldOut,
  sampling: Sampling,
  make_sampler: Callable[..., Callable[..., Any]] = coarse_to_fine.make_sampler,
  make_upsampler: Callable[..., Callable[..., Any]] = upsample.make_upsampler,
) -> tuple[list[np.ndarray], np.ndarray]:
  """Samples one protein.

  Args:
    config: of the levels that are sampled, frozen.
    params: parameters per level.
    held: MD of the protein.
    sampling: what is sampled.
    make_sampler: as `coarse_to_fine.make_sampler`; the sampler is jitted.
    make_upsampler: as `upsample.make_upsampler`.

  Returns:
    [1 + F, L, 4, 3] Å per rollout, its start first; and the conformation [L, 4, 3] Å to refer to.
  """
  rng = jax.random.key(sampling.seed)
  temperature = np.float32(held.entry.temperature_K)
  if sampling.how == 'upsample':
    spacing = config.level[config.levels[-2]].dt_ns
    upsampler = make_upsampler(config, spacing, sampling.segment_batch_size)
    ratio = frames_per_segment(config)
    rollouts = []
    for index, frames in enumerate(held.reference):
      coarse = frames[::ratio]
      protein = held.entry.arrays(coarse[0])
      key = jax.random.fold_in(rng, index)
      finer = upsampler(params, protein, coarse, key, temperature)
      rollouts.append(np.concatenate([coarse[:1], np.asarray(finer)]))
    return rollouts, held.reference[0][0]
  sampler = make_sampler(config, sampling.frames, sampling.segment_batch_size)
  starts = held.starts(sampling.start, sampling.replicas)
  protein = held.entry.arrays(starts[0])

  def one(params, start, key):
    return sampler(params, dataclasses.replace(protein, positions=start), key, temperature)

  keys = jax.random.split(rng, sampling.replicas)
  found = np.asarray(jax.jit(jax.vmap(one, (None, 0, 0)))(params, starts, keys))
  return list(np.concatenate([starts[:, None], found], axis=1)), starts[0]


def _finished(function: Callable[..., Any], *arguments: Any) -> Any:
  return jax.block_until_ready(function(*arguments))


def time_samplers(
  trained: Mapping[str, tuple[Any, Any]],
  held: HeldOut,
  segment_batch_size: int | None,
  make_sampler: Callable[..., Callable[..., Any]] = coarse_to_fine.make_sampler,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
  """Seconds per 400 frames of every setting: they take turns, since machines throttle.

  Args:
    trained: per setting, the configuration that is sampled, and its parameters.
    held: MD whose first frame is the start.
    segment_batch_size: segments computed together; None: what suits the device.
    make_sampler: as `coarse_to_fine.make_sampler`.
    clock: seconds.
  """
  start = held.reference[0][0]
  calls: dict[str, Callable[[], Any]] = {}
  for name, (config, params) in trained.items():
    sampler = make_sampler(config, _TIMED_FRAMES, segment_batch_size)
    temperature = np.float32(held.entry.temperature_K)
    arguments = params, held.entry.arrays(start), jax.random.key(0), temperature
    calls[name] = functools.partial(_finished, sampler, *arguments)
    _LOG.info('%s: compiling the sampler of %d frames', name, _TIMED_FRAMES)
    calls[name]()
  seconds: dict[str, list[float]] = {name: [] for name in calls}
  for _ in range(_TIMED_CALLS):
    for name, call in calls.items():
      begin = clock()
      call()
      seconds[name].append(clock() - begin)
  return {name: statistics.median(values) for name, values in seconds.items()}

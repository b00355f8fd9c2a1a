"""Hierarchical sampling over time scales (paper, Algorithm 2), all segments of a level at once.

The coarsest level is rolled out from the start conformation. Every one of its states seeds one
segment of the next level, and so on down the list. Segments depend only on the states above,
so that they form a batch: for 400 frames at 20 and 1 ns, 10 + 10 sequential passes of the
network instead of 210.

Times: state 0 of the coarsest level is the input; segment k starts at coarse state k and yields
the frames at 20 k + 1 ... 20 k + 20 ns. Coarse states are not emitted themselves, unless the
model's `anchors` is 'both': then segment k also sees coarse state k + 1, and ends in it.

Long trajectories are computed in blocks of whole coarse steps, each from where the last one
stopped; neither the blocks nor the batches of segments change the result.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import transition
from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import segments


def frame_counts(config: Any, num_frames: int) -> tuple[int, ...]:
  """States that each level must provide, starts included, so that `num_frames` come out.

  Returns:
    Per level, coarse to fine, the number of frames at that level's time step that cover the
    trajectory; the last is `num_frames`.
  """
  counts = [num_frames]
  for ratio in reversed(config_lib.frames_per_segment(config)):
    counts.append(-(-counts[-1] // ratio))
  return tuple(reversed(counts))


def check_at_least_one(**numbers: int | None) -> None:
  """Raises `InputError` that names the number which is below 1; None stands for a default."""
  for name, value in numbers.items():
    if value is not None and value < 1:
      raise InputError(f'{name} = {value}: at least 1 is needed')


def centre_of(positions: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean [3] of the atoms [L, 4, 3] of the residues in the mask [L]; 0 where there are none."""
  weight = mask.astype(positions.dtype)[:, None, None]
  return jnp.sum(positions * weight, axis=(0, 1)) / jnp.maximum(4 * jnp.sum(weight), 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Progress:
  """How far a trajectory has come.

  Attributes:
    block: [] int32, blocks done.
    start: [L] the conformation that it started from.
    window: of the coarsest level.
    newest: [L] the newest state of the coarsest level.
    seams: of a model with anchors, per finer level, where it goes on from.
  """

  block: jax.Array
  start: state_lib.State
  window: state_lib.Window
  newest: state_lib.State
  seams: tuple[segments.Seam, ...]


def begin(config: Any, protein: protein_lib.ProteinArrays) -> Progress:
  """At time 0, in the conformation of the protein, which is moved to the origin."""
  # float32 is finest near the origin.
  centre = centre_of(protein.positions, protein.mask)
  start = state_lib.from_positions(protein.positions - centre[None, None, :], protein.bonded)
  anchor = transition.initial_anchor(config, config.levels[0], start)
  window = state_lib.start_window(start, config.window, anchor)
  finer = config.levels[1:] if config.anchors == 'both' else ()
  seams = tuple(segments.first_seam(start) for _ in finer)
  return Progress(jnp.zeros((), jnp.int32), start, window, start, seams)


def sample_block(
  config: Any,
  params: Mapping[str, Any],
  protein: protein_lib.ProteinArrays,
  rng: jax.Array,
  temperature_K: jax.Array,
  progress: Progress,
  num_frames: int,
  segment_batch_size: int | None = None,
) -> tuple[jax.Array, Progress]:
  """The next frames of a trajectory; pure, to be jitted and vmapped.

  Args:
    config: the model's configuration, frozen.
    params: parameters per level name.
    protein: [L] residues and the start conformation.
    rng: a key, the same for all blocks.
    temperature_K: [] temperature, K.
    progress: from `begin` or the block before.
    num_frames: frames wanted, the same for all blocks; a multiple of `frames_per_block` unless
      this is the only one.
    segment_batch_size: segments computed together; None: what suits the device.

  Returns:
    [num_frames, L, 4, 3] N, CA, C, O positions in Å in the coordinate frame of the start
    conformation, and the progress.
  """
  run = segments.Run(
    config, params, protein, temperature_K, rng, segment_batch_size, progress.block
  )
  counts = frame_counts(config, num_frames)
  ratios = config_lib.frames_per_segment(config)
  first, *finer = config.levels
  # Where coarse states only seed segments, the last of them seeds those of the next block.
  only = num_frames % frames_per_block(config) != 0
  needed = counts[0] - (only and config.anchors == 'start' and bool(finer))
  states, window = jax.tree.map(lambda x: x[None][:0], progress.newest), progress.window
  if needed:
    first_pass = progress.block * -(-needed // config.window)
    states, window = segments.roll(
      run, first, window, progress.start, needed, run.rng_of(first), first_pass
    )
  newest, seams = (states[-1] if needed else progress.newest), progress.seams
  if config.anchors == 'both':
    states, seams = segments.fill(run, finer, ratios, counts[1:], seams, states)
  elif finer:
    starts = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), progress.newest, states)
    states = segments.descend(run, finer, ratios, counts[1:], starts[: counts[0]])
  centre = centre_of(protein.positions, protein.mask)
  positions = state_lib.to_positions(states) + centre[None, None, None, :]
  return positions, Progress(progress.block + 1, progress.start, window, newest, seams)


def frames_per_block(config: Any) -> int:
  """Frames of the finest level that one pass of the coarsest covers."""
  return config.window * math.prod(config_lib.frames_per_segment(config))


def sample_trajectory(
  config: Any,
  params: Mapping[str, Any],
  protein: protein_lib.ProteinArrays,
  rng: jax.Array,
  temperature_K: jax.Array,
  num_frames: int,
  segment_batch_size: int | None = None,
) -> jax.Array:
  """One trajectory of one protein; pure, to be jitted and vmapped.

  Args:
    config: the model's configuration, frozen.
    params: parameters per level name.
    protein: [L] residues and the start conformation.
    rng: a key.
    temperature_K: [] temperature, K.
    num_frames: frames wanted; need not be a multiple of a segment.
    segment_batch_size: segments computed together; None: what suits the device.

  Returns:
    [num_frames, L, 4, 3] N, CA, C, O positions in Å at dt, 2 dt, ... of the finest level, in
    the coordinate frame of the start conformation.
  """
  progress = begin(config, protein)
  return sample_block(
    config, params, protein, rng, temperature_K, progress, num_frames, segment_batch_size
  )[0]


def make_sampler(
  config: Any, num_frames: int, segment_batch_size: int | None = None
) -> Callable[..., jax.Array]:
  """The jitted sampling function of a model.

  Args:
    config: the model's configuration, frozen or not.
    num_frames: frames wanted.
    segment_batch_size: segments computed together; None: what suits the device.

  Returns:
    sampler(params, protein_arrays, rng, temperature_K=320.0) -> [num_frames, L, 4, 3] Å.
    Pure: may be vmapped over proteins (of equal padded length) and keys, and mapped over
    devices.

  Raises:
    InputError: the configuration cannot work, or a number is below 1.
  """
  config_lib.check(config)
  check_at_least_one(num_frames=num_frames, segment_batch_size=segment_batch_size)
  config = config_lib.freeze(config)

  def sampler(params, protein, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    return sample_trajectory(
      config,
      params,
      protein,
      rng,
      jnp.asarray(temperature_K, jnp.float32),
      num_frames,
      segment_batch_size,
    )

  return jax.jit(sampler)

"""Hierarchical sampling over time scales (paper, Algorithm 2), all segments of a level at once.

The coarsest level is rolled out from the start conformation. Every one of its states seeds one
segment of the next level, and so on down the list. Segments depend only on the states above,
so that they form a batch: for 400 frames at 20 and 1 ns, 10 + 10 sequential passes of the
network instead of 210.

Times: state 0 of the coarsest level is the input; segment k starts at coarse state k and yields
the frames at 20 k + 1 ... 20 k + 20 ns. Coarse states are not emitted themselves, unless the
model's `anchors` is 'both': then segment k also sees coarse state k + 1, and ends in it.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax import protein as protein_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import sde
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import alignment, rigid
from tempo_jax.samplers import rollout as rollout_lib


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


def refine(
  config: Any,
  level_name: str,
  params: Any,
  starts: state_lib.State,
  protein: protein_lib.ProteinArrays,
  frames_per_segment: int,
  temperature_K: jax.Array,
  rng: jax.Array,
  segment_batch_size: int | None,
  ends: state_lib.State | None = None,
  ratio: int = 0,
) -> state_lib.State:
  """Rolls one level out from each of several starts.

  Args:
    config: the model's configuration.
    level_name: the level.
    params: parameters of that level.
    starts: [S, L] states.
    protein: [L] residues.
    frames_per_segment: frames to yield per start.
    temperature_K: [] temperature, K.
    rng: a key.
    segment_batch_size: segments computed together; None: all.
    ends: states [S, L] that a model with anchors reaches after `ratio` frames; None: none.
    ratio: see `ends`.

  Returns:
    States [S, frames_per_segment, L]. The batch size does not change them.
  """
  level = level_lib.Level.of(config, level_name)
  step = sde.make_step(config, level)

  def one_segment(inputs):
    start, rng, end = inputs
    anchor = sde.initial_anchor(config, start)
    if end is not None:
      anchor = state_lib.Anchor(end, jnp.float32(ratio))
    window = state_lib.start_window(start, config.window, anchor)
    # Which peptides are cis may differ from segment to segment of what was given.
    here = dataclasses.replace(protein, positions=state_lib.to_positions(start))
    states = rollout_lib.rollout(
      step, params, window, here, frames_per_segment, level.noise_sample, temperature_K, rng
    )
    if end is None or frames_per_segment < ratio:
      return states
    return jax.tree.map(lambda x, y: x.at[ratio - 1].set(y), states, end)

  num_segments = starts.psi.shape[0]
  rngs = jax.random.split(rng, num_segments)
  return jax.lax.map(
    one_segment, (starts, rngs, ends), batch_size=segment_batch_size or num_segments
  )


def _in_order(states: state_lib.State, count: int) -> state_lib.State:
  """Segments [S, F, L] one after the other: the first [count, L] states."""
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], states)


def descend(
  config: Any,
  level_names: Sequence[str],
  ratios: Sequence[int],
  counts: Sequence[int],
  params: Mapping[str, Any],
  starts: state_lib.State,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  rng: jax.Array,
  segment_batch_size: int | None,
) -> state_lib.State:
  """Folds over levels, coarse to fine: the states of one are the starts of the next.

  Args:
    config: the model's configuration.
    level_names: the levels to go through.
    ratios: per level, its frames per state of the level above.
    counts: per level, its frames that are needed in all.
    params: parameters per level name.
    starts: [S, L] states that seed the first of these levels.
    protein: [L] residues.
    temperature_K: [] temperature, K.
    rng: a key.
    segment_batch_size: segments computed together; None: all.

  Returns:
    States [counts[-1], L] of the last level, in order of time.
  """
  for index, (name, ratio, count) in enumerate(zip(level_names, ratios, counts, strict=True)):
    last = index == len(level_names) - 1
    # The start stands for frame 0 of its segment, and frame `ratio` is the next start: a level
    # that only seeds another need not compute it.
    frames = min(ratio, count) - (0 if last else 1)
    segments = jax.tree.map(lambda x: x[:, None], starts)  # [S, 1, L]
    if frames:
      later = refine(
        config,
        name,
        params[name],
        starts,
        protein,
        frames,
        temperature_K,
        jax.random.fold_in(rng, index),
        segment_batch_size,
      )
      if last:
        segments = later
      else:
        segments = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), segments, later)
    starts = _in_order(segments, count)
  return starts


def join_segments(
  segments: state_lib.State, starts: state_lib.State, protein: protein_lib.ProteinArrays
) -> state_lib.State:
  """Moves segments as wholes, so that none ends in a jump of the protein as a whole.

  Frames follow one another superposed; the state that a segment ends in stands where the level
  above had it.

  Args:
    segments: [S, F, L], each from its start to its end.
    starts: [S, L]; each but the first is the end of the segment before.
    protein: [L] residues.

  Returns:
    [S, F, L]: each end superposed by CA on the frame before it, and what follows moved with it.
  """
  weights = protein.mask.astype(jnp.float32)
  ends = segments[:, -1].frames
  before = segments[:, -2] if segments.psi.shape[1] > 1 else starts
  onto = jax.vmap(alignment.superpose, in_axes=(0, 0, None))(
    ends.translation, before.frames.translation, weights
  )
  # The end of segment k moves by onto[k], and all that ends before it did: onto[0] @ ... @ onto[k].
  carried = jax.lax.associative_scan(lambda earlier, later: earlier @ later, onto)
  none = rigid.Rigid.identity((1,))
  earlier = jax.tree.map(lambda x, y: jnp.concatenate([x, y[:-1]]), none, carried)
  frames = earlier[:, None, None] @ segments.frames
  frames = jax.tree.map(lambda x, y: x.at[:, -1].set(y), frames, carried[:, None] @ ends)
  return state_lib.State(frames.orthonormalised(), segments.torsions)


def descend_between(
  config: Any,
  level_names: Sequence[str],
  ratios: Sequence[int],
  counts: Sequence[int],
  params: Mapping[str, Any],
  start: state_lib.State,
  states: state_lib.State,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  rng: jax.Array,
  segment_batch_size: int | None,
) -> state_lib.State:
  """The same for a model with anchors: each level fills in the steps of the one above.

  Args:
    config: the model's configuration.
    level_names: the levels to go through.
    ratios: per level, its frames per step of the level above.
    counts: per level, its frames that are needed in all, without the start.
    params: parameters per level name.
    start: [L] state at time 0.
    states: [S, L] states of the level above at its dt, 2 dt, ...
    protein: [L] residues.
    temperature_K: [] temperature, K.
    rng: a key.
    segment_batch_size: segments computed together; None: all.

  Returns:
    States [counts[-1], L] of the last level at its dt, 2 dt, ...
  """
  for index, (name, ratio, count) in enumerate(zip(level_names, ratios, counts, strict=True)):
    starts = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y[:-1]]), start, states)
    segments = refine(
      config,
      name,
      params[name],
      starts,
      protein,
      min(ratio, count),
      temperature_K,
      jax.random.fold_in(rng, index),
      segment_batch_size,
      ends=states,
      ratio=ratio,
    )
    if count >= ratio:
      segments = join_segments(segments, starts, protein)
    states = _in_order(segments, count)
  return states


def check_at_least_one(**numbers: int | None) -> None:
  """Raises `InputError` that names the number which is below 1; None stands for a default."""
  for name, value in numbers.items():
    if value is not None and value < 1:
      raise InputError(f'{name} = {value}: at least 1 is needed')


def centre_of(positions: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean [3] of the atoms [L, 4, 3] of the residues in the mask [L]; 0 where there are none."""
  weight = mask.astype(positions.dtype)[:, None, None]
  return jnp.sum(positions * weight, axis=(0, 1)) / jnp.maximum(4 * jnp.sum(weight), 1)


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
    segment_batch_size: segments computed together; None: all.

  Returns:
    [num_frames, L, 4, 3] N, CA, C, O positions in Å at dt, 2 dt, ... of the finest level, in
    the coordinate frame of the start conformation.
  """
  # float32 is finest near the origin.
  centre = centre_of(protein.positions, protein.mask)
  start = state_lib.from_positions(protein.positions - centre[None, None, :], protein.bonded)
  counts = frame_counts(config, num_frames)
  ratios = config_lib.frames_per_segment(config)
  # The coarsest level is one segment without an end.
  one_start = jax.tree.map(lambda x: x[None], start)
  rest = (protein, temperature_K, rng, segment_batch_size)
  if config.anchors == 'start':
    states = descend(config, config.levels, (counts[0], *ratios), counts, params, one_start, *rest)
  else:
    first, *finer = config.levels
    states = descend(config, [first], counts[:1], counts[:1], params, one_start, *rest)
    states = descend_between(
      config,
      finer,
      ratios,
      counts[1:],
      params,
      start,
      states,
      protein,
      temperature_K,
      jax.random.fold_in(rng, len(counts)),
      segment_batch_size,
    )
  return state_lib.to_positions(states) + centre[None, None, None, :]


def make_sampler(
  config: Any, num_frames: int, segment_batch_size: int | None = None
) -> Callable[..., jax.Array]:
  """The jitted sampling function of a model.

  Args:
    config: the model's configuration, frozen or not.
    num_frames: frames wanted.
    segment_batch_size: segments computed together; None: all.

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

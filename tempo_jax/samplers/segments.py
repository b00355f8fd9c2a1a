"""Segments: each state of a level seeds a stretch of the next finer one, all in one batch."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import transition
from tempo_jax.geometry import alignment, rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import rollout as rollout_lib


def batch_size(num_segments: int, length: int) -> int:
  """How many segments are best computed together on this kind of device.

  An accelerator is kept busy by all of them. On a CPU the attention of many falls out of its cache:
  per segment, the network of the paper's size took 31 / 26 / 29 / 34 ms a step at 256 residues with
  1 / 4 / 8 / 20 of them, and 11.4 / 5.5 / 3.7 / 3.2 at 32.

  Args:
    num_segments: that there are.
    length: padded residues.
  """
  if jax.default_backend() != 'cpu':
    return num_segments
  most = min(max(1, 512 // length), num_segments)
  # A remainder would be compiled as a program of its own.
  divisor = max(size for size in range(1, most + 1) if num_segments % size == 0)
  return divisor if 2 * divisor > most else most


def refine(
  run: rollout_lib.Run,
  level_name: str,
  starts: state_lib.State,
  num_frames: int,
  ends: state_lib.State | None = None,
  ratio: int = 0,
  block: int | jax.Array = 0,
) -> state_lib.State:
  """Rolls one level out from each of several starts.

  Args:
    run: the model, the protein and its temperature.
    level_name: the level.
    starts: [S, L] states.
    num_frames: frames to yield per start.
    ends: states [S, L] that a model with anchors reaches after `ratio` frames; None: none.
    ratio: see `ends`.
    block: [] blocks of as many segments that came before these: random numbers go by the number
      of a segment.

  Returns:
    States [S, num_frames, L]. The batch size does not change them.
  """
  config = run.config
  num_segments = starts.psi.shape[0]

  def one_segment(inputs):
    start, number, end = inputs
    anchor = transition.initial_anchor(config, level_name, start)
    if end is not None:
      anchor = state_lib.Anchor(end, anchor_lib.at_end(ratio))
    window = state_lib.start_window(start, config.window, anchor)
    rng = jax.random.fold_in(run.rng_of(level_name), number)
    # Segments of given coarse frames may differ in which peptide bonds are cis.
    states, _ = rollout_lib.rollout(run, level_name, window, start, num_frames, rng)
    if end is None or num_frames < ratio:
      return states
    return jax.tree.map(lambda x, y: x.at[ratio - 1].set(y), states, end)

  numbers = block * num_segments + jnp.arange(num_segments)
  size = run.batch_sizes.segments or batch_size(*starts.psi.shape)
  return jax.lax.map(one_segment, (starts, numbers, ends), batch_size=size)


def _in_order(states: state_lib.State, count: int) -> state_lib.State:
  """Segments [S, F, L] one after the other: the first [count, L] states."""
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], states)


def descend(
  run: rollout_lib.Run,
  level_names: Sequence[str],
  ratios: Sequence[int],
  counts: Sequence[int],
  starts: state_lib.State,
  block: int | jax.Array = 0,
) -> state_lib.State:
  """Folds over levels, coarse to fine: the states of one are the starts of the next.

  Args:
    run: the model, the protein and its temperature.
    level_names: the levels to go through.
    ratios: per level, its frames per state of the level above.
    counts: per level, its frames that are needed in all.
    starts: [S, L] states that seed the first of these levels.
    block: see `refine`.

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
      later = refine(run, name, starts, frames, block=block)
      if last:
        segments = later
      else:
        segments = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), segments, later)
    starts = _in_order(segments, count)
  return starts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Seam:
  """Where the segments of one level stand, for those that follow.

  Attributes:
    start: [L] the state of the level above that comes next.
    carried: [1] the motion by which its segments were moved so far (`join`).
  """

  start: state_lib.State
  carried: rigid.Rigid


def first_seam(start: state_lib.State) -> Seam:
  """Before the first segment, which sets out from `start` [L]."""
  return Seam(start, rigid.Rigid.identity((1,)))


def join(
  segments: state_lib.State,
  starts: state_lib.State,
  carried: rigid.Rigid,
  protein: protein_lib.ProteinArrays,
) -> tuple[state_lib.State, rigid.Rigid]:
  """Moves segments as wholes, so that none ends in a jump of the protein as a whole.

  Frames follow one another superposed; the state that a segment ends in stands where the level
  above had it.

  Args:
    segments: [S, F, L], each from its start to its end.
    starts: [S, L]; each but the first is the end of the segment before.
    carried: [1], the motion of the first segment.
    protein: [L] residues.

  Returns:
    [S, F, L]: each end superposed by CA on the frame before it, and what follows moved with it;
    and the motion of the segment that comes next.
  """
  weights = protein.mask.astype(jnp.float32)
  ends = segments[:, -1].frames
  before = segments[:, -2] if segments.psi.shape[1] > 1 else starts
  onto = jax.vmap(alignment.superpose, in_axes=(0, 0, None))(
    ends.translation, before.frames.translation, weights
  )
  # The end of segment k moves by onto[k], and all that ends before it did.
  motions = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), carried, onto)
  motions = jax.lax.associative_scan(lambda earlier, later: earlier @ later, motions)
  motions = motions.orthonormalised()
  frames = motions[:-1, None, None] @ segments.frames
  moved_ends = motions[1:, None] @ ends
  frames = jax.tree.map(lambda x, y: x.at[:, -1].set(y), frames, moved_ends)
  return state_lib.State(frames.orthonormalised(), segments.torsions), motions[-1:]


def fill(
  run: rollout_lib.Run,
  level_names: Sequence[str],
  ratios: Sequence[int],
  counts: Sequence[int],
  seams: Sequence[Seam],
  states: state_lib.State,
  block: int | jax.Array = 0,
) -> tuple[state_lib.State, tuple[Seam, ...]]:
  """As `descend`, of a model with anchors: each level fills in the steps of the one above.

  Args:
    run: the model, the protein and its temperature.
    level_names: the levels to go through.
    ratios: per level, its frames per step of the level above.
    counts: per level, its frames that are needed in all, without the start.
    seams: per level, where it goes on from.
    states: [S, L] states of the level above at its dt, 2 dt, ...
    block: see `refine`.

  Returns:
    States [counts[-1], L] of the last level at its dt, 2 dt, ..., and the seams to go on from
    if all segments were whole.
  """
  later = []
  for name, ratio, count, seam in zip(level_names, ratios, counts, seams, strict=True):
    starts = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y[:-1]]), seam.start, states)
    newest = states[-1]
    segments = refine(run, name, starts, min(ratio, count), states, ratio, block)
    carried = seam.carried
    if count >= ratio:
      segments, carried = join(segments, starts, carried, run.protein)
    states = _in_order(segments, count)
    later.append(Seam(newest, carried))
  return states, tuple(later)

"""Segments end where the level above had them; the protein does not jump as a whole there."""

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment, rigid
from tempo_jax.protein import protein as protein_lib


def join(
  states: state_lib.State,
  starts: state_lib.State,
  carried: rigid.Rigid,
  protein: protein_lib.ProteinArrays,
) -> tuple[state_lib.State, rigid.Rigid]:
  """Moves segments as wholes, so that none ends in a jump of the protein as a whole.

  Frames follow one another superposed; the state that a segment ends in stands where the level
  above had it.

  Args:
    states: [S * F, L] of S segments, each from its start to its end.
    starts: [S, L]; each but the first is the end of the segment before.
    carried: [1], the motion of the first segment.
    protein: [L] residues.

  Returns:
    [S * F, L]: each end superposed by CA on the frame before it, and what follows moved with it;
    and the motion of the segment that comes next.
  """
  segments = jax.tree.map(lambda x: x.reshape(len(starts.psi), -1, *x.shape[1:]), states)
  weights = protein.mask.astype(jnp.float32)
  ends = segments[:, -1].frames
  before = segments[:, -2] if segments.psi.shape[1] > 1 else starts
  onto = jax.vmap(alignment.superpose, in_axes=(0, 0, None))(
    ends.translation, before.frames.translation, weights
  )
  # The end of segment k moves by onto[k], and all that ends before it did.

  def one_more(motion: rigid.Rigid, onto: rigid.Rigid) -> tuple[rigid.Rigid, rigid.Rigid]:
    motion = (motion @ onto).orthonormalised()
    return motion, motion

  _, motions = jax.lax.scan(one_more, carried[0], onto)
  motions = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), carried, motions)
  frames = motions[:-1, None, None] @ segments.frames
  moved_ends = motions[1:, None] @ ends
  frames = jax.tree.map(lambda x, y: x.at[:, -1].set(y), frames, moved_ends)
  frames = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), frames.orthonormalised())
  return states.with_frames(frames), motions[-1:]

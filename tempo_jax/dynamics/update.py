"""What the network reads of a window, and how its output becomes the next states.

Only invariants go in. Out comes, per residue, a small rigid motion in that residue's own frame,
composed on the right. A global motion of the input therefore moves the output along, exactly.
"""

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import rigid, torsion
from tempo_jax.protein import protein as protein_lib

# Of `SpatiotemporalEncoder`: features [T, L, F], frames [T, L], known [T], protein.
EncoderInputs = tuple[jax.Array, rigid.Rigid, jax.Array, protein_lib.ProteinArrays]


def motion_numbers(motion: rigid.Rigid) -> jax.Array:
  """Rotation matrix and translation (Å) of motions [...]: [..., 12]."""
  return jnp.concatenate([motion.rotation.reshape(*motion.shape, 9), motion.translation], axis=-1)


# Frames; no segment is that long. The reference, at no distance in time, counts as that far.
_FAR = 1e3


def _anchor_features(window: state_lib.Window) -> jax.Array:
  """[L, 21]: the motion to the anchor, its torsions, and how far in time it is."""
  anchor, newest = window.anchor, window.states[-1]
  assert anchor is not None
  motion = newest.frames.inverse() @ anchor.state.frames
  ahead = jnp.clip(anchor.place.frames.astype(jnp.float32), 1.0, _FAR)
  ahead = jnp.where(anchor.place.is_reference, _FAR, ahead)
  # The motion that remains per frame falls as 1 / frames.
  time = jnp.stack([jnp.ones_like(ahead), 1.0 / ahead, 0.3 * jnp.log(ahead)])
  numbers = jnp.concatenate(
    [
      motion_numbers(motion),
      torsion.to_sin_cos(anchor.state.torsions),
      jnp.broadcast_to(time, (*motion.shape, 3)),
    ],
    axis=-1,
  )
  return jnp.where(anchor.place.known, numbers, 0.0)


def features(window: state_lib.Window) -> jax.Array:
  """The invariant numbers per residue and frame that the network reads.

  Returns:
    [T, L, F], zero for unknown frames: the motion from the newest frame to each frame in the
    residue's own frame (rotation matrix, translation in Å), sines and cosines of the torsions, and
    the same of the anchor where the model has anchors.
  """
  states = window.states
  motion = states.frames[-1][None].inverse() @ states.frames
  numbers = jnp.concatenate([motion_numbers(motion), torsion.to_sin_cos(states.torsions)], axis=-1)
  if window.anchor is not None:
    ahead = _anchor_features(window)[None]
    ahead = jnp.broadcast_to(ahead, (*motion.shape, ahead.shape[-1]))
    numbers = jnp.concatenate([numbers, ahead], axis=-1)
  return jnp.where(window.known[:, None, None], numbers, 0.0)


def centred(frames: rigid.Rigid, mask: jax.Array) -> rigid.Rigid:
  """Frames [T, L] with the newest frame's centre at the origin, where float32 is finest."""
  weight = mask.astype(frames.translation.dtype)[:, None]
  centre = jnp.sum(frames.translation[-1] * weight, axis=0) / jnp.maximum(jnp.sum(weight), 1.0)
  return rigid.Rigid(frames.rotation, frames.translation - centre[None, None, :])


def encoder_inputs(window: state_lib.Window, protein: protein_lib.ProteinArrays) -> EncoderInputs:
  """What the spatiotemporal encoder reads of a window."""
  frames = centred(window.states.frames, protein.mask)
  return features(window), frames, window.known, protein


def apply_motions(
  newest: state_lib.State,
  numbers: jax.Array,
  level: level_lib.Level,
  bonded: jax.Array | bonds_lib.Bonds,
) -> state_lib.State:
  """The states that the numbers y describe: T exp(y), psi turned where it is free.

  Args:
    newest: [L] the state that they start from.
    numbers: [T, L, 7] translation and rotation vector in units of one step's spread, and the
      turn of psi, rad.
    level: the level's scalars, with `translation_std` (Å) and `rotation_std` (rad).
    bonded: [L] bool, or `Bonds`.

  Returns:
    [T, L] states.
  """
  motion = rigid.Rigid.exp(
    level.translation_std * numbers[..., :3], level.rotation_std * numbers[..., 3:6]
  )
  # Products of many float32 rotations drift from orthogonality over a long rollout.
  frames = (newest.frames[None] @ motion).orthonormalised()
  psi = newest.psi[None] + numbers[..., 6]
  return state_lib.from_frames(frames, psi, bonded, newest.n_ca_c[None])


def motions(newest: state_lib.State, states: state_lib.State, level: level_lib.Level) -> jax.Array:
  """The numbers [T, L, 7] that lead from the newest state [L] to states [T, L]."""
  translation, rotation = (newest.frames[None].inverse() @ states.frames).log()
  turn = states.psi - newest.psi[None]
  return jnp.concatenate(
    [translation / level.translation_std, rotation / level.rotation_std, turn[..., None]], axis=-1
  )

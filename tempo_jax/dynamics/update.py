"""What the network reads of a window, and how its output becomes the next states.

Two kinds (the configuration's `update_rule`):
  global  the paper's: 13 raw numbers in, 13 raw numbers added to the newest state's. Training
          windows are superposed on their first frame and centred; a sampler centres the input
          but leaves its orientation, on which the result therefore depends.
  local   ours: only invariants in; out comes, per residue, a small rigid motion in that
          residue's own frame, composed on the right. A global motion of the input therefore
          moves the output along, exactly.
"""

from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid, torsion

# Translation (3), rotation vector (3), and the turn of psi on the circle (2).
_LOCAL_OUTPUTS = 8


def num_outputs(config: Any) -> int:
  """Numbers per residue and frame that the network returns."""
  return _LOCAL_OUTPUTS if config.update_rule == 'local' else state_lib.NUM_FEATURES


def motion_numbers(motion: rigid.Rigid) -> jax.Array:
  """Rotation matrix and translation (Å) of motions [...]: [..., 12]."""
  return jnp.concatenate([motion.rotation.reshape(*motion.shape, 9), motion.translation], axis=-1)


# Frames; no segment is that long, and the reference is at no distance in time.
_FAR = 1e3


def _anchor_features(window: state_lib.Window) -> jax.Array:
  """[L, 21]: the motion to the anchor, its torsions, and how far in time it is."""
  anchor, newest = window.anchor, window.states[-1]
  assert anchor is not None
  motion = newest.frames.inverse() @ anchor.state.frames
  ahead = jnp.clip(anchor.frames, 1.0, _FAR)
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
  return jnp.where(anchor.known, numbers, 0.0)


def features(config: Any, window: state_lib.Window) -> jax.Array:
  """The numbers per residue and frame that the network reads.

  Returns:
    [T, L, F], zero for unknown frames. `local`: the motion from the newest frame to each frame
    in the residue's own frame (rotation matrix, translation in Å), sines and cosines of the
    torsions, and the same of the anchor where the model has anchors; `global`: the paper's 13
    numbers.
  """
  states = window.states
  if config.update_rule == 'local':
    newest = states.frames[-1]
    motion = newest[None].inverse() @ states.frames
    numbers = jnp.concatenate(
      [motion_numbers(motion), torsion.to_sin_cos(states.torsions)], axis=-1
    )
    if window.anchor is not None:
      ahead = _anchor_features(window)[None]
      ahead = jnp.broadcast_to(ahead, (*motion.shape, ahead.shape[-1]))
      numbers = jnp.concatenate([numbers, ahead], axis=-1)
  else:
    numbers = state_lib.to_vector(states)
  return jnp.where(window.known[:, None, None], numbers, 0.0)


def apply_local(
  newest: state_lib.State, output: jax.Array, level: level_lib.Level, bonded: jax.Array
) -> state_lib.State:
  """T_next = T exp(y), y the output in units of one step's spread in the training data.

  Args:
    newest: [L] the state that the update starts from.
    output: [T, L, 8] network output.
    level: the level's scalars, with `translation_std` (Å) and `rotation_std` (rad).
    bonded: [L] bool.

  Returns:
    [T, L] next states.
  """
  motion = rigid.Rigid.exp(
    level.translation_std * output[..., :3], level.rotation_std * output[..., 3:6]
  )
  turn = jnp.arctan2(output[..., 6], _away_from_zero(1.0 + output[..., 7]))
  # Products of many float32 rotations drift from orthogonality over a long rollout.
  frames = (newest.frames[None] @ motion).orthonormalised()
  return state_lib.from_frames(frames, newest.psi[None] + turn, bonded)


def apply_motions(
  newest: state_lib.State, numbers: jax.Array, level: level_lib.Level, bonded: jax.Array
) -> state_lib.State:
  """The states that the numbers y describe: T exp(y), psi turned where it is free.

  Args:
    newest: [L] the state that they start from.
    numbers: [T, L, 7] translation and rotation vector in units of one step's spread, and the
      turn of psi, rad.
    level: the level's scalars, with `translation_std` (Å) and `rotation_std` (rad).
    bonded: [L] bool.

  Returns:
    [T, L] states.
  """
  motion = rigid.Rigid.exp(
    level.translation_std * numbers[..., :3], level.rotation_std * numbers[..., 3:6]
  )
  # Products of many float32 rotations drift from orthogonality over a long rollout.
  frames = (newest.frames[None] @ motion).orthonormalised()
  return state_lib.from_frames(frames, newest.psi[None] + numbers[..., 6], bonded)


def motions(newest: state_lib.State, states: state_lib.State, level: level_lib.Level) -> jax.Array:
  """The numbers [T, L, 7] that lead from the newest state [L] to states [T, L]."""
  translation, rotation = (newest.frames[None].inverse() @ states.frames).log()
  turn = states.psi - newest.psi[None]
  return jnp.concatenate(
    [translation / level.translation_std, rotation / level.rotation_std, turn[..., None]], axis=-1
  )


def _away_from_zero(x: jax.Array) -> jax.Array:
  # arctan2(0, 0) has no gradient.
  return jnp.where(jnp.abs(x) < 1e-6, 1e-6, x)


def apply_global(newest: state_lib.State, output: jax.Array) -> jax.Array:
  """X_next = X + f(X), the 13 numbers before they are projected onto a state.

  Args:
    newest: [L] the state that the update starts from.
    output: [T, L, 13] network output.

  Returns:
    [T, L, 13].
  """
  return state_lib.to_vector(newest)[None] + output

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


def features(config: Any, window: state_lib.Window) -> jax.Array:
  """The numbers per residue and frame that the network reads.

  Returns:
    [T, L, F], zero for unknown frames. `local`: the motion from the newest frame to each frame
    in the residue's own frame (rotation matrix, translation in Å), and sines and cosines of
    the torsions; `global`: the paper's 13 numbers.
  """
  states = window.states
  if config.update_rule == 'local':
    newest = states.frames[-1]
    motion = newest[None].inverse() @ states.frames
    numbers = jnp.concatenate(
      [
        motion.rotation.reshape(*motion.shape, 9),
        motion.translation,
        torsion.to_sin_cos(states.torsions),
      ],
      axis=-1,
    )
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

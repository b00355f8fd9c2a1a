"""What the paper's network reads of a window, and how its output becomes the next states.

Two kinds (the configuration's `update_rule`):
  global  the paper's: 13 raw numbers in, 13 raw numbers added to the newest state's. Training
          windows are superposed on their first frame and centred; a sampler centres the input
          but leaves its orientation, on which the result therefore depends.
  local   the default network's invariant input (`dynamics.update`); out comes, per residue, a small
          rigid motion in that residue's own frame, composed on the right. A global motion of the
          input therefore moves the output along, exactly.
"""

from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import update
from tempo_jax.protein import protein as protein_lib

# Translation (3), rotation vector (3), and the turn of psi on the circle (2).
_LOCAL_OUTPUTS = 8


def num_outputs(config: Any) -> int:
  """Numbers per residue and frame that the network returns."""
  return _LOCAL_OUTPUTS if config.update_rule == 'local' else state_lib.NUM_FEATURES


def encoder_inputs(
  config: Any,
  noised: state_lib.Window,
  clean: state_lib.State,
  protein: protein_lib.ProteinArrays,
) -> update.EncoderInputs:
  """What the spatiotemporal encoder reads of a window; arguments as those of `drift.Drift`."""
  if config.update_rule == 'local':
    return update.encoder_inputs(noised, protein)
  numbers = jnp.where(noised.known[:, None, None], state_lib.to_vector(noised.states), 0.0)
  return numbers, update.centred(clean.frames, protein.mask), noised.known, protein


def apply_local(
  newest: state_lib.State,
  output: jax.Array,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
) -> state_lib.State:
  """T_next = T exp(y), y the output in units of one step's spread in the training data.

  N-CA-C stays as it was.

  Args:
    newest: [L] the state that the update starts from.
    output: [T, L, 8] network output.
    level: the level's scalars, with `translation_std` (Å) and `rotation_std` (rad).
    protein: [L] residues; its positions are not read.

  Returns:
    [T, L] next states.
  """
  turn = jnp.arctan2(output[..., 6], _away_from_zero(1.0 + output[..., 7]))
  n_ca_c = update.n_ca_c_number(newest)[None]
  carried = jnp.broadcast_to(n_ca_c, (*turn.shape, 1))
  numbers = jnp.concatenate([output[..., :6], carried, turn[..., None]], axis=-1)
  expected = expected_lib.still(newest, level, output.shape[0])
  return update.apply_motions(newest, numbers, expected, protein)


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

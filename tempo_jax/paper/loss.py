"""The paper's loss of one window (section 5): its error, and a penalty on clashes.

Each term comes as a sum over residues or atom pairs (`mean_squared_error.counts`).
"""

from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment, limits
from tempo_jax.paper import transition
from tempo_jax.protein import protein as protein_lib

_C, _N = 2, 0


def squared_angle(a: jax.Array, b: jax.Array) -> jax.Array:
  """Square of the angle between rotations, |log(a^T b)|^2.

  From the chordal distance, |a - b|_F^2 = 8 sin^2(angle / 2), which is accurate for small
  angles and needs no logarithm. Near a half turn, where the angle has no derivative, the
  gradient is bounded.

  Args:
    a: [..., 3, 3].
    b: [..., 3, 3].

  Returns:
    [...] rad^2.
  """
  sine = jnp.sum((a - b) ** 2, axis=(-2, -1)) / 8.0  # squared, of half the angle
  small = sine < 1e-3
  inner = jnp.clip(jnp.where(small, 0.5, sine), None, 1.0 - 1e-6)
  angle = 2.0 * jnp.arctan2(jnp.sqrt(inner), jnp.sqrt(1.0 - inner))
  series = 4.0 * sine * (1.0 + sine / 3.0 * (1.0 + 8.0 / 15.0 * sine))
  return jnp.where(small, series, angle**2)


def local_error(
  predicted: state_lib.State,
  true: state_lib.State,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
) -> jax.Array:
  """Squared error of residue motions, free of global motion.

  The error is log(T_pred^-1 S T_true), S superposing the true window on the predicted one, with
  translation and rotation in units of one step's spread in the training data; psi, where the
  frames leave it free, adds 1 - cos of its error.

  Args:
    predicted: [T, L].
    true: [T, L].
    level: configuration of the level (`translation_std` Å, `rotation_std` rad).
    protein: [L] residues.

  Returns:
    [T, L]; rows of padding are meaningless.
  """
  weights = jnp.broadcast_to(protein.mask.astype(jnp.float32), true.psi.shape)
  # One S for the whole window: the motion from frame to frame within it is not free. At the
  # optimum of S its own derivative vanishes to first order, so none is taken.
  superpose = jax.lax.stop_gradient(
    alignment.superpose(
      true.frames.translation.reshape(-1, 3),
      predicted.frames.translation.reshape(-1, 3),
      weights.reshape(-1),
    )
  )
  target = superpose[None, None] @ true.frames
  # The norms of translation and rotation need no common frame.
  translation = jnp.sum((predicted.frames.translation - target.translation) ** 2, axis=-1)
  rotation = squared_angle(predicted.frames.rotation, target.rotation)
  error = (translation / level.translation_std**2 + rotation / level.rotation_std**2) / 6.0
  free = protein.mask & ~protein.bonds.to_next
  return error + jnp.where(free[None, :], 1.0 - jnp.cos(predicted.psi - true.psi), 0.0)


def global_error(prediction: transition.Prediction, true: state_lib.State) -> jax.Array:
  """Mean squared error of the 13 raw numbers (paper, section 5), [T, L]."""
  return jnp.mean((prediction.vector - state_lib.to_vector(true)) ** 2, axis=-1)


def clash_pairs(protein: protein_lib.ProteinArrays) -> jax.Array:
  """[4 L, 4 L] bool: pairs of atoms that can clash; each pair once.

  Atoms of one residue, padding, and C-N across a peptide bond are left out.
  """
  length = protein.mask.shape[0]
  residue = jnp.repeat(jnp.arange(length), 4)
  atom = jnp.tile(jnp.arange(4), length)
  present = jnp.repeat(protein.mask, 4)
  pairs = residue[:, None] < residue[None, :]
  pairs &= present[:, None] & present[None, :]
  bonds = protein.bonds.broadcast(protein.mask.shape)
  peptide = (
    (jnp.repeat(bonds.following, 4)[:, None] == residue[None, :])
    & (atom[:, None] == _C)
    & (atom[None, :] == _N)
    & jnp.repeat(bonds.to_next, 4)[:, None]
  )
  return pairs & ~(peptide | peptide.T)


def clash_penalty(positions: jax.Array, pairs: jax.Array, power: float) -> jax.Array:
  """Sum over pairs of max(0, 1.2 Å - d)^power.

  Args:
    positions: [L, 4, 3] Å.
    pairs: [4 L, 4 L] bool, from `clash_pairs`.
    power: exponent of the hinge; at least 1.

  Returns:
    [] Å^power.
  """
  atoms = positions.reshape(-1, 3)
  # Differences, not the expanded square: near contacts are where that would cancel.
  squared = sum((atoms[:, None, axis] - atoms[None, :, axis]) ** 2 for axis in range(3))
  near = pairs & (squared < limits.CLASH_DISTANCE**2)
  # Never the root of zero, whose gradient is infinite.
  distance = jnp.sqrt(jnp.where(near, jnp.maximum(squared, 1e-6), 1.0))
  depth = jnp.where(near, limits.CLASH_DISTANCE - distance, 0.0)
  return jnp.sum(depth**power * near)


def window_loss(
  config: Any,
  level: level_lib.Level,
  prediction: transition.Prediction,
  true: state_lib.State,
  protein: protein_lib.ProteinArrays,
  clash_power: float,
) -> dict[str, jax.Array]:
  """Sums of the loss over one predicted window of one protein.

  Returns:
    'error': summed over residues, averaged over the T frames; 'clash': summed over atom pairs,
    averaged over the T frames.
  """
  if config.update_rule == 'local':
    error = local_error(prediction.window.states, true, level, protein)
  else:
    error = global_error(prediction, true)
  error = jnp.sum(jnp.where(protein.mask[None, :], jnp.mean(error, axis=0, keepdims=True), 0.0))
  positions = state_lib.to_positions(prediction.window.states)
  pairs = clash_pairs(protein)
  clash = jnp.mean(jax.vmap(lambda x: clash_penalty(x, pairs, clash_power))(positions))
  return {'error': error, 'clash': clash}

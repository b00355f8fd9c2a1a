"""What the network reads of a window, and how its output becomes the next states.

Only invariants go in. Out comes, per residue, a small rigid motion in that residue's own frame,
composed on the right. A global motion of the input therefore moves the output along, exactly.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid, torsion
from tempo_jax.protein import protein as protein_lib

# Of `SpatiotemporalEncoder`: features [T, L, F], frames [T, L], known [T], protein.
EncoderInputs = tuple[jax.Array, rigid.Rigid, jax.Array, protein_lib.ProteinArrays]


# Radians: mean and sd of N-CA-C in MD (`metrics.covalent_geometry`).
_N_CA_C_MEAN, _N_CA_C_SD = np.deg2rad(112.8), np.deg2rad(3.4)
# Of the numbers of a step: motion and N-CA-C, of unit spread; and psi: the backbone.
NUM_MOTIONS = 7
NUM_BACKBONE = NUM_MOTIONS + 1


def motion_numbers(motion: rigid.Rigid) -> jax.Array:
  """Rotation matrix and translation (Å) of motions [...]: [..., 12]."""
  return jnp.concatenate([motion.rotation.reshape(*motion.shape, 9), motion.translation], axis=-1)


# Frames; no segment is that long. The reference, at no distance in time, counts as that far.
_FAR = 1e3


def n_ca_c_number(states: state_lib.State) -> jax.Array:
  """[..., L, 1]: N-CA-C in units of its spread in MD, about its mean there."""
  return ((states.n_ca_c - np.float32(_N_CA_C_MEAN)) / np.float32(_N_CA_C_SD))[..., None]


def conformation(states: state_lib.State, protein: protein_lib.ProteinArrays) -> jax.Array:
  """What is free within residues, [..., L, 7], with side chains [..., L, 19].

  Sines and cosines of the backbone's torsions, N-CA-C, and `rotamers.features`.
  """
  numbers = [torsion.to_sin_cos(states.torsions), n_ca_c_number(states)]
  if states.side_chains is not None:
    numbers.append(rotamers.features(states.side_chains, protein.residue_type))
  return jnp.concatenate(numbers, axis=-1)


def _anchor_features(window: state_lib.Window, protein: protein_lib.ProteinArrays) -> jax.Array:
  """[L, F]: the motion to the anchor, its conformation, and how far in time it is."""
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
      conformation(anchor.state, protein),
      jnp.broadcast_to(time, (*motion.shape, 3)),
    ],
    axis=-1,
  )
  return jnp.where(anchor.place.known, numbers, 0.0)


def features(window: state_lib.Window, protein: protein_lib.ProteinArrays) -> jax.Array:
  """The invariant numbers per residue and frame that the network reads.

  Returns:
    [T, L, F], zero for unknown frames: the motion from the newest frame to each frame in the
    residue's own frame (rotation matrix, translation in Å), `conformation`, and the same of the
    anchor where the model has anchors.
  """
  states = window.states
  motion = states.frames[-1][None].inverse() @ states.frames
  numbers = jnp.concatenate([motion_numbers(motion), conformation(states, protein)], axis=-1)
  if window.anchor is not None:
    ahead = _anchor_features(window, protein)[None]
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
  return features(window, protein), frames, window.known, protein


def apply_motions(
  newest: state_lib.State,
  numbers: jax.Array,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> state_lib.State:
  """The states that the numbers y describe: motions from what is expected, N-CA-C, psi turned.

  Args:
    newest: [L] the state that they start from.
    numbers: [T, L, 8] translation and rotation vector in units of their spread, N-CA-C in
      units of its own, the turn of psi where it is free, rad.
    expected: of the T frames.
    protein: [L] residues; its positions are not read.

  Returns:
    [T, L] states without side chains.
  """
  frames = expected.ends(numbers[..., :3], numbers[..., 3:6], protein.bonds)
  # Products of many float32 rotations drift from orthogonality over a long rollout.
  frames = frames.orthonormalised()
  n_ca_c = jnp.float32(_N_CA_C_MEAN) + jnp.float32(_N_CA_C_SD) * numbers[..., 6]
  psi = newest.psi[None] + numbers[..., NUM_MOTIONS]
  return state_lib.from_frames(frames, psi, protein.bonds, n_ca_c)


def motions(
  newest: state_lib.State,
  states: state_lib.State,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> jax.Array:
  """The numbers [T, L, 8] that lead from the newest state [L] to the backbones of [T, L]."""
  translation, rotation = expected.numbers(states.frames, protein.bonds)
  numbers = [
    translation,
    rotation,
    n_ca_c_number(states),
    (states.psi - newest.psi[None])[..., None],
  ]
  return jnp.concatenate(numbers, axis=-1)

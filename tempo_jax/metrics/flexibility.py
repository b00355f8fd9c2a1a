"""How far and where a protein moves. Positions are [..., L, 4, 3] Å, N, CA, C, O, unpadded."""

import jax
import jax.numpy as jnp

from tempo_jax.geometry import alignment

_CA = 1


def ca_rmsd(positions: jax.Array, reference: jax.Array) -> jax.Array:
  """RMSD of the CA atoms after superposition on a reference.

  Args:
    positions: [..., L, 4, 3] Å.
    reference: [L, 4, 3] Å.

  Returns:
    [...] Å.
  """
  ca = positions[..., _CA, :]
  return alignment.rmsd(ca, jnp.broadcast_to(reference[..., _CA, :], ca.shape), jnp.ones(()))


def radius_of_gyration(positions: jax.Array) -> jax.Array:
  """Root mean square distance of the backbone atoms from their mean; every atom weighs the same.

  Args:
    positions: [..., L, 4, 3] Å.

  Returns:
    [...] Å.
  """
  centred = positions - jnp.mean(positions, axis=(-3, -2), keepdims=True)
  return jnp.sqrt(jnp.mean(jnp.sum(centred * centred, axis=-1), axis=(-2, -1)))


def ca_rmsf(positions: jax.Array, reference: jax.Array) -> jax.Array:
  """Fluctuation of every CA about its mean, once all frames are superposed on a reference.

  Args:
    positions: [..., F, L, 4, 3] Å.
    reference: [L, 4, 3] Å; frames are superposed by their CA atoms.

  Returns:
    [..., L] Å.
  """
  ca = positions[..., _CA, :]  # [..., F, L, 3]
  target = jnp.broadcast_to(reference[..., _CA, :], ca.shape)
  motion = alignment.superpose(ca, target, jnp.ones(()))
  ca = motion[..., None].apply(ca)
  deviation = ca - jnp.mean(ca, axis=-3, keepdims=True)
  return jnp.sqrt(jnp.mean(jnp.sum(deviation * deviation, axis=-1), axis=-2))


def pairwise_ca_rmsd(positions: jax.Array) -> jax.Array:
  """Mean CA-RMSD after superposition over all pairs of frames (paper, section 9).

  Frames are compared with all others one at a time: memory grows as the positions.

  Args:
    positions: [F, L, 4, 3] Å, at least two frames.

  Returns:
    [] Å.
  """
  num_frames = positions.shape[0]
  to_all = jax.lax.map(lambda frame: jnp.sum(ca_rmsd(positions, frame)), positions)
  return jnp.sum(to_all) / (num_frames * (num_frames - 1))

"""Residue frames and psi <-> backbone atoms N, CA, C, O with ideal covalent geometry."""

import math

import jax
import jax.numpy as jnp

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ideal, torsion
from tempo_jax.geometry.rigid import Rigid


def frames_from_atoms(positions: jax.Array) -> Rigid:
  """Residue frames (`Rigid.from_three_points`) of positions [..., L, 4, 3] Å: Rigid [..., L]."""
  positions = jnp.asarray(positions)
  return Rigid.from_three_points(positions[..., 0, :], positions[..., 1, :], positions[..., 2, :])


# C-O along CA-C, and across it.
_O_ALONG = ideal.CA_C - ideal.C_O * math.cos(ideal.CA_C_O)
_O_ACROSS = -ideal.C_O * math.sin(ideal.CA_C_O)


def n_ca_c_angles(positions: jax.Array) -> jax.Array:
  """The angle N-CA-C of every residue.

  Args:
    positions: [..., L, 4, 3] Å, N, CA, C, O.

  Returns:
    [..., L] radians; the ideal angle, with zero gradient, where the three atoms are on one line.
  """
  positions = jnp.asarray(positions)
  n = positions[..., 0, :] - positions[..., 1, :]
  c = positions[..., 2, :] - positions[..., 1, :]
  squared = jnp.sum(jnp.cross(n, c) ** 2, axis=-1)
  degenerate = squared < 1e-8
  across = jnp.sqrt(jnp.where(degenerate, 1, squared))
  return jnp.where(degenerate, ideal.N_CA_C, jnp.arctan2(across, jnp.sum(n * c, axis=-1)))


def virtual_cb(positions: jax.Array, mirrored: jax.Array | None = None) -> jax.Array:
  """Where CB is, or would be in glycine.

  Args:
    positions: [..., L, 4, 3] Å, N, CA, C, O.
    mirrored: [L] bool, of D-residues; None: there are none.

  Returns:
    [..., L, 3] Å, as in trRosetta (Yang et al., PNAS 117, 1496, 2020): a fixed combination of the
    bonds at CA and their cross product.
  """
  n, ca, c = positions[..., 0, :], positions[..., 1, :], positions[..., 2, :]
  first, second = ca - n, c - ca
  normal = jnp.cross(first, second)
  if mirrored is not None:
    normal = jnp.where(jnp.asarray(mirrored)[:, None], -normal, normal)
  return ca - 0.58273431 * normal + 0.56802827 * first - 0.54067466 * second


def _local(*components: jax.Array) -> jax.Array:
  return jnp.stack(jnp.broadcast_arrays(*components), axis=-1)


def n_ca_c_from_frames(
  frames: Rigid, n_ca_c: jax.Array | float = ideal.N_CA_C
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """N, CA and C of residue frames, with ideal bond lengths.

  Args:
    frames: Rigid [..., L].
    n_ca_c: [..., L] radians, the angle at CA.

  Returns:
    Each [..., L, 3] Å.
  """
  angle = jnp.broadcast_to(jnp.asarray(n_ca_c, frames.translation.dtype), frames.shape)
  zero = jnp.zeros_like(angle)
  n = frames.apply(_local(zero + ideal.N_CA, zero, zero))
  c = frames.apply(_local(ideal.CA_C * jnp.cos(angle), ideal.CA_C * jnp.sin(angle), zero))
  return n, frames.translation, c


def atoms_in_frames(
  frames: Rigid, psi: jax.Array, n_ca_c: jax.Array | float = ideal.N_CA_C
) -> jax.Array:
  """Backbone atoms with ideal bond lengths and O placed by psi.

  With N, CA, C fixed in the frame, psi turns O about CA-C. O lies in the peptide plane: N-CA-C-O is
  psi + pi.

  Args:
    frames: Rigid [..., L].
    psi: [..., L] radians.
    n_ca_c: [..., L] radians, the angle at CA.

  Returns:
    [..., L, 4, 3] Å, N, CA, C, O.
  """
  angle = jnp.broadcast_to(jnp.asarray(n_ca_c, frames.translation.dtype), frames.shape)
  along, across = jnp.cos(angle), jnp.sin(angle)
  turned = _O_ACROSS * jnp.cos(psi)
  oxygen = _local(
    _O_ALONG * along + turned * across,
    _O_ALONG * across - turned * along,
    -_O_ACROSS * jnp.sin(psi),
  )
  return jnp.stack([*n_ca_c_from_frames(frames, angle), frames.apply(oxygen)], axis=-2)


def atoms_from_frames(
  frames: Rigid,
  psi: jax.Array,
  bonded: jax.Array | bonds_lib.Bonds,
  n_ca_c: jax.Array | float = ideal.N_CA_C,
) -> jax.Array:
  """Backbone atoms with ideal bond lengths within each residue.

  Args:
    frames: Rigid [..., L].
    psi: [..., L] radians; read only where a residue is not bonded to the next one,
      since elsewhere N, CA, C and the next N determine it.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`.
    n_ca_c: [..., L] radians, the angle at CA.

  Returns:
    [..., L, 4, 3] Å, N, CA, C, O.
  """
  angles, mask = torsion.chain_torsions(*n_ca_c_from_frames(frames, n_ca_c), bonded)
  return atoms_in_frames(frames, jnp.where(mask[..., 1], angles[..., 1], psi), n_ca_c)

"""Residue frames and psi <-> backbone atoms N, CA, C, O with ideal covalent geometry."""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ideal, torsion
from tempo_jax.geometry.rigid import Rigid


def frames_from_atoms(positions: jax.Array) -> Rigid:
  """Residue frames (`Rigid.from_three_points`) of positions [..., L, 4, 3] Å: Rigid [..., L]."""
  positions = jnp.asarray(positions)
  return Rigid.from_three_points(positions[..., 0, :], positions[..., 1, :], positions[..., 2, :])


# O in its own residue frame is _O_AXIS + cos(psi) _O_COS + sin(psi) _O_SIN: with N, CA, C fixed
# in the frame, psi turns O about CA-C. O lies in the peptide plane, N-CA-C-O = psi + pi.
_N, _, _C = ideal.N_CA_C_POSITIONS
_AXIS = _C / ideal.CA_C
_IN_PLANE = _N - np.dot(_N, _AXIS) * _AXIS
_IN_PLANE /= np.linalg.norm(_IN_PLANE)
_O_AXIS = _C - ideal.C_O * np.cos(ideal.CA_C_O) * _AXIS
_O_COS = -ideal.C_O * np.sin(ideal.CA_C_O) * _IN_PLANE
_O_SIN = -ideal.C_O * np.sin(ideal.CA_C_O) * np.cross(_AXIS, _IN_PLANE)


def n_ca_c_from_frames(frames: Rigid) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Ideal N, CA and C of residue frames, each [..., L, 3] Å."""
  n, _, c = (
    frames.apply(jnp.broadcast_to(jnp.asarray(x, frames.translation.dtype), (*frames.shape, 3)))
    for x in ideal.N_CA_C_POSITIONS
  )
  return n, frames.translation, c


def atoms_in_frames(frames: Rigid, psi: jax.Array) -> jax.Array:
  """Backbone atoms with ideal geometry within each residue and O placed by psi.

  Args:
    frames: Rigid [..., L].
    psi: [..., L] radians.

  Returns:
    [..., L, 4, 3] Å, N, CA, C, O.
  """
  dtype = frames.translation.dtype
  axis, cosine, sine = (jnp.asarray(x, dtype) for x in (_O_AXIS, _O_COS, _O_SIN))
  shape = (*frames.shape, 3)
  oxygen = (
    jnp.broadcast_to(axis, shape)
    + jnp.cos(psi)[..., None] * jnp.broadcast_to(cosine, shape)
    + jnp.sin(psi)[..., None] * jnp.broadcast_to(sine, shape)
  )
  return jnp.stack([*n_ca_c_from_frames(frames), frames.apply(oxygen)], axis=-2)


def atoms_from_frames(
  frames: Rigid, psi: jax.Array, bonded: jax.Array | bonds_lib.Bonds
) -> jax.Array:
  """Backbone atoms with ideal geometry within each residue.

  Args:
    frames: Rigid [..., L].
    psi: [..., L] radians; read only where a residue is not bonded to the next one,
      since elsewhere N, CA, C and the next N determine it.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`.

  Returns:
    [..., L, 4, 3] Å, N, CA, C, O.
  """
  angles, mask = torsion.chain_torsions(*n_ca_c_from_frames(frames), bonded)
  return atoms_in_frames(frames, jnp.where(mask[..., 1], angles[..., 1], psi))

"""Residue frames and psi <-> backbone atoms N, CA, C, O with ideal covalent geometry."""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import torsion
from tempo_jax.geometry.rigid import Rigid

# Engh & Huber, International Tables for Crystallography F (2001), 18.3, except C-N and
# C-O, which are those of Engh & Huber, Acta Cryst. A47, 392 (1991); the 2001 ones are
# 1.336 and 1.229. Bond lengths in Å, angles in radians.
N_CA = 1.459
CA_C = 1.525
C_N = 1.329
C_O = 1.231
N_CA_C = float(np.deg2rad(111.0))
CA_C_O = float(np.deg2rad(120.1))
CA_C_N = float(np.deg2rad(117.2))
C_N_CA = float(np.deg2rad(121.7))

# N, CA, C in their own residue frame, [3, 3] Å.
IDEAL_N_CA_C = np.array(
  [[N_CA, 0.0, 0.0], [0.0, 0.0, 0.0], [CA_C * np.cos(N_CA_C), CA_C * np.sin(N_CA_C), 0.0]]
)


def frames_from_atoms(positions: jax.Array) -> Rigid:
  """Residue frames (`Rigid.from_three_points`) of positions [..., L, 4, 3] Å: Rigid [..., L]."""
  positions = jnp.asarray(positions)
  return Rigid.from_three_points(positions[..., 0, :], positions[..., 1, :], positions[..., 2, :])


def oxygen_from_psi(n: jax.Array, ca: jax.Array, c: jax.Array, psi: jax.Array) -> jax.Array:
  """Places O in the peptide plane: ideal C-O and CA-C-O, dihedral N-CA-C-O = psi + pi.

  Args:
    n: [..., 3] Å.
    ca: [..., 3] Å.
    c: [..., 3] Å.
    psi: [...] radians.

  Returns:
    [..., 3] Å.
  """
  psi = jnp.asarray(psi)
  # In the frame at C, x is along C->CA and N has y > 0; the signs are those of psi + pi.
  local = jnp.stack(
    [
      jnp.full_like(psi, C_O * np.cos(CA_C_O)),
      -C_O * float(np.sin(CA_C_O)) * jnp.cos(psi),
      C_O * float(np.sin(CA_C_O)) * jnp.sin(psi),
    ],
    axis=-1,
  )
  return Rigid.from_three_points(ca, c, n).apply(local)


# O in its own residue frame is _O_AXIS + cos(psi) _O_COS + sin(psi) _O_SIN: with N, CA, C fixed
# in the frame, psi turns it about CA-C.
_AXIS = IDEAL_N_CA_C[2] / CA_C
_IN_PLANE = IDEAL_N_CA_C[0] - np.dot(IDEAL_N_CA_C[0], _AXIS) * _AXIS
_IN_PLANE /= np.linalg.norm(_IN_PLANE)
_O_AXIS = IDEAL_N_CA_C[2] - C_O * np.cos(CA_C_O) * _AXIS
_O_COS = -C_O * np.sin(CA_C_O) * _IN_PLANE
_O_SIN = -C_O * np.sin(CA_C_O) * np.cross(_AXIS, _IN_PLANE)


def n_ca_c_from_frames(frames: Rigid) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Ideal N, CA and C of residue frames, each [..., L, 3] Å."""
  n, _, c = (
    frames.apply(jnp.broadcast_to(jnp.asarray(x, frames.translation.dtype), (*frames.shape, 3)))
    for x in IDEAL_N_CA_C
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


def atoms_from_frames(frames: Rigid, psi: jax.Array, bonded: jax.Array) -> jax.Array:
  """Backbone atoms with ideal geometry within each residue.

  Args:
    frames: Rigid [..., L].
    psi: [..., L] radians; read only where a residue is not bonded to the next one,
      since elsewhere N, CA, C and the next N determine it.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1.

  Returns:
    [..., L, 4, 3] Å, N, CA, C, O.
  """
  angles, mask = torsion.chain_torsions(*n_ca_c_from_frames(frames), bonded)
  return atoms_in_frames(frames, jnp.where(mask[..., 1], angles[..., 1], psi))

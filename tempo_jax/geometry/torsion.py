"""Torsion angles in radians with the IUPAC sign, masked at chain ends and breaks.

Order phi, psi, omega; omega of residue i is CA_i, C_i, N_i+1, CA_i+1 (mdtraj's
convention), stored at residue i.
"""

import jax
import jax.numpy as jnp

from tempo_jax.geometry import bonds as bonds_lib


def _angle(sine: jax.Array, cosine: jax.Array, degenerate: jax.Array) -> jax.Array:
  """Angle of (cosine, sine) of any length; 0 with zero gradient where degenerate."""
  return jnp.arctan2(jnp.where(degenerate, 0, sine), jnp.where(degenerate, 1, cosine))


def dihedral(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
  """Torsion angle about b-c, positive where d is clockwise of a, seen along b->c.

  Args:
    a: [..., 3] Å; b, c and d alike.
    b: [..., 3] Å.
    c: [..., 3] Å.
    d: [..., 3] Å.

  Returns:
    [...] radians in [-pi, pi]; 0, with zero gradient, where a, b, c or b, c, d
    are collinear (their cross product is below 1e-5 Å^2).
  """
  a, b, c, d = (jnp.asarray(x) for x in (a, b, c, d))
  first, axis, last = b - a, c - b, d - c
  left, right = jnp.cross(first, axis), jnp.cross(axis, last)
  degenerate = jnp.minimum(jnp.sum(left * left, axis=-1), jnp.sum(right * right, axis=-1)) < 1e-10
  length = jnp.sqrt(jnp.where(degenerate, 1, jnp.sum(axis * axis, axis=-1)))
  sine = length * jnp.sum(first * right, axis=-1)
  cosine = jnp.sum(left * right, axis=-1)
  return _angle(sine, cosine, degenerate)


def chain_torsions(
  n: jax.Array, ca: jax.Array, c: jax.Array, bonded: jax.Array | bonds_lib.Bonds
) -> tuple[jax.Array, jax.Array]:
  """phi, psi and omega, as far as N, CA and C determine them.

  Args:
    n: [..., L, 3] Å.
    ca: [..., L, 3] Å.
    c: [..., L, 3] Å.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`.

  Returns:
    Angles [..., L, 3] in radians, 0 where masked, and their mask [..., L, 3] bool. phi needs
    the bond from the residue before, psi and omega the bond to the next one.
  """
  bonds = bonds_lib.of(bonded).broadcast(ca.shape[:-1])
  next_n, next_ca = bonds.after(n, -2), bonds.after(ca, -2)
  previous_c = bonds.before(c, -2)
  mask = jnp.stack([bonds.to_previous, bonds.to_next, bonds.to_next], axis=-1)
  # One call for the three of them: XLA compiles it once.
  angles = dihedral(
    jnp.stack([previous_c, n, ca], axis=-2),
    jnp.stack([n, ca, c], axis=-2),
    jnp.stack([ca, c, next_n], axis=-2),
    jnp.stack([c, next_n, next_ca], axis=-2),
  )
  return jnp.where(mask, angles, 0), mask


def backbone_torsions(
  positions: jax.Array, bonded: jax.Array | bonds_lib.Bonds
) -> tuple[jax.Array, jax.Array]:
  """phi, psi and omega of every residue.

  Args:
    positions: [..., L, 4, 3] Å, N, CA, C, O.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`.

  Returns:
    Angles [..., L, 3] in radians and their mask [..., L, 3] bool, as `chain_torsions`. Where
    masked, phi and omega are 0, and psi is what the O atom says: dihedral(N, CA, C, O) - pi, in
    (-pi, pi].
  """
  positions = jnp.asarray(positions)
  n, ca, c, o = jnp.moveaxis(positions, -2, 0)
  angles, mask = chain_torsions(n, ca, c, bonded)
  opposite = dihedral(n, ca, c, o)
  psi_from_o = jnp.where(opposite > 0, opposite - jnp.pi, opposite + jnp.pi)
  psi = jnp.where(mask[..., 1], angles[..., 1], psi_from_o)
  return jnp.stack([angles[..., 0], psi, angles[..., 2]], axis=-1), mask


def to_sin_cos(angles: jax.Array) -> jax.Array:
  """[..., 3] radians -> [..., 6]: sin phi, psi, omega, then cos phi, psi, omega."""
  return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def from_sin_cos(sin_cos: jax.Array) -> jax.Array:
  """[..., 6], pairs of any length, -> [..., 3] radians; 0 with zero gradient at (0, 0)."""
  sine, cosine = jnp.split(jnp.asarray(sin_cos), 2, axis=-1)
  return _angle(sine, cosine, sine * sine + cosine * cosine < 1e-30)

"""Unit quaternions as rotations: real part first, Hamilton product, q and -q equal.

Written as plain polynomials, so that values and gradients are finite everywhere,
at the identity and at a half turn too.
"""

import jax
import jax.numpy as jnp


def _unit(q: jax.Array) -> jax.Array:
  """Normalises [..., 4]; the identity, with zero gradient, below a norm of 1e-15."""
  zero = jnp.sum(q * q, axis=-1, keepdims=True) < 1e-30
  identity = jnp.zeros_like(q).at[..., 0].set(1)
  safe = jnp.where(zero, identity, q)
  return safe / jnp.sqrt(jnp.sum(safe * safe, axis=-1, keepdims=True))


def canonical(q: jax.Array) -> jax.Array:
  """Returns the unit quaternion of the same rotation with real part >= 0.

  Args:
    q: [..., 4], of any length. Zero is taken as the identity.

  Returns:
    [..., 4]. At a half turn, where the real part is exactly 0, the first
    imaginary part that is not 0 is positive.
  """
  q = _unit(jnp.asarray(q))
  w, x, y, z = jnp.split(q, 4, axis=-1)
  first = jnp.where(w != 0, w, jnp.where(x != 0, x, jnp.where(y != 0, y, z)))
  return jnp.where(first < 0, -q, q)


def multiply(p: jax.Array, q: jax.Array) -> jax.Array:
  """Hamilton product [..., 4]: the rotation q, then the rotation p."""
  pw, px, py, pz = jnp.moveaxis(jnp.asarray(p), -1, 0)
  qw, qx, qy, qz = jnp.moveaxis(jnp.asarray(q), -1, 0)
  return jnp.stack(
    [
      pw * qw - px * qx - py * qy - pz * qz,
      pw * qx + px * qw + py * qz - pz * qy,
      pw * qy - px * qz + py * qw + pz * qx,
      pw * qz + px * qy - py * qx + pz * qw,
    ],
    axis=-1,
  )


def conjugate(q: jax.Array) -> jax.Array:
  """Conjugate [..., 4]; for a unit quaternion, the inverse rotation."""
  q = jnp.asarray(q)
  return jnp.concatenate([q[..., :1], -q[..., 1:]], axis=-1)


def to_matrix(q: jax.Array) -> jax.Array:
  """Rotation matrix [..., 3, 3] of a quaternion [..., 4] of any length (zero: identity)."""
  w, x, y, z = jnp.moveaxis(_unit(jnp.asarray(q)), -1, 0)
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ]
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(rotation: jax.Array) -> jax.Array:
  """Canonical unit quaternion of a rotation matrix, accurate at every angle.

  The matrix determines 4 q q^T linearly. Each of its rows is parallel to q; the one
  with the largest diagonal element has a norm of at least 2, so that nothing is
  divided by a small number (Shepperd, J. Guidance and Control 1, 223, 1978).

  Args:
    rotation: [..., 3, 3], proper.

  Returns:
    [..., 4] with real part >= 0.
  """
  rotation = jnp.asarray(rotation)
  xx, xy, xz, yx, yy, yz, zx, zy, zz = jnp.moveaxis(
    rotation.reshape(*rotation.shape[:-2], 9), -1, 0
  )
  rows = [
    [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
    [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
    [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
    [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
  ]
  outer = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
  diagonal = jnp.stack([rows[i][i] for i in range(4)], axis=-1)
  largest = jax.nn.one_hot(jnp.argmax(diagonal, axis=-1), 4, dtype=outer.dtype)
  return canonical(jnp.sum(outer * largest[..., None], axis=-2))

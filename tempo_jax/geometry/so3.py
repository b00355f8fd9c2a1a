"""Exponential and logarithm of rotations, with series where the closed form is 0/0."""

import jax
import jax.numpy as jnp

from tempo_jax.geometry import quaternion

# Below this square of the angle the series stand in; their first term left out is
# then under 1e-16, so they are exact in float64 as well.
_SMALL = 1e-3


def _sinc(square: jax.Array) -> jax.Array:
  """sin(x) / x as a smooth function of x^2."""
  small = square < _SMALL
  x = jnp.sqrt(jnp.where(small, 1, square))
  series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42 * (1 - square / 72)))
  return jnp.where(small, series, jnp.sin(x) / x)


def exp(rotation_vector: jax.Array) -> jax.Array:
  """Rotation matrix of a rotation vector (axis times angle in radians).

  Rodrigues' formula, exp(K) = I + sin(t)/t K + (1 - cos(t))/t^2 K^2, with
  1 - cos(t) = 2 sin(t/2)^2 and K^2 = v v^T - t^2 I.

  Args:
    rotation_vector: [..., 3] radians, of any length.

  Returns:
    [..., 3, 3].
  """
  v = jnp.asarray(rotation_vector)
  square = jnp.sum(v * v, axis=-1)[..., None, None]
  x, y, z = jnp.moveaxis(v, -1, 0)
  zero = jnp.zeros_like(x)
  k = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*v.shape[:-1], 3, 3)
  outer = v[..., :, None] * v[..., None, :]
  half = 0.5 * _sinc(square / 4) ** 2
  eye = jnp.broadcast_to(jnp.eye(3, dtype=v.dtype), k.shape)
  return eye * (1 - half * square) + _sinc(square) * k + half * outer


def log(rotation: jax.Array) -> jax.Array:
  """Rotation vector of a rotation matrix, through its quaternion.

  Args:
    rotation: [..., 3, 3], proper.

  Returns:
    [..., 3] radians, of length at most pi. At exactly pi, where v and -v are the
    same rotation, the sign is that of `quaternion.canonical`.
  """
  q = quaternion.from_matrix(rotation)
  w, v = q[..., :1], q[..., 1:]
  square = jnp.sum(v * v, axis=-1, keepdims=True)
  # angle / |v| = 2 atan(|v| / w) / |v|, w being cos(angle / 2).
  small = square < _SMALL
  norm = jnp.sqrt(jnp.where(small, 1, square))
  u = square / jnp.where(small, w * w, 1)
  series = 1 - u / 3 + u**2 / 5 - u**3 / 7 + u**4 / 9
  scale = jnp.where(small, 2 * series / jnp.where(small, w, 1), 2 * jnp.arctan2(norm, w) / norm)
  return scale * v

"""Vectors with their components in front, [3, ...]: operations on them run over long arrays."""

import jax
import jax.numpy as jnp

_TINY = 1e-9


def cross(a: jax.Array, b: jax.Array) -> jax.Array:
  """[3, ...] of the same shape."""
  (ax, ay, az), (bx, by, bz) = a, b
  return jnp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """[...] of [3, ...]."""
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def dihedral(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> jax.Array:
  """[...] radians, `torsion.dihedral` of [3, ...] Å; any number where three points are in line."""
  first, middle, last = b - a, c - b, d - c
  left, right = cross(first, middle), cross(middle, last)
  sine = jnp.sqrt(dot(middle, middle) + _TINY) * dot(first, right)
  return jnp.arctan2(sine, dot(left, right) + _TINY)

"""Rigid motions x -> R x + t as a pytree with an algebra; residue frames."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.geometry import so3


def _rotate(rotation: jax.Array, points: jax.Array) -> jax.Array:
  # Multiply and add, not a matmul: float32 on every backend, and it fuses.
  x, y, z = (rotation[..., i] * points[..., None, i] for i in range(3))
  return x + y + z


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Products a b of matrices [..., 3, 3]."""
  x, y, z = (a[..., :, i, None] * b[..., None, i, :] for i in range(3))
  return x + y + z


def _unit(vector: jax.Array, fallback: jax.Array) -> jax.Array:
  """Normalises [..., 3]; the unit vector `fallback`, without gradient, below 1e-6."""
  short = jnp.sum(vector * vector, axis=-1, keepdims=True) < 1e-12
  safe = jnp.where(short, fallback, vector)
  return safe / jnp.sqrt(jnp.sum(safe * safe, axis=-1, keepdims=True))


def _perpendicular(x: jax.Array) -> jax.Array:
  """Some unit vector perpendicular to the unit vector x [..., 3], without gradient."""
  x = jax.lax.stop_gradient(x)
  axis = jax.nn.one_hot(jnp.argmin(jnp.abs(x), axis=-1), 3, dtype=x.dtype)
  across = jnp.cross(x, axis)
  return across / jnp.sqrt(jnp.sum(across * across, axis=-1, keepdims=True))


def _gram_schmidt(a: jax.Array, b: jax.Array) -> jax.Array:
  """Rotation [..., 3, 3] with x along a, y towards b; a and b [..., 3], any lengths."""
  x = _unit(a, jnp.zeros_like(a).at[..., 0].set(1))
  perpendicular = _perpendicular(x)
  # The double cross product is orthogonal to x however nearly parallel a and b are.
  y = _unit(jnp.cross(jnp.cross(x, _unit(b, perpendicular)), x), perpendicular)
  return jnp.stack([x, y, jnp.cross(x, y)], axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rigid:
  """Rigid motions x -> rotation x + translation; also frames, their coordinates to space.

  Attributes:
    rotation: [..., 3, 3], proper; its columns are the axes of the frame.
    translation: [..., 3] Å, the origin of the frame.
  """

  rotation: jax.Array
  translation: jax.Array

  @classmethod
  def identity(cls, shape: tuple[int, ...] = (), dtype: Any = jnp.float32) -> Rigid:
    """Identities of the leading shape `shape`."""
    rotation = jnp.broadcast_to(jnp.eye(3, dtype=dtype), (*shape, 3, 3))
    return cls(rotation, jnp.zeros((*shape, 3), dtype))

  @classmethod
  def exp(cls, translation: jax.Array, rotation_vector: jax.Array) -> Rigid:
    """Motions of the given translation and rotation vector.

    This is the exponential of SO(3) x R^3, not of SE(3): the translation is taken
    as it is, without the left Jacobian.

    Args:
      translation: [..., 3] Å.
      rotation_vector: [..., 3] radians.
    """
    return cls(so3.exp(rotation_vector), jnp.asarray(translation))

  @classmethod
  def from_three_points(cls, n: jax.Array, ca: jax.Array, c: jax.Array) -> Rigid:
    """Residue frames: origin CA, x along CA->N, C in the xy plane with y > 0.

    With v = unit(C - CA) these are the paper's z = unit(x cross v), y = z cross x.

    Args:
      n: [..., 3] Å.
      ca: [..., 3] Å.
      c: [..., 3] Å.

    Returns:
      Rigid [...]. Atoms that coincide (below 1e-6 Å) or are collinear leave axes
      open; these are then some fixed choice with zero gradient, never NaN.
    """
    n, ca, c = jnp.asarray(n), jnp.asarray(ca), jnp.asarray(c)
    return cls(_gram_schmidt(n - ca, c - ca), ca)

  @property
  def shape(self) -> tuple[int, ...]:
    """Leading shape."""
    return self.translation.shape[:-1]

  def __getitem__(self, index: Any) -> Rigid:
    """Indexes the leading axes: `frames[0]`, `frames[..., None]`, `frames[:, 1:]`."""
    index = index if isinstance(index, tuple) else (index,)
    rest = slice(None)
    return Rigid(self.rotation[(*index, rest, rest)], self.translation[(*index, rest)])

  def __matmul__(self, other: Rigid) -> Rigid:
    """Composition, `other` first: (a @ b).apply(x) = a.apply(b.apply(x))."""
    return Rigid(_product(self.rotation, other.rotation), self.apply(other.translation))

  def compose(self, other: Rigid) -> Rigid:
    """The same as `self @ other`."""
    return self @ other

  def inverse(self) -> Rigid:
    """Inverse motions."""
    rotation = jnp.swapaxes(self.rotation, -1, -2)
    return Rigid(rotation, -_rotate(rotation, self.translation))

  def apply(self, points: jax.Array) -> jax.Array:
    """Moves points [..., 3] Å, one per frame; for several write `frames[..., None].apply`."""
    return _rotate(self.rotation, points) + self.translation

  def apply_inverse(self, points: jax.Array) -> jax.Array:
    """Coordinates of points [..., 3] Å in the frames."""
    # Subtracting first keeps float32 accurate far from the origin.
    return _rotate(jnp.swapaxes(self.rotation, -1, -2), points - self.translation)

  def log(self) -> tuple[jax.Array, jax.Array]:
    """Translation [..., 3] Å and rotation vector [..., 3] radians; inverts `exp`.

    The translation is taken as it is, without the SE(3) left Jacobian.
    """
    return self.translation, so3.log(self.rotation)

  def orthonormalised(self) -> Rigid:
    """One Newton-Schulz step, R (3 I - R^T R) / 2: removes the rounding of long rollouts.

    The error in orthogonality is squared (times 3/4): meant for rotations that are off by
    rounding, 1e-3 at most, and much cheaper to compile and differentiate than Gram-Schmidt.
    """
    r = self.rotation
    gram = _product(jnp.swapaxes(r, -1, -2), r)
    eye = jnp.broadcast_to(jnp.eye(3, dtype=r.dtype), r.shape)
    correction = 1.5 * eye - 0.5 * gram
    return Rigid(_product(r, correction), self.translation)

"""Optimal superposition of point sets (Kabsch) and the RMSD after it."""

import jax
import jax.numpy as jnp

from tempo_jax.geometry.rigid import Rigid


def _product(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2)


def _transpose(a: jax.Array) -> jax.Array:
  return jnp.swapaxes(a, -1, -2)


@jax.custom_jvp
def _nearest_rotation(covariance: jax.Array) -> jax.Array:
  """Proper rotation R that maximises trace(R^T covariance), [..., 3, 3]; at 0: identity."""
  zero = jnp.max(jnp.abs(covariance), axis=(-2, -1), keepdims=True) < 1e-30
  eye = jnp.broadcast_to(jnp.eye(3, dtype=covariance.dtype), covariance.shape)
  u, _, vt = jnp.linalg.svd(jnp.where(zero, eye, covariance))
  # The least of the three axes is turned over where that avoids a reflection.
  third = jnp.cross(u[..., :, 0], u[..., :, 1])
  u = jnp.concatenate([u[..., :2], third[..., None]], axis=-1)
  vt = jnp.concatenate([vt[..., :2, :], jnp.cross(vt[..., 0, :], vt[..., 1, :])[..., None, :]], -2)
  return jnp.where(zero, eye, _product(u, vt))


@_nearest_rotation.defjvp
def _nearest_rotation_jvp(primals, tangents):
  """Differentiates the optimality condition, S = R^T covariance symmetric.

  With dR = R [w]x this reads (trace(S) I - S) w = vee(R^T dC - dC^T R). Unlike the
  derivative of the SVD it is finite where singular values coincide; where the
  rotation itself is not determined (collinear points) the derivative is set to 0.
  """
  (covariance,), (tangent,) = primals, tangents
  rotation = _nearest_rotation(covariance)
  s = _product(_transpose(rotation), covariance)
  trace = jnp.trace(s, axis1=-2, axis2=-1)[..., None, None]
  eye = jnp.broadcast_to(jnp.eye(3, dtype=s.dtype), s.shape)
  scale = jnp.where(trace > 1e-30, trace, 1)
  system = (trace * eye - s) / scale
  a, b, c = (system[..., :, i] for i in range(3))
  determinant = jnp.sum(a * jnp.cross(b, c), axis=-1)[..., None]
  singular = determinant < 1e-6
  skew = _product(_transpose(rotation), tangent)
  skew = skew - _transpose(skew)
  right = jnp.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], axis=-1)
  # Inverse of the 3x3 system by cross products of its columns.
  adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=-2)
  solution = jnp.sum(adjugate * right[..., None, :], axis=-1) / (
    jnp.where(singular, 1, determinant) * scale[..., 0]
  )
  omega = jnp.where(singular, 0, solution)
  # Column j of R [w]x is R (w cross e_j) = (R w) cross r_j.
  turned = jnp.sum(rotation * omega[..., None, :], axis=-1)
  derivative = jnp.cross(jnp.broadcast_to(turned[..., None], s.shape), rotation, axis=-2)
  return rotation, derivative


def superpose(mobile: jax.Array, target: jax.Array, weights: jax.Array) -> Rigid:
  """Rigid motion of `mobile` onto `target` with the least weighted squared distance.

  Kabsch, Acta Cryst. A32, 922 (1976). Never a reflection. Normally used under
  `jax.lax.stop_gradient`; its gradient is nevertheless correct, and finite everywhere.

  Args:
    mobile: [..., N, 3] Å.
    target: [..., N, 3] Å; leading axes broadcast against those of `mobile`.
    weights: >= 0 or bool, broadcast to [..., N].

  Returns:
    Rigid [...]; `superpose(...)[..., None].apply(mobile)` lies on the target. Where
    the points do not determine the rotation (two points, collinear ones) it is one
    of the best; with all weights 0 it is the identity.
  """
  mobile, target = jnp.broadcast_arrays(jnp.asarray(mobile), jnp.asarray(target))
  weights = jnp.broadcast_to(jnp.asarray(weights, mobile.dtype), mobile.shape[:-1])[..., None]
  total = jnp.sum(weights, axis=-2)
  weights = weights / jnp.where(total > 0, total, 1)[..., None, :]
  mobile_centre = jnp.sum(weights * mobile, axis=-2)
  target_centre = jnp.sum(weights * target, axis=-2)
  x = mobile - mobile_centre[..., None, :]
  y = target - target_centre[..., None, :]
  covariance = jnp.sum((weights * y)[..., :, None] * x[..., None, :], axis=-3)
  rotation = _nearest_rotation(covariance)
  moved_centre = jnp.sum(rotation * mobile_centre[..., None, :], axis=-1)
  return Rigid(rotation, target_centre - moved_centre)


def rmsd(mobile: jax.Array, target: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted root-mean-square distance after superposition, Å.

  Args:
    mobile: [..., N, 3] Å.
    target: [..., N, 3] Å; leading axes broadcast against those of `mobile`.
    weights: >= 0 or bool, broadcast to [..., N].

  Returns:
    [...]; 0, with zero gradient, where the sets agree exactly or all weights are 0.
  """
  mobile, target = jnp.broadcast_arrays(jnp.asarray(mobile), jnp.asarray(target))
  weights = jnp.broadcast_to(jnp.asarray(weights, mobile.dtype), mobile.shape[:-1])
  # At the optimum the motion's own derivative does not change the distance.
  motion = jax.lax.stop_gradient(superpose(mobile, target, weights))
  difference = motion[..., None].apply(mobile) - target
  total = jnp.sum(weights, axis=-1)
  square = jnp.sum(weights * jnp.sum(difference**2, axis=-1), axis=-1)
  square = square / jnp.where(total > 0, total, 1)
  return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)

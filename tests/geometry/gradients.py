"""Derivatives by autodiff: right against central differences, and finite where it is delicate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def assert_derivatives(function: Callable, *arguments, atol: float = 1e-7):
  """Compares the Jacobian (reverse mode) with central differences in float64."""
  with jax.enable_x64(True):
    arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), arguments)
    flat, unravel = ravel_pytree(arguments)

    def flat_function(vector):
      return ravel_pytree(function(*unravel(vector)))[0]

    step = 1e-5
    shifts = step * jnp.concatenate([jnp.eye(flat.size), -jnp.eye(flat.size)])
    values = jax.jit(jax.vmap(flat_function))(flat[None] + shifts)
    numerical = (values[: flat.size] - values[flat.size :]).T / (2 * step)
    jacobian = jax.jit(jax.jacrev(flat_function))(flat)
    np.testing.assert_allclose(jacobian, numerical, rtol=1e-6, atol=atol)


def assert_finite_gradients(function: Callable, points: np.ndarray):
  """The Jacobian of `function` is finite at every point of the leading axis, in float32."""
  jacobian = jax.jit(jax.vmap(jax.jacrev(function)))(jnp.float32(points))
  for leaf in jax.tree.leaves(jacobian):
    assert np.isfinite(leaf).all()

"""Nearest neighbours among points, in an order that compiles to few operations."""

import jax
import jax.numpy as jnp
import numpy as np


def nearest(points: jax.Array, mask: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The nearest other points of each point, nearest first.

  Each squared distance and the neighbour's index are packed into one integer; the least integer is
  taken, then the least one above it, and so on. `jax.lax.top_k` takes 4 to 15 times as long on a
  CPU. The squared distance keeps 23 bits less those of the index: neighbours whose squared
  distances agree to 1e-4 (of 1024 points) may change places.

  Args:
    points: [L, 3] Å, L of at least 2. No gradient flows through the search.
    mask: [L] bool; points outside of it neither have nor are neighbours.
    count: neighbours per point, at most L - 1.

  Returns:
    [L, count] int32 indices, and [L, count] bool, False where no neighbour is left: the index is
    then that of any point.
  """
  # Coordinate by coordinate, and the neighbour's axis first: every operation runs over long rows.
  length = points.shape[0]
  squared = jnp.zeros((length, length), jnp.float32)
  for x in jnp.moveaxis(jax.lax.stop_gradient(points).astype(jnp.float32), -1, 0):
    squared = squared + (x[:, None] - x[None, :]) ** 2
  excluded = jnp.eye(length, dtype=bool) | ~mask[None, :] | ~mask[:, None]
  return least(jnp.where(excluded, jnp.inf, squared), count)


def least(values: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
  """The least numbers of each column, in order; see `nearest` for how well they are told apart.

  Args:
    values: [N, L] float32, 0 or more; infinite for what is left out.
    count: at most N.

  Returns:
    [L, count] int32 rows, and [L, count] bool, False where no finite number is left.
  """
  length = values.shape[0]
  index_bits = (1 << (length - 1).bit_length()) - 1
  bits = jax.lax.bitcast_convert_type(values, jnp.int32)
  found = ascending((bits & ~index_bits) | jnp.arange(length, dtype=jnp.int32)[:, None], count)
  infinite = np.float32(np.inf).view(np.int32) & ~np.int32(index_bits)
  return (found & index_bits).T, (found < infinite).T


def ascending(codes: jax.Array, count: int) -> jax.Array:
  """The least of codes [N, ...] along the first axis, the next one, ...: [count, ...] int32.

  Args:
    codes: int32, not negative; equal ones count once.
    count: once they are used up, the largest int32 follows.
  """
  most = np.iinfo(np.int32).max

  def next_one(last: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
    following = jnp.min(jnp.where(codes > last[None], codes, most), axis=0)
    return following, following

  _, found = jax.lax.scan(next_one, jnp.full(codes.shape[1:], -1, jnp.int32), length=count)
  return found

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
  length = points.shape[0]
  index_bits = (1 << (length - 1).bit_length()) - 1
  # Coordinate by coordinate, and the neighbour's axis first: every operation runs over long rows.
  squared = jnp.zeros((length, length), jnp.float32)
  for x in jnp.moveaxis(jax.lax.stop_gradient(points).astype(jnp.float32), -1, 0):
    squared = squared + (x[:, None] - x[None, :]) ** 2
  excluded = jnp.eye(length, dtype=bool) | ~mask[None, :] | ~mask[:, None]
  bits = jax.lax.bitcast_convert_type(jnp.where(excluded, jnp.inf, squared), jnp.int32)
  codes = (bits & ~index_bits) | jnp.arange(length, dtype=jnp.int32)[:, None]
  most = np.iinfo(np.int32).max

  def next_one(last, _):
    following = jnp.min(jnp.where(codes > last[None, :], codes, most), axis=0)
    return following, following

  _, found = jax.lax.scan(next_one, jnp.full(length, -1, jnp.int32), length=count)
  infinite = np.float32(np.inf).view(np.int32) & ~np.int32(index_bits)
  return (found & index_bits).T, (found < infinite).T

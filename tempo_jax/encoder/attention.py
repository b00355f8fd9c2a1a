"""Softmax attention, laid out so that XLA makes plain batched matrix products of it."""

import math
from typing import Any

import jax
import jax.numpy as jnp

# Logit of padding: far below any other, finite in float32.
_MASKED = -1e9
# Logits of one attention that are held at once. On a CPU they stay in its cache so (4 MiB): from
# 512 residues on that is three times as fast. Elsewhere only memory counts (1 GiB).
_MOST_LOGITS_CPU, _MOST_LOGITS = 1 << 20, 1 << 28


def mask_bias(mask: jax.Array) -> jax.Array:
  """Zero where the mask is true, else what no other logit comes near."""
  return jnp.where(mask, 0.0, _MASKED)


def attend(
  queries: jax.Array,
  keys: jax.Array,
  values: jax.Array,
  bias: jax.Array,
  precision: Any = None,
  most_logits: int | None = None,
) -> jax.Array:
  """Averages values with weights softmax(queries . keys + bias).

  Heads lie in front of residues, so that no product needs its operands turned round (on a CPU that
  took most of the time of many windows at once), and weights are divided by their sum where they
  are fewest: in the result. Logits and weights are float32, also of 16-bit queries and keys.

  Args:
    queries: [..., H, L, C], scaled already.
    keys: [..., H, L, C].
    values: [..., H, L, V].
    bias: added to the logits, [H, L, L] or [L] (of the keys).
    precision: of both products.
    most_logits: that are held at once; of more, blocks of queries take turns. None: what suits
      the device.

  Returns:
    [..., H, L, V] float32.
  """
  *lead, length, _ = queries.shape
  if most_logits is None:
    most_logits = _MOST_LOGITS_CPU if jax.default_backend() == 'cpu' else _MOST_LOGITS
  num_blocks = -(-math.prod(lead) * length * keys.shape[-2] // most_logits)
  if num_blocks == 1:
    return _attend(queries, keys, values, bias, precision)

  rows = -(-length // num_blocks)

  def in_blocks(x):  # [..., L, C] -> [blocks, ..., rows, C]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(0, num_blocks * rows - length), (0, 0)])
    return jnp.moveaxis(padded.reshape(*x.shape[:-2], num_blocks, rows, x.shape[-1]), -3, 0)

  @jax.checkpoint  # The backward pass, too, holds the logits of one block only.
  def one_block(args):
    block, of_pairs = args if bias.ndim > 1 else (*args, bias)
    return _attend(block, keys, values, of_pairs, precision)

  per_query = (queries, bias) if bias.ndim > 1 else (queries,)
  out = jax.lax.map(one_block, tuple(map(in_blocks, per_query)))
  out = jnp.moveaxis(out, 0, -3)
  return out.reshape(*out.shape[:-3], num_blocks * rows, out.shape[-1])[..., :length, :]


def _attend(
  queries: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array, precision: Any
) -> jax.Array:
  def product(equation, *operands):
    accumulated = jnp.promote_types(values.dtype, jnp.float32)
    return jnp.einsum(equation, *operands, precision=precision, preferred_element_type=accumulated)

  logits = product('...qc,...kc->...qk', queries, keys)
  logits = logits + jnp.broadcast_to(bias, logits.shape)
  # The largest is subtracted for its size only: the result does not depend on it.
  largest = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
  weights = jnp.exp(logits - largest)
  total = jnp.sum(weights, axis=-1, keepdims=True)
  return product('...qk,...kv->...qv', weights.astype(values.dtype), values) / total

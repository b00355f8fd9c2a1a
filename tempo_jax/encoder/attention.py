"""Softmax attention, laid out so that XLA makes plain batched matrix products of it."""

from typing import Any

import jax
import jax.numpy as jnp

# Logit of padding: far below any other, finite in float32.
_MASKED = -1e9


def mask_bias(mask: jax.Array) -> jax.Array:
  """Zero where the mask is true, else what no other logit comes near."""
  return jnp.where(mask, 0.0, _MASKED)


def attend(
  queries: jax.Array, keys: jax.Array, values: jax.Array, bias: jax.Array, precision: Any = None
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

  Returns:
    [..., H, L, V] float32.
  """

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

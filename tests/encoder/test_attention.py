"""Attention against jax.nn.softmax in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.encoder import attention
from tests import builders

HEADS, LENGTH, CHANNELS = 2, 9, 4


def plain(queries, keys, values, bias):
  logits = queries @ jnp.swapaxes(keys, -1, -2) + bias
  return jax.nn.softmax(logits, axis=-1) @ values


def inputs(rng, dtype):
  """Logits of order 60: their rounding to 16 bits alone would change weights by a fifth."""
  shape = 2, HEADS, LENGTH, CHANNELS
  queries, keys, values = (jnp.asarray(s * rng.normal(size=shape), dtype) for s in (15, 2, 1))
  return queries, keys, values, rng.normal(size=(HEADS, LENGTH, LENGTH)).astype(np.float32)


@pytest.mark.parametrize(
  ('dtype', 'tolerance', 'of_gradient', 'most_logits'),
  # Derivatives by the weights are 16-bit numbers, of which nearly equal ones are subtracted.
  # The last: blocks of three of the nine queries, then of two, which do not divide them.
  [
    (jnp.float32, 1e-5, 1e-5, None),
    (jnp.bfloat16, 0.01, 0.15, None),
    (jnp.float32, 1e-5, 1e-5, 2 * HEADS * 3 * LENGTH),
    (jnp.float32, 1e-5, 1e-5, 2 * HEADS * 2 * LENGTH),
  ],
  ids=['float32', 'bfloat16', 'blocks', 'uneven_blocks'],
)
def test_values_and_gradients(np_rng, dtype, tolerance, of_gradient, most_logits):
  attend = functools.partial(attention.attend, most_logits=most_logits)
  args = inputs(np_rng, dtype)
  mask = np.arange(LENGTH) < 7
  bias = args[3] + np.asarray(attention.mask_bias(mask))

  def total(attend, *args):
    out = attend(*args)
    return jnp.sum(out[..., 1:] ** 2), out

  actual, out = builders.numpy_jit(
    jax.grad(lambda *args: total(attend, *args), argnums=(0, 1, 2), has_aux=True)
  )(*args[:3], bias)
  with jax.enable_x64(True):
    exact = [np.asarray(x, np.float64) for x in args[:3]]
    exact.append(np.where(mask, args[3].astype(np.float64), -np.inf))
    gradient = jax.grad(
      lambda *args: total(lambda q, k, v, b: plain(q, k, v, b[None]), *args),
      argnums=(0, 1, 2),
      has_aux=True,
    )
    expected, expected_out = jax.tree.map(np.asarray, gradient(*exact))
  assert out.dtype == np.float32
  np.testing.assert_allclose(out, expected_out, rtol=0, atol=tolerance)
  for a, b in zip(actual, expected, strict=True):
    error = np.abs(a.astype(np.float64) - b)
    assert error.max() < of_gradient * np.abs(b).max()


def test_blocks_of_queries_with_a_mask_only(np_rng):
  queries, keys, values, _ = inputs(np_rng, jnp.float32)
  bias = attention.mask_bias(np.arange(LENGTH) < 7)
  whole = attention.attend(queries, keys, values, bias)
  blocks = attention.attend(queries, keys, values, bias, most_logits=2 * HEADS * 4 * LENGTH)
  np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-5)

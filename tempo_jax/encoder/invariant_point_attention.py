"""Invariant point attention (AlphaFold 2, Suppl. Alg. 22)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax.encoder import attention
from tempo_jax.geometry import rigid

# Points are measured in units of 10 Å, so that at initialisation neither the nearest nor the
# farthest residue of a domain dominates the softmax (AlphaFold 2 uses the same scale).
_LENGTH_UNIT = 10.0


def _safe_norm(x: jax.Array, axis: int) -> jax.Array:
  """Length of vectors; the gradient at zero is zero, not NaN."""
  squared = jnp.sum(x**2, axis=axis)
  positive = squared > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _softplus_inverse(x: float) -> float:
  return float(np.log(np.expm1(x)))


def _turned(rotation: jax.Array, vectors: jax.Array) -> jax.Array:
  """Rotations [..., 3, 3] of vectors [..., 3, H, P]: multiplied and added in float32.

  Coordinates lie in front of the many points: all of it runs over long rows.
  """
  terms = (rotation[..., j, None, None] * vectors[..., None, j, :, :] for j in range(3))
  return sum(terms, start=jnp.zeros_like(vectors))


def _heads_first(x: jax.Array) -> jax.Array:
  """[..., L, H, C] -> [..., H, L, C]."""
  return jnp.swapaxes(x, -2, -3)


class InvariantPointAttention(nn.Module):
  """Attention over residues whose weights also fall with the distance of learned points.

  The points live in the residues' frames and are compared in space, so that the output does
  not change when all frames move together. The squared distance is expanded,

    -w/2 |q - k|^2 = w q.k - w/2 |k|^2 + (a term that the softmax over k ignores),

  so that points become additional channels of an ordinary dot-product attention and no
  L x L x P tensor appears. That needs coordinates near the origin: centre the frames first.

  Points, logits and weights are float32 on every backend. The terms of the expansion cancel: with
  coordinates up to 150 Å the logits reach hundreds, and are right to 0.01 in float32 only. From
  bfloat16 they come out wrong by 0.5 (TF32: nearly 0.1), which is why cuDNN's attention
  (`jax.nn.dot_product_attention`, 16 bits) is not used. XLA writes the L x L weights to memory.

  As in AlphaFold 2's code, and unlike its Alg. 22, the points' linear layers have a bias; there are
  no pair features.

  Attributes:
    num_heads: H.
    scalar_channels: channels of the scalar queries, keys and values, per head.
    query_points: query and key points per head.
    value_points: value points per head.
    dtype: in which the scalars and the output are computed.
    attend: what averages, `attention.attend` or another that is as exact.
  """

  num_heads: int
  scalar_channels: int = 16
  query_points: int = 4
  value_points: int = 8
  dtype: Any = jnp.float32
  attend: Callable[..., jax.Array] = attention.attend

  @nn.compact
  def __call__(self, single: jax.Array, frames: rigid.Rigid, mask: jax.Array) -> jax.Array:
    """Args are for one conformation; more axes in front are mapped over.

    Args:
      single: [..., L, D] residue features.
      frames: [..., L] residue frames, Å.
      mask: [L] bool, False where a residue is padding.

    Returns:
      [..., L, D], invariant to a global motion of the frames.
    """
    heads, channels = self.num_heads, self.scalar_channels
    nq, nv = self.query_points, self.value_points
    highest = jax.lax.Precision.HIGHEST
    lead = single.shape[:-1]

    shape = 3, heads, channels
    scalars = nn.DenseGeneral(shape, use_bias=False, dtype=self.dtype, name='scalars')(single)
    q, k, v = (scalars[..., i, :, :].astype(single.dtype) for i in range(3))

    # Coordinates [..., L, 3, H, points], so true float32 on every backend.
    points = nn.DenseGeneral((3, heads, 2 * nq + nv), precision=highest, name='points')(single)
    origins = frames.translation[..., None, None] / _LENGTH_UNIT
    points = _turned(frames.rotation, points) + origins
    q_points, k_points, v_points = jnp.split(points, [nq, 2 * nq], axis=-1)

    def channels_of(points):  # [..., L, 3, H, P] -> [..., L, H, 3 P]
      return jnp.moveaxis(points, -3, -2).reshape(*lead, heads, -1)

    gamma = nn.softplus(
      self.param('point_weight', nn.initializers.constant(_softplus_inverse(1.0)), (heads,))
    )
    w_c = np.sqrt(2.0 / (9.0 * nq)).item()
    # One over the root of the number of terms in the logit, scalars and points.
    w_l = np.sqrt(1.0 / 2.0).item()
    weight = jnp.broadcast_to(gamma[:, None] * (w_c * w_l), (*lead, heads, 1))
    k_squared = jnp.sum(k_points**2, axis=(-3, -1))[..., None]

    def augmented(*parts):
      return _heads_first(jnp.concatenate(parts, axis=-1))

    out = self.attend(
      augmented(
        q * (w_l / np.sqrt(channels).item()), weight * channels_of(q_points), -0.5 * weight
      ),
      augmented(k, channels_of(k_points), k_squared),
      augmented(v, channels_of(v_points)),
      attention.mask_bias(mask),
      highest,
    )
    out = _heads_first(out)  # [..., L, H, C + 3 P]
    seen = out[..., channels:].reshape(*lead, heads, 3, nv)
    seen = jnp.moveaxis(seen, -2, -3) - origins
    seen = _turned(jnp.swapaxes(frames.rotation, -1, -2), seen)
    parts = out[..., :channels], seen, _safe_norm(seen, axis=-3)
    joined = jnp.concatenate([x.reshape(*lead, -1) for x in parts], axis=-1)
    return nn.Dense(single.shape[-1], dtype=self.dtype, name='out')(joined)


def from_config(config: Any, dtype: Any) -> InvariantPointAttention:
  """The attention that a section (`encoder`, `head`) of the model's configuration describes."""
  return InvariantPointAttention(
    num_heads=config.num_heads,
    scalar_channels=config.ipa_scalar_channels,
    query_points=config.ipa_query_points,
    value_points=config.ipa_value_points,
    dtype=dtype,
    name='ipa',
  )

"""Invariant point attention (AlphaFold 2, Suppl. Alg. 22)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax.geometry import rigid

# Points are measured in units of 10 Å, so that at initialisation neither the nearest nor the
# farthest residue of a domain dominates the softmax (AlphaFold 2 uses the same scale).
_LENGTH_UNIT = 10.0
# Logit of padding: far below any other, finite in float32.
_MASKED = -1e9


def _safe_norm(x: jax.Array) -> jax.Array:
  """[..., 3] -> [...]; the gradient at zero is zero, not NaN."""
  squared = jnp.sum(x**2, axis=-1)
  positive = squared > 0
  return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _softplus_inverse(x: float) -> float:
  return float(np.log(np.expm1(x)))


class InvariantPointAttention(nn.Module):
  """Attention over residues whose weights also fall with the distance of learned points.

  The points live in the residues' frames and are compared in space, so that the output does
  not change when all frames move together. The squared distance is expanded,

    -w/2 |q - k|^2 = w q.k - w/2 |k|^2 + (a term that the softmax over k ignores),

  so that points become additional channels of an ordinary dot-product attention and no
  L x L x P tensor appears. That needs coordinates near the origin: centre the frames first.

  As in AlphaFold 2's code, and unlike its Alg. 22, the points' linear layers have a bias.

  Attributes:
    num_heads: H.
    scalar_channels: channels of the scalar queries, keys and values, per head.
    query_points: query and key points per head.
    value_points: value points per head.
  """

  num_heads: int
  scalar_channels: int = 16
  query_points: int = 4
  value_points: int = 8

  @nn.compact
  def __call__(
    self,
    single: jax.Array,
    frames: rigid.Rigid,
    mask: jax.Array,
    pair: jax.Array | None = None,
  ) -> jax.Array:
    """Args are for one conformation; more axes in front are mapped over.

    Args:
      single: [..., L, D] residue features.
      frames: [..., L] residue frames, Å.
      mask: [L] bool, False where a residue is padding.
      pair: [L, L, Dz] pair features, optional.

    Returns:
      [..., L, D], invariant to a global motion of the frames.
    """
    heads, channels = self.num_heads, self.scalar_channels
    nq, nv = self.query_points, self.value_points
    highest = jax.lax.Precision.HIGHEST

    def scalars(name):
      return nn.DenseGeneral((heads, channels), use_bias=False, name=name)(single)

    def points(name, count):  # [..., L, H, P, 3] in space
      # Coordinates, so true float32 on every backend.
      layer = nn.DenseGeneral((heads, count, 3), precision=highest, name=name)
      local = layer(single)
      return frames[..., None, None].apply(local * _LENGTH_UNIT) / _LENGTH_UNIT

    q, k, v = scalars('q'), scalars('k'), scalars('v')
    q_points, k_points = points('q_points', nq), points('k_points', nq)
    v_points = points('v_points', nv)

    gamma = nn.softplus(
      self.param('point_weight', nn.initializers.constant(_softplus_inverse(1.0)), (heads,))
    )
    w_c = np.sqrt(2.0 / (9.0 * nq)).item()
    # One over the root of the number of terms in the logit: scalars, points and, if any, pairs.
    w_l = np.sqrt(1.0 / (2 if pair is None else 3)).item()

    flat = (*q_points.shape[:-2], nq * 3)
    weight = jnp.broadcast_to(gamma[:, None] * (w_c * w_l), (*flat[:-1], 1))
    q_aug = jnp.concatenate(
      [
        q * (w_l / np.sqrt(channels).item()),
        weight * q_points.reshape(flat),
        -0.5 * weight,
      ],
      axis=-1,
    )
    k_squared = jnp.sum(k_points**2, axis=(-2, -1))[..., None]
    k_aug = jnp.concatenate([k, k_points.reshape(flat), k_squared], axis=-1)
    v_aug = jnp.concatenate([v, v_points.reshape(*flat[:-1], nv * 3)], axis=-1)

    logits = jnp.einsum('...qhc,...khc->...hqk', q_aug, k_aug, precision=highest)
    if pair is not None:
      bias = nn.Dense(heads, use_bias=False, name='pair_bias')(pair)  # [L, L, H]
      logits = logits + jnp.broadcast_to(w_l * jnp.moveaxis(bias, -1, 0), logits.shape)
    logits = jnp.where(jnp.broadcast_to(mask, logits.shape), logits, _MASKED)
    attention = jax.nn.softmax(logits, axis=-1)

    out = jnp.einsum('...hqk,...khc->...qhc', attention, v_aug, precision=highest)
    out_points = out[..., channels:].reshape(*out.shape[:-1], nv, 3)
    out_points = frames[..., None, None].apply_inverse(out_points * _LENGTH_UNIT) / _LENGTH_UNIT
    norms = _safe_norm(out_points)
    outputs = [out[..., :channels], out_points.reshape(*out.shape[:-1], nv * 3), norms]
    if pair is not None:
      outputs.append(jnp.einsum('...hqk,qkc->...qhc', attention, pair, precision=highest))
    outputs = [x.reshape(*x.shape[:-2], -1) for x in outputs]
    return nn.Dense(single.shape[-1], name='out')(jnp.concatenate(outputs, axis=-1))


def from_config(config: Any) -> InvariantPointAttention:
  """The attention that a section (`encoder`, `head`) of the model's configuration describes."""
  return InvariantPointAttention(
    num_heads=config.num_heads,
    scalar_channels=config.ipa_scalar_channels,
    query_points=config.ipa_query_points,
    value_points=config.ipa_value_points,
    name='ipa',
  )

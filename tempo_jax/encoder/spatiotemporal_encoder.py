"""The spatiotemporal encoder: IPA, attention over residues, GRU over frames (paper, section 4)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tempo_jax import protein as protein_lib
from tempo_jax.encoder import embeddings, invariant_point_attention, surroundings
from tempo_jax.geometry import rigid

_MASKED = -1e9


class Transition(nn.Module):
  """Pre-norm two-layer perceptron with a residual connection."""

  factor: int = 2

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] -> [..., D]."""
    channels = x.shape[-1]
    hidden = nn.LayerNorm(name='norm')(x)
    hidden = nn.silu(nn.Dense(self.factor * channels, name='hidden')(hidden))
    return x + nn.Dense(channels, name='out')(hidden)


class SpatialAttention(nn.Module):
  """Pre-norm multi-head self-attention over residues with a residual connection."""

  num_heads: int

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, bias: jax.Array) -> jax.Array:
    """X [..., L, D], mask [L], bias [H, L, L] -> [..., L, D]."""
    heads, channels = self.num_heads, x.shape[-1] // self.num_heads
    normed = nn.LayerNorm(name='norm')(x)
    qkv = nn.DenseGeneral((3, heads, channels), use_bias=False, name='qkv')(normed)
    q, k, v = (qkv[..., i, :, :] for i in range(3))  # each [..., L, H, C]
    logits = jnp.einsum('...qhc,...khc->...hqk', q, k) * (channels**-0.5)
    bias = jnp.where(jnp.broadcast_to(mask, bias.shape), bias, _MASKED)
    attention = jax.nn.softmax(logits + jnp.broadcast_to(bias, logits.shape), axis=-1)
    out = jnp.einsum('...hqk,...khc->...qhc', attention, v)
    return x + nn.DenseGeneral(x.shape[-1], axis=(-2, -1), name='out')(out)


class IPABlock(nn.Module):
  """Invariant point attention and a transition, each with a residual connection."""

  config: Any

  @nn.compact
  def __call__(
    self, hidden: jax.Array, context: jax.Array, frames: rigid.Rigid, mask: jax.Array
  ) -> tuple[jax.Array, None]:
    """Hidden [T, L, D], context [L, D], frames [T, L], mask [L] -> ([T, L, D], None)."""
    config = self.config
    read = hidden
    if config.ipa_reads == 'sequence':
      read = jnp.broadcast_to(context[None, :, :], hidden.shape)
    attention = invariant_point_attention.from_config(config)
    hidden = hidden + attention(nn.LayerNorm(name='norm')(read), frames, mask)
    return Transition(name='transition')(hidden), None


class AttentionBlock(nn.Module):
  """Self-attention over residues and a transition, each with a residual connection."""

  num_heads: int

  @nn.compact
  def __call__(self, hidden: jax.Array, mask: jax.Array, bias: jax.Array) -> tuple[jax.Array, None]:
    """Hidden [T, L, D], mask [L], bias [H, L, L] -> ([T, L, D], None)."""
    hidden = SpatialAttention(self.num_heads, name='attention')(hidden, mask, bias)
    return Transition(name='transition')(hidden), None


def _repeated(block: type[nn.Module], count: int, num_inputs: int) -> Any:
  """The block `count` times in a row, each with its own parameters, compiled once."""
  return nn.scan(
    block,
    variable_axes={'params': 0},
    split_rngs={'params': True},
    in_axes=(nn.broadcast,) * num_inputs,
    length=count,
  )


class TemporalGRU(nn.Module):
  """GRU layers over frames, per residue; an unknown frame leaves the hidden state as it was."""

  num_layers: int

  @nn.compact
  def __call__(self, x: jax.Array, known: jax.Array) -> jax.Array:
    """X [T, L, D], known [T] bool -> [T, L, D]."""
    channels = x.shape[-1]
    for layer in range(self.num_layers):
      cell = nn.GRUCell(channels, name=f'layer_{layer}')
      hidden = jnp.zeros_like(x[0])
      outputs = []
      # T is 2: unrolled, XLA fuses the two cells.
      for t in range(x.shape[0]):
        updated, _ = cell(hidden, x[t])
        hidden = jnp.where(known[t], updated, hidden)
        outputs.append(hidden)
      x = jnp.stack(outputs)
    return x


class SpatiotemporalEncoder(nn.Module):
  """A window of T conformations -> hidden features per frame and residue.

  Attributes:
    config: the `encoder` section of the model's configuration.
  """

  config: Any

  @nn.compact
  def __call__(
    self,
    features: jax.Array,
    frames: rigid.Rigid,
    known: jax.Array,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    dt_ns: jax.Array,
    temperature_K: jax.Array,
  ) -> jax.Array:
    """Encodes a window.

    Args:
      features: [T, L, F] numbers per residue and frame (the paper's 13, or invariant ones).
      frames: [T, L] residue frames, Å, centred near the origin.
      known: [T] bool, False where a frame is a placeholder.
      protein: residues of one protein, [L] each.
      sigma: [] noise scale.
      dt_ns: [] time step, ns.
      temperature_K: [] temperature, K.

    Returns:
      [T, L, D]; row t has seen frames 0 ... t.
    """
    config = self.config
    mask = protein.mask
    condition = embeddings.ConditionEmbedding(config.channels, name='condition')(
      sigma, dt_ns, temperature_K
    )
    sequence = embeddings.ResidueEmbedding(config.channels, name='sequence')(protein)
    # [L, D] + [D]; "s" and Embed(sigma_noise) of Algorithm 1.
    context = sequence + condition[None, :]

    hidden = nn.Dense(config.channels, name='state_hidden')(features)
    hidden = nn.Dense(config.channels, name='state_out')(nn.silu(hidden))
    hidden = hidden + context[None, :, :]
    if config.num_neighbours:
      local = surroundings.Surroundings(config.channels, config.num_neighbours, name='surroundings')
      hidden = hidden + local(frames, protein)

    ipa_blocks = _repeated(IPABlock, config.num_ipa_blocks, 3)
    hidden, _ = ipa_blocks(config, name='ipa_blocks')(hidden, context, frames, mask)
    bias = embeddings.RelativePositionBias(config.num_heads, name='relative_position')(protein)
    attention_blocks = _repeated(AttentionBlock, config.num_attention_blocks, 2)
    hidden, _ = attention_blocks(config.num_heads, name='attention_blocks')(hidden, mask, bias)

    hidden = nn.LayerNorm(name='temporal_norm')(hidden)
    return TemporalGRU(config.num_gru_layers, name='gru')(hidden, known)

"""The spatiotemporal encoder: IPA, attention over residues, GRU over frames (paper, section 4)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from tempo_jax.encoder import attention, embeddings, invariant_point_attention, surroundings
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib


class Transition(nn.Module):
  """Pre-norm two-layer perceptron with a residual connection, in the format `dtype`."""

  dtype: Any
  factor: int = 2

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] -> [..., D]."""
    channels = x.shape[-1]
    hidden = nn.LayerNorm(name='norm')(x)
    hidden = nn.silu(nn.Dense(self.factor * channels, dtype=self.dtype, name='hidden')(hidden))
    return x + nn.Dense(channels, dtype=self.dtype, name='out')(hidden)


class SpatialAttention(nn.Module):
  """Pre-norm multi-head self-attention over residues with a residual connection."""

  num_heads: int
  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
    """X [..., L, D], bias [H, L, L], far below zero for padding -> [..., L, D]."""
    heads, channels = self.num_heads, x.shape[-1] // self.num_heads
    normed = nn.LayerNorm(name='norm')(x)
    qkv = nn.DenseGeneral((3, heads, channels), use_bias=False, dtype=self.dtype, name='qkv')
    # Each [..., H, L, C].
    q, k, v = jnp.moveaxis(jnp.swapaxes(qkv(normed), -4, -2), -3, 0)
    out = attention.attend(q * (channels**-0.5), k, v, bias)
    out = jnp.swapaxes(out, -2, -3).reshape(x.shape)
    return x + nn.Dense(x.shape[-1], dtype=self.dtype, name='out')(out)


class IPABlock(nn.Module):
  """Invariant point attention and a transition, each with a residual connection."""

  config: Any
  dtype: Any

  @nn.compact
  def __call__(
    self, hidden: jax.Array, context: jax.Array, frames: rigid.Rigid, mask: jax.Array
  ) -> tuple[jax.Array, None]:
    """Hidden [T, L, D], context [L, D], frames [T, L], mask [L] -> ([T, L, D], None)."""
    config = self.config
    read = hidden
    if config.ipa_reads == 'sequence':
      read = jnp.broadcast_to(context[None, :, :], hidden.shape)
    ipa = invariant_point_attention.from_config(config, self.dtype)
    hidden = hidden + ipa(nn.LayerNorm(name='norm')(read), frames, mask)
    return Transition(self.dtype, name='transition')(hidden), None


class AttentionBlock(nn.Module):
  """Self-attention over residues and a transition, each with a residual connection."""

  num_heads: int
  dtype: Any

  @nn.compact
  def __call__(self, hidden: jax.Array, bias: jax.Array) -> tuple[jax.Array, None]:
    """Hidden [T, L, D], bias [H, L, L] -> ([T, L, D], None)."""
    hidden = SpatialAttention(self.num_heads, self.dtype, name='attention')(hidden, bias)
    return Transition(self.dtype, name='transition')(hidden), None


def repeated(block: type[nn.Module], count: int, num_inputs: int) -> Any:
  """The block `count` times in a row, each with its own parameters, compiled once.

  In the backward pass each is computed anew: half the memory of a training step of the paper's
  size, and on a CPU no more time (5-20 % less), since it would else wait for memory.
  """
  return nn.scan(
    # A loop needs no barrier to keep what is computed anew apart.
    nn.remat(block, prevent_cse=False),
    variable_axes={'params': 0},
    split_rngs={'params': True},
    in_axes=(nn.broadcast,) * num_inputs,
    length=count,
  )


def _orthogonal_gates(rng: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
  """[D, 3 D]: an orthogonal matrix for each gate."""
  square = shape[0], shape[0]
  gates = [nn.initializers.orthogonal()(key, square, dtype) for key in jax.random.split(rng, 3)]
  return jnp.concatenate(gates, axis=1)


class GRULayer(nn.Module):
  """A gated recurrent unit over frames (Cho et al., 2014), its gates in one product.

  With the gates r, z = sigmoid(W x + b + U h), the candidate n = tanh(W x + b + r (U h + c)) and
  h' = (1 - z) n + z h, as `flax.linen.GRUCell`.
  """

  dtype: Any

  @nn.compact
  def __call__(self, x: jax.Array, known: jax.Array) -> jax.Array:
    """X [T, L, D], known [T] bool -> [T, L, D]; an unknown frame leaves the state as it was."""
    channels = x.shape[-1]
    inputs = nn.Dense(3 * channels, dtype=self.dtype, name='input')(x).astype(x.dtype)
    recurrent = nn.Dense(
      3 * channels,
      use_bias=False,
      kernel_init=_orthogonal_gates,
      dtype=self.dtype,
      name='recurrent',
    )
    offset = self.param('candidate_bias', nn.initializers.zeros, (channels,))
    hidden = jnp.zeros_like(x[0])
    outputs: list[jax.Array] = []
    # T is 2: unrolled, and what comes from the first state, zero, needs no product.
    for t in range(x.shape[0]):
      reset, update, candidate = jnp.split(inputs[t], 3, axis=-1)
      remembered = jnp.broadcast_to(offset, candidate.shape)
      if outputs:
        states = jnp.split(recurrent(hidden).astype(x.dtype), 3, axis=-1)
        reset, update, remembered = reset + states[0], update + states[1], remembered + states[2]
      candidate = jnp.tanh(candidate + nn.sigmoid(reset) * remembered)
      update = nn.sigmoid(update)
      hidden = jnp.where(known[t], (1.0 - update) * candidate + update * hidden, hidden)
      outputs.append(hidden)
    return jnp.stack(outputs)


class SpatiotemporalEncoder(nn.Module):
  """A window of T conformations -> hidden features per frame and residue.

  The products of matrices are computed in `dtype`, but for those that read geometry; parameters,
  norms, logits, what is carried from block to block and the result are float32.

  Attributes:
    config: the `encoder` section of the model's configuration.
    dtype: float32 or bfloat16.
  """

  config: Any
  dtype: Any = jnp.float32

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
    side_chains: jax.Array | None = None,
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
      side_chains: [T, L, S] what neighbours see of a residue's side chain; or None.

    Returns:
      [T, L, D]; row t has seen frames 0 ... t.
    """
    config, dtype, mask = self.config, self.dtype, protein.mask
    condition = embeddings.ConditionEmbedding(config.channels, config.solvent, name='condition')(
      sigma, dt_ns, temperature_K, protein
    )
    embed = embeddings.ResidueEmbedding(config.channels, config.disulphides, name='sequence')
    sequence = embed(protein)
    # [L, D] + [D]; "s" and Embed(sigma_noise) of Algorithm 1.
    context = sequence + condition[None, :]

    # Differences of orientations are small against one: they are read in true float32.
    read = nn.Dense(config.channels, precision=jax.lax.Precision.HIGHEST, name='state_hidden')
    hidden = nn.Dense(config.channels, dtype=dtype, name='state_out')(nn.silu(read(features)))
    hidden = hidden + context[None, :, :]
    if config.num_neighbours:
      local = surroundings.Surroundings(
        config.channels, config.num_neighbours, config.disulphides, dtype, name='surroundings'
      )
      hidden = hidden + local(frames, protein, side_chains)

    ipa_blocks = repeated(IPABlock, config.num_ipa_blocks, 3)
    hidden, _ = ipa_blocks(config, dtype, name='ipa_blocks')(hidden, context, frames, mask)
    bias = embeddings.RelativePositionBias(config.num_heads, name='relative_position')(protein)
    bias = bias + jnp.broadcast_to(attention.mask_bias(mask), bias.shape)
    attention_blocks = repeated(AttentionBlock, config.num_attention_blocks, 1)
    hidden, _ = attention_blocks(config.num_heads, dtype, name='attention_blocks')(hidden, bias)

    hidden = nn.LayerNorm(name='temporal_norm')(hidden)
    for layer in range(config.num_gru_layers):
      hidden = GRULayer(dtype, name=f'gru_{layer}')(hidden, known)
    return hidden

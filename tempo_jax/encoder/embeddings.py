"""What the encoder knows before it looks at coordinates: sequence, chain, time step, noise."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax.protein import protein as protein_lib

# Relative positions beyond this many residues look alike (AlphaFold 2, Suppl. Alg. 4).
_MAX_RELATIVE_POSITION = 32
# Temperature acts smoothly: octaves that a model trained at one or a few temperatures can
# interpolate between.
_OCTAVES, _TEMPERATURE_OCTAVES = 8, 2


def relative_position(
  protein: protein_lib.ProteinArrays, max_distance: int = _MAX_RELATIVE_POSITION
) -> jax.Array:
  """Classes of residue pairs by their distance along the chain.

  Returns:
    [L, L] int32 in 0 ... 2 max_distance + 1; the last class is 'another chain'. In a ring the
    shorter way around counts.
  """
  index, chain = protein.residue_index, protein.chain_index
  offset = index[None, :] - index[:, None]
  if protein.ring is not None:
    offset = _shorter_way(offset, protein)
  offset = jnp.clip(offset, -max_distance, max_distance)
  same_chain = chain[None, :] == chain[:, None]
  return jnp.where(same_chain, offset + max_distance, 2 * max_distance + 1)


def _shorter_way(offset: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """Offsets [L, L], within rings from minus half of their length on."""
  index, chain, ring = (
    jnp.asarray(x) for x in (protein.residue_index, protein.chain_index, protein.ring)
  )
  lengths = jnp.where(ring < 0, 0, index - index[ring] + 1)
  # [L], of the ring that a residue is in, or 0.
  length = jnp.max(jnp.where(chain[:, None] == chain[None, :], lengths[None, :], 0), axis=1)
  period = jnp.maximum(length, 1)[:, None]
  half = period // 2
  return jnp.where(length[:, None] > 0, (offset + half) % period - half, offset)


class RelativePositionBias(nn.Module):
  """One learned attention bias per head and class of relative position."""

  num_heads: int

  @nn.compact
  def __call__(self, protein: protein_lib.ProteinArrays) -> jax.Array:
    """Returns [H, L, L] biases."""
    classes = 2 * _MAX_RELATIVE_POSITION + 2
    table = self.param('table', nn.initializers.zeros, (classes, self.num_heads))
    return jnp.moveaxis(table[relative_position(protein)], -1, 0)


class ResidueEmbedding(nn.Module):
  """Residue type, and which side of the residue is free (an end of a chain or a break).

  Attributes:
    channels: D.
    disulphides: whether a cysteine in a disulphide is another one; by nothing before training.
  """

  channels: int
  disulphides: bool = False

  @nn.compact
  def __call__(self, protein: protein_lib.ProteinArrays) -> jax.Array:
    """Returns [L, D]."""
    bonds = protein.bonds
    ends = jnp.stack([bonds.to_previous, bonds.to_next], axis=-1).astype(jnp.float32)
    types = nn.Embed(len(protein_lib.RESIDUE_TYPES), self.channels, name='type')
    embedded = types(protein.residue_type) + nn.Dense(self.channels, name='ends')(ends)
    if self.disulphides:
      difference = self.param('disulphide', nn.initializers.zeros, (self.channels,))
      if protein.disulphides is not None:
        joined = jnp.asarray(protein.disulphides)[:, None] >= 0
        embedded = embedded + jnp.where(joined, difference[None], 0.0)
    return embedded


def _fourier(x: jax.Array, octaves: int) -> jax.Array:
  """[...] -> [..., 2 octaves], sines and cosines of x, 2 x, 4 x, ..., for x of order one."""
  phase = x[..., None] * np.float32(2.0) ** np.arange(octaves, dtype=np.float32)
  return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)


class ConditionEmbedding(nn.Module):
  """Noise scale sigma, time step (ns), temperature (K) and solvent, each a scalar, to one vector.

  Attributes:
    channels: D.
    solvent: whether the solvent is seen; by nothing before training.
  """

  channels: int
  solvent: bool = False

  @nn.compact
  def __call__(
    self,
    sigma: jax.Array,
    dt_ns: jax.Array,
    temperature_K: jax.Array,
    protein: protein_lib.ProteinArrays,
  ) -> jax.Array:
    """Returns [D]."""
    # Scaled so that the ranges of use (sigma 0.01-5, dt 1 ps-1 us, 270-450 K) span order one.
    features = jnp.concatenate(
      [
        _fourier(jnp.log(sigma + 1e-3) / 8.0, _OCTAVES),
        _fourier(jnp.log(dt_ns) / 8.0, _OCTAVES),
        _fourier((temperature_K - 300.0) / 100.0, _TEMPERATURE_OCTAVES),
      ]
    )
    hidden = nn.silu(nn.Dense(self.channels, name='hidden')(features))
    out = nn.Dense(self.channels, name='out')(hidden)
    if self.solvent:
      shape = len(protein_lib.SOLVENTS), self.channels
      table = self.param('solvent', nn.initializers.zeros, shape)
      out = out + table[protein.known_solvent]
    return out

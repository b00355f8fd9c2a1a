"""Features of a residue's local surroundings: who is near, in which direction, how turned.

The paper's IPA sees no pair features. Gathering the few nearest residues gives it the local
geometry at a cost of O(L k) instead of O(L^2).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax.encoder import embeddings
from tempo_jax.geometry import neighbours, rigid
from tempo_jax.protein import protein as protein_lib

_CUTOFF = 16.0  # Å
# Å; nearer than this two residues stand on one spot: no direction, no gradient.
_SHORTEST = 1e-2
_NUM_RADIAL = 8
_MAX_DEGREE = 2
_MAX_OFFSET = 4
_HIDDEN_CHANNELS = 64


def weighted_neighbours(
  origins: jax.Array, mask: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
  """The `count` nearest other residues of each residue, with smooth weights.

  Args:
    origins: [L, 3] CA positions, Å.
    mask: [L] bool.
    count: neighbours per residue.

  Returns:
    [L, k] int32 indices and [L, k] weights in [0, 1]; k = min(count, L - 1). A weight is zero
    for padding, beyond 16 Å, and at the distance of the first residue not on the list, so that
    nothing jumps when two residues change places there.
  """
  length = origins.shape[0]
  count = min(count, length - 1)
  # One more than asked for: its distance is where the weights must have reached zero.
  listed = min(count + 1, length - 1)
  indices, found = neighbours.nearest(origins, mask, listed)
  # Squares throughout: a root has no gradient where two CA coincide.
  squared = jnp.sum((origins[indices] - origins[:, None, :]) ** 2, axis=-1)
  squared = jnp.where(found, squared, _CUTOFF**2)
  reach = jnp.full((length, 1), _CUTOFF**2, origins.dtype)
  if listed > count:
    reach = jnp.clip(squared[:, -1:], _SHORTEST**2, _CUTOFF**2)
  weights = jnp.clip(1.0 - squared[:, :count] / reach, 0.0) ** 2
  return indices[:, :count], jnp.where(found[:, :count], weights, 0.0)


def radial_basis(distance: jax.Array) -> jax.Array:
  """Overlapping Gaussians from 2 to 16 Å of distances [...], Å: [..., 8].

  The same as `e3nn_jax.soft_one_hot_linspace(..., basis='gaussian', cutoff=False)`, which
  promotes ranks silently.
  """
  centres = np.linspace(2.0, _CUTOFF, _NUM_RADIAL, dtype=np.float32)
  offset = distance[..., None] - centres.reshape((1,) * distance.ndim + (-1,))
  return jnp.exp(-((offset / (centres[1] - centres[0])) ** 2)) / 1.12


def _with_partner(
  indices: jax.Array, weights: jax.Array, partner: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Neighbours [L, k + 1]: that at the other end of a disulphide comes last, with weight 1."""
  joined = partner >= 0
  # It counts once.
  weights = jnp.where(joined[:, None] & (indices == partner[:, None]), 0.0, weights)
  indices = jnp.concatenate([indices, jnp.maximum(partner, 0)[:, None]], axis=1)
  return indices, jnp.concatenate([weights, joined[:, None].astype(weights.dtype)], axis=1)


def _neighbour_geometry(
  frames: rigid.Rigid, protein: protein_lib.ProteinArrays, count: int, disulphides: bool
) -> tuple[jax.Array, jax.Array, rigid.Rigid]:
  """Indices [L, k], weights [L, k] and frames of the neighbours in the residue's own frame."""
  indices, weights = weighted_neighbours(frames.translation, protein.mask, count)
  if disulphides and protein.disulphides is not None:
    indices, weights = _with_partner(indices, weights, jnp.asarray(protein.disulphides))
  return indices, weights, frames[:, None].inverse() @ frames[indices]


class Surroundings(nn.Module):
  """Sums messages from near residues; invariant to global motion.

  A message sees the neighbour's direction in the residue's own frame as real spherical
  harmonics (e3nn, component-normalised, l <= 2) times a radial basis, its relative
  orientation, type, side chain and offset along the chain. The residue to which a disulphide joins
  one is always among its neighbours.

  Attributes:
    channels: D of the output.
    num_neighbours: k.
    disulphides: whether the other half of a disulphide is always among them.
    dtype: of the products that do not read geometry themselves.
  """

  channels: int
  num_neighbours: int
  disulphides: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    frames: rigid.Rigid,
    protein: protein_lib.ProteinArrays,
    side_chains: jax.Array | None = None,
  ) -> jax.Array:
    """Frames [T, L], Å, and what is seen of side chains [T, L, S] -> [T, L, D]."""
    # Imported here: e3nn takes most of a second, and not every user of the package needs it.
    import e3nn_jax as e3nn

    indices, weights, relative = jax.vmap(
      lambda f: _neighbour_geometry(f, protein, self.num_neighbours, self.disulphides)
    )(frames)  # [T, L, k]
    apart = jnp.sum(relative.translation**2, axis=-1) > _SHORTEST**2
    vector = jnp.where(((weights > 0) & apart)[..., None], relative.translation, 1.0)
    harmonics = e3nn.spherical_harmonics(
      list(range(1, _MAX_DEGREE + 1)),
      e3nn.IrrepsArray('1o', vector),
      normalize=True,
      normalization='component',
    ).array  # [T, L, k, 3 + 5]
    radial = radial_basis(jnp.sqrt(jnp.sum(vector**2, axis=-1)))  # [T, L, k, 8]
    offset = embeddings.relative_position(protein, _MAX_OFFSET)
    offset = jax.vmap(lambda i: jnp.take_along_axis(offset, i, axis=1))(indices)
    types = nn.Embed(len(protein_lib.RESIDUE_TYPES), 16, name='type')(protein.residue_type)
    lead = radial.shape[:-1]
    features = [
      radial,
      (radial[..., :, None] * harmonics[..., None, :]).reshape(*lead, -1),
      relative.rotation.reshape(*lead, 9),
      types[indices],
      jax.nn.one_hot(offset, 2 * _MAX_OFFSET + 2, dtype=radial.dtype),
    ]
    if side_chains is not None:
      features.append(jax.vmap(lambda seen, i: seen[i])(side_chains, indices))
    read = nn.Dense(_HIDDEN_CHANNELS, precision=jax.lax.Precision.HIGHEST, name='hidden_1')
    hidden = nn.Dense(_HIDDEN_CHANNELS, dtype=self.dtype, name='hidden_2')(
      nn.silu(read(jnp.concatenate(features, axis=-1)))
    )
    total = jnp.sum(nn.silu(hidden) * weights[..., None], axis=-2)
    return nn.Dense(self.channels, dtype=self.dtype, name='out')(total)

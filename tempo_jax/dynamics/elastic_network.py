"""An elastic network about a reference conformation: how residues move together before anything
is learnt.

Every CA is held by springs to its neighbours (anisotropic network model: Atilgan et al., Biophys.
J. 80, 505 (2001)), of constant (6 Å / r)^2 as in Yang, Song & Jernigan, PNAS 106, 12347 (2009),
fading to zero between 13 and 15 Å, stiff along the chain and over disulphides, and less so between
residues two apart, which keeps the angles of the chain. Thermal motion has the inverse of the
Hessian as covariance.

Everything is written in the residue frames of the reference: the Hessian and its root are then
invariants, and three normal numbers per residue make a draw that turns with the protein and that a
mirror image does not share.
"""

import dataclasses

import jax
import jax.numpy as jnp

from tempo_jax.geometry import backbone, rigid
from tempo_jax.protein import protein as protein_lib

# Å: springs are 1 at this distance, and fade between these two.
_UNIT, _FADING, _CUTOFF = 6.0, 13.0, 15.0
# Of the chain and of disulphides, in the same units; and the least between residues two apart.
_BONDED, _ANGLE = 100.0, 10.0
# Stiffness of rigid motions, which the network must not make, and of every residue: components of
# tails and of parts that hang on little have a spread of 4 Å at most, at unit amplitude.
_RIGID, _LEAST = 100.0, 0.06
_HIGHEST = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ElasticNetwork:
  """Of one protein, about its reference.

  Attributes:
    frames: [L] residue frames of the reference.
    root: [3 L, 3 L] Å, a root of the covariance at unit amplitude, in these frames: three normal
      numbers per residue become displacements. Zero in padding.
    spread: [L] Å, root mean square of a component; 1 in padding.
  """

  frames: rigid.Rigid
  root: jax.Array
  spread: jax.Array

  def displacements(self, normal: jax.Array) -> jax.Array:
    """Normal numbers [..., L, 3] -> displacements [..., L, 3] Å, in the reference's own pose."""
    flat = normal.reshape(*normal.shape[:-2], -1)
    local = jnp.matmul(flat, self.root.T, precision=_HIGHEST).reshape(normal.shape)
    rotation = jnp.broadcast_to(self.frames.rotation, (*local.shape, 3))
    return jnp.sum(rotation * local[..., None, :], axis=-1)


def springs(ca: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """[L, L] constants of the springs between residues; 0 where there is none.

  Args:
    ca: [L, 3] Å.
    protein: [L] residues; its positions are not read.
  """
  mask, index = jnp.asarray(protein.mask), jnp.arange(ca.shape[0])
  square = jnp.sum((ca[:, None] - ca[None]) ** 2, axis=-1)
  distance = jnp.sqrt(jnp.maximum(square, 1.0))
  constant = (_UNIT / distance) ** 2 * jnp.clip(
    (_CUTOFF - distance) / (_CUTOFF - _FADING), 0.0, 1.0
  )
  bonds = protein.bonds

  def joined(there: jax.Array, partner: jax.Array) -> jax.Array:
    pairs = there[:, None] & (partner[:, None] == index[None])
    return pairs | pairs.T

  angle = joined(bonds.to_next & bonds.after(bonds.to_next, 0), bonds.after(bonds.following, 0))
  bonded = joined(bonds.to_next, bonds.following)
  if protein.disulphides is not None:
    partner = jnp.asarray(protein.disulphides)
    bonded = bonded | joined(partner >= 0, partner)
  constant = jnp.where(angle, jnp.maximum(constant, _ANGLE), constant)
  constant = jnp.where(bonded, _BONDED, constant)
  there = mask[:, None] & mask[None] & (index[:, None] != index[None])
  return jnp.where(there, constant, 0.0)


def hessian(ca: jax.Array, constant: jax.Array) -> jax.Array:
  """[L, 3, L, 3] second derivatives of the energy of springs [L, L] between points [L, 3] Å."""
  between = ca[:, None] - ca[None]
  square = jnp.maximum(jnp.sum(between**2, axis=-1), 1e-6)
  blocks = -(constant / square)[..., None, None] * between[..., :, None] * between[..., None, :]
  own = -jnp.sum(blocks, axis=1)
  index = jnp.arange(ca.shape[0])
  return jnp.moveaxis(blocks.at[index, index].set(own), 1, 2)


def _rigid_motions(ca: jax.Array, mask: jax.Array) -> jax.Array:
  """[6, L, 3]: translations and rotations of all, of about unit length; 0 in padding."""
  weight = mask.astype(ca.dtype)[:, None]
  count = jnp.maximum(jnp.sum(weight), 1.0)
  centred = (ca - jnp.sum(ca * weight, axis=0, keepdims=True) / count) * weight
  axes = jnp.eye(3, dtype=ca.dtype)
  shifts = jnp.broadcast_to(axes[:, None], (3, *ca.shape)) * weight[None] / jnp.sqrt(count)
  turns = jnp.cross(axes[:, None], jnp.broadcast_to(centred, (3, *ca.shape)))
  # One unit for all three axes: the sum of their squares does not depend on how they lie.
  length = jnp.sqrt(jnp.maximum(jnp.sum(centred**2), 1.0))
  return jnp.concatenate([shifts, turns / length])


def of_reference(
  positions: jax.Array, protein: protein_lib.ProteinArrays, root: jax.Array | None = None
) -> ElasticNetwork:
  """The network about a conformation.

  No gradient flows through it.

  Args:
    positions: [L, 4, 3] Å, N, CA, C, O.
    protein: [L] residues; its positions are not read.
    root: `root_of` the same; None: computed.
  """
  frames = backbone.frames_from_atoms(jax.lax.stop_gradient(jnp.asarray(positions)))
  if root is None:
    root = root_of(positions, protein)
  mask = jnp.asarray(protein.mask)
  variance = jnp.mean(jnp.sum(root**2, axis=1).reshape(-1, 3), axis=-1)
  return ElasticNetwork(frames, root, jnp.where(mask, jnp.sqrt(variance), 1.0))


def root_of(positions: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """`ElasticNetwork.root` [3 L, 3 L] Å: what costs time, once per protein.

  Without a batch LAPACK does it; XLA's own triangular solve takes a minute to compile.

  Args:
    positions: [L, 4, 3] Å, N, CA, C, O.
    protein: [L] residues; its positions are not read.
  """
  frames = backbone.frames_from_atoms(jax.lax.stop_gradient(jnp.asarray(positions)))
  ca, turn, mask = frames.translation, frames.rotation, jnp.asarray(protein.mask)
  length = ca.shape[0]
  stiffness = hessian(ca, springs(ca, protein))
  moved = _rigid_motions(ca, mask)
  stiffness = stiffness + _RIGID * jnp.einsum('kix,kjy->ixjy', moved, moved, precision=_HIGHEST)
  local = jnp.einsum('iax,iajb,jby->ixjy', turn, stiffness, turn, precision=_HIGHEST)
  local = local.reshape(3 * length, 3 * length)
  there = jnp.repeat(mask, 3)
  local = local + jnp.diag(jnp.where(there, _LEAST, 1.0).astype(local.dtype))
  lower = jnp.linalg.cholesky(local, symmetrize_input=False)
  unit = jnp.eye(3 * length, dtype=local.dtype)
  inverse = jax.scipy.linalg.solve_triangular(lower, unit, lower=True)
  return jnp.where(there[:, None] & there[None], inverse.T, 0.0)

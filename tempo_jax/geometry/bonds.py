"""Peptide bonds along chains that may be rings: who follows whom.

Functions here and elsewhere that are given `bonded` take either a plain array, [..., L] bool, that
says which residues have a peptide bond to the next one, or `Bonds`, where the last residue of a
ring (head to tail) is followed by its first one. Programs for plain chains hold no trace of rings.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NO_RING = -1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bonds:
  """Which residues are bonded to the one that follows them, and which that is.

  Attributes:
    to_next: [..., L] bool, [L] where there are rings: a residue has a peptide bond to the one that
      follows it.
    ring: [L] int32: at the last residue of a ring the index of its first one, which follows it,
      elsewhere -1: the next residue follows. None: there are no rings.
  """

  to_next: Any
  ring: Any = None

  def broadcast(self, shape: tuple[int, ...]) -> 'Bonds':
    """The same for residues [..., L]; nothing but a ring's first residue follows the last one."""
    to_next = jnp.broadcast_to(jnp.asarray(self.to_next), shape)
    if self.ring is None:
      return Bonds(to_next.at[..., -1].set(False))
    last = jnp.arange(shape[-1]) == shape[-1] - 1
    open_end = last & (jnp.asarray(self.ring) < 0)
    return Bonds(to_next & ~jnp.broadcast_to(open_end, shape), self.ring)

  @property
  def following(self) -> jax.Array:
    """[L] index of the residue that follows; of the last one 0."""
    length = self.to_next.shape[-1]
    after = jnp.roll(jnp.arange(length), -1)
    return after if self.ring is None else jnp.where(self.ring < 0, after, self.ring)

  @property
  def preceding(self) -> jax.Array:
    """[L] index of the residue before; of the first one the last."""
    length = self.to_next.shape[-1]
    before = jnp.roll(jnp.arange(length), 1)
    if self.ring is None:
      return before
    first = jnp.where(self.ring < 0, length, self.ring)
    return before.at[first].set(jnp.arange(length), mode='drop')

  @property
  def to_previous(self) -> jax.Array:
    """[..., L] bool: the residue before has a peptide bond to this one."""
    if self.ring is None:
      return jnp.roll(self.to_next, 1, axis=-1).at[..., 0].set(False)
    before = self.preceding
    is_next = self.following[before] == jnp.arange(self.to_next.shape[-1])
    bonded = jnp.take(self.to_next, before, axis=-1)
    return bonded & jnp.broadcast_to(is_next, bonded.shape)

  def after(self, x: jax.Array, axis: int) -> jax.Array:
    """X of the residue that follows; where none is bonded, of some other one."""
    if self.ring is None:
      return jnp.roll(x, -1, axis=axis)
    return jnp.take(x, self.following, axis=axis)

  def before(self, x: jax.Array, axis: int) -> jax.Array:
    """X of the residue before; where none is bonded, of some other one."""
    if self.ring is None:
      return jnp.roll(x, 1, axis=axis)
    return jnp.take(x, self.preceding, axis=axis)


def of(bonded: Any) -> Bonds:
  """`Bonds` as they are; of an array those of chains that are no rings."""
  return bonded if isinstance(bonded, Bonds) else Bonds(bonded)


def pairs(bonded: Any) -> tuple[np.ndarray, np.ndarray]:
  """Bonded residues on the host: index [B] of each, and of the one that follows it.

  Args:
    bonded: [L] bool or `Bonds`, unpadded.
  """
  bonds = of(bonded)
  to_next = np.asarray(bonds.to_next)
  ring = np.full(len(to_next), NO_RING) if bonds.ring is None else np.asarray(bonds.ring)
  following = np.where(ring < 0, np.arange(1, len(to_next) + 1), ring)
  (first,) = np.nonzero(to_next & (following < len(to_next)))
  return first, following[first]


def followers(bonded: Any) -> np.ndarray:
  """On the host: the residue [L] that each is bonded to and that follows it, -1 where none is."""
  first, second = pairs(bonded)
  found = np.full(len(of(bonded).to_next), -1)
  found[first] = second
  return found


def rings(positions: np.ndarray, chain_index: np.ndarray, longest: float) -> np.ndarray | None:
  """Chains whose last C is bonded to their first N.

  Args:
    positions: [L, 4, 3] Å, N, CA, C, O.
    chain_index: [L].
    longest: Å, of a bond.

  Returns:
    [L] int32, `Bonds.ring`; None if there is none. Of two residues there is no ring.
  """
  ring = np.full(len(chain_index), NO_RING, np.int32)
  for chain in np.unique(chain_index):
    first, last = np.flatnonzero(chain_index == chain)[[0, -1]].tolist()
    length = np.linalg.norm(positions[first, 0] - positions[last, 2])
    if last > first + 1 and length < longest:
      ring[last] = first
  return ring if (ring != NO_RING).any() else None

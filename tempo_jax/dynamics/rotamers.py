"""Side chains in the state: their torsions chi 1-4, and how those turn from frame to frame.

A torsion with the period pi (the flip of a ring, of a carboxylate) is no motion: everything here
works on phases, chi times 2 pi over its period, so that both images are one. Turns start from the
image at hand: what is written goes on from the image before.

The noise that a turn begins with is what a turn is at the level's time step: small within a
rotamer, and with the probability of a hop anywhere on the circle (wrapped normal and uniform).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import level as level_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

NUM_CHI = 4
NUM_FEATURES = 3 * NUM_CHI
_ALL_TYPES = np.arange(len(protein_lib.RESIDUE_TYPES))
_FREE = side_chain_atoms.chi_mask(_ALL_TYPES)
_STAGGERED = side_chain_atoms.staggered_mask(_ALL_TYPES)
_PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')
# Radians. Of chi between tetrahedral carbons, MD has half within 9 degrees of staggered, 90 %
# within 21, 98 % within 32. What is drawn farther than the knee is brought back by a part.
_KNEE, _BEYOND = np.deg2rad(18.0).astype(np.float32), np.float32(0.4)
# The chi1 of a proline's ring.
_LARGEST_OF_PROLINE = np.deg2rad(40.0).astype(np.float32)
_PER_PERIOD = np.float32(2.0 * np.pi) / side_chain_atoms.chi_period(_ALL_TYPES).astype(np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SideChains:
  """Conformations of side chains.

  Attributes:
    chi: [..., L, 4] radians; 0 where there is none, or it is not known.
    known: [..., L, 4] bool.
  """

  chi: jax.Array
  known: jax.Array

  def unless(self, hidden: jax.Array) -> 'SideChains':
    """The same, or unknown where `hidden` [] is true."""
    return SideChains(jnp.where(hidden, 0.0, self.chi), self.known & ~hidden)


def free(residue_type: jax.Array) -> jax.Array:
  """[L, 4] bool: the torsions that residues of these types [L] have, and no ring fixes."""
  return jnp.asarray(_FREE)[residue_type]


def _per_period(residue_type: jax.Array, angles: jax.Array) -> jax.Array:
  """Phase per angle, of the shape of the angles [..., L, 4]."""
  return jnp.broadcast_to(jnp.asarray(_PER_PERIOD)[residue_type], angles.shape)


def unknown(residue_type: jax.Array) -> SideChains:
  """Side chains [L] of which nothing is known."""
  shape = (*jnp.shape(residue_type), NUM_CHI)
  return SideChains(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool))


def of_protein(protein: protein_lib.ProteinArrays) -> SideChains:
  """Side chains [L] of the conformation of a protein."""
  if protein.chi is None:
    return unknown(protein.residue_type)
  return SideChains(jnp.asarray(protein.chi), jnp.asarray(protein.chi_known))


def _phases(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  return side_chains.chi * _per_period(residue_type, side_chains.chi)


def wrapped(angle: jax.Array) -> jax.Array:
  """The same angle in -pi to pi, radians."""
  return jnp.arctan2(jnp.sin(angle), jnp.cos(angle))


def features(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """[..., L, 12]: sines and cosines of the phases, zero where unknown, and what is known."""
  phase = _phases(side_chains, residue_type)
  numbers = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
  known = jnp.concatenate([side_chains.known, side_chains.known], axis=-1)
  return jnp.concatenate(
    [jnp.where(known, numbers, 0.0), side_chains.known.astype(numbers.dtype)], axis=-1
  )


def turns(before: SideChains, after: SideChains, residue_type: jax.Array) -> jax.Array:
  """The phases [..., L, 4] in -pi to pi by which side chains turn; from 0 where unknown before."""
  return wrapped(_phases(after, residue_type) - _phases(before, residue_type))


def turned(before: SideChains, phases: jax.Array, residue_type: jax.Array) -> SideChains:
  """Side chains turned by phases [..., L, 4]; afterwards every torsion that is free is known."""
  chi = before.chi + wrapped(phases) / _per_period(residue_type, phases)
  there = jnp.broadcast_to(free(residue_type), chi.shape)
  return SideChains(jnp.where(there, wrapped(chi), 0.0), there)


def jittered(side_chains: SideChains, phases: jax.Array, residue_type: jax.Array) -> SideChains:
  """Side chains turned by phases [..., L, 4] where they are known."""
  chi = wrapped(side_chains.chi + phases / _per_period(residue_type, phases))
  return SideChains(jnp.where(side_chains.known, chi, 0.0), side_chains.known)


def closed(side_chains: SideChains, residue_type: jax.Array) -> SideChains:
  """Side chains whose torsions are in the range of MD, as `chain_closure` does for the backbone.

  A chi between tetrahedral carbons that is drawn off staggered (-60, 60, 180 degrees) by more than
  18 degrees is moved towards it, by 0.6 of what is beyond: to 35 degrees where it was eclipsed. The
  ring of a proline stays closed. The derivative leaves that motion out.

  Args:
    side_chains: [..., L].
    residue_type: [L].
  """
  chi = jax.lax.stop_gradient(side_chains.chi)
  third = np.float32(2.0 * np.pi / 3.0)
  # -60, 60 and 180 degrees are the odd multiples of 60.
  off = jnp.mod(chi, third) - third / 2.0
  beyond = jnp.sign(off) * jnp.maximum(jnp.abs(off) - _KNEE, 0.0)
  back = jnp.where(jnp.asarray(_STAGGERED)[residue_type], (_BEYOND - 1.0) * beyond, 0.0)
  ring = jnp.clip(chi, -_LARGEST_OF_PROLINE, _LARGEST_OF_PROLINE) - chi
  is_proline = (jnp.asarray(residue_type) == _PROLINE)[..., None]
  change = jnp.where(is_proline, ring, back)
  chi = wrapped(side_chains.chi + jnp.where(side_chains.known, change, 0.0))
  return SideChains(jnp.where(side_chains.known, chi, 0.0), side_chains.known)


def turn_variance(known: jax.Array, level: level_lib.Level) -> jax.Array:
  """Variance of the noise, as of the turns, where chi is `known` [...] and where it is not."""
  anywhere = np.float32(np.pi**2 / 3.0)
  at_hand = (1.0 - level.chi_hop) * level.chi_std**2 + level.chi_hop * anywhere
  return jnp.where(known, at_hand, anywhere)


def draw_noise(
  rng: jax.Array,
  num_frames: int,
  before: SideChains,
  residue_type: jax.Array,
  level: level_lib.Level,
) -> jax.Array:
  """Turns [T, L, 4] that know nothing of the protein, radians of phase; 0 where nothing is free.

  Args:
    rng: a key.
    num_frames: T.
    before: [L] side chains that turn.
    residue_type: [L].
    level: the level's scalars, with `chi_std` (rad) and `chi_hop` (probability).
  """
  length = before.chi.shape[0]
  small_rng, large_rng, hop_rng = jax.random.split(rng, 3)
  shape = (length, num_frames, NUM_CHI)
  small = level.chi_std * jax.random.normal(small_rng, shape)
  large = jax.random.uniform(large_rng, shape, minval=-np.pi, maxval=np.pi)
  hops = jax.random.uniform(hop_rng, shape) < level.chi_hop
  # Residue by residue, so that padding does not change it.
  anywhere = hops | ~before.known[:, None]
  drawn = jnp.where(free(residue_type)[:, None], jnp.where(anywhere, large, small), 0.0)
  return jnp.moveaxis(drawn, 0, 1)

"""Residues whose backbone atoms overlap are pushed apart, before their chains are closed.

Those that a disulphide joins are held together on the same occasion.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import chain_closure
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import backbone, neighbours
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry.rigid import Rigid

# Å. In MD of 14 proteins (300-400 K) no two backbone atoms of residues that are not neighbours in
# the chain came nearer than 2.53 Å (N and O). Of neighbours, the two O are judged.
_NEAREST = 2.4
# Each atom is within 2.5 Å of its CA: of residues so near that atoms can overlap, there are seldom
# more (in 5 % of BPTI's), and those further on in the list were 4 Å away.
_NUM_NEIGHBOURS = 12
_NUM_ITERATIONS = 4
# Å, between the (virtual) CB of two cysteines that a disulphide joins: in MD of BPTI 3.85 +- 0.2.
_NEAREST_CB, _FARTHEST_CB = 3.4, 4.3
# Closing the chains brings some atoms together again: it is done anew. Frames of an earlier bundled
# model with a clash, after 2, 3, 4 rounds: BPTI 1.25, 0.20, 0.25 %; ehee0053 0.12, 0.06, 0 %.
_NUM_ROUNDS = 3
_TINY = 1e-6


def separated_chains(
  states: state_lib.State,
  bonded: jax.Array | bonds_lib.Bonds,
  cis: jax.Array,
  mask: jax.Array,
  disulphides: jax.Array | None = None,
) -> tuple[Rigid, jax.Array]:
  """Pushes overlapping residues apart, holds disulphides together and closes the chains.

  Args:
    states: [T, L].
    bonded: [L] bool: residue i has a peptide bond to i + 1; or `Bonds`.
    cis: [L] bool: that bond is cis.
    mask: [L] bool, False for padding.
    disulphides: [L] int32, the partner of a residue or -1; None where there are none.

  Returns:
    Frames [T, L] and N-CA-C angles [T, L]. The derivative leaves both motions out,
    `chain_closure.closed_by_constants`.
  """

  def one_round(carry: tuple[Rigid, jax.Array], _: None) -> tuple[tuple[Rigid, jax.Array], None]:
    frames, n_ca_c = carry
    fixed, angle = jax.lax.stop_gradient(carry)
    atoms = backbone.atoms_from_frames(fixed, states.psi, bonded, angle)
    separate = functools.partial(separation, bonded=bonded, mask=mask, disulphides=disulphides)
    shift = jax.vmap(separate)(jax.lax.stop_gradient(atoms))
    apart = Rigid(frames.rotation, frames.translation + shift)
    return chain_closure.closed_by_constants(apart, n_ca_c, bonded, cis), None

  return jax.lax.scan(one_round, (states.frames, states.n_ca_c), length=_NUM_ROUNDS)[0]


def separation(
  positions: jax.Array,
  bonded: jax.Array | bonds_lib.Bonds,
  mask: jax.Array,
  num_neighbours: int = _NUM_NEIGHBOURS,
  disulphides: jax.Array | None = None,
) -> jax.Array:
  """How to move residues so that no atoms overlap of two that are not neighbours in the chain.

  Each overlapping pair moves apart by half of its overlap on either side; a residue with several
  follows their mean. That is repeated, and what is left is for the next step of the trajectory.

  Args:
    positions: [L, 4, 3] Å, N, CA, C, O.
    bonded: [L] bool: residue i has a peptide bond to i + 1; or `Bonds`.
    mask: [L] bool, False for padding.
    num_neighbours: residues nearest by CA with which a residue is compared; L - 1: with all.
    disulphides: [L] int32, the partner of a residue or -1; None where there are none. Their CB are
      kept 3.4 to 4.3 Å apart.

  Returns:
    [L, 3] Å, to be added to every atom of a residue; zeros where nothing overlaps.
  """
  length = positions.shape[0]
  if length < 2:
    return jnp.zeros((length, 3), positions.dtype)
  bonds, mask = bonds_lib.of(bonded).broadcast((length,)), jnp.asarray(mask)
  indices, found = neighbours.nearest(positions[:, 1], mask, min(num_neighbours, length - 1))
  own = jnp.arange(length)[:, None]
  following, to_next = bonds.following, bonds.to_next
  in_chain = (following[:, None] == indices) & to_next[:, None]
  in_chain |= (following[indices] == own) & to_next[indices]
  both_oxygen = np.zeros((1, 1, 4, 4), bool)
  both_oxygen[..., 3, 3] = True
  judged = found[..., None, None] & (both_oxygen | ~in_chain[..., None, None])

  def iteration(shift: jax.Array, _: None) -> tuple[jax.Array, None]:
    atoms = positions + shift[:, None]
    apart = atoms[:, None, :, None] - atoms[indices][:, :, None]  # [L, K, 4, 4, 3]
    distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + _TINY)
    overlap = jnp.where(judged, jnp.maximum(_NEAREST - distance, 0.0), 0.0)
    push = jnp.sum((0.5 * overlap / distance)[..., None] * apart, axis=(1, 2, 3))
    count = jnp.sum(overlap > 0, axis=(1, 2, 3))
    shift = shift + push / jnp.maximum(count, 1)[:, None]
    if disulphides is not None:
      shift = shift + _pull(positions + shift[:, None], jnp.asarray(disulphides))
    return shift, None

  start = jnp.zeros((length, 3), positions.dtype)
  shift, _ = jax.lax.scan(iteration, start, length=_NUM_ITERATIONS)
  return shift


def _pull(positions: jax.Array, partner: jax.Array) -> jax.Array:
  """[L, 3] Å, half of what brings the CB of partners back into their range."""
  cb = backbone.virtual_cb(positions)
  apart = cb - cb[jnp.maximum(partner, 0)]
  distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + _TINY)
  beyond = distance - jnp.clip(distance, _NEAREST_CB, _FARTHEST_CB)
  pull = -(0.5 * beyond / distance)[:, None] * apart
  return jnp.where((partner >= 0)[:, None], pull, 0.0)

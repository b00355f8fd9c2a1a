"""Residues whose atoms overlap are pushed apart, before their chains are closed.

Those that a disulphide joins are held together on the same occasion, and peptide planes turned.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import chain_closure, peptide_planes, proline_rings, side_chain_relief
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import backbone, neighbours, side_chain_table, side_chains
from tempo_jax.geometry.rigid import Rigid
from tempo_jax.protein import protein as protein_lib

# Å, N, CA, C, O, CB: 0.1 Å less than what one in 100,000 pairs of residues falls below in MD of 14
# proteins (300-400 K): of residues that are not neighbours in the chain,
_NEAREST = np.array(
  [
    [3.30, 3.35, 2.80, 2.50, 3.20],
    [3.35, 3.60, 3.60, 2.80, 3.30],
    [2.80, 3.60, 3.70, 2.95, 3.30],
    [2.50, 2.80, 2.95, 2.65, 2.80],
    [3.20, 3.30, 3.30, 2.80, 3.20],
  ],
  np.float32,
)
# and of those that are, between the first one's atoms and the second one's; 0 is not judged, since
# the bond holds it. O and C are kept as far apart as 99.95 % are in MD, O and CB as all but one in
# 100,000 are (2.9) less 0.1 Å: closing the chain brings some together again.
_NEAREST_IN_CHAIN = np.zeros((5, 5), np.float32)
_NEAREST_IN_CHAIN[3, 2:5] = 2.7, 2.65, 2.8
_NEAREST_IN_CHAIN[4, 3] = 3.2
# Each atom is within 2.5 Å of its CA: of residues so near that atoms can overlap, there are seldom
# more (in 5 % of BPTI's), and those further on in the list were 4 Å away.
_NUM_NEIGHBOURS = 12
_NUM_ITERATIONS = 6
# Å, between the (virtual) CB of two cysteines that a disulphide joins: in MD of BPTI 3.85 +- 0.2.
_NEAREST_CB, _FARTHEST_CB = 3.4, 4.3
# Closing the chains brings some atoms together again: it is done anew. Frames of an earlier bundled
# model with a clash, after 2, 3, 4 rounds: BPTI 1.25, 0.20, 0.25 %; ehee0053 0.12, 0.06, 0 %.
_NUM_ROUNDS = 3
_SIDE = 5  # The first slot beyond CB.
_TINY = 1e-6
_GLYCINE = protein_lib.RESIDUE_TYPES.index('GLY')


def separated_chains(
  states: state_lib.State, protein: protein_lib.ProteinArrays, cis: jax.Array
) -> tuple[Rigid, jax.Array]:
  """Pushes overlapping residues apart, holds disulphides together, turns planes, closes chains.

  Args:
    states: [T, L].
    protein: [L] residues; its positions are not read.
    cis: [L] bool: the peptide bond to the next residue is cis.

  Returns:
    Frames [T, L] and N-CA-C angles [T, L]. The derivative leaves these motions out,
    `chain_closure.closed_by_constants`.
  """
  bonds = protein.bonds
  is_proline = jnp.asarray(protein.residue_type) == proline_rings.PROLINE

  def one_round(carry: tuple[Rigid, jax.Array], _: None) -> tuple[tuple[Rigid, jax.Array], None]:
    frames, n_ca_c = carry
    fixed, angle = jax.lax.stop_gradient(carry)
    atoms, ring = backbone.atoms_from_frames(fixed, states.psi, bonds, angle), None
    if states.side_chains is not None:
      atoms = side_chains.heavy_atoms(atoms, states.side_chains.chi, protein.residue_type)
      ring = proline_rings.turn_of_ring(fixed, atoms)
    shift = jax.vmap(lambda x: separation(x, protein))(jax.lax.stop_gradient(atoms))
    apart = Rigid(frames.rotation, frames.translation + shift)
    apart, n_ca_c = peptide_planes.turned(apart, n_ca_c, protein, ring)
    return chain_closure.closed_by_constants(apart, n_ca_c, bonds, cis, is_proline), None

  return jax.lax.scan(one_round, (states.frames, states.n_ca_c), length=_NUM_ROUNDS)[0]


def separation(
  positions: jax.Array, protein: protein_lib.ProteinArrays, num_neighbours: int = _NUM_NEIGHBOURS
) -> jax.Array:
  """How to move residues so that no atoms overlap: N, CA, C, O, a virtual CB, side chains.

  Each overlapping pair moves apart by half of its overlap on either side, a side chain from what
  it runs into; a residue with several follows their mean, weighted with the overlaps, so that
  what just touches changes nothing. That is repeated, and what is left is for the next step of the
  trajectory.

  Args:
    positions: [L, 4, 3] Å, N, CA, C, O; or all heavy atoms, [L, 14, 3].
    protein: [L] residues; its positions are not read. The CB of residues that a disulphide joins
      are kept 3.4 to 4.3 Å apart.
    num_neighbours: residues nearest by CA with which a residue is compared; L - 1: with all. The
      program grows with it.

  Returns:
    [L, 3] Å, to be added to every atom of a residue; zeros where nothing overlaps.
  """
  length = positions.shape[0]
  if length < 2:
    return jnp.zeros((length, 3), positions.dtype)
  bonds, mask = protein.bonds.broadcast((length,)), jnp.asarray(protein.mask)
  indices, found = neighbours.nearest(positions[:, 1], mask, min(num_neighbours, length - 1))
  seen = indices.T  # Residues last in all that follows: every operation runs over long rows.
  following, to_next = bonds.following, bonds.to_next
  after = (following[None] == seen) & to_next[None]
  before = (following[seen] == jnp.arange(length)[None]) & to_next[seen]
  in_chain, elsewhere = _NEAREST_IN_CHAIN[..., None, None], _NEAREST[..., None, None]
  nearest = jnp.where(
    after[None, None], in_chain, jnp.where(before[None, None], in_chain.swapaxes(0, 1), elsewhere)
  )  # [5, 5, K, L]
  has_cb = jnp.asarray(protein.residue_type) != _GLYCINE
  there = jnp.concatenate([jnp.ones((4, length), bool), has_cb[None]])  # [5, L]
  judged = found.T[None, None] & there[:, None, None] & there[:, seen][None]
  nearest = jnp.where(judged, nearest, 0.0)
  cb = backbone.virtual_cb(positions, protein.mirrored)[:, None]
  atoms = jnp.concatenate([positions[:, :4], cb], axis=1).T  # [3, 5, L]
  others = atoms[:, :, seen]  # [3, 5, K, L]
  has_side_chains = positions.shape[1] > 4
  if has_side_chains:
    # What `side_chain_relief` could not turn apart.
    near, allowed = (
      jnp.swapaxes(x, 1, 2) for x in side_chain_relief.nearest_atoms(positions, protein)
    )  # [M, 9, L]
    of_residue = near // side_chain_table.NUM_ATOMS
    side = positions[:, _SIDE:].T  # [3, 9, L]
    near_side = jnp.moveaxis(positions.reshape(-1, 3)[near], -1, 0)  # [3, M, 9, L]
    # The ring of a proline and the residue before it.
    slots = np.array(list(proline_rings.NEAREST))
    is_ring = proline_rings.follow(protein.residue_type, bonds)[None]
    is_ring &= bonds.before(there[slots], -1)
    of_ring = is_ring * np.array(list(proline_rings.NEAREST.values()), np.float32)[:, None]
    ring, held = positions[:, proline_rings.CD].T[:, None], bonds.before(atoms[:, slots], -1)

  def pushes(apart: list[jax.Array], limit: jax.Array) -> jax.Array:
    """Sums of pushes, Å^2 in x, y and z, and of overlaps: [4, L], of `apart` [..., L] Å each."""
    distance = jnp.sqrt(sum(x**2 for x in apart) + _TINY)
    overlap = jnp.maximum(limit - distance, 0.0)
    strength = 0.5 * overlap**2 / distance
    return jnp.stack([_total(x) for x in (*(strength * x for x in apart), overlap)])

  def iteration(shift: jax.Array, _: None) -> tuple[jax.Array, None]:
    # How much farther than the other one a residue has moved.
    farther = shift[:, None] - shift[:, seen]  # [3, K, L]
    apart = [
      x[:, None, None] - y[None] + moved[None, None]
      for x, y, moved in zip(atoms, others, farther, strict=True)
    ]
    pushed = pushes(apart, nearest)
    if has_side_chains:
      farther = shift[:, None, None] - shift[:, of_residue]  # [3, M, 9, L]
      apart = [x[None] - y + moved for x, y, moved in zip(side, near_side, farther, strict=True)]
      pushed = pushed + pushes(apart, allowed)
      apart = list(ring - held + (shift - bonds.before(shift, -1))[:, None])  # [2, L] each
      from_ring = pushes(apart, of_ring)
      back = jnp.concatenate([-from_ring[:3], from_ring[3:]])
      pushed = pushed + from_ring + jnp.where(bonds.to_next, bonds.after(back, -1), 0.0)
    shift = shift + pushed[:3] / jnp.maximum(pushed[3:], _TINY)
    if protein.disulphides is not None:
      shift = shift + _pull(positions + shift.T[:, None], protein).T
    return shift, None

  start = jnp.zeros((3, length), positions.dtype)
  shift, _ = jax.lax.scan(iteration, start, length=_NUM_ITERATIONS)
  return shift.T


def _total(terms: jax.Array) -> jax.Array:
  """Sum [L] of terms [..., L]; `jnp.sum` adds element by element, which takes longer on a CPU."""
  while terms.ndim > 1:
    terms = sum(jnp.unstack(terms), start=jnp.zeros((), terms.dtype))
  return terms


def _pull(positions: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """[L, 3] Å, half of what brings the CB of partners back into their range."""
  partner = jnp.asarray(protein.disulphides)
  cb = backbone.virtual_cb(positions, protein.mirrored)
  apart = cb - cb[jnp.maximum(partner, 0)]
  distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + _TINY)
  beyond = distance - jnp.clip(distance, _NEAREST_CB, _FARTHEST_CB)
  pull = -(0.5 * beyond / distance)[:, None] * apart
  return jnp.where((partner >= 0)[:, None], pull, 0.0)

"""Hops of side chains onto other atoms are taken back.

A rotamer is drawn from what the network knows of its surroundings, which is not where every atom
is. A side chain that has left its well and lands on other atoms goes on in the rotamer of the
newest state, if that has more room on the new backbone: a move that is refused, as in Monte Carlo.
What then still overlaps is turned apart (`side_chain_relief`).
"""

import dataclasses

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import rotamers, side_chain_relief
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import neighbours, side_chains
from tempo_jax.protein import protein as protein_lib

# Residues, the nearest by CA, whose atoms a side chain may land on.
_NUM_RESIDUES = 24
# Å^2, of the squares of overlaps of a side chain: less is left to relief.
_TOLERATED = 0.1
# Share of it that may be left at most where the side chain was before.
_BETTER = 0.5


def taken_back(
  states: state_lib.State, newest: state_lib.State, protein: protein_lib.ProteinArrays
) -> state_lib.State:
  """The states [T, L], side chains that hopped onto others as they were in the newest one [L].

  Args:
    states: [T, L] that were drawn.
    newest: [L] state that they follow.
    protein: [L] residues; its positions are not read.
  """
  drawn, before = states.side_chains, newest.side_chains
  if drawn is None or before is None:
    return states
  kind = protein.residue_type
  kept = jax.tree.map(lambda x, y: jnp.broadcast_to(x[None], y.shape), before, drawn)
  left = rotamers.wells(drawn, kind) != rotamers.wells(kept, kind)
  hopped = jnp.any(left, axis=-1) & jnp.all(kept.known == drawn.known, axis=-1)
  chi = jnp.stack([drawn.chi, kept.chi], axis=1)  # [T, 2, L, 4]
  overlap = jax.vmap(_overlaps, (0, 0, None))(state_lib.to_positions(states), chi, protein)
  now, then = overlap[:, 0], overlap[:, 1]
  back = hopped & (now > _TOLERATED) & (then < _BETTER * now)
  chi = jnp.where(back[..., None], kept.chi, drawn.chi)
  return dataclasses.replace(states, side_chains=rotamers.SideChains(chi, drawn.known))


def _overlaps(backbone: jax.Array, chi: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """How far side chains are inside what they may not enter: squares, [C, L] Å^2.

  Args:
    backbone: [L, 4, 3] Å.
    chi: [C, L, 4] rad, of conformations, each of which is looked at among the first ones of the
      other residues.
    protein: [L] residues.
  """
  kind, mask = protein.residue_type, jnp.asarray(protein.mask)
  if mask.shape[0] == 1:
    return jnp.zeros(chi.shape[:2])
  atoms = jax.vmap(lambda x: side_chains.heavy_atoms(backbone, x, kind))(chi)
  count = min(_NUM_RESIDUES, mask.shape[0] - 1)
  index, found = neighbours.nearest(backbone[:, 1], mask, count)
  if protein.disulphides is not None:
    found = found & (index != jnp.asarray(protein.disulphides)[:, None])
  there = jnp.asarray(side_chain_relief.TABLES.atoms)[kind] & mask[:, None]
  bonding = jnp.asarray(side_chain_relief.TABLES.bonding)[kind]
  seen = (
    found[:, None, :, None] & there[index][:, None] & there[:, side_chain_relief.SIDE :, None, None]
  )
  polar = bonding[index][:, None] * bonding[:, side_chain_relief.SIDE :, None, None] > 1
  allowed = jnp.where(polar, side_chain_relief.NEAREST_POLAR, side_chain_relief.NEAREST)
  squared = jnp.full((1, 1, 1, 1, 1), 1e-6)
  for side, every in zip(jnp.moveaxis(atoms, -1, 0), jnp.moveaxis(atoms[0], -1, 0), strict=True):
    squared = (
      squared
      + (side[:, :, side_chain_relief.SIDE :, None, None] - every[index][None, :, None]) ** 2
    )
  depth = jnp.maximum(allowed[None] - jnp.sqrt(squared), 0.0)
  return jnp.sum(jnp.where(seen[None], depth, 0.0) ** 2, axis=(2, 3, 4))

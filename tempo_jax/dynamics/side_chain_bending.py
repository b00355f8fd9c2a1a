"""Side chains lean away from what they still overlap, by a few degrees at CA.

In states CB is where N, CA and C put it. In MD it is 5 degrees off that place on average. What is
written is therefore bent: each side chain, rigid, turns about its CA with the torque of its
overlaps, by damped steps as in `side_chain_relief`, and a spring holds it.
It may turn about CA-CB, too, so that chi1 is a few degrees off that of the state. Judged are atoms
beyond CB, against other residues and their own N, C and O. Backbones stay, and the next step of a
trajectory does not know. Prolines, whose ring is closed, stay, too, and alanines.
"""

import math

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import side_chain_relief
from tempo_jax.geometry import side_chain_table, so3
from tempo_jax.protein import protein as protein_lib

_CA, _CB = 1, 4
_NUM_LISTS, _NUM_STEPS = 3, 8
_DAMPING = 0.7
# In our MD 86 % of CB are nearer to where N, CA and C put them, 90 % within 8.9 degrees.
_LARGEST = math.radians(8.0)
# Å^2 per radian^2: of the spring, and of what keeps steps small where nothing is near.
_SPRING, _STIFFNESS = 0.3, 0.5
_TINY = 1e-12
_PROLINE = side_chain_table.TYPES.index('PRO')


def bent(atoms: jax.Array, protein: protein_lib.ProteinArrays) -> jax.Array:
  """Heavy atoms whose side chains lean away from overlaps.

  Args:
    atoms: [L, 14, 3] Å of one frame, from `geometry.side_chains.heavy_atoms`.
    protein: [L] residues; its positions are not read.

  Returns:
    [L, 14, 3] Å: N, CA, C and O as they were, side chains turned by at most 8 degrees. No gradient
    flows through the turn.
  """
  start = jax.lax.stop_gradient(atoms)
  origin, arms = start[:, _CA, None], start[:, _CB:] - start[:, _CA, None]
  partner = None if protein.disulphides is None else jnp.asarray(protein.disulphides)
  bends = jnp.asarray(protein.mask) & (jnp.asarray(protein.residue_type) != _PROLINE)

  def turned(turn: jax.Array, arms: jax.Array) -> jax.Array:
    """[L, 10, 3] Å from CA."""
    return jnp.sum(so3.exp(turn)[:, None] * arms[:, :, None], axis=-1)

  def step(turn: jax.Array, seen: tuple[jax.Array, jax.Array]) -> jax.Array:
    lever = turned(turn, arms)
    now = jnp.concatenate([start[:, :_CB], origin + lever], axis=1)
    force, contacts = side_chain_relief.overlaps(now, *seen, partner)
    lever = lever[:, 1:]  # Beyond CB.
    torque = jnp.sum(jnp.cross(lever, force), axis=1)
    stiffness = jnp.sum(jnp.sum(lever**2, axis=-1) * contacts, axis=1)
    change = (torque - _SPRING * turn) / (stiffness + _SPRING + _STIFFNESS)[:, None]
    turn = turn + _DAMPING * change
    angle = jnp.sqrt(jnp.sum(turn**2, axis=-1, keepdims=True) + _TINY)
    return jnp.where(bends[:, None], turn * jnp.minimum(1.0, _LARGEST / angle), 0.0)

  def round_of_steps(turn: jax.Array, _: None) -> tuple[jax.Array, None]:
    now = jnp.concatenate([start[:, :_CB], origin + turned(turn, arms)], axis=1)
    seen = side_chain_relief.nearest_atoms(now, protein, within=True)
    return jax.lax.fori_loop(0, _NUM_STEPS, lambda _, x: step(x, seen), turn), None

  turn, _ = jax.lax.scan(round_of_steps, jnp.zeros_like(start[:, 0]), length=_NUM_LISTS)
  side = atoms[:, _CA, None] + turned(turn, atoms[:, _CB:] - atoms[:, _CA, None])
  return jnp.concatenate([atoms[:, :_CB], side], axis=1)

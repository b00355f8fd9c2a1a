"""How far one step of a level moves residues: the unit of the network's output and the loss."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import rotamers
from tempo_jax.geometry import backbone
from tempo_jax.store import batching
from tempo_jax.training import examples

# Of phase: beyond, side chains have left their rotamer. A third of the circle is within.
_HOP = np.pi / 3.0
_WITHIN = 1.0 / 3.0
# Noise must be able to be anywhere, and not be everywhere at once.
_LEAST_STD, _LEAST_HOP, _MOST_HOP = 0.05, 0.005, 0.9


def _targets(num_frames: int, first_target: jax.Array) -> jax.Array:
  """[F] bool: frames after the newest known one, up to as many as one pass predicts."""
  index = jnp.arange(num_frames)
  return (index >= first_target) & (index < 2 * first_target)


@jax.jit
def _squares(batch: batching.Batch, first_target: jax.Array) -> tuple[jax.Array, ...]:
  def one(positions, mask):
    frames = backbone.frames_from_atoms(examples.without_tumbling(positions, mask))
    newest = frames[first_target - 1]
    translation, rotation = (newest[None].inverse() @ frames).log()
    chosen = _targets(positions.shape[0], first_target)
    weight = (chosen[:, None] & mask[None, :]).astype(jnp.float32)[..., None]
    return jnp.sum(weight * translation**2), jnp.sum(weight * rotation**2), 3 * jnp.sum(weight)

  sums = jax.vmap(one)(batch.positions, batch.protein.mask)
  return jax.tree.map(jnp.sum, sums)


@jax.jit
def _turns(batch: batching.Batch, first_target: jax.Array) -> tuple[jax.Array, ...]:
  """Squares of the turns within rotamers, how many they are, and how many others."""

  def one(chi, known, residue_type):
    side_chains = rotamers.SideChains(chi, known)
    newest = jax.tree.map(lambda x: x[first_target - 1][None], side_chains)
    turns = rotamers.turns(newest, side_chains, residue_type)
    chosen = _targets(chi.shape[0], first_target)[:, None, None] & newest.known & known
    within = chosen & (jnp.abs(turns) < _HOP)
    return jnp.sum(jnp.where(within, turns**2, 0.0)), jnp.sum(within), jnp.sum(chosen & ~within)

  sums = jax.vmap(one)(batch.chi, batch.chi_known, batch.protein.residue_type)
  return jax.tree.map(jnp.sum, sums)


def measure(config: Any, batches: Iterable[batching.Batch]) -> dict[str, float]:
  """The motions that one pass predicts, as the settings of a level.

  Args:
    config: the experiment's configuration.
    batches: training batches of the level.

  Returns:
    `translation_std` in Å and `rotation_std` in rad, root mean square per Cartesian component in
    the residue's frame. With side chains in the batches, `chi_std` rad, that of turns within a
    rotamer, and `chi_hop`, the share of turns that are as if drawn from the whole circle.
  """
  totals, turns = np.zeros(3), np.zeros(3)
  for batch in batches:
    totals += np.array([float(x) for x in _squares(batch, config.model.window)])
    if batch.chi is not None:
      turns += np.array([float(x) for x in _turns(batch, config.model.window)])
  translation, rotation, count = totals
  found = {
    'translation_std': float(np.sqrt(translation / count)),
    'rotation_std': float(np.sqrt(rotation / count)),
  }
  square, within, hops = turns
  if within:
    share = hops / (within + hops) / (1.0 - _WITHIN)
    found['chi_std'] = float(max(np.sqrt(square / within), _LEAST_STD))
    found['chi_hop'] = float(np.clip(share, _LEAST_HOP, _MOST_HOP))
  return found

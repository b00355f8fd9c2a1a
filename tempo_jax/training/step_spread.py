"""How far one step of a level moves residues: the unit of the network's output and the loss."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import backbone
from tempo_jax.store import batching
from tempo_jax.training import examples


@jax.jit
def _squares(batch: batching.Batch, first_target: jax.Array) -> tuple[jax.Array, ...]:
  def one(positions, mask):
    frames = backbone.frames_from_atoms(examples.without_tumbling(positions, mask))
    newest = frames[first_target - 1]
    translation, rotation = (newest[None].inverse() @ frames).log()
    # Frames after the newest known one, up to as many as one pass predicts.
    index = jnp.arange(positions.shape[0])
    chosen = (index >= first_target) & (index < 2 * first_target)
    weight = (chosen[:, None] & mask[None, :]).astype(jnp.float32)[..., None]
    return jnp.sum(weight * translation**2), jnp.sum(weight * rotation**2), 3 * jnp.sum(weight)

  sums = jax.vmap(one)(batch.positions, batch.protein.mask)
  return jax.tree.map(jnp.sum, sums)


def measure(config: Any, batches: Iterable[batching.Batch]) -> tuple[float, float]:
  """Root mean square, per component, of the motions that one pass predicts.

  Args:
    config: the experiment's configuration.
    batches: training batches of the level.

  Returns:
    Translation in Å and rotation in rad, each per Cartesian component, in the residue's frame.
  """
  totals = np.zeros(3)
  for batch in batches:
    totals += np.array([float(x) for x in _squares(batch, config.model.window)])
  translation, rotation, count = totals
  return float(np.sqrt(translation / count)), float(np.sqrt(rotation / count))

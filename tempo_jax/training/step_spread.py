"""How far one step of a level moves residues: the unit of the network's output and the loss."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import backbone
from tempo_jax.store import batching
from tempo_jax.training import examples


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


def measure(config: Any, batches: Iterable[batching.Batch]) -> dict[str, float]:
  """The motions that one pass predicts, as the settings of a level.

  Args:
    config: the experiment's configuration.
    batches: training batches of the level.

  Returns:
    `translation_std` in Å and `rotation_std` in rad, root mean square per Cartesian component in
    the residue's frame.
  """
  totals = np.zeros(3)
  for batch in batches:
    totals += np.array([float(x) for x in _squares(batch, config.model.window)])
  translation, rotation, count = totals
  return {
    'translation_std': float(np.sqrt(translation / count)),
    'rotation_std': float(np.sqrt(rotation / count)),
  }

"""The numbers of one time scale as a pytree, so that one compiled step serves every level."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Level:
  """Scalars of a level's configuration (`tempo_jax.config.level_config`), each [] float32."""

  dt_ns: jax.Array
  noise_min: jax.Array
  noise_max: jax.Array
  noise_sample: jax.Array
  noise_translation: jax.Array
  noise_rotation: jax.Array
  noise_torsion: jax.Array
  translation_std: jax.Array
  rotation_std: jax.Array

  @classmethod
  def of(cls, config: Any, name: str) -> 'Level':
    """The level `name` of a model's configuration."""
    section = config.level[name]
    return cls(
      **{field.name: jnp.float32(section[field.name]) for field in dataclasses.fields(cls)}
    )

"""Many trajectories at once: replicas of one protein."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax.samplers import coarse_to_fine


def make_ensemble_sampler(
  config: Any,
  num_frames: int,
  num_replicas: int,
  segment_batch_size: int | None = None,
  replica_batch_size: int | None = None,
) -> Callable[..., jax.Array]:
  """The jitted function that samples several independent trajectories of one protein.

  Args:
    config: the model's configuration, frozen or not.
    num_frames: frames wanted per replica.
    num_replicas: trajectories wanted.
    segment_batch_size: segments computed together; None: all.
    replica_batch_size: replicas computed together; None: all. Neither batch size changes the
      result.

  Returns:
    sampler(params, protein_arrays, rng, temperature_K=320.0) -> [R, num_frames, L, 4, 3] Å.
    Replica k depends on the key and on k, not on how many replicas there are.

  Raises:
    InputError: the configuration cannot work, or a number is below 1.
  """
  config_lib.check(config)
  coarse_to_fine.check_at_least_one(
    num_frames=num_frames,
    num_replicas=num_replicas,
    segment_batch_size=segment_batch_size,
    replica_batch_size=replica_batch_size,
  )
  config = config_lib.freeze(config)

  def sampler(params, protein, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    temperature = jnp.asarray(temperature_K, jnp.float32)

    def one_replica(replica):
      return coarse_to_fine.sample_trajectory(
        config,
        params,
        protein,
        jax.random.fold_in(rng, replica),
        temperature,
        num_frames,
        segment_batch_size,
      )

    return jax.lax.map(
      one_replica, jnp.arange(num_replicas), batch_size=replica_batch_size or num_replicas
    )

  return jax.jit(sampler)

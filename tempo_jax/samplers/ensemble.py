"""Many trajectories at once: replicas, and proteins of one padded length, over all local devices.

A job is one trajectory of one protein. Jobs know nothing of each other: each device computes its
share of them, a batch at a time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine

_AXIS = 'jobs'


def mesh(count: int) -> jax.sharding.Mesh:
  """The local devices that so many jobs are spread over."""
  # No device gets more than the others must do anyway.
  each = -(-count // jax.local_device_count())
  return jax.sharding.Mesh(np.array(jax.local_devices()[: -(-count // each)]), (_AXIS,))


def fill(count: int) -> np.ndarray:
  """Indices of the jobs so that their number divides over the devices: the last is repeated."""
  devices = mesh(count).size
  return np.minimum(np.arange(-(-count // devices) * devices), count - 1)


def spread(jobs: Any) -> Any:
  """Puts arrays [J, ...], J as `fill` has made it, where the sampler wants them."""
  devices, split = mesh(jax.tree.leaves(jobs)[0].shape[0]), jax.sharding.PartitionSpec(_AXIS)
  return jax.device_put(jobs, jax.sharding.NamedSharding(devices, split))


def _over_devices(function: Callable[..., Any], batch_size: int | None) -> Callable[..., Any]:
  """Maps function(shared, job) over jobs [J, ...], J as `fill` has made it."""

  def share(shared, jobs):
    size = jax.tree.leaves(jobs)[0].shape[0]
    return jax.lax.map(lambda job: function(shared, job), jobs, batch_size=batch_size or size)

  def mapped(shared, jobs):
    devices = mesh(jax.tree.leaves(jobs)[0].shape[0])
    if devices.size == 1:
      return share(shared, jobs)
    every, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(_AXIS)
    return jax.shard_map(
      share, mesh=devices, in_specs=(every, split), out_specs=split, check_vma=False
    )(shared, jobs)

  return mapped


def replica_rngs(rng: jax.Array, replicas: jax.Array) -> jax.Array:
  """One key per number of a replica; how many there are does not matter."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng, replicas)


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
    segment_batch_size: segments computed together; None: what suits the device.
    replica_batch_size: replicas computed together on a device; None: all. Neither batch size
      changes the result, nor does the number of devices.

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

  def one_replica(shared, rng):
    params, protein, temperature = shared
    return coarse_to_fine.sample_trajectory(
      config, params, protein, rng, temperature, num_frames, segment_batch_size
    )

  def sampler(params, protein, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    shared = params, protein, jnp.asarray(temperature_K, jnp.float32)
    # What is missing to a whole number for each device is computed, and thrown away.
    rngs = replica_rngs(rng, jnp.asarray(fill(num_replicas)))
    return _over_devices(one_replica, replica_batch_size)(shared, rngs)[:num_replicas]

  return jax.jit(sampler)


@jax.jit(static_argnums=0)
def begin(config: Any, proteins: protein_lib.ProteinArrays) -> coarse_to_fine.Progress:
  """`coarse_to_fine.begin` of each of the proteins [J, L]."""
  return jax.vmap(lambda protein: coarse_to_fine.begin(config, protein))(proteins)


def make_block_sampler(
  config: Any,
  num_frames: int,
  segment_batch_size: int | None = None,
  job_batch_size: int | None = None,
) -> Callable[..., Any]:
  """The jitted function that continues several trajectories, of any proteins, by a block.

  Args:
    config: the model's configuration, frozen.
    num_frames: frames of a block; see `coarse_to_fine.sample_block`.
    segment_batch_size: segments computed together; None: what suits the device.
    job_batch_size: trajectories computed together on a device; None: all.

  Returns:
    sampler(params, proteins [J, L], rngs [J], temperature_K, progress [J]) ->
    ([J, num_frames, L, 4, 3] Å, progress [J]); J as `fill` has made it, all `spread`.
  """

  def one_job(shared, job):
    params, temperature = shared
    protein, rng, progress = job
    return coarse_to_fine.sample_block(
      config, params, protein, rng, temperature, progress, num_frames, segment_batch_size
    )

  def sampler(params, proteins, rngs, temperature_K, progress):
    shared = params, jnp.asarray(temperature_K, jnp.float32)
    return _over_devices(one_job, job_batch_size)(shared, (proteins, rngs, progress))

  return jax.jit(sampler)

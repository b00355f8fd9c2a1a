"""Independent jobs over all local devices: each device computes its share, a batch at a time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_AXIS = 'jobs'


def mesh(count: int) -> jax.sharding.Mesh:
  """The local devices that `count` jobs are spread over."""
  # No device gets more than the others must do anyway.
  each = -(-count // jax.local_device_count())
  return jax.sharding.Mesh(np.array(jax.local_devices()[: -(-count // each)]), (_AXIS,))


def padded(count: int) -> np.ndarray:
  """Indices of `count` jobs, the last one repeated up to a multiple of the device count."""
  devices = mesh(count).size
  return np.minimum(np.arange(-(-count // devices) * devices), count - 1)


def spread(jobs: Any) -> Any:
  """Puts arrays [J, ...], J as `padded` makes it, onto the devices that compute them."""
  devices, split = mesh(jax.tree.leaves(jobs)[0].shape[0]), jax.sharding.PartitionSpec(_AXIS)
  return jax.device_put(jobs, jax.sharding.NamedSharding(devices, split))


def replicate(shared: Any, count: int) -> Any:
  """Puts what all jobs read onto the devices that compute `count` of them."""
  everywhere = jax.sharding.NamedSharding(mesh(count), jax.sharding.PartitionSpec())
  return jax.device_put(shared, everywhere)


def map_jobs(
  function: Callable[[Any, Any], Any], shared: Any, jobs: Any, batch_size: int | None
) -> Any:
  """The results of function(shared, job) for each of the jobs.

  Args:
    function: pure, of one job.
    shared: what all jobs read, on every device.
    jobs: arrays [J, ...], J as `padded` makes it.
    batch_size: jobs computed together on a device; None: all.

  Returns:
    Arrays [J, ...].
  """

  def share(shared, jobs):
    size = jax.tree.leaves(jobs)[0].shape[0]
    return jax.lax.map(lambda job: function(shared, job), jobs, batch_size=batch_size or size)

  devices = mesh(jax.tree.leaves(jobs)[0].shape[0])
  if devices.size == 1:
    return share(shared, jobs)
  every, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(_AXIS)
  return jax.shard_map(
    share, mesh=devices, in_specs=(every, split), out_specs=split, check_vma=False
  )(shared, jobs)

"""The one place where training meets devices: per-device functions mapped over all of them.

Parameters are replicated, the batch is split along its first axis. `jax.pmap` is today
`jit` + `shard_map`; the state is unstacked (`in_axes=None`, `out_axes=None`), on one host or
several.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from tempo_jax.errors import InputError
from tempo_jax.training import train_step

_AXIS = 'devices'


def map_train_step(config: Any, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
  """(state, level, split batch, rng) -> (state, metrics), over all devices."""
  per_device = functools.partial(train_step.train_step, config, optimizer, axis_name=_AXIS)
  return jax.pmap(per_device, axis_name=_AXIS, in_axes=(None, None, 0, None), out_axes=None)


def map_evaluation_step(config: Any) -> Callable[..., Any]:
  """(params, level, split batch, rng) -> metrics, over all devices."""
  per_device = functools.partial(train_step.evaluation_step, config, axis_name=_AXIS)
  return jax.pmap(per_device, axis_name=_AXIS, in_axes=(None, None, 0, None), out_axes=None)


def replicate(tree: Any) -> Any:
  """Puts a tree on all local devices, where the mapped functions leave their results.

  Left on one device, it would be another kind of argument than the state that a step returns,
  and the step would be compiled a second time for that.
  """
  mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (_AXIS,))
  return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def split_batch(batch: Any) -> Any:
  """[B, ...] of this host -> [local devices, B / local devices, ...]."""
  devices = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)


def check_batch_size(batch_size: int) -> None:
  """Raises `InputError` unless the global batch divides over all devices of all hosts."""
  devices = jax.device_count()
  if batch_size % devices:
    raise InputError(
      f'config.data.batch_size = {batch_size} does not divide over {devices} devices: '
      f'choose a multiple of {devices}'
    )

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
from jax.experimental import multihost_utils

from tempo_jax.errors import InputError
from tempo_jax.training import train_step

_AXIS = 'devices'


def map_train_step(
  config: Any,
  optimizer: optax.GradientTransformation,
  step: Callable[..., Any] = train_step.train_step,
) -> Callable[..., Any]:
  """(state, level, split batch, rng) -> (state, metrics), over all devices.

  The state that is given is used up: its memory becomes that of the state that is returned.

  Args:
    config: the experiment's configuration, frozen.
    optimizer: from `tempo_jax.training.optimizer`.
    step: what each device does, with the arguments of `train_step.train_step`.
  """
  per_device = functools.partial(step, config, optimizer, axis_name=_AXIS)
  return jax.pmap(
    per_device, axis_name=_AXIS, in_axes=(None, None, 0, None), out_axes=None, donate_argnums=0
  )


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


def _one_device_each() -> jax.sharding.Mesh:
  first = {device.process_index: device for device in reversed(jax.devices())}
  return jax.sharding.Mesh(np.array([first[i] for i in sorted(first)]), (_AXIS,))


def to_global(tree: Any) -> Any:
  """What the mapped functions return as arrays that all processes own together, for orbax.

  One copy per process: of more, orbax writes a slice each, and compiles the slicing.
  """
  local = jax.tree.map(lambda x: x.addressable_data(0), tree)
  replicated = jax.sharding.PartitionSpec()
  return multihost_utils.host_local_array_to_global_array(local, _one_device_each(), replicated)


def to_local(tree: Any) -> Any:
  """Inverse of `to_global`."""
  return replicate(jax.tree.map(lambda x: x.addressable_data(0), tree))


def split_batch(batch: Any) -> Any:
  """[B, ...] of this host -> [local devices, B / local devices, ...]."""
  devices = jax.local_device_count()
  return jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)


def check_batch_size(batch_size: int, accumulation_steps: int = 1) -> None:
  """Raises `InputError` unless the global batch divides over all devices, and then into parts."""
  unit = jax.device_count() * accumulation_steps
  if batch_size % unit:
    parts = f' x {accumulation_steps} parts (config.train.accumulation_steps)'
    raise InputError(
      f'config.data.batch_size = {batch_size} does not divide over {jax.device_count()} devices'
      f'{parts if accumulation_steps > 1 else ""}: choose a multiple of {unit}'
    )

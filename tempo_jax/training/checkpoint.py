"""Checkpoints: everything that a resumed run needs to continue bit for bit.

A checkpoint holds the states of the levels being trained and the configuration. Data order and
noise need no state of their own: both are functions of the seed and the step.
"""

import os
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax.dynamics import sde
from tempo_jax.errors import InputError
from tempo_jax.training import optimizer as optimizer_lib
from tempo_jax.training import parallel, train_state

States = dict[str, train_state.TrainState]


def directory(workdir: str) -> str:
  """Where the checkpoints of a workdir are."""
  return os.path.abspath(os.path.join(workdir, 'checkpoints'))


class Checkpointer:
  """Saves and restores the states of a run.

  Args:
    workdir: the run's directory; checkpoints go into its folder `checkpoints`.
    max_to_keep: the newest this many are kept.
    keep_period: steps whose multiples are kept for good; None: none.
  """

  def __init__(self, workdir: str, max_to_keep: int = 2, keep_period: int | None = None):
    self._manager = ocp.CheckpointManager(
      directory(workdir),
      item_names=('state', 'config'),
      options=ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep, keep_period=keep_period, create=True
      ),
    )

  @property
  def latest_step(self) -> int | None:
    """Step of the newest complete checkpoint."""
    return self._manager.latest_step()

  def save(self, step: int, states: States, config: Any) -> None:
    """Writes in the background; a checkpoint appears whole or not at all."""
    if step == self._manager.latest_step():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(parallel.to_global(states)),
        config=ocp.args.JsonSave(config_lib.to_dict(config)),
      ),
    )

  def restore(self, target: States) -> States:
    """The newest states; shapes and types must be those of `target`."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, parallel.to_global(target))
    restored = self._manager.restore(
      self._manager.latest_step(),
      args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)),
    )
    return parallel.to_local(restored['state'])

  def close(self) -> None:
    """Waits for writes under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def initial_states(config: Any) -> States:
  """Fresh states of the levels that an experiment trains."""
  frozen = config_lib.freeze(config.model)
  rng = jax.random.key(config.seed)
  optimizer = optimizer_lib.make_optimizer(config.train)
  return {
    name: train_state.create(sde.init_params(frozen, jax.random.fold_in(rng, index)), optimizer)
    for index, name in enumerate(config.model.levels)
    if name in config.train.levels
  }


def load_params(workdir: str) -> tuple[config_dict.ConfigDict, Mapping[str, Any], int]:
  """Averaged parameters of the newest checkpoint of a run.

  Args:
    workdir: directory that `experiments.train` wrote.

  Returns:
    The experiment's configuration, parameters per level name, and the step.

  Raises:
    InputError: there is no complete checkpoint.
  """
  if not os.path.isdir(directory(workdir)):
    raise InputError(f'{workdir} holds no checkpoints: train into it first')
  with ocp.CheckpointManager(directory(workdir), item_names=('state', 'config')) as manager:
    step = manager.latest_step()
    if step is None:
      raise InputError(
        f'{workdir} holds no complete checkpoint yet: let training reach '
        'config.train.checkpoint_every steps'
      )
    saved = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
    config = config_lib.from_dict(saved['config'])
    # Shapes from the configuration: reading into a known structure is checked, and lets the
    # parameters come to this machine's device, whatever device wrote them.
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.eval_shape(lambda: initial_states(config))
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), shapes)
    states = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))[
      'state'
    ]
  return config, {name: state.ema_params for name, state in states.items()}, step

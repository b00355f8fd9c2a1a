"""Checkpoints: everything that a resumed run needs to continue bit for bit.

A checkpoint holds the states of the levels being trained, the configuration and the best step so
far. Data order and noise need no state of their own: both are functions of the seed and the step.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.errors import InputError
from tempo_jax.training import optimizer as optimizer_lib
from tempo_jax.training import parallel, run_config, selection, train_state

States = dict[str, train_state.TrainState]

# The key of the state that all levels of a model have in common.
SHARED = 'shared'


def directory(workdir: str) -> str:
  """Where the checkpoints of a workdir are."""
  return os.path.abspath(os.path.join(workdir, 'checkpoints'))


class _Preservation:
  """Which checkpoints stay: the newest, those at whole periods, the best; orbax's interface."""

  def __init__(self, newest: int, period: int | None):
    self._newest, self._period = newest, period
    self.best_step: int | None = None

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    del context
    first_new = len(checkpoints) - self._newest
    return [
      index >= first_new
      or (self._period is not None and each.step % self._period == 0)
      or each.step == self.best_step
      for index, each in enumerate(checkpoints)
    ]


def _manager(workdir: str, **options: Any) -> ocp.CheckpointManager:
  handlers = {'state': ocp.StandardCheckpointHandler(), 'config': ocp.JsonCheckpointHandler()}
  return ocp.CheckpointManager(
    directory(workdir),
    item_handlers=handlers,
    options=ocp.CheckpointManagerOptions(**options),
  )


def _selection_at(manager: ocp.CheckpointManager, step: int) -> selection.Selection:
  return selection.Selection.from_json(manager.metadata(step).custom_metadata)


class Checkpointer:
  """Saves and restores the states of a run.

  Args:
    workdir: the run's directory; checkpoints go into its folder `checkpoints`.
    max_to_keep: the newest this many are kept, and the best one.
    keep_period: steps whose multiples are kept for good; None: none.
  """

  def __init__(self, workdir: str, max_to_keep: int = 2, keep_period: int | None = None):
    self._preservation = _Preservation(max_to_keep, keep_period)
    self._manager = _manager(workdir, preservation_policy=self._preservation, create=True)

  @property
  def latest_step(self) -> int | None:
    """Step of the newest complete checkpoint."""
    return self._manager.latest_step()

  def save(
    self,
    step: int,
    states: States,
    config: Any,
    selected: selection.Selection | None = None,
  ) -> None:
    """Writes in the background; a checkpoint appears whole or not at all."""
    if step == self._manager.latest_step():
      return
    selected = selected or selection.Selection()
    self._preservation.best_step = selected.step
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(parallel.to_global(states)),
        config=ocp.args.JsonSave(config_lib.to_dict(config)),
      ),
      custom_metadata=selected.to_json(),
    )

  def restore(self, target: States) -> tuple[States, selection.Selection]:
    """The newest states, of shapes and types as in `target`, and the best step until then."""
    step = self._manager.latest_step()
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, parallel.to_global(target))
    restored = self._manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    )
    selected = _selection_at(self._manager, step)
    self._preservation.best_step = selected.step
    return parallel.to_local(restored['state']), selected

  def close(self) -> None:
    """Waits for writes under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def state_key(config: Any, level: str) -> str:
  """Which of the states holds a level's parameters: its own, or the one that all levels share."""
  return SHARED if config.model.get('shared_levels', False) else level


def initial_states(config: Any, params: Mapping[str, Any] | None = None) -> States:
  """Fresh states of the levels that an experiment trains, by `state_key`.

  Args:
    config: the experiment's configuration.
    params: parameters per level to begin with; None: random ones.
  """
  frozen = config_lib.freeze(config.model)
  rng = jax.random.key(config.seed)
  optimizer = optimizer_lib.make_optimizer(run_config.in_updates(config).train)
  states: States = {}
  for index, name in enumerate(config.model.levels):
    key = state_key(config, name)
    if name in config.train.levels and key not in states:
      if params is None:
        begin = transitions.init_params(frozen, jax.random.fold_in(rng, index))
      else:
        begin = params[name]
      states[key] = train_state.create(begin, optimizer)
  return states


def load_params(workdir: str) -> tuple[config_dict.ConfigDict, Mapping[str, Any], int]:
  """Averaged parameters of a run's best checkpoint, or of the newest where none was selected.

  Args:
    workdir: directory that `experiments.train` wrote.

  Returns:
    The experiment's configuration, parameters per level name, and the step.

  Raises:
    InputError: there is no complete checkpoint.
  """
  if not os.path.isdir(directory(workdir)):
    raise InputError(f'{workdir} holds no checkpoints: train into it first')
  with _manager(workdir) as manager:
    newest = manager.latest_step()
    if newest is None:
      raise InputError(
        f'{workdir} holds no complete checkpoint yet: let training reach '
        'config.train.checkpoint_every steps'
      )
    best = _selection_at(manager, newest).step
    step = best if best is not None and best in manager.all_steps() else newest
    saved = manager.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))
    config = config_lib.from_dict(saved['config'])
    if config_lib.is_of_older_version(config.model):
      raise InputError(
        f'{workdir} is of an older version of tempo_jax, whose network differs: train it again'
      )
    # Shapes from the configuration: reading into a known structure is checked, and lets the
    # parameters come to this machine's device, whatever device wrote them.
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.eval_shape(lambda: initial_states(config))
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), shapes)
    states = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))[
      'state'
    ]
  # Levels that share their parameters all refer to the same arrays.
  return config, {x: states[state_key(config, x)].ema_params for x in config.train.levels}, step

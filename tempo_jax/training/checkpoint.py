"""Checkpoints: everything that a resumed run needs to continue bit for bit.

A checkpoint holds the states of the levels being trained, the configuration and the best step so
far. Data order and noise need no state of their own: both are functions of the seed and the step.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.compilation import ahead_of_time
from tempo_jax.errors import InputError
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.training import optimizer as optimizer_lib
from tempo_jax.training import parallel, selection, train_state

_LOG = logging.getLogger('tempo_jax')
States = dict[str, train_state.TrainState]


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


class Checkpointer:
  """Saves and restores the states of a run.

  Args:
    workdir: the run's directory; checkpoints go into its folder `checkpoints`.
    max_to_keep: the newest this many are kept, and the best one.
    keep_period: steps whose multiples are kept for good; None: none.
  """

  def __init__(self, workdir: str, max_to_keep: int = 2, keep_period: int | None = None):
    self._preservation = _Preservation(max_to_keep, keep_period)
    self._folder = os.path.abspath(os.path.join(workdir, workdir_lib.CHECKPOINTS))
    self._manager = ocp.CheckpointManager(
      self._folder,
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'config': ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(preservation_policy=self._preservation, create=True),
    )

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
    """The newest states, of shapes and types as in `target`, and the best step until then.

    A checkpoint that cannot be read is put aside, as `damaged_checkpoint_STEP`, if one before it
    can; `latest_step` is that one then.

    Raises:
      InputError: none can be read.
    """
    damaged: dict[int, str] = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        restored = self._restore(step, target)
      except Exception as error:  # orbax raises whatever it comes upon
        if jax.process_count() > 1:  # Others may have read it.
          raise
        damaged[step] = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
        continue
      for other, what in damaged.items():
        aside = os.path.join(os.path.dirname(self._folder), f'damaged_checkpoint_{other}')
        _LOG.warning(
          'the checkpoint of step %d is damaged (%s): put aside as %s; going on from step %d',
          *(other, what, aside, step),
        )
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(os.path.join(self._folder, str(other)), aside)
      if damaged:
        self._manager.reload()
      return restored
    step, what = next(iter(damaged.items()))
    raise InputError(
      f'{self._folder}: no checkpoint can be read (step {step}: {what}): give another --workdir, '
      'or remove this one to begin anew'
    )

  def _restore(self, step: int, target: States) -> tuple[States, selection.Selection]:
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, parallel.to_global(target))
    restored = self._manager.restore(
      step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
    )
    selected = selection.Selection.from_json(self._manager.metadata(step).custom_metadata)
    self._preservation.best_step = selected.step
    return parallel.to_local(restored['state']), selected

  def close(self) -> None:
    """Waits for writes under way."""
    self._manager.wait_until_finished()
    self._manager.close()


def initial_states(config: Any, params: Mapping[str, Any] | None = None) -> States:
  """Fresh states of the levels that an experiment trains, by name.

  Args:
    config: the experiment's configuration.
    params: parameters per level to begin with; None: random ones.
  """
  rngs = _rngs(config)
  if params is not None:
    optimizer = optimizer_lib.make_optimizer(config.train)
    return {name: train_state.create(params[name], optimizer) for name in rngs}
  # One program for all levels, which differ in nothing but the key.
  some_rng = next(iter(rngs.values()))
  create = jax.jit(_creator(config))
  create = ahead_of_time.compiled(create, some_rng, effort=ahead_of_time.Effort.ONCE)
  return {name: create(rng) for name, rng in rngs.items()}


def blank_states(config: Any) -> States:
  """Zeros of the shapes of `initial_states`, to restore over; nothing is compiled."""
  create = _creator(config)
  shapes = jax.eval_shape(lambda: {name: create(rng) for name, rng in _rngs(config).items()})
  return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)


def _rngs(config: Any) -> dict[str, jax.Array]:
  """A key for each level that an experiment trains."""
  rng = jax.random.key(config.seed)
  return {
    name: jax.random.fold_in(rng, index)
    for index, name in enumerate(config.model.levels)
    if name in config.train.levels
  }


def _creator(config: Any) -> Callable[[jax.Array], train_state.TrainState]:
  """The function from a key to the fresh state of a level."""
  frozen = config_lib.freeze(config.model)
  optimizer = optimizer_lib.make_optimizer(config.train)
  return lambda rng: train_state.create(transitions.init_params(frozen, rng), optimizer)

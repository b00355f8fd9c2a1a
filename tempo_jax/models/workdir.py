"""What training leaves in its workdir: the averaged parameters of its checkpoints."""

import functools
import os
import pathlib
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.errors import InputError
from tempo_jax.models import config_file

if TYPE_CHECKING:
  from orbax import checkpoint as ocp

CHECKPOINTS = 'checkpoints'


def best_step(manager: 'ocp.CheckpointManager') -> int | None:
  """The step that training selected (`training.selection`), or the newest; None: there is none."""
  newest = manager.latest_step()
  if newest is None:
    return None
  best = manager.metadata(newest).custom_metadata['step']
  # Somebody may have deleted it.
  return best if best in manager.all_steps() else newest


def load(
  directory: str | os.PathLike[str],
) -> tuple[config_dict.ConfigDict, dict[str, Any], int]:
  """Averaged parameters of a run's best checkpoint, or of the newest where none was selected.

  Args:
    directory: the workdir.

  Returns:
    The experiment's configuration, parameters per level that was trained, on the host, and the
    step.

  Raises:
    InputError: there is no complete checkpoint, or the configuration cannot be used.
  """
  # Takes seconds to import, and only workdirs need it.
  from orbax import checkpoint as ocp

  config = config_file.read(directory)
  checkpoints = (pathlib.Path(directory) / CHECKPOINTS).resolve()
  if not checkpoints.is_dir():
    raise InputError(f'{directory} holds no checkpoints: train into it first')
  handlers = {'state': ocp.PyTreeCheckpointHandler(), 'config': ocp.JsonCheckpointHandler()}
  options = ocp.CheckpointManagerOptions(create=False)
  with ocp.CheckpointManager(checkpoints, item_handlers=handlers, options=options) as manager:
    step = best_step(manager)
    if step is None:
      raise InputError(
        f'{directory} holds no complete checkpoint yet: let training reach '
        'config.train.checkpoint_every steps'
      )
    # Shapes from the configuration: reading into a known structure is checked, and lets the
    # parameters come to this machine's device, whatever device wrote them.
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    init = functools.partial(transitions.init_params, config_lib.freeze(config.model))
    shapes = jax.eval_shape(init, jax.random.key(0))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), shapes)
    target = {level: {'ema_params': shapes} for level in config.train.levels}
    restore = ocp.args.PyTreeRestore(
      item=target,
      restore_args=ocp.checkpoint_utils.construct_restore_args(target),
      partial_restore=True,  # nothing of the optimiser's state
    )
    states = manager.restore(step, args=ocp.args.Composite(state=restore))['state']
  params = {level: jax.tree.map(np.asarray, state['ema_params']) for level, state in states.items()}
  return config, params, step

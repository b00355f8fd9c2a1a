"""Trains a model: `python -m experiments.train --config=experiments/configs/NAME.py --workdir=DIR`.

Every setting of the configuration can be changed on the command line, e.g.
`--config.data.store=DIR --config.train.num_steps=1000`. Run again with the same command, it
resumes. The workdir is a model directory for `experiments.sample --model=DIR`.
"""

import logging
import os
from collections.abc import Sequence

import jax
from absl import flags
from ml_collections import config_flags

from tempo_jax import errors
from tempo_jax.cli import processes
from tempo_jax.compilation import cache as compilation_cache
from tempo_jax.models.model import load_model
from tempo_jax.training import loop

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Experiment file, with an optional :variant.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Directory for checkpoints, config.json, metrics.jsonl and TensorBoard events.'
)


def main(argv: Sequence[str]) -> None:
  """Reads the flags and trains."""
  del argv
  workdir = _WORKDIR.value
  if _CONFIG.value is None or workdir is None:
    raise errors.InputError('--config and --workdir are required; see --help')
  compilation_cache.use(flags.FLAGS.compilation_cache_dir)
  processes.join(flags.FLAGS)
  devices = jax.devices()
  logging.getLogger('tempo_jax').info('%d devices: %s', len(devices), devices[0].device_kind)
  if '://' in workdir:
    raise errors.InputError(f'--workdir={workdir}: give a local or mounted folder, not a URL')
  workdir = os.path.abspath(workdir)
  loop.train(_CONFIG.value, workdir, load_model)
  if jax.process_index() == 0:
    print(f'trained into {workdir}; sample: python -m experiments.sample --model={workdir}')


def launch() -> None:
  """Runs the command line."""
  compilation_cache.define_flag(flags.FLAGS)
  processes.define_flags(flags.FLAGS)
  errors.run(main)

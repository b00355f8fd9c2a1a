r"""What fine-tuning gains on BPTI: the first half of an MD trains, the second half tests.

    python -m experiments.benchmarks.finetuning --data=DATA --workdir=DIR --model=default

Fine-tunes the model with experiments/configs/finetune.py, and trains the same network from random
parameters for as many steps. Replicas of each, and of the model before, start in the first frame
of the second half and are as long; every number is a mean over replicas. For comparison, the table
has the first half of the MD, and an elastic network with the mean RMSF of the second (its frames
are independent of one another). Run again, training resumes. Writes WORKDIR/finetuning.json and
finetuning.md.
"""

import contextlib
import copy
import dataclasses
import logging
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from experiments import results
from experiments.ablation import rollouts
from experiments.ablation.rollouts import HeldOut, Sampling
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.configs import finetune, quickstart
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.markdown import Number
from tempo_jax.metrics import baselines, calibration
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.models.model import load_model
from tempo_jax.output import provenance
from tempo_jax.preparation import trajectories
from tempo_jax.training import loop, metric_writer

_LOG = logging.getLogger('tempo_jax')
# Stretches of the MD: trains; selects the checkpoint; the first half, which is both; the second.
_TRAIN, _VALIDATION, _FIRST, _SECOND = (0.0, 0.35), (0.35, 0.5), (0.0, 0.5), (0.5, 1.0)
_BEFORE, _TUNED, _SCRATCH = 'the model as it is', 'fine-tuned', 'from random parameters'
_FLOOR, _NETWORK = 'MD, the first half', 'elastic network'
_COLUMNS = (
  Number('RMSF r', 'rmsf_r', '.2f'),
  Number('RMSF, ratio to MD', 'rmsf_ratio', '.2f'),
  Number('pairwise RMSD, ratio', 'pairwise_rmsd_ratio', '.2f'),
  Number('JSD of CA distances', 'ca_jsd', '.3f'),
  Number('step, ratio', 'step_ratio', '.2f'),
  Number('broken frames', 'broken', '.2%'),
  Number('best step', 'best_step', 'd'),
  Number('training (minutes)', 'minutes', '.1f'),
)


def prepare(data: pathlib.Path, store: pathlib.Path) -> None:
  """Puts BPTI, 500 frames of 10 ps, into a store, unless it is there already.

  Raises:
    InputError: a file is missing.
  """
  folder = data / 'trajectories/bpti_5ns'
  topology, trajectory = folder / 'bpti.pdb', folder / 'bpti.xtc'
  for file in (topology, trajectory):
    if not file.is_file():
      raise InputError(f'{file}: no such file: correct --data')
  with contextlib.redirect_stdout(None):
    trajectories.prepare(
      topology,
      [trajectory],
      store,
      name='bpti',
      temperature_K=300.0,
      replica=1,
      split='train',
      dt_ns=None,
      num_workers=1,
    )


def experiments(model: str, store: str, steps: int | None) -> dict[str, Any]:
  """The configuration of each training.

  Args:
    model: 'default' or a directory.
    store: with BPTI.
    steps: of either training; None: those of the configuration.
  """
  tuned = finetune.get_config(f'model={model}')
  tuned.data.update(store=store, train_block=_TRAIN, validation_block=_VALIDATION)
  if steps is not None:
    tuned.train.num_steps = steps
  # As many steps in any case, so that the two can be compared; the best one counts.
  tuned.train.early_stopping_patience = 0
  scratch = copy.deepcopy(tuned)
  usual = quickstart.get_config().train
  scratch.train.update(init_from='', learning_rate=usual.learning_rate)
  scratch.train.warmup_steps = usual.warmup_steps
  return {_TUNED: tuned, _SCRATCH: scratch}


def measure(series: Sequence[np.ndarray], held: HeldOut, dt_ns: float) -> dict[str, float | None]:
  """The numbers of a row: means over replicas [1 + F, L, 4, 3] Å, each against the held-out MD."""
  bonded, native = held.entry.bonds, held.reference[0][0]
  each = [calibration.measure([x], held.reference, bonded, native, dt_ns) for x in series]
  found = dataclasses.asdict(calibration.mean(each))
  return {number.key: found[number.key] for number in _COLUMNS if number.key in found}


def train(config: Any, workdir: pathlib.Path) -> tuple[Any, Mapping[str, Any], dict[str, Any]]:
  """Configuration and parameters of the trained model, and numbers of its row.

  Its minutes are those of training, with compiling and validation, over all stretches of the run.
  """
  loop.train(config, str(workdir))
  trained, params, best_step = workdir_lib.load(workdir)
  seconds = metric_writer.training_seconds(metric_writer.read(workdir))
  return trained.model, params, {'best_step': best_step, 'minutes': seconds / 60.0}


def run(
  model: str,
  data: pathlib.Path,
  workdir: pathlib.Path,
  steps: int | None,
  num_replicas: int,
  *,
  train: Callable[..., tuple[Any, Mapping[str, Any], dict[str, Any]]] = train,
  sample: Callable[..., tuple[list[np.ndarray], np.ndarray]] = rollouts.sample_rollouts,
) -> dict[str, Any]:
  """Trains, samples and measures.

  Args:
    model: 'default' or a directory.
    data: directory with trajectories/bpti_5ns.
    workdir: for store, models and results.
    steps: of training; None: those of the configuration.
    num_replicas: to sample of each model.
    train: what trains, as `train` of this module.
    sample: what samples, as `rollouts.sample_rollouts`.

  Returns:
    The content of finetuning.json; 'rows': the numbers of each row of the table.

  Raises:
    InputError: there is no such model, or no such data.
  """
  store = workdir / 'store'
  configs = experiments(model, str(store), steps)
  prepare(data, store)
  before = load_model(model)
  sampling = Sampling(
    replicas=num_replicas,
    start='first',
    heldout_split='train',
    heldout_block=_SECOND,
    training_block=_FIRST,
  )
  held = rollouts.held_out(configs[_TUNED], sampling, before.dt_ns)[0]
  # As long as the MD, whose first frame is the start.
  sampling = dataclasses.replace(sampling, frames=len(held.reference[0]) - 1)

  def row(config: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    series, _ = sample(config, params, held, sampling)
    return measure(series, held, before.dt_ns)

  rows: dict[str, dict[str, Any]] = {_BEFORE: row(before.config, before.params)}
  for name, config in configs.items():
    place = workdir / name.replace(' ', '_')
    _LOG.info('%s: training into %s', name, place)
    trained, params, facts = train(config, place)
    rows[name] = row(trained, params) | facts
  rows[_FLOOR] = measure(held.training, held, before.dt_ns)
  md = held.reference[0]
  rows[_NETWORK] = measure([baselines.elastic_network_of(md, md[0])], held, before.dt_ns)
  return results.write(
    workdir / 'finetuning',
    table(rows),
    rows=rows,
    steps=configs[_TUNED].train.num_steps,
    num_replicas=num_replicas,
    model_sha256=provenance.model_sha256(before),
  )


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
  """Markdown of the rows."""
  return markdown.table(
    ['', *(number.heading for number in _COLUMNS)],
    [[name, *markdown.cells(row, _COLUMNS)] for name, row in rows.items()],
  )


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_string(
    'data', '../shared/data', 'Directory with trajectories/bpti_5ns.', flag_values=values
  )
  flags.DEFINE_string(
    'workdir', 'tempo_out/finetuning', 'Store, models, results.', flag_values=values
  )
  flags.DEFINE_integer(
    'steps', None, 'Training steps. Default: those of finetune.py.', lower_bound=1,
    flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer('num_replicas', 4, 'To sample.', lower_bound=1, flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table."""
  compilation_cache_flag.use(values)
  data = pathlib.Path(values.data).expanduser()
  if not data.is_dir():
    raise InputError(f'{data}: no such directory: correct --data')
  workdir = pathlib.Path(values.workdir).expanduser().absolute()
  result = run(values.model, data.absolute(), workdir, values.steps, values.num_replicas)
  print(table(result['rows']))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

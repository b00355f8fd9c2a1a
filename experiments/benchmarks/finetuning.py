r"""What fine-tuning gains: the first half of a protein's MD trains, the second half tests.

    python -m experiments.benchmarks.finetuning --data=DATA --workdir=DIR --model=default
    python -m experiments.benchmarks.finetuning --data=DATA --workdir=DIR --model=RUN --protein=ntl9

Fine-tunes the model with experiments/configs/finetune.py, and trains the same network from random
parameters for as many steps. Replicas of each, and of the model before, start in the first frame
of the second half and are as long; every number is a mean over replicas. For comparison, the table
has the first half of the MD, and an elastic network with the mean RMSF of the second (its frames
are independent of one another). The protein is one that the model was not trained on: BPTI or
another of `benchmarks.physics`, or one that was left out (`data_prep.default_training_data
--leave_out`). Run again, training resumes. Writes WORKDIR/finetuning.json and finetuning.md.
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
from experiments.benchmarks import held_out, physics
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.configs import finetune, quickstart
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.markdown import Number
from tempo_jax.metrics import baselines, calibration
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.models.model import Model, load_model
from tempo_jax.output import provenance
from tempo_jax.preparation import trajectories
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import loop, metric_writer

_LOG = logging.getLogger('tempo_jax')
# Stretches of the MD: trains; selects the checkpoint. The second half of it judges.
_TRAIN, _VALIDATION, _HALF = (0.0, 0.35), (0.35, 0.5), 0.5
_BEFORE, _TUNED, _SCRATCH = 'the model as it is', 'fine-tuned', 'from random parameters'
_FLOOR, _NETWORK = 'MD, the first half', 'elastic network'
_LAG_STEPS = 20  # of TICA
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


def chosen(data: pathlib.Path, name: str) -> physics.Case:
  """The MD of a protein, all of its frames; `data`: MD of others.

  Raises:
    InputError: there is none of that name.
  """
  every = [*physics.trained_cases(data), *physics.cases(held_out.SIMULATED, data)]
  by_name = {case.name: case for case in every}
  (case,) = physics.named('protein', [name], list(by_name.values()))
  return dataclasses.replace(case, part=(0.0, 1.0))


def prepare(case: physics.Case, store: pathlib.Path) -> None:
  """Puts the first replica of a protein into a store, unless it is there already."""
  with contextlib.redirect_stdout(None):
    trajectories.prepare(
      case.topology,
      case.trajectories[:1],
      store,
      name=case.name,
      temperature_K=case.temperature_K,
      solvent=case.solvent,
      replica=1,
      split='train',
      dt_ns=None,
      num_workers=1,
    )


def experiments(model: str, store: str, steps: int | None) -> dict[str, Any]:
  """The configuration of each training.

  Args:
    model: 'default' or a directory.
    store: with the protein.
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


@dataclasses.dataclass(frozen=True)
class Halves:
  """MD of the protein, as far apart as the case says.

  Attributes:
    protein: in its solvent, in the first frame of the second half.
    first, second: [F, L, 4, 3] Å.
  """

  protein: protein_lib.Protein
  first: np.ndarray
  second: np.ndarray


def halves(case: physics.Case) -> Halves:
  """Those of the first replica.

  Raises:
    InputError: a file cannot be used.
  """
  protein, md = physics.read(case)
  first, second = np.split(md[0], [round(_HALF * len(md[0]))])
  arrays = dataclasses.replace(protein.arrays, positions=second[0])
  return Halves(dataclasses.replace(protein, arrays=arrays), first, second)


def measure(series: Sequence[np.ndarray], md: Halves, dt_ns: float) -> dict[str, float | None]:
  """The numbers of a row: means over replicas [1 + F, L, 4, 3] Å, each against the second half."""
  bonded, native, lag_ns = md.protein.arrays.bonds, md.second[0], _LAG_STEPS * dt_ns
  each = [
    calibration.measure([x], [md.second], bonded, native, dt_ns, lag_ns=lag_ns) for x in series
  ]
  found = dataclasses.asdict(calibration.mean(each))
  return {number.key: found[number.key] for number in _COLUMNS if number.key in found}


def train(config: Any, workdir: pathlib.Path) -> tuple[Model, dict[str, Any]]:
  """The trained model, and numbers of its row.

  Its minutes are those of training, with compiling and validation, over all stretches of the run.
  """
  loop.train(config, str(workdir))
  best_step = workdir_lib.load(workdir)[2]
  seconds = metric_writer.training_seconds(metric_writer.read(workdir))
  return load_model(workdir), {'best_step': best_step, 'minutes': seconds / 60.0}


def run(
  model: str,
  case: physics.Case,
  workdir: pathlib.Path,
  steps: int | None,
  num_replicas: int,
  *,
  train: Callable[..., tuple[Model, dict[str, Any]]] = train,
  sample: Callable[..., np.ndarray] = physics.sample,
) -> dict[str, Any]:
  """Trains, samples and measures.

  Args:
    model: 'default' or a directory.
    case: the protein and its MD, of which the first replica is used.
    workdir: for store, models and results.
    steps: of training; None: those of the configuration.
    num_replicas: to sample of each model.
    train: what trains, as `train` of this module.
    sample: what samples, as `physics.sample`.

  Returns:
    The content of finetuning.json; 'rows': the numbers of each row of the table.

  Raises:
    InputError: there is no such model, or its frames are never as far apart as those of the MD.
  """
  store = workdir / 'store'
  configs = experiments(model, str(store), steps)
  prepare(case, store)
  before, md = load_model(model), halves(case)

  def row(model: Model) -> dict[str, Any]:
    # As long as the second half, whose first frame is the start.
    sampled = sample(model, md.protein, case, len(md.second) - 1, num_replicas, 0)
    return measure([np.concatenate([md.second[:1], x]) for x in sampled], md, case.dt_ns)

  rows: dict[str, dict[str, Any]] = {_BEFORE: row(before)}
  for name, config in configs.items():
    place = workdir / name.replace(' ', '_')
    _LOG.info('%s: training into %s', name, place)
    trained, facts = train(config, place)
    rows[name] = row(trained) | facts
  rows[_FLOOR] = measure([md.first], md, case.dt_ns)
  network = baselines.elastic_network_of(md.second, md.second[0])
  rows[_NETWORK] = measure([network], md, case.dt_ns)
  return results.write(
    workdir / 'finetuning',
    table(rows),
    rows=rows,
    protein=case.name,
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
  flags.DEFINE_string('data', '../shared/data', 'Directory with MD of others.', flag_values=values)
  flags.DEFINE_string(
    'protein', 'bpti', 'Of benchmarks.physics, or ntl9, sh2, psi or trpcage.', flag_values=values
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
  case = chosen(data.absolute(), values.protein)
  result = run(values.model, case, workdir, values.steps, values.num_replicas)
  print(table(result['rows']))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

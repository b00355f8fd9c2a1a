r"""How well do the dynamics match held-out MD? The paper's setting, ours, and the floor.

    python -m experiments.benchmarks.calibrated_dynamics --data=DATA --workdir=DIR \
        --cases=cln025_350K,pentalanine --ours='model.objective=flow_matching,model.closure=True'

Each case (`calibration_cases`) prepares a store, trains the settings by `experiments.ablation`,
samples, and is read off. What the cases leave open, `--config` says. Run again, it goes on where it
was; the table, in WORKDIR/table.md, holds every case that has been finished there.
"""

import copy
import json
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from experiments.ablation import ablation
from experiments.ablation import settings as ablation_settings
from experiments.benchmarks.calibration_cases import CASES, Case, Row
from tempo_jax import errors
from tempo_jax.errors import InputError

_LOG = logging.getLogger('tempo_jax')
_CONFIG = 'experiments/configs/quickstart.py'
_STYLES = {'outside_ca_ca': '.2%', 'outside_c_n': '.2%', 'seconds': '.3g'}


def base_config(
  config: Any, case: Case, levels: Mapping[str, float], store: str, steps: int
) -> Any:
  """The configuration of a case: its data, levels and steps; the rest is the file's.

  Levels keep the settings of the file's level of the same name, or else of its finest one. Where
  `train.select_by` chooses a checkpoint, it does so by the last fifth of the training MD, never by
  what is measured.
  """
  config = copy.deepcopy(config)
  with config.unlocked():
    known = config.model.level
    finest = config.model.levels[-1]
    sections = {name: copy.deepcopy(known[name if name in known else finest]) for name in levels}
    for name in list(known):
      del known[name]
    for name, dt_ns in levels.items():
      known[name] = sections[name]
      known[name].dt_ns = dt_ns
    config.model.levels = config.train.levels = tuple(levels)
    config.data.store = store
    low, high = case.train_block
    config.data.train_block = (low, high)
    config.data.validation_block = None
    if config.train.select_by != 'last':
      middle = low + 0.8 * (high - low)
      config.data.train_block, config.data.validation_block = (low, middle), (middle, high)
      config.data.validation_split = 'train'
    if not case.reversible:
      config.data.reversal = 0.0
    config.train.num_steps = steps
    config.train.teacher_forcing_steps = max(1, steps // 2)
  return config


def configs_of(
  config: Any, case: Case, store: str, steps: int, ours: str, paper: str
) -> dict[str, Any]:
  """The configuration of every setting of a case; see `ablation_settings.settings`."""
  found: dict[str, Any] = {}
  for kind, levels in case.levels.items():
    base = base_config(config, case, levels, store, steps)
    end = f'_{kind}' if kind else ''
    texts = [f'paper{end}:paper,{paper}', f'ours{end}:{ours}']
    found |= ablation_settings.settings(base, texts)
  return found


def run_case(
  name: str,
  config: Any,
  data: pathlib.Path,
  simulated: pathlib.Path | None,
  workdir: pathlib.Path,
  *,
  steps: int | None = None,
  ours: str = '',
  paper: str = '',
  remeasure: bool = False,
) -> dict[str, Any]:
  """Prepares, trains, samples and measures one case.

  Args:
    name: of the case.
    config: an experiment's configuration.
    data: directory with the simulations.
    simulated: see `calibration_cases.temperatures`.
    workdir: stores, models and cases/NAME.json go there.
    steps: of training; None: the case's.
    ours: changes of our setting, PATH=VALUE,...
    paper: changes of the paper's.
    remeasure: sample again.

  Returns:
    The content of cases/NAME.json: 'runs', what `ablation.run` gave, by name.
  """
  case = CASES[name]
  store = workdir / 'stores' / case.data
  _LOG.info('case %s: preparing its store', name)
  case.prepare(data, simulated, store)
  configs = configs_of(config, case, str(store), steps or case.steps, ours, paper)
  runs = {}
  for index, (label, sampling) in enumerate(case.runs.items()):
    out = workdir / 'cases' / name / (label.replace(' ', '_') or 'all')
    runs[label] = ablation.run(
      configs,
      workdir / 'models' / case.models,
      sampling,
      timing=case.timing and index == 0,
      remeasure=remeasure,
      out=out,
    )
  result = {'case': name, 'runs': runs}
  ablation.write_whole(workdir / 'cases' / f'{name}.json', json.dumps(result, indent=1) + '\n')
  return result


def _number(row: Mapping[str, Any] | None, key: str, reference: str = 'helix') -> Any:
  """A number of a setting or of the floor; of helix over time, its ends or all of it as text."""
  if row is None:
    return None
  if not key.startswith('helix_'):
    return row.get(key)
  shares = [share for _, share in row[reference]]
  if not shares:
    return None
  if key == 'helix_text':
    times = row[reference]
    return f'{" ".join(f"{share:.2f}" for share in shares)} (to {times[-1][0]:.2g} ns)'
  return shares[0] if key == 'helix_first' else shares[-1]


def _text(value: Any, key: str) -> str:
  if isinstance(value, str):
    return value
  return ablation.text_of(value, _STYLES.get(key, '.3f' if key.endswith('jsd') else '.2f'))


def _worse(value: float, other: float, sign: int) -> bool:
  """Whether a number is worse than another: greater, smaller, or farther from 1."""
  if sign == 0:
    return abs(value - 1.0) > abs(other - 1.0)
  return sign * value > sign * other


def goal_of(row: Row, value: Any, floor: Any, other: Any) -> str:
  """The last column: the goal, and whether it is reached.

  Args:
    row: of the table.
    value: our number.
    floor: MD's.
    other: the number of the run that it is to be no worse than.
  """
  least, greatest = row.goal
  style = _STYLES.get(row.key, '.3g')
  if row.than is not None:
    if value is None or other is None:
      return f'no worse than {row.than[0] or row.than[1]}'
    reached = not _worse(value, other, row.than[2])
    text = f'no worse than {_text(other, row.key)}'
  elif row.floors is not None:
    if floor is None:
      return f'at most {row.floors:g} x floor'
    reached = value is not None and value <= row.floors * floor
    text = f'at most {row.floors:g} x floor = {_text(row.floors * floor, row.key)}'
  elif least is None and greatest is None:
    return ''
  else:
    reached = value is not None
    if least is not None:
      reached = reached and value >= least
    if greatest is not None:
      reached = reached and value <= greatest
    if greatest is None:
      text = f'at least {least:g}'
    elif least is None:
      text = 'none' if greatest == 0.0 else f'at most {format(greatest, style)}'
    else:
      text = f'{least:g} - {greatest:g}'
  return f'{text}: {"reached" if reached else "not reached"}'


def rows_of(result: Mapping[str, Any]) -> list[list[str]]:
  """The lines of one case."""
  lines = []
  for row in CASES[result['case']].rows:
    run = result['runs'][row.run]
    settings = run['settings']
    value = _number(settings.get(row.ours), row.key)
    floor = run['floor']
    # MD beside a prediction from unfolded frames is the held-out MD itself.
    helix = row.key.startswith('helix_')
    floor_value = _number(floor, row.key, 'helix_reference' if helix else 'helix')
    other = None
    if row.than is not None:
      other = _number(result['runs'][row.than[0] or row.run]['settings'].get(row.than[1]), row.key)
    lines.append(
      [
        result['case'],
        row.number,
        _text(_number(settings.get(row.paper), row.key), row.key),
        _text(value, row.key),
        _text(floor_value, row.key),
        goal_of(row, value, floor_value, other),
      ]
    )
  return lines


def table(workdir: pathlib.Path) -> str:
  """All cases that are finished, in the order of the issue."""
  lines = []
  for name in CASES:
    path = workdir / 'cases' / f'{name}.json'
    if path.is_file():
      lines += rows_of(json.loads(path.read_text()))
  return ablation.markdown(['case', 'number', 'paper', 'ours', 'MD floor', 'goal'], lines)


def define_flags(values: flags.FlagValues) -> None:
  """Called by the binary only."""
  config_flags.DEFINE_config_file(
    'config', _CONFIG, 'Experiment file: what the cases leave open.', flag_values=values
  )
  flags.DEFINE_string(
    'data', '../shared/data', 'Directory with the simulations.', flag_values=values
  )
  flags.DEFINE_string(
    'simulated', None, 'Directory of the case temperature: see its message.', flag_values=values
  )
  flags.DEFINE_string(
    'workdir', 'tempo_out/calibrated_dynamics', 'Stores, models, results.', flag_values=values
  )
  flags.DEFINE_list('cases', list(CASES), f'Of {", ".join(CASES)}.', flag_values=values)
  flags.DEFINE_integer(
    'steps', None, 'Training steps. Default: those of the case.', lower_bound=1, flag_values=values
  )
  flags.DEFINE_string(
    'ours', '', 'Changes of the configuration for our setting.', flag_values=values
  )
  flags.DEFINE_string(
    'paper', '', 'Changes for the paper setting, beside those of `paper`.', flag_values=values
  )
  flags.DEFINE_bool('remeasure', False, 'Sample again what was measured.', flag_values=values)


def run(values: flags.FlagValues) -> str:
  """Does what the flags say; returns the table.

  Raises:
    InputError: something that the user gave is wrong.
  """
  unknown = [name for name in values.cases if name not in CASES]
  if unknown:
    raise InputError(f'--cases: there is no {", ".join(unknown)}: choose from {", ".join(CASES)}')
  data = pathlib.Path(values.data).expanduser()
  if not data.is_dir():
    raise InputError(f'{data}: no such directory: correct --data')
  simulated = pathlib.Path(values.simulated).expanduser() if values.simulated else None
  workdir = pathlib.Path(values.workdir).expanduser().absolute()
  for name in values.cases:
    run_case(
      name,
      values.config,
      data.absolute(),
      simulated,
      workdir,
      steps=values.steps,
      ours=values.ours,
      paper=values.paper,
      remeasure=values.remeasure,
    )
    # Each case may take hours: the table grows with them.
    ablation.write_whole(workdir / 'table.md', table(workdir))
  return table(workdir)


def main(argv: Sequence[str]) -> None:
  """From the flags to the table."""
  del argv
  print(run(flags.FLAGS))


if __name__ == '__main__':
  define_flags(flags.FLAGS)
  errors.run(main)

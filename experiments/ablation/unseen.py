"""Settings judged by MD of proteins that none of them has seen (`experiments.benchmarks.physics`).

Every setting is sampled at the spacing and for the length of that MD. What is measured of one is
kept in WORKDIR/unseen.json, by all that training and sampling depend on: a run goes on from it
where it stopped, on another machine, too, without training again what has been measured.
"""

import dataclasses
import hashlib
import json
import logging
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments import results
from experiments.benchmarks import physics
from tempo_jax import config as config_lib
from tempo_jax import version
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.models import model as model_lib
from tempo_jax.store import store as store_lib
from tempo_jax.training import loop, metric_writer

_LOG = logging.getLogger('tempo_jax')
_STEM = 'unseen'
_SEED = re.compile(r'(.+)_seed(-?\d+)')
# What of a training does not change its result.
_ELSEWHERE = ('store',)
Measured = dict[str, dict[str, Any]]
"""By setting: 'key', 'steps', 'training_seconds', 'parameters' and 'proteins', their rows."""


@dataclasses.dataclass(frozen=True)
class Judges:
  """What a setting is judged by.

  Attributes:
    cases: MD of proteins.
    num_replicas: sampled of each.
    seed: of the samples.
  """

  cases: Sequence[physics.Case]
  num_replicas: int
  seed: int


def key_of(config: Any, judges: Judges) -> str:
  """A checksum of all that the numbers of a setting depend on."""
  plain = config_lib.to_dict(config)
  plain['data'] = {k: v for k, v in plain['data'].items() if k not in _ELSEWHERE}
  entries = store_lib.Store(config.data.store).entries
  content = (
    version.__version__,
    plain,
    [(each.key, each.num_frames, each.dt_ns, each.split) for each in entries],
    (judges.num_replicas, judges.seed),
  )
  return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def run(
  configs: Mapping[str, Any],
  workdir: pathlib.Path,
  judges: Judges,
  train: Callable[[Any, str], Any] = loop.train,
  measure: Callable[..., physics.Row] = physics.measure,
) -> Measured:
  """Trains and measures every setting that is not measured yet; writes unseen.json and unseen.md.

  Args:
    configs: configuration per setting; of several seeds, NAME_seed0, ...
    workdir: each is trained into WORKDIR/NAME.
    judges: what they are judged by.
    train: (configuration, directory) -> None, as `loop.train`.
    measure: as `physics.measure`.

  Raises:
    InputError: there is no MD, or a setting cannot be trained or sampled.
  """
  if not judges.cases:
    raise InputError('--unseen: no MD of proteins there: give the directory of md_public')
  workdir = pathlib.Path(workdir).absolute()
  known = _read(workdir)
  found: Measured = {}
  for index, (name, config) in enumerate(configs.items()):
    key = key_of(config, judges)
    before = known.get(name, {})
    proteins = before['proteins'] if before.get('key') == key else {}
    missing = [case for case in judges.cases if case.name not in proteins]
    found[name] = before | {'key': key, 'proteins': proteins}
    if missing:
      _LOG.info('setting %s (%d of %d): training', name, index + 1, len(configs))
      train(config, str(workdir / name))
      model = model_lib.load_model(workdir / name)
      found[name] |= _facts(workdir / name, model)
    for case in missing:
      _LOG.info('setting %s: sampling %s', name, case.name)
      proteins[case.name] = measure(model, case, judges.num_replicas, judges.seed)
      # Those of settings that are not asked for now stay.
      _write(workdir, known | found, found, judges)
  _write(workdir, known | found, found, judges)
  return found


def _facts(folder: pathlib.Path, model: model_lib.Model) -> dict[str, Any]:
  lines = metric_writer.read(folder)
  # Levels may share their parameters.
  different = {id(tree): tree for tree in model.as_trained().params.values()}
  return {
    'steps': lines[-1]['step'] if lines else 0,
    'training_seconds': metric_writer.training_seconds(lines),
    'parameters': sum(x.size for tree in different.values() for x in jax.tree.leaves(tree)),
  }


def _read(workdir: pathlib.Path) -> Measured:
  try:
    return dict(json.loads((workdir / f'{_STEM}.json').read_text())['settings'])
  except (OSError, ValueError, KeyError, TypeError):
    return {}


def _write(workdir: pathlib.Path, every: Measured, asked: Measured, judges: Judges) -> None:
  how = {'num_replicas': judges.num_replicas, 'seed': judges.seed}
  results.write(workdir / _STEM, table(asked), settings=every, **how)


def table(found: Measured) -> str:
  """Markdown: a row for each setting, a column for each protein, then means over proteins.

  RMSF of CA to that of MD, and Pearson's r over residues: means over replicas; of several seeds the
  median, and for the means over proteins the range, too. Below, the elastic network and MD.
  """
  groups: dict[str, list[dict[str, Any]]] = {}
  for name, measured in found.items():
    if measured['proteins']:
      seed = _SEED.fullmatch(name)
      groups.setdefault(seed[1] if seed else name, []).append(measured['proteins'])
  if not groups:
    return ''
  names = list(dict.fromkeys(name for each in groups.values() for x in each for name in x))
  lines = []
  for group, models in groups.items():

    def numbers(name: str, key: str, models: list[dict[str, Any]] = models) -> list[float]:
      return [float(np.mean(x[name][key])) for x in models if name in x]

    whole = [x for x in models if len(x) == len(names)]
    factors = [
      float(np.exp(np.mean([abs(np.log(np.mean(row['rmsf_ratio']))) for row in x.values()])))
      for x in whole
    ]
    correlations = [float(np.mean([np.mean(row['r']) for row in x.values()])) for x in whole]
    cells = [
      f'{np.median(numbers(name, "rmsf_ratio")):.2f}, {np.median(numbers(name, "r")):.2f}'
      if numbers(name, 'r')
      else '-'
      for name in names
    ]
    lines.append([group, str(len(models)), *cells, _ranged(factors), _ranged(correlations)])
  rows = {name: x for each in groups.values() for model in each for name, x in model.items()}
  for heading, key in (('elastic network', 'network_r'), ('MD, halves', 'halves_r')):
    r = [rows[name][key] for name in names]
    lines.append([heading, '', *(f'{x:.2f}' for x in r), '', f'{np.mean(r):.2f}'])
  heads = ['setting', 'seeds', *names, 'RMSF off by a factor of', 'mean r']
  return markdown.table(heads, lines)


def _ranged(values: Sequence[float]) -> str:
  if not values:
    return '-'
  middle, low, high = (f'{x:.2f}' for x in (np.median(values), min(values), max(values)))
  return middle if len(values) == 1 else f'{middle} ({low} to {high})'

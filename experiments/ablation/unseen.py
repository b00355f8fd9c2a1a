"""Settings judged by MD of proteins that none of them was trained on (`benchmarks.physics`).

Every setting is sampled at the spacing and for the length of that MD. Rows are kept in
WORKDIR/unseen.json by all that they depend on but the source code: configuration, store, MD and
seeds. A run goes on where it stopped; with a copy of that file, and the store, on another machine,
too, where no setting is trained again whose rows are all there.
"""

import dataclasses
import logging
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments import results
from experiments.ablation import rollouts
from experiments.benchmarks import held_out, physics
from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.store import store as store_lib
from tempo_jax.training import loop, metric_writer

_LOG = logging.getLogger('tempo_jax')
_STEM = 'unseen'
_NEEDED = ('trained', 'model_sha256', 'protein', 'rmsf_ratio', 'r', 'network_r', 'halves_r')
_SEED = re.compile(r'(.+)_seed(-?\d+)')
Row = dict[str, Any]
"""'key', 'setting', 'trained' (a checksum), 'model_sha256', 'protein', what training cost, and the
numbers of `physics.measure`."""


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
  seed: int = 0


def cases(data: pathlib.Path, names: Sequence[str]) -> list[physics.Case]:
  """MD of proteins that are never trained on.

  Args:
    data: with md_public.
    names: of them; none: all.

  Raises:
    InputError: there is no such directory or protein.
  """
  if not (data / 'md_public').is_dir():
    raise InputError(f'--unseen={data}: holds no md_public: give the directory with MD of others')
  every = [x for x in physics.cases(held_out.SIMULATED, data) if x.part == (0.0, 1.0)]
  return physics.named('only', names, every) or every


def training_key(config: Any) -> str:
  """A checksum of a configuration and of the store that it names, wherever that is."""
  plain = config_lib.to_dict(config)
  store = store_lib.Store(plain['data'].pop('store'))
  if init_from := plain['train'].pop('init_from'):
    plain['init_from'] = provenance.model_sha256(model_lib.load_model(init_from))
  entries = [(x.key, x.split, x.dt_ns, x.num_frames, x.array, x.solvent) for x in store.entries]
  return results.checksum(plain, entries)


def run(
  configs: Mapping[str, Any],
  workdir: pathlib.Path,
  judges: Judges,
  remeasure: bool = False,
  train: Callable[[Any, str], Any] = loop.train,
  measure: Callable[..., physics.Row] = physics.measure,
) -> list[Row]:
  """Trains and measures what is not measured yet; writes unseen.json and unseen.md after each row.

  Args:
    configs: configuration per setting; of several seeds, NAME_seed0, ...
    workdir: each is trained into a folder there, of its name and a part of its checksum.
    judges: what they are judged by.
    remeasure: sample again what was measured before.
    train: (configuration, directory) -> None, as `loop.train`.
    measure: as `physics.measure`.

  Returns:
    Rows of the settings and proteins that were asked for.

  Raises:
    InputError: a setting cannot be trained, or sampled at the spacing of the MD.
  """
  for config in configs.values():  # What cannot be sampled is found before training.
    if not time_scales.has_any_step(config.model):
      for case in judges.cases:
        physics.stride_of(rollouts.time_step_ns(config.model), case.dt_ns, case.name)
  workdir = pathlib.Path(workdir).absolute()
  known = results.known_rows(workdir / _STEM, _NEEDED)
  found: dict[tuple[str, str], Row] = {}
  for index, (name, config) in enumerate(configs.items()):
    trained = training_key(config)
    how = judges.num_replicas, judges.seed
    keys = {case.name: results.checksum(trained, case.fingerprint(), how) for case in judges.cases}
    if remeasure:
      known = {key: row for key, row in known.items() if key not in keys.values()}
    if not all(key in known for key in keys.values()):
      _LOG.info('setting %s (%d of %d): training', name, index + 1, len(configs))
      folder = workdir / f'{name}_{trained[:8]}'
      train(config, str(folder))
      # Programs of all settings together are more than a process may map into memory.
      jax.clear_caches()
      model = model_lib.load_model(folder)
      facts = {'setting': name, 'trained': trained, **_facts(folder, model)}
      # Another machine may have come to other parameters.
      same = facts['model_sha256']
      known = {
        key: row
        for key, row in known.items()
        if row['trained'] != trained or row['model_sha256'] == same
      }
    for case in judges.cases:
      key = keys[case.name]
      if key not in known:
        _LOG.info('setting %s: sampling %s', name, case.name)
        numbers = measure(model, case, judges.num_replicas, judges.seed)
        known[key] = {**numbers, **facts, 'key': key, 'protein': case.name}
      found[name, case.name] = {**known[key], 'setting': name}
      results.write(workdir / _STEM, table(list(found.values())), rows=list(known.values()))
    jax.clear_caches()
  return list(found.values())


def _facts(folder: pathlib.Path, model: model_lib.Model) -> dict[str, Any]:
  lines = metric_writer.read(folder)
  # Levels may share their parameters.
  different = {id(tree): tree for tree in model.as_trained().params.values()}
  return {
    'model_sha256': provenance.model_sha256(model),
    'steps': lines[-1]['step'] if lines else 0,
    'training_seconds': metric_writer.training_seconds(lines),
    'parameters': sum(x.size for tree in different.values() for x in jax.tree.leaves(tree)),
  }


def table(rows: Sequence[Row]) -> str:
  """Markdown: a line for each setting, a column for each protein, then means over proteins.

  RMSF of CA to that of MD, and Pearson's r over residues, means over replicas; of several seeds,
  those of which all proteins are measured, the median, and for the means the range. The factor by
  which RMSF is off is the geometric mean over proteins, too large or too small alike. Below, the
  elastic network and the halves of MD.
  """
  names = list(dict.fromkeys(row['protein'] for row in rows))
  models: dict[str, dict[str, Row]] = {}
  for row in rows:
    models.setdefault(row['setting'], {})[row['protein']] = row
  groups: dict[str, list[dict[str, Row]]] = {}
  for setting, of_proteins in models.items():
    if len(of_proteins) == len(names):
      seed = _SEED.fullmatch(setting)
      groups.setdefault(seed[1] if seed else setting, []).append(of_proteins)
  lines = []
  for group, seeds in groups.items():
    ratio, r = (
      np.array([[np.mean(each[name][key]) for name in names] for each in seeds])
      for key in ('rmsf_ratio', 'r')
    )
    cells = [
      f'{a:.2f}, {b:.2f}'
      for a, b in zip(np.median(ratio, axis=0), np.median(r, axis=0), strict=True)
    ]
    factor = np.exp(np.mean(np.abs(np.log(ratio)), axis=1))
    lines.append([group, str(len(seeds)), *cells, _ranged(factor), _ranged(r.mean(axis=1))])
  last = {row['protein']: row for row in rows}
  for heading, key in (('elastic network', 'network_r'), ('MD, halves', 'halves_r')):
    of_md = [last[name][key] for name in names]
    lines.append([heading, '', *(f'{x:.2f}' for x in of_md), '', f'{np.mean(of_md):.2f}'])
  heads = ['setting', 'seeds', *names, 'RMSF off by a factor of', 'mean r']
  return markdown.table(heads, lines)


def _ranged(values: np.ndarray) -> str:
  middle, low, high = (f'{x:.2f}' for x in (np.median(values), values.min(), values.max()))
  return middle if len(values) == 1 else f'{middle} ({low} to {high})'

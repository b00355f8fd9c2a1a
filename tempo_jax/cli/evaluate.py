r"""Judges ensembles and trajectories against MD, with error bars.

One protein:
    tempo-jax evaluate --topology=native.pdb --reference=R1.xtc,R2.xtc \
        --prediction=tempo_out/native/trajectory.xtc --out=evaluation
Many:
    tempo-jax evaluate --suite=suite.json --out=evaluation

suite.json is a list, paths relative to it:
    [{"name": "1abc_A", "topology": "1abc_A.pdb", "reference": ["R1.xtc", "R2.xtc"],
      "prediction": ["P.xtc"]}, ...]
An item may also have "prediction_topology", "reference_topology" (structures with the atoms of
those files), "prediction_dt_ns", "reference_dt_ns" (time between their frames) and "temperature_K".

Trajectories are of any format that mdtraj reads; PDB and mmCIF with several models, also gzipped;
folders of such files, which are the frames of one replica, as numbers in their names count; or
NumPy arrays of [frames, residues, atoms, 3], as AlphaFold's kin have them (.npy).

Writes into --out: metrics.json (all numbers, with why some are missing), metrics.md (the table:
medians over proteins, with 95 % bootstrap intervals, or errors) and report.html (pictures and the
trajectories in 3-D; opens offline). Baselines are judged as the prediction is: replicas of MD
against each other, halves of MD, the beginning of MD (as long as the prediction), the frozen
native structure, Gaussian noise with MD's variance, and an elastic network. Side chains are
judged where both sides have them, motion and kinetics where both have times. What was computed is
kept per protein in OUT/proteins, so that the same command goes on after an interruption, and
repeats only what has changed.

--protocol=biokinema also scores kinetics as BioKinema's published code does, with what MD reaches
against itself.

--export=premval|bioemu-benchmarks|mdgen, or several of them separated by commas, also writes the
predictions into OUT/export/NAME as the files that these public benchmarks take.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from tempo_jax import extras, files, workers
from tempo_jax.cli import case_flags, export_flags, worker_flags
from tempo_jax.errors import InputError
from tempo_jax.evaluation import (
  biokinema_protocol,
  cache,
  columns,
  evaluation,
  markov_scores,
  side_chain_scores,
  summary,
  trajectory_scores,
)
from tempo_jax.evaluation.columns import PREDICTION
from tempo_jax.evaluation.evaluation import Evaluation
from tempo_jax.evaluation.export import exports as exports_lib
from tempo_jax.evaluation.results import ABOUT_ERRORS, Results
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.series import ProteinSeries
from tempo_jax.evaluation.suite import Case
from tempo_jax.metrics import resampling
from tempo_jax.output import provenance
from tempo_jax.report import evaluation_page, protein_section, sentences
from tempo_jax.report.protein_section import ProteinSection

# Of the report's table, by key.
_GROUPS = {
  'Trajectories: states, motion, validity': trajectory_scores.KEYS,
  'Kinetics in states of MD': markov_scores.KEYS,
  'Side chains': side_chain_scores.KEYS,
}
_REST = "Ensembles: the paper's table"


@dataclasses.dataclass(frozen=True)
class Task:
  """One protein to evaluate."""

  case: Case
  settings: Settings
  out: pathlib.Path
  with_baselines: bool
  with_page: bool
  exports: exports_lib.Exports = exports_lib.NOTHING

  @property
  def file(self) -> pathlib.Path:
    """Where its results are kept."""
    return self.out / 'proteins' / f'{self.case.name}.npz'

  @property
  def key(self) -> str:
    """Of all that they depend on."""
    return cache.fingerprint(self.case, self.settings, self.with_baselines)


@dataclasses.dataclass(frozen=True)
class Done(workers.Result):
  """A protein that was evaluated; its results are in the cache.

  Attributes:
    section: of the page; None without one.
    exported: the benchmarks for which files were written.
  """

  section: ProteinSection | None = None
  exported: tuple[str, ...] = ()


def evaluate(
  cases: Sequence[Case],
  out: str | os.PathLike,
  settings: Settings,
  *,
  with_baselines: bool = True,
  with_page: bool = True,
  exports: exports_lib.Exports = exports_lib.NOTHING,
  num_workers: int | None = None,
  scheduler: str | None = None,
) -> int:
  """Evaluates proteins and writes metrics.json, metrics.md and report.html.

  Args:
    cases: the proteins.
    out: directory, made if it is not there.
    settings: how to compare.
    with_baselines: judge them too.
    with_page: write report.html.
    exports: files for public benchmarks to write, too.
    num_workers: proteins at once; by default one per core.
    scheduler: address of a Dask cluster, in place of local processes.

  Returns:
    The exit code: 1 if some of several proteins could not be evaluated, or one not exported; they
    were reported.

  Raises:
    InputError: nothing could be evaluated, or there is only one protein and it could not.
  """
  extras.require('threadpoolctl', 'evaluate')  # Now, not once per protein.
  if with_page:
    extras.require('matplotlib', 'report')
  exports_lib.check(exports)
  for case in cases:
    columns.check(case)
  folder = pathlib.Path(out).expanduser()
  is_new = not folder.exists()
  try:
    (folder / 'proteins').mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f'{folder}: cannot be made: {error.strerror}: choose another --out') from error
  tasks = []
  for case in cases:
    own = case.temperature_K or settings.temperature_K
    own_settings = dataclasses.replace(settings, temperature_K=own)
    tasks.append(Task(case, own_settings, folder, with_baselines, with_page, exports))
  results = workers.run(
    evaluate_one,
    tasks,
    names=[case.name for case in cases],
    num_workers=num_workers,
    scheduler=scheduler,
    unit='protein',
  )
  errors = [line for result in results for line in result.errors]
  done = {task.case.name: found for task in tasks if (found := cache.read(task.file, task.key))}
  if not done:
    if is_new:
      with contextlib.suppress(OSError):  # It stays if something is in it.
        (folder / 'proteins').rmdir()
        folder.rmdir()
    raise InputError(errors[0])
  sections = [each.section for each in results if isinstance(each, Done) and each.section]
  _write(folder, done, sections, settings)
  for line in errors:
    print(f'error: {" ".join(line.split())}', file=sys.stderr)
  print((folder / 'metrics.md').read_text())
  for line in (line for result in results for line in result.lines):
    print(line)
  for key in exports.benchmarks:
    count = sum(isinstance(result, Done) and key in result.exported for result in results)
    where = exports_lib.folder(folder, key)
    print(f'{key}: {count} of {len(cases)} proteins exported' + (f' to {where}' if count else ''))
  print(f'{len(done)} of {len(cases)} proteins evaluated; written to {folder}')
  return 1 if errors else 0


def evaluate_one(task: Task) -> workers.Result:
  """Evaluates one protein, unless that has been done, and draws its section of the page."""
  key = task.key
  found, done = cache.read(task.file, key), Done(task.case.name)
  # Proteins are small and evaluated side by side: more threads would wait for each other.
  with extras.require('threadpoolctl', 'evaluate').threadpool_limits(1):
    # Results of a run without a page have nothing to draw.
    if found is None or (task.with_page and found.series is None):
      found, done = _evaluate(task)
      cache.write(task.file, key, found)
    if task.exports.benchmarks:
      prediction = columns.prediction_of(task.case)
      exported = exports_lib.write(task.exports, task.case.name, prediction, task.out)
      done = dataclasses.replace(
        done, lines=exported.remarks, errors=exported.errors, exported=exported.benchmarks
      )
    if not task.with_page or found.series is None:
      return done
    return dataclasses.replace(done, section=_section(found, found.series))


def _evaluate(task: Task) -> tuple[Evaluation, Done]:
  reference, prediction = columns.read(task.case)
  found = evaluation.evaluate(
    task.case.name,
    reference,
    prediction,
    task.settings,
    task.with_baselines,
    task.with_page,
  )
  frames = reference.num_frames + prediction.num_frames
  num_bytes = reference.positions.nbytes + prediction.positions.nbytes
  return found, Done(task.case.name, frames=frames, num_bytes=num_bytes)


def _section(found: Evaluation, curves: ProteinSeries) -> ProteinSection:
  column = found.columns[PREDICTION]
  missing: dict[str, list[str]] = {}
  for key, why in column.notes.items():
    missing.setdefault(why, []).append(key)
  return protein_section.draw(
    curves,
    {row.label: column.numbers[row.key] for row in summary.ROWS},
    [*found.remarks, *(f'Missing: {", ".join(keys)} ({why})' for why, keys in missing.items())],
  )


def _write(
  folder: pathlib.Path,
  done: Mapping[str, Evaluation],
  sections: Sequence[ProteinSection],
  settings: Settings,
) -> None:
  found = Results(done, settings.seed)
  asked = {
    **dataclasses.asdict(settings),
    'num_proteins': len(done),
    'bootstrap_samples': summary.NUM_BOOTSTRAP,
    'versions': provenance.versions(),
  }
  text = found.markdown()
  if settings.protocol == 'biokinema':
    text += '\n' + biokinema_protocol.table([x.details['biokinema'] for x in done.values()])
  files.write_text(folder / 'metrics.md', text)
  if sections:
    page = _page(sections, found.table, found.bounds, found.errors, asked)
    files.write_text(folder / 'report.html', page)
  # Last: whoever finds it finds the others too.
  content = found.content(asked)
  files.write_text(folder / 'metrics.json', json.dumps(content, indent=1, allow_nan=False) + '\n')


def _page(
  sections: Sequence[ProteinSection],
  table: Mapping[str, Mapping[str, float | None]],
  bounds: Mapping[str, Mapping[str, tuple[float, float] | None]],
  errors: Mapping[str, Mapping[str, float | None]],
  asked: Mapping[str, Any],
) -> str:
  def estimate(name: str, key: str) -> evaluation_page.Estimate:
    value, error = table[name][key], errors.get(name, {}).get(key)
    low, high = bounds[name][key] or (None, None)
    noise = summary.is_noise(key, value, error)
    return evaluation_page.Estimate(value, low, high, error, noise)

  rows = [
    evaluation_page.SummaryRow(
      row.label,
      {name: estimate(name, row.key) for name in table},
      next((group for group, keys in _GROUPS.items() if row.key in keys), _REST),
    )
    for row in summary.ROWS
  ]
  many = len(sections) > 1
  return evaluation_page.evaluation_page(
    f'Evaluation of {len(sections)} proteins' if many else f'Evaluation of {sections[0].name}',
    rows,
    sections,
    asked,
    summary_sentence=sentences.ranking(
      {name: column['root_mean_w2'] for name, column in table.items()}, PREDICTION
    ),
    summary_caption=('Medians over proteins, with 95 % bootstrap intervals. ' if many else '')
    + 'MD replicas: each replica of MD against all others; no model should be asked to beat it. '
    'MD halves: the first half of MD against the second. MD, its first n ns: the beginning of MD, '
    'as long as the prediction, against all of MD. The definitions are in the docstrings of '
    f'tempo_jax.metrics. {ABOUT_ERRORS}',
  )


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  case_flags.define_flags(values)
  flags.DEFINE_string('out', None, 'Directory to write into. Required.', flag_values=values)
  flags.DEFINE_enum(
    'resample',
    'none',
    ['none', 'alphaflow'],
    'alphaflow: draw frames of the reference with replacement, as AlphaFlow does, to compare with '
    'its numbers. none: all frames.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'seed',
    resampling.ALPHAFLOW_SEED,
    'Of --resample, of baselines and of the bootstrap.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'temperature_K', 300.0, 'Of free energies, K.', lower_bound=1.0, flag_values=values
  )
  flags.DEFINE_bool(
    'exposure',
    False,
    'Look at the surface of side chains, too: a minute for 150 residues.',
    flag_values=values,
  )
  flags.DEFINE_float(
    'lag_ns',
    None,
    'Lag of kinetics (Markov models, tICA, VAMP-2), ns: a multiple of both times between frames. '
    'Default: a hundredth of the longest replica of MD.',
    flag_values=values,
  )
  flags.DEFINE_enum(
    'protocol',
    'default',
    ['default', 'biokinema'],
    "biokinema: also score kinetics as BioKinema's code does, with an estimator for each side and "
    'lags of 1 and 10 frames; into `details` of metrics.json, with what MD reaches against itself. '
    'default: one estimator for both sides.',
    flag_values=values,
  )
  flags.DEFINE_bool('baselines', True, 'Judge the baselines too.', flag_values=values)
  flags.DEFINE_bool(
    'report', True, 'Write report.html (needs the extra `report`).', flag_values=values
  )
  export_flags.define_flags(values)
  worker_flags.define_flags(values)


def main(values: flags.FlagValues) -> int:
  """From the flags to `evaluate`."""
  if not values.out:
    raise InputError('--out is missing: --help says what it takes')
  if not math.isfinite(values.temperature_K):
    raise InputError(f'--temperature_K={values.temperature_K}: give a number of kelvin, e.g. 300')
  exports = export_flags.parse(values)
  lag_ns = values.lag_ns
  if lag_ns is not None and not (math.isfinite(lag_ns) and lag_ns > 0.0):
    raise InputError(f'--lag_ns={lag_ns:g}: give a time above 0 in ns, e.g. 0.1')
  return evaluate(
    case_flags.parse(values),
    values.out,
    Settings(
      values.resample,
      values.seed,
      values.temperature_K,
      lag_ns=lag_ns,
      protocol=values.protocol,
      exposure=values.exposure,
    ),
    with_baselines=values.baselines,
    with_page=values.report,
    exports=exports,
    num_workers=values.num_workers,
    scheduler=values.scheduler,
  )

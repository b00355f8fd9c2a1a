r"""Every metric of `evaluate` on every held-out protein, beside MD against MD and baselines.

    python -m experiments.benchmarks.held_out_metrics --model=default --data=DATA --out=OUT

Proteins of `benchmarks.physics` that no frame was trained on. Of each as many replicas as MD has,
as long as the longest of them and with frames as far apart, start from the structure in the
topology file, with all heavy atoms, and `tempo-jax evaluate` judges them by all of the MD. (More
replicas would be pooled, and what parts them would count as fluctuation.) Writes
OUT/held_out_metrics.md, a table for each solvent and time between frames, and OUT/evaluation/ with
everything that `evaluate` writes. Run again, it samples and evaluates only what is not there.
"""

import json
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import mdtraj
import numpy as np
from absl import flags

import tempo_jax
from experiments.benchmarks import held_out, physics
from tempo_jax import files
from tempo_jax.cli import command, compilation_cache_flag, evaluate
from tempo_jax.evaluation import columns, markdown, summary
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.suite import Case
from tempo_jax.models import model as model_lib

BESIDE = (columns.HALVES, columns.NETWORK, columns.FROZEN)
_LONG_STEP_NS = 0.1
_DONE = 'key.txt'


def references(case: physics.Case, folder: pathlib.Path) -> tuple[pathlib.Path, ...]:
  """Files of the MD whose frames are `case.dt_ns` apart; those that must be thinned are written."""
  if case.stride == 1:
    return case.trajectories
  found = []
  for number, file in enumerate(case.trajectories, start=1):
    thinned = mdtraj.load(file, top=case.topology, stride=case.stride)
    thinned.time = 1000.0 * case.dt_ns * (1.0 + np.arange(len(thinned)))
    found.append(folder / f'reference_r{number}.xtc')
    thinned.save(found[-1])
  return tuple(found)


def sampled(model: model_lib.Model, case: physics.Case, out: pathlib.Path, seed: int) -> Case:
  """What `evaluate` compares, its prediction sampled unless that has been done.

  Args:
    model: of any step, or one whose step divides that of the MD.
    case: MD.
    out: directory; the protein gets a folder in it.
    seed: of the samples.

  Raises:
    InputError: the model's frames are never so far apart, or a file cannot be used.
  """
  folder, num_replicas = out / case.name, len(case.trajectories)
  key = physics.key_of(model, case, seed, num_replicas)
  done = folder / _DONE
  if not done.is_file() or done.read_text() != key:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    longest = max(
      len(mdtraj.load(file, top=case.topology, atom_indices=[0])) for file in case.trajectories
    )
    model, stride = physics.at_spacing(model, case.dt_ns, case.name)
    protein = tempo_jax.load_protein(case.topology).in_solvent(case.solvent)
    found = model.sample(
      protein,
      num_frames=stride * (longest // case.stride),
      num_replicas=num_replicas,
      rng=jax.random.key(seed),
      temperature_K=case.temperature_K,
    )
    references(case, folder)
    for number in range(num_replicas):
      kept = found.to_mdtraj(number)[stride - 1 :: stride]
      kept.save(folder / f'trajectory_r{number + 1}.xtc')
      kept[0].save(folder / 'topology.pdb')
    files.write_text(done, key)
  return Case(
    name=case.name,
    topology=case.topology,
    reference=tuple(sorted(folder.glob('reference_r*.xtc'))) or case.trajectories,
    prediction=tuple(folder / f'trajectory_r{k}.xtc' for k in range(1, num_replicas + 1)),
    reference_topology=case.topology,
    prediction_topology=folder / 'topology.pdb',
    temperature_K=case.temperature_K,
    prediction_dt_ns=case.dt_ns,
    reference_dt_ns=case.dt_ns,
  )


def grouped(cases: Sequence[physics.Case]) -> dict[str, list[str]]:
  """Names of proteins by solvent and by how far frames are apart."""
  found: dict[str, list[str]] = {}
  for case in cases:
    apart = 'at least 0.1 ns' if case.dt_ns >= _LONG_STEP_NS else f'{case.dt_ns:g} ns'
    solvent = case.solvent.capitalize()
    found.setdefault(f'{solvent} solvent, frames {apart} apart', []).append(case.name)
  return found


def table(content: Mapping[str, Any], names: Sequence[str]) -> str:
  """A row per metric, a column per protein: the model, then `BESIDE`.

  Args:
    content: of metrics.json.
    names: of the proteins.
  """
  lines = []
  for row in summary.ROWS:
    cells = []
    for name in names:
      value, error = (content['proteins'][name].get(key) for key in (row.key, f'{row.key}_error'))
      if value is None:
        cells.append('')
        continue
      shown = f'{value:.{row.digits}f}'
      shown += '' if error is None else f' ± {error:.{row.digits}f}'
      for column in BESIDE:
        numbers = content['baselines'].get(column, {'proteins': {}})['proteins'].get(name, {})
        beside = numbers.get(row.key)
        shown += ' / ' + ('–' if beside is None else f'{beside:.{row.digits}f}')
      cells.append(shown)
    if any(cells):
      lines.append([row.label, *cells])
  return markdown.table(['metric', *names], lines)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)
  flags.DEFINE_string('out', 'tempo_out/held_out_metrics', 'Directory.', flag_values=values)
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.', flag_values=values)
  flags.DEFINE_integer('seed', 0, 'Random seed of the samples.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """Samples, evaluates, writes the tables."""
  command.require(values, 'data')
  compilation_cache_flag.use(values)
  data, out = (pathlib.Path(x).expanduser() for x in (values.data, values.out))
  whole = [x for x in physics.cases(held_out.SIMULATED, data) if x.part == (0.0, 1.0)]
  chosen = physics.named('only', values.only, whole) or whole
  model = tempo_jax.load_model(values.model)
  cases = []
  for case in chosen:
    cases.append(sampled(model, case, out, values.seed))
    print(f'{case.name}: sampled', flush=True)
  evaluate.evaluate(cases, out / 'evaluation', Settings(), with_page=False)
  content = json.loads((out / 'evaluation' / 'metrics.json').read_text())
  parts = [
    f'{title}: the model / {" / ".join(BESIDE)}\n\n{table(content, names)}'
    for title, names in grouped(chosen).items()
  ]
  files.write_text(out / 'held_out_metrics.md', '\n'.join(parts))
  print('\n'.join(parts))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

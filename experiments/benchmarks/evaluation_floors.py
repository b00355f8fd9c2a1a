"""MD judged by other MD of the same protein, by every metric of `evaluate`.

    python -m experiments.benchmarks.evaluation_floors --data=DATA --out=floors

The floor: what differs between two simulations where only sampling does. The first half of a
trajectory is judged by its second half (NTL9, Trp-cage, pentalanine), or some replicas by the
others (HP35: 6 of 11, the PSI domain: one of two). Writes OUT/md.md, the table of `tempo-jax
evaluate` with a column per protein, and its JSON. Models: `benchmarks.held_out_metrics`.
"""

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence

import mdtraj
import numpy as np
from absl import flags

from tempo_jax import files
from tempo_jax.cli import command, evaluate
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown, summary
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.suite import Case


@dataclasses.dataclass(frozen=True)
class Pair:
  """MD to compare.

  Attributes:
    name: of the protein.
    folder: below the data.
    topology: its file there.
    replicas: files; those that are judged, then the reference. One file: its halves.
    num_judged: how many of them are judged.
    dt_ns: between frames, ns.
    temperature_K: K.
  """

  name: str
  folder: str
  topology: str
  replicas: tuple[str, ...]
  num_judged: int
  dt_ns: float
  temperature_K: float = 300.0


_HP35 = tuple(f'R{k}.xtc' for k in range(1, 12))
PAIRS = (
  Pair('hp35', 'md_public/hp35_explicit', 'topology.pdb', _HP35, 6, 0.1),
  Pair('psi', 'md_public/psi_integrin_b3', 'topology.pdb', ('R1.xtc', 'R2.xtc'), 1, 0.2),
  Pair('trpcage', 'md_public/trpcage_tc5b_50ns', 'topology_backbone.pdb', ('R1.xtc',), 1, 0.01),
  Pair('ntl9', 'md_public/ntl9_mdcath_320K', 'topology.pdb', ('R1.xtc',), 1, 1.0, 320.0),
  Pair(
    'pentalanine', 'trajectories/pentalanine_50ns', 'pentalanine.pdb', ('pentalanine.xtc',), 1, 0.01
  ),
)


def halves(pair: Pair, data: pathlib.Path, out: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """The files of the halves of its only trajectory, with the pair's time step."""
  folder = data / pair.folder
  whole = mdtraj.load(folder / pair.replicas[0], top=folder / pair.topology)
  middle, found = len(whole) // 2, []
  for number, part in enumerate((slice(0, middle), slice(middle, 2 * middle)), start=1):
    half = whole[part]
    half.time = 1000.0 * pair.dt_ns * np.arange(len(half))
    half.unitcell_vectors = None
    found.append(out / f'{pair.name}_half{number}.xtc')
    half.save(found[-1])
  return found[0], found[1]


def case_of(pair: Pair, data: pathlib.Path, out: pathlib.Path) -> Case:
  """One part of MD, to be judged by the other.

  Raises:
    InputError: a file is not there.
  """
  folder = data / pair.folder
  paths = [folder / name for name in pair.replicas]
  for path in (folder / pair.topology, *paths):
    if not path.is_file():
      raise InputError(f'{path}: no such file: correct --data')
  if len(paths) == 1:
    judged, reference = ([path] for path in halves(pair, data, out))
  else:
    judged, reference = paths[: pair.num_judged], paths[pair.num_judged :]
  return Case(
    name=pair.name,
    topology=folder / pair.topology,
    reference=tuple(reference),
    prediction=tuple(judged),
    reference_topology=folder / pair.topology,
    prediction_topology=folder / pair.topology,
    temperature_K=pair.temperature_K,
    prediction_dt_ns=pair.dt_ns,
    reference_dt_ns=pair.dt_ns,
  )


def table(content: dict, names: Sequence[str]) -> str:
  """Markdown: a row per metric, a column per protein; then the medians of the baselines."""
  proteins, baselines = content['proteins'], content['baselines']
  lines = []
  for row in summary.ROWS:
    cells = []
    for name in names:
      value, error = (proteins[name].get(key) for key in (row.key, f'{row.key}_error'))
      shown = '' if value is None else f'{value:.{row.digits}f}'
      cells.append(shown + (f' ± {error:.{row.digits}f}' if shown and error is not None else ''))
    for column in baselines.values():
      value = column['summary'][row.key]
      cells.append('' if value is None else f'{value:.{row.digits}f}')
    if any(cells):
      lines.append([row.label, *cells])
  return markdown.table(['metric', *names, *(f'median: {name}' for name in baselines)], lines)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)
  flags.DEFINE_string('out', 'tempo_out/floors', 'Directory to write into.', flag_values=values)
  flags.DEFINE_list('only', [], 'Names of proteins. Default: all.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Writes the table."""
  command.require(values, 'data')
  data, out = (pathlib.Path(x).expanduser() for x in (values.data, values.out))
  out.mkdir(parents=True, exist_ok=True)
  known = {pair.name: pair for pair in PAIRS}
  if unknown := sorted(set(values.only) - set(known)):
    raise InputError(f'--only: {", ".join(unknown)} is none of {", ".join(known)}')
  chosen = [pair for pair in PAIRS if not values.only or pair.name in values.only]
  cases = [case_of(pair, data, out) for pair in chosen]
  evaluate.evaluate(cases, out / 'md', Settings(), with_page=False)
  content = json.loads((out / 'md' / 'metrics.json').read_text())
  files.write_text(out / 'md.md', table(content, [case.name for case in cases]))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

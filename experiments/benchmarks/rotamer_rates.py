r"""How often rotamers change at each lag, beside MD: what `config.model.rotamer_stay` is set by.

    python -m experiments.benchmarks.rotamer_rates --model=RUN --data=DATA --out=STEM

Proteins that models are trained on, those with side chains that the elastic prior's memory is
fitted to (`experiments.benchmarks.memory`): our own MD in implicit solvent at 0.01 and 0.2 ns, that
of others in explicit solvent at 0.2 and 1 ns. From frame to frame, the share of torsions that have
reached the core of another well (`metrics.rotamer_changes`), of chi1, of chi2 and of the puckers of
prolines. `tempo-jax export --rotamer_stay` writes a model with other numbers. Writes
STEM.json and STEM.md.

No MD in explicit solvent that is trained on has side chains 0.01 ns apart. What it would have is
estimated, on the assumption that the share falls with the lag alike in all proteins and in both
solvents: the share at the spacing of its frames, times the geometric means of the ratios between
lags, from 1 to 0.2 ns in explicit solvent (PSI alone) and from 0.2 to 0.01 ns in implicit solvent.
A share of 0 is too few changes to go by.
"""

import dataclasses
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import tqdm
from absl import flags
from scipy import stats

import tempo_jax
from experiments import results
from experiments.benchmarks import heavy_frames, memory
from tempo_jax.cli import command, compilation_cache_flag
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.replica import Native
from tempo_jax.metrics import rotamer_changes
from tempo_jax.models import model as model_lib
from tempo_jax.protein import protein as protein_lib

_IMPLICIT_NS, _EXPLICIT_NS = (0.01, 0.2), (0.2, 1.0)
# In explicit solvent, with all atoms of side chains.
_WITH_SIDE_CHAINS = ('psi', 'ntl9', 'sh2')
_LEAST_FRAMES = 6
_PARTS = ('chi1', 'chi2', 'puckers')


@dataclasses.dataclass(frozen=True)
class Rates:
  """Shares of torsions that change their well from frame to frame: of MD, and of the model.

  Attributes:
    protein: name.
    solvent: of the MD.
    dt_ns: between frames, ns.
    num_frames: of MD; 0 where its shares are estimated.
    chi1, chi2, puckers: MD, model; NaN where there are none.
  """

  protein: str
  solvent: str
  dt_ns: float
  num_frames: int
  chi1: tuple[float, float]
  chi2: tuple[float, float]
  puckers: tuple[float, float]


def changes(replicas: Sequence[np.ndarray], residue_type: np.ndarray) -> tuple[float, float, float]:
  """Share of chi1, of chi2, of puckers that change from frame to frame; NaN where there are none.

  Args:
    replicas: chi [F, L, 4] rad of each.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
  """
  proline = residue_type == protein_lib.RESIDUE_TYPES.index('PRO')
  changed: list[list[np.ndarray]] = [[], [], []]
  for chi in replicas:
    wells = rotamer_changes.states(chi, residue_type)
    known = (wells[1:] >= 0) & (wells[:-1] >= 0)
    other = wells[1:] != wells[:-1]
    for k, (column, rows) in enumerate(((0, ~proline), (1, ~proline), (0, proline))):
      changed[k].append(other[:, rows, column][known[:, rows, column]])
  every = [np.concatenate(x) for x in changed]
  chi1, chi2, puckers = (float(x.mean()) if x.size else math.nan for x in every)
  return chi1, chi2, puckers


def compare(
  model: model_lib.Model,
  name: str,
  source: memory.Source,
  solvent: str,
  dt_ns: float,
  num_frames: int,
  num_replicas: int,
  seed: int,
) -> Rates | None:
  """Of one protein at one lag; None where there is too little MD.

  Args:
    model: whose rotamers are counted.
    name: of the protein.
    source: its MD.
    solvent: of the MD.
    dt_ns: between frames, ns.
    num_frames: that the model samples.
    num_replicas: likewise.
    seed: likewise.

  Raises:
    InputError: a file cannot be used.
  """
  protein, md = heavy_frames.read(source.topology, [source.trajectory], name, dt_ns, source.dt_ns)
  (chi,) = md.chi
  chi = chi[: int(source.part * len(chi))]
  if len(chi) < _LEAST_FRAMES:
    return None
  how = dt_ns, num_frames, num_replicas, seed
  ours = _sampled(model, protein.in_solvent(solvent), source.temperature_K, *how)
  both = changes([chi], md.residue_type), ours
  return Rates(name, solvent, dt_ns, len(chi), *zip(*both, strict=True))


def _sampled(
  model: model_lib.Model,
  protein: protein_lib.Protein,
  temperature_K: float,
  dt_ns: float,
  num_frames: int,
  num_replicas: int,
  seed: int,
) -> tuple[float, float, float]:
  """`changes` of what a model samples."""
  sampled = model.at(dt_ns).sample(
    protein, num_frames, num_replicas, rng=jax.random.key(seed), temperature_K=temperature_K
  )
  assert sampled.heavy_atoms is not None
  residue_type = np.asarray(protein.arrays.residue_type)
  return changes(
    [heavy_frames.chi_of(x, residue_type) for x in np.asarray(sampled.heavy_atoms)], residue_type
  )


def estimated(found: Sequence[Rates], name: str) -> tuple[float, float, float]:
  """What MD of a protein in explicit solvent would have at the shortest lag; NaN: nothing known.

  Args:
    found: measured, of both solvents.
    name: of the protein.
  """
  (short, medium), long = _IMPLICIT_NS, _EXPLICIT_NS[-1]

  def of_md(part: str, solvent: str, dt_ns: float) -> dict[str, float]:
    rows = [x for x in found if (x.solvent, x.dt_ns) == (solvent, dt_ns)]
    return {x.protein: getattr(x, part)[0] for x in rows if getattr(x, part)[0] > 0}

  def fall(part: str, solvent: str, to: float, lag: float) -> float:
    after, before = (of_md(part, solvent, dt_ns) for dt_ns in (to, lag))
    ratios = [after[each] / before[each] for each in before if each in after]
    return float(stats.gmean(ratios)) if ratios else math.nan

  def rate(part: str) -> float:
    at_medium = of_md(part, 'explicit', medium).get(name)
    if at_medium is None:
      at_long = of_md(part, 'explicit', long).get(name, math.nan)
      at_medium = at_long * fall(part, 'explicit', medium, long)
    return at_medium * fall(part, 'implicit', short, medium)

  chi1, chi2, puckers = map(rate, _PARTS)
  return chi1, chi2, puckers


def table(found: Sequence[Rates]) -> str:
  """Markdown: MD / model (their ratio), and geometric means of the ratios by lag and solvent."""

  def cell(pair: tuple[float, float]) -> str:
    return f'{pair[0]:.3f} / {pair[1]:.3f} ({pair[1] / pair[0]:.2f})' if pair[0] > 0 else '-'

  def case(rates: Rates) -> str:
    return f'{rates.solvent}, {rates.dt_ns:g}' + ('' if rates.num_frames else ' (MD estimated)')

  lines = [[x.protein, case(x), *(cell(getattr(x, key)) for key in _PARTS)] for x in found]
  for solvent, dt_ns in dict.fromkeys((x.solvent, x.dt_ns) for x in found):
    rows = [x for x in found if (x.solvent, x.dt_ns) == (solvent, dt_ns)]
    means = []
    for key in _PARTS:
      ratios = [ours / md for md, ours in (getattr(x, key) for x in rows) if md > 0]
      means.append(f'{stats.gmean(ratios):.2f}' if ratios else '-')
    lines.append(['*geometric mean*', case(rows[0]), *means])
  return markdown.table(
    ['protein', 'solvent, lag (ns)', 'chi1', 'chi2', 'puckers of proline'], lines
  )


def plain(rates: Rates) -> dict[str, Any]:
  """For JSON, which knows no NaN."""
  pairs = {key: getattr(rates, key) for key in _PARTS}
  none = {key: None for key, pair in pairs.items() if any(map(math.isnan, pair))}
  return dataclasses.asdict(rates) | none


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('model', 'default', 'Model: "default" or a directory.', flag_values=values)
  flags.DEFINE_string('data', None, 'Directory with MD of others. Required.', flag_values=values)
  flags.DEFINE_string('out', 'tempo_out/rotamer_rates', 'STEM of the files.', flag_values=values)
  flags.DEFINE_integer(
    'num_frames', 100, 'Frames of each replica that is sampled.', lower_bound=2, flag_values=values
  )
  flags.DEFINE_integer('num_replicas', 2, 'Replicas.', lower_bound=1, flag_values=values)
  flags.DEFINE_integer('seed', 1, 'Random seed of the samples.', flag_values=values)
  compilation_cache_flag.define_flags(values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table."""
  command.require(values, 'data')
  compilation_cache_flag.use(values)
  model = tempo_jax.load_model(values.model)
  if not model.has_side_chains:
    raise InputError(f'--model={values.model} draws no side chains: take a model that does')
  water = memory.explicit(pathlib.Path(values.data).expanduser())
  cases = [
    (name, source, 'implicit', dt_ns)
    for dt_ns in _IMPLICIT_NS
    for name, source in memory.implicit().items()
  ] + [
    (name, water[name], 'explicit', dt_ns)
    for dt_ns in _EXPLICIT_NS
    for name in _WITH_SIDE_CHAINS
    if water[name].dt_ns <= dt_ns
  ]
  found = []
  sizes = values.num_frames, values.num_replicas, values.seed
  for name, source, solvent, dt_ns in tqdm.tqdm(cases, unit='case', disable=None):
    rates = compare(model, name, source, solvent, dt_ns, *sizes)
    if rates is not None:
      found.append(rates)
      print(rates, flush=True)
  for name in _WITH_SIDE_CHAINS:
    protein = Native(water[name].topology, name).protein.in_solvent('explicit')
    shortest = _IMPLICIT_NS[0]
    ours = _sampled(model, protein, water[name].temperature_K, shortest, *sizes)
    both = estimated(found, name), ours
    found.append(Rates(name, 'explicit', shortest, 0, *zip(*both, strict=True)))
    print(found[-1], flush=True)
  text = table(found)
  print(text)
  results.write(pathlib.Path(values.out).expanduser(), text, rates=[plain(x) for x in found])


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

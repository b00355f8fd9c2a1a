"""How far a model was from MD of proteins that it had not seen, and what that lets one expect.

The bundled model's comparisons are in `models/default/unseen_md.json`, which
`python -m experiments.benchmarks.physics --bundle` writes. They hold for that model alone: not
after further training, nor with another calibration or number of passes.
"""

import dataclasses
import json
import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from tempo_jax import files
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance

FILE = pathlib.Path(model_lib.__file__).parent / 'default' / 'unseen_md.json'
_LOG = logging.getLogger('tempo_jax')
# What counts as right: RMSF up to so many times too large or too small.
FACTOR = 1.4
# Comparisons are alike whose MD was at most so many times longer or shorter, and proteins that are
# at most so many times larger or smaller; fewer comparisons say too little.
_TIMES, _SIZE, _FEWEST = 10.0, 2.0, 3


@dataclasses.dataclass(frozen=True)
class Comparison:
  """With MD of one protein, as long as that MD and with its time step.

  Attributes:
    protein: its name.
    residues: how many it has.
    solvent: of the MD, 'explicit' or 'implicit'.
    length_ns: of the MD, ns.
    rmsf_ratio: RMSF of CA, mean over residues, to that of MD; mean over replicas.
    rmsf_r: Pearson's correlation of the RMSF with that of MD, over residues; likewise.
  """

  protein: str
  residues: int
  solvent: str
  length_ns: float
  rmsf_ratio: float
  rmsf_r: float


def key_of(model: model_lib.Model) -> str:
  """What tells a model from others that sample differently."""
  return f'{provenance.model_sha256(model)}, passes = {model.config.passes}'


def write(
  model: model_lib.Model, comparisons: Sequence[Comparison], path: pathlib.Path = FILE
) -> None:
  """Writes the file, whole or not at all.

  Args:
    model: that was compared.
    comparisons: with MD that it had not seen.
    path: the file.
  """
  rows = [dataclasses.asdict(x) for x in comparisons]
  content = {'model': key_of(model), 'comparisons': rows}
  files.write_text(path, json.dumps(content, indent=1) + '\n')


def read(model: model_lib.Model, path: pathlib.Path = FILE) -> list[Comparison]:
  """The comparisons of a model; none of another model than the one that was compared.

  A file that is damaged is as none, with a warning in the log.
  """
  if not path.is_file():
    return []
  try:
    content = json.loads(path.read_text())
    if content['model'] != key_of(model):
      return []
    return [_comparison(**row) for row in content['comparisons']]
  except (OSError, ValueError, KeyError, TypeError) as error:
    _LOG.warning('%s is damaged (%s): install tempo_jax again', path, error)
    return []


def _comparison(protein: str, solvent: str, residues: int, **numbers: float) -> Comparison:
  values = {name: float(value) for name, value in numbers.items()}
  return Comparison(protein=protein, solvent=solvent, residues=int(residues), **values)


def alike(comparisons: Sequence[Comparison], solvent: str, length_ns: float) -> list[Comparison]:
  """Those in the same solvent over a similar time; at least three, the nearest in time.

  Args:
    comparisons: to choose from.
    solvent: one of `protein.SOLVENTS`; unknown: either.
    length_ns: of a trajectory, ns.
  """

  def apart(x: Comparison) -> float:
    return abs(math.log(x.length_ns / length_ns))

  same = [x for x in comparisons if solvent in ('unknown', x.solvent)]
  same.sort(key=apart)
  near = sum(apart(x) <= math.log(_TIMES) for x in same)
  return same[: max(near, _FEWEST)]


def sentence(
  comparisons: Sequence[Comparison], solvent: str, length_ns: float, num_residues: int
) -> str | None:
  """What to expect of a trajectory, in words; None where there is nothing to go by.

  Args:
    comparisons: of the model.
    solvent: one of `protein.SOLVENTS`.
    length_ns: of the trajectory, ns.
    num_residues: of the protein.
  """
  found = alike(comparisons, solvent, length_ns)
  if not found:
    return None
  where = {x.solvent for x in found}
  residues, lengths = [x.residues for x in found], [x.length_ns for x in found]
  close = sum(1 / FACTOR <= x.rmsf_ratio <= FACTOR for x in found)
  said = (
    f'in {len(found)} comparisons with MD of unseen proteins '
    f'({" or ".join(sorted(where))} solvent, {_range(residues)} residues, {_range(lengths)} ns) '
    f'residues fluctuated {_range([x.rmsf_ratio for x in found], ".2f")} times as much as in MD '
    f'(RMSF of CA; within a factor of {FACTOR:g} in {close} of {len(found)}), and r over residues '
    f'was {_range([x.rmsf_r for x in found], ".2f")}'
  )
  lacking = []
  if not min(residues) / _SIZE <= num_residues <= max(residues) * _SIZE:
    lacking.append(f'{num_residues} residues')
  if length_ns > _TIMES * max(lengths):
    lacking.append(f'{length_ns:.3g} ns')
  return said + (f'; none of them is near {" or ".join(lacking)}' if lacking else '')


def _range(values: Sequence[Any], style: str = '.3g') -> str:
  low, high = (format(x, style) for x in (min(values), max(values)))
  return low if low == high else f'{low} to {high}'

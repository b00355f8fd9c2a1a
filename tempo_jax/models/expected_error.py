"""How far a model was from MD of proteins that it had not seen, and what that lets one expect.

The bundled model's comparisons are in `default/unseen_md.json`, which
`python -m experiments.benchmarks.physics --bundle` writes. They hold for that model alone: not
after further training, nor with another calibration.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from tempo_jax import files
from tempo_jax.errors import InputError

FILE = pathlib.Path(__file__).parent / 'default' / 'unseen_md.json'
# What counts as right: RMSF up to so many times too large or too small.
FACTOR = 1.4
# Comparisons are alike whose MD was at most so many times longer or shorter; fewer say too little.
_TIMES, _FEWEST = 10.0, 3


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


def write(model_sha256: str, comparisons: Sequence[Comparison], path: pathlib.Path = FILE) -> None:
  """Writes the file, whole or not at all.

  Args:
    model_sha256: `provenance.model_sha256` of the model that was compared.
    comparisons: with MD that it had not seen.
    path: the file.
  """
  content = {
    'model_sha256': model_sha256,
    'comparisons': [dataclasses.asdict(x) for x in comparisons],
  }
  files.write_text(path, json.dumps(content, indent=1) + '\n')


def read(model_sha256: str, path: pathlib.Path = FILE) -> list[Comparison]:
  """The comparisons of a model; none of another model than the one that was compared.

  Raises:
    InputError: the file is damaged.
  """
  if not path.is_file():
    return []
  try:
    content = json.loads(path.read_text())
    if content['model_sha256'] != model_sha256:
      return []
    return [Comparison(**x) for x in content['comparisons']]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise InputError(f'{path} is damaged ({error}): install tempo_jax again') from error


def alike(comparisons: Sequence[Comparison], solvent: str, length_ns: float) -> list[Comparison]:
  """Those in the same solvent over a similar time; where they are too few, over any time, or all.

  Args:
    comparisons: to choose from.
    solvent: one of `protein.SOLVENTS`; unknown: either.
    length_ns: of a trajectory, ns.
  """
  same = [x for x in comparisons if solvent in ('unknown', x.solvent)]
  near = [x for x in same if length_ns / _TIMES <= x.length_ns <= length_ns * _TIMES]
  return next((list(x) for x in (near, same) if len(x) >= _FEWEST), list(comparisons))


def sentence(comparisons: Sequence[Comparison], solvent: str, length_ns: float) -> str | None:
  """What to expect of a trajectory, in words; None where there is nothing to go by.

  Args:
    comparisons: of the model.
    solvent: one of `protein.SOLVENTS`.
    length_ns: of the trajectory, ns.
  """
  found = alike(comparisons, solvent, length_ns)
  if not found:
    return None
  where = {x.solvent for x in found}
  solvents = f' in {where.pop()} solvent' if len(where) == 1 else ''
  close = sum(1 / FACTOR <= x.rmsf_ratio <= FACTOR for x in found)
  return (
    f'beside MD of unseen proteins{solvents} ({len(found)} of them, '
    f'{_range([x.residues for x in found])} residues, {_range([x.length_ns for x in found])} ns) '
    f'RMSF was {_range([x.rmsf_ratio for x in found], ".2f")} times as large, within a factor of '
    f'{FACTOR:g} in {close} of {len(found)}; its correlation over residues was '
    f'{_range([x.rmsf_r for x in found], ".2f")}'
  )


def _range(values: Sequence[Any], style: str = '.3g') -> str:
  low, high = (format(x, style) for x in (min(values), max(values)))
  return low if low == high else f'{low} to {high}'

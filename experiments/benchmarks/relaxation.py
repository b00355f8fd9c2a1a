"""Frames of MD, and of a model, relaxed alike: a table in Markdown.

    python -m experiments.benchmarks.relaxation --out=relaxed --data=DATA --sampled=DIR

Takes frames at even distances from MD of the proteins that are held out, and from
DIR/NAME/trajectory.xtc (or trajectory_r1.xtc) with DIR/NAME/topology.pdb, which `tempo-jax sample`
writes where it is given several structures. Runs that --out holds already are not repeated.

minimised: frames whose energy per residue is below mean + 3 sd of MD's; fine: those that `tempo-jax
relax` accepts; energy: mean and sd of all frames, kJ/mol per residue; CA: the largest move of any
CA, and the root mean square; flips: of hands, and of peptides between cis and trans; rings: bonds
through rings, before and after.
"""

import json
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import flags

from experiments.benchmarks import held_out
from tempo_jax.cli import command
from tempo_jax.errors import InputError
from tempo_jax.evaluation import markdown
from tempo_jax.relaxation import frames as frames_lib
from tempo_jax.relaxation import relax, table

_NUM_SD = 3.0
_HEADER = (
  *('protein', 'frames of', 'minimised', 'fine', 'energy', 'CA, Å', 'flips', 'rings'),
  *('MD runs on', 's a frame'),
)


def relaxed(
  topology: pathlib.Path,
  trajectory: pathlib.Path,
  out: pathlib.Path,
  num_frames: int,
  md_ps: float,
  num_threads: int | None,
) -> tuple[list[table.Row], float]:
  """Rows of some frames, and the wall time of each, s; from `out` if they are there."""
  if not (out / relax.TABLE).exists():
    count = frames_lib.Source.of(topology, trajectory).count()
    numbers = np.unique(np.linspace(0, count - 1, num_frames).round().astype(int))
    relax.relax(
      topology,
      trajectory,
      out,
      frames=numbers.tolist(),
      settings=table.Settings(md_ps=md_ps),
      platform='CPU',
      num_threads=num_threads,
    )
  rows = table.from_csv((out / relax.TABLE).read_text())
  facts = json.loads((out / relax.METADATA).read_text())
  return rows, facts['wall_seconds'] / len(rows)


def energies(rows: Sequence[table.Row]) -> np.ndarray:
  """[F] kJ/mol per residue; not a number where there is none."""
  found = [row.energy_per_residue_kJ_per_mol for row in rows]
  return np.array([np.nan if energy is None else energy for energy in found])


def most_of(rows: Sequence[table.Row]) -> float:
  """The energy per residue up to which a frame counts as minimised; rows of MD."""
  found = energies(rows)
  return float(np.nanmean(found) + _NUM_SD * np.nanstd(found, ddof=1))


def line(rows: Sequence[table.Row], most: float, seconds: float) -> list[str]:
  """A line of the table, behind the name.

  Args:
    rows: of the frames of a protein.
    most: see `most_of`.
    seconds: a frame took.
  """
  found = energies(rows)
  done = [row for row in rows if row.ca_max_A is not None]
  tried = [row for row in rows if row.md_temperature_K is not None]

  def total(column: str) -> int:
    return sum(getattr(row, column) for row in done)

  moves = np.array([[row.ca_max_A, row.ca_rms_A] for row in done], float).reshape(-1, 2)
  largest = f'{moves[:, 0].max():.2f}, {np.sqrt(np.mean(moves[:, 1] ** 2)):.2f}' if done else ''
  return [
    f'{np.count_nonzero(found < most)} of {len(rows)}',
    f'{sum(row.ok for row in rows)} of {len(rows)}',
    f'{np.nanmean(found):.1f} ± {np.nanstd(found):.1f}' if done else '',
    largest,
    str(total('flips')),
    f'{total("pierced_rings_before")}, {total("pierced_rings")}',
    f'{sum(row.ok for row in tried)} of {len(tried)}' if tried else '',
    f'{seconds:.1f}',
  ]


def _sampled(folder: pathlib.Path, name: str) -> tuple[pathlib.Path, pathlib.Path] | None:
  """Topology and trajectory of a model."""
  files = sorted((folder / name).glob('trajectory*.xtc'))
  return (folder / name / 'topology.pdb', files[0]) if files else None


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('out', None, 'Directory to write into. Required.', flag_values=values)
  flags.DEFINE_string(
    'data',
    None,
    'Directory with MD of others (trajectories/...). Default: none.',
    flag_values=values,
  )
  flags.DEFINE_string(
    'sampled', None, 'Directory with what a model sampled. Default: MD only.', flag_values=values
  )
  flags.DEFINE_list('names', [], 'Proteins. Default: all that are held out.', flag_values=values)
  flags.DEFINE_integer('num_frames', 20, 'Of each.', lower_bound=2, flag_values=values)
  flags.DEFINE_float('md_ps', 0.0, 'MD to try each frame with, ps.', flag_values=values)
  flags.DEFINE_integer('num_threads', None, 'Of OpenMM.', lower_bound=1, flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Prints the table."""
  command.require(values, 'out')
  out = pathlib.Path(values.out)
  data = pathlib.Path(values.data).expanduser() if values.data else None
  every = [
    target
    for target in held_out.targets(held_out.SIMULATED, data)
    if target.kind != held_out.REPLICA
  ]
  sampled = pathlib.Path(values.sampled) if values.sampled else None
  if sampled is not None and not sampled.is_dir():
    raise InputError(f'--sampled={sampled}: no such directory')
  lines = []
  for target in held_out.choose(every, values.names, 'names'):
    how = values.num_frames, values.md_ps, values.num_threads
    rows, seconds = relaxed(target.topology, target.reference[0], out / f'{target.name}_md', *how)
    most = most_of(rows)
    lines.append([target.name, 'MD', *line(rows, most, seconds)])
    files = _sampled(sampled, target.name) if sampled else None
    if files:
      rows, seconds = relaxed(*files, out / f'{target.name}_model', *how)
      lines.append([target.name, 'model', *line(rows, most, seconds)])
  print(markdown.table(_HEADER, lines))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

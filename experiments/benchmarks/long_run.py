r"""A long trajectory, part by part: does it stay near its start, and does it still move?

    python -m experiments.sample --structure=DATA/trajectories/bpti_5ns/bpti.pdb \
      --num_frames=100000 --atoms=backbone --temperature_K=300 --solvent=explicit --out=LONG
    python -m experiments.benchmarks.long_run --sampled=LONG \
      --topology=DATA/trajectories/bpti_5ns/bpti.pdb \
      --trajectory=DATA/trajectories/bpti_5ns/bpti.xtc

Of each tenth of what was sampled, and of MD of the same protein and its last tenth: CA-RMSD to the
start (mean and largest), RMSF of CA about the mean of windows that are as long as the MD (mean over
the windows) and of the whole part, CA-RMSD between successive frames (root mean square), and the
share of sound frames. Writes STEM.json and STEM.md.
"""

import csv
import pathlib
import sys
from typing import Any

import numpy as np
from absl import flags

from experiments import results
from experiments.benchmarks import physics
from tempo_jax.cli import command
from tempo_jax.errors import InputError
from tempo_jax.evaluation.replica import Native
from tempo_jax.metrics import flexibility

_PARTS = 10
Row = dict[str, Any]


def row(
  positions: np.ndarray, start: np.ndarray, window: int, sound: np.ndarray | None = None
) -> Row:
  """The numbers of some frames of a trajectory.

  Args:
    positions: [F, L, 4, 3] Å.
    start: [L, 4, 3] Å.
    window: frames, for the RMSF; of fewer frames there is none.
    sound: [F] bool.
  """
  distance = flexibility.ca_rmsd(positions, start)
  whole = physics.motion_of(positions, start)
  windows = [positions[k : k + window] for k in range(0, len(positions) - window + 1, window)]
  return {
    'frames': len(positions),
    'to_start': float(distance.mean()),
    'largest': float(distance.max()),
    'rmsf': float(whole.rmsf.mean()),
    'rmsf_of_windows': float(np.mean([physics.motion_of(x, start).rmsf.mean() for x in windows]))
    if windows
    else None,
    'step': whole.step,
    'sound': None if sound is None else float(sound.mean()),
  }


def rows(
  positions: np.ndarray, sound: np.ndarray, md: np.ndarray, start: np.ndarray
) -> dict[str, Row]:
  """Of each tenth of a trajectory [F, L, 4, 3] Å, and of MD [F', L, 4, 3] from the same start."""
  parts = np.array_split(np.arange(len(positions)), _PARTS)
  found = {
    f'{k + 1} of {_PARTS}': row(positions[part], start, len(md), sound[part])
    for k, part in enumerate(parts)
  }
  last = np.array_split(md, _PARTS)[-1]
  return found | {'MD': row(md, start, len(md)), 'MD, its last tenth': row(last, start, len(md))}


def table(found: dict[str, Row], dt_ns: float) -> str:
  """Markdown; `dt_ns` between frames, ns."""
  head = (
    '| part | ns | CA-RMSD to the start, Å: mean | largest | RMSF in windows as long as the MD, Å '
    '| RMSF of the part, Å | step, Å | sound |\n' + '|---' * 8 + '|\n'
  )

  def cell(value: float | None, kind: str = '.2f') -> str:
    return '-' if value is None else format(value, kind)

  lines = [
    f'| {name} | {dt_ns * x["frames"]:g} | {cell(x["to_start"])} | {cell(x["largest"])} | '
    f'{cell(x["rmsf_of_windows"])} | {cell(x["rmsf"])} | {cell(x["step"])} | '
    f'{cell(x["sound"], ".1%")} |\n'
    for name, x in found.items()
  ]
  return head + ''.join(lines)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'sampled', None, 'Folder that `sample` has written: one replica. Required.', flag_values=values
  )
  flags.DEFINE_string('topology', None, 'Topology of the MD. Required.', flag_values=values)
  flags.DEFINE_string(
    'trajectory', None, 'MD of the protein, as far apart. Required.', flag_values=values
  )
  flags.DEFINE_string('out', 'tempo_out/long_run', 'STEM of the files.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table.

  Raises:
    InputError: `sample` has not ended there, or with several replicas; the MD is of another
      protein, has frames at another spacing, or too few.
  """
  command.require(values, 'sampled', 'topology', 'trajectory')
  folder = pathlib.Path(values.sampled).expanduser()
  for name in ('topology.pdb', 'trajectory.xtc', 'frames.csv'):  # The last is written at the end.
    if not (folder / name).is_file():
      raise InputError(
        f'--sampled={folder}: no {name}: give the folder of a `sample` of one replica, ended'
      )
  native, of_md = Native(folder / 'topology.pdb'), Native(values.topology)
  sampled, md = native.read(folder / 'trajectory.xtc'), of_md.read(values.trajectory)
  with (folder / 'frames.csv').open() as lines:
    sound = np.array([line['sound'] == '1' for line in csv.DictReader(lines)])
  if native.protein.sequence != of_md.protein.sequence:
    raise InputError(f'{values.topology}: not the protein of {folder}: correct --topology')
  if sampled.dt_ns is None or md.dt_ns is None or abs(md.dt_ns / sampled.dt_ns - 1) > 1e-3:
    raise InputError(
      f'{values.trajectory}: its frames are {md.dt_ns} ns apart, those of {folder} '
      f'{sampled.dt_ns}: give --dt_ns to `sample`'
    )
  if min(len(md.positions), len(sampled.positions)) < 2 * _PARTS:
    raise InputError(f'{2 * _PARTS} frames are needed of --sampled and of --trajectory')
  start = np.asarray(native.protein.arrays.positions)
  found = rows(np.asarray(sampled.positions), sound, np.asarray(md.positions), start)
  text = table(found, sampled.dt_ns)
  print(text)
  results.write(pathlib.Path(values.out).expanduser(), text, dt_ns=sampled.dt_ns, parts=found)


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

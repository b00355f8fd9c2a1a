r"""A long trajectory, part by part: does it stay near its start, and does it still move?

    python -m experiments.sample --structure=DATA/trajectories/bpti_5ns/bpti.pdb \
      --num_frames=100000 --atoms=backbone --temperature_K=300 --solvent=explicit --out=LONG
    python -m experiments.benchmarks.long_run --sampled=LONG \
      --topology=DATA/trajectories/bpti_5ns/bpti.pdb \
      --trajectory=DATA/trajectories/bpti_5ns/bpti.xtc

Of each tenth of the trajectory, and of MD of the same protein: CA-RMSD to the start (its mean and
its largest value), RMSF of CA about the mean of that tenth, CA-RMSD between successive frames, and
the share of sound frames. Writes STEM.json and STEM.md.
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


def row(positions: np.ndarray, start: np.ndarray, sound: np.ndarray | None) -> Row:
  """The numbers of some frames [F, L, 4, 3] Å of a trajectory from a start [L, 4, 3]."""
  motion = physics.motion_of(positions, start)
  distance = flexibility.ca_rmsd(positions, start)
  return {
    'frames': len(positions),
    'to_start': float(distance.mean()),
    'farthest': float(distance.max()),
    'rmsf': float(motion.rmsf.mean()),
    'step': motion.step,
    'sound': None if sound is None else float(sound.mean()),
  }


def rows(
  positions: np.ndarray, start: np.ndarray, sound: np.ndarray | None = None
) -> dict[str, Row]:
  """Of each part of a trajectory [F, L, 4, 3] Å; `sound`: [F] bool."""
  parts = np.array_split(np.arange(len(positions)), _PARTS)
  return {
    f'{k + 1} of {_PARTS}': row(positions[part], start, None if sound is None else sound[part])
    for k, part in enumerate(parts)
  }


def table(found: dict[str, Row]) -> str:
  """Markdown."""
  head = (
    '| part | frames | CA-RMSD to the start, Å | farthest | RMSF, Å | step, Å | sound |\n'
    + '|---' * 7
    + '|\n'
  )
  lines = [
    f'| {name} | {x["frames"]} | {x["to_start"]:.2f} | {x["farthest"]:.2f} | {x["rmsf"]:.2f} | '
    f'{x["step"]:.2f} | {"-" if x["sound"] is None else format(x["sound"], ".1%")} |\n'
    for name, x in found.items()
  ]
  return head + ''.join(lines)


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'sampled', None, 'Folder that `sample` has written. Required.', flag_values=values
  )
  flags.DEFINE_string('topology', None, 'Topology of the MD. Required.', flag_values=values)
  flags.DEFINE_string(
    'trajectory', None, 'MD of the protein, from the same start. Required.', flag_values=values
  )
  flags.DEFINE_string('out', 'tempo_out/long_run', 'STEM of the files.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """From the flags to the table."""
  command.require(values, 'sampled', 'topology', 'trajectory')
  folder = pathlib.Path(values.sampled).expanduser()
  native = Native(folder / 'topology.pdb')
  positions = np.asarray(native.read(folder / 'trajectory.xtc').positions)
  with (folder / 'frames.csv').open() as lines:
    sound = np.array([line['sound'] == '1' for line in csv.DictReader(lines)])
  if len(sound) != len(positions):
    raise InputError(
      f'{folder}: {len(positions)} frames in trajectory.xtc, {len(sound)} in frames.csv: sample '
      'one replica, and let it end'
    )
  md = np.asarray(Native(values.topology).read(values.trajectory).positions)
  found = rows(positions, np.asarray(native.protein.arrays.positions), sound)
  found |= {f'MD, {name}': x for name, x in rows(md, md[0]).items()}
  text = table(found)
  print(text)
  results.write(pathlib.Path(values.out).expanduser(), text, parts=found)


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

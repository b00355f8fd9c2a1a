"""The files of a sampled trajectory: topology.pdb, trajectory.EXT, frames.csv."""

import pathlib
import re

import jax
import mdtraj
import numpy as np

from tempo_jax import protein as protein_lib
from tempo_jax import trajectory as trajectory_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.report import frame_table

FORMATS = ('xtc', 'dcd', 'pdb', 'h5')
TOPOLOGY = 'topology.pdb'
FRAMES = 'frames.csv'
METADATA = 'metadata.json'
REPORT = 'report.html'
FILE_NAMES = re.compile(
  rf'trajectory(_r\d+)?\.({"|".join(FORMATS)})|'
  + '|'.join(map(re.escape, (TOPOLOGY, FRAMES, METADATA, REPORT)))
)
"""Every file that a run may write into its output directory."""

_TOLERANCE = 0.01  # Å, of a file read back; XTC rounds to 0.005


def idealised(protein: protein_lib.Protein) -> protein_lib.Protein:
  """The protein in the conformation that the model starts from.

  CA stays; N and C take ideal bonds and angle about it, O is placed anew.
  """
  bonded, positions = protein.arrays.bonded, protein.arrays.positions
  # As in the sampler: float32 is finest near the origin.
  centre = np.mean(positions, axis=(0, 1), keepdims=True)
  moved = _idealise(positions - centre, bonded)
  return protein.with_positions(np.asarray(moved) + centre)


@jax.jit
def _idealise(positions, bonded):
  return state_lib.to_positions(state_lib.from_positions(positions, bonded))


def write(
  folder: pathlib.Path, trajectory: trajectory_lib.Trajectory, extension: str
) -> frame_table.FrameTable:
  """Writes topology.pdb, the trajectory (`Trajectory.save`) and frames.csv.

  The trajectory is read back: not every format reports a full disk.

  Args:
    folder: exists, and holds none of the files.
    trajectory: its protein's conformation is written as the topology, t = 0.
    extension: one of `FORMATS`.

  Returns:
    The numbers in frames.csv.

  Raises:
    InputError: a file cannot be written, or the coordinates do not fit its format.
    OSError: the same.
  """
  trajectory_lib.save_structure(folder / TOPOLOGY, trajectory.protein)
  path = folder / f'trajectory.{extension}'
  try:
    for replica, written in enumerate(trajectory.save(path)):
      _check(written, trajectory, replica)
  except (OSError, InputError):
    raise
  except Exception as error:  # the writers of the formats raise whatever they come upon
    raise InputError(
      f'cannot write {path}: is the disk full? ({type(error).__name__}: {error})'
    ) from error
  frames = frame_table.FrameTable.of(trajectory)
  frames.write_csv(folder / FRAMES)
  return frames


def _check(path: pathlib.Path, trajectory: trajectory_lib.Trajectory, replica: int) -> None:
  """Raises unless the file holds the replica."""
  start = 0
  expected = np.asarray(trajectory.positions[replica], np.float32)
  atoms = trajectory_lib.topology(trajectory.protein)
  for block in mdtraj.iterload(str(path), top=atoms, chunk=100):
    positions = 10.0 * block.xyz.reshape(block.n_frames, *expected.shape[1:])
    difference = positions - expected[start : start + block.n_frames]
    if not np.all(np.abs(difference) < _TOLERANCE):
      raise InputError(f'{path} was not written correctly: is the disk full?')
    start += block.n_frames
  if start != len(expected):
    raise InputError(f'{path} holds {start} of {len(expected)} frames: is the disk full?')

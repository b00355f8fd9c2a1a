"""A topology NAME.pdb and a trajectory NAME.xtc of all replicas, one after the other."""

import contextlib
import pathlib

import numpy as np

from tempo_jax import files
from tempo_jax.evaluation.export import request as request_lib
from tempo_jax.evaluation.export.request import Request
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory, trajectory_file


def paths(asked: Request) -> tuple[pathlib.Path, pathlib.Path]:
  """The topology and the trajectory."""
  return asked.folder / f'{asked.name}.pdb', asked.folder / f'{asked.name}.xtc'


def write(asked: Request, atoms: str) -> None:
  """Writes both, or neither.

  Residues are numbered from 1. Frames are `dt_ns` of the prediction apart; a ps where that is not
  known.

  Args:
    asked: one chain.
    atoms: one of `atoms.CHOICES`; for all heavy ones, the prediction has them.

  Raises:
    InputError: they cannot be written.
  """
  prediction, protein = asked.prediction, request_lib.numbered_from_one(asked.protein)
  dt_ns = prediction.dt_ns or request_lib.UNKNOWN_DT_NS
  structure, frames = paths(asked)
  with contextlib.ExitStack() as stack:  # Both appear at its end.
    new_structure, new_frames = (stack.enter_context(files.aside(x)) for x in (structure, frames))
    with trajectory_file.Writer(new_frames, protein, dt_ns, dt_ns, atoms) as file:
      first = None
      for replica in prediction.replicas:
        positions = replica.positions if atoms == atoms_lib.BACKBONE else replica.heavy_atoms
        assert positions is not None
        first = np.array(positions[0]) if first is None else first
        file.append(positions)
    trajectory.save_structure(new_structure, protein, first)

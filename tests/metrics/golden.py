"""Numbers of published code, of real MD, and that MD: golden/trajectory_metrics.json of test data.

Nothing of it is part of the project.
"""

import dataclasses
import functools
import json
import pathlib

import mdtraj
import numpy as np
import pytest

from tempo_jax.metrics import superposition

NAMES = ('pentalanine_50ns', 'cln025', 'bpti_5ns', '2jof')
TOLERANCE = 1e-3
"""Relative: what the file calls safe everywhere."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """One protein.

  Attributes:
    numbers: by kind, such as 'mdgen'.
    intermediates: of some kinds.
    prediction: MD, as predictions are.
    reference: other MD.
  """

  numbers: dict
  intermediates: dict
  prediction: mdtraj.Trajectory
  reference: mdtraj.Trajectory

  @functools.cached_property
  def ca(self) -> tuple[np.ndarray, np.ndarray]:
    """Of prediction and reference, float64 Å, on the first frame of the reference."""
    rows = self.reference.top.select('name CA')
    both = [10.0 * x.xyz[:, rows].astype(float) for x in (self.prediction, self.reference)]
    ours, theirs = (superposition.superpose_points(x, both[1][0]) for x in both)
    return ours, theirs

  @functools.cached_property
  def torsions(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Of prediction and reference, by mdtraj: phi, psi [F, L, 2] and chi1 to chi5 [F, L, 5]."""
    return _torsions(self.prediction), _torsions(self.reference)


def _torsions(traj: mdtraj.Trajectory) -> tuple[np.ndarray, np.ndarray]:
  found = []
  for kinds in (('phi', 'psi'), ('chi1', 'chi2', 'chi3', 'chi4', 'chi5')):
    angles = np.full((traj.n_frames, traj.n_residues, len(kinds)), np.nan)
    for column, kind in enumerate(kinds):
      rows, values = getattr(mdtraj, f'compute_{kind}')(traj)
      for row, series in zip(rows, values.T, strict=True):
        angles[:, traj.top.atom(row[1]).residue.index, column] = series
    found.append(angles)
  return found[0], found[1]


@functools.cache
def _file(path: pathlib.Path) -> dict:
  return json.loads(path.read_text())


@functools.cache
def load(shared_data: pathlib.Path, name: str) -> Case:
  """The numbers and the MD of one protein; skips where there are none."""
  path = shared_data / 'golden/trajectory_metrics.json'
  if not path.is_file():
    pytest.skip(f'no {path}')
  everything = _file(path)
  files = everything['settings']['files'][name]
  reference = _trajectory(shared_data, files['reference'], files['topology'])
  of_same = files['prediction'].startswith('the same file')
  specification = files['prediction']
  if of_same:
    specification = specification.replace('the same file,', files['reference'].split()[0])
  prediction = _trajectory(shared_data, specification, files['topology'])
  return Case(everything[name], everything['intermediates'][name], prediction, reference)


def _trajectory(root: pathlib.Path, specification: str, topology: str) -> mdtraj.Trajectory:
  """Of 'FILE frames [a,b)' or 'FILE, all frames'."""
  file, _, frames = specification.partition(' ')
  traj = mdtraj.load(str(root / file.rstrip(',')), top=str(root / topology))
  if '[' in frames:
    first, last = map(int, frames[frames.index('[') + 1 : -1].split(','))
    traj = traj[first:last]
  return traj

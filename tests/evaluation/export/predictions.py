"""Predictions to export, as files of one protein."""

import json

import mdtraj
import numpy as np

from tempo_jax.evaluation import ensemble, replica
from tempo_jax.evaluation.export import exports
from tests import heavy_trajectories, peptides
from tests.evaluation import cases

NAME = '6okd_C'
LENGTH = 7


def backbone(folder, np_rng, frames=(8,), *, first=1, names=cases.NAMES, chains='A'):
  """A prediction of N, CA, C, O, CB of one file per number of frames."""
  native = folder / 'native.pdb'
  xyz = cases.helix(LENGTH)
  text = ''
  for k, chain in enumerate(chains):
    offset = (0.0, 15.0 * k, 0.0)
    text += peptides.peptide(names[:LENGTH], chain, first=first, offset=offset, xyz=xyz) + 'TER\n'
  native.write_text(text + 'END\n')
  if len(chains) > 1:
    xyz = mdtraj.load(str(native)).xyz.reshape(-1, 5, 3) * 10.0
  files = [
    cases.save(folder / f'P{k}.xtc', cases.wander(np_rng, xyz, count), native)
    for k, count in enumerate(frames)
  ]
  return of_files(native, files)


def of_files(native, files):
  """The ensemble of some files."""
  read = replica.Native(native)
  return ensemble.Ensemble(read.protein, [read.read(file) for file in files])


def heavy(folder, frames=6, dt_ps=10.0):
  """A prediction with all heavy atoms: frames of MD of CLN025."""
  native = heavy_trajectories.SIMULATED / 'cln025' / 'cln025.pdb'
  traj = mdtraj.load(str(native.with_name('cln025_R1.xtc')), top=str(native), stride=10)[:frames]
  traj.time = dt_ps * (1.0 + np.arange(frames))
  traj[0].save(str(folder / 'topology.pdb'))
  traj.save(str(folder / 'P.xtc'))
  return of_files(native, [folder / 'P.xtc']), traj


def write(prediction, out, *benchmarks, name=NAME, model='m'):
  """What `exports.write` returns."""
  return exports.write(exports.Exports(benchmarks, model), name, prediction, out)


def write_metadata(folder, **changes):
  """As `tempo-jax sample` does, in part."""
  content = {
    'num_frames': 130,
    'num_replicas': 2,
    'wall_seconds': 52.0,
    'device': {'platform': 'cpu', 'kind': 'cpu', 'count': 1},
    'taken_over': 0,
  }
  (folder / 'metadata.json').write_text(json.dumps(content | changes))

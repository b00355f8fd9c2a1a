"""Small proteins with simulations and predictions of them, as files."""

import dataclasses
import json

import mdtraj
import numpy as np

from tempo_jax.evaluation import suite
from tempo_jax.protein import structure_file
from tempo_jax.trajectory import trajectory as trajectory_lib
from tests import heavy_trajectories, peptides

NAMES = ('ALA', 'SER', 'TRP', 'LEU', 'LYS', 'ASP', 'VAL', 'GLU', 'PHE', 'THR', 'ASN', 'ILE')
DT_PS = 10.0


def helix(length):
  """[L, 5, 3] Å, to the digits of PDB."""
  return peptides.helix(length).round(3)


def write_native(path, length=10, first=1, names=NAMES):
  """A helix of N, CA, C, O, CB, and its positions [L, 5, 3] Å as they stand in the file."""
  xyz = helix(length)
  path.write_text(peptides.peptide(names[:length], first=first, xyz=xyz) + 'TER\nEND\n')
  return xyz


def wander(rng, xyz, num_frames, scale=1.0, memory=0.9):
  """[F, L, A, 3] Å: the chain stays whole, stretches and bends slowly, more towards its end."""
  place = np.linspace(0.0, 1.0, len(xyz))
  modes = np.stack([place**2, 0.5 * np.sin(np.pi * place), 0.25 * np.sin(2.0 * np.pi * place)])
  weights, frames = np.zeros((3, 3)), []
  for _ in range(num_frames):
    weights = memory * weights + np.sqrt(1.0 - memory**2) * rng.normal(size=(3, 3))
    residues = 0.5 * np.einsum('ml,mx->lx', modes, weights)
    shaken = residues[:, None] + 0.04 * rng.normal(size=xyz.shape)
    frames.append(xyz + scale * shaken)
  return np.array(frames)


def save(path, positions, native, time_ps=None):
  """Writes all atoms of the native structure; the format by the extension."""
  structure = mdtraj.load(str(native))
  traj = mdtraj.Trajectory(positions.reshape(len(positions), -1, 3) / 10.0, structure.topology)
  traj.time = DT_PS * np.arange(1, len(positions) + 1) if time_ps is None else time_ps
  traj.save(str(path))
  return path


def save_uneven(path, native, frames):
  """Writes frames that are now 10, now 30 ps apart."""
  xyz = helix(mdtraj.load(str(native)).n_residues)
  times = np.cumsum(np.resize([10.0, 10.0, 30.0], frames))
  return save(path, wander(np.random.default_rng(3), xyz, frames), native, times)


def save_sampled(folder, positions, native, suffix='.xtc'):
  """Writes the backbone and topology.pdb as `experiments.sample` does."""
  folder.mkdir(parents=True, exist_ok=True)
  protein = structure_file.load_protein(native)
  trajectory_lib.save_structure(folder / 'topology.pdb', protein)
  backbone = np.asarray(positions[None, :, :, :4], np.float32)
  traj = trajectory_lib.Trajectory(backbone, protein, dt_ns=DT_PS / 1000.0)
  return traj.save(folder / f'trajectory{suffix}', overwrite=True)[0]


def case(folder, name='one', *, length=10, frames=40, replicas=2, seed=0, scale=1.3):
  """Native structure, replicas of MD as XTC of all atoms, and a prediction of the backbone."""
  rng = np.random.default_rng(seed)
  folder = folder / name
  folder.mkdir(parents=True)
  xyz = write_native(folder / 'native.pdb', length)
  reference = tuple(
    save(folder / f'R{k + 1}.xtc', wander(rng, xyz, frames), folder / 'native.pdb')
    for k in range(replicas)
  )
  predicted = wander(rng, xyz, frames, scale)
  prediction = save_sampled(folder / 'sampled', predicted, folder / 'native.pdb')
  return suite.Case(name, folder / 'native.pdb', reference, (prediction,))


def write_suite(path, cases):
  """The JSON file of cases, with absolute paths."""
  keep = ('name', 'topology', 'reference', 'prediction')
  items = [
    {key: value for key, value in dataclasses.asdict(one).items() if key in keep} for one in cases
  ]
  path.write_text(json.dumps(items, default=str))
  return path


def simulated_halves(folder, name='cln025'):
  """MD of all atoms in the repository: its first half as the reference, the second as predicted."""
  native = heavy_trajectories.SIMULATED / name / f'{name}.pdb'
  traj = mdtraj.load(str(native.with_name(f'{name}_R2.xtc')), top=str(native))
  files = []
  for k, frames in enumerate(np.array_split(np.arange(traj.n_frames), 2)):
    (folder / str(k)).mkdir(parents=True)
    traj[0].save(str(folder / str(k) / 'topology.pdb'))
    files.append(folder / str(k) / 'half.xtc')
    traj[frames].save(str(files[-1]))
  return suite.Case(name, native, (files[0],), (files[1],))

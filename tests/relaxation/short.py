"""A short piece of MD: five residues of chignolin, YYDPE, heavy atoms, no OXT."""

import pathlib

import mdtraj
import numpy as np

FOLDER = pathlib.Path(__file__).parents[2] / 'data_prep/simulated/cln025'
NUM_FRAMES = 6


def frames():
  """An mdtraj trajectory."""
  traj = mdtraj.load(str(FOLDER / 'cln025_R1.xtc'), top=str(FOLDER / 'cln025.pdb'))
  picked = traj[:: len(traj) // NUM_FRAMES][:NUM_FRAMES]
  piece = picked.atom_slice(picked.topology.select('resid < 5'))
  piece.time = 10.0 * np.arange(1, NUM_FRAMES + 1)
  return piece


def save(folder, traj=None):
  """Topology and trajectory as files."""
  traj = frames() if traj is None else traj
  topology, file = folder / 'piece.pdb', folder / 'piece.xtc'
  traj[0].save_pdb(str(topology))
  traj.save_xtc(str(file))
  return topology, file

"""Fixture: trajectories of helices."""

import numpy as np
import pytest

from tempo_jax.protein import structure_file
from tempo_jax.trajectory import trajectory
from tests import peptides


@pytest.fixture
def trajectory_of(tmp_path, np_rng):
  """trajectory_of(chains=('A',), replicas=1, frames=5): shaken helices of 8 residues each."""

  def make(chains=('A',), replicas=1, frames=5):
    path = tmp_path / 'helices.pdb'
    path.write_text(
      ''.join(
        peptides.peptide(chain=chain, first=10, offset=(0.0, 12.0 * k, 0.0)) + 'TER\n'
        for k, chain in enumerate(chains)
      )
    )
    found = structure_file.load_protein(path)
    start = found.arrays.positions
    noise = 0.3 * np_rng.normal(size=(replicas, frames, *start.shape))
    positions = (start + np.cumsum(noise, axis=1)).astype(np.float32)
    return trajectory.Trajectory(positions, found, dt_ns=0.01)

  return make

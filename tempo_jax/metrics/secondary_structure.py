"""Helices and strands, by DSSP (Kabsch & Sander, Biopolymers 22, 2577 (1983)), as mdtraj has it."""

import mdtraj
import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib

KINDS = 'CHE'
"""Coil, helix, strand."""


def assign(positions: np.ndarray, protein: protein_lib.Protein) -> np.ndarray:
  """The kind of every residue in every frame.

  Args:
    positions: [F, L, 4, 3] Å.
    protein: its residues.

  Returns:
    [F, L] uint8, index into `KINDS`; coil where a residue is of no known type.
  """
  topology = atoms_lib.topology(protein)
  frames = mdtraj.Trajectory(positions.reshape(len(positions), -1, 3) / 10.0, topology)
  found = mdtraj.compute_dssp(frames)
  return ((found == 'H') + 2 * (found == 'E')).astype(np.uint8)

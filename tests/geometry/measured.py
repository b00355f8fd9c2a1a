"""Backbones for mdtraj to measure."""

import mdtraj
import numpy as np

N, CA, C, O = range(4)  # noqa: E741  (the oxygen atom)


def as_mdtraj(positions):
  """[T, L, 4, 3] Å as a trajectory whose atom 4 i + a is atom a of residue i."""
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for _ in range(positions.shape[1]):
    residue = topology.add_residue('GLY', chain)
    for name, element in zip(('N', 'CA', 'C', 'O'), 'NCCO', strict=True):
      topology.add_atom(name, mdtraj.element.get_by_symbol(element), residue)
  xyz = np.asarray(positions).reshape(len(positions), -1, 3) / 10
  return mdtraj.Trajectory(xyz, topology)


def within(length, *atoms):
  """Atom indices [L, len(atoms)] of the same residue."""
  return 4 * np.arange(length)[:, None] + np.array(atoms)

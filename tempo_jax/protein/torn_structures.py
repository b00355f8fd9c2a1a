"""Structures that the periodic box tears, or whose unit is not Å, told by their bonds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tempo_jax.geometry import ideal, limits
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import frame_faults
from tempo_jax.protein.candidate import Candidate


class Bond(NamedTuple):
  """Of the backbone: the rows of its two atoms, its ideal length (Å), what messages call it."""

  first: int
  second: int
  ideal: float
  label: str


def bonds_of(candidates: Sequence[Candidate]) -> list[Bond]:
  """N-CA and CA-C, and C-N between residues whose numbers follow one another."""
  bonds: list[Bond] = []
  residues = [candidate for candidate in candidates if candidate_lib.is_amino_acid(candidate)]
  for i, residue in enumerate(residues):
    atoms = residue.atoms
    bonds += [
      Bond(atoms[a], atoms[b], length, f'{a}-{b} of {residue.label()}')
      for a, b, length in (('N', 'CA', ideal.N_CA), ('CA', 'C', ideal.CA_C))
      if a in atoms and b in atoms
    ]
    following = residues[i + 1] if i + 1 < len(residues) else None
    if (
      following is not None
      and following.chain == residue.chain
      and following.number == residue.number + 1
      and 'C' in atoms
      and 'N' in following.atoms
    ):
      where = f'C-N of {residue.label()} and {following.label()}'
      bonds.append(Bond(atoms['C'], following.atoms['N'], ideal.C_N, where))
  return bonds


def along(bonds: Sequence[Bond], coordinates: np.ndarray) -> np.ndarray:
  """[n, 3] Å, from the first atom of each bond to the second."""
  rows = np.array([(bond.first, bond.second) for bond in bonds], int).reshape(-1, 2)
  return coordinates[rows[:, 1]] - coordinates[rows[:, 0]]


def other_unit(bonds: Sequence[Bond], coordinates: np.ndarray) -> str | None:
  """One line where all bonds are too long or too short by the same power of ten."""
  lengths = np.linalg.norm(along(bonds, coordinates), axis=-1)
  power = frame_faults.power_of_ten(lengths / np.array([bond.ideal for bond in bonds]))
  if not power:
    return None
  said = f'{bonds[0].label} is {lengths[0]:.3f} Å, and all others are like that: '
  if power == -1:
    return f'{said}its unit is nm, PDB and mmCIF have Å: multiply its coordinates by ten'
  return f'{said}its unit is not Å: multiply its coordinates by {10.0**-power:g}'


def torn(bonds: Sequence[Bond], coordinates: np.ndarray, box: np.ndarray) -> list[str]:
  """Bonds that are whole only across the periodic box."""
  shift = along(bonds, coordinates)
  nearest = shift - np.round(shift @ np.linalg.inv(box).T) @ box.T
  lengths, across = np.linalg.norm(shift, axis=-1), np.linalg.norm(nearest, axis=-1)
  # Of bonds in earnest: residues on the two sides of a gap may meet a neighbour's image by chance.
  torn = (lengths > limits.MAX_INNER_BOND) & (across > 1.2) & (across < 1.7)
  return [bonds[i].label for i in np.flatnonzero(torn).tolist()]

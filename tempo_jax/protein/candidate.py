"""A residue as its source names it, before it is known whether the model can use it."""

import dataclasses
from collections.abc import Mapping

import gemmi

from tempo_jax.protein import protein as protein_lib

CAPS = frozenset(('ACE', 'NME', 'NMA', 'NH2', 'NHE', 'FOR'))
WATERS = frozenset(('SOL', 'SPC', 'OPC', 'TIP', 'TIP2', 'TIP3', 'TIP4', 'TIP5', 'TP3', 'TP4'))

# What the oxygen is called, in order of preference; the others are names of a
# carboxylate, where either atom will do.
OXYGEN_NAMES = ('O', 'OT1', 'O1', 'OC1', 'OCT1', 'OT', 'OXT', 'OT2', 'O2', 'OC2', 'OCT2')


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A residue as its source names it.

  Attributes:
    chain: author's chain id, '' where blank.
    segment: changes where the source ends a molecule (TER, a new entity).
    number: author's residue number.
    insertion_code: '' where there is none.
    name: upper case.
    is_hetero: listed as HETATM.
    atoms: atom name -> row of the coordinates.
  """

  chain: str
  segment: str
  number: int
  insertion_code: str
  name: str
  is_hetero: bool
  atoms: Mapping[str, int]

  def label(self) -> str:
    """How messages name it."""
    return protein_lib.label(self.chain, self.number, self.insertion_code, self.name)

  def left_out(self, reason: str) -> protein_lib.LeftOut:
    """The record of its being dropped."""
    return protein_lib.LeftOut(self.chain, self.name, self.number, self.insertion_code, reason)


def is_water(name: str) -> bool:
  """Whether a residue of that name is water."""
  return name in WATERS or gemmi.find_tabulated_residue(name).is_water()


def is_amino_acid(candidate: Candidate) -> bool:
  """Whether it is one by its name, or has the backbone of one; caps are none."""
  if candidate.name in CAPS:
    return False
  return protein_lib.standard_residue(candidate.name) is not None or all(
    atom in candidate.atoms for atom in ('N', 'CA', 'C')
  )

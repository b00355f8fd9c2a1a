"""What to export, and where; what a benchmark demands of a protein."""

import dataclasses
import pathlib

import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib

UNKNOWN_DT_NS = 0.001
"""Time step of files whose format needs one where it is not known: mdtraj's, a ps per frame."""

# Parts of a file that are no residues of the protein (`residue_selection`).
_NOT_MISSED = ('a cap', 'a free amino acid, bonded to nothing')


@dataclasses.dataclass(frozen=True)
class Request:
  """One protein for one benchmark.

  Attributes:
    name: of the protein.
    prediction: all replicas.
    folder: of the benchmark; need not be there.
    model: key under which the benchmark lists the model.
  """

  name: str
  prediction: Ensemble
  folder: pathlib.Path
  model: str

  @property
  def protein(self) -> protein_lib.Protein:
    """The residues of all replicas."""
    return self.prediction.native


def one_chain(protein: protein_lib.Protein) -> None:
  """Raises `InputError` unless there is one chain, with every residue of the structure."""
  if protein.num_chains > 1:
    raise InputError(f'{protein.num_chains} chains, and it takes one: give one of them as a case')
  missed = next((each for each in protein.left_out if each.reason not in _NOT_MISSED), None)
  if missed:
    raise InputError(
      f'the native structure lacks residue {missed}, and it compares all of them: complete the '
      'structure'
    )


def standard(protein: protein_lib.Protein) -> None:
  """Raises `InputError` for a residue that is none of the twenty."""
  unknown = np.asarray(protein.arrays.residue_type) == protein_lib.RESIDUE_TYPES.index('UNK')
  if unknown.any():
    label = protein.label(int(np.argmax(unknown)))
    raise InputError(f'residue {label} is none of the twenty that it knows: leave the protein out')


def complete_side_chains(prediction: Ensemble) -> None:
  """Raises `InputError` unless all heavy atoms are there."""
  protein, known = prediction.native, prediction.known_atoms
  if known is None:
    raise InputError(
      f'{prediction.no_side_chains}, and it compares their torsions: give all heavy atoms '
      '(tempo-jax side-chains adds them)'
    )
  lacking = ~known & atoms_lib.mask(protein.arrays.residue_type, atoms_lib.HEAVY)
  if lacking.any():
    residue, slot = (int(i[0]) for i in np.nonzero(lacking))
    atom = atoms_lib.names(protein.arrays.residue_type, atoms_lib.HEAVY)[residue][slot]
    raise InputError(
      f'atom {atom} of {protein.label(residue)} is missing, and it compares the torsions of side '
      'chains: give all heavy atoms (tempo-jax side-chains adds them)'
    )


def numbered_from_one(protein: protein_lib.Protein) -> protein_lib.Protein:
  """The same residues as chain A, numbers 1 to L."""
  return dataclasses.replace(
    protein,
    chain_ids=('A',),
    residue_number=np.arange(1, protein.num_residues + 1),
    insertion_code=('',) * protein.num_residues,
  )

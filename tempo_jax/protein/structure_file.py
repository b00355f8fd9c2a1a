"""PDB and mmCIF files -> Protein."""

import os
import pathlib
from collections.abc import Sequence

from tempo_jax.protein import atom_records, residue_selection, residues
from tempo_jax.protein import protein as protein_lib

_SUFFIXES = frozenset(('.gz', '.pdb', '.ent', '.cif', '.mmcif'))


def load_protein(
  path: str | os.PathLike[str], chains: str | Sequence[str] | None = None
) -> protein_lib.Protein:
  """Reads model 1 of a PDB or mmCIF file, which may be gzipped.

  Args:
    path: the file; its content, not its name, tells the format.
    chains: author's ids of the chains to keep: 'A', 'A,B' or a sequence of ids; None or '' keeps
      every protein chain.

  Returns:
    The residues that have N, CA and C, with the start conformation in the coordinates of the file
    (Å). Of alternate locations those are taken that make a chain (`residues.candidates`). A missing
    O is placed from the geometry. See `residue_selection.select` for the rules.

  Raises:
    InputError: the file cannot be read or is no structure, has fewer than two residues with a
      complete backbone, lacks a chain that was asked for, or is torn by its periodic box.
  """
  if isinstance(chains, str):
    chains = [chain.strip() for chain in chains.split(',')] if chains else None
  path = pathlib.Path(path)
  atoms = atom_records.read(path)
  protein, _ = residue_selection.select(
    residues.candidates(atoms),
    atoms.coordinates,
    name=_stem(path),
    source=str(path),
    chains=chains,
    warnings=atoms.warnings,
    box=atoms.box,
  )
  return protein


def _stem(path: pathlib.Path) -> str:
  while path.suffix.lower() in _SUFFIXES:
    path = path.with_suffix('')
  return path.name

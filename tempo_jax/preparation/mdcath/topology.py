"""The residues of an mdCATH file, chosen by the rules that hold for structure files."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.geometry import bonds, limits
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import protein, residue_selection

if TYPE_CHECKING:
  import h5py

LAYOUT = 'mdcath-only-protein-v1.0'


@dataclasses.dataclass(frozen=True)
class Domain:
  """The residues of a domain.

  Attributes:
    file: where it is from.
    text: its `pdbProteinAtoms`.
    num_atoms: N.
    protein: L residues in the native conformation.
    atom_index: [L, 4] of N, CA, C, O among the N atoms; -1 for an O to be placed.
    remarks: what to report of it.
    notes: what to keep with its entries.
  """

  file: pathlib.Path
  text: bytes
  num_atoms: int
  protein: protein.Protein
  atom_index: np.ndarray
  remarks: tuple[str, ...]
  notes: tuple[str, ...] = ()

  def truncated(self, length: int) -> 'Domain':
    """Its first residues."""
    whole, arrays = self.protein, self.protein.arrays
    heavy_atoms = whole.heavy_atom_index
    optional = ('ring', 'disulphides')
    kept = {
      key: value[:length]
      for key, value in vars(arrays).items()
      if key not in optional and value is not None
    }
    kept['bonded'] = kept['bonded'] & (np.arange(length) < length - 1)
    if arrays.ring is not None:
      # What is cut is no ring any more.
      kept['ring'] = bonds.rings(kept['positions'], kept['chain_index'], limits.MAX_BOND)
    return dataclasses.replace(
      self,
      protein=dataclasses.replace(
        whole,
        arrays=protein.ProteinArrays(**kept),
        chain_ids=whole.chain_ids[: kept['chain_index'][-1] + 1],
        residue_number=whole.residue_number[:length],
        insertion_code=whole.insertion_code[:length],
        heavy_atom_index=None if heavy_atoms is None else heavy_atoms[:length],
        missing_atoms=whole.missing_atoms[:length],
      ),
      atom_index=self.atom_index[:length],
      remarks=(*self.remarks, f'{whole.num_residues} residues, cut to the first {length}'),
      notes=(f'the first {length} of {whole.num_residues} residues',),
    )


def read(h5: 'h5py.File', file: pathlib.Path, name: str) -> Domain:
  """Reads the residues of domain `name` from `file`, which is open as `h5`.

  A file without the attribute `layout` is taken if the rest is there.

  Raises:
    InputError: another layout or domain, atoms that do not add up, or a native structure with
      broken residues.
  """
  layout = h5.attrs.get('layout', LAYOUT)
  layout = layout.decode() if isinstance(layout, bytes) else layout
  if layout != LAYOUT:
    raise InputError(
      f'{file.name}: its layout is {layout!r}, and only {LAYOUT!r} can be read: leave it out'
    )
  if name not in h5:
    held = ', '.join(h5) or 'nothing'
    raise InputError(f'{file.name}: should hold {name} and holds {held}: name it after its domain')
  group = h5[name]
  if 'pdbProteinAtoms' not in group:
    raise InputError(f'{file.name}: no pdbProteinAtoms in it: download it again')
  text = group['pdbProteinAtoms'][()]
  where = f'{file.name}: pdbProteinAtoms'
  candidates, coordinates = _parse_atoms(text.decode(), where)
  num_atoms = len(coordinates)
  expected = int(group.attrs.get('numProteinAtoms', num_atoms))
  if num_atoms != expected:
    raise InputError(
      f'{file.name}: pdbProteinAtoms has {num_atoms} atoms, numProteinAtoms says {expected}: '
      'download it again'
    )
  found, atom_index = residue_selection.select(candidates, coordinates, name=name, source=where)
  # A residue without all its atoms may be left out; a damaged native structure is of no use.
  odd = [residue for residue in found.left_out if residue.reason != 'a cap']
  for residue in odd:
    if not residue.reason.startswith('no '):
      raise InputError(f'{where}: {residue}: download the file again')
  remarks = (*found.warnings, *(f'left out: {residue}' for residue in odd))
  return Domain(file, text, num_atoms, found, atom_index, remarks)


def _parse_atoms(text: str, where: str) -> tuple[list[candidate_lib.Candidate], np.ndarray]:
  """The residues of PDB lines, and the atoms' positions [N, 3] Å."""
  candidates: list[candidate_lib.Candidate] = []
  coordinates: list[tuple[str, str, str]] = []
  residue = None
  atoms: dict[str, int] = {}
  molecule = 0
  for line in text.splitlines():
    molecule += line.startswith('TER')
    if not line.startswith(('ATOM', 'HETATM')):
      continue
    atom = line[12:16].strip()
    # Two residues may have one number; no residue has two atoms of one name.
    if residue != (molecule, line[17:27], line[72:76]) or atom in atoms:
      residue, atoms = (molecule, line[17:27], line[72:76]), {}
      candidates.append(_candidate(line, molecule, atoms, where))
    atoms[atom] = len(coordinates)
    coordinates.append((line[30:38], line[38:46], line[46:54]))
  try:
    return candidates, np.array(coordinates, str).astype(np.float64).reshape(-1, 3)
  except ValueError as error:
    raise InputError(f'{where}: no coordinates ({error}): download the file again') from error


def _candidate(
  line: str, molecule: int, atoms: dict[str, int], where: str
) -> candidate_lib.Candidate:
  try:
    number = int(line[22:26])
  except ValueError as error:
    raise InputError(f'{where}: no residue number ({error}): download the file again') from error
  return candidate_lib.Candidate(
    chain=line[21].strip(),
    segment=f'{molecule} {line[72:76].strip()}',
    number=number,
    insertion_code=line[26].strip(),
    name=line[17:21].strip().upper(),
    is_hetero=False,
    atoms=atoms,
  )

"""A protein as the model sees it: residues, chains, masks and one conformation."""

import dataclasses
from typing import Any

import gemmi
import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.errors import first_few
from tempo_jax.geometry import bonds as bonds_lib

_LETTERS = 'ACDEFGHIKLMNPQRSTVWYX'

RESIDUE_TYPES: tuple[str, ...] = (
  *('ALA', 'CYS', 'ASP', 'GLU', 'PHE', 'GLY', 'HIS', 'ILE', 'LYS', 'LEU'),
  *('MET', 'ASN', 'PRO', 'GLN', 'ARG', 'SER', 'THR', 'VAL', 'TRP', 'TYR'),
  'UNK',
)
"""Three-letter codes in the order of their one-letter codes; unknown comes last."""

ONE_LETTER: dict[str, str] = dict(zip(RESIDUE_TYPES, _LETTERS, strict=True))
THREE_LETTER: dict[str, str] = dict(zip(_LETTERS, RESIDUE_TYPES, strict=True))

VARIANTS: dict[str, str] = {
  variant: parent
  for parent, variants in {
    'ASP': 'ASH ASPH ASPP ASPN AS4',
    'ARG': 'ARN ARGN',
    'CYS': 'CYX CYM CYN CYSH CYS1 CYS2 CYSP CSS SEC',
    'GLU': 'GLH GLUH GLUP GLUN GL4',
    'HIS': 'HSD HSE HSP HSH HID HIE HIP HIH HISA HISB HISD HISE HISH HISP HIS1 HIS2',
    'LYS': 'LYN LSN LYSH LYSN LYSP PYL',
    'TYR': 'TYM TYRH',
  }.items()
  for variant in variants.split()
}
"""Names that force fields and the PDB give to standard residues beyond those that gemmi knows.

CHARMM, AMBER, GROMOS and OPLS protonation states and disulphides, selenocysteine
and pyrrolysine. Modified residues (MSE, NLE, SEP, D-residues, ...) stand in gemmi's table.
"""

MODIFIED: dict[str, str] = {
  'S1P': 'SER', 'T1P': 'THR', 'Y1P': 'TYR', 'NLN': 'ASN', 'OLS': 'SER', 'OLT': 'THR'
}  # fmt: skip
"""Names that force fields give to modified residues: phosphates of Amber, links of GLYCAM."""


SOLVENTS = ('unknown', 'explicit', 'implicit')
"""What may surround a protein in MD: nobody knows, water molecules, or a continuum."""
# How implicit each of them is: one that is not known, by half.
_IMPLICIT = np.array([0.5, 0.0, 1.0], np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ProteinArrays:
  """What the network reads of one protein; a pytree, so it can be jitted and vmapped.

  Fields are numpy arrays as they come from a file, jax arrays (or tracers) inside a function.

  Attributes:
    residue_type: [L] int32, index into `RESIDUE_TYPES`.
    residue_index: [L] int32, position along the chain; jumps at a chain break.
    chain_index: [L] int32, 0-based.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1. False at
      the end of a chain, of a ring, too, at a break, and in padding.
    mask: [L] bool, False in padding.
    positions: [L, 4, 3] float32 Å, N, CA, C, O of the start conformation.
    ring: [L] int32, at the last residue of a ring (head to tail) the index of its
      first one, elsewhere -1; None where no chain is a ring.
    disulphides: [L] int32, the residue to whose sulphur this one's is bonded,
      elsewhere -1; None where there are none, or the source has no side chains.
    chi: [L, 4] float32 rad, torsions of the side chains (`side_chain_atoms`), 0 where not known;
      None where the source has no side chains.
    chi_known: [L, 4] bool, which of them are known; None where `chi` is.
    solvent: [] int32, index into `SOLVENTS`, of what surrounds it; None: water.
    mirrored: [L] bool, a D-residue, or one without CB in a mirror image; None where there are none,
      or the source has no CB.
    centre: [L, 3] float32 Å, CA of the mean conformation, in any pose, where MD of the protein has
      told a model; None: not known.
  """

  residue_type: Any
  residue_index: Any
  chain_index: Any
  bonded: Any
  mask: Any
  positions: Any
  ring: Any = None
  disulphides: Any = None
  chi: Any = None
  chi_known: Any = None
  solvent: Any = None
  mirrored: Any = None
  centre: Any = None

  @property
  def bonds(self) -> bonds_lib.Bonds:
    """All peptide bonds, those that close a ring, too."""
    to_next = self.bonded if self.ring is None else self.bonded | (self.ring >= 0)
    return bonds_lib.Bonds(to_next, self.ring)

  @property
  def known_solvent(self) -> Any:
    """[] int32, index into `SOLVENTS`: water where nothing else is said."""
    return np.int32(SOLVENTS.index('explicit')) if self.solvent is None else self.solvent

  @property
  def implicit(self) -> Any:
    """[] float32: 1 in implicit, 0 in explicit solvent, 0.5 where the solvent is not known."""
    return jnp.asarray(_IMPLICIT)[self.known_solvent]

  def with_chi(self, chi: np.ndarray | None) -> 'ProteinArrays':
    """The same with other side chains, [L, 4] rad, NaN where not known; None for no side chains."""
    if chi is None:
      return dataclasses.replace(self, chi=None, chi_known=None)
    known = ~np.isnan(chi)
    chi = np.where(known, chi, 0.0).astype(np.float32)
    return dataclasses.replace(self, chi=chi, chi_known=known)


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """A residue of the file that the model does not see, and why."""

  chain: str
  residue_name: str
  number: int
  insertion_code: str
  reason: str

  def __str__(self) -> str:
    residue = label(self.chain, self.number, self.insertion_code, self.residue_name)
    return f'{residue} ({self.reason})'


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Protein:
  """Residues with their names and numbers, and one conformation.

  Attributes:
    name: of the file, without folder and extensions.
    arrays: what the network reads; numpy, unpadded (`mask` is all True).
    chain_ids: author's id of each chain, '' where blank. Two chains may share
      an id (see `residue_selection.select`).
    residue_number: [L] int, author's numbering.
    insertion_code: per residue, '' where there is none.
    left_out: residues that were dropped, with the reason.
    warnings: what looks wrong but could be used, one line each.
    heavy_atom_index: [L, 14] int64, where the atoms of `side_chain_atoms.ATOM_NAMES` are among
      those of the source, -1 where one is missing; None for a protein that no source has.
    missing_atoms: per residue, the names of those of its side chain that are missing.
  """

  name: str
  arrays: ProteinArrays
  chain_ids: tuple[str, ...]
  residue_number: np.ndarray
  insertion_code: tuple[str, ...]
  left_out: tuple[LeftOut, ...] = ()
  warnings: tuple[str, ...] = ()
  heavy_atom_index: np.ndarray | None = None
  missing_atoms: tuple[tuple[str, ...], ...] = ()

  def __repr__(self) -> str:
    return f'Protein({self.name!r}, {self.num_residues} residues, {self.num_chains} chains)'

  def in_solvent(self, name: str) -> 'Protein':
    """The same, surrounded by one of `SOLVENTS`."""
    solvent = np.int32(SOLVENTS.index(name))
    return dataclasses.replace(self, arrays=dataclasses.replace(self.arrays, solvent=solvent))

  @property
  def num_residues(self) -> int:
    """L."""
    return len(self.residue_number)

  @property
  def num_chains(self) -> int:
    """Chains are numbered in the order of the file."""
    return len(self.chain_ids)

  @property
  def residue_names(self) -> tuple[str, ...]:
    """Three-letter code of the residue type that the model sees, per residue."""
    return tuple(RESIDUE_TYPES[i] for i in self.arrays.residue_type)

  @property
  def sequence(self) -> str:
    """One letter per residue, chains joined without a mark, 'X' for unknown."""
    return ''.join(_LETTERS[i] for i in self.arrays.residue_type)

  @property
  def chain_of_residue(self) -> tuple[str, ...]:
    """Author's chain id per residue."""
    return tuple(self.chain_ids[i] for i in self.arrays.chain_index)

  @property
  def incomplete_side_chains(self) -> str:
    """One line on the side chains that lack heavy atoms; '' if none does."""
    lacking = [i for i, atoms in enumerate(self.missing_atoms) if atoms]
    if not lacking:
      return ''
    if self.arrays.chi is None:
      return 'it has no side chains'
    one = len(lacking) == 1
    where = [f'{self.label(i)} (no {", ".join(self.missing_atoms[i])})' for i in lacking]
    return (
      f'side chain{"" if one else "s"} of {len(lacking)} residue{"" if one else "s"} '
      f'{"is" if one else "are"} incomplete: {first_few(where)}'
    )

  def label(self, residue: int) -> str:
    """How messages name a residue, by its index."""
    return label(
      self.chain_of_residue[residue],
      int(self.residue_number[residue]),
      self.insertion_code[residue],
      self.residue_names[residue],
    )

  def with_positions(self, positions: jax.Array | np.ndarray) -> 'Protein':
    """The same residues in another conformation, without side chains; positions [L, 4, 3] Å."""
    expected = (self.num_residues, 4, 3)
    if np.shape(positions) != expected:
      raise ValueError(f'positions have shape {np.shape(positions)}, {self.name} needs {expected}')
    positions = np.asarray(positions, np.float32)
    arrays = dataclasses.replace(self.arrays, positions=positions).with_chi(None)
    return dataclasses.replace(self, arrays=arrays)


def label(chain: str, number: int, insertion_code: str, name: str) -> str:
  """How messages name a residue, e.g. 'A:52B GLY'."""
  return f'{chain}:{number}{insertion_code} {name}' if chain else f'{number}{insertion_code} {name}'


def standard_residue(name: str) -> str | None:
  """The residue type, one of `RESIDUE_TYPES`, of a residue name.

  Args:
    name: as a structure file or a force field gives it, e.g. 'MSE', 'HSD', 'NALA'.

  Returns:
    'UNK' for an amino acid whose parent is not known, None for anything that
    is not an amino acid by name (a residue with a backbone may still be one).
  """
  if name in ONE_LETTER:
    return name
  if name in VARIANTS:
    return VARIANTS[name]
  if name in MODIFIED:
    return MODIFIED[name]
  # AMBER marks the residues at the ends: NALA, CHIE.
  if len(name) == 4 and name[0] in 'NC' and (name[1:] in ONE_LETTER or name[1:] in VARIANTS):
    return standard_residue(name[1:])
  known = gemmi.find_tabulated_residue(name)
  if known.is_amino_acid():
    return THREE_LETTER.get(known.one_letter_code.upper(), 'UNK')
  return None

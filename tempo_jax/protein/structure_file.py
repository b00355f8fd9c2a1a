"""PDB and mmCIF files -> Protein, through gemmi."""

import gzip
import math
import os
import pathlib
import re
import zlib
from collections.abc import Iterator, Sequence

import gemmi
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import residue_selection

_BACKBONE = frozenset(('N', 'CA', 'C', *residue_selection.OXYGEN_NAMES))
_WANTED = _BACKBONE | {'CB'}
_COORDINATES = (slice(30, 38), slice(38, 46), slice(46, 54))
_SEVERAL_MODELS = 'several models in the file, only the first is used'
_ATOM_RECORDS = ('ATOM  ', 'HETATM')
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
    (Å). Of alternate locations the one with the highest mean backbone occupancy is taken per
    residue. A missing O is placed from the geometry. See `residue_selection.select` for the rules.

  Raises:
    InputError: the file cannot be read or is no structure, has fewer than two residues with a
      complete backbone, or lacks a chain that was asked for.
  """
  if isinstance(chains, str):
    chains = [chain.strip() for chain in chains.split(',')] if chains else None
  path = pathlib.Path(path)
  text = _read_text(path)
  structure, warnings = _parse(text, path)
  candidates: list[residue_selection.Candidate] = []
  coordinates: list[list[float]] = []
  if len(structure):
    for part, chain in enumerate(structure[0]):
      for alternatives in _by_position(chain):
        residue, atoms = _choose_conformer(alternatives)
        candidates.append(
          residue_selection.Candidate(
            chain=chain.name.strip(),
            segment=f'{part} {residue.subchain}',
            number=residue.seqid.num or 0,
            insertion_code=residue.seqid.icode.strip(),
            name=residue.name.strip().upper(),
            is_hetero=residue.het_flag == 'H',
            atoms={name: len(coordinates) + k for k, name in enumerate(atoms)},
          )
        )
        coordinates += [atom.pos.tolist() for atom in atoms.values()]
  protein, _ = residue_selection.select(
    candidates,
    np.array(coordinates),
    name=_stem(path),
    source=str(path),
    chains=chains,
    warnings=warnings,
  )
  return protein


def _stem(path: pathlib.Path) -> str:
  while path.suffix.lower() in _SUFFIXES:
    path = path.with_suffix('')
  return path.name


def _read_text(path: pathlib.Path) -> str:
  try:
    content = path.read_bytes()
    if content[:2] == b'\x1f\x8b':
      content = gzip.decompress(content)
  except FileNotFoundError:
    raise InputError(f'no such structure file: {path}') from None
  except IsADirectoryError:
    raise InputError(f'{path} is a folder; give a PDB or mmCIF file') from None
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f'cannot read {path}: {error}') from None
  # PDB has no encoding; names and numbers are ASCII, remarks may be anything.
  return content.decode('latin-1')


def _parse(text: str, path: pathlib.Path) -> tuple[gemmi.Structure, list[str]]:
  """The structure, and warnings."""
  try:
    if _is_mmcif(text):
      structure = gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0])
      return structure, [_SEVERAL_MODELS] if len(structure) > 1 else []
    lines, warnings = _prepare_pdb(text, path)
    return gemmi.read_pdb_string('\n'.join(lines), split_chain_on_ter=True), warnings
  except (ValueError, RuntimeError, IndexError) as error:
    if isinstance(error, InputError):
      raise
    raise InputError(f'{path} is not a sound PDB or mmCIF file: {error}') from None


def _is_mmcif(text: str) -> bool:
  for line in text.splitlines():
    if line.strip() and not line.startswith('#'):
      return line.lower().startswith('data_')
  return False


def _prepare_pdb(text: str, path: pathlib.Path) -> tuple[list[str], list[str]]:
  """Model 1, with the records rewritten that gemmi would misread without a word.

  Coordinates that are not numbers (overflow: ********) read as 0: they become
  NaN. Two molecules that share a chain id and numbers, with no TER between
  them, would be merged: they get one, also where the segment id changes. A
  residue whose atoms differ in the segment id would be split: the columns
  after the B-factor go. Names of four letters (ASPP, TIP3) run into the chain
  id: they become the three letters of their residue.

  Returns:
    The lines, and warnings.
  """
  lines: list[str] = []
  long_names = not _has_long_chain_ids(text)
  chain, number, segment = '', -math.inf, ''
  has_atoms = False
  source = iter(text.splitlines())
  for line in source:
    if line.startswith('ENDMDL') and has_atoms:
      break
    if line.startswith(_ATOM_RECORDS):
      has_atoms = True
      if long_names and (parent := _parent_of_long_name(line[17:21])):
        line = f'{line[:17]}{parent} {line[21:]}'
      if not all(_is_number(line[field]) for field in _COORDINATES):
        line = f'{line[:30]:30}{"nan":>8}{"nan":>8}{"nan":>8}{line[54:]}'
      if line[12:17] in (' N   ', ' CA  '):
        before = chain, number, segment
        chain, number, segment = line[20:22], _residue_number(line, path), line[72:76].strip()
        other_segment = segment != before[2] and number != before[1]
        if chain == before[0] and (number < before[1] or other_segment):
          lines.append('TER')
      line = line[:66]
    lines.append(line)
  more = any(line.startswith(_ATOM_RECORDS) for line in source)
  return lines, [_SEVERAL_MODELS] if more else []


def _is_number(field: str) -> bool:
  try:
    float(field)
  except ValueError:
    return False
  return True


def _residue_number(line: str, path: pathlib.Path) -> int | float:
  """The number; +inf for the hybrid-36 numbers (A000 ...) that follow 9999."""
  field = line[22:26].strip()
  if re.fullmatch('-?[0-9]+', field):
    return int(field)
  if re.fullmatch('[A-Za-z][0-9A-Za-z]{3}', field):
    return math.inf
  raise InputError(
    f'{path}: residue number {line[22:26]!r} cannot be read in the line {line[:54].rstrip()!r}; '
    'number each chain from 1 or give mmCIF'
  )


def _parent_of_long_name(name: str) -> str | None:
  """The three-letter name of a known four-letter one."""
  if len(name.strip()) < 4:
    return None
  return 'HOH' if name in residue_selection.WATERS else protein_lib.standard_residue(name)


def _has_long_chain_ids(text: str) -> bool:
  """Whether column 21 belongs to chain ids of two letters, as some programs write them."""
  return any(
    line[20:21].strip()
    and line[17:20] in protein_lib.ONE_LETTER
    and not _parent_of_long_name(line[17:21])
    for line in text.splitlines()
    if line.startswith('ATOM  ')
  )


def _by_position(chain: gemmi.Chain) -> Iterator[list[gemmi.Residue]]:
  """Residues in order; those that are alternatives at one position come together."""
  groups: list[list[gemmi.Residue]] = []
  at: dict[str, list[gemmi.Residue]] = {}
  for residue in chain:
    group = at.get(str(residue.seqid))
    if group and any(atom.has_altloc() for other in (*group, residue) for atom in other):
      group.append(residue)
    else:
      groups.append([residue])
      at[str(residue.seqid)] = groups[-1]
  yield from groups


def _choose_conformer(
  alternatives: Sequence[gemmi.Residue],
) -> tuple[gemmi.Residue, dict[str, gemmi.Atom]]:
  """One residue and, by name, its backbone atoms and CB, all of one alternate location.

  A location that has N, CA and C comes first, then the highest mean occupancy
  of the backbone, then the first letter. Atoms that this location lacks come
  from the others, the most occupied first.
  """
  options = []
  for residue in alternatives:
    atoms = [atom for atom in residue if atom.name in _WANTED]
    letters = {atom.altloc for atom in atoms if atom.has_altloc() and atom.name in _BACKBONE}
    for letter in letters or {'\0'}:
      own: dict[str, gemmi.Atom] = {}
      # A labelled atom replaces an unlabelled one; of two alike the first stays.
      for atom in sorted(atoms, key=lambda atom: atom.altloc != letter):
        if atom.altloc in (letter, '\0'):
          own.setdefault(atom.name, atom)
      occupancy = [atom.occ for atom in own.values() if atom.name in _BACKBONE]
      rank = (
        sum(atom not in own for atom in ('N', 'CA', 'C')),
        -round(float(np.mean(occupancy or [0.0])), 4),
        letter,
      )
      for atom in sorted(atoms, key=lambda atom: -atom.occ):
        own.setdefault(atom.name, atom)
      options.append((rank, residue, own))
  _, residue, own = min(options, key=lambda option: option[0])
  return residue, own

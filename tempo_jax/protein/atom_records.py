"""The atoms of a PDB or mmCIF file, one by one in the order of the file: model 1 of it.

Nothing is merged, chosen or dropped here: which atoms make a residue is decided by
`tempo_jax.protein.residues`, for every format alike. `read_frames` reads the other models, too.
"""

import dataclasses
import gzip
import pathlib
import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import gemmi
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import protein as protein_lib

_COORDINATES = (slice(30, 38), slice(38, 46), slice(46, 54))
_SEVERAL_MODELS = 'several models in the file, only the first is used'
_RECORDS = ('ATOM', 'HETA')  # A serial number of six digits takes the two columns that follow.
_ENDS = ('ENDMDL', 'MODEL', 'END')  # Of a model.
_SMALLEST_BOX = 10.0  # Å; less stands for no box
_UNKNOWN = frozenset(('', '?', '.'))


class AtomRecord(NamedTuple):
  """An atom as its file names it.

  Attributes:
    name: of the atom.
    altloc: its alternate location, '' where there is none.
    residue_name: upper case.
    chain: author's chain id, '' where blank.
    part: changes where the file ends a molecule (TER, label_asym_id).
    segment: id of a segment, where the format has one; programs write anything there.
    number: author's residue number; None where the file has none.
    insertion_code: '' where there is none.
    is_hetero: listed as HETATM.
    occupancy: 1 where the file says nothing.
  """

  name: str
  altloc: str
  residue_name: str
  chain: str
  part: str
  segment: str
  number: int | None
  insertion_code: str
  is_hetero: bool
  occupancy: float

  def position(self) -> tuple[int | None, str, str]:
    """What tells a residue of its chain from the next one."""
    return self.number, self.insertion_code, self.residue_name


@dataclasses.dataclass(frozen=True)
class Atoms:
  """Model 1 of a file.

  Attributes:
    records: N of them.
    coordinates: [N, 3] float64 Å; NaN where the file has no numbers.
    box: [3, 3] Å, the periodic cell's vectors as columns; None where the file has none.
    warnings: what the reader has to say.
  """

  records: Sequence[AtomRecord]
  coordinates: np.ndarray
  box: np.ndarray | None
  warnings: tuple[str, ...]

  def take(self, rows: Sequence[int]) -> 'Atoms':
    """Some of them."""
    if len(rows) == len(self.records):
      return self
    records = [self.records[row] for row in rows]
    return dataclasses.replace(self, records=records, coordinates=self.coordinates[list(rows)])


def read(path: pathlib.Path) -> Atoms:
  """Reads a PDB or mmCIF file, which may be gzipped.

  Args:
    path: the file; its content, not its name, tells the format.

  Raises:
    InputError: it cannot be read, or is not a sound file.
  """
  return _model_one(_read_text(path), path)


def _model_one(text: str, path: pathlib.Path) -> Atoms:
  if not _is_mmcif(text):
    return _read_pdb(text, path)
  try:
    return _read_mmcif(text)
  except (ValueError, RuntimeError, IndexError) as error:
    raise InputError(f'{path} is not a sound PDB or mmCIF file: {error}') from None


def read_frames(path: pathlib.Path) -> tuple[Atoms, np.ndarray]:
  """Reads all models of a PDB or mmCIF file.

  Args:
    path: as for `read`.

  Returns:
    The N atoms of model 1, and their coordinates [F, N, 3] float64 Å in every model.

  Raises:
    InputError: what `read` raises; models have unequal numbers of atoms, or atoms no coordinates.
  """
  text = _read_text(path)
  atoms = _model_one(text, path)
  frames = _mmcif_models(text) if _is_mmcif(text) else _pdb_models(text)
  if not atoms.records:
    raise InputError(f'{path}: no atoms in it: give a sound PDB or mmCIF file')
  for number, frame in enumerate(frames):
    if len(frame) != len(atoms.records):
      raise InputError(
        f'{path}: frame {number} has {len(frame)} atoms, the first one has {len(atoms.records)}: '
        'give a sound file'
      )
  coordinates = np.array(frames).reshape(len(frames), -1, 3)
  if not np.isfinite(coordinates).all():
    first = int(np.argmax(~np.isfinite(coordinates).all(axis=(1, 2))))
    raise InputError(
      f'{path}: frame {first} has coordinates that are no numbers: give a sound file'
    )
  return atoms, coordinates


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
  # Neither format has an encoding; names and numbers are ASCII, remarks may be anything. Some
  # editors begin a file with a byte-order mark.
  return content.removeprefix(b'\xef\xbb\xbf').decode('latin-1')


def _is_mmcif(text: str) -> bool:
  for line in text.splitlines():
    if line.strip() and not line.startswith('#'):
      return line.lower().startswith('data_')
  return False


def _read_pdb(text: str, path: pathlib.Path) -> Atoms:
  """Columns of the format's version 3.3, and what programs make of them.

  Names of four letters (ASPP, TIP3) run into the chain id, which may have two letters; lines may
  end after z.
  """
  long_names = not _has_long_chain_ids(text)
  records: list[AtomRecord] = []
  coordinates: list[list[float]] = []
  box, ended, part = None, False, 0
  warnings: tuple[str, ...] = ()
  for line in text.splitlines():
    record_name = line[:6].strip().upper()
    if not record_name.startswith(_RECORDS):
      if record_name == 'TER':
        part += 1
      elif record_name in _ENDS and records:
        ended = True
      elif record_name == 'CRYST1' and not ended:
        box = _box(line[6:54])
      continue
    if ended:
      warnings = (_SEVERAL_MODELS,)
      break
    name, residue_name, chain = line[12:16].strip(), line[17:20].strip().upper(), line[20:22]
    if long_names and (parent := _parent_of_long_name(line[17:21].upper())):
      residue_name, chain = parent, line[21:22]
    records.append(
      AtomRecord(
        name=name,
        altloc=line[16:17].strip(),
        residue_name=residue_name,
        chain=chain.strip(),
        part=str(part),
        segment=line[72:76].strip(),
        number=_number(line, path, needed=_is_needed(name, residue_name)),
        insertion_code=line[26:27].strip(),
        is_hetero=record_name.startswith('HETA'),
        occupancy=_float(line[54:60], 1.0),
      )
    )
    xyz = [_float(line[field], np.nan) for field in _COORDINATES]
    # One that is no number says that the others mean nothing.
    coordinates.append(xyz if np.isfinite(xyz).all() else [np.nan] * 3)
  return Atoms(records, np.array(coordinates).reshape(-1, 3), box, warnings)


def _pdb_models(text: str) -> list[np.ndarray]:
  """Coordinates of every model."""
  models: list[np.ndarray] = []
  current: list[list[float]] = []
  begun = False
  for line in (*text.splitlines(), 'END'):
    if line[:4].upper() in _RECORDS:
      current.append([_float(line[field], np.nan) for field in _COORDINATES])
    elif (record_name := line[:6].strip().upper()) in _ENDS:
      if current or (begun and record_name == 'ENDMDL'):  # One without atoms is one, too.
        models.append(np.array(current).reshape(-1, 3))
        current = []
      begun = record_name == 'MODEL'
  return models


def _is_needed(name: str, residue_name: str) -> bool:
  return name in ('N', 'CA') and protein_lib.standard_residue(residue_name) is not None


def _float(field: str, default: float) -> float:
  try:
    return float(field)
  except ValueError:
    return default


def _number(line: str, path: pathlib.Path, needed: bool) -> int | None:
  """The residue number; hybrid-36 numbers (A000 ...) follow 9999."""
  field = line[22:26].strip()
  if re.fullmatch('-?[0-9]+', field):
    return int(field)
  if re.fullmatch('[A-Z][0-9A-Z]{3}', field):
    return int(field, 36) - 10 * 36**3 + 10_000
  if re.fullmatch('[a-z][0-9a-z]{3}', field):
    return int(field, 36) + 16 * 36**3 + 10_000
  if not needed:
    return None
  raise InputError(
    f'{path}: residue number {line[22:26]!r} cannot be read in the line {line[:54].rstrip()!r}; '
    'number each chain from 1 or give mmCIF'
  )


def _box(fields: str) -> np.ndarray | None:
  numbers = [_float(fields[i : i + 9 if i < 27 else i + 7], 0.0) for i in (0, 9, 18, 27, 34, 41)]
  return _box_vectors(numbers)


def _box_vectors(numbers: Sequence[float]) -> np.ndarray | None:
  """Of lengths (Å) and angles (degrees); None where they mean none, such as 1 x 1 x 1."""
  if not np.isfinite(numbers).all() or min(numbers[:3]) < _SMALLEST_BOX:
    return None
  if min(numbers[3:]) <= 0.0 or max(numbers[3:]) >= 180.0:
    return None
  box = np.array(gemmi.UnitCell(*numbers).orth.mat.tolist())
  # Angles that close no cell.
  return box if np.isfinite(box).all() and np.linalg.det(box) > 1.0 else None


def _parent_of_long_name(name: str) -> str | None:
  """The three-letter name of a known four-letter one."""
  if len(name.strip()) < 4:
    return None
  return 'HOH' if name in candidate_lib.WATERS else protein_lib.standard_residue(name)


def _has_long_chain_ids(text: str) -> bool:
  """Whether column 21 belongs to chain ids of two letters, as some programs write them."""
  return any(
    line[20:21].strip()
    and line[17:20] in protein_lib.ONE_LETTER
    and not _parent_of_long_name(line[17:21])
    for line in text.splitlines()
    if line[:4].upper() == 'ATOM'
  )


def _read_mmcif(text: str) -> Atoms:
  """The first block that has atoms."""
  block = _block_of_atoms(text)
  return Atoms([], np.zeros((0, 3)), None, ()) if block is None else _read_block(block)


def _block_of_atoms(text: str) -> gemmi.cif.Block | None:
  blocks = gemmi.cif.read_string(text)
  return next((block for block in blocks if block.find_values('_atom_site.Cartn_x')), None)


def _mmcif_models(text: str) -> list[np.ndarray]:
  """Coordinates of every model."""
  block = _block_of_atoms(text)
  if block is None:
    return []
  columns = [block.find_values(f'_atom_site.Cartn_{axis}') for axis in 'xyz']
  xyz = np.array([[gemmi.cif.as_number(x) for x in column] for column in columns]).T
  models = list(block.find_values('_atom_site.pdbx_PDB_model_num'))
  changes = [row for row in range(1, len(models)) if models[row] != models[row - 1]]
  return np.split(xyz, changes)


def _read_block(block: gemmi.cif.Block) -> Atoms:
  """Author's names and numbers, the labels where there are none."""
  count = len(block.find_values('_atom_site.Cartn_x'))

  def column(*names: str) -> list[str]:
    """The first of these that says something, per atom; '' where none does."""
    best = [''] * count
    for name in names:
      values = list(block.find_values(f'_atom_site.{name}'))
      if len(values) == count:
        # Few different ones: each is unquoted once.
        plain = {value: _plain(value) for value in set(values)}
        best = [x or plain[y] for x, y in zip(best, values, strict=True)]
      if all(best):
        break
    return best

  # Numbers may carry their standard uncertainty: 11.104(3).
  number = gemmi.cif.as_number
  xyz = np.array([[number(x) for x in column(f'Cartn_{axis}')] for axis in 'xyz']).T
  models = column('pdbx_PDB_model_num')
  seq_ids = column('auth_seq_id', 'label_seq_id')
  numbers = {x: int(x) if re.fullmatch('[-+]?[0-9]+', x) else None for x in set(seq_ids)}
  columns = zip(
    column('auth_atom_id', 'label_atom_id'),
    column('label_alt_id'),
    column('auth_comp_id', 'label_comp_id'),
    column('auth_asym_id', 'label_asym_id'),
    column('label_asym_id'),
    seq_ids,
    column('pdbx_PDB_ins_code'),
    column('group_PDB'),
    column('occupancy'),
    strict=True,
  )
  records, rows = [], []
  for row, values in enumerate(columns):
    if models[row] != models[0]:
      continue
    atom, altloc, residue, chain, part, seq_id, icode, group, occupancy = values
    rows.append(row)
    records.append(
      AtomRecord(
        name=atom,
        altloc=altloc,
        residue_name=residue.upper(),
        chain=chain,
        part=part,
        segment='',
        number=numbers[seq_id],
        insertion_code=icode,
        is_hetero=group.upper() == 'HETATM',
        occupancy=number(occupancy, 1.0),
      )
    )
  parameters = [*(f'length_{x}' for x in 'abc'), 'angle_alpha', 'angle_beta', 'angle_gamma']
  cell = [number(block.find_value(f'_cell.{name}') or '', 0.0) for name in parameters]
  several = len(set(models)) > 1
  return Atoms(records, xyz[rows], _box_vectors(cell), (_SEVERAL_MODELS,) if several else ())


def _plain(value: str) -> str:
  """A value without its quotes; '' for the two marks of an absent one."""
  if value in _UNKNOWN:
    return ''
  return gemmi.cif.as_string(value) if value[0] in '\'";' else value

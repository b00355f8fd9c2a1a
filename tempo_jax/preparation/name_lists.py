"""Lists of proteins: one name a line, or the CSV files that MDGen and AlphaFlow publish."""

import csv
import dataclasses
import os
import pathlib
import re
from collections.abc import Sequence

from tempo_jax.errors import InputError

_SPLITS = {
  'train': 'train',
  'training': 'train',
  'val': 'validation',
  'valid': 'validation',
  'validation': 'validation',
  'test': 'test',
}


@dataclasses.dataclass(frozen=True)
class NameRow:
  """One protein of a list.

  Attributes:
    name: of the domain or chain.
    split: 'train', 'validation', 'test', or None where the list does not say.
    sequence: one letter per residue, or None.
  """

  name: str
  split: str | None = None
  sequence: str | None = None


def read(files: Sequence[str | os.PathLike]) -> dict[str, NameRow]:
  """Reads lists of proteins.

  Args:
    files: text with one name a line (# begins a comment), or CSV whose header has `name` (or
      `domain`), and perhaps `split` and `seqres`. Without a column, the split is what the
      file is called: *train*, *val*, *test*.

  Returns:
    Rows by name, in the order of the files.

  Raises:
    InputError: a file cannot be read, is empty, or names a protein in two splits.
  """
  rows: dict[str, NameRow] = {}
  for file in map(pathlib.Path, files):
    try:
      text = file.expanduser().read_text(encoding='utf-8-sig')
    except (OSError, UnicodeError) as error:
      reason = error.strerror if isinstance(error, OSError) else 'not text'
      raise InputError(f'{file}: cannot be read as a list of names: {reason}') from error
    found = _parse(text, file)
    if not found:
      raise InputError(f'{file}: no names in it: give one a line, or a CSV with a column "name"')
    for row in found:
      before = rows.setdefault(row.name, row)
      if before.split != row.split:
        raise InputError(
          f'{file}: {row.name} is in two splits, {before.split} and {row.split}: keep one'
        )
  return rows


def _parse(text: str, file: pathlib.Path) -> list[NameRow]:
  words = re.split(r'[^a-z]+', file.name.lower())
  split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
  lines = [line.split('#')[0].strip() for line in text.splitlines()]
  lines = [line for line in lines if line]
  if not lines or ',' not in lines[0]:
    names = lines[1:] if lines and lines[0].lower() in ('name', 'domain') else lines
    for name in names:
      if len(name.split()) > 1:
        raise InputError(f'{file}: {name[:40]!r} is no name: give one a line, or a CSV')
    return [NameRow(name, split) for name in names]
  table = csv.DictReader(lines)
  header = [column.strip().lower() for column in table.fieldnames or ()]
  table.fieldnames = header
  column = next((c for c in ('name', 'domain') if c in header), None)
  if column is None:
    raise InputError(f'{file}: a CSV without a column "name": its columns are {", ".join(header)}')
  found = []
  for row in table:
    own = (row.get('split') or '').strip().lower()
    if own and own not in _SPLITS:
      raise InputError(f'{file}: {row[column]}: no such split {own!r}: train, validation or test')
    name = (row[column] or '').strip()
    found.append(NameRow(name, _SPLITS[own] if own else split, row.get('seqres') or None))
  return found

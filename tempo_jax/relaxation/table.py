"""What became of each frame: a row of relax.csv, and the header of its PDB file."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Sequence
from typing import Any

# Free text in PDB files: REMARK 6 to 99.
_REMARK = 'REMARK   6 RELAX '


@dataclasses.dataclass(frozen=True)
class Settings:
  """What frames are made into.

  Attributes:
    pH: that hydrogens are placed for.
    md_ps: MD that each frame is tried with, ps; 0 for none.
    temperature_K: of that, K.
    seed: of that.
  """

  pH: float = 7.0
  md_ps: float = 0.0
  temperature_K: float = 320.0
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
  """One frame; None where a number is not known.

  Attributes:
    frame: number in the trajectory, from 0.
    time_ns: ns.
    population: share of the clustered frames that it stands for.
    energy_before_kJ_per_mol: potential energy with new hydrogens, before minimisation.
    energy_kJ_per_mol: after it.
    energy_per_residue_kJ_per_mol: the same, to the number of residues.
    ca_rms_A: how far CA atoms moved, root mean square, Å; not superposed.
    ca_max_A: how far the CA that moved most did, Å.
    flips: centres of the wrong hand, and peptides that turned from cis to trans or back.
    pierced_rings_before: bonds through rings in the frame.
    pierced_rings: after minimisation.
    md_temperature_K: at the end of the MD that checks, K.
    md_ca_rms_A: how far that moved CA, superposed, Å.
    ok: whether there is nothing wrong with it.
    problem: what is, '' if nothing.
  """

  frame: int
  time_ns: float | None = None
  population: float | None = None
  energy_before_kJ_per_mol: float | None = None
  energy_kJ_per_mol: float | None = None
  energy_per_residue_kJ_per_mol: float | None = None
  ca_rms_A: float | None = None
  ca_max_A: float | None = None
  flips: int | None = None
  pierced_rings_before: int | None = None
  pierced_rings: int | None = None
  md_temperature_K: float | None = None
  md_ca_rms_A: float | None = None
  ok: bool = False
  problem: str = ''


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_COUNTS = frozenset(('frame', 'flips', 'pierced_rings_before', 'pierced_rings'))


def _text(value: Any) -> str:
  if value is None:
    return ''
  if isinstance(value, bool):
    return str(int(value))
  return f'{value:.7g}' if isinstance(value, float) else str(value)


def _value(name: str, text: str) -> Any:
  if name == 'problem':
    return text
  if name == 'ok':
    return text == '1'
  if not text:
    return None
  return int(text) if name in _COUNTS else float(text)


def to_csv(rows: Sequence[Row]) -> str:
  """The table, with a line of names."""
  file = io.StringIO()
  writer = csv.writer(file, lineterminator='\n')
  writer.writerow(COLUMNS)
  for row in rows:
    writer.writerow([_text(getattr(row, name)) for name in COLUMNS])
  return file.getvalue()


def from_csv(text: str) -> list[Row]:
  """The rows of a table."""
  return [
    Row(**{name: _value(name, found) for name, found in line.items()})
    for line in csv.DictReader(io.StringIO(text))
  ]


def header(row: Row) -> str:
  """Lines of a PDB file that say the same."""
  found = {name: _text(getattr(row, name)) for name in COLUMNS if name != 'problem'}
  return ''.join(f'{_REMARK}{name} {text}\n' for name, text in found.items() if text)


def of_file(path: pathlib.Path) -> Row:
  """The row of a PDB file with that header."""
  found = {}
  with path.open(encoding='utf-8') as file:
    for line in file:
      if not line.startswith(_REMARK):
        break
      name, _, text = line.removeprefix(_REMARK).strip().partition(' ')
      found[name] = _value(name, text)
  return Row(**found)

"""Atoms, one by one, -> residues: which atoms belong together, and which alternative is taken.

No atom is lost on the way: a backbone atom that a residue has already begins a residue of its own.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tempo_jax.protein import atom_records, residue_selection
from tempo_jax.protein.atom_records import AtomRecord

_NEEDED = ('N', 'CA', 'C')
_BACKBONE = frozenset((*_NEEDED, *residue_selection.OXYGEN_NAMES))
# Å. Heat and poor maps stretch a peptide bond of 1.33 Å by a tenth; beyond 3 Å there is none.
_BOND, _STRETCH, _NO_BOND = 1.33, 0.12, 3.0


@dataclasses.dataclass
class _Residue:
  """Atoms of one name and number, as rows of the file; alternatives are residues of their own."""

  first: AtomRecord
  rows: list[int]
  taken: set[tuple[str, str]]  # name and alternate location

  def has_altlocs(self) -> bool:
    return any(altloc for _, altloc in self.taken)

  def is_complete(self) -> bool:
    names = {name for name, _ in self.taken}
    return all(name in names for name in _NEEDED)


@dataclasses.dataclass
class _Conformer:
  """One way to read a position: a residue and, by name, the row of each atom."""

  record: AtomRecord
  atoms: dict[str, int]
  letter: str
  num_missing: int
  occupancy: float


def candidates(atoms: atom_records.Atoms) -> list[residue_selection.Candidate]:
  """Residues in the order of the file, each in one conformation.

  Atoms belong to one residue if chain, number, insertion code, name and molecule are the same and
  no atom of the backbone comes twice. Residues at one position, of which some have alternate
  locations, are alternatives: those are taken along the chain that have a whole backbone, peptide
  bonds that are not stretched, and the highest mean occupancy of the backbone, in this order. Of an
  unlabelled and a labelled atom the more occupied one is taken. Atoms that the chosen location
  lacks come from the others.

  Args:
    atoms: from `atom_records.read`.
  """
  positions = [_conformers(group, atoms) for group in _alternatives(_residues(atoms.records))]
  found, part, before = [], 0, None
  for conformer, number in zip(
    _choose(positions, atoms.coordinates), _numbers(positions), strict=True
  ):
    record = conformer.record
    # Anything may stand where segment ids do: they count where the number changes, too.
    if before is not None and record.chain == before.chain:
      part += record.part != before.part or record.segment != before.segment
    before = record
    found.append(
      residue_selection.Candidate(
        chain=record.chain,
        segment=str(part),
        number=number,
        insertion_code=record.insertion_code,
        name=record.residue_name,
        is_hetero=record.is_hetero,
        atoms=conformer.atoms,
      )
    )
  return found


def _residues(records: Sequence[AtomRecord]) -> list[_Residue]:
  found: list[_Residue] = []
  # Of one chain, number, name and molecule: the last one.
  known: dict[tuple[object, ...], _Residue] = {}
  for key, rows in _runs(records):
    residue = _Residue(records[rows[0]], [], set())
    pieces = [residue]
    for row in rows:
      atom = records[row].name, records[row].altloc
      if atom in residue.taken and atom[0] in _NEEDED and residue.is_complete():
        residue = _Residue(records[row], [], set())
        pieces.append(residue)
      residue.rows.append(row)
      residue.taken.add(atom)
    for piece in pieces:
      earlier = known.get(key)
      repeats = earlier is not None and any(
        atom in earlier.taken for atom in piece.taken if atom[0] in _NEEDED
      )
      # A single atom that comes twice is no residue: the first one is taken.
      if earlier is not None and not (repeats and len(piece.rows) > 1):
        earlier.rows += piece.rows
        earlier.taken |= piece.taken
      else:
        known[key] = piece
        found.append(piece)
  return found


def _runs(records: Sequence[AtomRecord]) -> Iterator[tuple[tuple[object, ...], list[int]]]:
  """Rows that follow one another and name the same residue."""
  before: tuple[object, ...] | None = None
  rows: list[int] = []
  for row, record in enumerate(records):
    key = (
      *(record.chain, record.part, record.number),
      *(record.insertion_code, record.residue_name),
    )
    if key != before and rows:
      assert before is not None
      yield before, rows
      rows = []
    before = key
    rows.append(row)
  if rows and before is not None:
    yield before, rows


def _alternatives(residues: Sequence[_Residue]) -> list[list[_Residue]]:
  """Residues in order; those that are alternatives at one position come together."""
  groups: list[list[_Residue]] = []
  at: dict[tuple[object, ...], list[_Residue]] = {}
  for residue in residues:
    record = residue.first
    key = record.chain, record.part, record.number, record.insertion_code
    group = at.get(key)
    if (
      group is not None
      and any(other.has_altlocs() for other in (*group, residue))
      and all(record.residue_name != other.first.residue_name for other in group)
    ):
      group.append(residue)
    else:
      groups.append([residue])
      at[key] = groups[-1]
  return groups


def _conformers(group: Sequence[_Residue], atoms: atom_records.Atoms) -> list[_Conformer]:
  """All ways to read a position, the better ones of equal occupancy first."""
  records = atoms.records
  found = []
  for residue in group:
    if len(group) == 1 and not residue.has_altlocs():
      first = {records[row].name: row for row in reversed(residue.rows)}
      num_missing = sum(name not in first for name in _NEEDED)
      return [_Conformer(residue.first, first, '', num_missing, 1.0)]
    letters = {altloc for name, altloc in residue.taken if altloc and name in _BACKBONE}
    for letter in sorted(letters) or ['']:
      own: dict[str, int] = {}
      # The more occupied of a labelled and an unlabelled one; of two alike the first stays.
      for row in sorted(
        residue.rows, key=lambda row: (-records[row].occupancy, records[row].altloc != letter)
      ):
        if records[row].altloc in (letter, ''):
          own.setdefault(records[row].name, row)
      occupancy = [records[row].occupancy for name, row in own.items() if name in _BACKBONE]
      num_missing = sum(name not in own for name in _NEEDED)
      for row in sorted(residue.rows, key=lambda row: -records[row].occupancy):
        own.setdefault(records[row].name, row)
      mean = round(float(np.mean(occupancy or [0.0])), 4)
      found.append(_Conformer(residue.first, own, letter, num_missing, mean))
  return sorted(found, key=lambda conformer: (conformer.num_missing, conformer.letter))


def _choose(positions: Sequence[Sequence[_Conformer]], coordinates: np.ndarray) -> list[_Conformer]:
  """The best path through the conformers of all positions (dynamic programming)."""
  costs: list[list[float]] = []
  origins: list[list[int]] = []
  for index, options in enumerate(positions):
    own = [1e6 * option.num_missing - option.occupancy for option in options]
    if not index or len(options) == len(positions[index - 1]) == 1:
      costs.append([own[k] + (costs[-1][0] if index else 0.0) for k in range(len(options))])
      origins.append([0] * len(options))
      continue
    costs.append([])
    origins.append([])
    for option, cost in zip(options, own, strict=True):
      steps = [
        before + _bond_cost(previous, option, coordinates)
        for before, previous in zip(costs[-2], positions[index - 1], strict=True)
      ]
      best = int(np.argmin(steps))
      costs[-1].append(cost + steps[best])
      origins[-1].append(best)
  if not costs:
    return []
  chosen = [int(np.argmin(costs[-1]))]
  for origin in reversed(origins[1:]):
    chosen.append(origin[chosen[-1]])
  return [options[k] for options, k in zip(positions, reversed(chosen), strict=True)]


def _bond_cost(before: _Conformer, after: _Conformer, coordinates: np.ndarray) -> float:
  """Of a peptide bond that is stretched, and little for a change of the location."""
  change = 1e-6 * (before.letter != after.letter)
  if before.record.chain != after.record.chain:
    return change
  c, n = before.atoms.get('C'), after.atoms.get('N')
  if c is None or n is None:
    return change
  length = float(np.linalg.norm(coordinates[n] - coordinates[c]))
  return change + 1e3 * max(0.0, abs(min(length, _NO_BOND) - _BOND) - _STRETCH)


def _numbers(positions: Sequence[Sequence[_Conformer]]) -> list[int]:
  """The author's numbers; a residue that has none follows the one before it."""
  found: list[int] = []
  for options in positions:
    number = options[0].record.number
    found.append(number if number is not None else (found[-1] + 1 if found else 1))
  return found

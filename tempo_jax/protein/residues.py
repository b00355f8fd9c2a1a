"""Atoms, one by one, -> residues: which atoms belong together, and which alternative is taken.

No residue is lost on the way: a backbone atom that a residue has already, at another place, begins
a residue of its own.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tempo_jax.protein import atom_records
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein.atom_records import AtomRecord

_NEEDED = ('N', 'CA', 'C')
_BACKBONE = frozenset((*_NEEDED, *candidate_lib.OXYGEN_NAMES))
# Å. Alternatives whose letter was lost lie this near; CA of neighbours are 2.8 Å apart at least.
_SAME_ATOM = 2.0
# Å. Heat and poor maps stretch a peptide bond of 1.33 Å by a tenth; beyond 3 Å there is none.
_BOND, _STRETCH, _NO_BOND = 1.33, 0.12, 3.0


@dataclasses.dataclass
class _Residue:
  """Atoms of one name and number, as rows of the file; alternatives are residues of their own."""

  first: AtomRecord
  rows: list[int]
  taken: dict[tuple[str, str], int]  # name and alternate location: the first row

  def has_altlocs(self) -> bool:
    return any(altloc for _, altloc in self.taken)

  def has_backbone(self) -> bool:
    return any(name in _NEEDED for name, _ in self.taken)

  def place(self, coordinates: np.ndarray) -> np.ndarray:
    """Of its CA, or else of its first atom."""
    row = next((row for (name, _), row in self.taken.items() if name == 'CA'), self.rows[0])
    return np.asarray(coordinates[row])

  def repeats(self, atom: tuple[str, str], row: int, coordinates: np.ndarray) -> bool:
    """Whether an atom of the backbone is there already, at another place."""
    if atom[0] not in _NEEDED or atom not in self.taken:
      return False
    return bool(np.linalg.norm(coordinates[row] - coordinates[self.taken[atom]]) > _SAME_ATOM)


@dataclasses.dataclass
class _Conformer:
  """One way to read a position: a residue and, by name, the row of each atom."""

  record: AtomRecord
  atoms: dict[str, int]
  letter: str
  num_missing: int
  occupancy: float


def candidates(atoms: atom_records.Atoms) -> list[candidate_lib.Candidate]:
  """Residues in the order of the file, each in one conformation.

  Atoms belong to one residue if chain, number, insertion code, name and molecule are the same and
  no atom of the backbone comes twice at places 2 Å apart. Residues at one position, of which some
  have alternate locations, are alternatives. Those are taken along the chain that have a whole
  backbone, then those with the highest mean occupancy of the backbone and peptide bonds that are
  not stretched. Of an unlabelled and a labelled atom the more occupied one is taken. Atoms that the
  chosen location lacks come from the others, those that are most occupied first.

  Args:
    atoms: from `atom_records.read`.
  """
  groups = _groups(atoms)
  positions = [_conformers(group, atoms) for group in groups]
  found = []
  # Of each chain: the number of molecules so far, and its last residue.
  last: dict[str, tuple[int, AtomRecord]] = {}
  for conformer, number in zip(
    _choose(positions, atoms.coordinates), _numbers(positions), strict=True
  ):
    record = conformer.record
    part, before = last.get(record.chain, (0, record))
    # Anything may stand where segment ids do: they count where the number changes, too.
    part += record.part != before.part or record.segment != before.segment
    last[record.chain] = part, record
    found.append(
      candidate_lib.Candidate(
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


def one_conformation(atoms: atom_records.Atoms) -> Sequence[int]:
  """The atoms, as rows in the order of the file, without the alternatives that were not taken."""
  if not any(record.altloc for record in atoms.records):
    return range(len(atoms.records))
  groups = _groups(atoms)
  chosen = _choose([_conformers(group, atoms) for group in groups], atoms.coordinates)
  rows: list[int] = []
  for group, conformer in zip(groups, chosen, strict=True):
    several = len(group) > 1 or group[0].has_altlocs()
    rows += conformer.atoms.values() if several else group[0].rows
  return sorted(rows)


def _groups(atoms: atom_records.Atoms) -> list[list[_Residue]]:
  return _alternatives(_residues(atoms.records, atoms.coordinates), atoms.coordinates)


def _residues(records: Sequence[AtomRecord], coordinates: np.ndarray) -> list[_Residue]:
  found: list[_Residue] = []
  # Of one chain, number, name and molecule: the last one.
  known: dict[tuple[object, ...], _Residue] = {}
  for key, rows in _runs(records):
    pieces = [_Residue(records[rows[0]], [], {})]
    for row in rows:
      atom = records[row].name, records[row].altloc
      if pieces[-1].repeats(atom, row, coordinates):
        pieces.append(_Residue(records[row], [], {}))
      pieces[-1].rows.append(row)
      pieces[-1].taken.setdefault(atom, row)
    for piece in pieces:
      earlier = known.get(key)
      if (
        earlier is None
        # Such as waters, whose numbers begin again.
        or not (earlier.has_backbone() or piece.has_backbone())
        or any(earlier.repeats(atom, row, coordinates) for atom, row in piece.taken.items())
      ):
        known[key] = piece
        found.append(piece)
      else:
        earlier.rows += piece.rows
        earlier.taken = piece.taken | earlier.taken
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


def _alternatives(residues: Sequence[_Residue], coordinates: np.ndarray) -> list[list[_Residue]]:
  """Residues in order; those that are alternatives at one position come together.

  They share chain and number, and lie at one place: another molecule may have the same numbers.
  """
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
      and np.linalg.norm(residue.place(coordinates) - group[0].place(coordinates)) < _SAME_ATOM
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
      return [_Conformer(residue.first, first, '', _num_missing(first, atoms), 1.0)]
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
      num_missing = _num_missing(own, atoms)
      for row in _others(residue, own, records):
        own.setdefault(records[row].name, row)
      mean = round(float(np.mean(occupancy or [0.0])), 4)
      found.append(_Conformer(residue.first, own, letter, num_missing, mean))
  return sorted(found, key=lambda conformer: (conformer.num_missing, conformer.letter))


def _others(residue: _Residue, own: dict[str, int], records: Sequence[AtomRecord]) -> list[int]:
  """Rows of atoms that are still to be chosen, e.g. where only the side chain has alternatives.

  Those of the location come first that is most occupied on the whole: a mixture of rotamers would
  be none.
  """
  rows = [row for row in residue.rows if records[row].name not in own]
  occupancy: dict[str, list[float]] = {}
  for row in rows:
    occupancy.setdefault(records[row].altloc, []).append(records[row].occupancy)
  mean = {altloc: round(float(np.mean(values)), 4) for altloc, values in occupancy.items()}
  return sorted(rows, key=lambda row: (-mean[records[row].altloc], records[row].altloc))


def _num_missing(own: dict[str, int], atoms: atom_records.Atoms) -> int:
  """Atoms that a residue cannot do without, and that are not there or have no place."""
  return sum(
    name not in own or not np.isfinite(atoms.coordinates[own[name], 0]) for name in _NEEDED
  )


def _choose(positions: Sequence[Sequence[_Conformer]], coordinates: np.ndarray) -> list[_Conformer]:
  """The best path through the conformers of all positions (dynamic programming)."""
  costs: list[list[float]] = []
  origins: list[list[int]] = []
  for index, options in enumerate(positions):
    own = [1e6 * option.num_missing - option.occupancy for option in options]
    if not index or len(positions[index - 1]) == 1 == len(options):
      costs.append(own)  # What all paths have in common is left out.
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
      costs[-1].append(cost + steps[best] - min(costs[-2]))
      origins[-1].append(best)
  if not costs:
    return []
  chosen = [int(np.argmin(costs[-1]))]
  for origin in reversed(origins[1:]):
    chosen.append(origin[chosen[-1]])
  return [options[k] for options, k in zip(positions, reversed(chosen), strict=True)]


def _bond_cost(before: _Conformer, after: _Conformer, coordinates: np.ndarray) -> float:
  """Of a stretched peptide bond and of a change of the location; in shares of occupancy."""
  change = 0.05 * (before.letter != after.letter and bool(before.letter and after.letter))
  if before.record.chain != after.record.chain:
    return change
  c, n = before.atoms.get('C'), after.atoms.get('N')
  if c is None or n is None:
    return change
  length = float(np.linalg.norm(coordinates[n] - coordinates[c]))
  if not np.isfinite(length):
    return change
  return change + 100.0 * max(0.0, abs(min(length, _NO_BOND) - _BOND) - _STRETCH) ** 2


def _numbers(positions: Sequence[Sequence[_Conformer]]) -> list[int]:
  """The author's numbers; a residue that has none follows the one before it."""
  found: list[int] = []
  for options in positions:
    number = options[0].record.number
    found.append(number if number is not None else (found[-1] + 1 if found else 1))
  return found

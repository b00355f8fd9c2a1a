"""Which residues of a structure the model sees, and how they are joined; plain numpy."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import gemmi
import numpy as np

from tempo_jax.errors import InputError, first_few
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ideal
from tempo_jax.protein import disulphides, frame_faults
from tempo_jax.protein import protein as protein_lib

CAPS = frozenset(('ACE', 'NME', 'NMA', 'NH2', 'NHE', 'FOR'))
WATERS = frozenset(('SOL', 'SPC', 'OPC', 'TIP', 'TIP2', 'TIP3', 'TIP4', 'TIP5', 'TP3', 'TP4'))

# What the oxygen is called, in order of preference; the others are names of a
# carboxylate, where either atom will do.
OXYGEN_NAMES = ('O', 'OT1', 'O1', 'OC1', 'OCT1', 'OT', 'OXT', 'OT2', 'O2', 'OC2', 'OCT2')

# Å. A peptide bond is 1.33 Å and heat stretches it by a tenth; without a bond C and N
# do not come nearer than 2.7 Å (van der Waals). N-CA is 1.46, CA-C 1.53, C-O 1.23 Å.
MAX_BOND = 2.0
# Å, within a residue, whose bonds are idealised anyway: poor but real entries stretch them so far.
_MAX_INNER_BOND = 2.5
MIN_DISTANCE = 0.5  # Å, within a residue: nearer means a placeholder, not a position
MAX_COORDINATE = 1e5  # Å: beyond, float32 does not resolve 0.01 Å
_MAX_CA_STEP = 4.0  # Å, from residue to residue
CLASH_DISTANCE = 1.2  # Å, between residues

_IN_LINE = float(np.cos(np.arcsin(0.1)))  # cosine of N-CA-C

# Where no next residue tells psi. At an end, helix (-47°) and strand (133°)
# name the two atoms of the same carboxylate.
DEFAULT_PSI = np.deg2rad(-47.0)

# Atoms that only the last, or the first, residue of a molecule has.
_LAST_ATOMS = frozenset(('OXT', 'OT2', 'OC2', 'OCT2'))
_FIRST_ATOMS = frozenset(('H3', 'HT3', '3H', '3HT'))


@dataclasses.dataclass(frozen=True)
class Candidate:
  """A residue as its source names it.

  Attributes:
    chain: author's chain id, '' where blank.
    segment: changes where the source ends a molecule (TER, a new entity).
    number: author's residue number.
    insertion_code: '' where there is none.
    name: upper case.
    is_hetero: listed as HETATM.
    atoms: atom name -> row of the coordinates.
  """

  chain: str
  segment: str
  number: int
  insertion_code: str
  name: str
  is_hetero: bool
  atoms: Mapping[str, int]

  def label(self) -> str:
    """How messages name it."""
    return protein_lib.label(self.chain, self.number, self.insertion_code, self.name)

  def left_out(self, reason: str) -> protein_lib.LeftOut:
    """The record of its being dropped."""
    return protein_lib.LeftOut(self.chain, self.name, self.number, self.insertion_code, reason)


def select(
  candidates: Sequence[Candidate],
  coordinates: np.ndarray,
  *,
  name: str,
  source: str,
  chains: Sequence[str] | None = None,
  warnings: Iterable[str] = (),
  box: np.ndarray | None = None,
) -> tuple[protein_lib.Protein, np.ndarray]:
  """Chooses the residues that have a usable backbone and joins them into chains.

  Two neighbours are bonded if they have one chain id and C-N is below 2 Å.
  Where they are not bonded, a new chain starts if the id or the segment
  changes, if the numbers start again (two molecules may share an id), or if the
  atoms of a terminus (OXT, H3) say so; otherwise the chain is broken there, and
  `residue_index` jumps by the difference of the numbers, by 2 if that says
  nothing. Modified residues that are listed after their chain go back to the
  place where they are bonded. A chain is a ring if its last C is bonded to its
  first N.

  Args:
    candidates: in the order of the source; alternatives are already chosen.
    coordinates: [N, 3] Å.
    name: of the protein.
    source: what error messages call the input.
    chains: ids to keep, None for all.
    warnings: what the reader has to say.
    box: [3, 3] Å, vectors of the periodic cell as columns; None where there is none.

  Returns:
    The protein, and the row [L, 4] int64 of N, CA, C, O in `coordinates`, -1
    for an O that is absent and was placed from the geometry.

  Raises:
    InputError: a chain asked for is absent, fewer than two residues remain, or a chain is
      torn: its bonds are whole only across the periodic box, or the unit is not Å.
  """
  coordinates = np.asarray(coordinates, np.float64).reshape(-1, 3)
  coordinates = np.where(np.abs(coordinates) < MAX_COORDINATE, coordinates, np.nan)
  if not candidates:
    raise InputError(f'{source}: no atoms in it; give a PDB or mmCIF file of a protein')
  candidates = _one_chain_after_another(candidates)
  candidates = _in_their_places(candidates, coordinates)
  if chains is not None:
    candidates = _of_chains(candidates, chains, source)

  within = _bonds(candidates)
  if unit := _other_unit(within, coordinates):
    raise InputError(f'{source}: {unit}')
  if box is not None and (torn := _torn(within, coordinates, box)):
    raise InputError(
      f'{source}: broken over the periodic box, {first_few(torn)}: make the molecules whole (for '
      'example gmx trjconv -pbc whole, or image_molecules of mdtraj)'
    )

  kept: list[Candidate] = []
  left_out: list[protein_lib.LeftOut] = []
  other: collections.Counter[str] = collections.Counter()
  for candidate in candidates:
    if not _is_amino_acid(candidate):
      if candidate.name in CAPS:
        left_out.append(candidate.left_out('a cap'))
      else:
        other['water' if _is_water(candidate.name) else candidate.name] += 1
    elif reason := _unusable(candidate, coordinates):
      left_out.append(candidate.left_out(reason))
    else:
      kept.append(candidate)

  rows = _backbone_rows(kept, coordinates)
  free = _free_amino_acids(kept, _bonded(kept, coordinates[rows]), coordinates[rows][:, 1])
  left_out += [kept[i].left_out('a free amino acid, bonded to nothing') for i in sorted(free)]
  kept = [candidate for i, candidate in enumerate(kept) if i not in free]
  if len(kept) < 2:
    on_one_point = bool(within) and not _along(within, coordinates).any()
    raise InputError(f'{source}: {_too_few(kept, left_out, other, warnings, on_one_point)}')

  rows = _backbone_rows(kept, coordinates)
  bonded = _bonded(kept, coordinates[rows])
  chain_index, chain_ids, residue_index = _chains(kept, bonded)
  ring = bonds_lib.rings(coordinates[rows], chain_index, MAX_BOND)
  bonds = bonds_lib.Bonds(bonded if ring is None else bonded | (ring >= 0), ring)
  positions = place_oxygen(coordinates[rows], bonds, rows[:, 3] < 0)
  types = [protein_lib.standard_residue(residue.name) or 'UNK' for residue in kept]
  arrays = protein_lib.ProteinArrays(
    residue_type=np.array([protein_lib.RESIDUE_TYPES.index(t) for t in types], np.int32),
    residue_index=residue_index,
    chain_index=chain_index,
    bonded=bonded,
    mask=np.ones(len(kept), bool),
    positions=positions.astype(np.float32),
    ring=ring,
    disulphides=disulphides.find([residue.atoms for residue in kept], coordinates),
  )
  said = [*warnings, *_warn_names(kept, types, other), *_warn_breaks(kept, bonded, chain_index)]
  said += _tell_rings(kept, ring)
  said += _warn_geometry(kept, rows, coordinates, positions, bonds)
  return protein_lib.Protein(
    name=name,
    arrays=arrays,
    chain_ids=chain_ids,
    residue_number=np.array([residue.number for residue in kept]),
    insertion_code=tuple(residue.insertion_code for residue in kept),
    left_out=tuple(left_out),
    warnings=tuple(said),
  ), rows


def place_oxygen(
  positions: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds, missing: np.ndarray
) -> np.ndarray:
  """Places absent O atoms in the plane of CA, C and the next N.

  Where no next residue is bonded, psi is taken as -47°.

  Args:
    positions: [..., L, 4, 3] Å, N, CA, C, O.
    bonded: [L] bool, or `Bonds`.
    missing: [L] bool, whose O to place.

  Returns:
    [..., L, 4, 3] Å, a copy with C-O and CA-C-O of `geometry.ideal`.
  """
  positions = np.array(positions)
  (i,) = np.nonzero(missing)
  n, ca, c = (positions[..., i, atom, :] for atom in range(3))
  axis = _unit(c - ca)
  toward_n = _unit(_reject(n - ca, axis))
  virtual = np.cos(DEFAULT_PSI) * toward_n + np.sin(DEFAULT_PSI) * np.cross(axis, toward_n)
  here, there = bonds_lib.pairs(bonded)
  following = np.full(positions.shape[-3], bonds_lib.NO_RING)
  following[here] = there
  next_n = positions[..., following[i], 0, :]
  # O lies opposite to the next N: the carbonyl carbon is planar.
  is_bonded = (following[i] >= 0)[:, None]
  opposite = -_unit(np.where(is_bonded, _reject(next_n - c, axis), virtual))
  direction = -np.cos(ideal.CA_C_O) * axis + np.sin(ideal.CA_C_O) * opposite
  positions[..., i, 3, :] = c + ideal.C_O * direction
  return positions


def _unit(x: np.ndarray) -> np.ndarray:
  return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def _reject(x: np.ndarray, axis: np.ndarray) -> np.ndarray:
  """The part of x at right angles to the unit vector `axis`."""
  return x - np.sum(x * axis, axis=-1, keepdims=True) * axis


def _one_chain_after_another(candidates: Sequence[Candidate]) -> list[Candidate]:
  """Brings the parts of a chain together, e.g. modified residues listed at the end."""
  by_chain: dict[str, list[Candidate]] = {}
  for candidate in candidates:
    by_chain.setdefault(candidate.chain, []).append(candidate)
  return [candidate for part in by_chain.values() for candidate in part]


def _in_their_places(candidates: Sequence[Candidate], coordinates: np.ndarray) -> list[Candidate]:
  """Modified residues that a file lists after their chain, put where they are bonded."""
  # Residues that follow one another with a bond; what is no amino acid stands for itself.
  runs: list[list[Candidate]] = []
  for candidate in candidates:
    if runs and _are_bonded(runs[-1][-1], candidate, coordinates):
      runs[-1].append(candidate)
    else:
      runs.append([candidate])
  moved = True
  while moved:  # Strays that found each other look for their chain together.
    moved = False
    for run in [run for run in runs if all(c.is_hetero and _is_amino_acid(c) for c in run)]:
      at = next((i for i, other in enumerate(runs) if other is run), None)
      neighbour = None if at is None else _bonded_run(runs, run, coordinates)
      if at is None or neighbour is None:
        continue
      other, comes_after = runs[neighbour], _are_bonded(runs[neighbour][-1], run[0], coordinates)
      here = [dataclasses.replace(c, segment=other[0].segment) for c in run]
      # The strays among its neighbours go on from where they are.
      runs[neighbour] = [*other, *here] if comes_after else [*here, *other]
      del runs[at]
      moved = True
  return [candidate for run in runs for candidate in run]


def _bonded_run(
  runs: Sequence[Sequence[Candidate]], run: Sequence[Candidate], coordinates: np.ndarray
) -> int | None:
  """The run to which one is bonded, at either end."""
  nowhere = np.full(3, np.nan)

  def place(candidate: Candidate, atom: str) -> np.ndarray:
    row = candidate.atoms.get(atom)
    return nowhere if row is None or candidate.chain != run[0].chain else coordinates[row]

  ends = np.array([place(other[-1], 'C') for other in runs]) - place(run[0], 'N')
  starts = np.array([place(other[0], 'N') for other in runs]) - place(run[-1], 'C')
  near = (np.linalg.norm(ends, axis=-1) < MAX_BOND) | (np.linalg.norm(starts, axis=-1) < MAX_BOND)
  return next((i for i in np.flatnonzero(near).tolist() if runs[i] is not run), None)


def _are_bonded(before: Candidate, after: Candidate, coordinates: np.ndarray) -> bool:
  c, n = before.atoms.get('C'), after.atoms.get('N')
  if c is None or n is None or before.chain != after.chain:
    return False
  return bool(np.linalg.norm(coordinates[n] - coordinates[c]) < MAX_BOND)


class _Bond(NamedTuple):
  """Of the backbone: the rows of its two atoms, its ideal length (Å), what messages call it."""

  first: int
  second: int
  ideal: float
  label: str


def _bonds(candidates: Sequence[Candidate]) -> list[_Bond]:
  """N-CA and CA-C, and C-N between residues whose numbers follow one another."""
  bonds: list[_Bond] = []
  residues = [candidate for candidate in candidates if _is_amino_acid(candidate)]
  for i, residue in enumerate(residues):
    atoms = residue.atoms
    bonds += [
      _Bond(atoms[a], atoms[b], length, f'{a}-{b} of {residue.label()}')
      for a, b, length in (('N', 'CA', ideal.N_CA), ('CA', 'C', ideal.CA_C))
      if a in atoms and b in atoms
    ]
    following = residues[i + 1] if i + 1 < len(residues) else None
    if (
      following is not None
      and following.chain == residue.chain
      and following.number == residue.number + 1
      and 'C' in atoms
      and 'N' in following.atoms
    ):
      where = f'C-N of {residue.label()} and {following.label()}'
      bonds.append(_Bond(atoms['C'], following.atoms['N'], ideal.C_N, where))
  return bonds


def _along(bonds: Sequence[_Bond], coordinates: np.ndarray) -> np.ndarray:
  """[n, 3] Å, from the first atom of each bond to the second."""
  rows = np.array([(bond.first, bond.second) for bond in bonds], int).reshape(-1, 2)
  return coordinates[rows[:, 1]] - coordinates[rows[:, 0]]


def _other_unit(bonds: Sequence[_Bond], coordinates: np.ndarray) -> str | None:
  """One line where all bonds are too long or too short by the same power of ten."""
  lengths = np.linalg.norm(_along(bonds, coordinates), axis=-1)
  power = frame_faults.power_of_ten(lengths / np.array([bond.ideal for bond in bonds]))
  if not power:
    return None
  said = f'{bonds[0].label} is {lengths[0]:.3f} Å, and all others are like that: '
  if power == -1:
    return f'{said}its unit is nm, PDB and mmCIF have Å: multiply its coordinates by ten'
  return f'{said}its unit is not Å: multiply its coordinates by {10.0**-power:g}'


def _torn(bonds: Sequence[_Bond], coordinates: np.ndarray, box: np.ndarray) -> list[str]:
  """Bonds that are whole only across the periodic box."""
  shift = _along(bonds, coordinates)
  nearest = shift - np.round(shift @ np.linalg.inv(box).T) @ box.T
  lengths, across = np.linalg.norm(shift, axis=-1), np.linalg.norm(nearest, axis=-1)
  # Of bonds in earnest: residues on the two sides of a gap may meet a neighbour's image by chance.
  torn = (lengths > _MAX_INNER_BOND) & (across > 1.2) & (across < 1.7)
  return [bonds[i].label for i in np.flatnonzero(torn).tolist()]


def _of_chains(
  candidates: Sequence[Candidate], chains: Sequence[str], source: str
) -> list[Candidate]:
  present = dict.fromkeys(c.chain for c in candidates if _is_amino_acid(c))
  for chain in chains:
    if chain not in present:
      names = ', '.join(repr(id_) for id_ in present) or 'none'
      raise InputError(f'{source}: no protein chain {chain!r}; its protein chains are: {names}')
  return [candidate for candidate in candidates if candidate.chain in chains]


def _is_water(name: str) -> bool:
  return name in WATERS or gemmi.find_tabulated_residue(name).is_water()


def _is_amino_acid(candidate: Candidate) -> bool:
  if candidate.name in CAPS:
    return False
  return protein_lib.standard_residue(candidate.name) is not None or all(
    atom in candidate.atoms for atom in ('N', 'CA', 'C')
  )


def _unusable(candidate: Candidate, coordinates: np.ndarray) -> str | None:
  """Why the backbone of a residue cannot be used; None if it can."""
  missing = [atom for atom in ('N', 'CA', 'C') if atom not in candidate.atoms]
  if missing:
    return f'no {", ".join(missing)}'
  n, ca, c = (coordinates[candidate.atoms[atom]] for atom in ('N', 'CA', 'C'))
  if not np.all(np.isfinite([n, ca, c])):
    return 'coordinates are not numbers or beyond 100,000 Å'
  lengths = {'N-CA': np.linalg.norm(n - ca), 'CA-C': np.linalg.norm(c - ca)}
  if min(*lengths.values(), np.linalg.norm(n - c)) < MIN_DISTANCE:
    return 'N, CA and C coincide'
  for bond, length in lengths.items():
    if length > _MAX_INNER_BOND:
      return f'broken geometry: {bond} is {length:.2f} Å'
  if abs(_unit(n - ca) @ _unit(c - ca)) > _IN_LINE:
    return 'broken geometry: N, CA and C lie in a line'
  return None


def _backbone_rows(kept: Sequence[Candidate], coordinates: np.ndarray) -> np.ndarray:
  """[L, 4] int64, rows of N, CA, C, O; -1 for an O that is missing or not bonded to C."""

  def row_of_oxygen(residue: Candidate) -> int:
    for name in OXYGEN_NAMES:
      row = residue.atoms.get(name, -1)
      if row >= 0:
        length = np.linalg.norm(coordinates[row] - coordinates[residue.atoms['C']])
        if MIN_DISTANCE < length < MAX_BOND:
          return row
    return -1

  rows = [
    [*(residue.atoms[atom] for atom in ('N', 'CA', 'C')), row_of_oxygen(residue)]
    for residue in kept
  ]
  return np.array(rows, np.int64).reshape(-1, 4)


def _bonded(kept: Sequence[Candidate], positions: np.ndarray) -> np.ndarray:
  """[L] bool, from C(i)-N(i+1) within one chain id."""
  bonded = np.zeros(len(kept), bool)
  length = np.linalg.norm(positions[1:, 0] - positions[:-1, 2], axis=-1)
  chain = np.array([residue.chain for residue in kept])
  bonded[:-1] = (length < MAX_BOND) & (chain[1:] == chain[:-1])
  return bonded


def _free_amino_acids(kept: Sequence[Candidate], bonded: np.ndarray, ca: np.ndarray) -> set[int]:
  """Ligands that happen to be amino acids, e.g. glutamate in its receptor.

  Lone residues that are listed as hetero atoms or, as MD programs list them, are chains of their
  own; not those that lie in a gap of their chain.
  """
  if not kept:
    return set()
  joined = bonded | np.roll(bonded, 1)
  chain_index, _, _ = _chains(kept, bonded)
  alone = np.bincount(chain_index)[chain_index] == 1
  if alone.all():  # Of single residues something else is the matter.
    alone[:] = False

  def lies_between(i: int) -> bool:
    if not 0 < i < len(kept) - 1:
      return False
    before, here, after = kept[i - 1 : i + 2]
    if not before.chain == here.chain == after.chain:
      return False
    gaps = np.diff([before.number, here.number, after.number])
    steps = np.linalg.norm(np.diff(ca[i - 1 : i + 2], axis=0), axis=-1)
    return bool(np.all((gaps > 0) & (steps < _MAX_CA_STEP * gaps)))

  return {
    i
    for i, residue in enumerate(kept)
    if not joined[i] and (residue.is_hetero or (alone[i] and not lies_between(i)))
  }


def _chains(
  kept: Sequence[Candidate], bonded: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
  """Chain index [L], the chains' ids, residue index [L]."""
  chain_index, residue_index, chain_ids = [0], [0], [kept[0].chain]
  for before, after, bond in zip(kept[:-1], kept[1:], bonded[:-1], strict=True):
    other_molecule = (
      before.chain != after.chain
      or before.segment != after.segment
      or not _LAST_ATOMS.isdisjoint(before.atoms)
      or not _FIRST_ATOMS.isdisjoint(after.atoms)
    )
    if not bond and (other_molecule or after.number < before.number):
      chain_ids.append(after.chain)
      residue_index.append(0)
    else:
      gap = after.number - before.number
      residue_index.append(residue_index[-1] + (1 if bond else gap if gap > 1 else 2))
    chain_index.append(len(chain_ids) - 1)
  return np.array(chain_index, np.int32), tuple(chain_ids), np.array(residue_index, np.int32)


def _too_few(
  kept: Sequence[Candidate],
  left_out: Sequence[protein_lib.LeftOut],
  other: Mapping[str, int],
  warnings: Iterable[str],
  on_one_point: bool,
) -> str:
  found = [f'{residue.label()} (complete)' for residue in kept]
  reasons = collections.Counter(residue.reason for residue in left_out)
  found += [f'{count} left out ({reason})' for reason, count in reasons.items()]
  found += [f'{count} {name}' for name, count in other.items()]
  needed = 'at least 2 residues with N, CA and C are needed, give a structure of a protein'
  if on_one_point:
    needed = 'all atoms lie on one point: give a file that was written to its end'
  return f'{needed}; found {"; ".join([first_few(found), *warnings])}'


def _warn_names(
  kept: Sequence[Candidate], types: Sequence[str], other: Mapping[str, int]
) -> list[str]:
  said = []
  others = [f'{count} {name}' for name, count in other.items() if name != 'water']
  if others:
    said.append(f'not protein, ignored: {first_few(others)}')
  unknown = [residue.label() for residue, t in zip(kept, types, strict=True) if t == 'UNK']
  if unknown:
    said.append(f'{len(unknown)} unknown amino acids, kept as UNK: {first_few(unknown)}')
  # Other names of a standard residue are no news; a modified one is.
  modified = [
    f'{residue.label()} as {t}'
    for residue, t in zip(kept, types, strict=True)
    if t not in ('UNK', residue.name)
    and (
      residue.name in protein_lib.MODIFIED
      or (
        residue.name not in protein_lib.VARIANTS
        and gemmi.find_tabulated_residue(residue.name).found()
      )
    )
  ]
  if modified:
    said.append(f'modified residues, read as their parents: {first_few(modified)}')
  return said


def _warn_breaks(
  kept: Sequence[Candidate], bonded: np.ndarray, chain_index: np.ndarray
) -> list[str]:
  breaks = ~bonded[:-1] & (chain_index[1:] == chain_index[:-1])
  where = [f'{kept[i].label()} and {kept[i + 1].label()}' for i in np.flatnonzero(breaks).tolist()]
  return [f'chain breaks, no peptide bond between: {first_few(where)}'] if where else []


def _tell_rings(kept: Sequence[Candidate], ring: np.ndarray | None) -> list[str]:
  if ring is None:
    return []
  return [
    f'a ring, closed by a peptide bond from {kept[last].label()} to {kept[ring[last]].label()}'
    for last in np.flatnonzero(ring >= 0).tolist()
  ]


def _warn_geometry(
  kept: Sequence[Candidate],
  rows: np.ndarray,
  coordinates: np.ndarray,
  positions: np.ndarray,
  bonds: bonds_lib.Bonds,
) -> list[str]:
  said = []
  placed = [kept[i].label() for i in np.flatnonzero(rows[:, 3] < 0).tolist()]
  if placed:
    said.append(f'{len(placed)} missing O atoms placed from the geometry: {first_few(placed)}')
  said += _warn_chirality(kept, coordinates)
  said += _warn_clashes(kept, positions, bonds)
  return said


def _warn_chirality(kept: Sequence[Candidate], coordinates: np.ndarray) -> list[str]:
  """Without CB atoms nothing can be said: a backbone has no hand of its own."""
  with_cb = [residue for residue in kept if 'CB' in residue.atoms]
  if not with_cb:
    return []
  rows = np.array([[r.atoms[atom] for atom in ('CA', 'N', 'C', 'CB')] for r in with_cb])
  n, c, cb = (coordinates[rows[:, 1 + k]] - coordinates[rows[:, 0]] for k in range(3))
  # 2.6 Å^3 in an L-residue; near zero the hand is not clear, and a coarse file is no news.
  volume = np.sum(np.cross(n, c) * cb, axis=-1)
  wrong = [with_cb[i].label() for i in np.flatnonzero(volume < -1.0).tolist()]
  if len(wrong) > len(with_cb) / 2:
    return [f'a mirror image: {len(wrong)} of {len(with_cb)} residues are D-residues']
  return [f'D-residues: {first_few(wrong)}'] if wrong else []


def _warn_clashes(
  kept: Sequence[Candidate], positions: np.ndarray, bonds: bonds_lib.Bonds
) -> list[str]:
  from scipy import spatial  # slow to import

  pairs = spatial.cKDTree(positions.reshape(-1, 3)).query_pairs(
    CLASH_DISTANCE, output_type='ndarray'
  )
  first, second = np.sort(pairs, axis=-1).T // 4
  bonded = np.sort(np.stack(bonds_lib.pairs(bonds), -1), axis=-1) @ (len(kept), 1)
  peptide = np.isin(first * len(kept) + second, bonded)
  clashes = np.unique(np.stack([first, second], -1)[(first != second) & ~peptide], axis=0)
  where = [f'{kept[i].label()} and {kept[j].label()}' for i, j in clashes.tolist()]
  return [f'backbone atoms closer than {CLASH_DISTANCE} Å: {first_few(where)}'] if where else []

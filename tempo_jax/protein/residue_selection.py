"""Which residues of a structure the model sees, and how they are joined; plain numpy."""

import collections
from collections.abc import Iterable, Sequence

import numpy as np

from tempo_jax.errors import InputError, first_few
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import ideal, limits
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import (
  chain_order,
  disulphides,
  mirror_images,
  selection_warnings,
  side_chain_atoms,
  side_chain_torsions,
  torn_structures,
)
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein.candidate import Candidate

MIN_DISTANCE = 0.5  # Å, within a residue: nearer means a placeholder, not a position
MAX_COORDINATE = 1e5  # Å: beyond, float32 does not resolve 0.01 Å
_MAX_CA_STEP = 4.0  # Å, from residue to residue
_IN_LINE = float(np.cos(np.arcsin(0.1)))  # cosine of N-CA-C

# Where no next residue tells psi. At an end, helix (-47°) and strand (133°)
# name the two atoms of the same carboxylate.
DEFAULT_PSI = np.deg2rad(-47.0)

# Atoms that only the last, or the first, residue of a molecule has.
_LAST_ATOMS = frozenset(('OXT', 'OT2', 'OC2', 'OCT2'))
_FIRST_ATOMS = frozenset(('H3', 'HT3', '3H', '3HT'))


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
  candidates = chain_order.one_chain_after_another(candidates)
  candidates = chain_order.in_their_places(candidates, coordinates)
  if chains is not None:
    candidates = _of_chains(candidates, chains, source)

  within = torn_structures.bonds_of(candidates)
  if unit := torn_structures.other_unit(within, coordinates):
    raise InputError(f'{source}: {unit}')
  if box is not None and (torn := torn_structures.torn(within, coordinates, box)):
    raise InputError(
      f'{source}: broken over the periodic box, {first_few(torn)}: make the molecules whole (for '
      'example gmx trjconv -pbc whole, or image_molecules of mdtraj)'
    )

  kept: list[Candidate] = []
  left_out: list[protein_lib.LeftOut] = []
  other: collections.Counter[str] = collections.Counter()
  for candidate in candidates:
    if not candidate_lib.is_amino_acid(candidate):
      if candidate.name in candidate_lib.CAPS:
        left_out.append(candidate.left_out('a cap'))
      else:
        other['water' if candidate_lib.is_water(candidate.name) else candidate.name] += 1
    elif reason := _unusable(candidate, coordinates):
      left_out.append(candidate.left_out(reason))
    else:
      kept.append(candidate)

  rows = _backbone_rows(kept, coordinates)
  free = _free_amino_acids(kept, _bonded(kept, coordinates[rows]), coordinates[rows][:, 1])
  left_out += [kept[i].left_out('a free amino acid, bonded to nothing') for i in sorted(free)]
  kept = [candidate for i, candidate in enumerate(kept) if i not in free]
  if len(kept) < 2:
    on_one_point = bool(within) and not torn_structures.along(within, coordinates).any()
    raise InputError(
      f'{source}: {selection_warnings.too_few(kept, left_out, other, warnings, on_one_point)}'
    )

  rows = _backbone_rows(kept, coordinates)
  bonded = _bonded(kept, coordinates[rows])
  chain_index, chain_ids, residue_index = _chains(kept, bonded)
  ring = bonds_lib.rings(coordinates[rows], chain_index, limits.MAX_BOND)
  bonds = bonds_lib.Bonds(bonded if ring is None else bonded | (ring >= 0), ring)
  positions = place_oxygen(coordinates[rows], bonds, rows[:, 3] < 0)
  types = [protein_lib.standard_residue(residue.name) or 'UNK' for residue in kept]
  residue_type = np.array([protein_lib.RESIDUE_TYPES.index(t) for t in types], np.int32)
  arrays = protein_lib.ProteinArrays(
    residue_type=residue_type,
    residue_index=residue_index,
    chain_index=chain_index,
    bonded=bonded,
    mask=np.ones(len(kept), bool),
    positions=positions.astype(np.float32),
    ring=ring,
    disulphides=disulphides.find([residue.atoms for residue in kept], coordinates),
    mirrored=mirror_images.find([residue.atoms for residue in kept], coordinates),
  )
  heavy_atoms = _heavy_atom_rows(kept, residue_type, rows, coordinates)
  said = [
    *warnings,
    *selection_warnings.names(kept, types, other),
    *selection_warnings.breaks(kept, bonded, chain_index),
  ]
  said += selection_warnings.rings(kept, ring)
  said += selection_warnings.geometry(kept, rows, positions, bonds, arrays.mirrored)
  return protein_lib.Protein(
    name=name,
    arrays=arrays.with_chi(
      side_chain_torsions.of_structure(coordinates, heavy_atoms, residue_type)
    ),
    chain_ids=chain_ids,
    residue_number=np.array([residue.number for residue in kept]),
    insertion_code=tuple(residue.insertion_code for residue in kept),
    left_out=tuple(left_out),
    warnings=tuple(said),
    heavy_atom_index=heavy_atoms,
    missing_atoms=side_chain_torsions.missing_atoms(heavy_atoms, residue_type),
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
  following = bonds_lib.followers(bonded)
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


def _of_chains(
  candidates: Sequence[Candidate], chains: Sequence[str], source: str
) -> list[Candidate]:
  present = dict.fromkeys(c.chain for c in candidates if candidate_lib.is_amino_acid(c))
  for chain in chains:
    if chain not in present:
      names = ', '.join(repr(id_) for id_ in present) or 'none'
      raise InputError(f'{source}: no protein chain {chain!r}; its protein chains are: {names}')
  return [candidate for candidate in candidates if candidate.chain in chains]


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
    if length > limits.MAX_INNER_BOND:
      return f'broken geometry: {bond} is {length:.2f} Å'
  if abs(_unit(n - ca) @ _unit(c - ca)) > _IN_LINE:
    return 'broken geometry: N, CA and C lie in a line'
  return None


def _backbone_rows(kept: Sequence[Candidate], coordinates: np.ndarray) -> np.ndarray:
  """[L, 4] int64, rows of N, CA, C, O; -1 for an O that is missing or not bonded to C."""

  def row_of_oxygen(residue: Candidate) -> int:
    for name in candidate_lib.OXYGEN_NAMES:
      row = residue.atoms.get(name, -1)
      if row >= 0:
        length = np.linalg.norm(coordinates[row] - coordinates[residue.atoms['C']])
        if MIN_DISTANCE < length < limits.MAX_BOND:
          return row
    return -1

  rows = [
    [*(residue.atoms[atom] for atom in ('N', 'CA', 'C')), row_of_oxygen(residue)]
    for residue in kept
  ]
  return np.array(rows, np.int64).reshape(-1, 4)


def _heavy_atom_rows(
  kept: Sequence[Candidate],
  residue_type: np.ndarray,
  backbone: np.ndarray,
  coordinates: np.ndarray,
) -> np.ndarray:
  """[L, 14] int64, rows of `side_chain_atoms.ATOM_NAMES`; -1 for what is absent or has no place."""
  rows = side_chain_atoms.slots([residue.atoms for residue in kept], residue_type)
  rows[~np.isfinite(coordinates[rows]).all(axis=-1)] = side_chain_atoms.MISSING
  rows[:, : backbone.shape[1]] = backbone
  return rows


def _bonded(kept: Sequence[Candidate], positions: np.ndarray) -> np.ndarray:
  """[L] bool, from C(i)-N(i+1) within one chain id."""
  bonded = np.zeros(len(kept), bool)
  length = np.linalg.norm(positions[1:, 0] - positions[:-1, 2], axis=-1)
  chain = np.array([residue.chain for residue in kept])
  bonded[:-1] = (length < limits.MAX_BOND) & (chain[1:] == chain[:-1])
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

"""What there is to say of a structure: what looks wrong but can be used, or why nothing can."""

import collections
from collections.abc import Iterable, Mapping, Sequence

import gemmi
import numpy as np

from tempo_jax.errors import first_few
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import limits
from tempo_jax.protein import mirror_images
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein.candidate import Candidate


def too_few(
  kept: Sequence[Candidate],
  left_out: Sequence[protein_lib.LeftOut],
  other: Mapping[str, int],
  warnings: Iterable[str],
  on_one_point: bool,
) -> str:
  """Why fewer than two residues are left."""
  found = [f'{residue.label()} (complete)' for residue in kept]
  reasons = collections.Counter(residue.reason for residue in left_out)
  found += [f'{count} left out ({reason})' for reason, count in reasons.items()]
  found += [f'{count} {name}' for name, count in other.items()]
  needed = 'at least 2 residues with N, CA and C are needed, give a structure of a protein'
  if on_one_point:
    needed = 'all atoms lie on one point: give a file that was written to its end'
  return f'{needed}; found {"; ".join([first_few(found), *warnings])}'


def names(kept: Sequence[Candidate], types: Sequence[str], other: Mapping[str, int]) -> list[str]:
  """What is no protein, of unknown type, or read as its parent."""
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


def breaks(kept: Sequence[Candidate], bonded: np.ndarray, chain_index: np.ndarray) -> list[str]:
  """Where residues of a chain are not bonded."""
  breaks = ~bonded[:-1] & (chain_index[1:] == chain_index[:-1])
  where = [f'{kept[i].label()} and {kept[i + 1].label()}' for i in np.flatnonzero(breaks).tolist()]
  return [f'chain breaks, no peptide bond between: {first_few(where)}'] if where else []


def rings(kept: Sequence[Candidate], ring: np.ndarray | None) -> list[str]:
  """Bonds from the last residue of a chain to its first one."""
  if ring is None:
    return []
  return [
    f'a ring, closed by a peptide bond from {kept[last].label()} to {kept[ring[last]].label()}'
    for last in np.flatnonzero(ring >= 0).tolist()
  ]


def geometry(
  kept: Sequence[Candidate],
  rows: np.ndarray,
  positions: np.ndarray,
  bonds: bonds_lib.Bonds,
  mirrored: np.ndarray | None,
) -> list[str]:
  """Oxygens that were placed, D-residues, backbone atoms that overlap."""
  said = []
  placed = [kept[i].label() for i in np.flatnonzero(rows[:, 3] < 0).tolist()]
  if placed:
    said.append(f'{len(placed)} missing O atoms placed from the geometry: {first_few(placed)}')
  said += _warn_chirality(kept, mirrored)
  said += _warn_clashes(kept, positions, bonds)
  return said


def _warn_chirality(kept: Sequence[Candidate], mirrored: np.ndarray | None) -> list[str]:
  """Without CB atoms nothing can be said: a backbone has no hand of its own."""
  if mirrored is None:
    return []
  has_cb = np.array(['CB' in residue.atoms for residue in kept])
  wrong = [kept[i].label() for i in np.flatnonzero(mirrored & has_cb).tolist()]
  if mirror_images.is_most(mirrored[has_cb]):
    return [f'a mirror image: {len(wrong)} of {np.count_nonzero(has_cb)} residues are D-residues']
  return [f'D-residues: {first_few(wrong)}'] if wrong else []


def _warn_clashes(
  kept: Sequence[Candidate], positions: np.ndarray, bonds: bonds_lib.Bonds
) -> list[str]:
  from scipy import spatial  # slow to import

  pairs = spatial.cKDTree(positions.reshape(-1, 3)).query_pairs(
    limits.CLASH_DISTANCE, output_type='ndarray'
  )
  first, second = np.sort(pairs, axis=-1).T // 4
  bonded = np.sort(np.stack(bonds_lib.pairs(bonds), -1), axis=-1) @ (len(kept), 1)
  peptide = np.isin(first * len(kept) + second, bonded)
  clashes = np.unique(np.stack([first, second], -1)[(first != second) & ~peptide], axis=0)
  where = [f'{kept[i].label()} and {kept[j].label()}' for i, j in clashes.tolist()]
  return (
    [f'backbone atoms closer than {limits.CLASH_DISTANCE} Å: {first_few(where)}'] if where else []
  )

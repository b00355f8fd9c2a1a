"""Heavy atoms that are nearer than they should be. Plain numpy and scipy.

Heavy atoms are [F, L, 14, 3] Å in the slots of `protein.side_chain_atoms`, without padding. Two
measures, for two purposes:

- `count`: close contacts, to compare with MD of the same protein, where there are a few per frame.
- `overlaps`: atoms nearer than MD brings them in a million residues: the frame is not sound.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import covalent_bonds, side_chain_atoms
from tempo_jax.protein import protein as protein_lib

# Å: any two atoms, and two that are nitrogen or oxygen, whose hydrogen bonds are 2.6 to 3.1.
CLOSE, CLOSE_POLAR = 3.0, 2.4
_ELEMENTS = 'CNOS'
# Å, by elements, of atoms that at least four bonds part: one in a million residues of MD has a
# pair nearer than this (extrapolated, rounded down, and below the nearest that was seen). Printed
# by `python -m experiments.benchmarks.limits`.
NEAREST = {
  'CC': 2.8,
  'CN': 2.65,
  'CO': 2.55,
  'CS': 2.95,
  'NN': 2.55,
  'NO': 2.35,
  'NS': 2.75,
  'OO': 2.35,
  'OS': 2.75,
  'SS': 3.05,
}
_NEAR_BONDS = 3  # Atoms parted by so many bonds are held by them, or by rotation about one.
_CB = 4
_Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], int]
"""Two atoms of each pair, and how far they are apart -> how many count."""


def count(
  heavy_atoms: np.ndarray,
  protein: protein_lib.ProteinArrays,
  known: np.ndarray | None = None,
) -> np.ndarray:
  """Close contacts of each frame.

  Two atoms of different residues, one of them of a side chain (beyond CB, which the backbone
  places), nearer than 3.0 Å, or than 2.4 Å where both are nitrogen or oxygen. The sulphurs of a
  disulphide do not count, but other pairs that bonds hold near do, as a proline's CD and the
  carbonyl before it (one or two per proline), or SG and CB across a disulphide: compare with MD of
  the same protein, not with 0.

  Args:
    heavy_atoms: [F, L, 14, 3] Å.
    protein: [L] residues, without padding.
    known: [L, 14] bool, atoms to look at. Default: all that the residues have.

  Returns:
    [F] int64; each pair counts once. 0 where positions are not finite.
  """
  return _counts(heavy_atoms, protein, known, [_close])[0]


def overlaps(
  heavy_atoms: np.ndarray,
  protein: protein_lib.ProteinArrays,
  known: np.ndarray | None = None,
) -> np.ndarray:
  """Pairs of atoms of each frame that are nearer than MD brings them (`NEAREST`).

  All heavy atoms, also of one residue, that at least four bonds part.

  Args:
    heavy_atoms: [F, L, 14, 3] Å.
    protein: [L] residues, without padding.
    known: [L, 14] bool, atoms to look at. Default: all that the residues have.

  Returns:
    [F] int64; each pair counts once. 0 where positions are not finite.
  """
  return _counts(heavy_atoms, protein, known, [_overlapping])[0]


def count_and_overlaps(
  heavy_atoms: np.ndarray, protein: protein_lib.ProteinArrays
) -> tuple[np.ndarray, np.ndarray]:
  """`count` and `overlaps`, for which near atoms are searched once."""
  contacts, overlapping = _counts(heavy_atoms, protein, None, [_close, _overlapping])
  return contacts, overlapping


def distances(
  heavy_atoms: np.ndarray, protein: protein_lib.ProteinArrays, farthest: float
) -> dict[str, np.ndarray]:
  """How near atoms come that at least four bonds part: what `NEAREST` is made from.

  Args:
    heavy_atoms: [F, L, 14, 3] Å.
    protein: [L] residues, without padding.
    farthest: Å, of the distances to return.

  Returns:
    Of each pair of elements in `NEAREST`, the distances of all frames.
  """
  atoms, elements = _atoms(protein, None)
  bonded = covalent_bonds.pairs_within(protein, _NEAR_BONDS)
  found: dict[str, list[np.ndarray]] = {pair: [] for pair in NEAREST}
  for a, b, distance in _near_pairs(heavy_atoms, atoms, farthest):
    apart = ~_in(_codes(atoms[a], atoms[b], protein), bonded)
    first, second = np.sort([elements[a[apart]], elements[b[apart]]], axis=0)
    for (one, other), values in zip(map(tuple, NEAREST), found.values(), strict=True):
      alike = (first == _ELEMENTS.index(one)) & (second == _ELEMENTS.index(other))
      values.append(distance[apart][alike])
  return {pair: np.concatenate(values) for pair, values in found.items()}


def _counts(
  heavy_atoms: np.ndarray,
  protein: protein_lib.ProteinArrays,
  known: np.ndarray | None,
  makers: Sequence[Callable[..., _Judge]],
) -> list[np.ndarray]:
  """Of each judge that is made, [F] int64: how many pairs of atoms it counts."""
  atoms, elements = _atoms(protein, known)
  judges = [make(protein, atoms, elements) for make in makers]
  found = np.zeros((len(judges), len(heavy_atoms)), np.int64)
  farthest = max(CLOSE, *NEAREST.values())
  for frame, pairs in enumerate(_near_pairs(heavy_atoms, atoms, farthest)):
    found[:, frame] = [judge(*pairs) for judge in judges]
  return list(found)


def _close(protein: protein_lib.ProteinArrays, atoms: np.ndarray, elements: np.ndarray) -> _Judge:
  polar = np.isin(elements, (_ELEMENTS.index('N'), _ELEMENTS.index('O')))
  residue, beyond_cb = atoms // side_chain_table.NUM_ATOMS, atoms % side_chain_table.NUM_ATOMS > _CB
  one, other = covalent_bonds.sulphur_bridges(protein).T
  bridges = _codes(one, other, protein)

  def judge(a, b, distance):
    close = (distance < CLOSE_POLAR) | ((distance < CLOSE) & ~(polar[a] & polar[b]))
    close &= (residue[a] != residue[b]) & (beyond_cb[a] | beyond_cb[b])
    a, b = atoms[a[close]], atoms[b[close]]
    return np.count_nonzero(~np.isin(_codes(a, b, protein), bridges))

  return judge


def _overlapping(
  protein: protein_lib.ProteinArrays, atoms: np.ndarray, elements: np.ndarray
) -> _Judge:
  nearest = _nearest()
  bonded = covalent_bonds.pairs_within(protein, _NEAR_BONDS)

  def judge(a, b, distance):
    near = distance < nearest[elements[a], elements[b]]
    codes = _codes(atoms[a[near]], atoms[b[near]], protein)
    return np.count_nonzero(~_in(codes, bonded))

  return judge


def _nearest() -> np.ndarray:
  """[4, 4] Å, `NEAREST` by the numbers of two elements."""
  found = np.zeros((len(_ELEMENTS), len(_ELEMENTS)))
  for pair, limit in NEAREST.items():
    i, j = map(_ELEMENTS.index, pair)
    found[i, j] = found[j, i] = limit
  return found


def _atoms(
  protein: protein_lib.ProteinArrays, known: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
  """[A] int64 number of each atom (14 x residue + slot), and [A] its element."""
  types = np.asarray(protein.residue_type)
  mask = side_chain_atoms.atom_mask(types)
  if known is not None:
    mask = mask & known
  element = np.zeros((len(side_chain_atoms.ATOM_NAMES), side_chain_table.NUM_ATOMS), np.int64)
  for kind, names in enumerate(side_chain_atoms.ATOM_NAMES):
    element[kind, : len(names)] = [_ELEMENTS.index(name[0]) for name in names]
  return np.flatnonzero(mask), element[types][mask]


def _codes(a: np.ndarray, b: np.ndarray, protein: protein_lib.ProteinArrays) -> np.ndarray:
  """[P] int64 one number per pair of atoms, as `covalent_bonds.pairs_within`."""
  size = side_chain_table.NUM_ATOMS * len(protein.residue_type)
  return np.minimum(a, b) * size + np.maximum(a, b)


def _in(codes: np.ndarray, ordered: np.ndarray) -> np.ndarray:
  """`np.isin` for a long array that is sorted, without sorting it again."""
  at = np.searchsorted(ordered, codes)
  return ordered[np.minimum(at, len(ordered) - 1)] == codes


def _near_pairs(
  heavy_atoms: np.ndarray, atoms: np.ndarray, distance: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields, frame by frame, the pairs of `atoms` (positions in it) that are near, and how near."""
  from scipy import spatial  # slow to import

  for frame in heavy_atoms.reshape(len(heavy_atoms), -1, 3):
    points = frame[atoms].astype(np.float64)
    if not np.isfinite(points).all():
      yield np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
      continue
    # Built once and asked once: a tidier tree would take longer.
    tree = spatial.cKDTree(points, balanced_tree=False, compact_nodes=False)
    a, b = tree.query_pairs(distance, output_type='ndarray').T
    yield a, b, np.linalg.norm(points[a] - points[b], axis=-1)

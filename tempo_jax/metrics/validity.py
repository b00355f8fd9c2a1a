"""Is every frame physically valid? Bonds, clashes, torsions. Plain numpy and scipy.

Positions are [..., L, 4, 3] Å, N, CA, C, O, without padding; `bonded`, [L] bool or `bonds.Bonds`,
says which residues have a peptide bond to the next one. Memory grows as the positions, never as
L^2.
"""

from collections.abc import Iterator

import numpy as np

from tempo_jax.geometry import bonds, limits
from tempo_jax.protein import protein as protein_lib

_N, _CA, _C = range(3)
_GLYCINE, _UNKNOWN = map(protein_lib.RESIDUE_TYPES.index, ('GLY', 'UNK'))

# Å. The limits beyond which BioEmu (Lewis et al., 2025) discards a frame: a chain with a longer
# C-N or CA-CA has come apart. CA-CA is 3.8 in a trans peptide, 2.95 in a cis one, and heat moves
# it by 0.06: what is below 2.5 has collapsed.
MAX_C_N = limits.MAX_BOND
MIN_CA_CA = 2.5
MAX_CA_CA = 4.5
# Å. Limits that MD stays within; narrower than those above, which leave room for models of others.
CLOSED_CA_CA = 2.8, 4.2
CLOSED_C_N = 1.7
# Paper, section 9: the clash ratio counts frames with two atoms nearer than this.
CLASH_DISTANCE = limits.CLASH_DISTANCE
# BioEmu's filter: no atoms of residues at least three apart nearer than this.
CONTACT_DISTANCE = 1.0
CONTACT_SEPARATION = 3

MAX_CIS = np.deg2rad(60.0)
# Å from the origin. Beyond, coordinates have diverged, and their squares overflow.
_DIVERGED = 1e5


def _to_next(
  positions: np.ndarray, atom: int, next_atom: int, bonded: np.ndarray | bonds.Bonds
) -> np.ndarray:
  """Distance [..., B] Å from an atom of each bonded residue to one of the next residue."""
  here, there = bonds.pairs(bonded)
  step = positions[..., there, next_atom, :] - positions[..., here, atom, :]
  return np.sqrt(np.einsum('...x,...x->...', step, step))


def ca_ca_range(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> tuple[np.ndarray, np.ndarray]:
  """Least and greatest CA-CA distance of bonded neighbours.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.

  Returns:
    Two arrays [...] in Å; inf and -inf where nothing is bonded.
  """
  distance = _to_next(positions, _CA, _CA, bonded)
  return np.min(distance, axis=-1, initial=np.inf), np.max(distance, axis=-1, initial=-np.inf)


def c_n_max(positions: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> np.ndarray:
  """Greatest C-N distance of bonded neighbours.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.

  Returns:
    [...] Å; -inf where nothing is bonded.
  """
  return np.max(_to_next(positions, _C, _N, bonded), axis=-1, initial=-np.inf)


def is_broken(ca_ca_min: np.ndarray, ca_ca_max: np.ndarray, c_n_max: np.ndarray) -> np.ndarray:
  """Whether a chain has come apart or collapsed somewhere.

  Args:
    ca_ca_min: [...] Å, from `ca_ca_range`.
    ca_ca_max: [...] Å, from `ca_ca_range`.
    c_n_max: [...] Å, from `c_n_max`.

  Returns:
    [...] bool: CA-CA outside 2.5 to 4.5 Å, C-N above 2 Å, or not a number.
  """
  return ~((ca_ca_min >= MIN_CA_CA) & (ca_ca_max <= MAX_CA_CA) & (c_n_max <= MAX_C_N))


def has_diverged(positions: np.ndarray) -> np.ndarray:
  """[...] bool: whether coordinates [..., L, 4, 3] are not finite, or beyond 1e5 Å."""
  with np.errstate(invalid='ignore'):
    return ~(np.abs(positions) < _DIVERGED).all(axis=(-3, -2, -1))  # False for NaN.


def _near_pairs(positions: np.ndarray, distance: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields, frame by frame of [..., L, 4, 3], the atoms a < b (4 x residue + atom) that are near.

  A frame whose positions are not all finite has no pairs.
  """
  from scipy import spatial  # slow to import

  for atoms in positions.reshape(-1, 4 * positions.shape[-3], 3):
    if not np.isfinite(atoms).all():
      yield np.zeros(0, np.int64), np.zeros(0, np.int64)
      continue
    # Built once and asked once: a tidier tree would take longer.
    tree = spatial.cKDTree(atoms, balanced_tree=False, compact_nodes=False)
    a, b = tree.query_pairs(distance, output_type='ndarray').T
    yield a, b


def num_clashes(positions: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> np.ndarray:
  """Pairs of backbone atoms of different residues nearer than 1.2 Å (paper, sections 5 and 9).

  C and N of a peptide bond are no pair.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.

  Returns:
    [...] int64; each pair counts once. 0 where positions are not finite.
  """
  counts = []
  following = bonds.followers(bonded)
  for a, b in _near_pairs(positions, CLASH_DISTANCE):
    # Either may come first: the bond that closes a ring goes back.
    peptide = (a % 4 == _C) & (b % 4 == _N) & (following[a // 4] == b // 4)
    peptide |= (b % 4 == _C) & (a % 4 == _N) & (following[b // 4] == a // 4)
    counts.append(np.count_nonzero((a // 4 != b // 4) & ~peptide))
  return np.array(counts, np.int64).reshape(positions.shape[:-3])


def passes_bioemu_filter(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds, clashes: np.ndarray | None = None
) -> np.ndarray:
  """Whether BioEmu (Lewis et al., 2025) would keep a frame (`filter_unphysical_traj`).

  It keeps frames where CA-CA of neighbours is below 4.5 Å and C-N below 2 Å, and where no atoms
  of residues at least three apart in the file are nearer than 1 Å; here, backbone atoms. Unlike
  `is_broken`, a collapsed CA-CA passes.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above; BioEmu, made for one chain, looks at all neighbours.
    clashes: [...] from `num_clashes`, if it is known: frames without are looked at no further.

  Returns:
    [...] bool.
  """
  shape = positions.shape[:-3]
  here, there = bonds.pairs(bonded)
  # The bond that closes a ring is no clash, but joins residues that are far apart in the file.
  of_ring = bool(np.any(np.abs(there - here) >= CONTACT_SEPARATION))
  looked_at = np.ones(shape, bool) if clashes is None or of_ring else np.asarray(clashes) > 0
  apart = np.ones(shape, bool)
  apart[looked_at] = [
    not np.any(b // 4 - a // 4 >= CONTACT_SEPARATION)
    for a, b in _near_pairs(positions[looked_at], CONTACT_DISTANCE)
  ]
  _, ca_ca = ca_ca_range(positions, bonded)
  c_n = c_n_max(positions, bonded)
  finite = np.isfinite(positions).all(axis=(-3, -2, -1))
  return apart & (ca_ca < MAX_CA_CA) & (c_n < MAX_C_N) & finite


def _judged(angle: np.ndarray, residue_type: np.ndarray, *exempt: int) -> np.ndarray:
  """[L] bool: has the angle [F, L], and is none of the exempt types."""
  return ~np.isnan(angle[0]) & ~np.isin(residue_type, exempt)


def positive_phi(phi: np.ndarray, residue_type: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Residues with phi above 0: the hand of the chain, since a backbone has no CB.

  In L-proteins some 5 % have it, glycine apart; in a mirror image nearly all.

  Args:
    phi: [F, L] radians, from `torsions.backbone_torsions`.
    residue_type: [L] index into `protein.RESIDUE_TYPES`.

  Returns:
    [F, L] bool, and [L] bool, which residues are judged: those with phi, but glycine and unknown
    ones.
  """
  judged = _judged(phi, residue_type, _GLYCINE, _UNKNOWN)
  return judged & (phi > 0.0), judged


def cis_peptides(omega: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Peptide bonds with omega within 60° of 0; 1 of 20 before proline, else very rare.

  Args:
    omega: [F, L] radians, from `torsions.backbone_torsions`.

  Returns:
    [F, L] bool, residue i to i + 1, and [L] bool, which residues have a peptide bond to the next.
  """
  return np.abs(omega) < MAX_CIS, ~np.isnan(omega[0])

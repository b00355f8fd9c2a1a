"""Numbers that tell a sound trajectory from a damaged one, from its backbone alone.

Positions are [F, L, 4, 3] Å, atoms N, CA, C, O; bonded [L] bool, residue i to i + 1. Everything
is plain numpy (and mdtraj, scipy) on blocks of frames, since lengths differ from protein to
protein, and nothing is to be compiled for each.
"""

import mdtraj
import numpy as np
from scipy import ndimage, spatial

from tempo_jax.metrics import validity

_N, _CA, _C, _O = range(4)

# Å. Frames of simulations differ by 0.2 or more within a picosecond, and rounding in XTC alone
# moves atoms by 0.003.
SAME = 1e-3

_FINGERPRINT_PAIRS = 16
_FINGERPRINT_STEP = 0.005  # Å

# Robust standard deviations of log(RMSD). Of 13,000 steps of simulations, 1 to 10 ps long, none
# has more than 3.9; those of a protein that unfolds, whose moves become larger, 2.6.
JUMP_SIGMAS = 6.0
_JUMP_WINDOW = 101
_JUMP_LEAST_STEPS = 10
_JUMP_LEAST_SIGMA = 0.05


def centred(positions: np.ndarray) -> np.ndarray:
  """[F, 3, 4 L] float64 Å: atoms about their mean, in the layout of `rmsd`."""
  atoms = positions.reshape(len(positions), -1, 3).transpose(0, 2, 1)
  atoms = np.ascontiguousarray(atoms, np.float64)
  return atoms - atoms.mean(axis=2, keepdims=True)


def rmsd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """RMSD of pairs of conformations after superposition, never by a reflection.

  Kabsch, Acta Cryst. A32, 922 (1976).

  Args:
    a: [F, 3, N] float64 Å, from `centred`.
    b: [F, 3, N] float64 Å, alike.

  Returns:
    [F] Å.
  """
  covariance = a @ b.transpose(0, 2, 1)
  overlap = np.linalg.svd(covariance, compute_uv=False)
  overlap[:, 2] *= np.sign(np.linalg.det(covariance))
  squares = np.einsum('fxn,fxn->f', a, a) + np.einsum('fxn,fxn->f', b, b)
  return np.sqrt(np.maximum(squares - 2.0 * overlap.sum(axis=1), 0.0) / a.shape[2])


def torsions(positions: np.ndarray, bonded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """phi, psi and omega.

  Args:
    positions: [F, L, 4, 3] float32 Å.
    bonded: [L] bool.

  Returns:
    Degrees [F, L, 3], NaN where there is none, and [L, 3] bool where there is one. phi needs
    bonded[i - 1], psi and omega bonded[i]; omega is CA, C, N, CA of residues i and i + 1.
  """
  num_frames, length = positions.shape[:2]
  bonded = np.append(bonded[:-1], False)
  mask = np.stack([np.roll(bonded, 1), bonded, bonded], axis=1)
  offsets = [
    [_C - 4, _N, _CA, _C],
    [_N, _CA, _C, _N + 4],
    [_CA, _C, _N + 4, _CA + 4],
  ]
  quartets = 4 * np.arange(length)[:, None, None] + offsets  # [L, 3, 4]
  angles = np.full((num_frames, length, 3), np.nan)
  if mask.any():
    atoms = mdtraj.Trajectory(positions.reshape(num_frames, -1, 3), topology=None)
    angles[:, mask] = np.rad2deg(mdtraj.compute_dihedrals(atoms, quartets[mask], periodic=False))
  return angles, mask


def fingerprints(positions: np.ndarray) -> np.ndarray:
  """A number per frame that stays when the molecule is moved as a whole, and else changes.

  It is made of distances between 16 pairs of atoms, the same for every protein of this length,
  in steps of 0.005 Å. Frames that are equal bit by bit always agree; frames moved by a rigid
  motion, whose distances are rounded anew, in some 19 of 20 cases.

  Args:
    positions: [F, L, 4, 3] Å.

  Returns:
    [F] uint64, evenly distributed.
  """
  length = positions.shape[1]
  rng = np.random.default_rng(length)
  a = rng.integers(length, size=_FINGERPRINT_PAIRS)
  b = (a + rng.integers(1, length, size=_FINGERPRINT_PAIRS)) % length
  atom_a, atom_b = rng.integers(4, size=(2, _FINGERPRINT_PAIRS))
  step = positions[:, a, atom_a].astype(np.float64) - positions[:, b, atom_b]
  steps = np.round(np.linalg.norm(step, axis=-1) / _FINGERPRINT_STEP).astype(np.uint64)
  odd = rng.integers(2**64, size=_FINGERPRINT_PAIRS, dtype=np.uint64) | np.uint64(1)
  number = np.asarray(np.sum(steps * odd, axis=1, dtype=np.uint64))
  # The finish of MurmurHash3: every bit depends on all.
  for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
    number = (number ^ (number >> np.uint64(33))) * np.uint64(factor)
  return number ^ (number >> np.uint64(33))


def clashes(positions: np.ndarray, bonded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Backbone atoms of different residues nearer than 1.2 Å (as `validity.num_clashes` counts).

  Args:
    positions: [F, L, 4, 3] Å.
    bonded: [L] bool; C and N of a peptide bond are no pair.

  Returns:
    [n, 3] frame and the two residues, and [n] distance in Å.
  """
  found, distances = [np.zeros((0, 3), int)], [np.zeros(0)]
  for frame, atoms in enumerate(positions.reshape(len(positions), 4 * positions.shape[1], 3)):
    tree = spatial.cKDTree(atoms, balanced_tree=False, compact_nodes=False)
    a, b = tree.query_pairs(validity.CLASH_DISTANCE, output_type='ndarray').T  # a < b
    peptide = (a % 4 == _C) & (b == a + 2) & bonded[a // 4]  # the N of the next residue
    kept = (a // 4 != b // 4) & ~peptide
    if kept.any():
      a, b = a[kept], b[kept]
      found.append(np.stack([np.full_like(a, frame), a // 4, b // 4], axis=1))
      distances.append(np.linalg.norm(atoms[a] - atoms[b], axis=-1))
  return np.concatenate(found), np.concatenate(distances)


def jumps(steps: np.ndarray, least: float) -> np.ndarray:
  """Steps far longer than is typical of those around them.

  Lengths of steps are distributed about evenly on a logarithmic scale. A protein that unfolds
  moves more from then on, hence only the 50 steps before and after are asked.

  Args:
    steps: [F] Å; those that are NaN, or 0 within `SAME`, count as unknown.
    least: Å; shorter steps are none.

  Returns:
    Ascending indices into `steps`; none where fewer than ten steps are known.
  """
  (known,) = np.nonzero(steps > SAME)
  if len(known) < _JUMP_LEAST_STEPS:
    return known[:0]
  logs = np.log(steps[known])
  window = min(_JUMP_WINDOW, (len(known) - 1) // 2 * 2 + 1)
  above = logs - ndimage.median_filter(logs, window)
  spread = 1.4826 * ndimage.median_filter(np.abs(above), window)
  far = above > JUMP_SIGMAS * np.maximum(spread, _JUMP_LEAST_SIGMA)
  return known[far & (steps[known] > least)]


def parts(bonded: np.ndarray) -> np.ndarray:
  """[L] int: which stretch of bonded residues each belongs to, counted from 0."""
  return np.concatenate([[0], np.cumsum(~bonded[:-1])])

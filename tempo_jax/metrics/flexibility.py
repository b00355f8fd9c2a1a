"""How far and where a protein moves. Plain numpy; positions [..., L, 4, 3] Å, N, CA, C, O.

"Superposed" are positions that `superposition.superpose` has moved onto one native structure.
"""

import numpy as np

from tempo_jax.metrics import superposition
from tempo_jax.metrics.superposition import CA

_BLOCK = 512  # frames whose distances to all others are in memory at once


def ca_rmsd(positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """RMSD of the CA atoms after superposition on a reference.

  Args:
    positions: [..., L, 4, 3] Å.
    reference: [L, 4, 3] Å.

  Returns:
    [...] float64 Å.
  """
  return superposition.rmsd(positions[..., CA, :], reference[..., CA, :])


def radius_of_gyration(positions: np.ndarray) -> np.ndarray:
  """Root mean square distance of the backbone atoms from their mean; every atom weighs the same.

  Args:
    positions: [..., L, 4, 3] Å.

  Returns:
    [...] float64 Å.
  """
  atoms = positions.reshape(*positions.shape[:-3], -1, 3).astype(np.float64)
  atoms -= atoms.mean(axis=-2, keepdims=True)
  return np.sqrt(np.einsum('...ax,...ax->...', atoms, atoms) / atoms.shape[-2])


def rmsf(superposed: np.ndarray) -> np.ndarray:
  """Root mean square fluctuation of every atom about its mean over the frames (AlphaFlow).

  Args:
    superposed: [F, ..., 3] Å, on one native structure; AlphaFlow fits all backbone atoms.

  Returns:
    [...] float64 Å; of [F, L, 4, 3]: [L, 4].
  """
  deviation = superposed - superposed.mean(axis=0, dtype=np.float64)
  return np.sqrt(np.einsum('f...x,f...x->...', deviation, deviation) / len(superposed))


def ca_rmsf(positions: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Fluctuation of every CA about its mean, once all frames are superposed on a reference.

  Args:
    positions: [F, L, 4, 3] Å.
    reference: [L, 4, 3] Å; frames are superposed by their CA atoms.

  Returns:
    [L] float64 Å.
  """
  return rmsf(superposition.superpose_points(positions[:, :, CA], reference[:, CA]))


def pairwise_rmsd(superposed: np.ndarray, other: np.ndarray | None = None) -> float:
  """Mean CA-RMSD of all pairs of frames of one ensemble, or between two (AlphaFlow).

  Pairs are not superposed on each other. Of one ensemble all ordered pairs count, also a frame
  with itself; AlphaFlow's figure for MD is that between two random draws of frames.

  Args:
    superposed: [F, L, 3] Å, CA atoms, all superposed on the same native structure by CA.
    other: [G, L, 3] Å, alike; left out: `superposed` itself.

  Returns:
    Å.
  """
  num_residues = superposed.shape[1]
  centre = superposed.mean(axis=0, dtype=np.float64)  # Lest large squares cancel.
  a = (superposed - centre).reshape(len(superposed), -1)
  b = a if other is None else (other - centre).reshape(len(other), -1)
  a_square, b_square = np.einsum('fx,fx->f', a, a), np.einsum('fx,fx->f', b, b)
  total = 0.0
  for start in range(0, len(a), _BLOCK):
    block = slice(start, start + _BLOCK)
    squares = a[block] @ b.T
    squares *= -2.0
    squares += a_square[block, None]
    squares += b_square
    np.maximum(squares, 0.0, out=squares)
    total += float(np.sum(np.sqrt(squares, out=squares)))
  return total / (len(a) * len(b)) / np.sqrt(num_residues)


def ca_distance_spread(positions: np.ndarray) -> float:
  """Standard deviation of CA-CA distances over the frames, mean over all pairs of residues.

  Args:
    positions: [F, L, 4, 3] Å; superposition does not matter.

  Returns:
    Å; NaN for a single residue.
  """
  ca = positions[:, :, CA].astype(np.float64)
  length = ca.shape[1]
  if length < 2:
    return float('nan')
  total = 0.0
  for i in range(length - 1):  # One residue at a time: memory grows as L.
    total += np.linalg.norm(ca[:, i + 1 :] - ca[:, i : i + 1], axis=-1).std(axis=0).sum()
  return float(total / (length * (length - 1) / 2))


def step_lengths(positions: np.ndarray) -> np.ndarray:
  """CA-RMSD between successive frames, each superposed on the one before.

  Args:
    positions: [..., F, L, 4, 3] Å.

  Returns:
    [..., F - 1] float64 Å.
  """
  ca = positions[..., CA, :]
  return superposition.rmsd(ca[..., 1:, :, :], ca[..., :-1, :, :])


def pearson(a: np.ndarray, b: np.ndarray) -> float:
  """Pearson's correlation coefficient.

  Args:
    a: numbers of any shape.
    b: as many.

  Returns:
    -1 to 1; NaN where there are fewer than two, or where one side does not vary.
  """
  a, b = (np.ravel(x).astype(np.float64) for x in (a, b))
  if a.size < 2 or np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
    return float('nan')
  return float(np.corrcoef(a, b)[0, 1])

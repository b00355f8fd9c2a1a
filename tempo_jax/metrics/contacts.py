"""Contacts of CA atoms: how often they form, and which the prediction gets right."""

import numpy as np

CUTOFF = 8.0
"""Å; CA atoms nearer than this are in contact (paper, section 9, and AlphaFlow)."""

WEAK_BELOW = 0.9
TRANSIENT_ABOVE = 0.1

_CA = 1


def contact_probability(positions: np.ndarray) -> np.ndarray:
  """Share of frames in which two CA atoms are nearer than 8 Å.

  Memory grows as the CA atoms and the map; never are all distances held.

  Args:
    positions: [F, L, 4, 3] Å.

  Returns:
    [L, L] float64, symmetric, 1 on the diagonal.
  """
  # Frames last: a row of distances, of one residue to all after it, is contiguous.
  ca = np.ascontiguousarray(positions[:, :, _CA].transpose(2, 1, 0))  # [3, L, F]
  length, num_frames = ca.shape[1:]
  counts = np.zeros((length, length))
  for i in range(length):
    x, y, z = (axis[i:] - axis[i] for axis in ca)
    squares = x * x + y * y + z * z
    counts[i, i:] = counts[i:, i] = np.count_nonzero(squares < CUTOFF**2, axis=1)
  return counts / num_frames


def weak_contacts(native: np.ndarray, probability: np.ndarray) -> np.ndarray:
  """Native contacts that come apart: formed in fewer than 90 % of frames (AlphaFlow).

  Args:
    native: [L, L] bool, contacts of the native structure: its `contact_probability` > 0.
    probability: [L, L], from `contact_probability`.

  Returns:
    [L, L] bool.
  """
  return native & (probability < WEAK_BELOW)


def transient_contacts(native: np.ndarray, probability: np.ndarray) -> np.ndarray:
  """Pairs apart in the native structure that meet in more than 10 % of frames (AlphaFlow).

  Args:
    native: [L, L] bool, contacts of the native structure: its `contact_probability` > 0.
    probability: [L, L], from `contact_probability`.

  Returns:
    [L, L] bool.
  """
  return ~native & (probability > TRANSIENT_ABOVE)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
  """Size of the intersection over that of the union.

  Args:
    a: bool of any shape; AlphaFlow: the full [L, L] map.
    b: bool, alike.

  Returns:
    0 to 1; NaN where both sets are empty, as AlphaFlow counts it.
  """
  union = np.count_nonzero(a | b)
  return np.count_nonzero(a & b) / union if union else float('nan')

"""D-residues, and proteins that are mirror images; plain numpy."""

from collections.abc import Mapping, Sequence

import numpy as np

# Å^3, of N, C and CB about CA: 2.6 in an L-residue; near zero the hand is not clear, and a coarse
# file is no news.
_LEAST_VOLUME = 1.0


def find(atoms: Sequence[Mapping[str, int]], coordinates: np.ndarray) -> np.ndarray | None:
  """Which residues are those of a mirror image.

  Without CB a residue has no hand of its own: such a residue, as glycine, has that of most others.

  Args:
    atoms: per residue, the rows of its atoms by name.
    coordinates: [N, 3] Å.

  Returns:
    [L] bool; None where there are none.
  """
  has_cb = np.array(['CB' in residue for residue in atoms], bool)
  rows = [[r[name] for name in ('CA', 'N', 'C', 'CB')] for r in atoms if 'CB' in r]
  points = np.asarray(coordinates)[np.array(rows, np.int64).reshape(-1, 4)]
  n, c, cb = (points[:, k] - points[:, 0] for k in (1, 2, 3))
  wrong = np.sum(np.cross(n, c) * cb, axis=-1) < -_LEAST_VOLUME
  if not wrong.any():
    return None
  found = np.full(len(atoms), is_most(wrong))
  found[has_cb] = wrong
  return found


def is_most(wrong: np.ndarray) -> bool:
  """Whether so many of the residues with a hand are D-residues that the whole is mirrored."""
  return bool(2 * np.count_nonzero(wrong) > len(wrong))

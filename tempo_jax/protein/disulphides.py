"""Disulphide bonds of a structure, told by the distance of its sulphur atoms."""

from collections.abc import Mapping, Sequence

import numpy as np

NONE = -1
# Å. The bond is 2.05 Å; sulphur atoms that are not bonded do not come nearer than 3 Å.
_SHORTEST, _LONGEST = 1.6, 2.5


def find(atoms: Sequence[Mapping[str, int]], coordinates: np.ndarray) -> np.ndarray | None:
  """Pairs of residues whose SG are bonded, each nearest to the other.

  Args:
    atoms: of each of L residues, atom name -> row of the coordinates.
    coordinates: [N, 3] Å.

  Returns:
    [L] int32, the index of the partner, -1 where there is none; None if there is no such bond.
  """
  with_sulphur = np.array([i for i, residue in enumerate(atoms) if 'SG' in residue], int)
  partner = np.full(len(atoms), NONE, np.int32)
  if len(with_sulphur) > 1:
    sulphur = coordinates[[residue['SG'] for residue in atoms if 'SG' in residue]]
    distance = np.linalg.norm(sulphur[:, None] - sulphur[None], axis=-1)
    distance[~(distance > _SHORTEST)] = np.inf  # Itself, what coincides, what is not a number.
    nearest = distance.argmin(axis=1)
    here = np.arange(len(nearest))
    bonded = (nearest[nearest] == here) & (distance[here, nearest] < _LONGEST)
    partner[with_sulphur[bonded]] = with_sulphur[nearest[bonded]]
  return partner if (partner != NONE).any() else None

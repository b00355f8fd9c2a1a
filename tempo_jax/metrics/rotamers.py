"""Chi angles that side chains seldom have. Plain numpy."""

import numpy as np

from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

_PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')
# Degrees from -60, 60 and 180: half-way between them, atoms are eclipsed. In MD 1 % of these chi
# are farther than that, of chi drawn at random 33 %.
FARTHEST_FROM_STAGGERED = 40.0
# Degrees, the chi1 of a proline's ring: one in ten thousand of MD is beyond.
LARGEST_CHI_OF_PROLINE = 50.0


def outliers(chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """Residues of each frame with a chi that is eclipsed, or prolines whose ring is torn.

  Less than MolProbity's rotamer outliers, which judge all chi of a residue together. In MD 1.6 %
  of the residues are such, so that a sound frame may have some.

  Args:
    chi: [..., L, 4] radians; NaN where unknown.
    residue_type: [L] index into `protein.RESIDUE_TYPES`.

  Returns:
    [...] int64.
  """
  residue_type = np.asarray(residue_type)
  staggered = side_chain_atoms.staggered_mask(residue_type)
  degrees = np.rad2deg(chi)
  # NaN compares as False.
  off = np.abs((degrees % 120.0) - 60.0) > FARTHEST_FROM_STAGGERED
  torn = np.abs(degrees[..., 0]) > LARGEST_CHI_OF_PROLINE
  found = (off & staggered).any(axis=-1) | (torn & (residue_type == _PROLINE))
  return np.count_nonzero(found, axis=-1)

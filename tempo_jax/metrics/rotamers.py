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
  (residue, number), prolines = np.nonzero(staggered), residue_type == _PROLINE
  # NaN compares as False.
  off = np.abs((np.rad2deg(chi[..., residue, number]) % 120.0) - 60.0) > FARTHEST_FROM_STAGGERED
  torn = np.abs(np.rad2deg(chi[..., prolines, 0])) > LARGEST_CHI_OF_PROLINE
  count = np.count_nonzero(torn, axis=-1)
  if residue.size:  # The chi of a residue stand side by side.
    (first,) = np.nonzero(number == 0)
    count = count + np.count_nonzero(np.logical_or.reduceat(off, first, axis=-1), axis=-1)
  return count

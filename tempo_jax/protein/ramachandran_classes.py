"""Which of the classes of `geometry.ramachandran_table` a residue is of; for NumPy and JAX."""

from collections.abc import Callable
from typing import Any

from tempo_jax.geometry import ramachandran_table
from tempo_jax.protein import protein as protein_lib

GLYCINE, PROLINE = map(protein_lib.RESIDUE_TYPES.index, ('GLY', 'PRO'))


def of(residue_type: Any, before_proline: Any, where: Callable[..., Any]) -> Any:
  """Glycine and proline come before pre-proline; unknown residues are general or pre-proline.

  Args:
    residue_type: [L] index into `protein.RESIDUE_TYPES`.
    before_proline: [L] bool, a peptide bond leads to a proline.
    where: `numpy.where` or `jax.numpy.where`.

  Returns:
    [L] integers, index into `ramachandran_table.CLASSES`.
  """
  general, glycine, proline, pre_proline = map(
    ramachandran_table.CLASSES.index, ('general', 'glycine', 'proline', 'pre-proline')
  )
  found = where(before_proline, pre_proline, general)
  return where(residue_type == PROLINE, proline, where(residue_type == GLYCINE, glycine, found))

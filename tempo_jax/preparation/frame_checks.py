"""Are molecules whole, in Å, and in the order of their topology? Bond lengths tell.

Positions are [F, L, 4, 3] Å, atoms N, CA, C, O; bonded [L] bool, residue i to i + 1, or `Bonds`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import frame_faults, protein

_N, _CA, _C, _O = range(4)

# Within and between bonded residues: atoms, and what no intact molecule exceeds, Å. Ideal are
# 1.46, 1.53, 1.23, 1.33, and 3.80 (cis 2.95); heat and constraints move them by less than 0.4.
WITHIN = (('N-CA', _N, _CA, 0.9, 2.0), ('CA-C', _CA, _C, 0.9, 2.0), ('C-O', _C, _O, 0.7, 2.0))
BETWEEN = (('C-N', _C, _N, 0.8, 2.5), ('CA-CA', _CA, _CA, 2.3, 4.5))


@dataclasses.dataclass(frozen=True)
class Problem:
  """The first bond that is out of its limits.

  Attributes:
    frame: number of the frame.
    bond: one of those of `WITHIN` and `BETWEEN`.
    residue: index of the residue; of the first one where the bond joins two.
    length: of the bond, Å.
    message: one line: frame, residues, length, and what is probably wrong.
  """

  frame: int
  bond: str
  residue: int
  length: float
  message: str


def sound(positions: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds) -> np.ndarray:
  """[F] bool: everything is finite and every bond within its limits."""
  good = np.isfinite(positions).all(axis=(1, 2, 3))
  for _, low, high, lengths, _ in bond_lengths(positions, bonded):
    good &= ((lengths > low) & (lengths < high)).all(axis=1)
  return good


def first_problem(positions: np.ndarray, found: protein.Protein, start: int = 0) -> Problem | None:
  """Looks for a bond out of its limits.

  Args:
    positions: [F, L, 4, 3] Å.
    found: names the residues, and says which are bonded.
    start: number of the first frame.

  Returns:
    None if every frame is sound.
  """
  following = bonds_lib.followers(found.arrays.bonds)
  for bond, low, high, lengths, residues in bond_lengths(positions, found.arrays.bonds):
    wrong = ~((lengths > low) & (lengths < high))
    if wrong.any():
      row, pair = np.argwhere(wrong)[0]
      frame, residue, length = start + int(row), int(residues[pair]), float(lengths[row, pair])
      where = label(found, residue)
      if bond in ('C-N', 'CA-CA'):
        where += f' and {label(found, following[residue])}'
      fault = frame_faults.of_frame(positions[row], found.arrays.bonds)
      message = f'frame {frame}: {bond} of {where} is {length:.2f} Å: {fault.advice()}'
      return Problem(frame, bond, residue, length, message)
  return None


def make_whole(positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
  """Brings molecules together that the periodic box cuts.

  Goes along the protein, N, CA, C, N, ..., and takes each atom's periodic image nearest to the one
  before; so gaps in a chain, and between chains, are bridged by the shortest way too.

  Args:
    positions: [F, L, 4, 3] Å; the first atom stays where it is.
    cells: [3, 3] or [F, 3, 3] Å, rows are the box vectors.

  Returns:
    [F, L, 4, 3] Å, of the same type.
  """
  cells = np.broadcast_to(np.asarray(cells, np.float64), (len(positions), 3, 3))
  inverse = np.linalg.inv(cells)
  main = positions[:, :, :_O].reshape(len(positions), -1, 3).astype(np.float64)  # N, CA, C, N, ...

  def images(steps: np.ndarray) -> np.ndarray:
    """Whole numbers of box vectors that `steps` [F, n, 3] Å are too long by."""
    return np.round(np.nan_to_num(steps) @ inverse)

  shifts = np.cumsum(images(np.diff(main, axis=1)), axis=1) @ cells
  main[:, 1:] -= shifts
  oxygen = positions[:, :, _O].astype(np.float64)
  oxygen -= images(oxygen - main[:, _C::3]) @ cells
  backbone = main.reshape(len(positions), -1, 3, 3)
  return np.concatenate([backbone, oxygen[:, :, None]], axis=2).astype(positions.dtype)


def cut_by_box(
  positions: np.ndarray, cells: np.ndarray, found: protein.Protein, start: int = 0
) -> str | None:
  """A chain that the topology shows broken, while its parts meet in the next periodic box.

  Args:
    positions: [F, L, 4, 3] Å.
    cells: [F, 3, 3] Å, rows are the box vectors.
    found: names the residues, and says which are bonded.
    start: number of the first frame.

  Returns:
    One line on the first such place.
  """
  chain = found.arrays.chain_index
  (gaps,) = np.nonzero(~found.arrays.bonded[:-1] & (chain[1:] == chain[:-1]))
  step = positions[:, gaps + 1, _N] - positions[:, gaps, _C].astype(np.float64)
  nearest = step - np.round(step @ np.linalg.inv(cells)) @ cells
  cut = (np.linalg.norm(step, axis=-1) > 2.5) & (np.linalg.norm(nearest, axis=-1) < 2.0)
  if not cut.any():
    return None
  frame, gap = np.argwhere(cut)[0]
  where = f'{label(found, gaps[gap])} and {label(found, gaps[gap] + 1)}'
  return (
    f'frame {start + frame}: the periodic box cuts the chain between {where}: re-image it and its '
    'topology (e.g. gmx trjconv -pbc whole)'
  )


def label(found: protein.Protein, residue: int) -> str:
  """How messages name a residue: its name and number."""
  number = f'{found.residue_number[residue]}{found.insertion_code[residue]}'
  return f'{found.residue_names[residue]} {number}'


def bond_lengths(
  positions: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds
) -> Iterator[tuple[str, float, float, np.ndarray, np.ndarray]]:
  """Yields bond, limits in Å, lengths [F, n] Å, and [n] the residue that each begins in."""
  everyone, (here, there) = np.arange(positions.shape[1]), bonds_lib.pairs(bonded)
  with np.errstate(over='ignore', invalid='ignore'):  # corrupt coordinates
    for bond, a, b, low, high in WITHIN:
      step = positions[:, :, a] - positions[:, :, b]
      yield bond, low, high, np.sqrt(np.einsum('fnx,fnx->fn', step, step)), everyone
    for bond, a, b, low, high in BETWEEN:
      step = positions[:, here, a] - positions[:, there, b]
      yield bond, low, high, np.sqrt(np.einsum('fnx,fnx->fn', step, step)), here

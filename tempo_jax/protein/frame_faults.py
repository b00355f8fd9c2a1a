"""What is the matter with coordinates whose bonds are none: one answer for all programs.

Positions are [..., L, 4, 3] Å, atoms N, CA, C, O; `bonded`, [L] bool or `bonds.Bonds`, says which
residues have a peptide bond to the next one.
"""

import enum

import numpy as np

from tempo_jax.geometry import bonds, ideal

_N, _CA, _C, _O = range(4)

# Of a bond to its ideal length. Within the first two a bond may be one, as heat and poor models
# have it. What a periodic box cuts is further away than the last; atoms in another order are
# anywhere.
_TOO_SHORT, _TOO_LONG, _IN_ANOTHER_BOX = 0.6, 1.5, 4.0
# In the wrong unit all bonds are wrong by one factor, but for the rounding of files.
_SPREAD, _MOST = 1.3, 0.95
_FEWEST = 4  # bonds that tell a unit
_MOST_PLACED = 0.34  # of the bonds
_LARGEST_POWER = 4  # µm; beyond, coordinates are zero or corrupt
_FEW = 0.1  # of the bonds
_POINT = 1e-3  # Å


class Fault(enum.Enum):
  """What is probably wrong, and what to do about it."""

  NO_NUMBERS = 'coordinates are not numbers: cut the trajectory before it'
  ONE_POINT = (
    'all atoms lie on one point: cut the frame out; the file was probably not written to its end'
  )
  UNITS = (
    'its units are probably not those of its format, all lengths are wrong by one factor: convert '
    'it'
  )
  BOX = (
    'make molecules whole, this one is probably broken over the periodic box: re-image it (e.g. '
    'gmx trjconv -pbc whole, or mdtraj make_molecules_whole)'
  )
  ORDER = (
    'its atoms are probably in another order than in {topology}: give the one it was written with'
  )
  DISTORTED = (
    'few bonds are wrong, so the molecule is distorted there: leave such frames out; if all are '
    'so, {topology} is not the one it was written with'
  )

  def advice(self, topology: object = 'the topology') -> str:
    """In a line.

    Args:
      topology: what the message calls it.
    """
    return self.value.format(topology=topology)


def of_frame(frame: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> Fault:
  """The fault of one frame that has a bond out of its limits.

  Args:
    frame: [L, 4, 3] Å.
    bonded: as above.
  """
  ratio = length_ratios(frame, bonded)
  if not np.isfinite(ratio).all():
    return Fault.NO_NUMBERS
  if lies_on_points(frame):
    return Fault.ONE_POINT
  if power_of_ten(ratio):
    return Fault.UNITS
  wrong = float(np.mean((ratio < _TOO_SHORT) | (ratio > _TOO_LONG)))
  far = float(np.mean(ratio > _IN_ANOTHER_BOX))
  if 0.0 < wrong < 0.5 and far > _MOST * wrong:
    return Fault.BOX
  return Fault.DISTORTED if wrong < _FEW else Fault.ORDER


def of_chain(
  positions: np.ndarray, broken: np.ndarray, bonded: np.ndarray | bonds.Bonds, *, topology: object
) -> str:
  """One line on the first frame with a broken chain: which it is, and what is probably wrong.

  Args:
    positions: [F, L, 4, 3] Å.
    broken: [F] bool, one at least.
    bonded: as above.
    topology: what the line calls the structure that names the atoms.
  """
  frame = int(np.argmax(broken))
  fault = of_frame(positions[frame], bonded)
  of_the_whole = fault in (Fault.NO_NUMBERS, Fault.ONE_POINT, Fault.UNITS)
  return (
    f'frame {frame}{"" if of_the_whole else " has a broken chain"}: {fault.advice(topology)} '
    f'({int(broken.sum())} of {len(broken)} frames)'
  )


def lies_on_points(positions: np.ndarray) -> np.ndarray:
  """[...] bool: N, CA and C of every residue coincide, as where a file holds only zeros."""
  main = positions[..., :_O, :]
  return (np.abs(main - main[..., :1, :]) < _POINT).all(axis=(-3, -2, -1))


def length_ratios(positions: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> np.ndarray:
  """[..., n]: lengths of N-CA, CA-C, C-O and C-N over what they should be."""
  x = np.asarray(positions, np.float64)

  def length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1)

  here, there = bonds.pairs(bonded)
  with np.errstate(over='ignore', invalid='ignore'):  # corrupt coordinates
    parts = [
      length(x[..., _N, :], x[..., _CA, :]) / ideal.N_CA,
      length(x[..., _CA, :], x[..., _C, :]) / ideal.CA_C,
      length(x[..., _C, :], x[..., _O, :]) / ideal.C_O,
      length(x[..., here, _C, :], x[..., there, _N, :]) / ideal.C_N,
    ]
  return np.concatenate(parts, axis=-1)


def power_of_ten(ratio: np.ndarray) -> int:
  """By which power of ten all lengths are too long: -1 for nm taken for Å, 0 if by none.

  Atoms in another order make some lengths right and others wrong by any factor.

  Args:
    ratio: [n], of lengths to what they should be; those that are not numbers say nothing. Some may
      be 1 in any unit: C-O where O was placed from the geometry.
  """
  ratio = ratio[np.isfinite(ratio)]
  placed = np.abs(ratio - 1.0) < 1e-2
  if len(ratio) < _FEWEST or np.mean(placed) > _MOST_PLACED:
    return 0
  logarithm = np.log10(np.maximum(ratio[~placed], 1e-9))
  power = round(float(np.median(logarithm)))
  if abs(power) > _LARGEST_POWER:
    return 0
  return power if np.mean(np.abs(logarithm - power) < np.log10(_SPREAD)) > _MOST else 0

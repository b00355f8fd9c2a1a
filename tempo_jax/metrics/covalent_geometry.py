"""Bond lengths and angles of the backbone, and the limits within which MD keeps them.

Positions are [..., L, 4, 3] Å, N, CA, C, O, without padding; `bonded`, [L] bool or `bonds.Bonds`,
says which residues have a peptide bond to the next one.
"""

from collections.abc import Iterator

import numpy as np

from tempo_jax.geometry import bonds
from tempo_jax.metrics import torsions

_N, _CA, _C, _O = range(4)

# Mean and sd; Å and degrees. MD of the proteins in data_prep/simulated that are not held out,
# ff14SB and OBC2 at 300-400 K, without constrained bonds of heavy atoms; printed by
# `python -m experiments.benchmarks.covalent_geometry`. The means of Engh & Huber (International
# Tables F, 2001) are within 1 sd.
BONDS = {
  'N-CA': (1.475, 0.031),
  'CA-C': (1.543, 0.032),
  'C-O': (1.235, 0.025),
  'C-N': (1.341, 0.026),
}
ANGLES = {
  'N-CA-C': (112.82, 3.44),
  'CA-C-O': (119.99, 2.92),
  'CA-C-N': (117.85, 2.95),
  'O-C-N': (121.77, 2.82),
  'C-N-CA': (124.53, 3.26),
  'omega': (0.0, 9.74),
}
"""omega: off the plane, of trans and cis peptides alike."""
NUM_SD = 5.0
"""Three of the 730,000 bonds and angles of our MD are beyond it."""


def lengths(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each of `BONDS` and its lengths [..., n] Å."""
  n, ca, c, o = (positions[..., atom, :].astype(np.float64) for atom in range(4))
  here, there = bonds.pairs(bonded)
  yield 'N-CA', _distance(n, ca)
  yield 'CA-C', _distance(ca, c)
  yield 'C-O', _distance(c, o)
  yield 'C-N', _distance(c[..., here, :], n[..., there, :])


def angles(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each of `ANGLES` and its values [..., n] in degrees."""
  n, ca, c, o = (positions[..., atom, :].astype(np.float64) for atom in range(4))
  here, there = bonds.pairs(bonded)
  next_n, next_ca = n[..., there, :], ca[..., there, :]
  own_ca, own_c, own_o = (x[..., here, :] for x in (ca, c, o))
  yield 'N-CA-C', _angle(n, ca, c)
  yield 'CA-C-O', _angle(ca, c, o)
  yield 'CA-C-N', _angle(own_ca, own_c, next_n)
  yield 'O-C-N', _angle(own_o, own_c, next_n)
  yield 'C-N-CA', _angle(own_c, next_n, next_ca)
  length = positions.shape[-3]
  frames = positions.reshape(-1, length, 4, 3)
  _, _, omega = torsions.backbone_torsions(frames, bonded)
  omega = np.abs(np.rad2deg(omega[:, here])).reshape(*positions.shape[:-3], len(here))
  yield 'omega', np.minimum(omega, 180.0 - omega)


def outside(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> tuple[np.ndarray, np.ndarray]:
  """How many bonds, and how many angles, are beyond 5 sd of MD's.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.

  Returns:
    Two arrays [...] int64. What is not a number is outside.
  """

  def count(found: Iterator[tuple[str, np.ndarray]], table: dict[str, tuple[float, float]]):
    total = np.zeros(positions.shape[:-3], np.int64)
    for name, values in found:
      mean, sd = table[name]
      total += np.count_nonzero(~(np.abs(values - mean) <= NUM_SD * sd), axis=-1)
    return total

  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):  # diverged frames
    return count(lengths(positions, bonded), BONDS), count(angles(positions, bonded), ANGLES)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return np.linalg.norm(a - b, axis=-1)


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
  u, v = a - b, c - b
  cosine = np.sum(u * v, axis=-1) / (np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1))
  return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))

"""Is a frame as sound as nearly all frames of MD of the same protein? Plain numpy.

After STAR-MD (arXiv 2602.02128): limits are 99th percentiles of MD. Theirs are those of all of
ATLAS, and of MolProbity's outliers; ours are those of the reference of this protein, and of the
outliers of `ramachandran` and `rotamers`. So MD itself is 96 to 99 % valid, whatever the protein's
length, the number of frames and their time step; a prediction above that is no better.
"""

import dataclasses

import numpy as np

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.metrics import ramachandran, rotamers, torsions
from tempo_jax.metrics.kinetics import Found
from tempo_jax.metrics.superposition import CA
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

PERCENTILE = 99.0
MIN_FRAMES = 100
"""Of MD: with fewer, the 99th percentile is but the largest value."""
_PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')


@dataclasses.dataclass(frozen=True, eq=False)
class FrameValues:
  """What is judged, of each frame.

  Attributes:
    nearest_ca: [F] Å, the least distance of two CA that no peptide bond joins; inf without any.
    longest_step: [F] Å, the greatest distance of two CA that one joins; -inf without any.
    ramachandran_outliers: [F], share of the residues with phi and psi; 0 if there are none.
    rotamer_outliers: [F], share of the residues that have rotamers; None without side chains.
  """

  nearest_ca: np.ndarray
  longest_step: np.ndarray
  ramachandran_outliers: np.ndarray
  rotamer_outliers: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Limits:
  """A valid frame is within all of them.

  Attributes:
    nearest_ca: Å; least.
    longest_step: Å; greatest.
    ramachandran_outliers: share of residues; greatest.
    rotamer_outliers: the same; None without side chains.
  """

  nearest_ca: float
  longest_step: float
  ramachandran_outliers: float | None = None
  rotamer_outliers: float | None = None


CONFDIFF = Limits(nearest_ca=3.0, longest_step=3.80209737 + 0.4)
"""CA limits of all proteins, of the group's earlier code (ConfDiff, `struct_quality.py`). There, CA
that are bonded clash, too: a cis peptide (2.95 Å) does."""


@dataclasses.dataclass(frozen=True)
class ValidShares:
  """Valid frames in percent; None where a number is not defined.

  Attributes:
    ca: by both distances of CA.
    all_atom: by outliers of phi and psi and of rotamers; None for a model of backbones.
    both: by all four.
    frames_ca: [F] bool, valid by CA: what other metrics of STAR-MD count.
    frames_all_atom: [F] bool; None where `all_atom` is.
    notes: why a number is None.
  """

  ca: float
  all_atom: float | None
  both: float | None
  frames_ca: np.ndarray
  frames_all_atom: np.ndarray | None
  notes: tuple[str, ...]


def nearest_ca(positions: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds) -> np.ndarray:
  """Least distance of two CA that are not bonded neighbours.

  Args:
    positions: [F, L, 4, 3] Å.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.

  Returns:
    [F] float64 Å; inf if all are neighbours, NaN where positions are not numbers.
  """
  # Frames last: a row of distances is contiguous. float32 finds the pair, float64 measures it.
  ca = positions[:, :, CA]
  axes = np.ascontiguousarray((ca - ca.mean(axis=1, keepdims=True)).T, np.float32)  # [3, L, F]
  length, num_frames = axes.shape[1:]
  excluded = np.zeros((length, length), bool)
  here, there = bonds_lib.pairs(bonded)
  excluded[np.minimum(here, there), np.maximum(here, there)] = True
  least, whose = np.full(num_frames, np.inf, np.float32), np.zeros(num_frames, int)
  for i in range(length - 1):
    x, y, z = (axis[i + 1 :] - axis[i] for axis in axes)
    x *= x
    y *= y
    z *= z
    x += y
    x += z
    x[excluded[i, i + 1 :]] = np.inf
    nearest = x.min(axis=0)
    whose[~(nearest >= least)] = i  # Also where it is not a number.
    np.minimum(least, nearest, out=least)
  apart = np.linalg.norm(ca - ca[np.arange(num_frames), whose, None].astype(np.float64), axis=-1)
  later = np.arange(length) > whose[:, None]
  return np.min(apart, axis=1, initial=np.inf, where=later & ~excluded[whose])


def ca_distances(
  positions: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds
) -> tuple[np.ndarray, np.ndarray]:
  """What CA are judged by, of each frame.

  Args:
    positions: [F, L, 4, 3] Å.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.

  Returns:
    [F] Å each: `FrameValues.nearest_ca` and `FrameValues.longest_step`.
  """
  here, there = bonds_lib.pairs(bonded)
  step = np.linalg.norm(positions[:, there, CA] - positions[:, here, CA], axis=-1)
  return nearest_ca(positions, bonded), np.max(step, axis=-1, initial=-np.inf)


def measure(
  positions: np.ndarray,
  residue_type: np.ndarray,
  bonded: np.ndarray | bonds_lib.Bonds,
  chi: np.ndarray | None = None,
) -> FrameValues:
  """What is judged.

  Args:
    positions: [F, L, 4, 3] Å, of all replicas one after the other.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.
    chi: [F, L, 4] radians, NaN where unknown; None for a model of backbones.
  """
  residue_type = np.asarray(residue_type)
  phi, psi, _ = torsions.backbone_torsions(positions, bonded)
  outlier, judged = ramachandran.outliers(phi, psi, residue_type, bonded)
  of_rotamers = None if chi is None else rotamer_outliers(chi, residue_type)
  return FrameValues(
    *ca_distances(positions, bonded),
    np.count_nonzero(outlier, axis=1) / max(1, np.count_nonzero(judged)),
    of_rotamers,
  )


def rotamer_outliers(chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """[F] share of the residues that have rotamers, of chi [F, L, 4] radians, NaN where unknown."""
  residue_type = np.asarray(residue_type)
  staggered = side_chain_atoms.staggered_mask(residue_type)
  staggered[residue_type == _PROLINE, 0] = True
  have = (staggered & ~np.isnan(chi).all(axis=0)).any(axis=-1)
  return rotamers.outliers(chi, residue_type) / max(1, np.count_nonzero(have))


def limits_of(reference: FrameValues) -> Found[Limits]:
  """99th percentiles of MD (the 1st of `nearest_ca`).

  Args:
    reference: `measure` of MD, of all replicas together.

  Returns:
    The limits and None; or None and the reason: fewer than 100 frames.
  """
  num_frames = len(reference.nearest_ca)
  if num_frames < MIN_FRAMES:
    return None, f'{num_frames} frames of MD: the 99th percentile needs {MIN_FRAMES}'
  outliers = reference.rotamer_outliers
  return Limits(
    _percentile(reference.nearest_ca, 100.0 - PERCENTILE),
    _percentile(reference.longest_step, PERCENTILE),
    _percentile(reference.ramachandran_outliers, PERCENTILE),
    None if outliers is None else _percentile(outliers, PERCENTILE),
  ), None


def _percentile(values: np.ndarray, percent: float) -> float:
  """Between infinite values there is nothing to interpolate."""
  return float(np.percentile(values, percent)) if np.isfinite(values[0]) else float(values[0])


def valid_shares(values: FrameValues, limits: Limits) -> Found[ValidShares]:
  """Frames within the limits.

  Args:
    values: of the prediction, or of MD itself.
    limits: of MD.

  Returns:
    The shares and None; or None and the reason: no frames. `all_atom` and `both` are None where
    either side has no side chains.
  """
  if not len(values.nearest_ca):
    return None, 'there are no frames'
  with np.errstate(invalid='ignore'):  # NaN is not valid.
    ca = (values.nearest_ca >= limits.nearest_ca) & (values.longest_step <= limits.longest_step)
  share = 100.0 * float(ca.mean())
  outliers, most = values.rotamer_outliers, limits.rotamer_outliers
  if outliers is None or most is None or limits.ramachandran_outliers is None:
    note = 'all-atom validity: no side chains on one side'
    return ValidShares(share, None, None, ca, None, (note,)), None
  atoms = (values.ramachandran_outliers <= limits.ramachandran_outliers) & (outliers <= most)
  both = 100.0 * float((ca & atoms).mean())
  return ValidShares(share, 100.0 * float(atoms.mean()), both, ca, atoms, ()), None

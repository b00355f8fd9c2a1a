"""Time-lagged independent components, and the features that they are made of. Plain numpy.

`kinetics.slow_coordinates` reduces its features to few principal components first and returns
coordinates of unit variance; here are the definitions that BioKinema and MDGen compare with: no
reduction, and a kinetic map, in which a coordinate is as wide as it is slow.
"""

import dataclasses

import numpy as np
import scipy.linalg

from tempo_jax.metrics.kinetics import Found, Replicas
from tempo_jax.metrics.superposition import CA

EPSILON = 1e-6
"""Directions along which features vary less are dropped (Å^2, or squares of sines and cosines)."""
_MAX_RESIDUES = 40
_FRAMES_PER_FEATURE = 5


@dataclasses.dataclass(frozen=True, eq=False)
class Tica:
  """Components of a reversible process, and their autocorrelations.

  Attributes:
    mean: [K], of the features, over both ends of all pairs of frames.
    components: [K, D]; the coordinates have variance 1, and no correlation at lag 0.
    eigenvalues: [D], autocorrelation of each coordinate at the lag.
    lag: frames.
  """

  mean: np.ndarray
  components: np.ndarray
  eigenvalues: np.ndarray
  lag: int

  def kinetic_map(self, features: np.ndarray) -> np.ndarray:
    """Coordinates, each multiplied by its eigenvalue, which is then its standard deviation.

    Noe and Clementi, J. Chem. Theory Comput. 11, 5002 (2015).

    Args:
      features: [F, K].

    Returns:
      [F, D] float64, without unit.
    """
    return (features - self.mean) @ (self.components * self.eigenvalues)

  def leading(self, number: int) -> 'Tica':
    """Its first components."""
    return dataclasses.replace(
      self, components=self.components[:, :number], eigenvalues=self.eigenvalues[:number]
    )


def fit(features: Replicas, lag: int, *, by_magnitude: bool = False) -> Found[Tica]:
  """Reversible TICA: C(lag) v = eigenvalue C(0) v, both averaged over time and its reversal.

  Perez-Hernandez et al., J. Chem. Phys. 139, 015102 (2013). Pairs do not cross replicas. Deviations
  are from the mean of both ends; no direction whose variance is below `EPSILON` takes part.

  Args:
    features: [F, K] per replica.
    lag: frames.
    by_magnitude: order by |eigenvalue| and keep negative ones, as pyemma does, and whoever uses it.
      A negative one is noise: what is above its mean now is below it a lag later. By default only
      positive ones count, and the slowest is first.

  Returns:
    The components and None; or None and the reason: replicas shorter than the lag, features that do
    not vary, or as many of them as pairs of frames (the eigenvalues are then 1 and -1, and mean
    nothing).
  """
  long = [np.asarray(x, np.float64) for x in features if len(x) > lag]
  if not long:
    return None, f'no replica is longer than the lag of {lag} frames'
  now = np.concatenate([x[:-lag] for x in long])
  later = np.concatenate([x[lag:] for x in long])
  return of_pairs(now, later, lag, by_magnitude=by_magnitude)


def of_pairs(
  now: np.ndarray, later: np.ndarray, lag: int, *, by_magnitude: bool = False
) -> Found[Tica]:
  """`fit` of pairs of frames that are chosen otherwise.

  Args:
    now: [M, K] float64 features.
    later: [M, K], a lag later.
    lag: frames.
    by_magnitude: as for `fit`.

  Returns:
    As `fit`.
  """
  mean = 0.5 * (now.mean(axis=0) + later.mean(axis=0))
  # a'a + b'b and a'b + b'a are the sum and the difference of two squares, which BLAS takes half the
  # time for.
  middle, half_step = 0.5 * (now + later) - mean, 0.5 * (now - later)
  common, change = middle.T @ middle, half_step.T @ half_step
  instantaneous, lagged = (common + change) / len(now), (common - change) / len(now)
  variances, axes = np.linalg.eigh(instantaneous)
  varying = variances > EPSILON
  if not varying.any():
    return None, 'no feature varies'
  if np.count_nonzero(varying) >= len(now):
    return None, (
      f'{len(now)} pairs of frames {lag} frames apart are too few for {varying.sum()} features'
    )
  whitening = axes[:, varying] / np.sqrt(variances[varying])
  eigenvalues, vectors = scipy.linalg.eigh(whitening.T @ lagged @ whitening)
  order = np.argsort(-np.abs(eigenvalues) if by_magnitude else -eigenvalues, kind='stable')
  if not by_magnitude:
    order = order[eigenvalues[order] > 0.0]
  if not len(order):
    return None, f'nothing stays correlated for {lag} frames'
  components = whitening @ vectors[:, order]
  largest = np.abs(components).argmax(axis=0)
  components *= np.sign(components[largest, np.arange(len(order))])
  return Tica(mean, components, eigenvalues[order], lag), None


def num_holding(eigenvalues: np.ndarray, share: float = 0.95) -> int:
  """How many components hold this share of the kinetic variance, the sum of squared eigenvalues."""
  held = np.cumsum(eigenvalues**2)
  return int(np.searchsorted(held, share * held[-1]) + 1)


def spaced_residues(num_residues: int, num_frames: int) -> np.ndarray:
  """Residues evenly spaced along the chain, so few that five frames come on each distance.

  BioKinema's choice: m = sqrt(2 F / 5), at most 40 and at most all.

  Args:
    num_residues: L.
    num_frames: F, of all replicas of the reference.

  Returns:
    [m] ascending.
  """
  number = min(num_residues, int(np.sqrt(2 * num_frames / _FRAMES_PER_FEATURE)), _MAX_RESIDUES)
  return np.linspace(0, num_residues - 1, number).astype(int)


def ca_distances(positions: np.ndarray, residues: np.ndarray) -> np.ndarray:
  """All distances between the CA of some residues.

  Args:
    positions: [F, L, 4, 3] Å.
    residues: [m], from `spaced_residues`.

  Returns:
    [F, m (m - 1) / 2] float64 Å, in the order (0, 1), (0, 2), ..., (1, 2), ...
  """
  ca = positions[:, residues, CA].astype(np.float64)
  first, second = np.triu_indices(len(residues), 1)
  return np.linalg.norm(ca[:, first] - ca[:, second], axis=-1)


def cosines_and_sines(angles: np.ndarray) -> np.ndarray:
  """Features of torsions that know no jump at 180°.

  Args:
    angles: [F, K] radians; columns with NaN are left out.

  Returns:
    [F, 2 K'] float64: all cosines, then all sines.
  """
  there = angles[:, ~np.isnan(angles).any(axis=0)].astype(np.float64)
  return np.concatenate([np.cos(there), np.sin(there)], axis=1)

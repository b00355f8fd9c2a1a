"""How far the conformations of two ensembles are distributed alike. Plain numpy.

"Superposed" are positions that `superposition.superpose` has moved onto one native structure.
Where a metric compares histograms, it says divergence: the Jensen-Shannon divergence, to base 2,
0 (equal) to 1 (disjoint), not its square root, which some call distance.
"""

import dataclasses

import numpy as np
from scipy import linalg, optimize, spatial, special
from scipy.spatial import distance

from tempo_jax import extras

DISTANCE_BINS = 40
TORSION_BINS = 36
MAX_W2_POINTS = 3000
"""Of each side of a W2: 1.4 s and 0.6 GiB for as many on both. More frames are merged into so many
cells. Half as many cells as frames (2,500, of 25 ns) change 0.208 to 0.209 Å in halves of trp-cage,
0.082 to 0.089 Å in those of pentalanine; every second frame instead, to 0.208 and 0.115 Å."""

_FEW = 500  # Points, up to which linear assignment is as fast as the simplex.
_CA = 1
_STILL = 1e-8  # Å^2; an ensemble whose leading variance is below this does not move.


@dataclasses.dataclass(frozen=True)
class RootMeanW2:
  """Distance between Gaussians, atom by atom, Å; total^2 = translation^2 + variance^2.

  Attributes:
    total: root of the mean squared 2-Wasserstein distance.
    translation: the part of the means alone.
    variance: the part of the covariances alone.
  """

  total: float
  translation: float
  variance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussians:
  """Of the positions of each atom.

  Attributes:
    mean: [..., 3] Å.
    covariance: [..., 3, 3] Å^2, as means over frames.
  """

  mean: np.ndarray
  covariance: np.ndarray

  @classmethod
  def fit(cls, superposed: np.ndarray) -> 'Gaussians':
    """To [F, ..., 3] Å."""
    mean = superposed.mean(axis=0, dtype=np.float64)
    deviation = superposed - mean
    covariance = np.empty((*mean.shape, 3))
    for x in range(3):
      for y in range(x, 3):
        product = np.einsum('f...,f...->...', deviation[..., x], deviation[..., y])
        covariance[..., x, y] = covariance[..., y, x] = product / len(superposed)
    return cls(mean, covariance)

  @property
  def rmsf(self) -> np.ndarray:
    """[...] Å, `flexibility.rmsf` of the same positions."""
    return np.sqrt(np.trace(self.covariance, axis1=-2, axis2=-1))

  def of(self, chosen: np.ndarray) -> 'Gaussians':
    """Some of the atoms."""
    return Gaussians(self.mean[chosen], self.covariance[chosen])


def root_mean_w2(a: np.ndarray, b: np.ndarray) -> RootMeanW2:
  """2-Wasserstein distance of 3-D Gaussians fitted to each atom, root of the mean over atoms.

  W2^2 = |mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2) (paper, section 9; AlphaFlow).

  Args:
    a: [F, ..., 3] superposed Å; AlphaFlow: all backbone atoms, 1,000 reference frames.
    b: [G, ..., 3] superposed Å, the same atoms; the result is symmetric.
  """
  return root_mean_w2_of(Gaussians.fit(a), Gaussians.fit(b))


def root_mean_w2_of(a: Gaussians, b: Gaussians) -> RootMeanW2:
  """`root_mean_w2` of the Gaussians themselves, of the same atoms."""
  s_a, s_b = a.covariance, b.covariance
  translation = np.sum((a.mean - b.mean) ** 2, axis=-1)
  values, vectors = np.linalg.eigh(s_a)
  root = (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
  # S S' and S^1/2 S' S^1/2 have the same eigenvalues; the latter is symmetric.
  crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ s_b @ root), 0.0)).sum(axis=-1)
  variance = np.trace(s_a + s_b, axis1=-2, axis2=-1) - 2.0 * crossed
  squares = float(np.mean(translation)), max(0.0, float(np.mean(variance)))
  return RootMeanW2(float(np.sqrt(sum(squares))), *map(float, np.sqrt(squares)))


@dataclasses.dataclass(frozen=True, eq=False)
class Pca:
  """Principal components of CA coordinates.

  Attributes:
    mean: [L, 3] Å.
    components: [K, 3 L], orthonormal rows, the leading one first; the largest entry of each is
      positive.
    variances: [K] Å^2 along them, as means over frames.
  """

  mean: np.ndarray
  components: np.ndarray
  variances: np.ndarray

  @classmethod
  def fit(cls, *ensembles: np.ndarray, num_components: int = 2) -> 'Pca':
    """Fits one or several ensembles together.

    Several weigh the same however many frames each has; AlphaFlow's joint PCA draws as many
    reference frames as there are predicted ones, which comes to the same.

    Args:
      *ensembles: [F, L, 3] Å each, CA atoms, superposed by CA on the same native structure.
      num_components: K, at most 3 L.
    """
    weights = [1.0 / (len(ensembles) * len(x)) for x in ensembles]
    mean = sum(w * x.sum(axis=0, dtype=np.float64) for w, x in zip(weights, ensembles, strict=True))
    covariance = np.zeros((mean.size, mean.size))
    for w, x in zip(weights, ensembles, strict=True):
      deviation = (x - mean).reshape(len(x), -1)
      covariance += w * (deviation.T @ deviation)
    size = len(covariance)
    values, vectors = linalg.eigh(covariance, subset_by_index=(size - num_components, size - 1))
    components = vectors[:, ::-1].T
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, None]
    return cls(mean, components, np.maximum(values[::-1], 0.0))

  def project(self, ca: np.ndarray) -> np.ndarray:
    """Coordinates [F, K] in Å along the components of superposed CA atoms [F, L, 3] Å."""
    return (ca - self.mean).reshape(len(ca), -1) @ self.components.T


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
  """2-Wasserstein distance of two sets of points, each point of a set weighing the same.

  Exact: by linear assignment (scipy) of few points that are as many, else by the network simplex
  (POT), which takes a third of its time for 2,500 and 2,500. Of a set of more than `MAX_W2_POINTS`
  nearest ones are merged.

  Args:
    a: [n, K].
    b: [m, K].

  Returns:
    A distance, in the unit of the points.
  """
  if len(a) == len(b) <= _FEW:
    squares = distance.cdist(a, b, 'sqeuclidean')
    return float(np.sqrt(squares[optimize.linear_sum_assignment(squares)].mean()))
  ot = extras.require('ot', 'evaluate')
  (a, mass_a), (b, mass_b) = map(_merged, (a, b))
  squares = distance.cdist(a, b, 'sqeuclidean')
  return float(np.sqrt(ot.emd2(mass_a, mass_b, squares, numItermax=10_000_000)))


def _merged(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """At most `MAX_W2_POINTS` [n, K], and the share [n] of the points that each stands for.

  A point belongs to the nearest of so many evenly spaced ones; where they are, is the mean of those
  that belong together. No W2 changes by more than the root of their mean square distance to it.
  """
  if len(points) <= MAX_W2_POINTS:
    return points, np.full(len(points), 1.0 / len(points))
  centers = points[np.linspace(0, len(points) - 1, MAX_W2_POINTS).round().astype(int)]
  _, cell = spatial.cKDTree(centers).query(points)
  counts = np.bincount(cell)
  some = counts > 0
  sums = [np.bincount(cell, x)[some] for x in points.T]
  return np.stack(sums, axis=1) / counts[some, None], counts[some] / len(points)


def pca_w2(pca: Pca, a: np.ndarray, b: np.ndarray) -> float:
  """2-Wasserstein distance on the leading two principal components (paper; AlphaFlow).

  MD PCA W2: `pca` is fitted on all reference frames; joint PCA W2: on reference and prediction.

  Args:
    pca: of at least two components.
    a: [n, L, 3] superposed CA atoms, Å.
    b: [m, L, 3], alike; AlphaFlow draws as many reference frames as there are predicted ones.

  Returns:
    Å; divided by the root of the number of CA atoms, as an RMSD is.
  """
  distance_2d = wasserstein(pca.project(a)[:, :2], pca.project(b)[:, :2])
  return distance_2d / float(np.sqrt(a.shape[1]))


def pc_sim(a: Pca, b: Pca) -> float:
  """Absolute cosine of the leading components of two ensembles (AlphaFlow).

  Returns:
    0 to 1; NaN where one of them does not move.
  """
  if min(a.variances[0], b.variances[0]) < _STILL:
    return float('nan')
  return min(1.0, abs(float(a.components[0] @ b.components[0])))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Jensen-Shannon divergence of histograms, to base 2.

  Args:
    p: [..., bins] counts or shares, not all 0.
    q: [..., bins].

  Returns:
    [...] 0 to 1; symmetric.
  """
  p = p / p.sum(axis=-1, keepdims=True)
  q = q / q.sum(axis=-1, keepdims=True)
  middle = 0.5 * (p + q)
  divergence = special.rel_entr(p, middle) + special.rel_entr(q, middle)
  return 0.5 * divergence.sum(axis=-1) / np.log(2.0)


def js_distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
  """Jensen-Shannon distance of histograms: root of the divergence in natural units (scipy).

  What ConfRover, STAR-MD, MDGen and JAMUN compute and call JSD: sqrt(ln 2 x `jensen_shannon`).

  Args:
    p: [..., bins] counts or shares, not all 0.
    q: [..., bins].

  Returns:
    [...] 0 (equal) to 0.8326 (disjoint).
  """
  return np.sqrt(np.log(2.0) * np.maximum(jensen_shannon(p, q), 0.0))


def _counts(bins: np.ndarray, num_bins: int) -> np.ndarray:
  """[n, num_bins]: how often each bin occurs in the rows of bins [n, F]."""
  rows = num_bins * np.arange(len(bins))[:, None]
  return np.bincount((bins + rows).ravel(), minlength=num_bins * len(bins)).reshape(-1, num_bins)


def ca_distance_jsd(a: np.ndarray, b: np.ndarray) -> float:
  """Jensen-Shannon divergence of CA-CA distances, mean over all pairs of residues.

  Base 2; 40 bins of equal width over the range that a pair has in both ensembles together. Few
  frames raise it: compare it with that between halves of the reference of as many frames. Memory
  grows as the CA atoms: the distances of one residue at a time.

  Args:
    a: [F, L, 4, 3] Å; superposition does not matter.
    b: [G, L, 4, 3] Å.

  Returns:
    0 to 1; NaN for a single residue.
  """
  # Frames last: a row of distances is contiguous. About their mean float32 is exact enough.
  a, b = (
    np.ascontiguousarray((x[:, :, _CA] - x[:, :, _CA].mean(axis=1, keepdims=True)).T, np.float32)
    for x in (a, b)
  )  # [3, L, F]
  length = a.shape[1]
  if length < 2:
    return float('nan')
  total = 0.0
  for i in range(length - 1):
    rows = []
    for x, y, z in (axes[:, i + 1 :] - axes[:, i : i + 1] for axes in (a, b)):
      rows.append(np.sqrt(x * x + y * y + z * z))
    low = np.minimum(*(row.min(axis=1) for row in rows))
    width = np.maximum(*(row.max(axis=1) for row in rows)) - low
    scale = np.divide(DISTANCE_BINS, width, out=np.zeros_like(width), where=width > 0.0)
    counts = []
    for row in rows:
      bins = ((row - low[:, None]) * scale[:, None]).astype(np.int64)
      counts.append(_counts(np.minimum(bins, DISTANCE_BINS - 1, out=bins), DISTANCE_BINS))
    total += float(np.sum(jensen_shannon(*counts)))
  return total / (length * (length - 1) / 2)


def _circular_bins(angles: np.ndarray) -> np.ndarray:
  """Bin 0 to 35 of each angle in radians."""
  turns = angles / (2.0 * np.pi) + 0.5
  return np.floor(turns * TORSION_BINS).astype(np.int64) % TORSION_BINS


def torsion_jsd(a: np.ndarray, b: np.ndarray) -> float:
  """Jensen-Shannon divergence of torsions, mean over all of them.

  Base 2; 36 bins of 10° around the circle.

  Args:
    a: [F, L, 2] radians: phi and psi from `torsions.backbone_torsions`, stacked; NaN in all
      frames where there is none.
    b: [G, L, 2] radians, of the same protein.

  Returns:
    0 to 1; NaN where there is no torsion.
  """
  there = ~np.isnan(a[0])
  if not there.any():
    return float('nan')
  counts = (_counts(_circular_bins(x[:, there]).T, TORSION_BINS) for x in (a, b))
  return float(np.mean(jensen_shannon(*counts)))


def ramachandran_jsd(a: np.ndarray, b: np.ndarray) -> float:
  """Jensen-Shannon divergence of (phi, psi), mean over the residues that have both.

  Base 2; 36 x 36 bins of 10°. Arguments and result are those of `torsion_jsd`.
  """
  there = ~np.isnan(a[0]).any(axis=-1)
  if not there.any():
    return float('nan')
  counts = []
  for x in (a, b):
    phi, psi = (_circular_bins(x[:, there, k]).T for k in range(2))
    counts.append(_counts(TORSION_BINS * phi + psi, TORSION_BINS**2))
  return float(np.mean(jensen_shannon(*counts)))

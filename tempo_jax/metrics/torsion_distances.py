"""Distances between distributions of torsions, and how fast torsions forget. After MDGen and JAMUN.

MDGen: Jing et al., arXiv 2409.17808, `analyze_peptide_sim.py`; means over torsions as JAMUN takes
them. "JSD" there is the *distance*: root of the divergence, natural logarithm, 0 to 0.8326. Where
MDGen looks at two torsions, it pairs psi of one residue with phi of another; here, as in JAMUN,
both are of one residue. Angles are not folded: a benzene ring that is turned over counts as another
chi2, though its atoms are where they were (`side_chains.chi_jsd` folds).
"""

import dataclasses

import numpy as np
import scipy.fft

from tempo_jax.metrics import distribution
from tempo_jax.metrics.kinetics import Found, Replicas

NUM_BINS = 100
"""From -pi to pi, of one torsion."""
NUM_BINS_2D = 50
"""Along each of phi and psi."""
DECORRELATED = np.exp(-1.0)
"""A torsion has forgotten where its autocorrelation first falls below this (JAMUN)."""
_BLOCK = 16  # Torsions whose histograms or spectra are in memory at a time.
_RESTS = 1e-10  # 1 - m below this: the torsion does not move.


@dataclasses.dataclass(frozen=True, eq=False)
class TorsionDistances:
  """Jensen-Shannon distances of torsions, 0 to 0.8326; a mean is None where there is no torsion.

  Attributes:
    backbone: mean over phi and psi.
    side_chain: mean over chi; None for a model of backbones.
    all: mean over all of these: residues with long side chains weigh more.
    phi_psi: mean over residues, in two dimensions.
    of_backbone: [L, 2] phi and psi, NaN where there is none.
    of_chi: [L, N], alike; None without chi.
    of_phi_psi: [L], alike.
    notes: why a mean is None.
  """

  backbone: float | None
  side_chain: float | None
  all: float | None
  phi_psi: float | None
  of_backbone: np.ndarray
  of_chi: np.ndarray | None
  of_phi_psi: np.ndarray
  notes: tuple[str, ...]


def _bins(angles: np.ndarray, num_bins: int) -> np.ndarray:
  """Bin of angles in radians; pi, also if rounded up, belongs to the last one."""
  turns = np.asarray(angles, np.float64) / (2.0 * np.pi) + 0.5
  return np.clip(np.floor(turns * num_bins).astype(np.int64), 0, num_bins - 1)


def _distances(a: np.ndarray, b: np.ndarray, num_bins: int) -> np.ndarray:
  """[n] distances of bins a [F, n] and b [G, n]."""
  found = np.empty(a.shape[1])
  for start in range(0, a.shape[1], _BLOCK):
    block = slice(start, start + _BLOCK)
    counts = (_counts(bins[:, block], num_bins) for bins in (a, b))
    found[block] = distribution.js_distance(*counts)
  return found


def _counts(bins: np.ndarray, num_bins: int) -> np.ndarray:
  """[n, num_bins] of bins [F, n]."""
  width = bins.shape[1]
  flat = (bins + num_bins * np.arange(width)).ravel()
  return np.bincount(flat, minlength=num_bins * width).reshape(width, num_bins)


def histograms(angles: np.ndarray) -> np.ndarray:
  """Counts of each torsion in 100 bins, for those who compare one side with several.

  Args:
    angles: [F, ...] radians, -pi to pi.

  Returns:
    [..., 100] int64; 0 of angles that are unknown in some frame.
  """
  there = ~np.isnan(angles).any(axis=0)
  found = np.zeros((*there.shape, NUM_BINS), np.int64)
  found[there] = _counts(_bins(angles[:, there], NUM_BINS), NUM_BINS)
  return found


def js_distances_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """`js_distances` of `histograms` [..., 100]."""
  there = a.any(axis=-1) & b.any(axis=-1)
  found = np.full(there.shape, np.nan)
  found[there] = distribution.js_distance(a[there], b[there])
  return found


def js_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Distance of each torsion, 100 bins.

  Few frames raise it: two draws of n frames from the same distribution are some root of
  (occupied bins / 4 n) apart.

  Args:
    a: [F, ...] radians, -pi to pi.
    b: [G, ...] radians, the same torsions.

  Returns:
    [...] 0 to 0.8326; NaN where an angle is unknown in some frame of either.
  """
  found = np.full(a.shape[1:], np.nan)
  there = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
  ours, theirs = (_bins(x[:, there], NUM_BINS) for x in (a, b))
  found[there] = _distances(ours, theirs, NUM_BINS)
  return found


def phi_psi_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Distance of each residue's (phi, psi), 50 x 50 bins.

  Args:
    a: [F, L, 2] radians, phi and psi.
    b: [G, L, 2] radians.

  Returns:
    [L] 0 to 0.8326; NaN for residues that lack one of both.
  """
  found = np.full(a.shape[1], np.nan)
  there = ~(np.isnan(a).any(axis=(0, 2)) | np.isnan(b).any(axis=(0, 2)))
  cells = []
  for x in (a, b):
    bins = _bins(x[:, there], NUM_BINS_2D)
    cells.append(NUM_BINS_2D * bins[..., 0] + bins[..., 1])
  found[there] = _distances(cells[0], cells[1], NUM_BINS_2D**2)
  return found


def torsion_distances(
  prediction: np.ndarray,
  reference: np.ndarray,
  prediction_chi: np.ndarray | None = None,
  reference_chi: np.ndarray | None = None,
) -> Found[TorsionDistances]:
  """All of them.

  Args:
    prediction: [F, L, 2] radians: phi and psi from `torsions.backbone_torsions`, stacked; NaN in
      all frames where there is none.
    reference: [G, L, 2] radians, of the same protein.
    prediction_chi: [F, L, N] radians, NaN where a residue has no such chi or it is unknown; None
      for a model of backbones. MDGen counts chi1 to chi5.
    reference_chi: [G, L, N] radians, alike.

  Returns:
    What was found and None; or None and the reason: a side without frames, or no torsion at all.
  """
  if not (len(prediction) and len(reference)):
    return None, 'one side has no frames'
  of_backbone = js_distances(prediction, reference)
  of_phi_psi = phi_psi_distances(prediction, reference)
  of_chi = None
  if prediction_chi is not None and reference_chi is not None:
    of_chi = js_distances(prediction_chi, reference_chi)
  groups = [of_backbone] if of_chi is None else [of_backbone, of_chi]
  pooled = np.concatenate([x.ravel() for x in groups])
  backbone, phi_psi, everything = map(_mean, (of_backbone, of_phi_psi, pooled))
  side_chain = None if of_chi is None else _mean(of_chi)
  if everything is None:
    return None, 'no torsion is known on both sides'
  notes = []
  if backbone is None:
    notes.append('torsions of the backbone: no residue has one')
  if phi_psi is None:
    notes.append('phi and psi together: no residue has both')
  if of_chi is None:
    notes.append('side-chain torsions: one side has no side chains')
  elif side_chain is None:
    notes.append('side-chain torsions: no residue has one that is known on both sides')
  return TorsionDistances(
    backbone, side_chain, everything, phi_psi, of_backbone, of_chi, of_phi_psi, tuple(notes)
  ), None


def _mean(values: np.ndarray) -> float | None:
  there = values[~np.isnan(values)]
  return float(there.mean()) if there.size else None


def decorrelation(replicas: Replicas, num_lags: int | None = None) -> Found[np.ndarray]:
  """How each torsion forgets where it was (MDGen).

  C(k) = (<cos(phi(t + k) - phi(t))> - m) / (1 - m), m = <cos phi>^2 + <sin phi>^2 of all frames of
  the same side, the first average over pairs of frames of one replica. Unlike
  `kinetics.torsion_autocorrelation`, the mean is taken off after averaging, and every torsion has a
  curve of its own. A series that does not come back where it began ends above 0.

  Args:
    replicas: [F, K] radians each, no NaN.
    num_lags: up to which lag; default: half of the longest replica.

  Returns:
    C [num_lags + 1, K], 1 at lag 0, NaN in columns of torsions that rest, and None; or None and the
    reason.
  """
  longest = max(map(len, replicas), default=0)
  num_lags = longest // 2 if num_lags is None else num_lags
  if longest < 2 or num_lags >= longest:
    return None, f'{longest} frames are too few for {max(num_lags, 1)} lags'
  lags = np.arange(num_lags + 1)
  num_pairs = np.sum([np.maximum(len(x) - lags, 0) for x in replicas], axis=0)
  padded = scipy.fft.next_fast_len(longest + num_lags)
  num_torsions = replicas[0].shape[1]
  curves = np.full((num_lags + 1, num_torsions), np.nan)
  for start in range(0, num_torsions, _BLOCK):
    block = slice(start, start + _BLOCK)
    circle = [np.exp(1j * np.asarray(x[:, block], np.float64)) for x in replicas]
    resting = np.abs(np.concatenate(circle).mean(axis=0)) ** 2
    total = np.zeros((num_lags + 1, len(resting)))
    for z in circle:
      power = np.abs(scipy.fft.fft(z, padded, axis=0)) ** 2
      total += scipy.fft.ifft(power, axis=0).real[: num_lags + 1]
    moves = 1.0 - resting > _RESTS
    m = resting[moves]
    found = np.full(total.shape, np.nan)
    found[:, moves] = (total[:, moves] / num_pairs[:, None] - m) / (1.0 - m)
    curves[:, block] = found
  if np.isnan(curves).all():
    return None, 'no torsion moves'
  return curves, None


def decorrelation_lags(curves: np.ndarray) -> np.ndarray:
  """The first lag at which each curve is below 1/e (JAMUN).

  Args:
    curves: [num_lags + 1, K] from `decorrelation`.

  Returns:
    [K] int64 frames; -1 where it stays above, or where the torsion rests.
  """
  below = curves < DECORRELATED  # False for NaN.
  return np.where(below.any(axis=0), below.argmax(axis=0), -1)

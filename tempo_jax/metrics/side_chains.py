"""How side chains are distributed, where they are right, and how they move. Plain numpy.

chi are [F, L, 4] radians of F frames and L residues; what a residue type lacks is not looked at,
and a chi that is NaN in any frame is unknown. `rotamer_changes` counts changes between wells.

Divergence is that of `distribution.jensen_shannon`: to base 2, 0 (equal) to 1 (disjoint). MDGen's
torsion JSD is a distance, root of the divergence in natural units, from 100 bins, of chi that are
not folded to their period.
"""

from collections.abc import Sequence

import numpy as np

from tempo_jax.metrics import distribution, kinetics
from tempo_jax.protein import side_chain_atoms

NUM_BINS = 36
NEAR = np.deg2rad(40.0)
"""Rotamers are counted as right within 40° (SCWRL4: Krivov et al., Proteins 77, 778 (2009))."""
JUMP = np.deg2rad(60.0)


def known(chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """[L, 4] bool: the residue has this chi, and it is a number in all frames [F, L, 4]."""
  return side_chain_atoms.chi_mask(residue_type) & ~np.isnan(chi).any(axis=0)


def difference(a: np.ndarray, b: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """The shorter way from b to a on each chi's own circle.

  Args:
    a: [..., L, 4] radians.
    b: [..., L, 4] radians.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [..., L, 4] radians, at most half of the chi's period: a quarter turn for symmetric ends.
  """
  period = side_chain_atoms.chi_period(residue_type)
  return a - b - period * np.round((a - b) / period)


def chi_jsd(a: np.ndarray, b: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """Jensen-Shannon divergence of each chi.

  Base 2; 36 bins over the period, 10° of a whole turn or 5° of half a turn. Few frames raise it:
  compare equally many, and with `floor`.

  Args:
    a: [F, L, 4] radians.
    b: [G, L, 4] radians, of the same protein.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4] 0 to 1; NaN where a residue has no such chi, or it is unknown in either.
  """
  return chi_jsd_of(*(chi_histograms(chi, residue_type) for chi in (a, b)))


def chi_jsd_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """`chi_jsd` of `chi_histograms` [L, 4, 36], for those who compare one side with several."""
  there = a.any(axis=-1) & b.any(axis=-1)
  found = np.full(there.shape, np.nan)
  found[there] = distribution.jensen_shannon(a[there], b[there])
  return found


def chi_histograms(chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """Counts of each chi over its period.

  Args:
    chi: [F, L, 4] radians.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4, 36] int64; 0 where a residue has no such chi, or it is unknown.
  """
  there = known(chi, residue_type)
  found = np.zeros((*there.shape, NUM_BINS), np.int64)
  if there.any():
    period = side_chain_atoms.chi_period(residue_type)[there]
    found[there] = histograms(chi[:, there], period)
  return found


def histograms(chi: np.ndarray, period: np.ndarray) -> np.ndarray:
  """Counts over the period, from 0.

  Args:
    chi: [F, n] radians, no NaN.
    period: [n] radians, of each.

  Returns:
    [n, 36] int64.
  """
  bins = np.floor(NUM_BINS * (chi / period)).astype(np.int64) % NUM_BINS
  return np.stack([np.bincount(column, minlength=NUM_BINS) for column in bins.T])


def floor(reference: Sequence[np.ndarray], residue_type: np.ndarray) -> np.ndarray:
  """`chi_jsd` of MD by MD: of the halves of each replica, first and second, mean over replicas.

  It holds for comparisons of half as many frames as a replica has.

  Args:
    reference: replicas, [F, L, 4] radians, of four frames at least.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [L, 4], as `chi_jsd`.
  """
  halves = [np.array_split(chi, 2) for chi in reference]
  return np.mean([chi_jsd(first, second, residue_type) for first, second in halves], axis=0)


def mean_of(values: np.ndarray, number: int) -> float:
  """Mean over the residues that have it.

  Args:
    values: [L, 4], NaN where there is none.
    number: 1 for chi1, to 4.

  Returns:
    NaN if no residue has it.
  """
  column = values[:, number - 1]
  there = ~np.isnan(column)
  return float(column[there].mean()) if there.any() else float('nan')


def share_near(
  chi: np.ndarray, reference: np.ndarray, residue_type: np.ndarray, number: int = 1
) -> float:
  """Share of residues and frames whose chi is within 40° of the reference's in the same frame.

  Args:
    chi: [F, L, 4] radians.
    reference: [F, L, 4] radians, or [1, L, 4], the same for all frames.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    number: which chi, 1 to 4.

  Returns:
    0 to 1; NaN if no residue has it in both.
  """
  there = (known(chi, residue_type) & known(reference, residue_type))[:, number - 1]
  if not there.any():
    return float('nan')
  apart = np.abs(difference(chi, reference, residue_type))[:, there, number - 1]
  return float(np.mean(apart <= NEAR))


def share_jumps(chi: np.ndarray, residue_type: np.ndarray, number: int = 1) -> float:
  """Share of residues and steps in which a chi moves by more than 60° from frame to frame.

  It grows with the time between frames, and counts recrossings: `rotamer_changes.changes` does not.

  Args:
    chi: [F, L, 4] radians.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    number: which chi, 1 to 4.

  Returns:
    0 to 1; NaN for a single frame, or if no residue has it.
  """
  there = known(chi, residue_type)[:, number - 1]
  if len(chi) < 2 or not there.any():
    return float('nan')
  step = np.abs(difference(chi[1:], chi[:-1], residue_type))[:, there, number - 1]
  return float(np.mean(step > JUMP))


def autocorrelation(
  replicas: Sequence[np.ndarray], residue_type: np.ndarray, num_lags: int | None = None
) -> kinetics.Found[np.ndarray]:
  """That of chi1, mean over the residues whose chi1 moves.

  C(k) = (<cos(chi(t) - chi(t + k))> - m) / (1 - m), m = |<exp(i chi)>|^2 being what remains at long
  lags, of the same series (MDGen's normalisation, see `kinetics.torsion_autocorrelation`).

  Args:
    replicas: [F, L, 4] radians each.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    num_lags: up to which lag; default: half of the longest replica.

  Returns:
    C [num_lags + 1] and None; or None and the reason.
  """
  there = np.all([known(chi, residue_type)[:, 0] for chi in replicas], axis=0)
  return kinetics.torsion_autocorrelation([chi[:, there, 0] for chi in replicas], num_lags)


def correlation_time(correlation: np.ndarray, dt_ns: float) -> float:
  """Integral of an autocorrelation up to where it first falls to 0, by trapezoids.

  Beyond, noise: of a series about its own mean it is below 0 somewhere. It depends on the length of
  the series, so compare series of one length.

  Args:
    correlation: [K] at lags 0, 1, ..., 1 at lag 0.
    dt_ns: between lags, ns.

  Returns:
    ns; to the last lag, if it stays above 0.
  """
  below = np.flatnonzero(correlation <= 0.0)
  if not below.size:
    return float(dt_ns * np.trapezoid(correlation))
  last = int(below[0])
  before, after = correlation[last - 1], correlation[last]
  whole = np.trapezoid(correlation[:last])
  return float(dt_ns * (whole + 0.5 * before * before / (before - after)))


def decorrelation(
  replicas: Sequence[np.ndarray], residue_type: np.ndarray, lag: int
) -> kinetics.Found[float]:
  """How far chi1 has turned after a lag: 1 - <cos(chi(t) - chi(t + lag))>.

  Mean over all residues that have one, and over all pairs of frames; no long-time limit is taken
  off, so that it can be compared between short series.

  Args:
    replicas: [F, L, 4] radians each.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    lag: frames, 1 at least.

  Returns:
    0 to 2 and None; or None and the reason.
  """
  there = np.all([known(chi, residue_type)[:, 0] for chi in replicas], axis=0)
  turned = [
    1.0 - np.cos(chi[lag:, there, 0] - chi[:-lag, there, 0]) for chi in replicas if len(chi) > lag
  ]
  if not turned:
    return None, f'no replica has more than {lag} frames'
  if not there.any():
    return None, 'no residue has chi1'
  return float(np.mean(np.concatenate(turned))), None

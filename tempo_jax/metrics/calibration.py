"""Rollouts against held-out MD: are fluctuations and motions as large?

One function per number, and `measure` for all of them. Plain numpy. A series is a list of replicas
[F, L, 4, 3] Å (N, CA, C, O) of one protein; prediction and MD have the same time step, and lengths
may differ. The floor of every number is its value for other MD of the protein in place of the
prediction.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tempo_jax.geometry import bonds
from tempo_jax.metrics import distribution, flexibility, kinetics, torsions, validity
from tempo_jax.metrics.superposition import CA, superpose_points

Series = Sequence[np.ndarray]


def evenly(frames: np.ndarray, count: int) -> np.ndarray:
  """`count` of the frames [F, ...], evenly from the first to the last; all if there are fewer.

  Histograms of few frames differ more, so compare equally many frames only.
  """
  if count >= len(frames):
    return frames
  return frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]


def ca_distance_jsd(predicted: np.ndarray, reference: np.ndarray, count: int) -> float:
  """`distribution.ca_distance_jsd` of equally many frames of both.

  Args:
    predicted: [F, L, 4, 3] Å.
    reference: [G, L, 4, 3] Å.
    count: frames to compare, at most; fewer where F or G is smaller.

  Returns:
    0 to 1, bits.
  """
  count = min(count, len(predicted), len(reference))
  return distribution.ca_distance_jsd(evenly(predicted, count), evenly(reference, count))


def spread_ratio(predicted: np.ndarray, reference: np.ndarray) -> float:
  """`flexibility.ca_distance_spread` of [F, L, 4, 3], as a ratio to that of [G, L, 4, 3]."""
  return _ratio(*map(flexibility.ca_distance_spread, (predicted, reference)))


def step_ratio(predicted: Series, reference: Series) -> float:
  """Mean CA-RMSD between successive frames after superposition, as a ratio to MD's."""
  return _ratio(*(_mean_step(series) for series in (predicted, reference)))


def _mean_step(series: Series) -> float:
  return _mean(np.concatenate([flexibility.step_lengths(x) for x in series]))


@dataclasses.dataclass(frozen=True)
class Chain:
  """The peptide bonds of a set of frames; extremes over bonds and frames, Å.

  Attributes:
    min_ca_ca: CA-CA of bonded neighbours.
    max_ca_ca: the same.
    max_c_n: C-N of bonded neighbours.
    outside_ca_ca: share of frames with a CA-CA outside 2.8 to 4.2 Å, or not a number.
    outside_c_n: share of frames with a C-N above 1.7 Å, or not a number.
    broken: share of frames with either.
  """

  min_ca_ca: float
  max_ca_ca: float
  max_c_n: float
  outside_ca_ca: float
  outside_c_n: float
  broken: float


def chain(positions: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> Chain:
  """Measures the peptide bonds of frames [F, L, 4, 3] Å; bonded [L] bool, or `Bonds`."""
  with np.errstate(invalid='ignore', over='ignore'):
    low, high = validity.ca_ca_range(positions, bonded)
    c_n = validity.c_n_max(positions, bonded)
  least, greatest = validity.CLOSED_CA_CA
  # Comparisons with NaN are False.
  wide = ~((low >= least) & (high <= greatest))
  open_ = ~(c_n <= validity.CLOSED_C_N)
  return Chain(
    min_ca_ca=float(low.min()),
    max_ca_ca=float(high.max()),
    max_c_n=float(c_n.max()),
    outside_ca_ca=_mean(wide),
    outside_c_n=_mean(open_),
    broken=_mean(wide | open_),
  )


def phi_psi(positions: np.ndarray, bonded: np.ndarray | bonds.Bonds) -> np.ndarray:
  """[F, L, 2] radians of positions [F, L, 4, 3] Å; NaN where a residue has no such torsion."""
  phi, psi, _ = torsions.backbone_torsions(positions, bonded)
  return np.stack([phi, psi], axis=-1)


def ramachandran_jsd(
  predicted: np.ndarray, reference: np.ndarray, bonded: np.ndarray | bonds.Bonds, count: int
) -> float:
  """Divergence of (phi, psi), 36 x 36 bins, mean over the residues that have both.

  Args:
    predicted: [F, L, 4, 3] Å.
    reference: [G, L, 4, 3] Å.
    bonded: [L] bool, or `Bonds`.
    count: see `ca_distance_jsd`.

  Returns:
    0 to 1, bits; NaN where no residue has both.
  """
  count = min(count, len(predicted), len(reference))
  angles = (phi_psi(evenly(x, count), bonded) for x in (predicted, reference))
  return distribution.ramachandran_jsd(*angles)


def slowest_time_scale(
  series: Series, bonded: np.ndarray | bonds.Bonds, dt_ns: float, lag_ns: float
) -> float | None:
  """The longest implied time scale of TICA on sines and cosines of phi and psi.

  Every series defines its own slow coordinates (`kinetics.slow_coordinates`).

  Args:
    series: [F, L, 4, 3] Å per replica.
    bonded: [L] bool, or `Bonds`.
    dt_ns: between frames, ns.
    lag_ns: of TICA, ns.

  Returns:
    ns; None where there are too few frames, or nothing decays.
  """
  lag = round(lag_ns / dt_ns)
  if lag < 1:
    return None
  features = []
  for frames in series:
    angles = phi_psi(frames, bonded)
    angles = angles[:, ~np.isnan(angles[0]).any(axis=-1)].reshape(len(frames), -1)
    features.append(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
  if not features[0].shape[1]:
    return None
  slow, _ = kinetics.slow_coordinates(features, lag)
  if slow is None:
    return None
  scales, _ = kinetics.tica_time_scales([slow.transform(x) for x in features], lag)
  return None if scales is None else float(scales[0] * dt_ns)


def jump_ratios(series: Series, ratio: int) -> tuple[float, float]:
  """Displacement at the ends of segments, as a ratio to that inside segments.

  Segment k of a hierarchical sampler holds the frames k * ratio + 1 ... (k + 1) * ratio.

  Args:
    series: [1 + F, L, 4, 3] Å per replica, the first frame at time 0.
    ratio: frames per segment.

  Returns:
    Mean CA-RMSD of the steps that reach the end of a segment (k * ratio - 1 to k * ratio), and of
    those that leave it (k * ratio to k * ratio + 1), each over the mean of all other steps. The
    first step, out of the start, is none of them. NaN where there are no such steps.
  """
  steps, place = [], []
  for frames in series:
    steps.append(flexibility.step_lengths(frames)[1:])
    place.append(np.arange(1, len(frames) - 1) % ratio)
  lengths, at = np.concatenate(steps), np.concatenate(place)
  inside = _mean(lengths[(at != 0) & (at != ratio - 1)])
  return _ratio(_mean(lengths[at == ratio - 1]), inside), _ratio(_mean(lengths[at == 0]), inside)


@dataclasses.dataclass(frozen=True)
class Calibration:
  """All numbers of one held-out protein; None where a number cannot be computed.

  A ratio is predicted over MD.

  Attributes:
    num_frames: predicted, without the starts.
    num_reference: frames of MD.
    num_compared: frames of either in the divergences, evenly picked.
    ca_jsd: divergence of CA-CA distances, bits.
    spread_ratio: standard deviation of CA-CA distances, mean over pairs.
    step_ratio: CA-RMSD between successive frames.
    min_ca_ca: and the next five: see `Chain`.
    max_ca_ca: Å.
    max_c_n: Å.
    outside_ca_ca: share of frames.
    outside_c_n: share of frames.
    broken: share of frames.
    ramachandran_jsd: divergence of (phi, psi), bits.
    tica_ns: slowest time scale of the prediction, ns.
    tica_ratio: over MD's.
    rmsf_r: Pearson correlation of the fluctuations per CA.
    rmsf_ratio: of their means.
    pairwise_rmsd_ratio: of the mean CA-RMSD of two frames.
    rg_ratio: of the mean radii of gyration.
    rmsd_error: mean over time of |RMSD(t) - RMSD of MD(t)| to the start, Å.
    jump_reach: see `jump_ratios`.
    jump_leave: see there.
    diverged: share of frames whose coordinates diverged; if any did, only the chain is measured.
  """

  num_frames: int
  num_reference: int
  num_compared: int
  ca_jsd: float | None = None
  spread_ratio: float | None = None
  step_ratio: float | None = None
  min_ca_ca: float | None = None
  max_ca_ca: float | None = None
  max_c_n: float | None = None
  outside_ca_ca: float | None = None
  outside_c_n: float | None = None
  broken: float | None = None
  ramachandran_jsd: float | None = None
  tica_ns: float | None = None
  tica_ratio: float | None = None
  rmsf_r: float | None = None
  rmsf_ratio: float | None = None
  pairwise_rmsd_ratio: float | None = None
  rg_ratio: float | None = None
  rmsd_error: float | None = None
  jump_reach: float | None = None
  jump_leave: float | None = None
  diverged: float = 0.0


def measure(
  predicted: Series,
  reference: Series,
  bonded: np.ndarray | bonds.Bonds,
  native: np.ndarray,
  dt_ns: float,
  *,
  lag_ns: float = 0.2,
  ratio: int | None = None,
  count: int | None = None,
) -> Calibration:
  """Measures a prediction of one protein.

  Args:
    predicted: [1 + F, L, 4, 3] Å per replica, the start and the frames at dt, 2 dt, ... The
      starts count in what depends on time, not among the frames.
    reference: [G, L, 4, 3] Å per replica of held-out MD.
    bonded: [L] bool, or `Bonds`.
    native: [L, 4, 3] Å, the conformation that RMSD and fluctuations refer to.
    dt_ns: between frames, ns.
    lag_ns: of TICA, ns.
    ratio: frames per segment of the sampler; None if it has no segments.
    count: frames to compare in the divergences, at most.
  """
  frames = np.concatenate([x[1:] for x in predicted]).astype(np.float64)
  truth = np.concatenate(reference).astype(np.float64)
  compared = min(len(frames), len(truth), count or len(truth))
  diverged = validity.has_diverged(frames)
  found: dict[str, float | None] = {}
  if not diverged.any():
    ca = [superpose_points(x[:, :, CA], native[:, CA]) for x in (frames, truth)]
    rmsf, true_rmsf = map(flexibility.rmsf, ca)
    tica, true_tica = (slowest_time_scale(x, bonded, dt_ns, lag_ns) for x in (predicted, reference))
    rmsd = ([flexibility.ca_rmsd(x, native) for x in series] for series in (predicted, reference))
    error, _ = kinetics.rmsd_error(next(rmsd), next(rmsd), kinetics.TimeGrid(dt_ns))
    found = {
      'ca_jsd': ca_distance_jsd(frames, truth, compared),
      'spread_ratio': spread_ratio(frames, truth),
      'step_ratio': step_ratio(predicted, reference),
      'ramachandran_jsd': ramachandran_jsd(frames, truth, bonded, compared),
      'tica_ns': tica,
      'tica_ratio': None if tica is None or true_tica is None else tica / true_tica,
      'rmsf_r': flexibility.pearson(rmsf, true_rmsf),
      'rmsf_ratio': _ratio(_mean(rmsf), _mean(true_rmsf)),
      'pairwise_rmsd_ratio': _ratio(*(flexibility.pairwise_rmsd(x) for x in ca)),
      'rg_ratio': _ratio(*(_mean(flexibility.radius_of_gyration(x)) for x in (frames, truth))),
      'rmsd_error': error,
    }
    if ratio is not None and ratio > 1:
      found['jump_reach'], found['jump_leave'] = jump_ratios(predicted, ratio)
  found |= dataclasses.asdict(chain(frames, bonded))
  return Calibration(
    num_frames=len(frames),
    num_reference=len(truth),
    num_compared=compared,
    diverged=float(np.mean(diverged)),
    **{name: _known(value) for name, value in found.items()},
  )


def _known(value: float | None) -> float | None:
  return float(value) if value is not None and math.isfinite(value) else None


def _mean(values: np.ndarray) -> float:
  return float(np.mean(values)) if len(values) else math.nan


def _ratio(value: float, reference: float) -> float:
  return value / reference if reference > 0.0 else math.nan


def mean(found: Sequence[Calibration]) -> Calibration:
  """Over several proteins: the mean of each number, over those that have it.

  Of the extremes of the chain it takes the worst, of the counts of frames the sum.
  """
  if len(found) == 1:
    return found[0]
  values: dict[str, Any] = {}
  for field in dataclasses.fields(Calibration):
    column = [getattr(x, field.name) for x in found]
    known = [x for x in column if x is not None]
    combine: Callable[..., float] = _COMBINE.get(field.name, lambda x: float(np.mean(x)))
    values[field.name] = combine(known) if known else None
  return Calibration(**values)


_COMBINE: dict[str, Callable[..., float]] = {
  'num_frames': sum,
  'num_reference': sum,
  'num_compared': sum,
  'min_ca_ca': min,
  'max_ca_ca': max,
  'max_c_n': max,
}

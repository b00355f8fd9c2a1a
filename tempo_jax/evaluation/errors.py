"""Error bars of one prediction: how far its numbers would scatter if it were made again.

All are standard errors, of the prediction's sampling alone. The reference is taken as it is: how
well it is known itself, the baseline `MD halves` shows.

Which method, and why:
- Shares of frames (clashes, broken chains, valid frames): `uncertainty.share_error`, with the
  statistical inefficiency of just these, or, where all frames are alike, of the slowest coordinate.
- All others: delete-a-part jackknife. `sections.cut` makes four to six parts that are nearly
  independent of each other, of one trajectory or of several replicas; the number is computed again
  without each, and the error is `uncertainty.jackknife_error`. Of 40 repeats it is 0.7 to 1.45
  times the scatter for most numbers (docs/metrics.md), where the scatter of numbers of the parts
  alone (sectioning) is wrong by a factor of 2 to 5 wherever a number is near its bound (PC-sim,
  correlations), saturates (free energies) or needs many frames (contacts, JSD, W2, states). A
  bootstrap over replicas needs more of them than there mostly are, and frames that are drawn twice
  raise every distance of distributions.
- Numbers of the reference alone: sectioning of the reference.

To save time, the comparison without a part is with some 300 frames of the reference, which shifts
numbers, but not their scatter; its PCA, RMSF, contacts and states are those of all its frames.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tempo_jax.evaluation import (
  scores,
  sections,
  side_chain_scores,
  summary,
  time_errors,
  trajectory_scores,
)
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import flexibility, uncertainty, validity
from tempo_jax.metrics.kinetics import Found

_REFERENCE_FRAMES = 300
_OF_REFERENCE = (
  *('reference_pairwise_rmsd', 'reference_rmsf'),
  *('reference_close_contacts', 'reference_heavy_rmsf'),
)
_NO_TIME = 'without a part there are no lags'


@dataclasses.dataclass(frozen=True)
class Errors:
  """Of the numbers of one prediction.

  Attributes:
    errors: standard errors by `summary.KEYS`; None where there is none.
    notes: why not, by key.
    num_parts: of the prediction; None where it is too short for parts.
    inefficiency: statistical inefficiency g of its slowest coordinate, frames.
  """

  errors: dict[str, float | None]
  notes: dict[str, str]
  num_parts: int | None
  inefficiency: float


def of_prediction(
  reference: Ensemble,
  prediction: Ensemble,
  settings: scores.Settings,
  numbers: Mapping[str, Any],
) -> Errors:
  """Standard errors of the numbers of a prediction.

  Args:
    reference: all replicas of MD.
    prediction: what was judged.
    settings: how.
    numbers: of the whole prediction, from `scores.score`; where one is None, its error is too.
  """
  cut, too_short = sections.cut(prediction, reference.pca)
  found: dict[str, Found[float]] = {}
  if cut is None:
    found = dict.fromkeys(summary.KEYS, (None, too_short or ''))
  else:
    found |= _of_samples(reference, prediction, cut, settings)
    found |= time_errors.in_time(reference, prediction, cut, settings.lag_ns)
  inefficiency = (
    sections.inefficiency(prediction, reference.pca) if cut is None else cut.inefficiency
  )
  found |= _of_shares(reference, prediction, inefficiency)
  found |= _of_reference(reference)
  for key in ('pairwise_rmsd_r', 'pc_sim_above_half_percent'):
    found[key] = None, 'needs several proteins'
  found['mfpt_pearson_log10_ceiling'] = None, 'of MD alone, and of two halves only'
  for key in summary.KEYS:
    if numbers[key] is None:
      found[key] = None, 'there is no number'
  return Errors(
    {key: found[key][0] for key in summary.KEYS},
    {key: why for key in summary.KEYS if (why := found[key][1]) is not None},
    None if cut is None else len(cut.parts),
    inefficiency,
  )


def _of_samples(
  reference: Ensemble, prediction: Ensemble, cut: sections.Sections, settings: scores.Settings
) -> dict[str, Found[float]]:
  """Of what does not depend on the order of frames."""
  parts = [prediction.view(cuts, _NO_TIME) for cuts in cut.without(prediction)]
  thinned = reference.thinned(_REFERENCE_FRAMES, _NO_TIME)
  scored = [scores.score(thinned, part, settings) for part in parts]
  found: dict[str, Found[float]] = {}
  for key in summary.KEYS:
    values = [numbers[key] for numbers, _ in scored]
    reason = next((notes[key] for _, notes in scored if key in notes), None)
    found[key] = uncertainty.jackknife_error(values) if reason is None else (None, reason)
  return found


def _of_shares(
  reference: Ensemble, prediction: Ensemble, slowest: float
) -> dict[str, Found[float]]:
  """Of shares of frames, in percent; nothing of those that are worth too few independent frames."""
  bonds = prediction.native.arrays.bonds
  broken = validity.is_broken(
    *validity.ca_ca_range(prediction.positions, bonds),
    validity.c_n_max(prediction.positions, bonds),
  )
  counted = {'clash_ratio_percent': prediction.clashes > 0, 'bond_break_percent': broken}
  valid, _ = trajectory_scores.validity(reference, prediction)
  if valid is not None:
    counted['valid_ca_percent'] = valid.frames_ca
  if reference.chi is not None and prediction.chi is not None:
    valid, _ = side_chain_scores.validity(reference, prediction)
    if valid is not None and valid.frames_all_atom is not None:
      counted['valid_all_atom_percent'] = valid.frames_all_atom
      counted['valid_percent'] = valid.frames_all_atom & valid.frames_ca
  found: dict[str, Found[float]] = {}
  for key, frames in counted.items():
    own, _ = uncertainty.statistical_inefficiency(prediction.split(frames.astype(float)))
    num_independent = len(frames) / (own or slowest)
    if num_independent >= uncertainty.MIN_INDEPENDENT:
      share = float(frames.mean())
      found[key] = 100.0 * uncertainty.share_error(share, num_independent), None
  return found


def _of_reference(reference: Ensemble) -> dict[str, Found[float]]:
  cut, reason = sections.cut(reference, reference.pca)
  if cut is None:
    return dict.fromkeys(_OF_REFERENCE, (None, f'reference: {reason}'))
  # Sectioning, of fewer frames: of all, without a part each, it would take as long as all else.
  stride = -(-reference.num_frames // _REFERENCE_FRAMES)
  parts = [
    reference.view([(k, slice(x.start, x.stop, stride)) for k, x in part], _NO_TIME)
    for part in cut.parts
  ]
  values = {
    'reference_pairwise_rmsd': [flexibility.pairwise_rmsd(part.ca) for part in parts],
    'reference_rmsf': [float(part.rmsf.mean()) for part in parts],
  }
  if reference.close_contacts is not None:
    every = reference.split(reference.close_contacts)
    values['reference_close_contacts'] = [
      float(np.nanmean(np.concatenate([every[k][x] for k, x in part]))) for part in cut.parts
    ]
  gaussians = [part.heavy_gaussians for part in parts]
  values['reference_heavy_rmsf'] = [float(np.nanmean(x.rmsf)) for x in gaussians if x is not None]
  found = {key: (uncertainty.section_error(x), None) for key, x in values.items() if x}
  return {key: found.get(key, (None, 'there are no side chains')) for key in _OF_REFERENCE}

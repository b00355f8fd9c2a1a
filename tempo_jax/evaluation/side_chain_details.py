"""Side chains residue by residue: plain numbers, for details and for those who draw them."""

import math
from typing import Any

import numpy as np

from tempo_jax.evaluation import side_chain_scores
from tempo_jax.evaluation.ensemble import MAX_AREA_FRAMES, MAX_CONTACT_FRAMES, Ensemble
from tempo_jax.metrics import rotamer_changes, side_chains, torsion_distances

_SIDES = 'reference', 'prediction'
_DIGITS = 4  # Significant ones: there are thousands of numbers.
_SHORTEST_HALF = 2  # frames


def details(reference: Ensemble, prediction: Ensemble) -> dict[str, Any]:
  """What of side chains the table has no row for.

  Args:
    reference: all replicas of MD.
    prediction: what is compared with it.

  Returns:
    `reason`: why there is nothing else; None where there is.
    `contact_frames`: of each side, how many frames `close_contacts` were counted in.
    `exposure_frames`: how many of each side at most are looked at with `--exposure`.
    `chi1_jsd_floor`, `chi2_jsd_floor`: those of halves of each replica of MD, mean over replicas.
    `changes_per_ns`, `pucker_changes_per_ns`: of each side, of the protein, at common times; None
      and `changes_reason` without.
    `residues`: one entry for each residue with a chi that both sides know, with its `label` and
      for its chi in their order `jsd` and `decorrelation_ns` of each side (None where a chi does
      not decorrelate within half of the longest replica), and for those of its chi1 and chi2 that
      have wells `populations` of each side, in the order of `rotamer_changes`, and
      `changes_per_ns`.
  """
  reason = reference.no_side_chains or prediction.no_side_chains
  if reason is not None:
    return {'reason': reason}
  both = dict(zip(_SIDES, (reference, prediction), strict=True))
  found: dict[str, Any] = {
    'reason': None,
    'contact_frames': {
      name: -(-each.num_frames // -(-each.num_frames // MAX_CONTACT_FRAMES))
      for name, each in both.items()
    },
    'exposure_frames': MAX_AREA_FRAMES,
  }
  types = reference.native.arrays.residue_type
  replicas = reference.split(side_chain_scores.chi_of(reference))
  floor = np.full((len(types), 4), np.nan)
  if min(map(len, replicas)) >= 2 * _SHORTEST_HALF:
    floor = side_chains.floor(replicas, types)
  for number in (1, 2):
    found[f'chi{number}_jsd_floor'] = _number(side_chains.mean_of(floor, number))
  rates, why = side_chain_scores.changes_per_ns(reference, prediction)
  found['changes_reason'] = why
  for key, puckers in (('changes_per_ns', False), ('pucker_changes_per_ns', True)):
    found[key] = (
      None
      if rates is None
      else {
        name: _number(side_chain_scores.total_changes(of_side, reference, prediction, puckers))
        for name, of_side in zip(_SIDES, rates, strict=True)
      }
    )
  return found | {'residues': _residues(both, rates)}


def _residues(
  both: dict[str, Ensemble], rates: tuple[np.ndarray, np.ndarray] | None
) -> list[dict[str, Any]]:
  reference, prediction = both.values()
  types = reference.native.arrays.residue_type
  known = side_chain_scores.known_chi(reference, prediction)
  jsd = side_chains.chi_jsd_of(*map(side_chain_scores.chi_histograms, (prediction, reference)))
  times = {name: _decorrelation_ns(each, known) for name, each in both.items()}
  shares = {name: side_chain_scores.populations(each) for name, each in both.items()}
  wells = np.count_nonzero(~np.isnan(rotamer_changes.wells(types)), axis=-1)
  found = []
  for i in np.flatnonzero(known.any(axis=1)).tolist():
    chi = np.flatnonzero(known[i]).tolist()
    with_wells = [k for k in chi if k < 2 and wells[i, k]]
    entry: dict[str, Any] = {
      'label': reference.native.label(i),
      'jsd': [_number(jsd[i, k]) for k in chi],
      'decorrelation_ns': {name: [_number(x[i, k]) for k in chi] for name, x in times.items()},
      'populations': {
        name: [[_number(p) for p in x[i, k, : wells[i, k]]] for k in with_wells]
        for name, x in shares.items()
      },
      'changes_per_ns': None,
    }
    if rates is not None:
      entry['changes_per_ns'] = {
        name: [_number(x[i, k]) for k in with_wells] for name, x in zip(_SIDES, rates, strict=True)
      }
    found.append(entry)
  return found


def _decorrelation_ns(ensemble: Ensemble, known: np.ndarray) -> np.ndarray:
  """[L, 4] when the autocorrelation of each chi first is below 1/e; NaN where it never is."""
  found = np.full(known.shape, np.nan)
  dt_ns = ensemble.dt_ns
  if dt_ns is None or not known.any():
    return found
  series = [chi[:, known] for chi in ensemble.split(side_chain_scores.chi_of(ensemble))]
  curves, _ = torsion_distances.decorrelation(series)
  if curves is not None:
    lags = torsion_distances.decorrelation_lags(curves)
    found[known] = np.where(lags < 0, np.nan, lags * dt_ns)
  return found


def _number(value: float) -> float | None:
  value = float(value)
  return float(f'{value:.{_DIGITS}g}') if math.isfinite(value) else None

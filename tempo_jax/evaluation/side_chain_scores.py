"""Side chains of a prediction against those of MD, where both have them."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from tempo_jax.evaluation import trajectory_scores
from tempo_jax.evaluation.common_times import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.trajectory_scores import Score
from tempo_jax.metrics import (
  distribution,
  exposure,
  flexibility,
  kinetics,
  md_validity,
  rotamer_changes,
  side_chains,
  torsion_distances,
)

EXPOSURE = ('exposed_residues_j', 'exposure_information_r')
KEYS = (
  'torsion_js_distance_side_chain',
  'chi1_jsd',
  'chi2_jsd',
  'rotamer_population_distance',
  'rotamer_changes_ratio',
  'close_contacts',
  'reference_close_contacts',
  'heavy_rmsf',
  'reference_heavy_rmsf',
  'heavy_rmsf_r',
  'heavy_root_mean_w2',
  'valid_all_atom_percent',
  'valid_percent',
  *EXPOSURE,
)
_STILL = 1e-6  # Å; an RMSF below is rounding.


def scores(reference: Ensemble, prediction: Ensemble, with_exposure: bool) -> dict[str, Score]:
  """Numbers by `KEYS`.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    with_exposure: look at surfaces, too, which takes a minute.
  """
  reason = reference.no_side_chains or prediction.no_side_chains
  if reason is not None:
    return dict.fromkeys(KEYS, (None, reason))
  found = _of_chi(reference, prediction)
  found['rotamer_changes_ratio'] = changes_ratio(reference, prediction)
  found |= _contacts(reference, prediction)
  found |= _of_atoms(reference, prediction)
  found |= _validity(reference, prediction)
  found |= _exposure(reference, prediction, with_exposure)
  return {key: found[key] for key in KEYS}


def chi_of(ensemble: Ensemble) -> np.ndarray:
  """[F, L, 4] radians of an ensemble that has side chains."""
  assert ensemble.chi is not None
  return ensemble.chi


def known_chi(reference: Ensemble, prediction: Ensemble) -> np.ndarray:
  """[L, 4] bool, chi that both know in all frames."""
  ours, theirs = (chi_histograms(each).sum(axis=-1) for each in (prediction, reference))
  return (ours > 0) & (theirs > 0)


def chi_histograms(ensemble: Ensemble) -> np.ndarray:
  """[L, 4, 36], `side_chains.chi_histograms`."""
  types = ensemble.native.arrays.residue_type
  return ensemble.once('chi', lambda: side_chains.chi_histograms(chi_of(ensemble), types))


def populations(ensemble: Ensemble) -> np.ndarray:
  """[L, 2, 3] share of frames in each well, NaN where there are none."""
  states = ensemble.rotamers
  assert states is not None
  return ensemble.once('rotamer populations', lambda: rotamer_changes.occupancy(states))


def changes_per_ns(
  reference: Ensemble, prediction: Ensemble
) -> kinetics.Found[tuple[np.ndarray, np.ndarray]]:
  """Changes of chi1 and chi2 of MD and of the prediction, [L, 2] 1/ns, seen at common times."""
  grid, reason = common_times(reference, prediction)
  if grid is None:
    return None, reason or ''
  rates = []
  for ensemble, stride in (
    (reference, grid.reference_stride),
    (prediction, grid.prediction_stride),
  ):
    rates.append(rotamer_changes.per_ns(_states(ensemble, stride), grid.dt_ns))
  ours, theirs = rates[1], rates[0]
  if np.isnan(ours).all() or np.isnan(theirs).all():
    return None, 'a side has a single frame at common times'
  return (theirs, ours), None


def _states(ensemble: Ensemble, stride: int) -> list[np.ndarray]:
  """Wells as somebody sees them who looks at every so many frames only."""
  if stride == 1:
    assert ensemble.rotamers is not None
    return ensemble.split(ensemble.rotamers)
  types = ensemble.native.arrays.residue_type
  every = ensemble.split(chi_of(ensemble))
  return [rotamer_changes.states(chi[::stride], types) for chi in every]


def total_changes(
  rates: np.ndarray, reference: Ensemble, prediction: Ensemble, puckers: bool = False
) -> float:
  """Of the whole protein without prolines, 1/ns, of those chi that both sides know.

  Args:
    rates: [L, 2] 1/ns, from `changes_per_ns`.
    reference: all replicas of MD.
    prediction: what is judged.
    puckers: of prolines alone.
  """
  there = known_chi(reference, prediction)[:, :2]
  types = reference.native.arrays.residue_type
  return float(rates[there & rotamer_changes.counted(types, puckers=puckers)[:, None]].sum())


def _of_chi(reference: Ensemble, prediction: Ensemble) -> dict[str, Score]:
  js_distances = torsion_distances.js_distances_of(
    *(
      each.once(
        'torsions of side chains', functools.partial(torsion_distances.histograms, chi_of(each))
      )
      for each in (prediction, reference)
    )
  )
  divergences = side_chains.chi_jsd_of(chi_histograms(prediction), chi_histograms(reference))
  apart = 0.5 * np.abs(populations(prediction) - populations(reference)).sum(axis=-1)
  return {
    'torsion_js_distance_side_chain': _mean(js_distances, 'no chi is known on both sides'),
    'chi1_jsd': _mean(divergences[:, 0], 'no chi1 is known on both sides'),
    'chi2_jsd': _mean(divergences[:, 1], 'no chi2 is known on both sides'),
    'rotamer_population_distance': _mean(apart, 'no side chain has wells on both sides'),
  }


def _mean(values: np.ndarray, reason: str) -> Score:
  there = values[~np.isnan(values)]
  return (float(there.mean()), None) if there.size else (None, reason)


def changes_ratio(reference: Ensemble, prediction: Ensemble) -> Score:
  """Changes of rotamers per ns, relative to MD; or None and the reason."""
  rates, reason = changes_per_ns(reference, prediction)
  if rates is None:
    return None, reason
  theirs, ours = (total_changes(of_side, reference, prediction) for of_side in rates)
  if theirs == 0.0:
    return None, 'no side chain changes its rotamer in MD'
  return ours / theirs, None


def _contacts(reference: Ensemble, prediction: Ensemble) -> dict[str, Score]:
  keys = 'close_contacts', 'reference_close_contacts'
  if reason := _other_atoms(reference, prediction):
    return dict.fromkeys(keys, (None, reason))
  found = {}
  for key, ensemble in zip(keys, (prediction, reference), strict=True):
    assert ensemble.close_contacts is not None
    found[key] = _mean(ensemble.close_contacts, 'no frame was looked at')
  return found


def _other_atoms(reference: Ensemble, prediction: Ensemble) -> str | None:
  assert reference.known_atoms is not None
  other = (reference.known_atoms != prediction.known_atoms).any(axis=1)
  if not other.any():
    return None
  first = reference.native.label(int(np.argmax(other)))
  return f'one side lacks atoms of side chains that the other has, e.g. of {first}'


def _of_atoms(reference: Ensemble, prediction: Ensemble) -> dict[str, Score]:
  ours, theirs = prediction.heavy_gaussians, reference.heavy_gaussians
  assert ours is not None
  assert theirs is not None
  both = ~np.isnan(ours.mean + theirs.mean).any(axis=-1)
  ours, theirs = ours.of(both), theirs.of(both)
  rmsf, reference_rmsf = (np.where(x.rmsf > _STILL, x.rmsf, 0.0) for x in (ours, theirs))
  r = flexibility.pearson(reference_rmsf, rmsf)
  return {
    'heavy_rmsf': (float(rmsf.mean()), None),
    'reference_heavy_rmsf': (float(reference_rmsf.mean()), None),
    'heavy_rmsf_r': (None, 'one of the two does not fluctuate') if np.isnan(r) else (r, None),
    'heavy_root_mean_w2': (distribution.root_mean_w2_of(theirs, ours).total, None),
  }


def _frame_values(ensemble: Ensemble) -> md_validity.FrameValues:
  return dataclasses.replace(
    trajectory_scores.frame_values(ensemble),
    ramachandran_outliers=np.nan_to_num(ensemble.ramachandran_outliers),
    rotamer_outliers=ensemble.rotamer_outliers,
  )


def validity(reference: Ensemble, prediction: Ensemble) -> kinetics.Found[md_validity.ValidShares]:
  """Frames whose torsions, and CA, are as sound as those of 99 % of MD; both have chi."""
  if np.isnan(chi_of(prediction)).all() or np.isnan(chi_of(reference)).all():
    return None, 'no chi is known on one side'
  limits, reason = md_validity.limits_of(_frame_values(reference))
  if limits is None:
    return None, reason or ''
  return md_validity.valid_shares(_frame_values(prediction), limits)


def _validity(reference: Ensemble, prediction: Ensemble) -> dict[str, Score]:
  shares, reason = validity(reference, prediction)
  if shares is None:
    return dict.fromkeys(('valid_all_atom_percent', 'valid_percent'), (None, reason))
  return {'valid_all_atom_percent': (shares.all_atom, None), 'valid_percent': (shares.both, None)}


def _exposure(reference: Ensemble, prediction: Ensemble, with_exposure: bool) -> dict[str, Score]:
  if not with_exposure:
    return dict.fromkeys(EXPOSURE, (None, 'needs --exposure'))
  reason = _other_atoms(reference, prediction)
  first = reference.replicas[0].side_chains
  assert first is not None
  if first.native is None:
    reason = 'the native structure lacks atoms of side chains'
  if reason is not None or first.native is None:
    return dict.fromkeys(EXPOSURE, (None, reason))
  types = reference.native.arrays.residue_type
  native, reason = exposure.side_chain_areas(first.native[None], types)
  if native is None:
    return dict.fromkeys(EXPOSURE, (None, f'native structure: {reason}'))
  areas = []
  for name, ensemble in (('prediction', prediction), ('reference', reference)):
    found = ensemble.side_chain_areas
    assert found is not None
    counted = found[~np.isnan(found).any(axis=1)]
    if not len(counted):
      return dict.fromkeys(EXPOSURE, (None, f'{name}: atoms are in the same place'))
    areas.append(counted)
  compare: dict[str, Callable[[], Score]] = {
    'exposed_residues_j': lambda: exposure.exposed_jaccard(areas[0], areas[1], native[0]),
    'exposure_information_r': lambda: exposure.information_correlation(areas[0], areas[1]),
  }
  return {key: of_areas() for key, of_areas in compare.items()}

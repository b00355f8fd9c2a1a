"""Numbers beside the table: validity by other rules, and time scales of slow motion."""

from typing import Any

import numpy as np

from tempo_jax.evaluation import side_chain_details
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import kinetics, validity


def slow_dynamics(reference: Ensemble, prediction: Ensemble) -> kinetics.SlowDynamics | None:
  """Motion of both along the slow coordinates of the reference; None where there are none."""
  grid, _ = kinetics.time_grid(prediction.dt_ns, reference.dt_ns)
  if grid is None:
    return None
  features = [
    ensemble.split(kinetics.ca_distances(ensemble.positions))
    for ensemble in (prediction, reference)
  ]
  found, _ = kinetics.slow_dynamics(features[0], features[1], grid)
  return found


def details(
  reference: Ensemble, prediction: Ensemble, slow: kinetics.SlowDynamics | None
) -> dict[str, Any]:
  """What the paper's table has no row for.

  Args:
    reference: all replicas of MD.
    prediction: what is compared with it.
    slow: of both, from `slow_dynamics`.

  Returns:
    Of `prediction` and of `reference`, by name: shares in percent (BioEmu's filter, Ramachandran
    outliers, residues with positive phi, cis peptide bonds); of both together: the lag of slow
    coordinates, ns, their autocorrelation error, and implied time scales, ns, longest first; of
    `side_chains` what `side_chain_details` says. None where something cannot be computed.
  """
  found: dict[str, Any] = {
    name: _shares(ensemble)
    for name, ensemble in (('prediction', prediction), ('reference', reference))
  }
  found['side_chains'] = side_chain_details.details(reference, prediction)
  if slow is None:
    return found | {'slow': None}

  def scales(pair: tuple[np.ndarray | None, np.ndarray | None]) -> dict[str, list[float] | None]:
    ours, theirs = (None if x is None else [float(v) for v in x[:3]] for x in pair)
    return {'prediction': ours, 'reference': theirs}

  return found | {
    'slow': {
      'lag_ns': slow.lag_ns,
      'autocorrelation_error': slow.autocorrelation_error,
      'tica_time_scales_ns': scales(slow.tica_time_scales),
      'msm_time_scales_ns': scales(slow.msm_time_scales),
      'notes': list(slow.notes),
    }
  }


def _shares(ensemble: Ensemble) -> dict[str, float | None]:
  types = np.asarray(ensemble.native.arrays.residue_type)
  phi, omega = ensemble.torsions[..., 0], ensemble.torsions[..., 2]

  def share(judgement: tuple[np.ndarray, np.ndarray]) -> float | None:
    mask, judged = judgement
    return 100.0 * float(mask[:, judged].mean()) if judged.any() else None

  bonded = ensemble.native.arrays.bonds
  valid = validity.passes_bioemu_filter(ensemble.positions, bonded)
  return {
    'passes_bioemu_filter_percent': 100.0 * float(np.mean(valid)),
    'ramachandran_outliers_percent': _percent(ensemble.ramachandran_outliers),
    'positive_phi_percent': share(validity.positive_phi(phi, types)),
    'cis_peptides_percent': share(validity.cis_peptides(omega)),
  }


def _percent(shares: np.ndarray) -> float | None:
  mean = 100.0 * float(shares.mean())
  return None if np.isnan(mean) else mean

"""Numbers beside the table: of validity, states, kinetics and slow motion, for a report."""

from typing import Any

import numpy as np

from tempo_jax.evaluation import (
  biokinema_protocol,
  markov_details,
  side_chain_details,
  trajectory_details,
)
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.scores import Settings
from tempo_jax.metrics import interfaces, kinetics, validity


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
  reference: Ensemble,
  prediction: Ensemble,
  slow: kinetics.SlowDynamics | None,
  settings: Settings,
) -> dict[str, Any]:
  """What the table has no row for.

  Args:
    reference: all replicas of MD.
    prediction: what is compared with it.
    slow: of both, from `slow_dynamics`.
    settings: how to compare.

  Returns:
    Of `prediction` and of `reference`, by name: shares in percent (BioEmu's filter, Ramachandran
    outliers, residues with positive phi, cis peptide bonds); of both together: the lag of slow
    coordinates, ns, their autocorrelation error, and implied time scales, ns, longest first;
    `side_chains` from `side_chain_details`; `interfaces`, one entry for each pair of chains that
    touch, with the ids of its `receptor` and `ligand`; `states`, `validity`, `torsions`,
    `slow_torsions` and `choices` from `trajectory_details`; `markov` from `markov_details`;
    `biokinema` from `biokinema_protocol` if `settings.protocol` asks for it. None where there is no
    number.
  """
  found: dict[str, Any] = {
    name: _shares(ensemble)
    for name, ensemble in (('prediction', prediction), ('reference', reference))
  }
  found |= {
    'side_chains': side_chain_details.details(reference, prediction),
    'interfaces': _interfaces(reference, prediction),
    'states': trajectory_details.states(reference, prediction),
    'validity': trajectory_details.validity(reference, prediction),
    'torsions': trajectory_details.torsions(reference, prediction),
    'slow_torsions': trajectory_details.slow_torsion_distances(reference, prediction),
    'markov': markov_details.details(reference, prediction, settings.lag_ns),
    'choices': trajectory_details.choices(reference, prediction, settings.lag_ns),
  }
  if settings.protocol == 'biokinema':
    found['biokinema'] = biokinema_protocol.details(reference, prediction)
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
  valid = validity.passes_bioemu_filter(ensemble.positions, bonded, ensemble.clashes)
  return {
    'passes_bioemu_filter_percent': 100.0 * float(np.mean(valid)),
    'ramachandran_outliers_percent': _percent(ensemble.ramachandran_outliers),
    'positive_phi_percent': share(validity.positive_phi(phi, types)),
    'cis_peptides_percent': share(validity.cis_peptides(omega)),
  }


def _interfaces(reference: Ensemble, prediction: Ensemble) -> list[dict[str, Any]]:
  arrays, chain_ids = reference.native.arrays, reference.native.chain_ids
  native, found = np.asarray(arrays.positions), []
  for k, interface in enumerate(reference.interfaces):
    chains = [arrays.chain_index[part[0]] for part in (interface.receptor, interface.ligand)]
    names = (chain_ids[i] or str(i + 1) for i in chains)
    entry: dict[str, Any] = dict(zip(('receptor', 'ligand'), names, strict=True))
    for name, ensemble in (('prediction', prediction), ('reference', reference)):
      kept, rmsd = ensemble.interface_contacts, ensemble.ligand_rmsd
      replicas = ensemble.split(ensemble.positions)
      entry[name] = {
        'native_contacts_percent': 100.0 * float(kept[:, k].mean()),
        'apart_percent': 100.0 * float(np.mean(kept[:, k] < interfaces.APART)),
        'ligand_rmsd_A': float(rmsd[:, k].mean()),
        'largest_ligand_rmsd_A': float(rmsd[:, k].max()),
        'ligand_rmsf_A': float(
          np.mean([interfaces.ligand_rmsf(x, native, interface) for x in replicas])
        ),
      }
    found.append(entry)
  return found


def _percent(shares: np.ndarray) -> float | None:
  mean = 100.0 * float(shares.mean())
  return None if np.isnan(mean) else mean

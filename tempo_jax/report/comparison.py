"""What the report shows of a prediction beside its reference."""

from collections.abc import Mapping, Sequence

import numpy as np

from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import flexibility, kinetics, thermodynamics, validity
from tempo_jax.report import protein_section, viewer

_MAX_TORSIONS = 200_000


def curves(
  name: str,
  reference: Ensemble,
  prediction: Ensemble,
  numbers: Mapping[str, float | None],
  temperature_K: float,
  notes: Sequence[str] = (),
) -> protein_section.ProteinCurves:
  """The curves of one protein.

  Args:
    name: of the protein.
    reference: MD.
    prediction: what is judged.
    numbers: shown as a table.
    temperature_K: of free energies, K.
    notes: what the user should know.
  """
  pcs = [reference.pca.project(sample.ca) for sample in (reference, prediction)]
  x, y, surfaces = thermodynamics.free_energy_2d(pcs, temperature_K)
  profiles = _profiles(reference, prediction, pcs, temperature_K)
  slow = _slow_autocorrelations(reference, prediction)
  found = [
    protein_section.EnsembleCurves(
      label=label,
      replicas=_replicas(sample, projected),
      rmsf=sample.rmsf[:, flexibility.CA],
      contacts=sample.contact_probability,
      torsions=torsion_pairs(sample),
      free_energy=surface,
      autocorrelations={**torsion_autocorrelation(sample), **slow[k]},
      profiles=profiles[k],
      clip=clip(label, sample),
    )
    for k, (label, sample, projected, surface) in enumerate(
      zip(('MD', 'prediction'), (reference, prediction), pcs, surfaces, strict=True)
    )
  ]
  arrays = reference.native.arrays
  return protein_section.ProteinCurves(
    name=name,
    chain_index=np.asarray(arrays.chain_index),
    bonded=np.asarray(arrays.bonded),
    reference=found[0],
    prediction=found[1],
    metrics=dict(numbers),
    pc_extent=(float(x[0]), float(x[-1]), float(y[0]), float(y[-1])),
    temperature_K=temperature_K,
    notes=tuple(notes),
  )


def _replicas(sample: Ensemble, projected: np.ndarray) -> list[protein_section.ReplicaCurves]:
  bonded = np.asarray(sample.native.arrays.bonded)
  low, high = validity.ca_ca_range(sample.positions, bonded)
  per_frame = {
    'rmsd': sample.rmsd,
    'radius_of_gyration': sample.radius_of_gyration,
    'native_contacts': sample.native_contacts,
    'pcs': projected,
    'ca_ca_min': low,
    'ca_ca_max': high,
    'c_n_max': validity.c_n_max(sample.positions, bonded),
    'clashes': sample.clashes,
  }
  by_replica = {name: sample.split(x) for name, x in per_frame.items() if x is not None}
  return [
    protein_section.ReplicaCurves(
      time_ns=replica.time_ns, **{name: parts[k] for name, parts in by_replica.items()}
    )
    for k, replica in enumerate(sample.replicas)
  ]


def _profiles(
  reference: Ensemble, prediction: Ensemble, pcs: Sequence[np.ndarray], temperature_K: float
) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
  """Free energy along one coordinate, of both."""
  coordinates: dict[str, Sequence[np.ndarray | None]] = {
    'RMSD (Å)': (reference.rmsd, prediction.rmsd),
    'radius of gyration (Å)': (reference.radius_of_gyration, prediction.radius_of_gyration),
    'native contacts': (reference.native_contacts, prediction.native_contacts),
    'PC1 (Å)': (pcs[0][:, 0], pcs[1][:, 0]),
  }
  found: list[dict[str, tuple[np.ndarray, np.ndarray]]] = [{}, {}]
  for name, pair in coordinates.items():
    both = [x for x in pair if x is not None]
    if len(both) == 2:
      grid, energies = thermodynamics.free_energy_1d(both, temperature_K)
      for k, energy in enumerate(energies):
        found[k][name] = grid, np.where(np.isfinite(energy), energy, np.nan)
  return found


def torsion_autocorrelation(sample: Ensemble) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Lag times, ns, and autocorrelation of phi and psi; empty where there is none."""
  curve, _ = sample.torsion_autocorrelation
  if curve is None or sample.dt_ns is None:
    return {}
  return {'phi and psi': (sample.dt_ns * np.arange(len(curve)), curve)}


def _slow_autocorrelations(
  reference: Ensemble, prediction: Ensemble
) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
  found: list[dict[str, tuple[np.ndarray, np.ndarray]]] = [{}, {}]
  grid, _ = kinetics.time_grid(prediction.dt_ns, reference.dt_ns)
  if grid is None:
    return found
  features = [s.split(kinetics.ca_distances(s.positions)) for s in (prediction, reference)]
  slow, _ = kinetics.slow_dynamics(features[0], features[1], grid)
  if slow is None:
    return found
  ours, theirs = slow.autocorrelation
  for k, (sample, curve) in enumerate(((reference, theirs), (prediction, ours))):
    if curve is not None and sample.dt_ns is not None:
      found[k]['slow coordinates'] = sample.dt_ns * np.arange(len(curve)), curve
  return found


def torsion_pairs(sample: Ensemble) -> np.ndarray:
  """[N, 2] phi and psi, of evenly picked frames if there are many."""
  angles = sample.torsions[..., :2]
  angles = angles[:: -(-angles[..., 0].size // _MAX_TORSIONS)].reshape(-1, 2)
  return angles[~np.isnan(angles).any(axis=1)]


def clip(label: str, sample: Ensemble) -> viewer.Clip:
  """For the viewer: the first replica."""
  replica = sample.replicas[0]
  return viewer.Clip(label, sample.superposed[: replica.num_frames], replica.time_ns)

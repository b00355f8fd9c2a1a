"""The numbers of one prediction against one reference: a column of the paper's table."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tempo_jax.evaluation import markov_scores, side_chain_scores, summary, trajectory_scores
from tempo_jax.evaluation.common_times import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import (
  contacts,
  distribution,
  flexibility,
  kinetics,
  resampling,
  thermodynamics,
  validity,
)

_STILL = 1e-6  # Å; an RMSF below is rounding


@dataclasses.dataclass(frozen=True)
class Settings:
  """How to compare.

  Attributes:
    resample: 'none', or 'alphaflow' for `resampling.Frames.alphaflow`.
    seed: of its draws, of baselines and of the bootstrap.
    temperature_K: of free energies, K.
    lag_ns: of Markov models, tICA and VAMP-2, ns; None: a hundredth of the longest replica of MD.
    protocol: 'default', or 'biokinema' for BioKinema's own kinetics beside ours.
    exposure: look at the surface of side chains, which takes long.
  """

  resample: str = 'none'
  seed: int = resampling.ALPHAFLOW_SEED
  temperature_K: float = 300.0
  lag_ns: float | None = None
  protocol: str = 'default'
  exposure: bool = False


def score(
  reference: Ensemble, prediction: Ensemble, settings: Settings
) -> tuple[dict[str, Any], dict[str, str]]:
  """Compares a prediction with a reference of the same protein.

  Args:
    reference: all replicas of MD.
    prediction: what is judged; baselines too.
    settings: how.

  Returns:
    The numbers by `summary.KEYS`, None where one cannot be computed, and
    `summary.MOMENTS`; and why, by key, where it cannot.
  """
  numbers: dict[str, Any] = {}
  notes: dict[str, str] = {}

  def note(key: str, value: float | None, reason: str | None) -> None:
    finite = value is not None and math.isfinite(value)
    numbers[key] = float(value) if finite and value is not None else None
    if not finite:
      notes[key] = reason or 'not a number'

  frames = resampling.Frames.all(reference.num_frames)
  if settings.resample == 'alphaflow':
    frames = resampling.Frames.alphaflow(reference.num_frames, prediction.num_frames, settings.seed)
  drawn = settings.resample == 'alphaflow'

  note('pairwise_rmsd', flexibility.pairwise_rmsd(prediction.ca), None)
  note(
    'reference_pairwise_rmsd',
    flexibility.pairwise_rmsd(reference.ca[frames.rand1], reference.ca[frames.rand2])
    if drawn
    else reference.pairwise_rmsd,
    None,
  )
  note('pairwise_rmsd_r', None, 'needs three proteins')

  rmsf, reference_rmsf = (np.where(x > _STILL, x, 0.0) for x in (prediction.rmsf, reference.rmsf))
  note('rmsf', float(rmsf.mean()), None)
  note('reference_rmsf', float(reference_rmsf.mean()), None)
  r = flexibility.pearson(reference_rmsf, rmsf)
  note('global_rmsf_r', r, 'one of the two does not fluctuate')
  note('per_target_rmsf_r', r, 'one of the two does not fluctuate')
  x, y = reference_rmsf.ravel(), rmsf.ravel()
  numbers[summary.MOMENTS] = [float(v) for v in (x.size, x.sum(), y.sum(), x @ x, y @ y, x @ y)]

  w2 = distribution.root_mean_w2(
    reference.superposed[frames.rand1k] if drawn else reference.superposed, prediction.superposed
  )
  note('root_mean_w2', w2.total, None)
  note('root_mean_w2_translation', w2.translation, None)
  note('root_mean_w2_variance', w2.variance, None)

  rand1 = reference.ca[frames.rand1] if drawn else reference.ca
  note('md_pca_w2', distribution.pca_w2(reference.pca, rand1, prediction.ca), None)
  joint = distribution.Pca.fit(rand1, prediction.ca)
  note('joint_pca_w2', distribution.pca_w2(joint, rand1, prediction.ca), None)
  similar = distribution.pc_sim(reference.pca, prediction.pca)
  note('pc_sim', similar, 'one of the two does not move')
  above = None if numbers['pc_sim'] is None else 100.0 * (similar > 0.5)
  note('pc_sim_above_half_percent', above, notes.get('pc_sim'))

  native = np.asarray(reference.native.arrays.positions)
  in_contact = reference.once(
    'in contact', lambda: contacts.contact_probability(native[None]) > 0.0
  )
  probability = reference.contact_probability
  if drawn:
    probability = contacts.contact_probability(reference.positions[frames.rand1])
  find: Callable[[np.ndarray, np.ndarray], np.ndarray]
  for key, find in (
    ('weak_contacts_j', contacts.weak_contacts),
    ('transient_contacts_j', contacts.transient_contacts),
  ):
    of_each = [find(in_contact, p) for p in (probability, prediction.contact_probability)]
    note(key, contacts.jaccard(*of_each), 'neither has such contacts')

  bonds = reference.native.arrays.bonds
  note('clash_ratio_percent', 100.0 * float(np.mean(prediction.clashes > 0)), None)
  broken = validity.is_broken(
    *validity.ca_ca_range(prediction.positions, bonds),
    validity.c_n_max(prediction.positions, bonds),
  )
  note('bond_break_percent', 100.0 * float(np.mean(broken)), None)

  of = reference.distance_residues
  distance_jsd = distribution.ca_distance_jsd(
    reference.positions[:, of], prediction.positions[:, of]
  )
  note('ca_distance_jsd', distance_jsd, 'a single residue')
  jsd = distribution.torsion_jsd(reference.torsions[..., :2], prediction.torsions[..., :2])
  note('torsion_jsd', jsd, 'no torsions')

  q, reference_q = prediction.native_contacts, reference.native_contacts
  if q is None or reference_q is None:
    note('ddg', None, 'the native structure has no contacts between distant residues')
  else:
    note('ddg', thermodynamics.ddg(q, reference_q, settings.temperature_K), None)

  timed = kinetics_of(reference, prediction)
  suite = trajectory_scores.scores(reference, prediction, settings.lag_ns)
  for key, (value, reason) in (timed | suite).items():
    note(key, value, reason)
  markov = markov_scores.compare(reference, prediction, settings.lag_ns)
  for key in markov_scores.KEYS:
    note(key, markov.numbers[key], markov.notes.get(key))
  of_side_chains = side_chain_scores.scores(reference, prediction, settings.exposure)
  for key, (value, reason) in of_side_chains.items():
    note(key, value, reason)
  return {key: numbers[key] for key in (*summary.KEYS, summary.MOMENTS)}, notes


def kinetics_of(
  reference: Ensemble, prediction: Ensemble
) -> dict[str, tuple[float | None, str | None]]:
  """What depends on time, or why it cannot be said."""
  keys = ('rmsd_error', 'pc1_cosine', 'autocorrelation_error')
  grid, reason = common_times(reference, prediction)
  if grid is None:
    return dict.fromkeys(keys, (None, reason))
  found: dict[str, tuple[float | None, str | None]] = {}
  ours, theirs = (ensemble.split(ensemble.rmsd) for ensemble in (prediction, reference))
  found['rmsd_error'] = kinetics.rmsd_error(ours, theirs, grid)
  pc1 = (reference.pca.project(ensemble.ca)[:, 0] for ensemble in (prediction, reference))
  ours, theirs = (s.split(x) for s, x in zip((prediction, reference), pc1, strict=True))
  found['pc1_cosine'] = kinetics.pc1_cosine(ours, theirs, grid)
  curve, why = prediction.torsion_autocorrelation
  reference_curve, why_not = reference.torsion_autocorrelation
  if curve is None or reference_curve is None:
    found['autocorrelation_error'] = None, why or why_not
  else:
    found['autocorrelation_error'] = kinetics.autocorrelation_error(curve, reference_curve, grid)
  return found

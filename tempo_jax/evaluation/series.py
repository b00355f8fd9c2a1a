"""What a report draws of a protein: series, maps and profiles, as plain data.

Nothing here knows pictures, and the report computes none of this.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tempo_jax.evaluation import heavy_atoms as heavy_atoms_lib
from tempo_jax.evaluation import (
  markov_scores,
  series_kinetics,
  series_side_chains,
  trajectory_scores,
)
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.series_kinetics import KineticSeries
from tempo_jax.evaluation.series_side_chains import SideChainSeries
from tempo_jax.metrics import (
  flexibility,
  kinetics,
  secondary_structure,
  state_recovery,
  superposition,
  thermodynamics,
  validity,
)
from tempo_jax.metrics.kinetics import Found
from tempo_jax.metrics.superposition import CA
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

MAX_CLIP_FRAMES = 300
# Of clips with side chains: some 3 MB of a page; but so many frames at least.
_MAX_CLIP_ATOMS, _MIN_CLIP_FRAMES = 600_000, 50
_C, _O = 2, 3
RAMACHANDRAN_BINS = 72
"""Along phi and psi, from -180 to 180°."""

Curve = tuple[np.ndarray, np.ndarray]
"""x [N] and y [N]."""


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
  """A trajectory thinned for a viewer.

  Attributes:
    label: plain text, short.
    ca: [F, L, 3] float32 Å; all clips of a protein are superposed on the same structure.
    carbonyl: [F, L, 3] float32, from C to O, of length 1: the planes of the peptides.
    structure: [F, L] uint8, index into `secondary_structure.KINDS`.
    frame: [F], numbers of these frames, from 0.
    num_frames: of the whole trajectory.
    time_ns: [F] ascending, ns; None if there are no times.
    heavy_atoms: [F, L, 14, 3] float32 Å, superposed alike; None where there are no side chains.
  """

  label: str
  ca: np.ndarray
  carbonyl: np.ndarray
  structure: np.ndarray
  frame: np.ndarray
  num_frames: int
  time_ns: np.ndarray | None = None
  heavy_atoms: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ReplicaSeries:
  """Of every frame of one trajectory; None where a series cannot be computed.

  Attributes:
    time_ns: [F] ns; None if there are no times.
    rmsd: [F] Å, CA to the native structure.
    radius_of_gyration: [F] Å.
    native_contacts: [F], fraction of native contacts.
    pcs: [F, 2] Å, projections on the first two principal components of the reference.
    ca_ca_min: [F] Å, least distance of neighbouring CA.
    ca_ca_max: [F] Å, greatest.
    c_n_max: [F] Å, longest peptide bond.
    clashes: [F], pairs of atoms.
    interface_contacts: [F, I], fraction of the native contacts of each pair of chains that touch.
    ligand_rmsd: [F, I] Å, of the shorter chain of each, where the longer one is superposed.
  """

  time_ns: np.ndarray | None = None
  rmsd: np.ndarray | None = None
  radius_of_gyration: np.ndarray | None = None
  native_contacts: np.ndarray | None = None
  pcs: np.ndarray | None = None
  ca_ca_min: np.ndarray | None = None
  ca_ca_max: np.ndarray | None = None
  c_n_max: np.ndarray | None = None
  clashes: np.ndarray | None = None
  interface_contacts: np.ndarray | None = None
  ligand_rmsd: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleSeries:
  """Of all replicas of the reference, or of the prediction; None or empty where there is nothing.

  Attributes:
    label: 'MD', 'prediction', ...
    replicas: one per trajectory.
    rmsf: [L] Å.
    contacts: [L, L], probability of each contact.
    ramachandran: [72, 72] counts over phi and psi, of all residues and frames.
    free_energy: [X, Y] kcal/mol over PC1 and PC2, on `ProteinSeries.pc_extent`; inf where nothing
      was seen.
    autocorrelations: name -> lag times in ns, and values.
    profiles: name with unit, such as 'RMSD (Å)' -> x, and free energy in kcal/mol.
    clip: of the first replica.
  """

  label: str
  replicas: Sequence[ReplicaSeries] = ()
  rmsf: np.ndarray | None = None
  contacts: np.ndarray | None = None
  ramachandran: np.ndarray | None = None
  free_energy: np.ndarray | None = None
  autocorrelations: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
  profiles: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
  clip: Clip | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ProteinSeries:
  """Of one protein.

  Attributes:
    name: of the protein.
    chain_index: [L].
    bonded: [L] bool, residue i is bonded to i + 1.
    reference: MD.
    prediction: what is compared with it.
    names: [L] of residues, such as 'LEU 12'; empty where unknown.
    pc_extent: PC1 min, max, PC2 min, max in Å, of the free-energy surfaces.
    temperature_K: of the free energies.
    residues: where clips have side chains; else None.
    half_rmsf: [2, L] Å, of CA in the first and second halves of the replicas of MD.
    recovery: cells of PC1 and PC2 that both visit; None where there are none.
    kinetic: kinetic states; None where there are none.
    no_kinetic: why.
    side_chains: distributions of chi; None where there are none.
    no_side_chains: why.
  """

  name: str
  chain_index: np.ndarray
  bonded: np.ndarray
  reference: EnsembleSeries
  prediction: EnsembleSeries
  names: Sequence[str] = ()
  pc_extent: tuple[float, float, float, float] | None = None
  temperature_K: float = 300.0
  residues: protein_lib.ProteinArrays | None = None
  half_rmsf: np.ndarray | None = None
  recovery: state_recovery.StateRecovery | None = None
  kinetic: KineticSeries | None = None
  no_kinetic: str | None = None
  side_chains: SideChainSeries | None = None
  no_side_chains: str | None = None


def of_protein(
  name: str,
  reference: Ensemble,
  prediction: Ensemble,
  slow: kinetics.SlowDynamics | None,
  settings: Settings,
) -> ProteinSeries:
  """Computes the series of one protein.

  Args:
    name: of the protein.
    reference: MD.
    prediction: what is compared with it.
    slow: of both; None if there is none.
    settings: how to compare.
  """
  both, temperature_K = (reference, prediction), settings.temperature_K
  pcs = [reference.pca.project(ensemble.ca) for ensemble in both]
  x, y, surfaces = thermodynamics.free_energy_2d(pcs, temperature_K)
  profiles = _profiles(reference, prediction, pcs, temperature_K)
  # Pairs of `slow` begin with the prediction.
  slow_curves = (None, None) if slow is None else slow.autocorrelation[::-1]
  found = []
  for k, (label, ensemble) in enumerate(zip(('MD', 'prediction'), both, strict=True)):
    conformations = of_conformations(label, ensemble, _heavy_atoms(ensemble))
    autocorrelations = {
      **conformations.autocorrelations,
      **_over_lags(ensemble, 'slow coordinates', slow_curves[k]),
    }
    found.append(
      dataclasses.replace(
        conformations,
        replicas=_replicas(ensemble, pcs[k]),
        rmsf=ensemble.rmsf[:, flexibility.CA],
        contacts=ensemble.contact_probability,
        free_energy=surfaces[k],
        autocorrelations=autocorrelations,
        profiles=profiles[k],
      )
    )
  arrays = reference.native.arrays
  recovery, _ = trajectory_scores.recovery(reference, prediction)
  kinetic, no_kinetic = _kinetic(reference, prediction, settings.lag_ns)
  side_chains, no_side_chains = _side_chains(reference, prediction)
  return ProteinSeries(
    name=name,
    chain_index=np.asarray(arrays.chain_index),
    bonded=np.asarray(arrays.bonded),
    reference=found[0],
    prediction=found[1],
    names=series_side_chains.residue_names(reference.native),
    pc_extent=(float(x[0]), float(x[-1]), float(y[0]), float(y[-1])),
    temperature_K=temperature_K,
    residues=arrays if any(each.replicas[0].side_chains is not None for each in both) else None,
    half_rmsf=_half_rmsf(reference),
    recovery=recovery,
    kinetic=kinetic,
    no_kinetic=no_kinetic,
    side_chains=side_chains,
    no_side_chains=no_side_chains,
  )


def _half_rmsf(reference: Ensemble) -> np.ndarray:
  halves = [np.array_split(x, 2) for x in reference.split(reference.superposed[:, :, [CA]])]
  parts = [np.concatenate([half[k] for half in halves]) for k in range(2)]
  # Of single frames, the second half is empty.
  return np.stack([flexibility.rmsf(part if len(part) else parts[0])[:, 0] for part in parts])


def _kinetic(
  reference: Ensemble, prediction: Ensemble, lag_ns: float | None
) -> Found[KineticSeries]:
  compared = markov_scores.compare(reference, prediction, lag_ns)
  if compared.reference is None or reference.dt_ns is None:
    return None, compared.reason or ''
  reason = compared.notes.get('pi_mae', '').removeprefix('prediction: ')
  return series_kinetics.of_states(
    compared.reference, compared.predicted, (reference.dt_ns, prediction.dt_ns), reason
  ), None


def _side_chains(reference: Ensemble, prediction: Ensemble) -> Found[SideChainSeries]:
  chi, rotamers = [], []
  for ensemble in (reference, prediction):
    if ensemble.chi is None or ensemble.rotamers is None:
      return None, ensemble.no_side_chains or ''
    chi.append(ensemble.split(ensemble.chi))
    rotamers.append(ensemble.rotamers)
  found = series_side_chains.of_chi(chi[0], chi[1], (rotamers[0], rotamers[1]), reference.native)
  return (None, 'no residue has a chi that both sides know') if found is None else (found, None)


def _heavy_atoms(ensemble: Ensemble) -> np.ndarray | None:
  """[F, L, 14, 3] Å of the first replica; None where it has no side chains."""
  first = ensemble.replicas[0]
  if first.side_chains is None:
    return None
  return heavy_atoms_lib.slots_of([(first.positions, first.side_chains)])


def of_conformations(
  label: str, ensemble: Ensemble, heavy_atoms: np.ndarray | None = None
) -> EnsembleSeries:
  """What needs no reference: torsions, their autocorrelation, and the clip.

  Args:
    label: plain text, short.
    ensemble: of backbones.
    heavy_atoms: [F, L, 14, 3] Å of the first replica; None where there are no side chains.
  """
  curve, _ = ensemble.torsion_autocorrelation
  return EnsembleSeries(
    label,
    ramachandran=_ramachandran(ensemble),
    autocorrelations=_over_lags(ensemble, 'phi and psi', curve),
    clip=clip(label, ensemble, heavy_atoms),
  )


def _replicas(ensemble: Ensemble, projected: np.ndarray) -> list[ReplicaSeries]:
  bonds = ensemble.native.arrays.bonds
  low, high = validity.ca_ca_range(ensemble.positions, bonds)
  per_frame = {
    'rmsd': ensemble.rmsd,
    'radius_of_gyration': ensemble.radius_of_gyration,
    'native_contacts': ensemble.native_contacts,
    'pcs': projected,
    'ca_ca_min': low,
    'ca_ca_max': high,
    'c_n_max': validity.c_n_max(ensemble.positions, bonds),
    'clashes': ensemble.clashes,
    'interface_contacts': ensemble.interface_contacts,
    'ligand_rmsd': ensemble.ligand_rmsd,
  }
  by_replica = {name: ensemble.split(x) for name, x in per_frame.items() if x is not None}
  return [
    ReplicaSeries(time_ns=replica.time_ns, **{name: parts[k] for name, parts in by_replica.items()})
    for k, replica in enumerate(ensemble.replicas)
  ]


def _profiles(
  reference: Ensemble, prediction: Ensemble, pcs: Sequence[np.ndarray], temperature_K: float
) -> list[dict[str, Curve]]:
  """Free energy along one coordinate, of both."""
  coordinates: dict[str, Sequence[np.ndarray | None]] = {
    'RMSD (Å)': (reference.rmsd, prediction.rmsd),
    'radius of gyration (Å)': (reference.radius_of_gyration, prediction.radius_of_gyration),
    'native contacts': (reference.native_contacts, prediction.native_contacts),
    'PC1 (Å)': (pcs[0][:, 0], pcs[1][:, 0]),
  }
  found: list[dict[str, Curve]] = [{}, {}]
  for name, pair in coordinates.items():
    both = [x for x in pair if x is not None]
    if len(both) == 2:
      grid, energies = thermodynamics.free_energy_1d(both, temperature_K)
      for k, energy in enumerate(energies):
        found[k][name] = grid, energy
  return found


def _over_lags(ensemble: Ensemble, name: str, curve: np.ndarray | None) -> dict[str, Curve]:
  """An autocorrelation [lags] over lag times in ns; empty if there is none."""
  if curve is None or ensemble.dt_ns is None:
    return {}
  return {name: (ensemble.dt_ns * np.arange(len(curve)), curve)}


def _ramachandran(ensemble: Ensemble) -> np.ndarray:
  angles = np.rad2deg(ensemble.torsions[..., :2]).reshape(-1, 2)
  angles = angles[~np.isnan(angles).any(axis=1)]
  edges = np.linspace(-180.0, 180.0, RAMACHANDRAN_BINS + 1)
  return np.histogram2d(angles[:, 0], angles[:, 1], bins=(edges, edges))[0]


def clip(label: str, ensemble: Ensemble, heavy_atoms: np.ndarray | None = None) -> Clip:
  """The first replica of an ensemble, thinned to `MAX_CLIP_FRAMES`.

  Args:
    label: plain text, short.
    ensemble: of backbones.
    heavy_atoms: [F, L, 14, 3] Å of the first replica; None where there are no side chains.
  """
  replica, native = ensemble.replicas[0], ensemble.native
  count = min(replica.num_frames, MAX_CLIP_FRAMES)
  if heavy_atoms is not None:
    num_atoms = int(np.count_nonzero(side_chain_atoms.atom_mask(native.arrays.residue_type)))
    count = min(count, max(_MIN_CLIP_FRAMES, _MAX_CLIP_ATOMS // num_atoms))
  frame = np.linspace(0, replica.num_frames - 1, count).round().astype(int)
  positions = ensemble.superposed[frame]
  carbonyl = positions[:, :, _O] - positions[:, :, _C]
  length = np.linalg.norm(carbonyl, axis=-1, keepdims=True)
  if heavy_atoms is not None:
    picked = heavy_atoms[frame]
    heavy_atoms = superposition.superpose(picked, native.arrays.positions).astype(np.float32)
  return Clip(
    label,
    positions[:, :, CA].astype(np.float32),
    (carbonyl / np.maximum(length, 1e-6)).astype(np.float32),
    secondary_structure.assign(replica.positions[frame], native),
    frame,
    replica.num_frames,
    None if replica.time_ns is None else replica.time_ns[frame],
    heavy_atoms,
  )

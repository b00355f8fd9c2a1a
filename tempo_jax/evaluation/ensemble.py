"""An ensemble in the frame of the native structure, with what several metrics look at."""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from tempo_jax.evaluation import heavy_atoms as heavy_atoms_lib
from tempo_jax.evaluation.replica import Replica
from tempo_jax.metrics import (
  close_contacts,
  contacts,
  distribution,
  exposure,
  flexibility,
  interfaces,
  kinetics,
  md_validity,
  ramachandran,
  rotamer_changes,
  superposition,
  thermodynamics,
  torsions,
  validity,
)
from tempo_jax.protein.protein import Protein

_T = TypeVar('_T')

MAX_CONTACT_FRAMES = 50
"""Of all replicas together, evenly spaced: a frame of 150 residues takes 1 ms."""
MAX_AREA_FRAMES = 250
"""The same for the surface of side chains; a frame of 150 residues takes 0.1 s."""
_ATOMS_AT_ONCE = 64

# Cached properties: those of each frame, and those of all frames together.
_PER_FRAME = (
  *('superposed', 'ca', 'rmsd', 'radius_of_gyration', 'torsions', 'clashes', 'native_contacts'),
  *('motions', 'ca_extremes', 'ramachandran_outliers', 'chi', 'rotamers', 'rotamer_outliers'),
  *('close_contacts', 'side_chain_areas', 'interface_contacts', 'ligand_rmsd'),
)
_OF_ALL = ('rmsf', 'contact_probability', 'pca', 'pairwise_rmsd', 'heavy_gaussians')
_THINNED_RESIDUES = 40


class Ensemble:
  """All replicas of a prediction, or of the reference; every property is computed once.

  Attributes:
    native: the structure that frames are superposed on.
    replicas: the files.
    positions: [F, L, 4, 3] float32 Å, of all replicas one after the other.
    distance_residues: between which CA-CA distances are compared with these: all, unless thinned.
  """

  def __init__(self, native: Protein, replicas: Sequence[Replica]):
    self.native = native
    self.distance_residues = slice(None)
    self.replicas = tuple(replicas)
    self._kept: dict[Hashable, Any] = {}
    self.positions = (
      replicas[0].positions
      if len(replicas) == 1
      else np.concatenate([replica.positions for replica in replicas])
    )

  @property
  def num_frames(self) -> int:
    """F."""
    return len(self.positions)

  @property
  def dt_ns(self) -> float | None:
    """Time between frames, ns; None where it is unknown, or differs between replicas."""
    steps = {replica.dt_ns for replica in self.replicas}
    return steps.pop() if len(steps) == 1 else None

  @property
  def no_time(self) -> str:
    """Why there is no `dt_ns`."""
    remarks = [remark for replica in self.replicas for remark in replica.remarks]
    if any(replica.dt_ns is None for replica in self.replicas):
      return '; '.join(dict.fromkeys(remarks)) or 'its frames have no times'
    return 'its replicas have different time steps'

  @property
  def heavy_atoms(self) -> np.ndarray | None:
    """[F, L, 14, 3] float32 Å, put together anew; None where a replica has no side chains.

    Atoms that are missing, or that the residue lacks, are at its CA; see `known_atoms`.
    """
    parts = [(r.positions, r.side_chains) for r in self.replicas if r.side_chains is not None]
    return heavy_atoms_lib.slots_of(parts) if len(parts) == len(self.replicas) else None

  @functools.cached_property
  def known_atoms(self) -> np.ndarray | None:
    """[L, 14] bool, the heavy atoms that all files have; None where one has no side chains."""
    found = [replica.side_chains for replica in self.replicas]
    if None in found:
      return None
    return np.all([each.known for each in found if each is not None], axis=0)

  @functools.cached_property
  def chi(self) -> np.ndarray | None:
    """[F, L, 4] float64 rad, NaN where absent or unknown; None as `heavy_atoms`."""
    found = [replica.side_chains for replica in self.replicas]
    if None in found:
      return None
    return np.concatenate([each.chi for each in found if each is not None], dtype=np.float64)

  @property
  def no_side_chains(self) -> str | None:
    """Why there are none, by the first file without; None where there are."""
    lack = next((r for r in self.replicas if r.side_chains is None), None)
    return None if lack is None else f'{lack.source} has no side chains'

  def once(self, key: Hashable, compute: Callable[[], _T]) -> _T:
    """What depends on this ensemble alone, and is compared with several others.

    Args:
      key: what it is, with all that it depends on.
      compute: called for a new key only.
    """
    if key not in self._kept:
      self._kept[key] = compute()
    return self._kept[key]

  @functools.cached_property
  def rotamers(self) -> np.ndarray | None:
    """[F, L, 2] int8 wells of chi1 and chi2 (`rotamer_changes.states`); None as `heavy_atoms`."""
    if self.chi is None:
      return None
    types = self.native.arrays.residue_type
    return np.concatenate([rotamer_changes.states(chi, types) for chi in self.split(self.chi)])

  @functools.cached_property
  def rotamer_outliers(self) -> np.ndarray | None:
    """[F] share of residues (`md_validity.rotamer_outliers`); None as `heavy_atoms`."""
    if self.chi is None:
      return None
    return md_validity.rotamer_outliers(self.chi, self.native.arrays.residue_type)

  @functools.cached_property
  def ramachandran_outliers(self) -> np.ndarray:
    """[F] share of residues with phi and psi; NaN where there are none."""
    arrays = self.native.arrays
    phi, psi, _ = np.moveaxis(self.torsions, -1, 0)
    outlier, judged = ramachandran.outliers(phi, psi, arrays.residue_type, arrays.bonds)
    return outlier[:, judged].mean(axis=1) if judged.any() else np.full(len(phi), np.nan)

  @functools.cached_property
  def close_contacts(self) -> np.ndarray | None:
    """[F] close contacts of the frames that `counted_frames` says, NaN of others; None alike."""
    known = self.known_atoms
    return self._of_counted(
      MAX_CONTACT_FRAMES,
      lambda atoms: close_contacts.count(atoms, self.native.arrays, known).astype(np.float64),
    )

  @functools.cached_property
  def side_chain_areas(self) -> np.ndarray | None:
    """[F, L] Å^2 that side chains offer to a probe, NaN of frames that are not looked at.

    None as `heavy_atoms`, and where areas cannot be computed. Slow: 0.1 s per frame.
    """
    return self._of_counted(MAX_AREA_FRAMES, self._areas)

  def _areas(self, heavy_atoms: np.ndarray) -> np.ndarray:
    types = self.native.arrays.residue_type
    areas, _ = exposure.side_chain_areas(heavy_atoms, types)
    return np.full((len(heavy_atoms), len(types)), np.nan) if areas is None else areas

  def _of_counted(
    self, max_frames: int, measure: Callable[[np.ndarray], np.ndarray]
  ) -> np.ndarray | None:
    """What costs much, of some evenly spaced frames."""
    stride = -(-self.num_frames // max_frames)
    found = []
    for replica in self.replicas:
      some = replica.take(slice(None, None, stride))
      if some.heavy_atoms is None:
        return None
      of_some = measure(some.heavy_atoms)
      of_all = np.full((replica.num_frames, *of_some.shape[1:]), np.nan)
      of_all[::stride] = of_some
      found.append(of_all)
    return np.concatenate(found)

  @functools.cached_property
  def heavy_gaussians(self) -> distribution.Gaussians | None:
    """Of [L, 14] atoms, superposed by all backbone atoms; NaN where not known; None alike.

    Some atoms at a time: all superposed side chains would take as much memory as everything else.
    """
    known = self.known_atoms
    if known is None:
      return None
    mean, covariance = (np.full((*known.shape, *tail), np.nan) for tail in ((3,), (3, 3)))
    num_backbone = self.positions.shape[2]

    def put(residue: np.ndarray, slot: np.ndarray, superposed: np.ndarray) -> None:
      of_some = distribution.Gaussians.fit(superposed)
      mean[residue, slot], covariance[residue, slot] = of_some.mean, of_some.covariance

    residue, slot = np.nonzero(known[:, :num_backbone])
    put(residue, slot, self.superposed.reshape(self.num_frames, -1, 3))
    residue, slot = np.nonzero(known[:, num_backbone:])
    slot += num_backbone
    side_chains = [replica.side_chains for replica in self.replicas]
    for start in range(0, len(residue), _ATOMS_AT_ONCE):
      chosen = residue[start : start + _ATOMS_AT_ONCE], slot[start : start + _ATOMS_AT_ONCE]
      points = np.concatenate([each.of(*chosen) for each in side_chains if each is not None])
      put(*chosen, superposition.move(points, self.motions))
    return distribution.Gaussians(mean, covariance)

  def split(self, per_frame: np.ndarray) -> list[np.ndarray]:
    """What is per frame [F, ...], by replica."""
    return np.split(per_frame, np.cumsum([r.num_frames for r in self.replicas])[:-1])

  def view(self, cuts: Sequence[tuple[int, slice]], no_time: str | None = None) -> 'Ensemble':
    """Some of the frames; what is known of each of them is not computed again.

    Args:
      cuts: numbers of replicas, and which of their frames; each becomes a replica.
      no_time: why they shall have no times; None: they keep them.
    """
    parts = [self.replicas[k].take(frames) for k, frames in cuts]
    if no_time is not None:
      parts = [dataclasses.replace(part, time_ns=None, remarks=(no_time,)) for part in parts]
    found = Ensemble(self.native, parts)
    every = self.split(np.arange(self.num_frames))
    index = np.concatenate([every[k][frames] for k, frames in cuts])
    known = {name: self.__dict__[name] for name in _PER_FRAME if name in self.__dict__}
    found.__dict__.update({k: x if x is None else x[index] for k, x in known.items()})
    return found

  def thinned(self, max_frames: int, no_time: str) -> 'Ensemble':
    """About so many frames, evenly spaced, to be compared with; distances of some 40 residues.

    RMSF, PCA and all that is kept by `once` stay those of all frames.

    Args:
      max_frames: of all replicas together.
      no_time: why they have no times.
    """
    stride = -(-self.num_frames // max_frames)
    found = self.view([(k, slice(None, None, stride)) for k in range(len(self.replicas))], no_time)
    found.__dict__.update({name: getattr(self, name) for name in _OF_ALL})
    # Of some frames only, which others may not be.
    some = ('close_contacts', 'side_chain_areas')
    found.__dict__.update({name: self.__dict__[name] for name in some if name in self.__dict__})
    found._kept = self._kept
    found.distance_residues = slice(None, None, -(-self.native.num_residues // _THINNED_RESIDUES))
    return found

  @functools.cached_property
  def motions(self) -> np.ndarray:
    """[F, 3, 4], of each frame onto the native structure, by all backbone atoms."""
    return superposition.motion(self.positions, self.native.arrays.positions)

  @functools.cached_property
  def superposed(self) -> np.ndarray:
    """[F, L, 4, 3] float64 Å, by all backbone atoms."""
    points = self.positions.reshape(self.num_frames, -1, 3)
    return superposition.move(points, self.motions).reshape(self.positions.shape)

  @functools.cached_property
  def ca(self) -> np.ndarray:
    """[F, L, 3] float64 Å, superposed by the CA atoms."""
    native = self.native.arrays.positions[:, superposition.CA]
    return superposition.superpose_points(self.positions[:, :, superposition.CA], native)

  @functools.cached_property
  def rmsf(self) -> np.ndarray:
    """[L, 4] Å."""
    return flexibility.rmsf(self.superposed)

  @functools.cached_property
  def rmsd(self) -> np.ndarray:
    """[F] Å, of CA to the native structure."""
    difference = self.ca - self.native.arrays.positions[:, superposition.CA]
    return np.sqrt(np.einsum('flx,flx->f', difference, difference) / difference.shape[1])

  @functools.cached_property
  def radius_of_gyration(self) -> np.ndarray:
    """[F] Å."""
    return flexibility.radius_of_gyration(self.positions)

  @functools.cached_property
  def torsions(self) -> np.ndarray:
    """[F, L, 3] radians: phi, psi, omega; NaN where there is none."""
    angles = torsions.backbone_torsions(self.positions, self.native.arrays.bonds)
    return np.stack(angles, axis=-1)

  @functools.cached_property
  def torsion_autocorrelation(self) -> tuple[np.ndarray, None] | tuple[None, str]:
    """[lags + 1] of phi and psi, or why there is none."""
    angles = self.torsions[..., :2].reshape(self.num_frames, -1)
    return kinetics.torsion_autocorrelation(self.split(angles))

  @functools.cached_property
  def contact_probability(self) -> np.ndarray:
    """[L, L]."""
    return contacts.contact_probability(self.positions)

  @functools.cached_property
  def pca(self) -> distribution.Pca:
    """Of the CA atoms."""
    return distribution.Pca.fit(self.ca)

  @functools.cached_property
  def pairwise_rmsd(self) -> float:
    """Å, of CA, over all pairs of frames."""
    return flexibility.pairwise_rmsd(self.ca)

  @functools.cached_property
  def clashes(self) -> np.ndarray:
    """[F] number of clashes by the paper's rule."""
    return validity.num_clashes(self.positions, self.native.arrays.bonds)

  @functools.cached_property
  def ca_extremes(self) -> np.ndarray:
    """[F, 2] Å: the least CA-CA distance of no neighbours, the greatest of bonded ones."""
    return np.stack(md_validity.ca_distances(self.positions, self.native.arrays.bonds), axis=-1)

  @functools.cached_property
  def native_contacts(self) -> np.ndarray | None:
    """[F] fraction of native contacts, q; None where the native structure has none."""
    arrays = self.native.arrays
    q, _ = thermodynamics.fraction_of_native_contacts(
      self.positions, np.asarray(arrays.positions), np.asarray(arrays.chain_index)
    )
    return q

  @functools.cached_property
  def interfaces(self) -> list[interfaces.Interface]:
    """Chains that touch in the native structure."""
    arrays = self.native.arrays
    return interfaces.of_native(np.asarray(arrays.positions), np.asarray(arrays.chain_index))

  @functools.cached_property
  def interface_contacts(self) -> np.ndarray:
    """[F, I] fraction of native contacts of each of `interfaces`."""
    found = [interfaces.native_contacts(self.positions, each) for each in self.interfaces]
    return np.stack(found, axis=-1) if found else np.empty((self.num_frames, 0))

  @functools.cached_property
  def ligand_rmsd(self) -> np.ndarray:
    """[F, I] Å, L-RMSD to the native structure of each of `interfaces`."""
    native = np.asarray(self.native.arrays.positions)
    found = [interfaces.ligand_rmsd(self.positions, native, each) for each in self.interfaces]
    return np.stack(found, axis=-1) if found else np.empty((self.num_frames, 0))

"""An ensemble in the frame of the native structure, with what several metrics look at."""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import numpy as np

from tempo_jax.evaluation import heavy_atoms as heavy_atoms_lib
from tempo_jax.evaluation.replica import Replica
from tempo_jax.metrics import (
  contacts,
  distribution,
  flexibility,
  kinetics,
  superposition,
  thermodynamics,
  torsions,
  validity,
)
from tempo_jax.protein.protein import Protein

_T = TypeVar('_T')


class Ensemble:
  """All replicas of a prediction, or of the reference; every property is computed once.

  Attributes:
    native: the structure that frames are superposed on.
    replicas: the files.
    positions: [F, L, 4, 3] float32 Å, of all replicas one after the other.
  """

  def __init__(self, native: Protein, replicas: Sequence[Replica]):
    self.native = native
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

  def split(self, per_frame: np.ndarray) -> list[np.ndarray]:
    """What is per frame [F, ...], by replica."""
    return np.split(per_frame, np.cumsum([r.num_frames for r in self.replicas])[:-1])

  @functools.cached_property
  def superposed(self) -> np.ndarray:
    """[F, L, 4, 3] float64 Å, by all backbone atoms."""
    return superposition.superpose(self.positions, self.native.arrays.positions)

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
  def native_contacts(self) -> np.ndarray | None:
    """[F] fraction of native contacts, q; None where the native structure has none."""
    arrays = self.native.arrays
    q, _ = thermodynamics.fraction_of_native_contacts(
      self.positions, np.asarray(arrays.positions), np.asarray(arrays.chain_index)
    )
    return q

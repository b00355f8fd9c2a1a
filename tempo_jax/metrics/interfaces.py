"""How chains hold together, and how they move against one another. Plain numpy.

An interface is a pair of chains with native contacts. As in CAPRI, the longer chain is the receptor
and the shorter one the ligand.
"""

import dataclasses

import numpy as np

from tempo_jax.metrics import flexibility, superposition, thermodynamics

APART = 0.1
"""Chains that keep fewer of their native contacts have come apart: CAPRI's limit below which a
complex is incorrect (Mendez et al., Proteins 52, 51 (2003)), there of contacts of residues."""


@dataclasses.dataclass(frozen=True, eq=False)
class Interface:
  """Two chains that touch in the native structure.

  Attributes:
    receptor: [R] residues of the longer chain; of two that are equally long the first.
    ligand: [S] residues of the other.
    pairs: [P, 2] of indices into the [4 L] backbone atoms, see `thermodynamics.native_contacts`.
    native_distance: [P] Å.
  """

  receptor: np.ndarray
  ligand: np.ndarray
  pairs: np.ndarray
  native_distance: np.ndarray


def of_native(native: np.ndarray, chain_index: np.ndarray) -> list[Interface]:
  """All interfaces, in the order of their chains.

  Args:
    native: [L, 4, 3] Å, atoms N, CA, C, O.
    chain_index: [L].
  """
  pairs, distance = thermodynamics.native_contacts(native, chain_index)
  chains = np.sort(np.asarray(chain_index)[pairs // native.shape[1]], axis=-1)
  found = []
  for one, other in np.unique(chains, axis=0).tolist():
    if one == other:
      continue
    first, second = (np.flatnonzero(chain_index == chain) for chain in (one, other))
    if len(second) > len(first):
      first, second = second, first
    here = (chains == (one, other)).all(axis=-1)
    found.append(Interface(first, second, pairs[here], distance[here]))
  return found


def native_contacts(positions: np.ndarray, interface: Interface) -> np.ndarray:
  """Fraction of the contacts between them, q (`thermodynamics.fraction_of_native_contacts`).

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O.
    interface: of the same residues.

  Returns:
    [F] float64, 0 to 1.
  """
  return thermodynamics.mean_of_contacts(positions, interface.pairs, interface.native_distance)


def _ligand(positions: np.ndarray, onto: np.ndarray, interface: Interface) -> np.ndarray:
  """[F, S, 4, 3] float64 Å, of the ligand, frames superposed by the backbone of the receptor."""
  motions = superposition.motion(positions[:, interface.receptor], onto[interface.receptor])
  ligand = positions[:, interface.ligand]
  return superposition.move(ligand.reshape(len(ligand), -1, 3), motions).reshape(ligand.shape)


def ligand_rmsd(positions: np.ndarray, native: np.ndarray, interface: Interface) -> np.ndarray:
  """How far the ligand is from its native place: L-RMSD of CAPRI (Mendez et al., 2003).

  Of backbone atoms, after the receptors are superposed.

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O.
    native: [L, 4, 3] Å.
    interface: of the same residues.

  Returns:
    [F] float64 Å.
  """
  away = _ligand(positions, native, interface) - native[interface.ligand]
  return np.sqrt(np.mean(np.sum(away**2, axis=-1), axis=(1, 2)))


def ligand_rmsf(positions: np.ndarray, native: np.ndarray, interface: Interface) -> float:
  """How far the ligand moves against the receptor: its RMSF where the receptor stands still.

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O, of one replica.
    native: [L, 4, 3] Å.
    interface: of the same residues.

  Returns:
    Å, root mean square over the CA of the ligand.
  """
  rmsf = flexibility.rmsf(_ligand(positions, native, interface))[:, flexibility.CA]
  return float(np.sqrt(np.mean(rmsf**2)))

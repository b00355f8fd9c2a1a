"""Side chains of the frames of a file, as many of their atoms as it has."""

import dataclasses
from collections.abc import Sequence

import mdtraj
import numpy as np

from tempo_jax.errors import first_few
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms, side_chain_torsions
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import side_chains as side_chains_lib

_NUM_BACKBONE = atoms_lib.NUM_SLOTS[atoms_lib.BACKBONE]
_CA, _CB = 1, 4
# Å, from CA, squared. Farther, the periodic box has cut the residue: arginine is 8 Å long.
_CUT = 12.0**2


@dataclasses.dataclass(frozen=True, eq=False)
class SideChains:
  """Only the atoms that exist: a quarter of the memory of 14 slots per residue.

  Attributes:
    atoms: [F, N, 3] float32 Å.
    residue: [N], which residue each belongs to.
    slot: [N], which of its 14 atoms it is, from CB on (`side_chain_atoms.ATOM_NAMES`).
    chi: [F, L, 4] float32 rad, NaN where there is none, or it is not known.
    native: [L, 14, 3] float32 Å of the native structure, as `slots_of`; None where it lacks atoms.
  """

  atoms: np.ndarray
  residue: np.ndarray
  slot: np.ndarray
  chi: np.ndarray
  native: np.ndarray | None = None

  @property
  def known(self) -> np.ndarray:
    """[L, 14] bool, the atoms that are there, with those of the backbone."""
    found = np.zeros((self.chi.shape[1], atoms_lib.NUM_SLOTS[atoms_lib.HEAVY]), bool)
    found[:, :_NUM_BACKBONE] = True
    found[self.residue, self.slot] = True
    return found

  def of(self, residue: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """[F, n, 3] Å of some atoms of side chains that are known."""
    order = np.full(self.known.shape, -1)
    order[self.residue, self.slot] = np.arange(len(self.residue))
    return self.atoms[:, order[residue, slot]]

  def take(self, frames: slice) -> 'SideChains':
    """Some of the frames, without a copy."""
    return dataclasses.replace(self, atoms=self.atoms[frames], chi=self.chi[frames])

  def fill(self, heavy_atoms: np.ndarray, positions: np.ndarray) -> None:
    """Puts all heavy atoms into an array; those that a residue lacks, or the file, at its CA.

    Args:
      heavy_atoms: [F, L, 14, 3] Å, to be filled.
      positions: [F, L, 4, 3] Å, of the backbone.
    """
    heavy_atoms[:, :, _NUM_BACKBONE:] = positions[:, :, _CA, None]
    heavy_atoms[:, :, :_NUM_BACKBONE] = positions
    heavy_atoms[:, self.residue, self.slot] = self.atoms


def slots_of(parts: Sequence[tuple[np.ndarray, SideChains]]) -> np.ndarray:
  """All heavy atoms of one protein.

  Args:
    parts: of each of one or more files, the backbone [F, L, 4, 3] Å and the side chains.

  Returns:
    [F, L, 14, 3] float32 Å of all their frames, one after the other; atoms that are missing, or
    that a residue lacks, at its CA.
  """
  num_frames = sum(len(positions) for positions, _ in parts)
  length, num_slots = parts[0][0].shape[1], atoms_lib.NUM_SLOTS[atoms_lib.HEAVY]
  found = np.empty((num_frames, length, num_slots, 3), np.float32)
  start = 0
  for positions, side_chains in parts:
    side_chains.fill(found[start : start + len(positions)], positions)
    start += len(positions)
  return found


class Reader:
  """Reads the side chains of one file, block by block."""

  def __init__(self, found: protein_lib.Protein):
    """Finds the atoms.

    Args:
      found: the residues of the file, from `backbone_atoms.select`.
    """
    index = found.heavy_atom_index
    self._torsions = side_chains_lib.TorsionReader(found)
    self._residue, self._slot, self._rows = (np.zeros(0, np.int64) for _ in range(3))
    self._blocks: list[tuple[np.ndarray, np.ndarray]] = []
    types = found.arrays.residue_type
    if index is not None and _has_side_chains(index, types):
      there = side_chain_atoms.atom_mask(types) & (index >= 0)
      there[:, :_NUM_BACKBONE] = False
      self._residue, self._slot = np.nonzero(there)
      self._rows = index[there]

  def append(self, block: mdtraj.Trajectory, ca: np.ndarray, shifts: np.ndarray | None) -> None:
    """The next frames.

    Args:
      block: F of them.
      ca: [F, L, 3] Å as they stand there.
      shifts: [F, L, 3] Å that residues were moved by into the image that is wanted; None: none.
    """
    if not len(self._rows):
      return
    atoms = 10.0 * block.xyz[:, self._rows]
    if (vectors := block.unitcell_vectors) is not None:
      _put_together(atoms, ca[:, self._residue], 10.0 * vectors.astype(np.float64))
    if shifts is not None:
      atoms += shifts[:, self._residue].astype(atoms.dtype)
    chi = self._torsions.read(block)
    assert chi is not None  # There are side chains.
    self._blocks.append((atoms, chi))

  def found(self, native: np.ndarray | None) -> SideChains | None:
    """Of all frames; None where the file has no side chains.

    Args:
      native: of `SideChains`.
    """
    if not self._blocks:
      return None
    atoms, chi = (np.concatenate(parts) for parts in zip(*self._blocks, strict=True))
    return SideChains(atoms, self._residue, self._slot, chi, native)


def remarks(found: protein_lib.Protein, side_chains: SideChains | None) -> list[str]:
  """What the user should know of the side chains of a file: which of them cannot be judged.

  Args:
    found: the residues of the file.
    side_chains: of its frames.
  """
  if side_chains is None or found.heavy_atom_index is None:
    return []
  missing = side_chain_torsions.missing_atoms(found.heavy_atom_index, found.arrays.residue_type)
  incomplete = dataclasses.replace(found, missing_atoms=missing).incomplete_side_chains
  torsions = side_chain_torsions.of_protein(found)
  assert torsions is not None  # There are side chains.
  broken = (torsions.known & np.isnan(side_chains.chi).any(axis=0)).any(axis=1)
  found_remarks = [incomplete] if incomplete else []
  if broken.any():
    where = [found.label(i) for i in np.flatnonzero(broken).tolist()]
    found_remarks.append(
      f'chi of {len(where)} of {len(broken)} residues are left out: in some frames, bonds of their '
      'side chains are broken, or its atoms are in another order than its topology says: '
      f'{first_few(where)}'
    )
  return found_remarks


def of_structure(found: protein_lib.Protein, coordinates: np.ndarray) -> np.ndarray | None:
  """[L, 14, 3] float32 Å of the structure a protein was read from; None where it lacks atoms.

  Args:
    found: its residues.
    coordinates: [N, 3] Å, of all atoms.
  """
  index, types = found.heavy_atom_index, found.arrays.residue_type
  if index is None:
    return None
  there, beyond = side_chain_atoms.atom_mask(types), np.arange(index.shape[1]) >= _NUM_BACKBONE
  if (there & beyond & (index < 0)).any():
    return None
  atoms = coordinates[np.where(index < 0, index[:, _CA, None], index)]
  atoms[:, :_NUM_BACKBONE] = found.arrays.positions
  return np.asarray(atoms, np.float32)


def _put_together(atoms: np.ndarray, ca: np.ndarray, cells: np.ndarray) -> None:
  """Moves atoms [F, N, 3] that the box [F, 3, 3] has cut off to their CA [F, N, 3], Å."""
  away = atoms - ca
  frame, atom = np.nonzero(~(np.einsum('fnx,fnx->fn', away, away) < _CUT))
  has_box = np.abs(np.linalg.det(cells[frame])) > 1.0  # Formats without a box write zeros.
  frame, atom = frame[has_box], atom[has_box]
  steps = np.nan_to_num(away[frame, atom])[:, None].astype(np.float64)
  atoms[frame, atom] -= (np.round(steps @ np.linalg.inv(cells[frame])) @ cells[frame])[:, 0]


def _has_side_chains(atom_index: np.ndarray, residue_type: np.ndarray) -> bool:
  """Whether there is any atom beyond CB, or CB where none should have more."""
  expected = side_chain_atoms.atom_mask(residue_type)
  first = _CB + 1 if expected[:, _CB + 1 :].any() else _CB
  return bool((expected & (atom_index >= 0))[:, first:].any())

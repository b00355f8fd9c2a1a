"""Coordinates in .npy files, as other programs write them: arrays without names, times or a unit.

    [F, L, 14, 3]  the atoms of AlphaFlow's and MDGen's `atom14`, by residue type (side_chain_atoms)
    [F, L, 37, 3]  AlphaFold's `atom37`
    [F, L, 5, 3]   N, CA, C and then O, CB or CB, O (the first five of atom37, as in BioEmu)
    [F, L, 4, 3]   N, CA, C, O; [F, L, 3, 3] without O

F frames, L residues. Atoms that are absent are zero, or not a number, in the first frame.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.trajectory import atoms as atoms_lib

ATOM37 = (
  *('N', 'CA', 'C', 'CB', 'O', 'CG', 'CG1', 'CG2', 'OG', 'OG1', 'SG', 'CD', 'CD1', 'CD2'),
  *('ND1', 'ND2', 'OD1', 'OD2', 'SD', 'CE', 'CE1', 'CE2', 'CE3', 'NE', 'NE1', 'NE2', 'OE1'),
  *('OE2', 'CH2', 'NH1', 'NH2', 'OH', 'CZ', 'CZ2', 'CZ3', 'NZ', 'OXT'),
)
"""Names of AlphaFold's 37 columns."""

NUM_COLUMNS = (3, 4, 5, 14, 37)
"""Of a residue, in the arrays above."""

_BACKBONE = ('N', 'CA', 'C', 'O')
_NEEDED = 3
_NM = 0.1, 0.2  # Between them N-CA is in nm; it has 1.46 Å.
_FARTHEST_O = 1.3  # times N-CA; O is nearer to C (1.23 Å), CB farther away (2.5 Å)
_BLOCK_BYTES = 64 * 1024**2


def is_array(path: str | os.PathLike[str]) -> bool:
  """Whether the name says that the file is a .npy file."""
  return os.fspath(path).lower().endswith('.npy')


def load(path: pathlib.Path) -> np.ndarray:
  """[F, ..., 3] floats, mapped from the disk; without leading axes of 1 in front of four others.

  Raises:
    InputError: it is no such file.
  """
  try:
    found = np.load(path, mmap_mode='r', allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
    reason = ' '.join(str(error).split())[:120]
    raise InputError(f'{path}: numpy cannot read it: give a sound .npy file ({reason})') from error
  while found.ndim > 4 and found.shape[0] == 1:
    found = found[0]
  is_sound = found.ndim in (3, 4) and found.shape[-1] == 3 and found.size > 0
  if not (is_sound and np.issubdtype(found.dtype, np.floating)):
    raise InputError(
      f'{path}: holds {found.dtype} {list(found.shape)}, no coordinates: give [frames, residues, '
      'atoms, 3], with 3, 4, 5, 14 or 37 atoms'
    )
  return found


@dataclasses.dataclass(frozen=True)
class ArrayFrames:
  """Frames of named atoms in an array.

  Attributes:
    array: [F, ..., 3], of any unit.
    topology: names of N atoms.
    columns: N of each: the atoms are `array[:, *columns]`.
    is_nm: the unit is nm, else Å.
  """

  array: np.ndarray
  topology: mdtraj.Topology
  columns: tuple[np.ndarray, ...]
  is_nm: bool

  def blocks(self, frames: int | None = None) -> Iterator[mdtraj.Trajectory]:
    """Consecutive frames, as `reader.TrajectoryFile.blocks`; they have no times."""
    frames = frames or max(2, _BLOCK_BYTES // (12 * self.topology.n_atoms))
    where: tuple[Any, ...] = (slice(None), *self.columns)
    for first in range(0, len(self.array), frames):
      block = np.asarray(self.array[first : first + frames])
      xyz = block[where].astype(np.float32)
      time = first + np.arange(len(block))  # Integers: none.
      yield mdtraj.Trajectory(xyz if self.is_nm else xyz / 10.0, self.topology, time=time)


def in_nm(n: np.ndarray, ca: np.ndarray) -> bool:
  """Whether a typical N-CA says so; [L, 3] of one frame."""
  return bool(_NM[0] < np.median(np.linalg.norm(ca - n, axis=-1)) < _NM[1])


def of_residues(
  array: np.ndarray, protein: protein_lib.Protein, path: pathlib.Path
) -> tuple[ArrayFrames, np.ndarray]:
  """Names the atoms of an array per residue.

  Args:
    array: [F, L, A, 3], A one of `NUM_COLUMNS`.
    protein: L residues.
    path: of the file, for messages.

  Returns:
    The frames, and the index [L, 14] of the atoms in them, in the slots of `side_chain_atoms`, -1
    where one is missing.

  Raises:
    InputError: N, CA or C are missing, or the fourth of four atoms is not O.
  """
  first = np.asarray(array[0], np.float64)
  there = np.isfinite(first).all(axis=-1) & (first != 0.0).any(axis=-1)  # [L, A]
  there[:, :_NEEDED] |= _is_bonded(first)  # An atom may be at the origin.
  if not (complete := there[:, :_NEEDED].all(axis=1)).all():
    residue = int(np.argmin(complete))
    atom = _BACKBONE[int(np.argmin(there[residue, :_NEEDED]))]
    raise InputError(
      f'{path}: {protein.label(residue)} has no {atom} in frame 0: N, CA and C of every residue '
      'are needed: rebuild the backbone, or leave the file out'
    )
  names = _names(first, protein, path)
  slots = np.full((protein.num_residues, atoms_lib.NUM_SLOTS[atoms_lib.HEAVY]), -1)
  topology = mdtraj.Topology()
  residues: list[int] = []
  columns: list[int] = []
  chains = [topology.add_chain(chain_id or ' ') for chain_id in protein.chain_ids]
  for i, name in enumerate(protein.residue_names):
    chain = chains[protein.arrays.chain_index[i]]
    residue = topology.add_residue(name, chain, resSeq=int(protein.residue_number[i]))
    for slot, atom in enumerate(side_chain_atoms.ATOM_NAMES[protein.arrays.residue_type[i]]):
      column = names[i].index(atom) if atom in names[i] else None
      if column is None or not there[i, column]:
        continue
      slots[i, slot] = len(columns)
      topology.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
      residues.append(i)
      columns.append(column)
  is_nm = in_nm(first[:, 0], first[:, 1])
  where = (np.array(residues), np.array(columns))
  return ArrayFrames(array, topology, where, is_nm), slots


def _is_bonded(first: np.ndarray) -> np.ndarray:
  """[L, 3], whether N, CA and C are a bond's length away from CA, N and CA, in either unit."""
  length = np.linalg.norm(first[:, :_NEEDED] - first[:, [1, 0, 1]], axis=-1)
  return np.any([np.abs(length / unit - 1.5) < 0.4 for unit in (1.0, 0.1)], axis=0)


def _names(
  first: np.ndarray, protein: protein_lib.Protein, path: pathlib.Path
) -> list[tuple[str, ...]]:
  """Of the columns of each residue; first [L, A, 3] is a frame."""
  number = first.shape[1]
  if number == atoms_lib.NUM_SLOTS[atoms_lib.HEAVY]:
    return [side_chain_atoms.ATOM_NAMES[i] for i in protein.arrays.residue_type]
  columns: tuple[str, ...] = ATOM37 if number == len(ATOM37) else _BACKBONE[:number]
  if number in (4, 5):
    bond = np.median(np.linalg.norm(first[:, 1] - first[:, 0], axis=-1))
    # [1 or 2], from C to O, or CB.
    away = np.median(np.linalg.norm(first[:, 3:] - first[:, 2:3], axis=-1), axis=0)
    if away.min() > _FARTHEST_O * bond:
      raise InputError(
        f'{path}: the atoms behind N, CA and C of a residue are {away.min() / bond:.1f} times N-CA '
        f'away from C, so that none is O: give N, CA, C, O{", CB" if number == 5 else ""}'
      )
    if number == 5:
      columns = (*_BACKBONE, 'CB') if away[0] < away[1] else ATOM37[:5]
  return [columns] * len(first)

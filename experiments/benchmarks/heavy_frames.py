"""Frames with all heavy atoms: of files of MD, of structures, and of what a model samples."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from experiments.benchmarks import held_out, md_atoms
from tempo_jax.errors import InputError
from tempo_jax.evaluation.replica import Native
from tempo_jax.geometry import side_chains
from tempo_jax.protein import padding, side_chain_atoms
from tempo_jax.protein.protein import Protein

_heavy_atoms = jax.jit(side_chains.heavy_atoms)


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
  """Replicas of one protein.

  Attributes:
    positions: [F, L, 4, 3] Å of each, N, CA, C, O.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    heavy_atoms: [F, L, 14, 3] Å of each; None where there are no side chains.
    dt_ns: between frames of the last replica, ns, where that is known.
  """

  positions: Sequence[np.ndarray]
  residue_type: np.ndarray
  heavy_atoms: Sequence[np.ndarray] | None = None
  dt_ns: float | None = None

  @functools.cached_property
  def chi(self) -> list[np.ndarray]:
    """[F, L, 4] radians of each replica; 0 where there is none."""
    assert self.heavy_atoms is not None
    return [chi_of(atoms, self.residue_type) for atoms in self.heavy_atoms]

  def first(self, count: int) -> 'Series':
    """The first frames of each replica."""
    heavy = None if self.heavy_atoms is None else [x[:count] for x in self.heavy_atoms]
    return dataclasses.replace(
      self, positions=[x[:count] for x in self.positions], heavy_atoms=heavy
    )


def chi_of(heavy_atoms: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """Chi [F, L, 4] radians of heavy atoms [F, L, 14, 3] Å; 0 where there is none."""
  rows = np.arange(14 * len(residue_type)).reshape(-1, 14)
  atoms = heavy_atoms.reshape(len(heavy_atoms), -1, 3)
  chi, _ = side_chain_atoms.measured_chi(atoms, rows, residue_type)
  return chi


def built(positions: np.ndarray, chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """All heavy atoms in ideal geometry.

  Args:
    positions: [F, L, 4, 3] Å, N, CA, C, O.
    chi: [F, L, 4] radians.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [F, L, 14, 3] float32 Å.
  """
  length = len(residue_type)
  size = padding.bucket(length)  # Few lengths are compiled.
  backbone = padding.pad_positions(positions.astype(np.float32), size)
  chi = np.pad(chi.astype(np.float32), ((0, 0), (0, size - length), (0, 0)))
  kind = np.pad(np.asarray(residue_type), (0, size - length))
  return np.asarray(_heavy_atoms(backbone, chi, kind))[:, :length]


def read(
  topology: pathlib.Path,
  files: Sequence[pathlib.Path],
  name: str,
  dt_ns: float | None = None,
  mean_dt_ns: float | None = None,
) -> tuple[Protein, Series]:
  """Reads replicas.

  Args:
    topology: structure with the atoms of the files.
    files: each a replica.
    name: of the protein.
    dt_ns: wanted between frames, ns; None: all frames.
    mean_dt_ns: between the frames of the files on average, ns, where it varies.

  Returns:
    The protein in the conformation of `topology`; its frames, without side chains if the files
    lack an atom of one.

  Raises:
    InputError: a file cannot be used, or its frames are farther apart.
  """
  native = Native(topology, name)
  positions, heavy, own_dt_ns = [], [], None
  for file in files:
    replica = native.read(file, topology)
    frames = md_atoms.read(name, topology, [file])
    if lacks(frames) is None:
      frames.atoms[:, :, :4] = replica.positions  # Chains side by side.
      replica = dataclasses.replace(replica, positions=frames.atoms)
    if dt_ns is not None:
      replica = held_out.at_spacing(replica, dt_ns, mean_dt_ns)
    own_dt_ns = replica.dt_ns or mean_dt_ns
    positions.append(replica.positions[:, :, :4])
    heavy.append(replica.positions)
  complete = all(x.shape[2] > 4 for x in heavy)
  residue_type = np.asarray(native.protein.arrays.residue_type)
  return native.protein, Series(positions, residue_type, heavy if complete else None, own_dt_ns)


def lacks(frames: md_atoms.Frames) -> str | None:
  """The first atom that is missing, in words; None if there is none."""
  protein = frames.protein
  missing = np.argwhere(side_chain_atoms.atom_mask(protein.arrays.residue_type) & ~frames.known)
  if not missing.size:
    return None
  row, slot = missing[0].tolist()
  name = side_chain_atoms.ATOM_NAMES[protein.arrays.residue_type[row]][slot]
  return f'{protein.residue_names[row]} {protein.residue_number[row]} has no {name}'


def read_structure(path: pathlib.Path) -> tuple[Protein, np.ndarray]:
  """A structure and its heavy atoms [1, L, 14, 3] Å, of the first model.

  Raises:
    InputError: it cannot be read, or lacks an atom of a side chain.
  """
  frames = md_atoms.read(path.name.split('.')[0], path, [path])
  if missing := lacks(frames):
    raise InputError(f'{path}: {missing}: give a structure with all side chains')
  return frames.protein, frames.atoms[:1]

"""Trajectories, to and from mdtraj and files."""

import contextlib
import dataclasses
import os
import pathlib

import jax
import mdtraj
import numpy as np

from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import (
  backbone_atoms,
  imaging,
  side_chains,
  times,
  trajectory_file,
  writers,
)
from tempo_jax.trajectory import structure as structure_lib


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
  """One or more replicas of one protein, frames evenly spaced in time.

  Attributes:
    positions: [R, F, L, 4, 3] Å, replicas and frames of N, CA, C, O; stays on its device.
    protein: names, numbering, chains and the start conformation.
    dt_ns: time from frame to frame, ns.
    start_ns: time of the first frame, ns; `dt_ns` if None, the start
      conformation itself not being a frame.
    heavy_atoms: [R, F, L, 14, 3] Å, all heavy atoms, in the slots of `side_chain_atoms`, of which
      the first four are the positions; None where there are no side chains. See `of_atoms`.
    chi: [R, F, L, 4] rad, torsions of side chains in frames that were read, NaN where a residue has
      no such torsion or lacks atoms; None where none were read.
  """

  positions: jax.Array | np.ndarray
  protein: protein_lib.Protein
  dt_ns: float
  start_ns: float | None = None
  heavy_atoms: jax.Array | np.ndarray | None = None
  chi: np.ndarray | None = None

  def __post_init__(self):
    expected = (self.protein.num_residues, 4, 3)
    if self.positions.ndim != 5 or self.positions.shape[2:] != expected:
      raise ValueError(f'positions have shape {self.positions.shape}, not (R, F, *{expected})')
    expected = (*self.positions.shape[:3], 14, 3)
    if self.heavy_atoms is not None and self.heavy_atoms.shape != expected:
      raise ValueError(f'heavy atoms have shape {self.heavy_atoms.shape}, not {expected}')

  @classmethod
  def of_atoms(
    cls,
    atoms: jax.Array | np.ndarray,
    protein: protein_lib.Protein,
    dt_ns: float,
    start_ns: float | None = None,
  ) -> 'Trajectory':
    """A trajectory of the backbone, [R, F, L, 4, 3] Å, or of all heavy atoms, [R, F, L, 14, 3].

    In NumPy, `positions` are a view of the heavy atoms.
    """
    if atoms_lib.choice_of(atoms) == atoms_lib.BACKBONE:
      return cls(atoms, protein, dt_ns, start_ns)
    return cls(atoms[..., :4, :], protein, dt_ns, start_ns, atoms)

  @property
  def atoms(self) -> jax.Array | np.ndarray:
    """[R, F, L, A, 3] Å: all heavy atoms where they are there, else those of the backbone."""
    return self.positions if self.heavy_atoms is None else self.heavy_atoms

  @property
  def atom_choice(self) -> str:
    """'heavy' or 'backbone': see `atoms.CHOICES`."""
    return atoms_lib.choice_of(self.atoms)

  @property
  def num_replicas(self) -> int:
    """R."""
    return self.positions.shape[0]

  @property
  def num_frames(self) -> int:
    """F."""
    return self.positions.shape[1]

  @property
  def time_ns(self) -> np.ndarray:
    """[F] float64, ns."""
    start = self.dt_ns if self.start_ns is None else self.start_ns
    return start + self.dt_ns * np.arange(self.num_frames)

  @classmethod
  def from_mdtraj(
    cls,
    traj: mdtraj.Trajectory,
    name: str,
    dt_ns: float | None = None,
    structure: structure_lib.Structure | None = None,
  ) -> 'Trajectory':
    """One replica, its residues chosen by `backbone_atoms.select`, its chains beside each other.

    Args:
      traj: any atoms; times in ps.
      name: of the protein.
      dt_ns: time from frame to frame, first frame at `dt_ns`, for formats that
        hold no times (mdtraj numbers the frames of DCD and PDB files 0, 1, 2
        ps); None reads the times of `traj`.
      structure: the same atoms as their file names them, insertion codes and all; None reads the
        topology of `traj`.

    Raises:
      InputError: no usable protein, or frames that are not evenly spaced.
    """
    source = traj if structure is None else structure.moved(10.0 * traj.xyz[0])
    protein, atom_index = backbone_atoms.select(source, name)
    start_ns = None
    if dt_ns is None:
      start_ns, dt_ns = _even_times(np.asarray(traj.time, np.float64) / 1000.0, name)
    positions = backbone_atoms.positions(traj, protein, atom_index)
    positions = imaging.ChainImages(protein).follow(positions, traj)
    chi = side_chains.TorsionReader(protein).read(traj)
    return cls(positions[None], protein, dt_ns, start_ns, chi=None if chi is None else chi[None])

  def to_mdtraj(self, replica: int = 0) -> mdtraj.Trajectory:
    """One replica, in nm and ps, without a unit cell: all heavy atoms, where they are there."""
    frames = np.asarray(self.atoms[replica], np.float32)
    xyz = atoms_lib.flat(frames, self.protein.arrays.residue_type) / 10.0
    topology = atoms_lib.topology(self.protein, self.atom_choice)
    return mdtraj.Trajectory(xyz, topology, time=1000.0 * self.time_ns)

  def save(self, path: str | os.PathLike, overwrite: bool = False) -> tuple[pathlib.Path, ...]:
    """Writes XTC, DCD, PDB or HDF5, by the extension (.xtc .dcd .pdb .h5).

    All heavy atoms are written where they are there, else those of the backbone.
    Several replicas go to several files, STEM_r1.EXT, STEM_r2.EXT, ... Files
    are written aside and then renamed, so that none is ever half written.

    - XTC: 0.01 Å precision; times in ps, steps counted from 1.
    - HDF5 (mdtraj's): full float32; times in ps.
    - DCD: full float32; the frame spacing and the first time stand in the header
      in CHARMM's units, where VMD and MDAnalysis read them. mdtraj does not: it
      numbers the frames.
    - PDB: 0.001 Å; no field for time, so each model's TITLE ends in 't= TIME' in
      ps, as GROMACS writes and reads it. mdtraj numbers the frames.

    Returns:
      The files written.

    Raises:
      InputError: unknown extension, file there already (without `overwrite`),
        folder missing or not writable, or coordinates that do not fit the format.
    """
    path = pathlib.Path(path)
    if path.suffix not in writers.WRITERS:
      known = ', '.join(writers.WRITERS)
      raise InputError(f'{path}: unknown trajectory format {path.suffix!r}; use one of {known}')
    targets = [path]
    if self.num_replicas > 1:
      names = [f'{path.stem}_r{k + 1}{path.suffix}' for k in range(self.num_replicas)]
      targets = [path.with_name(name) for name in names]
    there = next((target for target in targets if target.exists()), None)
    if there and not overwrite:
      raise InputError(f'{there} exists already; choose another name or overwrite it')
    frames = np.asarray(self.atoms, np.float32)
    if not np.all(np.isfinite(frames)):
      raise ValueError(f'{path}: positions are not finite; nothing was written')
    _check_folder(path)
    with contextlib.ExitStack() as stack:  # they appear at its end
      for target, replica in zip(targets, frames, strict=True):
        new = stack.enter_context(files.aside(target))
        with trajectory_file.Writer(
          new, self.protein, self.dt_ns, float(self.time_ns[0]), self.atom_choice
        ) as file:
          file.append(replica)
    return tuple(targets)


def save_structure(
  path: str | os.PathLike, protein: protein_lib.Protein, atoms: np.ndarray | None = None
) -> None:
  """Writes one conformation as PDB: chain ids, author's numbers, insertion codes.

  The atoms are in the order of the trajectory. A chain id of several letters,
  which mmCIF has and PDB has not, is written as a free letter or digit, and a
  REMARK says so; beyond 62 chains letters repeat, and only TER keeps the chains
  apart. Atom serials above 99,999 and residue numbers above 9,999 are written
  in hybrid-36.

  Args:
    path: of the file.
    protein: names, numbering and chains.
    atoms: [L, A, 3] Å, of the backbone or all heavy ones. Default: the protein's backbone.

  Raises:
    InputError: coordinates (-1,000 to 10,000 Å) or residue numbers (from -999)
      that do not fit PDB, or a folder that is missing or not writable.
  """
  path = pathlib.Path(path)
  positions = np.asarray(protein.arrays.positions if atoms is None else atoms)
  remarks, template = writers.pdb_template(protein, path, atoms_lib.choice_of(positions))
  # What to do about coordinates that do not fit: a structure is always written in PDB.
  remedy = 'move the structure near the origin'
  coordinates = atoms_lib.flat(positions, protein.arrays.residue_type)
  frame = writers.pdb_frame(template, coordinates, path, remedy)
  text = f'{remarks}{frame}END\n'
  _check_folder(path)
  files.write_text(path, text)


def _check_folder(path: pathlib.Path) -> None:
  """Raises for a folder that is missing: a name misspelt in a notebook makes none."""
  if not path.parent.is_dir():
    raise InputError(f'cannot write {path}: No such file or directory: make the folder first')


def _even_times(time_ns: np.ndarray, name: str) -> tuple[float, float]:
  """Time of the first frame and spacing, ns."""
  steps = np.diff(time_ns)
  if len(steps) == 0:
    raise InputError(f'{name}: one frame has no spacing in time; give its dt')
  dt = float(np.mean(steps))
  if dt <= 0.0 or times.uneven(time_ns, dt).size:
    low, high = np.min(steps), np.max(steps)
    raise InputError(f'{name}: frames are {low:g} to {high:g} ns apart; give evenly spaced ones')
  return float(time_ns[0]), dt

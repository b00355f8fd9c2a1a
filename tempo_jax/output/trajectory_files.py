"""The files of a sampled trajectory: topology.pdb, trajectory.EXT, frames.csv.

They hold all heavy atoms, or those of the backbone. They are written block by block, and take
little memory (see `trajectory_file`). Each replica can be
written by a process of its own: what frames.csv needs goes through a file beside it, which
`join_frames` reads. A replica that is written elsewhere and moved once it is complete
(`ReplicaFile.close`) survives whatever stops the others (`finished`).
"""

import dataclasses
import pathlib
import re

import jax
import numpy as np

from tempo_jax import files
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import side_chains
from tempo_jax.output import frame_table
from tempo_jax.protein import padding
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib
from tempo_jax.trajectory import trajectory_file

FORMATS = ('xtc', 'dcd', 'pdb', 'h5')
TOPOLOGY = 'topology.pdb'
FRAMES = 'frames.csv'
METADATA = 'metadata.json'
REPORT = 'report.html'
_TRAJECTORY = rf'trajectory(_r\d+)?\.({"|".join(FORMATS)})'
FILE_NAMES = re.compile(
  '|'.join([_TRAJECTORY, *map(re.escape, (TOPOLOGY, FRAMES, METADATA, REPORT))])
)
"""Every file that a run may write into its output directory."""

_PLANAR = ('PHE', 'TYR', 'TRP', 'HIS', 'ASN', 'ASP')  # chi2 turns a ring or an amide.
_UNKNOWN_CHI = np.deg2rad(
  [[-60.0, -90.0 if name in _PLANAR else 180.0, 180.0, 180.0] for name in protein_lib.RESIDUE_TYPES]
)

# What a report is drawn from, of each replica and of all.
_PICKED_FRAMES = 4000
_PICKED_BYTES = 1 << 28


def is_trajectory(name: str) -> bool:
  """Whether a file of this name holds a trajectory of a run."""
  return re.fullmatch(_TRAJECTORY, name) is not None


def idealised(protein: protein_lib.Protein) -> protein_lib.Protein:
  """The protein in the conformation that the model starts from.

  CA stays; N and C take ideal bonds and angle about it, O is placed anew. Side chains keep their
  torsions.
  """
  positions = np.asarray(protein.arrays.positions)
  # As in the sampler: float32 is finest near the origin, and few lengths are compiled.
  centre = np.mean(positions, axis=(0, 1), keepdims=True)
  moved = dataclasses.replace(protein.arrays, positions=positions - centre)
  padded = padding.pad(moved, padding.bucket(protein.num_residues))
  ideal = np.asarray(_idealise(padded.positions, padded.bonds))
  positions = ideal[: protein.num_residues] + centre
  arrays = dataclasses.replace(protein.arrays, positions=positions.astype(np.float32))
  return dataclasses.replace(protein, arrays=arrays)


_heavy_atoms = jax.jit(side_chains.heavy_atoms)


@jax.jit
def _idealise(positions, bonds):
  return state_lib.to_positions(state_lib.from_positions(positions, bonds))


def start_atoms(protein: protein_lib.Protein, atoms: str) -> np.ndarray:
  """The conformation of a protein with its side chains (not bent), if they are asked for.

  Chi angles that the input does not tell are taken to be staggered: -60, then 180 degrees (the
  most frequent rotamer), and -90 of rings and amides.

  Args:
    protein: its backbone is taken as it is.
    atoms: one of `atoms.CHOICES`.

  Returns:
    [L, A, 3] float32 Å.
  """
  arrays = protein.arrays
  if atoms == atoms_lib.BACKBONE:
    return np.asarray(arrays.positions)
  chi = _UNKNOWN_CHI[np.asarray(arrays.residue_type)]
  if arrays.chi is not None:
    chi = np.where(arrays.chi_known, np.asarray(arrays.chi), chi)
  arrays = arrays.with_chi(chi)
  padded = padding.pad(arrays, padding.bucket(protein.num_residues))  # Few lengths are compiled.
  found = _heavy_atoms(padded.positions, padded.chi, padded.residue_type)
  return np.asarray(found)[: protein.num_residues]


@dataclasses.dataclass(frozen=True)
class Outline:
  """What the files of a run hold.

  Attributes:
    protein: names, numbering, chains; its conformation is the start, which the RMSD refers to.
    num_replicas: trajectories.
    num_frames: frames of each.
    dt_ns: time from frame to frame, ns.
    start_ns: time of the first frame, ns.
    extension: one of `FORMATS`.
    atoms: of topology and trajectories, one of `atoms.CHOICES`.
  """

  protein: protein_lib.Protein
  num_replicas: int
  num_frames: int
  dt_ns: float
  start_ns: float
  extension: str
  atoms: str = atoms_lib.BACKBONE

  @classmethod
  def of(cls, trajectory: trajectory_lib.Trajectory, extension: str) -> 'Outline':
    """Of a trajectory that is in memory."""
    return cls(
      trajectory.protein,
      trajectory.num_replicas,
      trajectory.num_frames,
      trajectory.dt_ns,
      float(trajectory.time_ns[0]),
      extension,
      trajectory.atom_choice,
    )

  def path(self, folder: pathlib.Path, replica: int) -> pathlib.Path:
    """Of the file of a replica, from 0; names count from 1, where there are several."""
    number = f'_r{replica + 1}' if self.num_replicas > 1 else ''
    return folder / f'trajectory{number}.{self.extension}'


class ReplicaFile:
  """One replica on its way to disk: its trajectory, and its share of frames.csv."""

  def __init__(
    self,
    folder: pathlib.Path,
    outline: Outline,
    replica: int,
    partial: pathlib.Path | None = None,
  ):
    """Opens the file.

    Args:
      folder: exists, and holds none of the files.
      outline: of all replicas.
      replica: its number among them, from 0.
      partial: a folder on the same disk, to write into until the replica is complete.

    Raises:
      InputError: the file cannot be written.
      OSError: the same.
    """
    self._start = outline.protein.arrays
    self._folder, self._partial = folder, partial
    self._numbers_path = _numbers_path(partial or folder, replica)
    self._path = path = outline.path(partial or folder, replica)
    self._file = trajectory_file.Writer(
      path, outline.protein, outline.dt_ns, outline.start_ns, outline.atoms
    )

  def append(self, positions: np.ndarray) -> None:
    """Writes the next frames, and the numbers that are to go to frames.csv.

    Args:
      positions: [F, L, A, 3] float32 Å, finite.

    Raises:
      InputError: they cannot be written, or do not fit the format.
      OSError: the same.
    """
    self._file.append(positions)
    numbers = frame_table.per_frame(positions, self._start)
    with open(self._numbers_path, 'ab') as file:
      file.write(numbers.tobytes())

  def close(self) -> None:
    """Completes the file, and reads it back; raises what `trajectory_file.Writer.close` does."""
    self._file.close()
    if self._partial is None:
      return
    # The trajectory comes last: where it is, its numbers are.
    for path in (self._numbers_path, self._path):
      files.flush_to_disk(path)
      path.replace(self._folder / path.name)

  def abandon(self) -> None:
    """Closes the file without caring what is in it."""
    self._file.abandon()


def _numbers_path(folder: pathlib.Path, replica: int) -> pathlib.Path:
  """Of the file with a replica's share of frames.csv: float64, row by row."""
  return folder / f'.frames_{replica}'


def finished(folder: pathlib.Path, outline: Outline) -> set[int]:
  """The replicas, from 0, that are complete in a folder.

  Args:
    folder: that every `ReplicaFile` was for, with another to write into until then.
    outline: of all replicas.
  """
  size = outline.num_frames * len(frame_table.COLUMNS) * np.dtype(np.float64).itemsize
  return {
    replica
    for replica in range(outline.num_replicas)
    if outline.path(folder, replica).is_file()
    and (numbers := _numbers_path(folder, replica)).is_file()
    and numbers.stat().st_size == size
  }


def write_topology(folder: pathlib.Path, outline: Outline) -> None:
  """Writes topology.pdb: the start, t = 0, with the atoms of the trajectories in their order.

  Raises:
    InputError: see `trajectory.save_structure`.
  """
  atoms = start_atoms(outline.protein, outline.atoms)
  trajectory_lib.save_structure(folder / TOPOLOGY, outline.protein, atoms)


def join_frames(
  folder: pathlib.Path, outline: Outline, keep_numbers: bool = False
) -> frame_table.FrameTable:
  """Writes frames.csv from what every `ReplicaFile` has left in the folder.

  Args:
    folder: that all replicas have been written into.
    outline: of them.
    keep_numbers: leave what frames.csv is made from, for `remove_numbers`.

  Returns:
    The numbers in frames.csv: eight bytes per frame and column.

  Raises:
    InputError: numbers of frames are missing.
    OSError: a file cannot be read, or written.
  """
  shape = outline.num_frames, len(frame_table.COLUMNS)
  paths = [_numbers_path(folder, replica) for replica in range(outline.num_replicas)]
  numbers = [np.fromfile(path, np.float64) for path in paths]
  if any(part.size != np.prod(shape) for part in numbers):
    raise InputError(f'{folder / FRAMES} would lack frames: is the disk full?')
  frames = frame_table.FrameTable(
    outline.dt_ns, outline.start_ns, [part.reshape(shape) for part in numbers]
  )
  frames.write_csv(folder / FRAMES)
  if not keep_numbers:
    remove_numbers(folder, outline)
  return frames


def remove_numbers(folder: pathlib.Path, outline: Outline) -> None:
  """Removes what frames.csv was made from: a replica then no longer counts as `finished`."""
  for replica in range(outline.num_replicas):
    _numbers_path(folder, replica).unlink()


def write(
  folder: pathlib.Path, trajectory: trajectory_lib.Trajectory, extension: str
) -> frame_table.FrameTable:
  """Writes topology.pdb, a trajectory that is in memory, and frames.csv.

  Args:
    folder: exists, and holds none of the files.
    trajectory: its protein's conformation is written as the topology, t = 0.
    extension: one of `FORMATS`.

  Returns:
    The numbers in frames.csv.

  Raises:
    InputError: a file cannot be written, or the coordinates do not fit its format.
    OSError: the same.
  """
  outline = Outline.of(trajectory, extension)
  write_topology(folder, outline)
  for replica, positions in enumerate(trajectory.atoms):
    file = ReplicaFile(folder, outline, replica)
    file.append(np.asarray(positions, np.float32))
    file.close()
  return join_frames(folder, outline)


def picked(
  folder: pathlib.Path, outline: Outline, most_frames: int | None = None
) -> trajectory_lib.Trajectory:
  """Reads evenly picked frames back: all, or as many as fit into some memory.

  Args:
    folder: that all replicas have been written into.
    outline: of them.
    most_frames: of each replica; by default 4000.
  """
  protein = outline.protein
  frame_bytes = 12 * atoms_lib.NUM_SLOTS[outline.atoms] * protein.num_residues
  most = _PICKED_BYTES // (frame_bytes * outline.num_replicas)
  stride = -(-outline.num_frames // min(most_frames or _PICKED_FRAMES, max(100, most)))
  replicas = []
  for replica in range(outline.num_replicas):
    path = outline.path(folder, replica)
    replicas.append(
      np.concatenate(list(trajectory_file.read(path, protein, stride, outline.atoms)))
    )
  return trajectory_lib.Trajectory.of_atoms(
    np.stack(replicas), protein, stride * outline.dt_ns, outline.start_ns
  )

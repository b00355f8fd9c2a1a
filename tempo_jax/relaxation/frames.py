"""Frames of a trajectory file: by number, or representative ones of clusters."""

import dataclasses
import os
from collections.abc import Iterator, Sequence

import mdtraj
import numpy as np
from scipy.cluster import hierarchy
from scipy.spatial import distance

from tempo_jax.errors import InputError, first_few
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import backbone_atoms, imaging, reader, times
from tempo_jax.trajectory import structure as structure_lib

MOST_CLUSTERED = 2000
"""Frames that are clustered at most: the distances of all pairs are kept in memory."""


@dataclasses.dataclass(frozen=True)
class Picked:
  """A frame to relax.

  Attributes:
    number: from 0.
    population: share of the clustered frames that it stands for; None if it was asked for.
  """

  number: int
  population: float | None = None


@dataclasses.dataclass(frozen=True)
class Frame:
  """One frame.

  Attributes:
    number: from 0.
    time_ns: ns; None where the format has no times.
    atoms: [N, 3] float32 Å, all atoms.
    backbone: [L, 4, 3] float32 Å, N, CA, C, O, chains beside each other.
  """

  number: int
  time_ns: float | None
  atoms: np.ndarray
  backbone: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
  """A trajectory file with what its atoms are.

  Attributes:
    structure: its atoms in the conformation of the topology.
    protein: its residues.
    atom_index: [L, 4], see `backbone_atoms.select`.
    file: the trajectory.
  """

  structure: structure_lib.Structure
  protein: protein_lib.Protein
  atom_index: np.ndarray
  file: reader.TrajectoryFile

  @classmethod
  def of(cls, topology: str | os.PathLike[str], trajectory: str | os.PathLike[str]) -> 'Source':
    """Reads the atoms.

    Raises:
      InputError: see `reader.load_structure` and `backbone_atoms.select`.
    """
    structure = reader.load_structure(topology, trajectory)
    name = os.path.basename(os.fspath(topology)).split('.')[0]
    protein, atom_index = backbone_atoms.select(structure, name, str(topology))
    file = reader.TrajectoryFile(trajectory, structure.topology, topology)
    return cls(structure, protein, atom_index, file)

  def blocks(self) -> Iterator[tuple[mdtraj.Trajectory, np.ndarray]]:
    """Yields consecutive frames and their backbones [F, L, 4, 3] Å; see `TrajectoryFile.blocks`."""
    images = imaging.ChainImages(self.protein)
    for block in self.file.blocks():
      positions = backbone_atoms.positions(block, self.protein, self.atom_index)
      yield block, images.follow(positions, block)

  def read(self, numbers: Sequence[int]) -> Iterator[Frame]:
    """Yields the frames of these numbers, in the order of the file.

    Raises:
      InputError: the file cannot be read, or has fewer frames.
    """
    wanted = sorted(set(numbers))
    first = 0
    for block, backbone in self.blocks():
      while wanted and wanted[0] < first + len(block):
        number = wanted.pop(0)
        row = number - first
        time_ns = block.time[row] / 1000.0 if times.has_times(block) else None
        yield Frame(
          number,
          None if time_ns is None else times.rounded(float(time_ns)),
          10.0 * block.xyz[row],
          backbone[row],
        )
      first += len(block)
      if not wanted:
        return
    if wanted:
      raise InputError(
        f'{self.file.path}: no frame {wanted[0]}: its {first} frames are numbered from 0 on'
      )

  def count(self) -> int:
    """Number of frames.

    Raises:
      InputError: the file cannot be read, or has none.
    """
    known = self.file.num_frames()
    count = known if known is not None else sum(len(block) for block in self.file.blocks())
    if not count:
      raise InputError(f'{self.file.path}: no frames in it')
    return count


def by_number(source: Source, numbers: Sequence[int]) -> list[Picked]:
  """The frames of these numbers, each once; -1 is the last one.

  Raises:
    InputError: there is no such frame.
  """
  count = source.count()
  wrong = [str(number) for number in numbers if not -count <= number < count]
  if wrong:
    raise InputError(
      f'--frames={first_few(wrong)}: {source.file.path} has {count} frames: give numbers from 0 to '
      f'{count - 1}, or from -1 (the last) to -{count}'
    )
  return [Picked(number) for number in dict.fromkeys(number % count for number in numbers)]


def representatives(source: Source, num_clusters: int) -> list[Picked]:
  """Clusters the frames, and takes of each cluster the one in its middle.

  Ward's clustering (J. Am. Stat. Assoc. 58, 236 (1963)) by CA RMSD of at most `MOST_CLUSTERED`
  evenly spaced frames: average linkage would leave a folded protein in one cluster beside single
  frames. The middle has the least mean square RMSD to the others.

  Args:
    source: the frames.
    num_clusters: with fewer frames, each is one.

  Returns:
    The frames, that of the largest cluster first.

  Raises:
    InputError: the file cannot be read, or has no frames.
  """
  numbers, ca = _evenly_spaced(source)
  if len(numbers) <= num_clusters:
    return [Picked(int(number), 1.0 / len(numbers)) for number in numbers]
  rmsd = _pairwise_rmsd(ca)
  tree = hierarchy.linkage(distance.squareform(rmsd, checks=False), 'ward')
  labels = hierarchy.cut_tree(tree, n_clusters=num_clusters)[:, 0]
  found = []
  for label in range(num_clusters):
    members = np.flatnonzero(labels == label)
    spread = np.mean(rmsd[np.ix_(members, members)] ** 2, axis=1)
    middle = members[np.argmin(spread)]
    found.append(Picked(int(numbers[middle]), len(members) / len(numbers)))
  return sorted(found, key=lambda picked: (-(picked.population or 0.0), picked.number))


def _evenly_spaced(source: Source) -> tuple[np.ndarray, np.ndarray]:
  """Numbers [F], and CA [F, L, 3] Å, of every N-th frame; N is the least power of two that does."""
  stride, first = 1, 0
  numbers: list[int] = []
  kept: list[np.ndarray] = []
  for _, backbone in source.blocks():
    for row in range(-first % stride, len(backbone), stride):
      numbers.append(first + row)
      kept.append(backbone[row, :, 1].copy())
    first += len(backbone)
    while len(kept) > MOST_CLUSTERED:
      stride *= 2
      numbers, kept = numbers[::2], kept[::2]
  if not kept:
    raise InputError(f'{source.file.path}: no frames in it')
  return np.array(numbers), np.array(kept)


def _pairwise_rmsd(ca: np.ndarray) -> np.ndarray:
  """[F, F] float32 nm, symmetric, zero on the diagonal; of ca [F, L, 3] Å."""
  top = mdtraj.Topology()
  chain = top.add_chain()
  for _ in range(ca.shape[1]):
    top.add_atom('CA', mdtraj.element.carbon, top.add_residue('ALA', chain))
  traj = mdtraj.Trajectory(ca / 10.0, top)
  traj.center_coordinates()
  rmsd = np.stack([mdtraj.rmsd(traj, traj, k, precentered=True) for k in range(len(ca))])
  rmsd = 0.5 * (rmsd + rmsd.T)
  np.fill_diagonal(rmsd, 0.0)
  return rmsd

"""Ensembles to compare: trajectory files of one protein, as backbone atoms of the same residues."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.evaluation import heavy_atoms as heavy_atoms_lib
from tempo_jax.evaluation import peer_files
from tempo_jax.protein import frame_faults, residue_selection
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import arrays, backbone_atoms, imaging, reader, times
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import structure as structure_lib

_MIN_FRAMES = 2
# Of the bonds in residues. With the atoms of another protein, one in four or five is wrong.
_MOST_WRONG = 0.2


@dataclasses.dataclass(frozen=True)
class Replica:
  """Conformations of a protein from one file: a replica.

  Attributes:
    positions: [F, L, 4, 3] float32 Å, N, CA, C, O.
    time_ns: [F] ns; None where the file has no times, or they are not evenly spaced.
    source: the file, for messages.
    remarks: what the user should know, e.g. why there are no times.
    side_chains: of the same frames; None where the file has none.
  """

  positions: np.ndarray
  time_ns: np.ndarray | None
  source: str
  remarks: tuple[str, ...] = ()
  side_chains: heavy_atoms_lib.SideChains | None = None

  @property
  def num_frames(self) -> int:
    """F."""
    return len(self.positions)

  @property
  def dt_ns(self) -> float | None:
    """Time between two frames, ns."""
    if self.time_ns is None:
      return None
    return times.rounded((self.time_ns[-1] - self.time_ns[0]) / (self.num_frames - 1))

  @property
  def heavy_atoms(self) -> np.ndarray | None:
    """[F, L, 14, 3] float32 Å, put together anew; None without side chains.

    Atoms that are missing, or that the residue lacks, are at its CA.
    """
    if self.side_chains is None:
      return None
    return heavy_atoms_lib.slots_of([(self.positions, self.side_chains)])

  def take(self, frames: slice) -> 'Replica':
    """Some of the frames, with their times and side chains, without a copy."""
    return dataclasses.replace(
      self,
      positions=self.positions[frames],
      time_ns=None if self.time_ns is None else self.time_ns[frames],
      side_chains=None if self.side_chains is None else self.side_chains.take(frames),
    )


class Native:
  """The structure that ensembles are compared in.

  Attributes:
    protein: its residues; `arrays.positions` is the native conformation.
    path: the file.
  """

  def __init__(self, path: str | os.PathLike, name: str | None = None):
    """Reads it.

    Raises:
      InputError: it cannot be read, or holds no protein.
    """
    self.path = pathlib.Path(path).expanduser()
    if not self.path.is_file():
      raise InputError(f'{self.path}: no such file: correct --topology')
    self._structure = reader.load_structure(self.path, self.path)
    # Messages are about the file.
    found, self._atom_index = backbone_atoms.select(self._structure, str(self.path))
    self.protein = dataclasses.replace(found, name=name or self.path.name.split('.')[0])
    coordinates = self._structure.atoms.coordinates
    self._heavy_atoms = heavy_atoms_lib.of_structure(found, coordinates)

  def read(
    self,
    file: str | os.PathLike,
    topology: str | os.PathLike | None = None,
    *,
    dt_ns: float | None = None,
    block_frames: int | None = None,
  ) -> Replica:
    """Reads the one replica of a file; see `read_all`.

    Raises:
      InputError: what `read_all` raises; the file holds several.
    """
    first, *others = self.read_all(file, topology, dt_ns=dt_ns, block_frames=block_frames)
    if others:
      raise InputError(f'{file}: holds {1 + len(others)} samples: give one')
    return first

  def read_all(
    self,
    file: str | os.PathLike,
    topology: str | os.PathLike | None = None,
    *,
    dt_ns: float | None = None,
    block_frames: int | None = None,
  ) -> list[Replica]:
    """Reads an ensemble: one replica, or several of an array with an axis of samples.

    Which atoms a file holds: what `topology` says, or the file itself where its format can
    (PDB, mmCIF, HDF5, some arrays). Otherwise those of a structure beside it
    (`peer_files.topologies_beside`), if there are as many; those of the native structure; or the
    N, CA, C, O of its residues.

    Args:
      file: of any format that mdtraj reads, an array (`peer_files.of_array`), or a folder of
        structures, which are frames.
      topology: structure with the atoms of the file.
      dt_ns: time between frames, ns, whatever the file says; None to take it from the file.
      block_frames: read at a time, of all atoms; at least two, by default 64 MiB of them.

    Raises:
      InputError: the file cannot be read, is of another protein, or has fewer than two frames.
    """
    path = pathlib.Path(file).expanduser()
    if not path.exists():
      raise InputError(f'{path}: no such file: correct --reference or --prediction')
    if path.is_dir():
      contents = [peer_files.of_folder(path, lambda one: self._atoms_of(one, topology))]
    elif arrays.is_array(path):
      contents = peer_files.of_array(
        *(path, self.protein, self.path), lambda number: self._atoms_of(path, topology, number)
      )
    else:
      contents = [peer_files.of_trajectory(path, self._atoms_of(path, topology))]
    return [self._replica(each, dt_ns, block_frames) for each in contents]

  def _replica(
    self, contents: peer_files.Contents, dt_ns: float | None, block_frames: int | None
  ) -> Replica:
    path, found, source = contents.label, contents.atoms.protein, contents.atoms.source
    atom_index = contents.atoms.backbone
    self._check_same(found, source)
    side_chains = heavy_atoms_lib.Reader(found)
    positions, time_ps = _read(contents.blocks(block_frames), atom_index, self.protein, side_chains)
    if len(positions) < _MIN_FRAMES:
      raise InputError(
        f'{path}: {len(positions)} frames, and at least {_MIN_FRAMES} are needed: give one file '
        'with all'
      )
    beyond = side_chains.found(self._heavy_atoms)
    for coordinates in (positions, *(() if beyond is None else (beyond.atoms,))):
      if not np.isfinite(coordinates).all():
        frame = int(np.argmax(~np.isfinite(coordinates).reshape(len(positions), -1).all(axis=1)))
        raise InputError(
          f'{path}: frame {frame} has coordinates that are not numbers: leave it out'
        )
    positions = residue_selection.place_oxygen(
      positions, self.protein.arrays.bonds, atom_index[:, 3] < 0
    )
    self._check_order(positions, path, source)
    time_ns, remarks = _even(time_ps)
    if dt_ns is not None:
      time_ns, remarks = _given(time_ns, dt_ns, len(positions))
    remarks += contents.remarks
    numbers = (found.residue_number, self.protein.residue_number)
    if not np.array_equal(*numbers):
      first = int(np.argmax(np.not_equal(*numbers)))
      remarks.append(
        f'{source} numbers residues otherwise ({numbers[0][first]} for {numbers[1][first]}): they '
        'are matched by their order'
      )
    remarks += heavy_atoms_lib.remarks(found, beyond)
    return Replica(positions, time_ns, path, tuple(remarks), beyond)

  def _atoms_of(
    self,
    path: pathlib.Path,
    topology: str | os.PathLike | None,
    num_atoms: int | None = None,
  ) -> peer_files.Atoms:
    """Which atoms the file holds, `num_atoms` of them if that is known."""
    if topology is not None:
      return _structure_of(pathlib.Path(topology).expanduser(), path)
    if reader.holds_its_atoms(path):
      return _structure_of(path, path)
    num_atoms = num_atoms or reader.num_atoms(path)
    for beside in peer_files.topologies_beside(path):
      if beside.resolve() != self.path.resolve():
        structure = reader.load_structure(beside, path)
        if structure.n_atoms == num_atoms:
          return _atoms_in(structure, beside)
    if num_atoms in (None, self._structure.n_atoms):
      return peer_files.Atoms(self._structure.topology, self.protein, self._atom_index, self.path)
    if num_atoms == 4 * self.protein.num_residues:
      index = np.arange(num_atoms).reshape(-1, 4)
      found_alone = dataclasses.replace(self.protein, heavy_atom_index=None)
      return peer_files.Atoms(atoms_lib.topology(self.protein), found_alone, index, self.path)
    raise InputError(
      f'{path}: has {num_atoms} atoms, {self.path} has {self._structure.n_atoms}: put the '
      'structure that it was written with beside it as topology.pdb, or name it in the flags'
    )

  def _check_same(self, found: protein_lib.Protein, source: pathlib.Path) -> None:
    ours, theirs = self.protein.sequence, found.sequence
    if ours == theirs:
      return
    # Of unequal lengths, the common part.
    pairs = enumerate(zip(ours, theirs, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), None)
    where = (
      f'{len(theirs)} residues, not {len(ours)}'
      if place is None
      else f'{theirs[place]} in place of {ours[place]} at position {place + 1}'
    )
    raise InputError(
      f'{source}: is of another sequence than {self.path} ({where}): give the same protein, with '
      'the same residues'
    )

  def _check_order(self, positions: np.ndarray, path: str, source: pathlib.Path) -> None:
    """Predictions may break chains here and there, but not bonds within many residues."""
    if (collapsed := frame_faults.lies_on_points(positions)).any():
      advice = frame_faults.Fault.ONE_POINT.advice()
      raise InputError(f'{path}: frame {int(np.argmax(collapsed))}: {advice}')
    n_ca_c = positions[:, :, :3].astype(np.float64)
    # [L, 2], of a typical frame
    bonds = np.median(np.linalg.norm(np.diff(n_ca_c, axis=2), axis=-1), axis=0)
    wrong = float(np.mean((bonds < 1.0) | (bonds > 2.0)))
    if wrong > _MOST_WRONG:
      ratios = frame_faults.length_ratios(positions, self.protein.arrays.bonds)
      if frame_faults.power_of_ten(np.median(ratios, axis=0)):
        advice = frame_faults.Fault.UNITS.advice()
        raise InputError(f'{path}: N-CA is {np.median(bonds[:, 0]):.2f} Å on the whole: {advice}')
      raise InputError(
        f'{path}: {100.0 * wrong:.0f} % of bonds N-CA and CA-C have not the length of one: its '
        f'atoms are probably others, or in another order, than those of {source}: give what it was '
        'written with'
      )


def _structure_of(topology: pathlib.Path, file: pathlib.Path) -> peer_files.Atoms:
  if not topology.is_file():
    raise InputError(f'{topology}: no such file: correct the topology of {file}')
  return _atoms_in(reader.load_structure(topology, file), topology)


def _atoms_in(structure: structure_lib.Structure, source: pathlib.Path) -> peer_files.Atoms:
  peer_files.check_backbone(structure, source)
  found, atom_index = backbone_atoms.select(structure, source.name)
  return peer_files.Atoms(structure.topology, found, atom_index, source)


def _read(
  blocks: Iterator[mdtraj.Trajectory],
  atom_index: np.ndarray,
  protein: protein_lib.Protein,
  side_chains: heavy_atoms_lib.Reader,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Positions [F, L, 4, 3] Å of the backbone, times [F] ps if the format has them; side chains."""
  images = imaging.ChainImages(protein)
  positions, time_ps, has_times = [], [], False
  for block in blocks:
    backbone = 10.0 * block.xyz[:, atom_index]
    shifts = images.shifts(backbone, block)
    side_chains.append(block, backbone[:, :, 1], shifts)
    if shifts is not None:
      backbone += shifts[:, :, None].astype(backbone.dtype)
    positions.append(backbone)
    time_ps.append(block.time)
    has_times = times.has_times(block)
  if not positions:
    return np.zeros((0, *atom_index.shape, 3), np.float32), None
  return np.concatenate(positions), np.concatenate(time_ps) if has_times else None


def _even(time_ps: np.ndarray | None) -> tuple[np.ndarray | None, list[str]]:
  """Times in ns, or why there are none."""
  if time_ps is None:
    return None, ['its format has no times']
  time_ps = time_ps.astype(np.float64)
  steps = np.diff(time_ps)
  if steps.min() <= 0.0 or times.uneven(time_ps, steps.mean()).size:
    return None, [f'its frames are {steps.min():g} to {steps.max():g} ps apart']
  return time_ps / 1000.0, []


def _given(
  time_ns: np.ndarray | None, dt_ns: float, num_frames: int
) -> tuple[np.ndarray, list[str]]:
  """Times that the user gives, and whether the file says otherwise."""
  remarks = []
  if time_ns is not None:
    said_ns = times.rounded((time_ns[-1] - time_ns[0]) / (num_frames - 1))
    rounding_ns = 1e-3 * times.resolution(1000.0 * time_ns)
    if abs(said_ns - dt_ns) > 0.01 * dt_ns + 2.0 * rounding_ns:
      remarks.append(f'it says that its frames are {said_ns:g} ns apart; {dt_ns:g} ns are used')
  return dt_ns * np.arange(1, num_frames + 1), remarks

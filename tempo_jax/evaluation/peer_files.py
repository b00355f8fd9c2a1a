"""What files of predictions hold: those of other programs name their atoms in several ways."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterator

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_torsions
from tempo_jax.trajectory import arrays, reader
from tempo_jax.trajectory import structure as structure_lib


@dataclasses.dataclass(frozen=True)
class Atoms:
  """Which atoms a file holds, and who says so.

  Attributes:
    topology: N of them.
    protein: its residues.
    backbone: [L, 4], where N, CA, C, O are among them; -1 for an O that is missing.
    source: the file that names them.
  """

  topology: mdtraj.Topology
  protein: protein_lib.Protein
  backbone: np.ndarray
  source: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Contents:
  """One replica in a file.

  Attributes:
    atoms: of its frames.
    blocks: reads its frames, so many at a time.
    label: what messages call it.
    remarks: what the user should know.
  """

  atoms: Atoms
  blocks: Callable[[int | None], Iterator[mdtraj.Trajectory]]
  label: str
  remarks: tuple[str, ...] = ()


def of_trajectory(path: pathlib.Path, atoms: Atoms) -> Contents:
  """Of a format that mdtraj or `reader` reads."""
  return Contents(
    atoms, reader.TrajectoryFile(path, atoms.topology, atoms.source).blocks, str(path)
  )


def of_array(
  path: pathlib.Path,
  protein: protein_lib.Protein,
  native: pathlib.Path,
  atoms_of: Callable[[int], Atoms],
) -> list[Contents]:
  """Of a .npy file: arrays per residue (`trajectory.arrays`), or of the atoms of a topology.

  The latter are [F, N, 3], or [F, S, N, 3] with S samples, replicas each, as BioKinema writes them.

  Args:
    path: of the file.
    protein: L residues.
    native: the file that it was read from.
    atoms_of: says which N atoms those are.

  Raises:
    InputError: it is neither, or of another protein.
  """
  array, length = arrays.load(path), protein.num_residues
  shape = list(array.shape)
  if array.ndim == 4 and shape[2] in arrays.NUM_COLUMNS:
    if shape[1] != length:
      raise InputError(
        f'{path}: holds {shape}, {shape[1]} residues, and {native} has {length}: give the same '
        'protein, with the same residues'
      )
    frames, slots = arrays.of_residues(array, protein, path)
    return [_contents(frames, _with_slots(protein, frames, slots, native), str(path))]
  if array.ndim == 3 and shape[1] == length:
    raise InputError(_ca_only(path))
  atoms = atoms_of(shape[-2])
  if atoms.topology.n_atoms != shape[-2]:
    raise InputError(
      f'{path}: has {shape[-2]} atoms, {atoms.source} has {atoms.topology.n_atoms}: give the '
      'topology that belongs to it'
    )
  samples = array[:, None] if array.ndim == 3 else array
  found = []
  for number in range(samples.shape[1]):
    sample = samples[:, number]
    n, ca = (np.asarray(sample[0], np.float64)[atoms.backbone[:, k]] for k in (0, 1))
    rows = (np.arange(shape[-2]),)
    frames = arrays.ArrayFrames(sample, atoms.topology, rows, arrays.in_nm(n, ca))
    of_several = f' (sample {number + 1} of {samples.shape[1]})' if samples.shape[1] > 1 else ''
    found.append(_contents(frames, atoms, f'{path}{of_several}'))
  return found


def of_folder(folder: pathlib.Path, atoms_of: Callable[[pathlib.Path], Atoms]) -> Contents:
  """Of structures in a folder, which are the frames of one replica.

  Args:
    folder: of PDB and mmCIF files, of one or more frames each.
    atoms_of: says which atoms a file holds; those of all are the same.

  Raises:
    InputError: there are none; when frames are read: one has other atoms than the first.
  """
  files = frames_in(folder)
  if not files:
    raise InputError(f'{folder}: is a folder without PDB or mmCIF files: name trajectory files')
  first = atoms_of(files[0])
  names = _names(first.topology)

  def blocks(num_frames: int | None) -> Iterator[mdtraj.Trajectory]:
    for file in files:
      if _names(atoms_of(file).topology) != names:
        raise InputError(
          f'{file}: has other atoms, or in another order, than {files[0].name}: put only frames of '
          'one ensemble into a folder'
        )
      yield from reader.TrajectoryFile(file, first.topology, file).blocks(num_frames)

  return Contents(first, blocks, str(folder))


def frames_in(path: pathlib.Path) -> list[pathlib.Path]:
  """The PDB and mmCIF files of a folder but topology.pdb, as numbers in their names count."""
  files = (file for file in path.iterdir() if file.is_file() and file.name != 'topology.pdb')
  return sorted(filter(structure_lib.is_pdb_or_mmcif, files), key=_counted)


def _counted(file: pathlib.Path) -> list[tuple[str, int]]:
  """Text and numbers in turns: frame_2 is before frame_10."""
  parts = re.findall(r'(\D*)(\d*)', file.name)
  return [(text, int(digits or 0)) for text, digits in parts]


def _names(topology: mdtraj.Topology) -> list[tuple[int, str]]:
  return [(atom.residue.index, atom.name) for atom in topology.atoms]


def check_backbone(structure: structure_lib.Structure, path: pathlib.Path) -> None:
  """Raises `InputError` where a file holds CA atoms alone."""
  if {record.name for record in structure.atoms.records} == {'CA'}:
    raise InputError(_ca_only(path))


def topologies_beside(path: pathlib.Path) -> list[pathlib.Path]:
  """Files in the folder of a trajectory that may hold its atoms.

  `topology.pdb` (tempo_jax, BioEmu), NAME.pdb (ConfRover, MDGen, bioemu-benchmarks), NAME.top.pdb
  for NAME.traj.dcd (aSAM).
  """
  stem = path.name.removesuffix(path.suffix)
  names = ('topology.pdb', f'{stem}.pdb', f'{stem.removesuffix(".traj")}.top.pdb')
  beside = (path.with_name(name) for name in names)
  return [file for file in dict.fromkeys(beside) if file != path and file.is_file()]


def _contents(frames: arrays.ArrayFrames, atoms: Atoms, label: str) -> Contents:
  remarks = ('its N-CA are 0.146 long on the whole, so its unit is taken to be nm',)
  return Contents(atoms, frames.blocks, label, remarks if frames.is_nm else ())


def _with_slots(
  protein: protein_lib.Protein, frames: arrays.ArrayFrames, slots: np.ndarray, native: pathlib.Path
) -> Atoms:
  """The same residues with the side chains of the array."""
  first = 10.0 * next(frames.blocks(1)).xyz[0].astype(np.float64)
  chi = side_chain_torsions.of_structure(first, slots, protein.arrays.residue_type)
  arrays_with_chi = protein.arrays.with_chi(chi)
  found = dataclasses.replace(protein, arrays=arrays_with_chi, heavy_atom_index=slots)
  return Atoms(frames.topology, found, slots[:, :4], native)


def _ca_only(path: pathlib.Path) -> str:
  return (
    f'{path}: holds CA atoms alone, and the numbers need N, CA and C of every residue: rebuild the '
    'backbone first (e.g. with PULCHRA or cg2all)'
  )

"""MD and crystal structures that limits are made from: none of the proteins that are held out."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from data_prep import training_store, training_systems
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import residues, side_chain_atoms, structure_file
from tempo_jax.trajectory import backbone_atoms, reader

SIMULATED = pathlib.Path(training_store.__file__).with_name('simulated')
# MD of others in DATA/md_public: CC-BY, BSD-3 and MIT; explicit solvent, 300-320 K.
_PUBLIC = ('ntl9_mdcath_320K', 'psi_integrin_b3', 'sh2_lck_pYEEI', 'trpcage_tc5b_50ns')
# In DATA/structures, structures of the PDB (CC0). Others are prepared or designed.
_CRYSTALS = ('Kortemme-Lab_*.pdb.gz', 'MDAnalysis_*.pdb.gz')


class Source(NamedTuple):
  """MD of one protein.

  Attributes:
    name: of the protein.
    topology: file.
    files: trajectories.
  """

  name: str
  topology: pathlib.Path
  files: tuple[pathlib.Path, ...]


class Frames(NamedTuple):
  """Heavy atoms of one protein.

  Attributes:
    name: of the protein.
    atoms: [F, L, 14, 3] float32 Å in the slots of `side_chain_atoms`; unknown ones at CA.
    known: [L, 14] bool, the atoms that the files have.
    protein: its residues.
  """

  name: str
  atoms: np.ndarray
  known: np.ndarray
  protein: protein_lib.Protein

  @property
  def backbone(self) -> np.ndarray:
    """[F, L, 4, 3] Å."""
    return self.atoms[:, :, :4]


def sources(data: pathlib.Path | None) -> list[Source]:
  """Our own MD (ff14SB, OBC2, 300-400 K), and that of others.

  Args:
    data: folder with md_public/; None: our own alone.
  """
  held_out = {system.name for system in training_systems.SYSTEMS if system.held_out}
  found = []
  for folder in sorted(SIMULATED.iterdir()):
    if folder.is_dir() and folder.name not in held_out:
      (topology,) = folder.glob('*.pdb')
      found.append(Source(folder.name, topology, tuple(sorted(folder.glob('*.xtc')))))
  if data is not None:
    for folder in (data / 'md_public' / name for name in _PUBLIC):
      # One of them lacks the atoms beyond CB.
      *_, topology = sorted(folder.glob('topology.pdb')) + sorted(folder.glob('topology_*.pdb'))
      found.append(Source(folder.name, topology, tuple(sorted(folder.glob('R*.xtc')))))
  return found


def read(name: str, topology: pathlib.Path, files: Sequence[pathlib.Path]) -> Frames:
  """All frames of some trajectories.

  Raises:
    InputError: a file cannot be used.
  """
  structure = reader.load_structure(topology, files[0])
  protein, backbone = backbone_atoms.select(structure, name, str(topology))
  of_ca = {found.atoms.get('CA'): found.atoms for found in residues.candidates(structure.atoms)}
  types = protein.arrays.residue_type
  rows = side_chain_atoms.slots([of_ca[row] for row in backbone[:, 1].tolist()], types)
  filled = np.where(rows < 0, rows[:, 1:2], rows)
  found = []
  for file in files:
    for block in reader.TrajectoryFile(file, structure.topology, topology).blocks():
      atoms = 10.0 * block.xyz[:, filled].astype(np.float32)
      atoms[:, :, :4] = backbone_atoms.positions(block, protein, backbone)
      found.append(atoms)
  known = side_chain_atoms.atom_mask(types) & ((rows >= 0) | (np.arange(rows.shape[1]) < 4))
  return Frames(name, np.concatenate(found), known, protein)


def of_md(data: pathlib.Path | None) -> Iterator[Frames]:
  """Yields the frames of all `sources`."""
  for source in sources(data):
    yield read(*source)


def crystals(data: pathlib.Path) -> Iterator[protein_lib.Protein]:
  """Yields the structures of DATA/structures that are from the PDB."""
  for pattern in _CRYSTALS:
    for file in sorted((data / 'structures').glob(pattern)):
      yield structure_file.load_protein(file)

"""The atoms that a trajectory holds, in its order, with one conformation.

PDB and mmCIF are read by `protein.atom_records`, as the structures of `sample` are; every other
format by mdtraj.
"""

import dataclasses
import os
import pathlib
import re

import mdtraj
import numpy as np

from tempo_jax.errors import InputError
from tempo_jax.protein import atom_records, residues

_OWN_FORMATS = re.compile(r'.*\.(pdb|ent|cif|mmcif)(\.gz)?', re.IGNORECASE | re.DOTALL)
_BACKBONE = frozenset(('N', 'CA', 'C', 'O'))


@dataclasses.dataclass(frozen=True)
class Structure:
  """Named atoms in one conformation.

  Attributes:
    atoms: N of them; `part` tells molecules apart.
    topology: the same N atoms, for the readers of mdtraj.
  """

  atoms: atom_records.Atoms
  topology: mdtraj.Topology

  @property
  def n_atoms(self) -> int:
    """N."""
    return len(self.atoms.records)

  def moved(self, coordinates: np.ndarray) -> 'Structure':
    """The same atoms in another conformation, [N, 3] Å, of which no file has said anything."""
    coordinates = np.asarray(coordinates, np.float64)
    atoms = atom_records.Atoms(self.atoms.records, coordinates, box=None, warnings=())
    return dataclasses.replace(self, atoms=atoms)

  def first(self, count: int) -> 'Structure':
    """The first `count` atoms."""
    return Structure(self.atoms.take(range(count)), self.topology.subset(range(count)))


def is_pdb_or_mmcif(path: str | os.PathLike[str]) -> bool:
  """Whether the name says that the file is one of these, gzipped or not."""
  return _OWN_FORMATS.fullmatch(os.fspath(path)) is not None


def of_file(path: str | os.PathLike[str]) -> Structure:
  """Reads model 1 of a PDB or mmCIF file, each atom in one of its alternate locations.

  Raises:
    InputError: it cannot be read, or has no atoms.
  """
  atoms = atom_records.read(pathlib.Path(path))
  if not atoms.records:
    raise InputError(f'{path}: no atoms in it: give a PDB or mmCIF file of a protein')
  atoms = atoms.take(residues.one_conformation(atoms))
  return Structure(atoms, _topology(atoms))


def of_mdtraj(traj: mdtraj.Trajectory) -> Structure:
  """The atoms of a trajectory of mdtraj, in its first frame."""
  molecule = _molecules(traj.topology)
  records = [
    atom_records.AtomRecord(
      name=atom.name,
      altloc='',
      residue_name=atom.residue.name.strip().upper(),
      chain=(getattr(atom.residue.chain, 'chain_id', None) or '').strip(),
      part=f'{atom.residue.chain.index} {molecule[atom.residue.index]}',
      segment='',
      number=atom.residue.resSeq,
      insertion_code='',
      is_hetero=False,
      occupancy=1.0,
    )
    for atom in traj.topology.atoms
  ]
  coordinates = 10.0 * traj.xyz[0].astype(np.float64)
  return Structure(atom_records.Atoms(records, coordinates, None, ()), traj.topology)


def _molecules(topology: mdtraj.Topology) -> list[int]:
  """A number per residue, of its molecule, where a topology has no chains but bonds (prmtop).

  Of backbones alone only bonds between neighbours are known, and not those across a gap.
  """
  found = list(topology.residues)
  only_backbone = all(atom.name in _BACKBONE for atom in topology.atoms)
  if topology.n_chains > 1 or not topology.n_bonds or only_backbone:
    return [0] * len(found)
  number = {
    atom.residue.index: k
    for k, molecule in enumerate(topology.find_molecules())
    for atom in molecule
  }
  return [number.get(residue.index, 0) for residue in found]


def _topology(atoms: atom_records.Atoms) -> mdtraj.Topology:
  """Chains and residues as they follow one another; mdtraj needs them to read frames."""
  top = mdtraj.Topology()
  chain = residue = before = None
  for record in atoms.records:
    if before is None or (record.chain, record.part) != (before.chain, before.part):
      chain, before = top.add_chain(record.chain or ' '), None
    if before is None or record.position() != before.position():
      residue = top.add_residue(record.residue_name, chain, resSeq=record.number)
    top.add_atom(record.name, None, residue)
    before = record
  return top

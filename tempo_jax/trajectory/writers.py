"""Files of trajectories, written block by block: XTC, DCD, PDB, HDF5.

Blocks make no difference: a file holds the same whether its frames came at once or one by one.
"""

import abc
import os
import pathlib
import struct

import gemmi
import mdtraj
import numpy as np

from tempo_jax import extras
from tempo_jax.errors import InputError
from tempo_jax.protein import protein as protein_lib
from tempo_jax.trajectory import atoms as atoms_lib

PS_PER_AKMA = 0.048888212  # CHARMM's unit of time, which DCD headers use
_DCD_SECOND_TITLE = 92 + 8 + 80  # after the first record, and the head and first title of the next
PDB_CHAIN_IDS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'


class Writer(abc.ABC):
  """A file that grows; to be used as a context, which closes it."""

  def __init__(
    self,
    path: pathlib.Path,
    protein: protein_lib.Protein,
    dt_ns: float,
    start_ns: float,
    atoms: str,
  ):
    """Opens the file, replacing what is there.

    Args:
      path: of the file.
      protein: names, numbering and chains.
      dt_ns: time from frame to frame, ns.
      start_ns: time of the first frame, ns.
      atoms: that it is to hold, one of `atoms.CHOICES`.
    """
    self.path, self.protein, self.dt_ns, self.start_ns = path, protein, dt_ns, start_ns
    self.atoms = atoms
    self.num_frames = 0

  def append(self, coordinates: np.ndarray) -> None:
    """Writes the next frames.

    Args:
      coordinates: [F, N, 3] float32 Å, in the order of `atoms.topology`.
    """
    number = self.num_frames + np.arange(len(coordinates))
    self._write(coordinates, number, 1000.0 * (self.start_ns + self.dt_ns * number))
    self.num_frames += len(coordinates)

  @abc.abstractmethod
  def _write(self, coordinates: np.ndarray, number: np.ndarray, time_ps: np.ndarray) -> None:
    """The same; number [F] from 0, time [F] ps."""

  @abc.abstractmethod
  def close(self) -> None:
    """Completes the file."""

  def __enter__(self) -> 'Writer':
    return self

  def __exit__(self, *unused) -> None:
    self.close()


class _Xtc(Writer):
  def __init__(self, *args):
    super().__init__(*args)
    self._file = mdtraj.formats.XTCTrajectoryFile(str(self.path), 'w')

  def _write(self, coordinates, number, time_ps):
    self._file.write(coordinates / 10.0, time=time_ps.astype(np.float32), step=number + 1)

  def close(self):
    self._file.close()


class _Hdf5(Writer):
  def __init__(self, *args):
    super().__init__(*args)
    extras.require('tables', 'hdf5')
    self._file = mdtraj.formats.HDF5TrajectoryFile(str(self.path), 'w')

  def _write(self, coordinates, number, time_ps):
    self._file.write(coordinates / 10.0, time=time_ps)
    if not self.num_frames:
      self._file.topology = atoms_lib.topology(self.protein, self.atoms)

  def close(self):
    self._file.close()


class _Dcd(Writer):
  def __init__(self, *args):
    super().__init__(*args)
    self._file = mdtraj.formats.DCDTrajectoryFile(str(self.path), 'w')

  def _write(self, coordinates, number, time_ps):
    self._file.write(coordinates)

  def close(self):
    self._file.close()
    # mdtraj leaves the times in the header empty. The header: record length, 'CORD',
    # then 20 integers, of which the second is the step of the first frame, the third
    # the steps between frames, and the tenth, a float, the time of a step.
    with open(self.path, 'r+b') as file:
      file.seek(8 + 4 * 1)
      file.write(struct.pack('<ii', round(self.start_ns / self.dt_ns), 1))
      file.seek(8 + 4 * 9)
      file.write(struct.pack('<f', 1000.0 * self.dt_ns / PS_PER_AKMA))
      # The second of two titles of 80 characters: a date, and whatever stood in memory.
      file.seek(_DCD_SECOND_TITLE)
      file.write(b'REMARKS'.ljust(80))


class _Pdb(Writer):
  def __init__(self, *args):
    super().__init__(*args)
    remarks, self._template = pdb_template(self.protein, self.path, self.atoms)
    self._file = open(self.path, 'w')  # noqa: SIM115
    self._file.write(remarks)

  def _write(self, coordinates, number, time_ps):
    for k, time, frame in zip(number.tolist(), time_ps.tolist(), coordinates, strict=True):
      text = pdb_frame(self._template, frame, self.path, 'use .xtc or .h5')
      self._file.write(f'TITLE     {self.protein.name[:40]} t= {time:.5f}\n')
      self._file.write(f'MODEL     {k + 1:4d}\n{text}ENDMDL\n')

  def close(self):
    with self._file:
      self._file.write('END\n')


WRITERS: dict[str, type[Writer]] = {'.xtc': _Xtc, '.dcd': _Dcd, '.pdb': _Pdb, '.h5': _Hdf5}
"""By the extension of the file."""


def open_file(
  path: pathlib.Path, protein: protein_lib.Protein, dt_ns: float, start_ns: float, atoms: str
) -> Writer:
  """Opens a file for writing, of the format that its extension names; see `Writer`."""
  return WRITERS[path.suffix](path, protein, dt_ns, start_ns, atoms)


def pdb_chain_ids(protein: protein_lib.Protein) -> tuple[str, ...]:
  """The chain ids, '' or one character each, that PDB files get."""
  used = {chain_id for chain_id in protein.chain_ids if len(chain_id) == 1}
  free = [letter for letter in PDB_CHAIN_IDS if letter not in used] or list(PDB_CHAIN_IDS)
  long = dict.fromkeys(chain_id for chain_id in protein.chain_ids if len(chain_id) > 1)
  short = {chain_id: free[k % len(free)] for k, chain_id in enumerate(long)}
  return tuple(short.get(chain_id, chain_id) for chain_id in protein.chain_ids)


def pdb_template(
  protein: protein_lib.Protein, path: str | os.PathLike[str], atoms: str
) -> tuple[str, str]:
  """REMARK lines, and the ATOM and TER lines of one model with %-fields for coordinates.

  Args:
    protein: names, numbering and chains.
    path: of the file, for messages.
    atoms: one of `atoms.CHOICES`.

  Raises:
    InputError: residue numbers that do not fit PDB.
  """
  if np.min(protein.residue_number) < -999:
    raise InputError(f'{path}: residue numbers below -999 do not fit PDB; renumber the residues')
  chain_ids = pdb_chain_ids(protein)
  renamed = dict(zip(protein.chain_ids, chain_ids, strict=True))
  remarks = ''.join(
    f'REMARK   1 CHAIN {long} OF THE INPUT IS CHAIN {short} HERE\n'
    for long, short in renamed.items()
    if long != short
  )
  chains = [gemmi.Chain(chain_id) for chain_id in chain_ids]
  atom_names = atoms_lib.names(protein.arrays.residue_type, atoms)
  for i, name in enumerate(protein.residue_names):
    residue = gemmi.Residue()
    residue.name = name
    residue.het_flag = 'A'
    residue.entity_type = gemmi.EntityType.Polymer
    residue.seqid = gemmi.SeqId(int(protein.residue_number[i]), protein.insertion_code[i] or ' ')
    for atom_name in atom_names[i]:
      atom = gemmi.Atom()
      atom.name, atom.element, atom.b_iso = atom_name, gemmi.Element(atom_name[0]), 0.0
      residue.add_atom(atom)
    chains[protein.arrays.chain_index[i]].add_residue(residue)
  model = gemmi.Model(1)
  for chain in chains:
    model.add_chain(chain)
  structure = gemmi.Structure()
  structure.add_model(model)
  lines = structure.make_pdb_string(gemmi.PdbWriteOptions(minimal=True)).splitlines()
  records = [
    f'{line[:30]}%8.3f%8.3f%8.3f{line[54:]}\n' if line.startswith('ATOM') else f'{line}\n'
    for line in lines
    if line.startswith(('ATOM', 'TER'))
  ]
  return remarks, ''.join(records)


def pdb_frame(
  template: str, coordinates: np.ndarray, path: str | os.PathLike[str], remedy: str
) -> str:
  """The ATOM and TER lines of one model.

  Args:
    template: from `pdb_template`.
    coordinates: [N, 3] Å.
    path: of the file, for messages.
    remedy: what to do about coordinates that do not fit PDB.

  Raises:
    InputError: they do not.
  """
  if not (np.min(coordinates) > -999.999 and np.max(coordinates) < 9999.999):
    raise InputError(f'{path}: coordinates beyond -999 to 9999 Å do not fit PDB; {remedy}')
  return template % tuple(coordinates.ravel().tolist())

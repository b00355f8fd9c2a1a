"""The heavy atoms of a protein and its caps: from a trajectory's atoms to a topology of OpenMM.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from openmm import app

from tempo_jax.errors import InputError, first_few
from tempo_jax.geometry import limits
from tempo_jax.protein import candidate as candidate_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import residues, side_chain_atoms
from tempo_jax.protein.candidate import Candidate
from tempo_jax.trajectory import structure as structure_lib

# Names of caps in files -> OpenMM's names, and those of their atoms but for hydrogens.
_BEFORE = {'ACE': 'ACE'}
_AFTER = {'NME': 'NME', 'NMA': 'NME', 'NH2': 'NH2', 'NHE': 'NH2'}
_CAP_ATOMS = {'ACE': ('CH3', 'C', 'O'), 'NME': ('N', 'C'), 'NH2': ('N',)}
# CHARMM's names, and others for the carbon of NME.
_CAP_NAMES = {
  'ACE': {'CY': 'C', 'CAY': 'CH3', 'CA': 'CH3', 'OY': 'O'},
  'NME': {'NT': 'N', 'CH3': 'C', 'CT': 'C', 'CAT': 'C', 'CA': 'C'},
  'NH2': {'NT': 'N'},
}
# Virtual sites and lone pairs of force fields are no atoms.
_NO_ATOMS = ('EP', 'LP', 'MW', 'MCH', 'MNH')
_BUILT = -1


@dataclasses.dataclass(frozen=True)
class Molecule:
  """What of a trajectory's frame is simulated: its heavy atoms, and an OXT where a chain ends.

  Attributes:
    topology: of M atoms, with bonds.
    rows: [M] of each atom in a frame, -1 where it is built (O and OXT).
    residue: [M] which of the protein's L residues it belongs to or is bonded to (caps).
    carbonyl: [M] whether it is the O of a residue, which may be built, too.
    ca: [L] the row of each residue's CA in a frame.
  """

  topology: app.Topology
  rows: np.ndarray
  residue: np.ndarray
  carbonyl: np.ndarray
  ca: np.ndarray

  def positions(self, frame: np.ndarray, backbone: np.ndarray) -> np.ndarray:
    """The atoms in one frame.

    Args:
      frame: [N, 3] Å, all atoms.
      backbone: [L, 4, 3] Å, N, CA, C, O, in the periodic image that is wanted.

    Returns:
      [M, 3] float64 nm.
    """
    backbone = np.asarray(backbone, np.float64)
    frame = np.asarray(frame, np.float64)
    # Whole chains are moved by vectors of the box.
    moved = backbone[:, 1] - frame[self.ca]
    found = frame[self.rows] + moved[self.residue]
    found[self.carbonyl] = backbone[self.residue[self.carbonyl], 3]
    ends = (self.rows == _BUILT) & ~self.carbonyl
    found[ends] = _second_oxygen(backbone[self.residue[ends]])
    return found / 10.0


def of(
  structure: structure_lib.Structure,
  protein: protein_lib.Protein,
  atom_index: np.ndarray,
  topology_file: str,
) -> Molecule:
  """Finds the heavy atoms of every residue.

  Args:
    structure: the atoms of the trajectory.
    protein: its residues; disulphides become bonds.
    atom_index: [L, 4], see `backbone_atoms.select`.
    topology_file: for messages.

  Raises:
    InputError: atoms are missing, or are of no standard amino acid; a chain is a ring.
  """
  if protein.arrays.ring is not None:
    raise InputError(
      f'{topology_file}: a cyclic peptide, which would be given open ends: relax it with another '
      'program'
    )
  candidates = residues.candidates(structure.atoms)
  by_ca = {c.atoms['CA']: c for c in candidates if 'CA' in c.atoms}
  sources = [by_ca[row] for row in atom_index[:, 1].tolist()]
  heavy = _heavy_atoms(sources, protein, atom_index, topology_file)
  coordinates = structure.atoms.coordinates
  before, after = _caps(candidates, coordinates, atom_index)

  topology = app.Topology()
  rows: list[int] = []
  owner: list[int] = []
  carbonyl: list[bool] = []
  sulphurs: dict[int, app.topology.Atom] = {}

  def add(residue: app.topology.Residue, i: int, atoms: Mapping[str, int]) -> None:
    for name, row in atoms.items():
      element = app.element.get_by_symbol(name[0])
      atom = topology.addAtom(name, element, residue)
      rows.append(row)
      owner.append(i)
      carbonyl.append(name == 'O' and residue.name not in _CAP_ATOMS)
      if name == 'SG':
        sulphurs[i] = atom

  def add_cap(cap: Candidate, i: int) -> None:
    name = (_BEFORE | _AFTER)[cap.name]
    residue = topology.addResidue(name, chain, str(cap.number), cap.insertion_code)
    add(residue, i, _checked_cap(cap, name, topology_file))

  chain_index = protein.arrays.chain_index
  for i, name in enumerate(protein.residue_names):
    first = i == 0 or chain_index[i] != chain_index[i - 1]
    last = i == protein.num_residues - 1 or chain_index[i] != chain_index[i + 1]
    if first:
      chain = topology.addChain(protein.chain_of_residue[i] or ' ')
      if i in before:
        add_cap(before[i], i)
    atoms = heavy[i]
    if last and i not in after:
      atoms = atoms | {'OXT': _oxt(sources[i], int(atom_index[i, 3]))}
    number, code = str(protein.residue_number[i]), protein.insertion_code[i]
    add(topology.addResidue(name, chain, number, code), i, atoms)
    if last and i in after:
      add_cap(after[i], i)
  topology.createStandardBonds()
  partner = protein.arrays.disulphides
  if partner is not None:
    for i, j in enumerate(partner.tolist()):
      if 0 <= i < j and i in sulphurs and j in sulphurs:
        topology.addBond(sulphurs[i], sulphurs[j])
  return Molecule(topology, np.array(rows), np.array(owner), np.array(carbonyl), atom_index[:, 1])


def _heavy_atoms(
  sources: Sequence[Candidate],
  protein: protein_lib.Protein,
  atom_index: np.ndarray,
  topology_file: str,
) -> list[dict[str, int]]:
  """The row of each heavy atom, by the PDB's name."""
  types = np.asarray(protein.arrays.residue_type)
  slots = side_chain_atoms.slots([source.atoms for source in sources], types)
  slots[:, 3] = atom_index[:, 3]
  found, incomplete, foreign, unknown = [], [], [], []
  for i, source in enumerate(sources):
    names = side_chain_atoms.ATOM_NAMES[types[i]]
    rows = slots[i, : len(names)].tolist()
    others = [
      name
      for name, row in source.atoms.items()
      if row not in rows and name not in candidate_lib.OXYGEN_NAMES and not _is_no_heavy_atom(name)
    ]
    if protein.residue_names[i] == 'UNK':
      unknown.append(source.label())
    elif others:
      foreign.append(f'{source.label()} ({", ".join(others)})')
    # A missing O is built.
    missing = [n for n, row in zip(names, rows, strict=True) if row < 0 and n != 'O']
    if missing:
      incomplete.append(f'{source.label()} ({", ".join(missing)})')
    found.append(dict(zip(names, rows, strict=True)))
  if unknown or foreign:
    what = first_few(unknown or foreign)
    raise InputError(
      f'{topology_file}: not one of the 20 amino acids: {what}: the force field has no parameters '
      'for it: relax it with another program'
    )
  if incomplete:
    raise InputError(
      f'{topology_file}: {len(incomplete)} of {len(sources)} residues lack atoms: '
      f'{first_few(incomplete)}: sample with --atoms=heavy, or place side chains with `tempo-jax '
      'side-chains`'
    )
  return found


def _is_no_heavy_atom(name: str) -> bool:
  return name.lstrip('0123456789')[:1] in ('H', 'D', '') or name.startswith(_NO_ATOMS)


def _caps(
  candidates: Sequence[Candidate], coordinates: np.ndarray, atom_index: np.ndarray
) -> tuple[dict[int, Candidate], dict[int, Candidate]]:
  """By residue: the cap before it, and the cap behind it."""
  before: dict[int, Candidate] = {}
  after: dict[int, Candidate] = {}
  for cap in candidates:
    for names, own, theirs, found in ((_BEFORE, 'C', 0, before), (_AFTER, 'N', 2, after)):
      if cap.name in names and own in (atoms := _cap_atoms(cap)):
        ends = coordinates[atom_index[:, theirs]]
        lengths = np.linalg.norm(ends - coordinates[atoms[own]], axis=-1)
        if lengths.min() < limits.MAX_BOND:
          found[int(lengths.argmin())] = cap
  return before, after


def _cap_atoms(cap: Candidate) -> dict[str, int]:
  """The row of each heavy atom, by OpenMM's name."""
  names = _CAP_NAMES[(_BEFORE | _AFTER)[cap.name]]
  return {names.get(n, n): row for n, row in cap.atoms.items() if not _is_no_heavy_atom(n)}


def _checked_cap(cap: Candidate, name: str, topology_file: str) -> dict[str, int]:
  atoms = _cap_atoms(cap)
  if set(atoms) != set(_CAP_ATOMS[name]):
    raise InputError(
      f'{topology_file}: the cap {cap.label()} has the atoms {", ".join(cap.atoms)}, not '
      f'{", ".join(_CAP_ATOMS[name])}: rename them, or leave it out'
    )
  return {n: atoms[n] for n in _CAP_ATOMS[name]}


def _oxt(source: Candidate, oxygen: int) -> int:
  """The row of the second oxygen of a carboxylate; -1 if it is to be built."""
  rows = (source.atoms.get(name, _BUILT) for name in candidate_lib.OXYGEN_NAMES)
  return next((row for row in rows if row not in (_BUILT, oxygen)), _BUILT)


def _second_oxygen(backbone: np.ndarray) -> np.ndarray:
  """[n, 3] Å: O mirrored at the axis CA-C; backbone [n, 4, 3] Å."""
  _, ca, c, o = np.moveaxis(backbone, 1, 0)
  axis = (c - ca) / np.linalg.norm(c - ca, axis=-1, keepdims=True)
  bond = o - c
  return c + 2.0 * np.sum(bond * axis, axis=-1, keepdims=True) * axis - bond

"""Random structure files, as PDB and as mmCIF, and the residues that are in them."""

import collections
import dataclasses

import numpy as np

from tests import peptides

_NAMES = ('ALA', 'GLY', 'LEU', 'TRP', 'HSD', 'CYX', 'UNK')
_MODIFIED = ('MSE', 'SEP', 'MLY')
_LIGANDS = {'HEM': ('FE', 'NA', 'C1A'), 'CA': ('CA',), 'SO4': ('S', 'O1', 'O2')}
_APART = 60.0  # Å, between molecules

Key = tuple[str, int, str]
"""Chain, number, insertion code."""


@dataclasses.dataclass
class _Atom:
  name: str
  altloc: str
  residue: str
  key: Key
  hetero: bool
  occupancy: float
  xyz: np.ndarray
  part: int


@dataclasses.dataclass
class RandomStructure:
  """A file, and what is in it.

  Attributes:
    pdb: its text.
    cif: the same atoms.
    amino_acids: how many residues of the name of an amino acid, or a cap, each key has.
    others: how many ligands of each name; waters are not counted.
    ca: the places [n, 3] Å of CA of amino acids.
    blank: some chain ids are blank, which mmCIF cannot say.
  """

  pdb: str = ''
  cif: str = ''
  amino_acids: collections.Counter[Key] = dataclasses.field(default_factory=collections.Counter)
  others: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  ca: list[np.ndarray] = dataclasses.field(default_factory=list)
  blank: bool = False


class _Maker:
  """Puts together one structure."""

  def __init__(self, rng: np.random.Generator):
    self.rng = rng
    self.atoms: list[_Atom] = []
    self.made = RandomStructure()
    self.with_alternatives: set[Key] = set()
    self.part = 0
    self.ids = rng.permutation(list('ABC1')).tolist()
    self.shuffled = rng.random() < 0.4
    if rng.random() < 0.2:
      self.ids[0], self.made.blank = '', True

  def residue(self, name, key, atoms, *, hetero=False, altlocs=(('', 1.0, 0.0),)):
    """Atoms: name -> xyz; altlocs: letter, occupancy, shift in Å, and another name of residue."""
    lines = []
    for letter, occupancy, shift, *other in altlocs:
      for atom, xyz in atoms.items():
        xyz = np.round(np.asarray(xyz) + shift, 3)
        named = other[0] if other else name
        lines.append(_Atom(atom, letter, named, key, hetero, occupancy, xyz, self.part))
    if self.shuffled:
      lines = [lines[i] for i in self.rng.permutation(len(lines))]
    self.atoms += lines

  def amino_acid(self, name, key, atoms, **kwargs):
    before = len(self.atoms)
    self.residue(name, key, atoms, **kwargs)
    self.made.amino_acids[key] += 1
    self.made.ca += [atom.xyz for atom in self.atoms[before:] if atom.name == 'CA']

  def molecule(self, number: int, *, sound: bool = False):
    """A helix, with gaps; numbers jump, fall, repeat with and without insertion codes."""
    rng = self.rng
    chain = str(rng.choice(self.ids[:3]))
    start = int(rng.integers(-9, 60)) if rng.random() < 0.7 else int(rng.integers(9000, 9900))
    code = ''
    for xyz in peptides.helix(int(rng.integers(4 if sound else 1, 10))):
      if not sound and rng.random() < 0.08:
        continue  # A residue that is not there.
      start, code = self._following(chain, start, code)
      key = chain, start, code
      atoms = dict(zip(peptides.ATOMS, xyz + np.array([_APART * number, 0.0, 0.0]), strict=True))
      if not sound and rng.random() < 0.1:
        atoms = {name: atoms[name] for name in ('CA', 'CB')}
      modified = rng.random() < 0.1
      name = str(rng.choice(_MODIFIED if modified else _NAMES))
      altlocs: tuple[tuple, ...] = (('', 1.0, 0.0),)
      if not self.made.amino_acids[key] and rng.random() < 0.15:
        first = float(rng.choice([0.3, 0.5, 0.7]))
        other = ('SER',) if rng.random() < 0.3 else ()
        altlocs = (('A', first, 0.0), ('B', round(1.0 - first, 2), 0.2, *other))
        self.with_alternatives.add(key)
      self.amino_acid(name, key, atoms, hetero=modified, altlocs=altlocs)
    self.part += int(rng.random() < 0.5)

  def _following(self, chain: str, start: int, code: str) -> tuple[int, str]:
    """The next number; not that of a residue with alternatives, of which it would be one."""
    step = int(self.rng.choice([0, 1, 1, 1, 1, 1, 4, -3]))
    if step == 0 and self.rng.random() < 0.6:
      code = chr(ord(code) + 1) if code else 'A'
    else:
      start, code = start + step, ''
    while (chain, start, code) in self.with_alternatives:
      start += 1
    return start, code

  def rest(self):
    """Free amino acids, caps, ligands, waters, numbered beyond the rest."""
    rng, number = self.rng, 2000
    for k in range(int(rng.integers(0, 6))):
      number += int(rng.integers(1, 3))
      key = (str(rng.choice(self.ids[:3])), number, '')
      place = np.array([_APART * k, 70.0, 0.0])
      kind = rng.choice(['free', 'cap', 'ligand', 'water', 'water'])
      self.part += int(rng.random() < 0.3)
      if kind == 'free':
        atoms = dict(zip(peptides.ATOMS, peptides.helix(1)[0] + place, strict=True))
        self.amino_acid('GLU', key, atoms, hetero=bool(rng.random() < 0.5))
      elif kind == 'cap':
        self.amino_acid('ACE', key, {'CH3': place, 'C': place + 1.5, 'O': place + 2.2})
      elif kind == 'water':
        self.residue('HOH', key, {'O': place}, hetero=True)
      else:
        name = str(rng.choice(list(_LIGANDS)))
        atoms = {atom: place + 1.4 * i for i, atom in enumerate(_LIGANDS[name])}
        self.residue(name, key, atoms, hetero=True)
        self.made.others[name] += 1


def make(seed: int) -> RandomStructure:
  """Several molecules and what floats around them; the first molecule is whole."""
  rng = np.random.default_rng(seed)
  maker = _Maker(rng)
  maker.molecule(0, sound=True)
  for number in range(1, int(rng.integers(1, 5))):
    maker.molecule(number)
  maker.rest()
  made = maker.made
  box = 'CRYST1  900.000  900.000  900.000  90.00  90.00  90.00 P 1           1\n'
  models = 1 + int(rng.random() < 0.2)
  # The other model has fewer atoms, as NMR entries may.
  frames = [maker.atoms, maker.atoms[:-2]][:models]
  made.pdb = box if rng.random() < 0.3 else ''
  for model, atoms in enumerate(frames, start=1):
    text = _pdb(atoms)
    made.pdb += f'MODEL     {model:4d}\n{text}ENDMDL\n' if models > 1 else text
  made.pdb += 'END\n'
  made.cif = _cif(frames)
  return made


def _pdb(atoms: list[_Atom]) -> str:
  text = ''
  for i, atom in enumerate(atoms):
    if i and atom.part != atoms[i - 1].part:
      text += 'TER\n'
    chain, number, code = atom.key
    text += peptides.line(
      atom.name,
      atom.residue,
      chain,
      number,
      atom.xyz,
      icode=code,
      altloc=atom.altloc,
      occupancy=atom.occupancy,
      hetero=atom.hetero,
    )
  return text


def _cif(frames: list[list[_Atom]]) -> str:
  """A new label_asym_id where the PDB has TER."""
  columns = (
    *('group_PDB', 'label_atom_id', 'label_alt_id', 'label_comp_id', 'label_asym_id'),
    *('auth_asym_id', 'auth_seq_id', 'pdbx_PDB_ins_code', 'Cartn_x', 'Cartn_y', 'Cartn_z'),
    *('occupancy', 'pdbx_PDB_model_num', 'type_symbol', 'id'),
  )
  rows = []
  for model, atoms in enumerate(frames, start=1):
    for atom in atoms:
      chain, number, code = atom.key
      rows.append(
        f'{"HETATM" if atom.hetero else "ATOM"} {atom.name} {atom.altloc or "."} {atom.residue} '
        f'{chr(ord("A") + atom.part)} {chain or "."} {number} {code or "?"} '
        f'{" ".join(f"{x:.3f}" for x in atom.xyz)} {atom.occupancy} {model} {atom.name[0]} '
        f'{len(rows) + 1}'
      )
  names = '\n'.join(f'_atom_site.{column}' for column in columns)
  return f'data_x\nloop_\n{names}\n' + '\n'.join(rows) + '\n#\n'

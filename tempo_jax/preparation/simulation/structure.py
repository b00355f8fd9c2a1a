"""A structure file -> a complete protein with hydrogens that may be simulated.

Needs the extra `simulate`: openmm and pdbfixer.
"""

import contextlib
import dataclasses
import gzip
import io
import itertools
import os
import pathlib
import random
import warnings
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import openmm
import pdbfixer
from openmm import app, unit
from scipy import spatial

from tempo_jax.errors import InputError, first_few
from tempo_jax.preparation.simulation import stereochemistry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import structure_file

# What may end a chain, in OpenMM's names: ff14SB has parameters for these.
_CAPS = frozenset(('ACE', 'NME', 'NH2'))
_MAX_PEPTIDE_BOND = 2.0  # Å
_MISSING = (
  'model what is missing first, e.g. with MODELLER; put TER between molecules that share a chain '
  'id; or choose other --chains'
)

# Two readers may choose different alternate locations, but no two CA are as near as this, Å.
_SAME_CA = 1.4
_CB_LENGTH = 0.153  # nm


@dataclasses.dataclass(frozen=True)
class Structure:
  """A protein with all its atoms.

  Attributes:
    topology: residues have the names that OpenMM gives them; no unit cell.
    positions: [N, 3] float64 nm.
    notes: what was left out, replaced and built; one line each.
    protonation: variant by residue where there is a choice, e.g. {'A:15 HIS': 'HIE'}.
  """

  topology: app.Topology
  positions: np.ndarray
  notes: tuple[str, ...]
  protonation: dict[str, str]


def prepare(
  path: str | os.PathLike, *, chains: str = '', pH: float = 7.0, seed: int = 1
) -> Structure:
  """Completes the protein of a structure file, and checks what it starts from.

  Modified residues become their parents; whatever is not protein is left out, but for the caps
  ACE, NME and NH2; missing side chains are built, all hydrogens are placed anew. Residues that
  are missing within a chain are not modelled.

  Args:
    path: PDB or mmCIF, also gzipped; model 1 counts.
    chains: author's ids of the chains to keep, 'A,B'; '' keeps every protein chain.
    pH: decides on protonation, by the pKa of free residues.
    seed: of the building of atoms, above zero.

  Raises:
    InputError: the file cannot be used, a chain is broken or a ring, a residue is a D-residue, or
      a peptide neither cis nor trans.
  """
  path = pathlib.Path(path).expanduser()
  found = structure_file.load_protein(path, chains)
  if 'UNK' in found.residue_names:
    number = found.residue_number[found.residue_names.index('UNK')]
    raise InputError(
      f'{path}: residue {number} is an unknown amino acid, and the force field has no parameters '
      'for it: replace it by a standard one'
    )
  if found.arrays.ring is not None:
    raise InputError(
      f'{path}: a cyclic peptide, which would be given open ends: simulate it with another program'
    )
  fixer = _open(path)
  notes = [*found.warnings, *_keep_protein(fixer, found, path)]
  check_chains(fixer.topology, in_nm(fixer.positions), str(path))
  notes += _check_stereochemistry(fixer.topology, in_nm(fixer.positions), str(path))
  notes += _add_heavy_atoms(fixer, seed)
  complete, _ = add_hydrogens(
    fixer.topology, in_nm(fixer.positions), fixer.platform, pH=pH, seed=seed
  )
  return dataclasses.replace(complete, notes=tuple(notes))


def add_hydrogens(
  topology: app.Topology,
  positions: np.ndarray,
  platform: openmm.Platform,
  *,
  pH: float,
  seed: int,
  variants: Sequence[str | None] | None = None,
) -> tuple[Structure, list[str | None]]:
  """Places all hydrogens of a protein without any.

  Args:
    topology: all heavy atoms, with bonds between sulphurs where they are bonded.
    positions: [N, 3] nm.
    platform: that places them.
    pH: decides on protonation where `variants` does not.
    seed: of where hydrogens begin, above zero.
    variants: of each residue, as returned for another conformation, so that both have the same
      atoms; None chooses them.

  Returns:
    The complete structure, without notes, and the variant of each residue.
  """
  modeller = app.Modeller(topology, to_quantity(positions))
  with seeded(seed):
    chosen = modeller.addHydrogens(pH=pH, variants=variants, platform=platform)
  residues = zip(modeller.topology.residues(), chosen, strict=True)
  protonation = {stereochemistry.label(residue): name for residue, name in residues if name}
  return Structure(modeller.topology, in_nm(modeller.positions), (), protonation), chosen


def in_nm(positions: unit.Quantity) -> np.ndarray:
  """[N, 3] float64 nm."""
  return np.array(positions.value_in_unit(unit.nanometer), np.float64).reshape(-1, 3)


def to_quantity(positions: np.ndarray) -> unit.Quantity:
  """Positions [N, 3] nm in the form that all of OpenMM's tools take."""
  return unit.Quantity([openmm.Vec3(*point) for point in positions.tolist()], unit.nanometer)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
  """OpenMM's Modeller draws from Python's global random numbers."""
  state = random.getstate()
  random.seed(seed)
  try:
    yield
  finally:
    random.setstate(state)


def _open(path: pathlib.Path) -> pdbfixer.PDBFixer:
  content = path.read_bytes()
  if content[:2] == b'\x1f\x8b':
    content = gzip.decompress(content)
  text = content.decode('latin-1')
  lines = (line for line in text.splitlines() if line.strip() and not line.startswith('#'))
  form = 'pdbxfile' if next(lines, '').lower().startswith('data_') else 'pdbfile'
  platform = openmm.Platform.getPlatformByName('CPU')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of records that do not matter here
      fixer = pdbfixer.PDBFixer(**{form: io.StringIO(text)}, platform=platform)
  except Exception as error:  # OpenMM's readers raise whatever they come upon
    raise InputError(
      f'{path}: OpenMM cannot read it: write it anew as plain PDB, e.g. with gemmi convert '
      f'({type(error).__name__}: {" ".join(str(error).split())[:200]})'
    ) from error
  # Of a crystal, or a dummy of 1 Å; not of the simulation.
  fixer.topology.setPeriodicBoxVectors(None)
  fixer.missingResidues = {}
  return fixer


def _keep_protein(
  fixer: pdbfixer.PDBFixer, found: protein_lib.Protein, path: pathlib.Path
) -> list[str]:
  """Reduces the topology to the heavy atoms of the residues of `found`, and of caps.

  Returns:
    What was left out; `found` has warnings of other molecules.
  """
  parents = _match_residues(fixer, found, path)
  chains = {residue.chain for residue in parents}
  unwanted: list = []
  foreign: list[str] = []
  waters = 0
  for residue in fixer.topology.residues():
    atoms = list(residue.atoms())
    if residue in parents:
      known = {a.name for a in fixer.templates[parents[residue]].topology.atoms()} | {'OXT'}
      others = [atom for atom in atoms if atom.name not in known or _is_hydrogen(atom)]
      names = [atom.name for atom in others if not _is_hydrogen(atom)]
      if names and residue.name == parents[residue]:
        foreign.append(f'{stereochemistry.label(residue)} ({", ".join(names)})')
      residue.name = parents[residue]
      unwanted += others
    elif residue.name in _CAPS and residue.chain in chains:
      unwanted += [atom for atom in atoms if _is_hydrogen(atom)]
    else:
      unwanted.append(residue)
      waters += residue.name == 'HOH'
  _delete(fixer, unwanted)
  notes = [f'left out: {waters} water molecules'] if waters else []
  notes += [
    f'left out: {residue}'
    for residue in found.left_out
    if residue.reason != 'a cap' or residue.residue_name == 'FOR'
  ]
  return notes + [f'left out, foreign to its residue: {atoms}' for atoms in foreign]


def _match_residues(
  fixer: pdbfixer.PDBFixer, found: protein_lib.Protein, path: pathlib.Path
) -> dict[app.topology.Residue, str]:
  """The residues of `found` in the topology of the fixer, and their types; by CA positions."""
  positions = 10.0 * in_nm(fixer.positions)
  tree = spatial.cKDTree(found.arrays.positions[:, 1])
  matched: dict[app.topology.Residue, str] = {}
  rows: list[int] = []
  for residue in fixer.topology.residues():
    name = protein_lib.standard_residue(residue.name)
    for atom in residue.atoms():
      if atom.name == 'CA' and name is not None:
        distance, row = tree.query(positions[atom.index])
        if distance < _SAME_CA:
          matched[residue] = name
          rows.append(int(row))
  chains = [residue.chain for residue in matched]
  if (
    rows != list(range(found.num_residues))
    or tuple(matched.values()) != found.residue_names
    or any(chains[i] is not chains[i + 1] for i in np.flatnonzero(found.arrays.bonded))
  ):
    raise InputError(
      f'{path}: OpenMM reads other residues in it, or another order: write it anew as plain PDB, '
      'one conformation, residues in order, TER at the ends of chains only'
    )
  for chain, name in zip(chains, found.chain_of_residue, strict=True):
    chain.id = name or ' '  # of mmCIF, OpenMM may read another id
  return matched


def _is_hydrogen(atom: app.topology.Atom) -> bool:
  return atom.element is None or atom.element.atomic_number == 1


def _delete(fixer: pdbfixer.PDBFixer, unwanted: Iterable) -> None:
  modeller = app.Modeller(fixer.topology, fixer.positions)
  modeller.delete(list(unwanted))
  fixer.topology, fixer.positions = modeller.topology, modeller.positions


def check_chains(
  topology: app.Topology, positions: np.ndarray, source: str, remedy: str = _MISSING
) -> None:
  """Refuses a break within a chain.

  Args:
    topology: of the protein.
    positions: [N, 3] nm.
    source: what the message calls it.
    remedy: what to do, for the message.

  Raises:
    InputError: neighbours are not bonded.
  """
  positions = 10.0 * positions
  for chain in topology.chains():
    residues = list(chain.residues())
    for before, after in itertools.pairwise(residues):
      ends = [atom.index for atom in before.atoms() if atom.name == 'C']
      ends += [atom.index for atom in after.atoms() if atom.name == 'N']
      where = f'{stereochemistry.label(before)} and {stereochemistry.label(after)}'
      length = np.linalg.norm(positions[ends[0]] - positions[ends[-1]])
      if len(ends) != 2 or not length < _MAX_PEPTIDE_BOND:
        raise InputError(
          f'{source}: the chain is broken between {where} (C-N is {length:.2f} Å): {remedy}'
        )


def _check_stereochemistry(topology: app.Topology, positions: np.ndarray, source: str) -> list[str]:
  """Returns what is unusual; refuses D-residues, and peptides that are neither cis nor trans."""
  stereo = stereochemistry.Stereochemistry(topology)
  wrong = [
    f'{stereochemistry.label(residue)} at {center}'
    for residue, center in stereo.wrong_hands(positions)
  ]
  if wrong:
    raise InputError(
      f'{source}: not the hand of an L-amino acid: {first_few(wrong)}: correct it (a mirror image? '
      'a badly built side chain?), or delete the side chain to have it built anew'
    )
  twisted = stereo.twisted(positions)
  if twisted:
    raise InputError(
      f'{source}: omega is neither cis nor trans between {first_few(twisted)}: correct the '
      'structure'
    )
  cis = stereo.cis_without_proline(positions)
  return [f'cis before other residues than proline, kept: {first_few(cis)}'] if cis else []


def _add_heavy_atoms(fixer: pdbfixer.PDBFixer, seed: int) -> list[str]:
  """Adds what is missing; returns what that was.

  PDBFixer fits a template to the atoms that are there. To a backbone, which is nearly planar, a
  mirrored one often fits better, and the side chain comes out with the hand of a D-residue. So it
  is given CB first, where L-residues have it. The second centre of ILE and THR is set right
  afterwards.
  """
  fixer.findMissingAtoms()
  built = {
    residue.index: [atom.name for atom in atoms] for residue, atoms in fixer.missingAtoms.items()
  }
  labels = {residue.index: stereochemistry.label(residue) for residue in fixer.missingAtoms}
  without_cb = {
    residue: [atom for atom in atoms if atom.name == 'CB']
    for residue, atoms in fixer.missingAtoms.items()
    if 'CB' in built[residue.index]
  }
  if without_cb:
    fixer.missingAtoms, fixer.missingTerminals = without_cb, {}
    fixer.addMissingAtoms(seed=seed)
    _place_cb(fixer, {residue.index for residue in without_cb})
    fixer.findMissingAtoms()
  fixer.addMissingAtoms(seed=seed)
  _mirror_branches(fixer, built)
  return [f'built: {labels[i]} ({", ".join(names)})' for i, names in built.items()]


def _place_cb(fixer: pdbfixer.PDBFixer, residues: set[int]) -> None:
  positions = in_nm(fixer.positions)
  for residue in fixer.topology.residues():
    if residue.index in residues:
      atoms = {atom.name: atom.index for atom in residue.atoms()}
      n, c = (_unit(positions[atoms[a]] - positions[atoms['CA']]) for a in ('N', 'C'))
      # Tetrahedral: away from both, and to the side that makes it L.
      outward, aside = -_unit(n + c), _unit(np.cross(n, c))
      direction = np.sqrt(1 / 3) * outward + np.sqrt(2 / 3) * aside
      positions[atoms['CB']] = positions[atoms['CA']] + _CB_LENGTH * direction
  fixer.positions = to_quantity(positions)


def _mirror_branches(fixer: pdbfixer.PDBFixer, built: dict[int, list[str]]) -> None:
  """Inverts the centre CB of ILE and THR by moving the atoms that were built beyond it."""
  positions = in_nm(fixer.positions)
  stereo = stereochemistry.Stereochemistry(fixer.topology)
  for residue, center in stereo.wrong_hands(positions):
    names = built.get(residue.index, [])
    if center == 'CB':
      atoms = {atom.name: atom.index for atom in residue.atoms()}
      given = [atom for atom in ('CG1', 'OG1', 'CG2', 'N') if atom in atoms and atom not in names]
      origin = positions[atoms['CB']]
      axis, other = (positions[atoms[atom]] - origin for atom in ('CA', given[0]))
      normal = _unit(np.cross(axis, other))
      moved = [atoms[name] for name in names if name not in ('N', 'CA', 'C', 'O', 'CB')]
      positions[moved] -= 2.0 * np.outer((positions[moved] - origin) @ normal, normal)
  fixer.positions = to_quantity(positions)


def _unit(x: np.ndarray) -> np.ndarray:
  return x / np.linalg.norm(x)

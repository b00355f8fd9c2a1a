"""Directories in the layout of mdCATH: helical domains that vibrate, bend, tumble and drift.

Only names, shapes, types and geometry are like mdCATH's; no number is. Each trap is planted in a
domain of its own.
"""

import dataclasses
import itertools
import pathlib
import string
from collections.abc import Mapping, Sequence

import h5py
import numpy as np
from scipy import spatial
from scipy.spatial.transform import Rotation

from tests import peptides

TAIL = 12  # frames
TRAPPED_REPLICA = 1

# CHARMM's names, in its order, between CA and C.
_SIDE_CHAINS = {
  'ALA': 'HA CB HB1 HB2 HB3',
  'GLY': 'HA1 HA2',
  'VAL': 'HA CB HB CG1 HG11 HG12 HG13 CG2 HG21 HG22 HG23',
  'LEU': 'HA CB HB1 HB2 CG HG CD1 HD11 HD12 HD13 CD2 HD21 HD22 HD23',
  'ILE': 'HA CB HB CG2 HG21 HG22 HG23 CG1 HG11 HG12 CD HD1 HD2 HD3',
  'LYS': 'HA CB HB1 HB2 CG HG1 HG2 CD HD1 HD2 CE HE1 HE2 NZ HZ1 HZ2 HZ3',
  'ARG': 'HA CB HB1 HB2 CG HG1 HG2 CD HD1 HD2 NE HE CZ NH1 HH11 HH12 NH2 HH21 HH22',
  'GLU': 'HA CB HB1 HB2 CG HG1 HG2 CD OE1 OE2',
  'SER': 'HA CB HB1 HB2 OG HG1',
  'HSD': 'HA CB HB1 HB2 ND1 HD1 CG CE1 HE1 NE2 CD2 HD2',
}
_FIRST_CAP = 'CAY HY1 HY2 HY3 CY OY'
_LAST_CAP = 'NT HNT CAT HT1 HT2 HT3'
_NUMBER = {'H': 1, 'C': 6, 'N': 7, 'O': 8}

TRAPS = (
  'sims_spelling',
  'empty_replica',
  'missing_replica',
  'short_replica',
  'corrupt_tail',
  'zero_tail',
  'broken_over_box',
  'broken_tail',
  'parted_chains',
  'odd_numbering',
  'no_caps',
  'long',
  'wrong_frame_attribute',
  'compressed',
  'no_layout',
  'truncated_file',
  'wrong_order',
  'nan_in_the_middle',
  'nanometres',
  'other_layout',
  'no_coordinates_at_all',
)
"""The last six, from `truncated_file` on, are errors; the others are to be coped with."""
ERRORS = TRAPS[TRAPS.index('truncated_file') :]


@dataclasses.dataclass(frozen=True)
class Atoms:
  """A domain's atoms in its native conformation.

  Attributes:
    names: [N] of the atoms; so too the next five.
    elements: [N].
    residue_names: [N].
    residue_numbers: [N].
    chains: [N].
    residue: [N] int, index of the residue.
    positions: [N, 3] Å.
  """

  names: np.ndarray
  elements: np.ndarray
  residue_names: np.ndarray
  residue_numbers: np.ndarray
  chains: np.ndarray
  residue: np.ndarray
  positions: np.ndarray

  @property
  def num_residues(self) -> int:
    """R."""
    return int(self.residue[-1]) + 1

  def pdb(self) -> str:
    """ATOM lines."""
    columns = (self.names, self.residue_names, self.chains, self.residue_numbers, self.positions)
    return ''.join(
      peptides.line(name, residue, chain, number, xyz)
      for name, residue, chain, number, xyz in zip(*columns, strict=True)
    )


def domain_name(index: int) -> str:
  """The like of '1abcA00'."""
  letters = string.ascii_lowercase
  a, b, c = index // 676 % 26, index // 26 % 26, index % 26
  return f'1{letters[a]}{letters[b]}{letters[c]}A00'


def write_directory(
  path: pathlib.Path,
  num_domains: int,
  seed: int = 0,
  *,
  num_residues: tuple[int, int] = (50, 150),
  num_frames: tuple[int, int] = (400, 450),
  temperatures: Sequence[int] = (320, 450),
  num_replicas: int = 3,
  traps: Sequence[str] = TRAPS,
  damaged: bool = True,
) -> dict[str, str]:
  """Writes mdcath_dataset_*.h5 and mdcath_source.h5.

  Args:
    path: directory, made if it is not there.
    num_domains: at least as many as there are traps.
    seed: of everything.
    num_residues: from, to; 260 to 280 for the trap `long`.
    num_frames: from, to; drawn in tens, as in mdCATH.
    temperatures: K.
    num_replicas: at each of them.
    traps: one each for the first domains, in replica 1 at the first temperature where it
      concerns a replica.
    damaged: False writes the same frames as they were before a trap damaged them.

  Returns:
    What is planted in each domain, '' for nothing, by its name.
  """
  path.mkdir(parents=True, exist_ok=True)
  planted = {}
  index = {}
  for i in range(num_domains):
    rng = np.random.default_rng([seed, i])
    trap = traps[i] if i < len(traps) else ''
    name = domain_name(i)
    length = int(
      rng.integers(260, 281)
      if trap == 'long'
      else rng.integers(num_residues[0], num_residues[1] + 1)
    )
    atoms = build(length, rng, trap)
    frames = {
      (t, r): int(rng.integers(num_frames[0] // 10, num_frames[1] // 10 + 1)) * 10
      for t, r in itertools.product(temperatures, range(num_replicas))
    }
    if trap == 'short_replica':
      frames[temperatures[0], TRAPPED_REPLICA] = num_frames[0] // 20 * 10
    if trap == 'missing_replica':
      del frames[temperatures[0], TRAPPED_REPLICA]
    write_domain(path / f'mdcath_dataset_{name}.h5', name, atoms, frames, rng, trap, damaged)
    planted[name] = trap
    index[name] = (length, frames)
  write_source(path / 'mdcath_source.h5', index)
  return planted


def write_domain(
  file: pathlib.Path,
  name: str,
  atoms: Atoms,
  num_frames: Mapping[tuple[int, int], int],
  rng: np.random.Generator,
  trap: str = '',
  damaged: bool = True,
) -> None:
  """One file; num_frames by temperature, K, and replica."""
  trapped = (next(iter(num_frames))[0], TRAPPED_REPLICA)
  order = np.argsort(atoms.elements, kind='stable') if trap == 'wrong_order' else slice(None)
  with h5py.File(file, 'w') as h5:
    if trap != 'no_layout':
      kind = 'noh' if trap == 'other_layout' else 'only-protein'
      h5.attrs['layout'] = f'mdcath-{kind}-v1.0'
    domain = _write_topology(h5, name, atoms)
    for (temperature, replica), frames in num_frames.items():
      spelling = f'sims{temperature}K' if trap == 'sims_spelling' else f'{temperature}'
      here = trap if (temperature, replica) == trapped else ''
      group = domain.require_group(spelling).create_group(f'{replica}')
      if here == 'empty_replica':
        continue
      coords, box = simulate(atoms, frames, rng)
      if damaged:
        _plant(here, coords, box, atoms)
      chunks = {'chunks': (7, 100, 3), 'compression': 'gzip'} if trap == 'compressed' else {}
      if trap != 'no_coordinates_at_all':
        _write(group, 'coords', coords[:, order], 'Angstrom', **chunks)
      # Never read, so never written either: the file is half as large.
      group.create_dataset('forces', coords.shape, np.float32).attrs['unit'] = 'kcal/mol/Angstrom'
      _write(group, 'box', (box / 10.0).astype(np.float32), 'nm')
      text = h5py.string_dtype('ascii')
      group.create_dataset('dssp', (frames, atoms.num_residues), text, fillvalue=b'H')
      for key in ('rmsd', 'gyrationRadius'):
        dtype = np.float64 if key == 'gyrationRadius' else np.float32
        _write(group, key, np.ones(frames, dtype), 'nm')
      _write(group, 'rmsf', np.ones(atoms.num_residues, np.float32), 'nm')
      group.attrs['numFrames'] = frames - 3 if here == 'wrong_frame_attribute' else frames
  if trap == 'truncated_file':
    size = file.stat().st_size
    with file.open('r+b') as raw:
      raw.truncate(size * 3 // 4)


def write_source(
  file: pathlib.Path, domains: Mapping[str, tuple[int, Mapping[tuple[int, int], int]]]
) -> None:
  """The index: by domain its number of residues, and numbers of frames by (K, replica)."""
  with h5py.File(file, 'w') as h5:
    for name, (num_residues, num_frames) in domains.items():
      group = h5.create_group(name)
      group.attrs.update(
        {'numChains': 1, 'numNoHAtoms': 8, 'numProteinAtoms': 16, 'numResidues': num_residues}
      )
      for (temperature, replica), frames in num_frames.items():
        shares = {'alpha': 60.0, 'beta': 0.0, 'coil': 40.0}
        radii = {'min_gyration_radius': 1.0, 'max_gyration_radius': 2.0}
        group.create_group(f'{temperature}/{replica}').attrs.update(
          {'numFrames': frames, **shares, **radii}
        )


def build(length: int, rng: np.random.Generator, trap: str = '') -> Atoms:
  """Kinked helices with side chains and hydrogens, which stand near where they belong."""
  backbone = _backbone(length, rng)
  rows = []
  half = length // 2
  for i in range(length):
    residue = str(rng.choice(list(_SIDE_CHAINS)))
    names = f'N HN CA {_SIDE_CHAINS[residue]} C'.split()
    last, capped = i == length - 1, trap != 'no_caps'
    names += ['OT1', 'OT2'] if last and not capped else ['O']
    if capped:
      names = [*_FIRST_CAP.split(), *names] if i == 0 else names
      names += _LAST_CAP.split() if last else []
    number, chain = i + 1, '0'
    if trap == 'odd_numbering':
      number = i - 3 + 10 * (i >= half)
    if trap == 'parted_chains' and i >= half:
      number, chain = i - half + 1, '1'
    n, ca, c, o, cb = backbone[i]
    known = {'N': n, 'CA': ca, 'C': c, 'O': o, 'OT1': o, 'CB': cb}
    near = {'CY': n, 'CAY': n, 'NT': c, 'CAT': c, 'OT2': c, 'HN': n}
    for atom in names:
      xyz = known.get(atom)
      if xyz is None:
        xyz = near.get(atom, cb) + rng.normal(scale=1.2, size=3)
      rows.append((atom, residue, number, chain, i, xyz))
  columns = [np.array(column) for column in zip(*rows, strict=True)]
  index, positions = columns[4:]
  if trap == 'parted_chains':  # no bond between them, and still side by side
    positions[index >= half] += 4.0
  elements = np.array([name[0] for name in columns[0]])
  return Atoms(
    columns[0], elements, columns[1], columns[2], columns[3], index, np.round(positions, 3)
  )


def _backbone(length: int, rng: np.random.Generator) -> np.ndarray:
  """[L, 5, 3] Å: N, CA, C, O, CB of helices, kinked where the chain does not meet itself."""
  chain = peptides.helix(length)
  for part in np.array_split(np.arange(length), max(1, length // 14))[1:]:
    first, last = part[0], part[-1]
    n, ca = chain[first, :2].copy()
    axis = (ca - n) / np.linalg.norm(ca - n)
    for _ in range(100):
      # Turning what follows about N-CA changes phi, and leaves every bond as it is.
      turn = Rotation.from_rotvec(axis * rng.uniform(0.5, 5.5)).as_matrix()
      turned = (chain[first:] - n) @ turn.T + n
      turned[0, :2] = n, ca
      part_ca = turned[2 : last - first + 1, 1]
      if spatial.distance.cdist(part_ca, chain[: first - 1, 1]).min() > 4.5:
        chain[first:] = turned
        break
  return chain - chain[:, 1].mean(0)


def simulate(
  atoms: Atoms, num_frames: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Vibrating, bending, tumbling and drifting.

  Returns:
    coords [F, N, 3] float32 Å, and the box [3, 3] Å.
  """
  native = atoms.positions.astype(np.float32)
  along = np.linspace(0.0, 1.0, atoms.num_residues)[atoms.residue]
  modes = np.sin(np.pi * np.outer(np.arange(1, 4), along) + rng.uniform(0.0, 6.0, (3, 1)))
  walk = rng.normal(size=(num_frames, 3, 3)).cumsum(0)
  # [F, modes, 3] Å; small where the chain is short, so that no bond is strained.
  amplitude = min(0.5, atoms.num_residues / 100.0) * np.sin(0.3 * walk).astype(np.float32)
  coords = np.einsum('fmx,mn->fnx', amplitude, modes.astype(np.float32))
  coords += native + 0.03 * rng.standard_normal(coords.shape, np.float32)
  turn = Rotation.from_rotvec(rng.normal(scale=0.1, size=(num_frames, 3)).cumsum(0)).as_matrix()
  drift = 20.0 + rng.normal(scale=1.0, size=(num_frames, 1, 3)).cumsum(0)
  coords = coords @ turn.transpose(0, 2, 1).astype(np.float32) + drift.astype(np.float32)
  edge = np.linalg.norm(np.ptp(native, axis=0)) + 18.0
  return coords, edge * np.eye(3)


def _plant(trap: str, coords: np.ndarray, box: np.ndarray, atoms: Atoms) -> None:
  """Damages `coords` [F, N, 3] Å in place."""
  edge = box[0, 0]
  middle = len(coords) // 2
  if trap == 'corrupt_tail':
    coords[-TAIL:] = np.random.default_rng(1).normal(scale=2e7, size=coords[-TAIL:].shape)
  elif trap == 'zero_tail':
    coords[-TAIL:] = 0.0
  elif trap in ('broken_over_box', 'broken_tail'):
    part = coords[-TAIL:] if trap == 'broken_tail' else coords[middle : middle + TAIL]
    # The middle of the molecule comes to lie on the corner of the box.
    part -= part.mean(axis=1, keepdims=True)
    part %= edge
  elif trap == 'parted_chains':
    coords[middle : middle + TAIL, atoms.chains == '1', 0] += 2.0 * edge
  elif trap == 'nan_in_the_middle':
    coords[middle, 7:] = np.nan
  elif trap == 'nanometres':
    coords /= 10.0


def _write_topology(h5: h5py.File, name: str, atoms: Atoms) -> h5py.Group:
  group = h5.create_group(name)
  group.attrs['numProteinAtoms'] = len(atoms.names)
  group.attrs['numResidues'] = atoms.num_residues
  group.attrs['numChains'] = len(set(atoms.chains))
  text = h5py.string_dtype('utf-8')
  group.create_dataset('chain', data=atoms.chains.astype(object), dtype=text)
  group.create_dataset('resname', data=atoms.residue_names.astype(object), dtype=text)
  group.create_dataset('element', data=atoms.elements.astype(object), dtype=text)
  group.create_dataset('resid', data=atoms.residue_numbers)
  group.create_dataset('z', data=np.array([_NUMBER[element] for element in atoms.elements]))
  lines = atoms.pdb()
  group.create_dataset('pdb', data=f'CRYST1\n{lines}END\n'.encode())
  group.create_dataset('psf', data=b'PSF\n')
  group.create_dataset('pdbProteinAtoms', data=lines.encode())
  return group


def _write(group: h5py.Group, key: str, data: np.ndarray, unit: str, **how) -> None:
  group.create_dataset(key, data=data, **how).attrs['unit'] = unit

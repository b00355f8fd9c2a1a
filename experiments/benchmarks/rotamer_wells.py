"""Where side chains stand within the wells of their rotamers: `tempo_jax.dynamics.rotamer_table`.

    python -m experiments.benchmarks.rotamer_wells --data=DATA

For each type of residue, chi and well: the mean deviation of phases from the middle of their well,
and the root mean square about it. MD is read of proteins that may be trained on
(data_prep/simulated and DATA/md_public, of NTL9 the first half; replicas that validate included),
every residue with the same weight, shared among its wells as its frames are. Few residues say
little: the mean over crystal structures (DATA/structures, those of the PDB) counts as two of them,
and so does the spread of all wells of the torsion, which in turn leans on that of all torsions of
its kind. Proteins that are held out are not read.
"""

import pathlib
import sys
from collections.abc import Hashable, Iterator

import jax.numpy as jnp
import numpy as np
from absl import flags

from data_prep import public_md
from experiments.benchmarks import heavy_frames, md_atoms
from tempo_jax.cli import command
from tempo_jax.dynamics import rotamers
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

# Residues: the weight of what is known without them.
_PRIOR_WEIGHT = 2.0
# Degrees: of a well that is filled evenly.
_EVEN = 120.0 / np.sqrt(12.0)
# Of whose MD a part is kept to judge by.
_PART = {md.name: md.part for md in public_md.SETS}
_Key = tuple[int, int, int]  # type, chi, well
_Sums = dict[_Key, np.ndarray]


def simulated(data: pathlib.Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields chi [F, L, 4] radians, what is known [L, 4] and types [L] of each protein."""
  for source in md_atoms.sources(data):
    frames = md_atoms.read(*source)
    atoms = frames.atoms[: int(_PART.get(source.name, 1.0) * len(frames.atoms))]
    types = np.asarray(frames.protein.arrays.residue_type)
    whole = (frames.known | ~side_chain_atoms.atom_mask(types)).all(axis=1)
    known = side_chain_atoms.chi_mask(types) & whole[:, None]
    yield heavy_frames.chi_of(atoms, types), known, types


def crystals(data: pathlib.Path) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """The same of crystal structures, a frame each."""
  for protein in md_atoms.crystals(data):
    arrays = protein.arrays
    if arrays.chi is not None:
      yield arrays.chi[None], np.asarray(arrays.chi_known), np.asarray(arrays.residue_type)


def sums(chi: np.ndarray, known: np.ndarray, types: np.ndarray, found: _Sums) -> None:
  """Adds, by type, chi and well, the weight and the first two moments in degrees."""
  found_within = rotamers.within_wells(jnp.asarray(chi, jnp.float32), jnp.asarray(types))
  wells, off = (np.asarray(x) for x in found_within)
  off = np.rad2deg(off)
  for residue, number in np.argwhere(known):
    for well in range(rotamers.NUM_WELLS):
      own = off[wells[:, residue, number] == well, residue, number]
      key = int(types[residue]), int(number), well
      moments = np.array([len(own), own.sum(), (own**2).sum()], np.float64) / len(chi)
      found[key] = found.get(key, np.zeros(3)) + moments


class _Spreads:
  """Root mean squares of groups, each of which leans on a greater one."""

  def __init__(self):
    self._sums: dict[Hashable, np.ndarray] = {}

  def add(self, group: Hashable, weight: float, about: float) -> None:
    """Adds to a group a weight, and the sum of squares."""
    self._sums[group] = self._sums.get(group, np.zeros(2)) + np.array([weight, about])

  def of(self, *groups: Hashable) -> float:
    """Of the first group, the smallest; the last one stands for itself."""
    *smaller, largest = groups
    weight, about = self._sums[largest]
    square = about / weight if weight else _EVEN**2
    for group in reversed(smaller):
      weight, about = self._sums[group]
      square = (about + _PRIOR_WEIGHT * square) / (weight + _PRIOR_WEIGHT)
    return float(np.sqrt(square))


def table(data: pathlib.Path) -> dict[_Key, tuple[float, float]]:
  """Centres and spreads, degrees of phase, by type, chi and well."""
  of_md: _Sums = {}
  of_crystals: _Sums = {}
  for read, found in ((simulated, of_md), (crystals, of_crystals)):
    for chi, known, types in read(data):
      sums(chi, known, types, found)
  every_type = np.arange(len(protein_lib.RESIDUE_TYPES))
  torsions = [(int(i), int(k)) for i, k in np.argwhere(side_chain_atoms.chi_mask(every_type))]
  staggered = side_chain_atoms.staggered_mask(every_type)

  def kind_of(torsion: tuple[int, int]) -> str:
    ring = torsion[0] == protein_lib.RESIDUE_TYPES.index('PRO')
    return 'ring' if ring else 'staggered' if staggered[torsion] else 'other'

  keys = [(i, k, well) for i, k in torsions for well in range(rotamers.NUM_WELLS)]
  centres: dict[_Key, float] = {}
  spreads = _Spreads()
  for key in keys:
    torsion = key[:2]
    weight, first, second = of_md.get(key, np.zeros(3))
    count, crystal, _ = of_crystals.get(key, np.zeros(3))
    # The middle of the well counts as one structure.
    total = first + _PRIOR_WEIGHT * crystal / (count + 1.0)
    centre = centres[key] = float(total / (weight + _PRIOR_WEIGHT))
    about = second - 2.0 * centre * first + weight * centre**2
    for group in (key, torsion, kind_of(torsion)):
      spreads.add(group, weight, about)
  return {key: (centres[key], spreads.of(key, key[:2], kind_of(key[:2]))) for key in keys}


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'data', None, 'Folder with md_public/ and structures/. Required.', flag_values=values
  )


def main(values: flags.FlagValues) -> None:
  """Prints the table."""
  command.require(values, 'data')
  found = table(pathlib.Path(values.data).expanduser())
  for kind, name in enumerate(protein_lib.RESIDUE_TYPES):
    numbers = sorted({number for type_, number, _ in found if type_ == kind})
    for number in numbers:
      cells = [found[kind, number, well] for well in range(rotamers.NUM_WELLS)]
      text = '  '.join(f'{round(centre):3d} {round(spread):2d}' for centre, spread in cells)
      print(f'{name} {number + 1} {text}')


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

"""The limits of a sound frame: the tables of `metrics.covalent_geometry` and `close_contacts`.

    python -m experiments.benchmarks.limits --data=DATA

Reads MD in data_prep/simulated (ff14SB, OBC2) and DATA/md_public (CHARMM36m and others, explicit
solvent), without the proteins that are held out. A limit is what one bond, angle or atom in a
million is beyond: more than MD shows, so the tail is taken to fall exponentially, as its 50 most
extreme values do. Of the force fields the widest limit counts; one that constrains bonds sets none
of them. So the share of sound frames in MD falls with the length of the chain by one in a million
for each bond and residue. Beside them stands the geometry of crystals, Engh & Huber, International
Tables for Crystallography F (2001), 18.3.
"""

import math
import pathlib
import sys
from collections.abc import Iterable

import numpy as np
from absl import flags

from experiments.benchmarks import md_atoms
from tempo_jax.cli import command
from tempo_jax.evaluation import markdown
from tempo_jax.metrics import close_contacts, covalent_geometry, rotamers
from tempo_jax.protein import side_chain_atoms

RATE = 1e-6
_NUM_EXTREMES = 50
# A force field of fewer values has no tail to speak of.
_LEAST_VALUES = 10_000
# Å, of the distances whose tail is looked at.
_FARTHEST = 3.3
# Mean and sd; Å and degrees.
ENGH_HUBER = {
  'N-CA': (1.459, 0.020),
  'CA-C': (1.525, 0.026),
  'C-O': (1.229, 0.019),
  'C-N': (1.336, 0.023),
  'N-CA-C': (111.0, 2.7),
  'CA-C-O': (120.1, 2.1),
  'CA-C-N': (117.2, 2.2),
  'O-C-N': (122.7, 1.6),
  'C-N-CA': (121.7, 2.5),
}


def beyond(values: np.ndarray, rate: float, number: float | None = None) -> float:
  """What a share of all values is above.

  Args:
    values: the greatest ones at least.
    rate: that share.
    number: of all values. Default: those given.
  """
  number = number or values.size
  extremes = np.sort(values.ravel())[-_NUM_EXTREMES - 1 :].astype(np.float64)
  threshold, tail = extremes[0], extremes[1:]
  return float(threshold + (tail - threshold).mean() * math.log(tail.size / (number * rate)))


def widest(families: Iterable[np.ndarray]) -> tuple[float, float]:
  """Lower and upper limit, half of the rate each, of the values of several force fields."""
  found = [
    (-beyond(-values, RATE / 2.0), beyond(values, RATE / 2.0))
    for values in families
    if values.size >= _LEAST_VALUES
  ]
  lower, upper = zip(*found, strict=True)
  return min(lower), max(upper)


class Collected:
  """What the limits are made from.

  Attributes:
    geometry: of every bond, angle and hand, by family (our own MD is one, each of the others one).
    distances: of each pair of elements, below `_FARTHEST`, of atoms that at least four bonds part.
    num_residues: times frames, of those whose side chains are known.
    eclipsed: residues with a rare rotamer, by frame.
  """

  def __init__(self) -> None:
    self.geometry: dict[str, dict[str, list[np.ndarray]]] = {}
    self.distances: dict[str, list[np.ndarray]] = {}
    self.num_residues = 0
    self.num_eclipsed = 0

  def add(self, family: str, frames: md_atoms.Frames) -> None:
    """Adds the frames of one protein."""
    arrays = frames.protein.arrays
    backbone, types = frames.backbone, arrays.residue_type
    of_backbone = (covalent_geometry.lengths, covalent_geometry.angles)
    for name, values in (x for found in of_backbone for x in found(backbone, arrays.bonds)):
      self.geometry.setdefault(name, {}).setdefault(family, []).append(values.ravel())
    if not np.array_equal(frames.known, side_chain_atoms.atom_mask(types)):
      return
    for name, values in covalent_geometry.volumes(frames.atoms, types):
      self.geometry.setdefault(name, {}).setdefault(family, []).append(values.ravel())
    self.num_residues += len(frames.atoms) * len(types)
    for pair, found in close_contacts.distances(frames.atoms, arrays, _FARTHEST).items():
      self.distances.setdefault(pair, []).append(found)
    flat = frames.atoms.reshape(len(frames.atoms), -1, 3)
    slots = np.arange(flat.shape[1]).reshape(len(types), -1)
    chi, _ = side_chain_atoms.measured_chi(flat, slots, types)
    self.num_eclipsed += int(rotamers.outliers(chi, types).sum())

  def families(self, name: str) -> list[np.ndarray]:
    """All values of a bond, angle or hand, by family."""
    return [np.concatenate(values) for values in self.geometry[name].values()]


def collect(data: pathlib.Path | None) -> Collected:
  """All MD that is not held out; without `data` our own alone."""
  found, own = Collected(), {source.name for source in md_atoms.sources(None)}
  for frames in md_atoms.of_md(data):
    found.add('own' if frames.name in own else frames.name, frames)
  return found


def tables(found: Collected) -> str:
  """In Markdown."""
  rows = []
  for name in (*covalent_geometry.BONDS, *covalent_geometry.ANGLES):
    families = found.families(name)
    own = families[0]
    if name == 'omega':
      limits = f'{max(beyond(x, RATE) for x in families if x.size >= _LEAST_VALUES):.1f}'
    else:
      limits = ' to '.join(f'{limit:.3f}' for limit in widest(families))
    spread = f'{own.mean():.3f} ± {own.std():.3f}'
    crystal = ' ± '.join(f'{x:g}' for x in ENGH_HUBER.get(name, ()))
    rows.append([name, crystal, spread, limits, ' to '.join(map(str, _limit(name)))])
  heads = ['', 'crystals', 'our MD', 'one in a million', 'limit']
  text = [markdown.table(heads, rows)]
  hands = [np.concatenate(found.families(name)) for name in covalent_geometry.HANDS]
  least = -beyond(-np.concatenate(hands), RATE)
  text.append(f'least volume of a hand: {least:.2f}; limit {covalent_geometry.LEAST_VOLUME}')
  rows = []
  for pair, limit in close_contacts.NEAREST.items():
    distances = np.concatenate(found.distances[pair])
    nearest = -beyond(-distances, RATE, found.num_residues)
    rows.append([pair, str(distances.size), f'{distances.min():.2f}', f'{nearest:.2f}', f'{limit}'])
  text.append(markdown.table(['atoms', 'pairs', 'nearest, Å', 'one in a million', 'limit'], rows))
  share = 100.0 * found.num_eclipsed / found.num_residues
  text.append(f'residues with a rare rotamer: {share:.2f} % of {found.num_residues}')
  return '\n\n'.join(text)


def _limit(name: str) -> tuple[float, ...]:
  return covalent_geometry.LIMITS[name]


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('data', None, 'Folder with md_public/. Default: none.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Prints the tables."""
  print(tables(collect(pathlib.Path(values.data).expanduser() if values.data else None)))


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

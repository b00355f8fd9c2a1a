"""Contours of phi and psi: the table of `tempo_jax.metrics.ramachandran`.

    python -m experiments.benchmarks.ramachandran_contours --data=DATA

Half of the weight is MD's (data_prep/simulated and DATA/md_public, without the proteins that are
held out), the same for every residue of every protein, and half that of crystal structures
(DATA/structures, those of the PDB). Counts in cells of 5 degrees are smoothed by a Gaussian of 5
degrees, glycine's are made symmetric, and the cells of highest density that hold 99.95 % are
allowed. Of general residues, of which there are enough, a cell also needs two proteins that come
within 5 degrees of it: one strained residue of one protein opens no region. Prints the table, and
how much of the plot each class is allowed.

With --judge=NAME=TOPOLOGY=TRAJECTORY,... it prints, beside those of the boxes that were used until
November 2026, the outliers of MD that was held out, or of a model, in Markdown.
"""

import pathlib
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from absl import flags
from scipy import ndimage

from experiments.benchmarks import md_atoms
from tempo_jax.cli import command
from tempo_jax.evaluation import markdown
from tempo_jax.geometry import ramachandran_table
from tempo_jax.metrics import ramachandran, torsions
from tempo_jax.protein import protein as protein_lib

_LEVEL = 0.9995
_SMOOTHING = 5.0  # degrees
_LEAST_PROTEINS = {'general': 2}
# Of the frames of a protein: less is no support.
_LEAST_SHARE = 0.002
# Degrees: least and greatest phi, least and greatest psi; of general residues and pre-proline.
_BOXES = (
  (-180.0, -40.0, 50.0, 180.0),
  (-180.0, -50.0, -180.0, -150.0),
  (160.0, 180.0, 130.0, 180.0),
  (160.0, 180.0, -180.0, -150.0),
  (-170.0, -30.0, -80.0, 50.0),
  (30.0, 90.0, -20.0, 100.0),
)


def counts(
  positions: np.ndarray, protein: protein_lib.ProteinArrays
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each class and its [72, 72] counts, a residue at a time.

  Args:
    positions: [F, L, 4, 3] Å.
    protein: [L] residues.
  """
  phi, psi, _ = torsions.backbone_torsions(positions, protein.bonds)
  kinds = ramachandran.classes(protein.residue_type, protein.bonds)
  for i in np.flatnonzero((kinds >= 0) & ~np.isnan(phi[0] + psi[0])).tolist():
    cell = ramachandran_table.cells(phi[:, i]), ramachandran_table.cells(psi[:, i])
    found = np.zeros((ramachandran_table.NUM_CELLS, ramachandran_table.NUM_CELLS))
    np.add.at(found, cell, 1.0)
    yield ramachandran_table.CLASSES[kinds[i]], found


def symmetric(found: np.ndarray) -> np.ndarray:
  """The same for phi, psi and -phi, -psi."""
  return (found + found[::-1, ::-1]) / 2.0


def contour(kind: str, groups: Iterable[Iterable[list[np.ndarray]]]) -> np.ndarray:
  """Allowed cells.

  Args:
    kind: one of `ramachandran_table.CLASSES`.
    groups: of equal weight, each of proteins, each with the counts [72, 72] of its residues.

  Returns:
    [72, 72] bool, phi then psi.
  """
  density = np.zeros((ramachandran_table.NUM_CELLS, ramachandran_table.NUM_CELLS))
  support = np.zeros(density.shape, int)
  for group in groups:
    total = np.zeros(density.shape)
    for residues in group:
      own = sum((found / found.sum() for found in residues), np.zeros(density.shape))
      own = symmetric(own) if kind == 'glycine' else own
      total += own
      seen = own > _LEAST_SHARE
      support += ndimage.maximum_filter(seen.astype(int), size=3, mode='wrap')
    density += total / total.sum()
  width = _SMOOTHING / ramachandran_table.CELL
  density = ndimage.gaussian_filter(density, width, mode='wrap')
  density[support < _LEAST_PROTEINS.get(kind, 0)] = 0.0
  falling = np.sort(density.ravel())[::-1]
  held = np.cumsum(falling) / falling.sum()
  return density >= falling[np.searchsorted(held, _LEVEL)]


def table(data: pathlib.Path) -> dict[str, np.ndarray]:
  """Allowed cells [72, 72] of each class."""
  found: dict[str, list[list[list[np.ndarray]]]] = {name: [] for name in ramachandran_table.CLASSES}
  simulated = ((x.backbone, x.protein.arrays) for x in md_atoms.of_md(data))
  crystals = ((x.arrays.positions[None], x.arrays) for x in md_atoms.crystals(data))
  for group in (simulated, crystals):
    for proteins in found.values():
      proteins.append([])
    for positions, arrays in group:
      own: dict[str, list[np.ndarray]] = {}
      for kind, cells in counts(positions, arrays):
        own.setdefault(kind, []).append(cells)
      for kind, residues in own.items():
        found[kind][-1].append(residues)
  return {kind: contour(kind, groups) for kind, groups in found.items()}


def in_boxes(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
  """Whether angles [...] in radians are in one of the boxes."""
  x, y = np.rad2deg(phi), np.rad2deg(psi)
  found = [(x >= a) & (x <= b) & (y >= c) & (y <= d) for a, b, c, d in _BOXES]
  return np.any(found, axis=0)


def judge(frames: md_atoms.Frames) -> list[str]:
  """A row: outliers of the boxes, of the contours, and of the contours by class, %."""
  arrays = frames.protein.arrays
  phi, psi, _ = torsions.backbone_torsions(frames.backbone, arrays.bonds)
  outlier, judged = ramachandran.outliers(phi, psi, arrays.residue_type, arrays.bonds)
  kinds = ramachandran.classes(arrays.residue_type, arrays.bonds)

  def share(mask: np.ndarray) -> str:
    return f'{100.0 * mask.mean():.2f}' if mask.size else '-'

  boxed = judged & np.isin(
    kinds, [ramachandran_table.CLASSES.index(x) for x in ('general', 'pre-proline')]
  )
  by_class = [
    share(outlier[:, judged & (kinds == i)]) for i in range(len(ramachandran_table.CLASSES))
  ]
  old = share(~in_boxes(phi[:, boxed], psi[:, boxed]))
  return [frames.name, old, share(outlier[:, judged]), *by_class]


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string(
    'data', None, 'Folder with md_public/ and structures/. Default: none.', flag_values=values
  )
  flags.DEFINE_multi_string(
    'judge',
    [],
    'NAME=TOPOLOGY=TRAJECTORY,...: judge these frames; may be repeated. Default: none.',
    flag_values=values,
  )


def main(values: flags.FlagValues) -> None:
  """Prints the contours, or judges frames by those of the package."""
  if values.judge:
    rows = []
    for text in values.judge:
      name, topology, files = text.split('=')
      paths = [pathlib.Path(file).expanduser() for file in files.split(',')]
      rows.append(judge(md_atoms.read(name, pathlib.Path(topology).expanduser(), paths)))
    heads = ['protein', 'six boxes, %', 'contours, %', *ramachandran_table.CLASSES]
    print(markdown.table(heads, rows))
    return
  for kind, allowed in table(pathlib.Path(values.data).expanduser()).items():
    print(f'  # {100.0 * allowed.mean():.0f} % of the plot.\n  \'{kind}\': """')
    for line in ramachandran_table.packed(allowed):
      print(line)
    print('  """,')


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

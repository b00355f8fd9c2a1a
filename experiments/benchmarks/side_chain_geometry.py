"""Medians of bonds, angles and torsions in the side chains of crystal structures.

    python -m experiments.benchmarks.side_chain_geometry --structures=DATA/structures

Prints the two tables of `tempo_jax.geometry.side_chain_table`; after the # the number of residues
and the standard deviations. DATA/structures has *.pdb.gz; those that were prepared for MD (their
names begin with microsoft) are left out.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from tempo_jax.cli import command
from tempo_jax.geometry import side_chain_table
from tempo_jax.protein import atom_records, residues

# Å. Longer ones are mistakes of the file.
_LONGEST_BOND = 2.0
# Half a turn exchanges them: one number for both.
_ALIKE = {
  ('ASP', 'OD'): ('OD1', 'OD2'),
  ('GLU', 'OE'): ('OE1', 'OE2'),
  **{(name, f'C{at}'): (f'C{at}1', f'C{at}2') for name in ('PHE', 'TYR') for at in 'DE'},
}


def read(folder: pathlib.Path) -> dict[str, list[dict[str, np.ndarray]]]:
  """Of each residue type, its residues: atom name -> [3] Å."""
  found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in side_chain_table.TYPES}
  for path in sorted(folder.glob('*.pdb.gz')):
    if path.name.startswith('microsoft'):
      continue
    atoms = atom_records.read(path)
    for candidate in residues.candidates(atoms):
      if candidate.name in found:
        places = {atom: atoms.coordinates[row] for atom, row in candidate.atoms.items()}
        found[candidate.name].append(places)
  return found


def atoms_of(residues_of: list[dict[str, np.ndarray]], *names: str) -> list[np.ndarray]:
  """Each [N, 3] Å, of the residues that have all of these atoms."""
  whole = [atoms for atoms in residues_of if all(name in atoms for name in names)]
  return [np.array([atoms[name] for atoms in whole]) for name in names]


def length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """[N] Å between points [N, 3]."""
  return np.linalg.norm(b - a, axis=-1)


def angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
  """[N] degrees of points [N, 3]."""
  cosine = ((a - b) * (c - b)).sum(axis=-1) / (length(a, b) * length(b, c))
  return np.rad2deg(np.arccos(cosine))


def torsion(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
  """[N] degrees of points [N, 3]."""
  axis = (c - b) / length(b, c)[:, None]
  left, right = np.cross(b - a, axis), np.cross(axis, d - c)
  sine = (np.cross(left, right) * axis).sum(axis=-1)
  return np.rad2deg(np.arctan2(sine, (left * right).sum(axis=-1)))


def middle(degrees: np.ndarray) -> tuple[float, float]:
  """Median and sd on the circle."""
  mean = np.rad2deg(np.angle(np.exp(1j * np.deg2rad(degrees)).mean()))
  apart = (degrees - mean + 180.0) % 360.0 - 180.0
  return float((np.median(apart) + mean + 180.0) % 360.0 - 180.0), float(apart.std())


def measured(
  residues_of: list[dict[str, np.ndarray]], row: side_chain_table.Placed, first: str
) -> np.ndarray:
  """[3, N]: length (Å), angle and torsion (degrees) of an atom; `first` is the one at chi."""
  turning, a, b, c, d = atoms_of(residues_of, first, *row.onto, row.atom)
  dihedral = torsion(a, b, c, d) - (torsion(a, b, c, turning) if row.chi else 0.0)
  found = np.stack([length(c, d), angle(b, c, d), dihedral])
  return found[:, found[0] < _LONGEST_BOND]


def of_cb(residues_of: list[dict[str, np.ndarray]]) -> np.ndarray:
  """[4, N]: CA-CB (Å), N-CA-CB, C-CA-CB and N-CA-C (degrees)."""
  n, ca, c, cb = atoms_of(residues_of, 'N', 'CA', 'C', 'CB')
  return np.stack([length(ca, cb), angle(n, ca, cb), angle(c, ca, cb), angle(n, ca, c)])


def ring_of_proline(residues_of: list[dict[str, np.ndarray]]) -> None:
  """Prints how CD closes it."""
  n, ca, cb, cg, cd = atoms_of(residues_of, 'N', 'CA', 'CB', 'CG', 'CD')
  print(f'N-CD {np.median(length(n, cd)):.3f}, CG-CD {np.median(length(cg, cd)):.3f}')
  axis = (cg - n) / length(n, cg)[:, None]
  outwards = n - (ca + cb) / 2.0
  outwards -= (outwards * axis).sum(axis=-1, keepdims=True) * axis
  outwards /= np.linalg.norm(outwards, axis=-1)[:, None]
  tilt = np.arctan2(
    (np.cross(axis, outwards) * (cd - n)).sum(axis=-1), (outwards * (cd - n)).sum(axis=-1)
  )
  wave = np.sin(3.0 * np.deg2rad(torsion(n, ca, cb, cg)))
  keep = np.abs(tilt) < 1.0
  amplitude = (tilt * wave)[keep].sum() / (wave**2)[keep].sum()
  rest = np.rad2deg(np.std((tilt - amplitude * wave)[keep]))
  print(f'tilt of CD: {np.rad2deg(amplitude):.1f} degrees sin 3 chi1, +- {rest:.1f} degrees')


def define_flags(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_string('structures', None, 'Directory of *.pdb.gz.', flag_values=values)


def main(values: flags.FlagValues) -> None:
  """Prints the tables."""
  found = read(pathlib.Path(values.structures))
  for name in side_chain_table.TYPES:
    if name not in ('GLY', 'UNK'):
      all_of = of_cb(found[name])
      median, sd = np.median(all_of, axis=1), all_of.std(axis=1)
      print(
        name,
        f'{median[0]:.3f}',
        *(f'{x:.1f}' for x in median[1:]),
        f' # {all_of.shape[1]}  {sd[0]:.3f}',
        *(f'{x:.1f}' for x in sd[1:]),
      )
  for name, rows in side_chain_table.PLACED.items():
    first = {row.chi: row.atom for row in reversed(rows)}
    values_of = {row.atom: measured(found[name], row, first[row.chi]) for row in rows}
    for row in rows:
      alike = _ALIKE.get((name, row.atom[:-1]), (row.atom,))
      lengths, angles, _ = np.concatenate([values_of[atom] for atom in alike], axis=1)
      dihedral, spread = middle(values_of[row.atom][2])
      print(
        *(name, f'{row.atom:3}', *(f'{x:3}' for x in row.onto), row.chi),
        f'{np.median(lengths):.3f} {np.median(angles):.1f} {dihedral:.1f}',
        f' # {len(lengths)}  {lengths.std():.3f} {angles.std():.1f} {spread:.1f}',
      )
  ring_of_proline(found['PRO'])


if __name__ == '__main__':
  command.launch(sys.modules[__name__])

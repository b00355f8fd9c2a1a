"""Bond lengths and angles of the backbone, and the limits within which MD keeps them.

Positions are [..., L, 4, 3] Å, N, CA, C, O, without padding; `bonded`, [L] bool or `bonds.Bonds`,
says which residues have a peptide bond to the next one.
"""

from collections.abc import Iterator

import numpy as np

from tempo_jax.geometry import bonds
from tempo_jax.metrics import torsions
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

_N, _CA, _C, _O = range(4)

BONDS = ('N-CA', 'CA-C', 'C-O', 'C-N')
ANGLES = ('N-CA-C', 'CA-C-O', 'CA-C-N', 'O-C-N', 'C-N-CA', 'omega')
"""omega: off the plane, of trans and cis peptides alike."""
# Å and degrees: one bond or angle in a million is beyond, in MD of the force field that allows most
# (ff14SB in OBC2, CHARMM36m and others in water, 300 to 400 K), so that the share of sound frames
# hardly depends on the length of the chain. The means of Engh & Huber (International Tables F,
# 2001) are in the middle third. Printed by `python -m experiments.benchmarks.limits`.
LIMITS = {
  'N-CA': (1.28, 1.66),
  'CA-C': (1.30, 1.73),
  'C-O': (1.09, 1.38),
  'C-N': (1.17, 1.52),
  'N-CA-C': (89.0, 134.0),
  'CA-C-O': (102.0, 138.0),
  'CA-C-N': (102.0, 141.0),
  'O-C-N': (105.0, 138.0),
  'C-N-CA': (105.0, 146.0),
  'omega': (0.0, 55.0),
}


# Of unit vectors along three bonds of an atom, the volume that they span; its sign is the hand. In
# MD 0.72 +- 0.06, in a mirror image negative, in a plane 0; extrapolated, one atom in a million
# is flatter than this. Printed by `python -m experiments.benchmarks.limits`.
LEAST_VOLUME = 0.3
# Atoms with a hand, and the neighbours that span the volume, in the order of L amino acids.
HANDS = {
  'CA': ('N', 'C', 'CB'),
  'CB of ILE': ('CA', 'CG1', 'CG2'),
  'CB of THR': ('CA', 'OG1', 'CG2'),
}


def lengths(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each of `BONDS` and its lengths [..., n] Å."""
  n, ca, c, o = (positions[..., atom, :].astype(np.float64) for atom in range(4))
  here, there = bonds.pairs(bonded)
  yield 'N-CA', _distance(n, ca)
  yield 'CA-C', _distance(ca, c)
  yield 'C-O', _distance(c, o)
  yield 'C-N', _distance(c[..., here, :], n[..., there, :])


def angles(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds, omega: np.ndarray | None = None
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each of `ANGLES` and its values [..., n] in degrees.

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.
    omega: [..., L] radians of these positions, from `torsions`, if they are there already.
  """
  n, ca, c, o = (positions[..., atom, :].astype(np.float64) for atom in range(4))
  here, there = bonds.pairs(bonded)
  next_n, next_ca = n[..., there, :], ca[..., there, :]
  own_ca, own_c, own_o = (x[..., here, :] for x in (ca, c, o))
  yield 'N-CA-C', _angle(n, ca, c)
  yield 'CA-C-O', _angle(ca, c, o)
  yield 'CA-C-N', _angle(own_ca, own_c, next_n)
  yield 'O-C-N', _angle(own_o, own_c, next_n)
  yield 'C-N-CA', _angle(own_c, next_n, next_ca)
  if omega is None:
    frames = positions.reshape(-1, *positions.shape[-3:])
    omega = torsions.backbone_torsions(frames, bonded)[2].reshape(positions.shape[:-2])
  off = np.abs(np.rad2deg(omega[..., here]))
  yield 'omega', np.minimum(off, 180.0 - off)


def outside(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds, omega: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """How many bonds, and how many angles, are beyond MD's (`LIMITS`).

  Args:
    positions: [..., L, 4, 3] Å.
    bonded: as above.
    omega: [..., L] radians, see `angles`.

  Returns:
    Two arrays [...] int64. What is not a number is outside.
  """

  def count(found: Iterator[tuple[str, np.ndarray]]):
    total = np.zeros(positions.shape[:-3], np.int64)
    for name, values in found:
      least, greatest = LIMITS[name]
      total += np.count_nonzero(~((values >= least) & (values <= greatest)), axis=-1)
    return total

  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):  # diverged frames
    return count(lengths(positions, bonded)), count(angles(positions, bonded, omega))


def volumes(heavy_atoms: np.ndarray, residue_type: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
  """Yields 'CA', 'CB of ILE' and 'CB of THR', and the volumes [..., n] that tell their hands.

  Args:
    heavy_atoms: [..., L, 14, 3] Å in the slots of `protein.side_chain_atoms`.
    residue_type: [L] index into `protein.RESIDUE_TYPES`.
  """
  atoms, kinds = heavy_atoms.astype(np.float64), np.asarray(residue_type)
  for name, neighbours in HANDS.items():
    centre, _, kind = name.partition(' of ')
    found = []
    for i, names in enumerate(side_chain_atoms.ATOM_NAMES):
      if centre in names and neighbours[-1] in names and kind in ('', protein_lib.RESIDUE_TYPES[i]):
        of_kind = atoms[..., kinds == i, :, :]
        middle = of_kind[..., names.index(centre), :]
        a, b, c = (of_kind[..., names.index(atom), :] - middle for atom in neighbours)
        sizes = np.prod([np.linalg.norm(bond, axis=-1) for bond in (a, b, c)], axis=0)
        found.append(np.sum(np.cross(a, b) * c, axis=-1) / sizes)
    yield name, np.concatenate(found, axis=-1)


def wrong_hands(heavy_atoms: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """Atoms of each frame with the hand of D amino acids, or flatter than MD ever makes them.

  CA of all residues but glycine, CB of isoleucine and threonine.

  Args:
    heavy_atoms: [..., L, 14, 3] Å in the slots of `protein.side_chain_atoms`.
    residue_type: [L] index into `protein.RESIDUE_TYPES`.

  Returns:
    [...] int64. What is not a number is wrong.
  """
  total = np.zeros(heavy_atoms.shape[:-3], np.int64)
  with np.errstate(invalid='ignore', over='ignore', divide='ignore'):  # diverged frames
    for _, found in volumes(heavy_atoms, residue_type):
      total += np.count_nonzero(~(found >= LEAST_VOLUME), axis=-1)
  return total


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return np.linalg.norm(a - b, axis=-1)


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
  u, v = a - b, c - b
  cosine = np.sum(u * v, axis=-1) / (np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1))
  return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0)))

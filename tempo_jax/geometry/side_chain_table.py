"""Ideal covalent geometry of the side chains of the 20 amino acids, the one table of it.

Medians over 163 crystal structures of the PDB: `experiments/benchmarks/side_chain_geometry.py`
prints this table, with spreads. Programs refine such structures against Engh & Huber (Acta Cryst.
A47, 392, 1991), so that the medians follow theirs. Torsions in planar groups are 0 or 180
degrees exactly. So that a flip of the ring changes nothing, the angle at CD of PHE and TYR is that
which closes it, 0.2 degrees from the median, and OH of TYR is on its axis. Lengths in Å, angles in
degrees, as in the publication.
"""

from typing import NamedTuple

import numpy as np


class Beta(NamedTuple):
  """Where CB is: |CA-CB| in Å, and the angles N-CA-CB, C-CA-CB and N-CA-C that go together."""

  length: float
  n_ca_cb: float
  c_ca_cb: float
  n_ca_c: float


class Placed(NamedTuple):
  """An atom d behind a, b and c.

  Attributes:
    atom: d.
    onto: a, b, c.
    chi: the angle that turns it about b-c, from 1; 0: it keeps its place to a.
    length: c-d, Å.
    angle: b-c-d, degrees.
    torsion: a-b-c-d at chi = 0, degrees.
  """

  atom: str
  onto: tuple[str, str, str]
  chi: int
  length: float
  angle: float
  torsion: float


# As in `protein.RESIDUE_TYPES`.
TYPES = (
  *('ALA', 'CYS', 'ASP', 'GLU', 'PHE', 'GLY', 'HIS', 'ILE', 'LYS', 'LEU'),
  *('MET', 'ASN', 'PRO', 'GLN', 'ARG', 'SER', 'THR', 'VAL', 'TRP', 'TYR'),
  'UNK',
)

_BETA = """
ALA 1.519 110.2 110.1 111.2
CYS 1.528 110.3 109.7 110.7
ASP 1.531 110.5 110.1 111.1
GLU 1.530 110.5 109.9 111.1
PHE 1.531 110.6 109.9 110.6
HIS 1.531 110.4 110.0 111.2
ILE 1.548 111.4 110.4 109.8
LYS 1.529 110.5 110.0 111.0
LEU 1.532 110.3 109.8 110.8
MET 1.529 110.3 110.0 110.8
ASN 1.524 110.4 110.4 111.5
PRO 1.531 103.0 111.1 112.6
GLN 1.529 110.6 109.9 111.0
ARG 1.527 110.6 109.9 111.1
SER 1.522 110.4 109.6 111.3
THR 1.543 111.3 109.8 110.6
VAL 1.547 111.1 110.3 109.7
TRP 1.530 110.3 110.0 111.0
TYR 1.532 110.5 109.9 110.9
"""

# CD of PRO closes the ring.
_PLACED = """
CYS SG  N   CA  CB  1 1.808 114.3 0
ASP CG  N   CA  CB  1 1.520 113.1 0
ASP OD1 CA  CB  CG  2 1.238 118.5 0
ASP OD2 CA  CB  CG  2 1.238 118.5 180
GLU CG  N   CA  CB  1 1.524 114.2 0
GLU CD  CA  CB  CG  2 1.516 113.4 0
GLU OE1 CB  CG  CD  3 1.241 118.5 0
GLU OE2 CB  CG  CD  3 1.241 118.5 180
PHE CG  N   CA  CB  1 1.503 113.8 0
PHE CD1 CA  CB  CG  2 1.389 120.6 0
PHE CD2 CA  CB  CG  2 1.389 120.6 180
PHE CE1 CB  CG  CD1 0 1.387 120.62 180
PHE CE2 CB  CG  CD2 0 1.387 120.62 180
PHE CZ  CG  CD1 CE1 0 1.380 119.9 0
HIS CG  N   CA  CB  1 1.494 113.8 0
HIS ND1 CA  CB  CG  2 1.378 122.7 0
HIS CD2 CA  CB  CG  2 1.354 131.0 180
HIS CE1 CB  CG  ND1 0 1.322 109.2 180
HIS NE2 CB  CG  CD2 0 1.373 107.2 180
ILE CG1 N   CA  CB  1 1.537 110.3 0
ILE CG2 N   CA  CB  1 1.533 110.5 -123.3
ILE CD1 CA  CB  CG1 2 1.521 114.4 0
LYS CG  N   CA  CB  1 1.523 114.2 0
LYS CD  CA  CB  CG  2 1.525 111.6 0
LYS CE  CB  CG  CD  3 1.524 111.7 0
LYS NZ  CG  CD  CE  4 1.491 112.0 0
LEU CG  N   CA  CB  1 1.534 116.5 0
LEU CD1 CA  CB  CG  2 1.523 109.8 0
LEU CD2 CA  CB  CG  2 1.524 110.3 121.9
MET CG  N   CA  CB  1 1.521 114.1 0
MET SD  CA  CB  CG  2 1.807 113.2 0
MET CE  CB  CG  SD  3 1.793 100.9 0
ASN CG  N   CA  CB  1 1.513 112.7 0
ASN OD1 CA  CB  CG  2 1.238 120.9 0
ASN ND2 CA  CB  CG  2 1.318 116.4 180
PRO CG  N   CA  CB  1 1.503 104.6 0
GLN CG  N   CA  CB  1 1.520 113.9 0
GLN CD  CA  CB  CG  2 1.515 112.6 0
GLN OE1 CB  CG  CD  3 1.236 120.9 0
GLN NE2 CB  CG  CD  3 1.328 116.4 180
ARG CG  N   CA  CB  1 1.522 114.3 0
ARG CD  CA  CB  CG  2 1.509 111.8 0
ARG NE  CB  CG  CD  3 1.460 112.0 0
ARG CZ  CG  CD  NE  4 1.337 125.0 0
ARG NH1 CD  NE  CZ  0 1.326 120.8 0
ARG NH2 CD  NE  CZ  0 1.326 119.6 180
SER OG  N   CA  CB  1 1.412 111.1 0
THR OG1 N   CA  CB  1 1.432 109.2 0
THR CG2 N   CA  CB  1 1.524 111.0 -120.5
VAL CG1 N   CA  CB  1 1.527 110.7 0
VAL CG2 N   CA  CB  1 1.525 110.2 122.5
TRP CG  N   CA  CB  1 1.497 114.3 0
TRP CD1 CA  CB  CG  2 1.364 127.0 0
TRP CD2 CA  CB  CG  2 1.436 126.8 180
TRP NE1 CB  CG  CD1 0 1.373 110.1 180
TRP CE2 CB  CG  CD2 0 1.404 107.1 180
TRP CE3 CB  CG  CD2 0 1.398 133.8 0
TRP CZ2 CG  CD2 CE2 0 1.389 122.1 180
TRP CZ3 CG  CD2 CE3 0 1.385 118.7 180
TRP CH2 CD2 CE2 CZ2 0 1.379 117.4 0
TYR CG  N   CA  CB  1 1.512 113.9 0
TYR CD1 CA  CB  CG  2 1.390 120.7 0
TYR CD2 CA  CB  CG  2 1.390 120.7 180
TYR CE1 CB  CG  CD1 0 1.386 120.95 180
TYR CE2 CB  CG  CD2 0 1.386 120.95 180
TYR CZ  CG  CD1 CE1 0 1.385 119.6 0
TYR OH  CD1 CE1 CZ  0 1.377 119.85 180
"""

# PRO: N-CD and CG-CD, Å; CD leaves the plane through N, CG and the middle of CA-CB by so many
# degrees times sin(3 chi1): both puckers, and smoothly from one to the other.
N_CD, CG_CD = 1.475, 1.513
TILT_OF_CD = -23.0
# Degrees. The ring has no larger chi1 (the largest of 761 in crystals is 42).
LARGEST_CHI_OF_PROLINE = 45.0


def _read_beta() -> dict[str, Beta]:
  lines = (line.split() for line in _BETA.strip().splitlines())
  return {name: Beta(*map(float, numbers)) for name, *numbers in lines}


def _read_placed() -> dict[str, tuple[Placed, ...]]:
  found: dict[str, tuple[Placed, ...]] = dict.fromkeys(TYPES, ())
  for line in _PLACED.strip().splitlines():
    name, atom, a, b, c, chi, *numbers = line.split()
    found[name] += (Placed(atom, (a, b, c), int(chi), *map(float, numbers)),)
  return found


BETA = _read_beta()
PLACED = _read_placed()

# Of each type: N, CA, C, O, CB, then outwards in the order of the PDB.
ATOM_NAMES: tuple[tuple[str, ...], ...] = tuple(
  (
    *('N', 'CA', 'C', 'O'),
    *(('CB',) if name in BETA else ()),
    *(row.atom for row in PLACED[name]),
    *(('CD',) if name == 'PRO' else ()),
  )
  for name in TYPES
)
NUM_ATOMS = 14
NUM_CHI = 4


def _chi_slots() -> np.ndarray:
  found = np.full((len(TYPES), NUM_CHI, 4), -1, np.int32)
  for of_type, name, names in zip(found, TYPES, ATOM_NAMES, strict=True):
    for row in reversed(PLACED[name]):  # The first one of a chi stays.
      if row.chi:
        of_type[row.chi - 1] = [names.index(atom) for atom in (*row.onto, row.atom)]
  return found


# [21, 4, 4] int32: the four atoms of each chi among those of its type; -1 where it has no such chi.
CHI_SLOTS = _chi_slots()

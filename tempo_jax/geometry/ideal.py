"""Ideal covalent geometry of a peptide, the one table of it, and atoms placed by it.

Engh & Huber, International Tables for Crystallography F (2001), 18.3, except C-N and C-O, which
are those of Engh & Huber, Acta Cryst. A47, 392 (1991); the 2001 ones are 1.336 and 1.229. Bond
lengths in Å, angles in radians.

Two places hold other numbers, on purpose: `dynamics.generator` rounds the distances over a peptide
bond, because trained parameters know the features that follow from them, and
`dynamics.chain_closure` closes bonds into bands around means over MD.
"""

import math

import numpy as np

N_CA = 1.459
CA_C = 1.525
C_N = 1.329
C_O = 1.231
N_CA_C = math.radians(111.0)
CA_C_O = math.radians(120.1)
CA_C_N = math.radians(117.2)
C_N_CA = math.radians(121.7)

# Between CA atoms of neighbours in the chain, over a trans and over a cis peptide bond.
CA_CA_TRANS = 3.80
CA_CA_CIS = 2.95

# N, CA, C in their own residue frame (`Rigid.from_three_points`), [3, 3] Å.
N_CA_C_POSITIONS = np.array(
  [[N_CA, 0.0, 0.0], [0.0, 0.0, 0.0], [CA_C * np.cos(N_CA_C), CA_C * np.sin(N_CA_C), 0.0]]
)


def place_atom(
  a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, dihedral: float
) -> np.ndarray:
  """The next atom d of a chain a, b, c, d, from its internal coordinates.

  Args:
    a: [3] Å.
    b: [3] Å.
    c: [3] Å; the three are not collinear.
    length: |cd|, Å.
    angle: bcd, radians.
    dihedral: abcd, radians, IUPAC sign.

  Returns:
    [3] float64 Å.
  """
  axis = (c - b) / np.linalg.norm(c - b)
  normal = np.cross(b - a, axis)
  normal /= np.linalg.norm(normal)
  along, across = -np.cos(angle), np.sin(angle)
  local = np.array([along, across * np.cos(dihedral), across * np.sin(dihedral)])
  return c + length * np.stack([axis, np.cross(normal, axis), normal], axis=-1) @ local

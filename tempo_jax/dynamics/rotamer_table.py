"""Where the torsions of side chains stand within their wells, by type of residue.

`experiments/benchmarks/rotamer_wells.py` prints this table: MD that was trained on, in explicit and
implicit solvent at 300 to 400 K, and crystal structures where MD has few residues.
"""

import numpy as np

from tempo_jax.geometry import side_chain_table

# Trained parameters depend on these very numbers. Type, chi; of the wells about 60, 180 and -60
# degrees, in turn, from the middle of the well to the mean, and root mean square about it, degrees
# of phase.
WELLS = """
CYS 1   1 16   13 17   -7 19
ASP 1   2 13    7 13   -2 13
ASP 2  -6 34    2 36    8 35
GLU 1   5 12    7 13   -4 13
GLU 2   9 14    0 16   -6 16
GLU 3   1 34    1 36   -5 34
PHE 1   2 12    6 12   -6 12
PHE 2  23 31    2 28   -9 32
HIS 1   1 13   10 13   -4 13
HIS 2  20 21   -5 26  -15 21
ILE 1   0 11    9 11    0 11
ILE 2  16 17  -10 14   -4 12
LYS 1   5 12    9 12   -6 13
LYS 2  10 14   -1 13   -8 14
LYS 3   8 14    0 13   -9 14
LYS 4   9 14    0 14   -8 14
LEU 1   2 13    5 12   -5 13
LEU 2   7 14   -9 14   -5 14
MET 1   4 13    8 14   -6 14
MET 2  10 15   -1 14   -7 14
MET 3  14 22    0 22  -12 22
ASN 1   3 11   11 12   -6 12
ASN 2   3 33   -9 36   -1 28
PRO 1 -33  8    0  8   36  9
GLN 1   5 11    6 11   -5 11
GLN 2   9 14    0 16  -10 16
GLN 3  -9 33   -2 37   10 34
ARG 1   3 11    7 11   -6 11
ARG 2  12 15    0 14  -10 15
ARG 3  10 15   -1 14   -8 13
ARG 4  32 18   -1 27  -32 19
SER 1   3 12    6 12   -1 12
THR 1   0 11   10 10    1 12
VAL 1   4 11   -1 11   -3 11
TRP 1  -3 16    4 12   -5 13
TRP 2  25 22    3 34  -29 20
TYR 1   6 12    2 12   -1 12
TYR 2  29 30   -2 30  -19 32
"""


def arrays() -> tuple[np.ndarray, np.ndarray]:
  """Means and spreads, each [21, 4, 3] float32 radians; 0 and 1 where there is no torsion."""
  shape = len(side_chain_table.TYPES), side_chain_table.NUM_CHI, 3
  centre, spread = np.zeros(shape, np.float32), np.ones(shape, np.float32)
  for line in WELLS.split('\n')[1:-1]:
    name, chi, *numbers = line.split()
    key = side_chain_table.TYPES.index(name), int(chi) - 1
    centre[key], spread[key] = np.deg2rad(np.array(numbers, np.float32).reshape(3, 2).T)
  return centre, spread

"""Where phi and psi are in MD and in crystals: contours of four classes of residues.

`experiments/benchmarks/ramachandran_contours.py` makes them: half of the weight is MD's, half that
of 94 crystal structures of the PDB; no protein that is held out is among them. They hold 99.95 % of
the smoothed density, the level that Lovell et al., Proteins 50, 437 (2003), take. MolProbity's
contours come from a hundred times more residues and are narrower.
"""

import functools

import numpy as np

CLASSES = ('general', 'glycine', 'proline', 'pre-proline')
CELL = 5.0
"""Degrees, of a cell of the contours."""
NUM_CELLS = 72
_PER_LINE = 5

# Of each phi from -180 degrees on, in turn: 18 hexadecimal digits, a bit for each psi from -180 on.
_ALLOWED = {
  # 40 % of the plot.
  'general': """
fc0000000000007fff fc000078000061ffff fe0000ff0007ffffff ff0003ffffefffffff ffc01fffffffffffff
ffffffffffffffffff ff3fffffffffffffff ff7fffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff fe01ffffffffffffff fe01ffffffffffffff fc71ffffffffffffff
fff1ffffffffffffff fff1ffffffffffffff ff87ffffffffffffff ff9fffffffffffffff ff9fffffffffffffff
fc1dffffffffffffff fc1dffffffffffffff f0047fffffffffffff e0007fffffffffffff c0007fffffe7ffffff
80003fffff83cfffff 00001ffffe0007fffe 00001ffff80003fffc 00001fffe00001fff8 00001fff800000ffe0
00000ffe00000003c0 000007f00000000e00 000001e00000000e00 000000000000000600 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 00000000000ff00000 01800000003ff00000 0181c00001fff00000 0019e00003fff00000
0019c0000ffff00000 041c00001ffff80000 001c0000fffff80c00 003c0000fffff00c00 003001b8ffffc02010
001003fcffff806018 000003fefffc007010 000001feffc0000000 0000000e7f80000000 000000007f00000000
000000000000000000 000000000000000000 00000000c000000000 00000001c000000000 00000001c000000000
000000008000000000 000000008000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
0000000080000000e0 e00000000000003fff
  """,
  # 77 % of the plot.
  'glycine': """
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff fffcffffffffffffff fffe1fffffffffffff ff1f1fffffffffffff fc1fffffffffffffff
e01f1ffffffeffffff 000e0ffffc0c7ffffc 00000ffff0003ffff8 00000fff000001fff0 00000ffc000000ffc0
00000fe0000000fe00 00000fc0000000f800 00000700000000f800 00000000000000f800 000000000000007000
000000000000000000 000000000000000000 000e00000000000000 001f00000000000000 001f00000000e00000
001f00000003f00000 007f00000007f00000 03ff0000003ff00000 0fff800000fff00000 1ffffc000ffff00000
3ffffe303ffff07000 ffffff7ffffff8f807 fffffffffffffff83f fffffffffffff8f8ff fffffffffffff87fff
ffffffffffffff3fff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff ffffffffffffffffff
ffffffffffffffffff ffffffffffffffffff
  """,
  # 15 % of the plot.
  'proline': """
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000070 0000000000000000f8 0000000040000000fe 80000001ff000001ff
80000013fffbc007ff f000003fffffffffff f800003fffffffffff fc00007fffffffffff fe0000ffffffffffff
fce001ffffffffffff f9f001ffffffffffff fdf003ffffffffffff fdf003ffffffffffff fce003ffffe7ffffff
e00003ffffc03fffff c00003ffff0003ffff 800003fff00001ffff 800007ffe00000ffff 000007ffc00000fffc
000007ff0000007ff8 000007fe0000003fe0 000007bc0000000300 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000
  """,
  # 18 % of the plot.
  'pre-proline': """
00000000000007ffff 8000000000007fffff c000000000007fffff c00000000000ffffff c00000000000ffffff
c00000000003ffffff c00000000007ffffff e00000000007ffffff e0000000003fffffff e0000000007fffffff
e0000000007fffffff c0000000007fffffff c0000000003fffffff e00000000003ffffff e00000000000ffffff
e000000000007fffff e000000000000fffff c000000000000fffff e000000000000fffff e000000000000fffff
f00000ff000007ffff f00001ff800007ffff f00003ff800003ffff e00003ff800003ffff c00003ff800003ffff
800003ff000003ffff 800003ff000003ffff 000001fe000001ffff 000001fc000000fffe 00000078000000fff0
00000000000000ffe0 0000000000000007c0 000000000000000380 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000001c00 000000000000003e00
000000000000003e00 000000000000003e00 000000000000e01c00 000000000003f00000 000000000007f00000
000000000007f00000 000000000007e00000 000000000003800000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 000000000000000000 000000000000000000
000000000000000000 000000000000000000 000000000000000000 0000000000000001c0 0000000000000003e0
0000000000000027f0 000000000000007ffe
  """,
}


def packed(allowed: np.ndarray) -> list[str]:
  """Lines of a table of `_ALLOWED`, of allowed cells [72, 72], phi then psi."""
  digits = [np.packbits(row).tobytes().hex() for row in allowed]
  return [' '.join(digits[i : i + _PER_LINE]) for i in range(0, NUM_CELLS, _PER_LINE)]


@functools.cache
def contours() -> np.ndarray:
  """[4, 72, 72] bool, by class, phi and psi: the cells that are allowed."""
  rows = [bytes.fromhex(digits) for name in CLASSES for digits in _ALLOWED[name].split()]
  bits = np.unpackbits(np.frombuffer(b''.join(rows), np.uint8))
  found = bits.astype(bool).reshape(len(CLASSES), NUM_CELLS, NUM_CELLS)
  found.setflags(write=False)
  return found


def cells(angle: np.ndarray) -> np.ndarray:
  """The cell, from 0, of angles in radians, -pi to pi."""
  return np.floor((np.rad2deg(angle) + 180.0) / CELL).astype(np.int64) % NUM_CELLS


@functools.cache
def distances() -> np.ndarray:
  """[4, 72, 72] float32 degrees, by class: how far each cell is from the inside of the contours.

  Inside are allowed cells all of whose four neighbours are allowed, so that islands of a few cells
  do not count. From middle to middle, on the torus; 0 inside, 5 where an edge is near.
  """
  allowed = contours()
  inside = allowed.copy()
  for axis in (1, 2):
    for shift in (-1, 1):
      inside &= np.roll(allowed, shift, axis=axis)
  apart = np.abs(np.arange(NUM_CELLS)[:, None] - np.arange(NUM_CELLS))
  squared = np.minimum(apart, NUM_CELLS - apart).astype(np.float32) ** 2
  # First along psi, then along phi.
  found = np.where(inside, np.float32(0.0), np.float32(np.inf))
  found = np.min(squared[None, None] + found[:, :, None, :], axis=-1)
  found = np.min(squared[None, :, :, None] + found[:, None], axis=2)
  found = np.float32(CELL) * np.sqrt(found)
  found.setflags(write=False)
  return found

"""Wells of chi1 and chi2, and changes between them, counted once each. Plain numpy.

chi1 and chi2 about bonds between sp3 atoms have wells at 60, 180 and 300°, HIS and TRP chi2 at 90
and 270°, the ring of proline two puckers, chi1 at 30 and 330°. PHE and TYR chi2 have one well,
since their ends are alike, and ASN and ASP chi2 none: neither is looked at.

A core is what is within 40° of the middle of a well (20° of a pucker's). A side chain belongs to
the well whose core it was in last, so that it changes wells only when it reaches another core: what
trembles on a barrier, and what recrosses it between two frames, is not counted again (core sets:
Buchete and Hummer, J. Phys. Chem. B 112, 6057 (2008)).
"""

from collections.abc import Sequence

import numpy as np

from tempo_jax.metrics import side_chains
from tempo_jax.protein import protein as protein_lib

MAX_WELLS = 3
_CORE, _PUCKER_CORE = np.deg2rad(40.0), np.deg2rad(20.0)
_THREE, _TWO, _PUCKERS = (
  tuple(np.deg2rad(degrees)) for degrees in ((60.0, 180.0, 300.0), (90.0, 270.0), (30.0, 330.0))
)
_PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')
_NO_CHI1 = ('GLY', 'ALA', 'UNK')
_SP3_CHI2 = ('ARG', 'GLN', 'GLU', 'ILE', 'LEU', 'LYS', 'MET')
_FLAT_CHI2 = ('HIS', 'TRP')


def _table() -> tuple[np.ndarray, np.ndarray]:
  """By residue type: wells [21, 2, 3], NaN where there are fewer, and half width of cores [21]."""
  wells = np.full((len(protein_lib.RESIDUE_TYPES), 2, MAX_WELLS), np.nan)
  for i, name in enumerate(protein_lib.RESIDUE_TYPES):
    if i == _PROLINE:
      wells[i, 0, :2] = _PUCKERS
    elif name not in _NO_CHI1:
      wells[i, 0] = _THREE
    if name in _SP3_CHI2:
      wells[i, 1] = _THREE
    elif name in _FLAT_CHI2:
      wells[i, 1, :2] = _TWO
  half_width = np.full(len(protein_lib.RESIDUE_TYPES), _CORE)
  half_width[_PROLINE] = _PUCKER_CORE
  return wells, half_width


_WELLS, _HALF_WIDTH = _table()


def wells(residue_type: np.ndarray) -> np.ndarray:
  """[L, 2, 3] radians, the middles of the wells of chi1 and chi2; NaN where there are fewer."""
  return _WELLS[residue_type]


def states(chi: np.ndarray, residue_type: np.ndarray) -> np.ndarray:
  """The well whose core chi1 and chi2 were in last.

  Args:
    chi: [F, L, 4] radians.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [F, L, 2] int8: 0, 1, 2 for 60, 180, 300°; 0, 1 for 90, 270° of HIS and TRP chi2, and for 30,
    330° of PRO chi1; -1 before any core was reached, and where there are no wells, or chi is
    unknown.
  """
  middles = wells(residue_type)
  there = side_chains.known(chi, residue_type)[:, :2] & ~np.isnan(middles[..., 0])
  residue, number = np.nonzero(there)
  angle, half_width = chi[:, residue, number], _HALF_WIDTH[residue_type][residue]
  core = np.full(angle.shape, -1, np.int8)
  for well, middle in enumerate(middles[residue, number].T):
    apart = angle - middle
    apart -= 2.0 * np.pi * np.round(apart / (2.0 * np.pi))
    core[np.abs(apart) <= half_width] = well  # Of NaN: False.
  # The last frame so far that is in a core.
  frame = np.arange(len(chi), dtype=np.int32)[:, None]
  last = np.maximum.accumulate(np.where(core >= 0, frame, 0), axis=0)
  found = np.full((*chi.shape[:2], 2), -1, np.int8)
  found[:, residue, number] = np.take_along_axis(core, last, axis=0)
  return found


def changes(state: np.ndarray) -> np.ndarray:
  """How often each chi changes wells.

  Args:
    state: [F, L, 2], from `states`.

  Returns:
    [L, 2] int64.
  """
  before, after = state[:-1], state[1:]
  return np.count_nonzero((before >= 0) & (before != after), axis=0)


def per_ns(replicas: Sequence[np.ndarray], dt_ns: float) -> np.ndarray:
  """How often each chi changes wells in a nanosecond.

  Args:
    replicas: [F, L, 2] each, from `states`.
    dt_ns: between frames, ns.

  Returns:
    [L, 2] 1/ns, of all replicas together; NaN if none has two frames.
  """
  steps = sum(len(state) - 1 for state in replicas)
  total = np.sum([changes(state) for state in replicas], axis=0)
  return total / (steps * dt_ns) if steps > 0 else np.full(total.shape, np.nan)


def counted(residue_type: np.ndarray, *, puckers: bool = False) -> np.ndarray:
  """[L] bool, residues whose changes count: all but proline, or proline alone."""
  return (np.asarray(residue_type) == _PROLINE) == puckers


def changes_per_ns(
  replicas: Sequence[np.ndarray], residue_type: np.ndarray, dt_ns: float, *, puckers: bool = False
) -> float:
  """Changes of chi1 and chi2 of the whole protein in a nanosecond, without those of proline.

  Args:
    replicas: [F, L, 4] radians each.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    dt_ns: between frames, ns. The rate depends on it: what comes back within it is not seen.
    puckers: count those of proline alone. In MD a ring changes its pucker every 25 to 50 ps: in
      BPTI, most changes are those of its four prolines.

  Returns:
    1/ns, of all replicas together; NaN if none has two frames.
  """
  of_each = per_ns([states(chi, residue_type) for chi in replicas], dt_ns)
  return float(of_each[counted(residue_type, puckers=puckers)].sum())


def occupancy(state: np.ndarray) -> np.ndarray:
  """Share of frames in each well, among those since a core was first reached.

  Args:
    state: [F, L, 2], from `states`.

  Returns:
    [L, 2, 3] float64, 0 to 1; NaN where no core was reached.
  """
  count = np.stack([np.count_nonzero(state == well, axis=0) for well in range(MAX_WELLS)], axis=-1)
  total = count.sum(axis=-1, keepdims=True)
  return np.divide(count, total, out=np.full(count.shape, np.nan), where=total > 0)

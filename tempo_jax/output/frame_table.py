"""Validity, RMSD and radius of gyration of every frame of a trajectory: frames.csv."""

import csv
import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from tempo_jax.metrics import (
  close_contacts,
  covalent_geometry,
  flexibility,
  ramachandran,
  rotamers,
  torsions,
  validity,
)
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib

COLUMNS = (
  'ca_ca_min_A',
  'ca_ca_max_A',
  'c_n_max_A',
  'clashes',
  'rmsd_to_start_A',
  'radius_of_gyration_A',
  'sound',
  'bonds_outside',
  'angles_outside',
  'ramachandran_outliers',
  'close_contacts',
  'overlaps',
  'wrong_hands',
  'rotamer_outliers',
)
"""A frame is sound (1) if no bond and no angle is outside of MD's range and no atoms clash; with
side chains, also if no atoms overlap and no hand is wrong. The last four columns are of side
chains, and not a number (NaN) where there are none. Frames that are sound may have Ramachandran and
rotamer outliers, as frames of MD have. See `metrics.covalent_geometry`, `validity`,
`close_contacts` and `rotamers`."""
# What makes frames unsound, but for clashes, which have a share of their own.
_FAULTS = {
  'bonds_outside': 'bonds',
  'angles_outside': 'angles',
  'overlaps': 'overlaps',
  'wrong_hands': 'wrong hands',
}
_OF_SIDE_CHAINS = COLUMNS[-4:]
_COUNTS = frozenset(('clashes', *COLUMNS[COLUMNS.index('sound') :]))
_DECIMALS = 4
_BLOCK_ATOMS = 1 << 13  # whose positions are worked on at once: 0.2 MiB as float64
_BLOCK_ROWS = 1 << 14


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTable:
  """One number per frame and column.

  Attributes:
    dt_ns: time from frame to frame, ns.
    start_ns: time of the first frame, ns.
    numbers: [F, columns] float64 of every replica, the columns those of `COLUMNS`; lengths in Å.
      Where nothing is bonded, the least CA-CA distance is inf and the greatest CA-CA and C-N are
      -inf.
  """

  dt_ns: float
  start_ns: float
  numbers: Sequence[np.ndarray]

  @classmethod
  def of(cls, trajectory: trajectory_lib.Trajectory) -> 'FrameTable':
    """Computes it on the host; no memory grows with the frames but that of the numbers."""
    arrays = trajectory.protein.arrays
    frames = np.asarray(trajectory.atoms)
    numbers = [per_frame(replica, arrays) for replica in frames]
    return cls(trajectory.dt_ns, float(trajectory.time_ns[0]), numbers)

  @property
  def time_ns(self) -> np.ndarray:
    """[F] float64, ns."""
    return self.start_ns + self.dt_ns * np.arange(len(self.numbers[0]))

  def column(self, name: str) -> np.ndarray:
    """[R, F] float64, one of `COLUMNS`."""
    return np.stack([numbers[:, COLUMNS.index(name)] for numbers in self.numbers])

  @property
  def num_frames(self) -> int:
    """Of all replicas together."""
    return sum(map(len, self.numbers))

  @property
  def broken_percent(self) -> float:
    """Share of frames whose chain has come apart or collapsed (`validity.is_broken`), %."""
    counts = (np.count_nonzero(validity.is_broken(*part[:, :3].T)) for part in self.numbers)
    return 100.0 * sum(counts) / self.num_frames

  @property
  def clash_percent(self) -> float:
    """Share of frames with a clash, %: the paper's clash ratio (section 9)."""
    return 100.0 * np.count_nonzero(self.column('clashes')) / self.num_frames

  @property
  def sound_percent(self) -> float:
    """Share of frames that are sound, %."""
    return 100.0 * np.count_nonzero(self.column('sound')) / self.num_frames

  @property
  def why_unsound(self) -> str:
    """Shares of frames with faults, and how many each of them has, in words; '' without faults.

    The most frequent fault comes first. Clashes are not named: `clash_percent`.
    """
    found = []
    for name, what in _FAULTS.items():
      counts = self.column(name)
      if (faulty := counts > 0).any():
        found.append((100.0 * float(faulty.mean()), what, float(counts[faulty].mean())))
    return ', '.join(
      f'{share:.1f} % for {what} ({mean:.1f} each)' for share, what, mean in sorted(found)[::-1]
    )

  def write_csv(self, path: str | os.PathLike[str]) -> None:
    """One row per frame; a column `replica`, from 1, where there are several.

    A field is empty where nothing is bonded, and the last four are where there are no side chains.
    """
    several, time_ns = len(self.numbers) > 1, self.time_ns
    with open(path, 'w', newline='') as file:
      writer = csv.writer(file, lineterminator='\n')
      writer.writerow([*(['replica'] if several else []), 'time_ns', *COLUMNS])
      for replica, numbers in enumerate(self.numbers):
        start = [replica + 1] if several else []
        for first in range(0, len(numbers), _BLOCK_ROWS):
          rows = slice(first, first + _BLOCK_ROWS)
          for time, row in zip(time_ns[rows].tolist(), numbers[rows].tolist(), strict=True):
            writer.writerow([*start, f'{time:.10g}', *map(_field, COLUMNS, row)])


def per_frame(positions: np.ndarray, protein: protein_lib.ProteinArrays) -> np.ndarray:
  """The numbers of some frames, computed in blocks of them.

  Args:
    positions: [F, L, 4, 3] Å, or [F, L, 14, 3], all heavy atoms.
    protein: [L] residues; their positions are what the RMSD refers to.

  Returns:
    [F, columns] float64, one column for each of `COLUMNS`.
  """
  start, bonded = np.asarray(protein.positions), protein.bonds
  types = np.asarray(protein.residue_type)
  found = np.full((len(positions), len(COLUMNS)), np.nan)
  step = max(1, _BLOCK_ATOMS // (4 * len(start)))
  for first in range(0, len(positions), step):
    rows = slice(first, first + step)
    frames = positions[rows][..., :4, :]
    clashes = validity.num_clashes(frames, bonded)
    phi, psi, omega = torsions.backbone_torsions(frames, bonded)
    bonds, angles = covalent_geometry.outside(frames, bonded, omega)
    outliers, _ = ramachandran.outliers(phi, psi, types, bonded)
    columns = (
      *validity.ca_ca_range(frames, bonded),
      validity.c_n_max(frames, bonded),
      clashes,
      flexibility.ca_rmsd(frames, start),
      flexibility.radius_of_gyration(frames),
      (clashes == 0) & (bonds == 0) & (angles == 0),
      bonds,
      angles,
      np.count_nonzero(outliers, axis=-1),
    )
    found[rows, : -len(_OF_SIDE_CHAINS)] = np.stack(columns, axis=-1)
  if atoms_lib.choice_of(positions) == atoms_lib.HEAVY:
    _judge_side_chains(found, positions, protein)
  return found


def _judge_side_chains(
  found: np.ndarray, positions: np.ndarray, protein: protein_lib.ProteinArrays
) -> None:
  """Fills the columns of side chains, and takes back that a frame is sound."""
  types = np.asarray(protein.residue_type)
  columns = dict(zip(COLUMNS, found.T, strict=True))
  contacts, overlapping = close_contacts.count_and_overlaps(positions, protein)
  columns['close_contacts'][:], columns['overlaps'][:] = contacts, overlapping
  slots = np.arange(len(types) * positions.shape[-2]).reshape(len(types), -1)
  # They take fewer numbers per atom than the backbone: more frames at once.
  step = max(1, 8 * _BLOCK_ATOMS // slots.size)
  for first in range(0, len(positions), step):
    atoms = positions[first : first + step]
    rows = slice(first, first + len(atoms))
    columns['wrong_hands'][rows] = covalent_geometry.wrong_hands(atoms, types)
    with np.errstate(invalid='ignore', over='ignore'):  # diverged frames
      chi, known = side_chain_atoms.measured_chi(atoms.reshape(len(atoms), -1, 3), slots, types)
    outliers = rotamers.outliers(np.where(known, chi, np.nan), types)
    columns['rotamer_outliers'][rows] = outliers
    columns['sound'][rows] *= np.isfinite(atoms).all(axis=(-3, -2, -1))
  columns['sound'][(columns['overlaps'] > 0) | (columns['wrong_hands'] > 0)] = 0.0


def _field(column: str, number: float) -> str:
  if not np.isfinite(number):
    return ''
  return f'{number:.0f}' if column in _COUNTS else f'{number:.{_DECIMALS}f}'

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
  torsions,
  validity,
)
from tempo_jax.protein import protein as protein_lib
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
)
"""A frame is sound (1) if no bond and no angle is outside of MD's range, and no atoms clash; see
`metrics.covalent_geometry` and `metrics.validity`. Close contacts, of side chains
(`metrics.close_contacts`), are not a number (NaN) where there are none."""
_COUNTS = frozenset(('clashes', *COLUMNS[-5:]))
_DECIMALS = 4
_BLOCK_ATOMS = 1 << 14  # whose positions are worked on at once: 0.4 MiB as float64
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

  def write_csv(self, path: str | os.PathLike[str]) -> None:
    """One row per frame; a column `replica`, from 1, where there are several.

    A field is empty where nothing is bonded, and close contacts are where there are no side chains.
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
  found = np.empty((len(positions), len(COLUMNS)))
  step = max(1, _BLOCK_ATOMS // (positions.shape[-2] * len(start)))
  for first in range(0, len(positions), step):
    rows = slice(first, first + step)
    atoms = positions[rows]
    frames = atoms[..., :4, :]
    clashes = validity.num_clashes(frames, bonded)
    bonds, angles = covalent_geometry.outside(frames, bonded)
    phi, psi, _ = torsions.backbone_torsions(frames, bonded)
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
      _close_contacts(atoms, protein),
    )
    found[rows] = np.stack(columns, axis=-1)
  return found


def _close_contacts(atoms: np.ndarray, protein: protein_lib.ProteinArrays) -> np.ndarray:
  """[F] of [F, L, A, 3] Å: not a number where there are no side chains."""
  if atoms_lib.choice_of(atoms) == atoms_lib.BACKBONE:
    return np.full(len(atoms), np.nan)
  return close_contacts.count(atoms, protein)


def _field(column: str, number: float) -> str:
  if not np.isfinite(number):
    return ''
  return f'{number:.0f}' if column in _COUNTS else f'{number:.{_DECIMALS}f}'

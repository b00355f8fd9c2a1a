"""Validity, RMSD and radius of gyration of every frame of a trajectory: frames.csv."""

import csv
import dataclasses
import os
from collections.abc import Mapping

import numpy as np

from tempo_jax import trajectory as trajectory_lib
from tempo_jax.metrics import flexibility, validity

COLUMNS = (
  'ca_ca_min_A',
  'ca_ca_max_A',
  'c_n_max_A',
  'clashes',
  'rmsd_to_start_A',
  'radius_of_gyration_A',
)
_DECIMALS = 4
_BLOCK_ATOMS = 1 << 15  # whose positions are worked on at once: 0.8 MiB as float64


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTable:
  """One number per frame and column.

  Attributes:
    time_ns: [F] float64, ns.
    columns: each of `COLUMNS` -> [R, F]; lengths in Å. Where nothing is bonded, the least CA-CA
      distance is inf and the greatest CA-CA and C-N are -inf.
    broken: [R, F] bool, frames whose chain has come apart or collapsed (`validity.is_broken`).
  """

  time_ns: np.ndarray
  columns: Mapping[str, np.ndarray]
  broken: np.ndarray

  @classmethod
  def of(cls, trajectory: trajectory_lib.Trajectory) -> 'FrameTable':
    """Computes it on the host, in blocks of frames: memory does not grow with them."""
    arrays = trajectory.protein.arrays
    start, bonded = np.asarray(arrays.positions), np.asarray(arrays.bonded)
    frames = np.asarray(trajectory.positions).reshape(-1, *start.shape)
    step = max(1, _BLOCK_ATOMS // (4 * len(start)))
    blocks = [
      _per_frame(frames[first : first + step], start, bonded)
      for first in range(0, len(frames), step)
    ]
    shape = trajectory.num_replicas, trajectory.num_frames
    columns = [np.concatenate(parts).reshape(shape) for parts in zip(*blocks, strict=True)]
    broken = validity.is_broken(*columns[:3])
    return cls(trajectory.time_ns, dict(zip(COLUMNS, columns, strict=True)), broken)

  @property
  def broken_percent(self) -> float:
    """Share of frames with a broken chain, %."""
    return 100.0 * float(np.mean(self.broken))

  @property
  def clash_percent(self) -> float:
    """Share of frames with a clash, %: the paper's clash ratio (section 9)."""
    return 100.0 * float(np.mean(self.columns['clashes'] > 0))

  def write_csv(self, path: str | os.PathLike[str]) -> None:
    """One row per frame; a column `replica`, from 1, where there are several.

    A field is empty where nothing is bonded.
    """
    several = len(self.broken) > 1
    with open(path, 'w', newline='') as file:
      writer = csv.writer(file, lineterminator='\n')
      writer.writerow([*(['replica'] if several else []), 'time_ns', *self.columns])
      for replica in range(len(self.broken)):
        numbers = zip(*(column[replica].tolist() for column in self.columns.values()), strict=True)
        for time_ns, row in zip(self.time_ns.tolist(), numbers, strict=True):
          start = [*([replica + 1] if several else []), f'{time_ns:.10g}']
          writer.writerow([*start, *map(_field, row)])


def _per_frame(
  positions: np.ndarray, start: np.ndarray, bonded: np.ndarray
) -> tuple[np.ndarray, ...]:
  """One array [F] for each of `COLUMNS`; positions [F, L, 4, 3] Å."""
  return (
    *validity.ca_ca_range(positions, bonded),
    validity.c_n_max(positions, bonded),
    validity.num_clashes(positions, bonded),
    flexibility.ca_rmsd(positions, start),
    flexibility.radius_of_gyration(positions),
  )


def _field(number: float | int) -> str:
  if isinstance(number, int):
    return str(number)
  return f'{number:.{_DECIMALS}f}' if np.isfinite(number) else ''

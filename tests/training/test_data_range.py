import dataclasses

import numpy as np
import pytest

from tempo_jax.training import data_range


@dataclasses.dataclass
class Trajectory:
  temperature_K: float
  num_residues: int
  num_frames: int = 100
  chain_ids: tuple[str, ...] = ('A',)
  dt_ns: float = 0.01

  @property
  def residue_type(self):
    return np.zeros(self.num_residues, np.int32)


def test_measures():
  seen = data_range.measure([Trajectory(320.0, 20, 300), Trajectory(280.0, 10)])
  assert seen['temperatures_K'] == (280.0, 320.0)
  assert seen['num_residues'] == (10, 20)
  assert seen['num_chains'] == 1
  # The 10 residues were followed for a shorter time than the 20.
  assert seen['longest_ns'] == ((20, pytest.approx(3.0)),)
  assert data_range.measure([Trajectory(300.0, 40, 10, ('A', 'B'))])['num_chains'] == 2


def test_only_the_block_that_was_trained_on_counts():
  half = data_range.measure([Trajectory(320.0, 20, 300)], (0.25, 0.75))
  assert half['longest_ns'] == ((20, pytest.approx(1.5)),)

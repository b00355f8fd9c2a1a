"""The fit of the prior's memory: curves of a known process, and which MD it reads."""

import numpy as np
import pytest

from data_prep import training_systems
from experiments.benchmarks import memory

LAGS = np.array([0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])


def test_the_weights_of_a_known_process_are_found():
  """Squared displacements 2 sum w (1 - e^(-t / tau)); the slowest from the ratio of RMSF."""
  true = np.array([0.2, 0.1, 0.3, 0.4, 0.5])
  times = np.array(memory.TIMES_NS[:-1])
  curve = 2.0 * (1.0 - np.exp(-LAGS[:, None] / times)) @ true
  found = memory.fitted(dict(zip(LAGS.tolist(), curve.tolist(), strict=True)))
  np.testing.assert_allclose(found[:-1], true, atol=1e-6)
  # The variance that 5 ns show about their own mean, by summing over pairs of times.
  at = (np.arange(2_000) + 0.5) * 5.0 / 2_000
  lag = at[:, None]
  mean = np.sum((1.0 - lag / 5.0) * 2.0 / len(at) * true * np.exp(-lag / times))
  assert found.sum() == pytest.approx(2.4**2 * (true.sum() - mean), rel=1e-3)


def test_proteins_that_are_held_out_are_not_read(tmp_path):
  held_out = {system.name for system in training_systems.SYSTEMS if system.held_out}
  names = {*memory.explicit(tmp_path), *memory.implicit()}
  assert not names & (held_out | {'bpti', 'ubiquitin', 'barstar', 'atlas_3tvj_I', 'hp35'})
  assert memory.explicit(tmp_path)['ntl9'].part == 0.5

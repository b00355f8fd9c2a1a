"""The fit of the prior's memory: curves of a known process, and which MD it reads."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data_prep import training_systems
from experiments.benchmarks import memory
from tests import builders

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


def test_tilts_of_frames_that_are_turned_by_hand(monkeypatch):
  """Residues that turn about their CA, each on its own: the trace of the chain stays."""
  protein = builders.helix(12)
  at_end = np.isin(np.arange(12), [0, 11])
  spread = np.where(at_end, 0.2, 0.05)
  rng = np.random.default_rng(0)
  turn = rng.normal(size=(4000, 12, 3))
  for k in range(1, len(turn)):
    turn[k] = 0.6 * turn[k - 1] + 0.8 * turn[k]
  turn = Rotation.from_rotvec((spread[:, None] * turn).reshape(-1, 3)).as_matrix()
  turn = turn.reshape(4000, 12, 3, 3)
  ca = protein.positions[:, 1:2]
  positions = np.einsum('flij,laj->flai', turn, protein.positions - ca) + ca
  monkeypatch.setattr(memory, 'read', lambda _: (protein, np.float32(positions)))
  inside, ends, left = memory.tilts(None)
  assert inside == pytest.approx(0.05, rel=0.05)
  assert ends == pytest.approx(0.2, rel=0.15)
  assert left == pytest.approx(0.6, abs=0.03)


def test_proteins_that_are_held_out_are_not_read(tmp_path):
  held_out = {system.name for system in training_systems.SYSTEMS if system.held_out}
  names = {*memory.explicit(tmp_path), *memory.implicit()}
  assert not names & (held_out | {'bpti', 'ubiquitin', 'barstar', 'atlas_3tvj_I', 'hp35'})
  assert memory.explicit(tmp_path)['ntl9'].part == 0.5

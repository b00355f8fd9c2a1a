"""The table of geometry in the model card: what it counts."""

import types

import numpy as np
import pytest

from experiments.benchmarks import covalent_geometry, held_out
from tests.experiments.test_held_out import short_hp35


@pytest.fixture(scope='module')
def within():
  return covalent_geometry.ranges(covalent_geometry.of_md())


@pytest.fixture(scope='module')
def hp35():
  return held_out.read(short_hp35(), 0.01)


def test_md_is_nearly_always_inside(hp35, within):
  """It sets no limits itself: it is held out."""
  protein, replicas = hp35
  found = covalent_geometry.judge(np.concatenate(replicas), protein.arrays, within)
  assert 90.0 < found['inside'] < 100.0
  assert found['sound'] == 100.0
  assert found['phi, psi'] < 0.5
  assert found['C-N'] == pytest.approx(0.026, abs=0.002)


def test_what_is_stretched_is_outside(hp35, within):
  protein, (first, *_) = hp35
  frames = first[:4].copy()
  frames[0, 10:] += np.float32([0.0, 0.0, 0.4])  # A C-N, and angles over it.
  frames[1, 5, 2] += np.float32([0.0, 0.6, 0.0])
  found = covalent_geometry.judge(frames, protein.arrays, within)
  assert found['inside'] <= 50.0
  assert found['sound'] == 50.0


def test_a_model_is_judged_beside_md(monkeypatch, capsys, hp35):
  """One that returns MD has MD's spreads."""
  protein, replicas = hp35
  frames = min(map(len, replicas))

  def sample(protein, num_frames, num_replicas, temperature_K):
    assert (num_frames, num_replicas) == (frames, len(replicas))
    positions = np.stack([replica[:frames] for replica in replicas])
    return types.SimpleNamespace(positions=positions)

  model = types.SimpleNamespace(dt_ns=0.01, sample=sample)
  monkeypatch.setattr(covalent_geometry.tempo_jax, 'load_model', lambda name: model)
  monkeypatch.setattr(
    covalent_geometry.held_out,
    'targets',
    lambda simulated, data: [
      types.SimpleNamespace(name='hp35', kind=held_out.PROTEIN, temperature_K=320.0),
      types.SimpleNamespace(name='2jof', kind=held_out.REPLICA, temperature_K=320.0),
    ],
  )
  read = lambda target, dt_ns: (protein, [replica[:frames] for replica in replicas])  # noqa: E731
  monkeypatch.setattr(covalent_geometry.held_out, 'read', read)
  covalent_geometry.main(
    types.SimpleNamespace(
      model='md',
      data=None,
      num_frames=frames,
      num_replicas=len(replicas),
      compilation_cache_dir='off',
    )
  )
  *_, row = capsys.readouterr().out.strip().splitlines()
  cells = [cell.strip() for cell in row.strip('|').split('|')]
  assert cells[0] == 'hp35'
  inside = cells[1].split(' / ')
  assert inside[0] == inside[1]
  assert cells[4:] == ['1.00'] * 6

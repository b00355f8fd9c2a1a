"""Errors by lag, and whether long steps agree with short ones."""

import types

import numpy as np
import pytest

from experiments.benchmarks import lags
from tempo_jax.models import model as model_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import store as store_lib
from tests import builders
from tests.experiments.test_physics import shaken
from tests.store import synthetic
from tests.training import examples


def test_displacements_do_not_see_tumbling():
  start, positions = shaken(np.zeros(12), 5)
  assert lags.displacements(positions).max() < 1e-6
  moved = np.stack([start, start + np.where(np.arange(12) == 5, 2.0, 0.0)[:, None, None]])
  found = lags.displacements(moved)
  assert len(found) == 12
  assert np.argmax(found) == 5
  assert found[5] > 2.0


def test_jsd_of_displacements():
  rng = np.random.default_rng(0)
  a, b = np.abs(rng.normal(size=(2, 20_000)))
  assert lags.jsd(a, a) == 0.0
  assert lags.jsd(a, b) < 2e-3
  assert lags.jsd(np.zeros(10), np.full(10, 9.0)) == pytest.approx(1.0)


def test_errors_are_those_of_windows_of_the_model(monkeypatch, tmp_path):
  """By lag, of the lags that held-out trajectories have; under the levels of the whole range."""
  with store_lib.StoreWriter(tmp_path) as writer:
    for name, dt_ns in (('quick', 0.01), ('slow', 0.5)):
      entry = synthetic.entry(name, 8, dt_ns, split='validation')
      writer.add(entry, examples.positions(8, 40, seed=len(name)))
  config = builders.any_step_config(0.01, 5.0)
  model = model_lib.Model('any', config, {'any': builders.params(config)}).at(0.2)
  seen = []

  def evaluation_step(config, params, level, batch, rng):
    assert params is model.params['fine']
    seen.append((float(batch.dt_ns[0]), np.asarray(batch.stretch.longest_ns)))
    return {'error': batch.dt_ns.mean()}

  monkeypatch.setattr(lags.jax, 'jit', lambda run: run)
  monkeypatch.setattr(lags.train_step, 'evaluation_step', evaluation_step)
  found = lags.errors(model, store_lib.Store(tmp_path), 3)
  assert set(found) == {0.01, 0.03, 0.1, 0.5, 1.0, 2.0, 5.0}
  for lag_ns, row in found.items():
    assert row['error'] == pytest.approx(lag_ns)
    assert row['trajectories'] == 1
  tops = np.unique(np.concatenate([top for lag_ns, top in seen if lag_ns < 0.015]))
  # That of free windows, and that of windows within a segment.
  np.testing.assert_allclose(tops, [0.01, 4.0], rtol=1e-6)


class Steps:
  """A model whose residues move by so many Å in any step, and tell what was asked of them."""

  def __init__(self, size):
    self.size, self.asked = size, []

  def free(self, step_ns):
    def sample(protein, num_frames, **_):
      self.asked.append((step_ns, num_frames))
      rng = np.random.default_rng(num_frames)
      start = np.asarray(protein.arrays.positions)
      moved = self.size * rng.normal(size=(1, num_frames, len(start), 1, 3))
      return types.SimpleNamespace(positions=start + moved)

    return types.SimpleNamespace(sample=sample)


@pytest.fixture
def of_md(monkeypatch):
  """of_md(spread, frames, model): the rows, with MD of a helix of 12 residues, 0.01 ns apart."""

  def run(spread, num_frames, model):
    start, positions = shaken(np.full(12, spread), num_frames)
    arrays = builders.with_positions(builders.helix(12), start)
    protein = protein_lib.Protein('helix', arrays, ('A',), np.arange(12), ('',) * 12)
    native = types.SimpleNamespace(
      protein=protein, read=lambda _: types.SimpleNamespace(positions=np.float32(positions))
    )
    monkeypatch.setattr(lags, 'Native', lambda _: native)
    return lags.agreement(model, None, None, 0.01, 0)

  return run


def test_agreement_of_steps_and_halves(of_md, capsys):
  model = Steps(0.3)
  rows = of_md(0.3, 2000, model)
  # 1 ns: 20 frames, and 9 x 12 displacements in half of them.
  assert [(row['long_ns'], row['short_ns']) for row in rows] == [(0.2, 0.01)]
  assert 'helix, 1 ns: left out, 108 displacements in half of the MD, 300 needed' in (
    capsys.readouterr().out
  )
  assert model.asked == [(0.2, 100), (0.01, 2000)]
  (row,) = rows
  assert row['jsd'] < 0.1
  assert row['floor'] < 0.1
  assert row['long_mean'] == pytest.approx(row['md_mean'], rel=0.05)
  assert row['short_mean'] == pytest.approx(row['md_mean'], rel=0.05)
  assert 'helix' in lags.table({}, rows)


def test_what_moves_more_disagrees(of_md):
  class Longer(Steps):
    def free(self, step_ns):
      self.size = 0.3 if step_ns < 0.1 else 0.9
      return super().free(step_ns)

  (row,) = of_md(0.3, 2000, Longer(0.0))
  assert row['jsd'] > 0.4 > 0.1 > row['floor']
  assert row['long_mean'] == pytest.approx(3.0 * row['short_mean'], rel=0.1)


def test_too_little_md_is_left_out(of_md):
  model = Steps(0.3)
  assert of_md(0.3, 30, model) == []
  assert model.asked == []

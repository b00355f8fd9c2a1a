"""The table of every metric on held-out proteins, and the files that it is made from."""

import dataclasses
import types

import mdtraj
import numpy as np
import pytest

from experiments.benchmarks import held_out_metrics, physics
from tempo_jax.evaluation import columns, summary
from tests import peptides


@pytest.fixture
def case(tmp_path):
  """Seventeen frames of four alanines, 10 ps apart, of which every fourth counts."""
  (tmp_path / 'native.pdb').write_text(peptides.peptide(['ALA'] * 4) + 'END\n')
  native = mdtraj.load(tmp_path / 'native.pdb')
  frames = native.xyz + 0.01 * np.arange(17)[:, None, None]
  mdtraj.Trajectory(frames, native.topology).save(tmp_path / 'R1.xtc')
  return physics.Case('ala', tmp_path / 'native.pdb', (tmp_path / 'R1.xtc',) * 2, 0.04, 4)


class Sampler:
  """Stands where a model is; counts how often it samples."""

  def __init__(self, topology):
    self.native = mdtraj.load(topology)
    self.asked = []

  def sample(self, protein, num_frames, num_replicas, **how):
    self.asked.append((num_frames, num_replicas, how['temperature_K'], int(protein.arrays.solvent)))
    frames = np.repeat(self.native.xyz, num_frames, axis=0)
    frames += 0.1 * np.arange(1, num_frames + 1)[:, None, None]
    made = mdtraj.Trajectory(frames, self.native.topology)
    return types.SimpleNamespace(to_mdtraj=lambda number: made)


def test_samples_are_as_many_and_as_far_apart_as_md_and_stay(case, tmp_path, monkeypatch):
  model = Sampler(case.topology)
  monkeypatch.setattr(physics, 'key_of', lambda *of: f'{of[1].name} {of[2:]}')
  monkeypatch.setattr(physics, 'at_spacing', lambda model, dt_ns, name: (model, 2))
  for _ in range(2):
    found = held_out_metrics.sampled(model, case, tmp_path / 'out', 0)
  # Four frames of MD are left, and two steps of the model are between them.
  assert model.asked == [(8, 2, 300.0, 1)]
  assert found.times() == (0.04, 0.04)
  assert len(found.prediction) == 2
  kept = mdtraj.load(found.prediction[1], top=found.prediction_topology)
  np.testing.assert_allclose(
    kept.xyz[:, 0, 0] - model.native.xyz[0, 0, 0], 0.2 * np.arange(1, 5), atol=2e-3
  )
  assert len(found.reference) == 2
  thinned = mdtraj.load(found.reference[0], top=case.topology)
  np.testing.assert_allclose(thinned.time, 40.0 * np.arange(1, 6))
  np.testing.assert_allclose(
    thinned.xyz[:, 0, 0] - model.native.xyz[0, 0, 0], 0.04 * np.arange(5), atol=2e-3
  )
  # Another seed is sampled anew.
  held_out_metrics.sampled(model, case, tmp_path / 'out', 1)
  assert len(model.asked) == 2


def test_md_whose_frames_all_count_is_read_where_it_is(case, tmp_path):
  whole = dataclasses.replace(case, stride=1)
  assert held_out_metrics.references(whole, tmp_path) == case.trajectories


def test_proteins_stand_together_by_solvent_and_spacing(case):
  others = [
    dataclasses.replace(case, name='a', dt_ns=0.4),
    dataclasses.replace(case, name='b', dt_ns=0.01, solvent='implicit'),
    dataclasses.replace(case, name='c', dt_ns=0.1),
  ]
  assert held_out_metrics.grouped(others) == {
    'Explicit solvent, frames at least 0.1 ns apart': ['a', 'c'],
    'Implicit solvent, frames 0.01 ns apart': ['b'],
  }


def test_the_table_has_a_column_per_protein_with_baselines_beside_the_model():
  numbers = dict.fromkeys(summary.KEYS)
  content = {
    'proteins': {
      'a': {**numbers, 'rmsf': 1.234, 'rmsf_error': 0.1},
      'b': {**numbers, 'rmsf': 2.0, 'rmsf_error': None},
    },
    'baselines': {
      columns.HALVES: {'proteins': {'a': {**numbers, 'rmsf': 1.0}}},
      columns.FROZEN: {'proteins': {'a': {**numbers, 'rmsf': 0.0}, 'b': {**numbers, 'rmsf': 0.0}}},
    },
  }
  header, _, *rows = held_out_metrics.table(content, ['a', 'b']).splitlines()
  assert header == '| metric | a | b |'
  assert rows == ['| backbone RMSF (Å) | 1.23 ± 0.10 / 1.00 / – / 0.00 | 2.00 / – / – / 0.00 |']

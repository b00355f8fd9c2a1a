"""MD judged by other MD: its files, and the table."""

import mdtraj
import numpy as np
import pytest

from experiments.benchmarks import evaluation_floors as floors
from tempo_jax.errors import InputError
from tempo_jax.evaluation import summary
from tests import peptides


def test_halves_of_a_trajectory_follow_each_other(tmp_path):
  (tmp_path / 'native.pdb').write_text(peptides.peptide(['ALA'] * 4) + 'END\n')
  native = mdtraj.load(tmp_path / 'native.pdb')
  frames = native.xyz + 0.01 * np.arange(7)[:, None, None]
  mdtraj.Trajectory(frames, native.topology).save(tmp_path / 'R1.xtc')
  pair = floors.Pair('ala', '.', 'native.pdb', ('R1.xtc',), 1, 0.2)
  case = floors.case_of(pair, tmp_path, tmp_path)
  first, second = (
    mdtraj.load(file, top=native.topology) for (file,) in (case.prediction, case.reference)
  )
  np.testing.assert_allclose(first.xyz, frames[:3], atol=1e-3)
  np.testing.assert_allclose(second.xyz, frames[3:6], atol=1e-3)
  np.testing.assert_allclose(second.time, [0.0, 200.0, 400.0])
  assert case.times() == (0.2, 0.2)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(InputError, match=r'topology\.pdb: no such file: correct --data'):
    floors.case_of(floors.PAIRS[0], tmp_path, tmp_path)


def test_the_table_has_a_column_per_protein_and_the_medians_of_baselines():
  numbers = dict.fromkeys(summary.KEYS)
  proteins = {
    'a': {**numbers, 'rmsf': 1.234, 'rmsf_error': 0.1, 'torsion_jsd': None},
    'b': {**numbers, 'rmsf': 2.0, 'rmsf_error': None},
  }
  baselines = {'frozen': {'summary': {**numbers, 'rmsf': 0.0}}}
  found = floors.table({'proteins': proteins, 'baselines': baselines}, ['a', 'b'])
  header, _, *rows = found.splitlines()
  assert header == '| metric | a | b | median: frozen |'
  assert rows == ['| backbone RMSF (Å) | 1.23 ± 0.10 | 2.00 | 0.00 |']

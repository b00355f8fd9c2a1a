"""The examples of docs/extending.md: a metric and a dataset format, added from that page alone."""

import pathlib
import re

import numpy as np
import pytest

import tempo_jax
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.store import store as store_lib

PAGE = pathlib.Path(__file__).parents[1] / 'docs' / 'extending.md'
STRUCTURE = pathlib.Path(tempo_jax.__file__).parent / 'models' / 'default' / 'trp_cage.pdb'


@pytest.fixture(scope='module')
def page() -> dict:
  """What the Python of the page defines."""
  names: dict = {}
  for block in re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL):
    exec(compile(block, str(PAGE), 'exec'), names)
  return names


def test_the_metric(page):
  native = tempo_jax.load_protein(STRUCTURE)
  start = np.asarray(native.arrays.positions, np.float32)[None]
  distance = np.linalg.norm(start[0, -1, 1] - start[0, 0, 1])
  grown = start * np.float32(1.5)
  reference, prediction = (Ensemble(native, [Replica(x, None, 'x')]) for x in (start, grown))
  found = page['end_to_end_error'](reference, prediction)
  np.testing.assert_allclose(found, 0.5 * distance, rtol=1e-5)


def test_the_dataset_format(page, tmp_path):
  native = tempo_jax.load_protein(STRUCTURE)
  positions = np.stack([native.arrays.positions + k for k in range(3)])
  np.save(tmp_path / 'x.npy', positions)
  options = {'dt_ns': 0.01, 'temperature_K': 320.0}
  page['prepare_npy'](STRUCTURE, tmp_path / 'x.npy', tmp_path / 'store', **options)
  read = store_lib.Store(tmp_path / 'store')
  (entry,) = read.entries
  assert (entry.num_frames, entry.dt_ns, entry.sequence) == (3, 0.01, native.sequence)
  np.testing.assert_array_equal(read.read(entry), positions.astype(np.float32))
  np.save(tmp_path / 'x.npy', positions[:, :5])
  with pytest.raises(tempo_jax.InputError, match='residues: give'):
    page['prepare_npy'](STRUCTURE, tmp_path / 'x.npy', tmp_path / 'other', **options)

"""The examples of docs/extending.md, added from that page alone."""

import json
import pathlib
import re

import numpy as np
import pytest

import tempo_jax
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.store import store as store_lib
from tempo_jax.training import loop, objectives
from tests.training import examples

PAGE = pathlib.Path(__file__).parents[1] / 'docs' / 'extending.md'
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
STRUCTURE = pathlib.Path(tempo_jax.__file__).parent / 'models' / 'default' / 'trp_cage.pdb'


@pytest.fixture(scope='module')
def page() -> dict:
  """What the Python of the page defines."""
  names: dict = {}
  for block in BLOCKS:
    exec(compile(block, str(PAGE), 'exec'), names)
  return names


def test_nothing_imports_the_public_names():
  """In a module of the package that would be a circle: tests/test_layers.py."""
  assert BLOCKS
  for block in BLOCKS:
    assert not re.search(r'^\s*import tempo_jax\b', block, re.MULTILINE)


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
  for wrong, message in ((positions[:, :5], 'residues: give'), (positions / 10.0, 'units')):
    np.save(tmp_path / 'x.npy', wrong)
    with pytest.raises(tempo_jax.InputError, match=message):
      page['prepare_npy'](STRUCTURE, tmp_path / 'x.npy', tmp_path / 'other', **options)
    assert not (tmp_path / 'other').exists()


def test_the_objective(page, tmp_path):
  """The unit of motion is the spread of one step: of size 1, it is worth half a log-likelihood."""
  path = examples.write_store(tmp_path / 'store')
  config = examples.experiment(path, 'scale=fine', num_steps=2, rollout_every=0)
  config.model.update(levels=('fine',), objective='brownian')
  loop.train(config, str(tmp_path / 'run'))
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  np.testing.assert_allclose(json.loads(lines[0])['fine/loss'], 0.5, atol=0.15)
  model = tempo_jax.load_model(tmp_path / 'run')
  assert model.config.objective == 'brownian'
  assert abs(model.params['fine']['log_size']) < 0.1


def test_names_of_tempo_jax_are_not_taken(page):
  with pytest.raises(ValueError, match="'mse' is an objective of tempo_jax: give another name"):
    page['transitions'].register('mse', page['transitions'].Transition(None, None))
  with pytest.raises(ValueError, match="'mse' is an objective of tempo_jax: give another name"):
    objectives.register('mse', objectives.Objective(page['example_loss']))


def test_without_a_loss_it_is_not_trained(page, tmp_path):
  transition = page['transitions'].Transition(page['init_params'], page['make_step'])
  page['transitions'].register('untrained', transition)
  config = examples.experiment(tmp_path)
  config.model.objective = 'untrained'
  with pytest.raises(tempo_jax.InputError, match=r'sampled but not trained: call .*register'):
    loop.train(config, str(tmp_path / 'run'))

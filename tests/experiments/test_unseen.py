"""Settings judged by proteins that they were not trained on; nothing is sampled."""

import json
import pathlib

import numpy as np
import pytest
from absl import flags

from experiments.ablation import ablation, unseen
from experiments.benchmarks import physics
from tempo_jax.errors import InputError
from tests.training import examples

CASES = [physics.Case(name, pathlib.Path(name), (), 0.1) for name in ('barstar', 'hp35')]
JUDGES = unseen.Judges(CASES, num_replicas=2, seed=0)


def row(ratio, r):
  return {'rmsf_ratio': ratio, 'r': r, 'network_r': 0.5, 'halves_r': 0.9}


def measured(barstar, hp35):
  return {'key': 'k', 'proteins': {'barstar': row(*barstar), 'hp35': row(*hp35)}}


def test_seeds_of_a_setting_are_one_row():
  found = {
    'ours_seed0': measured(([1.0, 3.0], [0.2, 0.4]), ([0.5], [0.9])),
    'ours_seed1': measured(([1.0], [0.5]), ([1.0], [0.7])),
    'ours_seed2': measured(([1.5], [0.1]), ([0.8], [0.5])),
    'wide': measured(([4.0], [0.0]), ([0.25], [0.2])),
  }
  lines = unseen.table(found).splitlines()
  assert lines[0] == ('| setting | seeds | barstar | hp35 | RMSF off by a factor of | mean r |')
  factors = 2.0, 1.0, np.sqrt(1.5 / 0.8)
  assert lines[2] == (
    '| ours | 3 | 1.50, 0.30 | 0.80, 0.70 '
    f'| {factors[2]:.2f} (1.00 to 2.00) | 0.60 (0.30 to 0.60) |'
  )
  assert lines[3] == '| wide | 1 | 4.00, 0.00 | 0.25, 0.20 | 4.00 | 0.10 |'
  assert lines[4] == '| elastic network |  | 0.50 | 0.50 |  | 0.50 |'
  assert lines[5] == '| MD, halves |  | 0.90 | 0.90 |  | 0.90 |'


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
  """And an earlier setting of the same name is trained again, if anything of it has changed."""
  store = examples.write_store(tmp_path / 'store', lengths=(10,))

  def config(seed, num_steps=2):
    found = examples.experiment(store, 'scale=fine', num_steps=num_steps)
    found.seed = seed
    return found

  monkeypatch.setattr(unseen.model_lib, 'load_model', lambda path: path.name)
  monkeypatch.setattr(unseen, '_facts', lambda folder, model: {'steps': 2})
  trained, sampled = [], []

  def train(config, workdir):
    trained.append(pathlib.Path(workdir).name)

  def measure(model, case, num_replicas, seed):
    if case.name == stop_at:
      raise KeyboardInterrupt
    sampled.append((model, case.name, num_replicas))
    return row([1.0], [0.5])

  def run(configs):
    trained.clear()
    sampled.clear()
    return unseen.run(configs, tmp_path / 'work', JUDGES, train, measure)

  settings = {'a_seed0': config(0), 'a_seed1': config(1)}
  stop_at = 'hp35'
  with pytest.raises(KeyboardInterrupt):
    run(settings)
  assert (trained, sampled) == (['a_seed0'], [('a_seed0', 'barstar', 2)])
  stop_at = None
  found = run(settings)
  assert sampled == [('a_seed0', 'hp35', 2), ('a_seed1', 'barstar', 2), ('a_seed1', 'hp35', 2)]
  assert trained == ['a_seed0', 'a_seed1']
  assert set(found['a_seed0']['proteins']) == {'barstar', 'hp35'}
  run(settings)
  assert (trained, sampled) == ([], [])
  # Another setting, after which what is there stays; and one that has changed.
  assert list(run({'b': config(5)})) == ['b']
  assert set(json.loads((tmp_path / 'work/unseen.json').read_text())['settings']) == {
    'a_seed0',
    'a_seed1',
    'b',
  }
  run(settings | {'a_seed1': config(1, num_steps=3)})
  assert trained == ['a_seed1']
  assert len(sampled) == 2


def test_no_md_is_said_before_training(tmp_path):
  with pytest.raises(InputError, match='--unseen: no MD of proteins there'):
    unseen.run({'a': None}, tmp_path, unseen.Judges([], 1, 0), train=pytest.fail)


# How ml_collections loads a configuration file.
@pytest.mark.filterwarnings('ignore:the load_module')
def test_flags_reach_the_run(tmp_path, monkeypatch, capsys):
  store = examples.write_store(tmp_path / 'store', lengths=(10,))
  (tmp_path / 'md_public').mkdir()
  asked = {}

  def run(configs, workdir, judges):
    asked.update(configs=configs, judges=judges)
    return {name: measured(([1.0], [0.5]), ([1.0], [0.5])) for name in configs}

  monkeypatch.setattr(unseen, 'run', run)
  values = flags.FlagValues()
  ablation.define_flags(values)
  values(
    [
      'ablation',
      '--config=experiments/configs/tiny.py:scale=fine',
      f'--workdir={tmp_path / "work"}',
      '--setting=ours',
      '--seeds=0,1',
      f'--unseen={tmp_path}',
      '--only=hp35',
      '--rollout_replicas=3',
    ]
  )
  values.config.data.store = str(store)
  ablation.ablate(values)
  assert list(asked['configs']) == ['ours_seed0', 'ours_seed1']
  assert [case.name for case in asked['judges'].cases] == ['hp35']
  assert asked['judges'].num_replicas == 3
  assert '| ours | 2 |' in capsys.readouterr().out

"""Settings judged by proteins that they were not trained on; nothing is trained or sampled."""

import json
import pathlib
import types

import numpy as np
import pytest
from absl import flags

from experiments.ablation import ablation, unseen
from experiments.benchmarks import physics
from tempo_jax.errors import InputError
from tests.training import examples


def row(setting, protein, ratio, r):
  return {
    **{'setting': setting, 'protein': protein, 'rmsf_ratio': ratio, 'r': r},
    **{'network_r': 0.5, 'halves_r': 0.9},
  }


def rows(setting, barstar, hp35):
  return [row(setting, 'barstar', *barstar), row(setting, 'hp35', *hp35)]


def test_seeds_of_a_setting_are_one_line():
  """A seed of which a protein is missing does not count yet."""
  found = [
    *rows('ours_seed0', ([1.0, 3.0], [0.2, 0.4]), ([0.5], [0.9])),
    *rows('ours_seed1', ([1.0], [0.5]), ([1.0], [0.7])),
    *rows('ours_seed2', ([1.5], [0.1]), ([0.8], [0.5])),
    row('ours_seed3', 'barstar', [9.0], [0.9]),
    *rows('wide', ([4.0], [0.0]), ([0.25], [0.2])),
  ]
  lines = unseen.table(found).splitlines()
  assert lines[0] == '| setting | seeds | barstar | hp35 | RMSF off by a factor of | mean r |'
  factors = 2.0, 1.0, np.sqrt(1.5 / 0.8)
  assert lines[2] == (
    '| ours | 3 | 1.50, 0.30 | 0.80, 0.70 '
    f'| {factors[2]:.2f} (1.00 to 2.00) | 0.60 (0.30 to 0.60) |'
  )
  assert lines[3] == '| wide | 1 | 4.00, 0.00 | 0.25, 0.20 | 4.00 | 0.10 |'
  assert lines[4] == '| elastic network |  | 0.50 | 0.50 |  | 0.50 |'
  assert lines[5] == '| MD, halves |  | 0.90 | 0.90 |  | 0.90 |'
  assert len(unseen.table(found[:1]).splitlines()) == 5


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  return examples.write_store(tmp_path_factory.mktemp('data') / 'store', lengths=(10,))


class Bench:
  """A run of settings; what is trained and sampled is noted, and nothing else."""

  def __init__(self, store, folder, monkeypatch):
    self.store, self.folder = store, folder
    self.judges = unseen.Judges([], num_replicas=2)
    self.stop_at, self.parameters = None, 'first'
    self.trained, self.sampled = [], []
    for name in ('barstar', 'hp35'):
      (folder / name).write_text(name)
    self.ask('barstar', 'hp35')
    monkeypatch.setattr(
      unseen.model_lib,
      'load_model',
      lambda path: types.SimpleNamespace(name=pathlib.Path(path).name),
    )
    monkeypatch.setattr(
      unseen, '_facts', lambda folder, model: {'model_sha256': model.name + self.parameters}
    )

  def ask(self, *names):
    found = [physics.Case(name, self.folder / name, (), 0.2) for name in names]
    self.judges = unseen.Judges(found, num_replicas=2)

  def config(self, seed, **train):
    found = examples.experiment(self.store, 'scale=fine', **train)
    found.seed = seed
    return found

  def measure(self, model, case, num_replicas, seed):
    if case.name == self.stop_at:
      raise KeyboardInterrupt
    self.sampled.append((model.name[:8], case.name))
    return row('', case.name, [1.0], [0.5])

  def run(self, configs, workdir='work', **options):
    self.trained, self.sampled = [], []
    train = lambda config, folder: self.trained.append(pathlib.Path(folder).name[:8])  # noqa: E731
    workdir = self.folder / workdir
    return unseen.run(configs, workdir, self.judges, train=train, measure=self.measure, **options)


@pytest.fixture
def bench(store, tmp_path, monkeypatch):
  return Bench(store, tmp_path, monkeypatch)


def test_a_run_that_was_stopped_goes_on(bench):
  settings = {'a_seed0_': bench.config(0), 'a_seed1_': bench.config(1)}
  bench.stop_at = 'hp35'
  with pytest.raises(KeyboardInterrupt):
    bench.run(settings)
  assert (bench.trained, bench.sampled) == (['a_seed0_'], [('a_seed0_', 'barstar')])
  bench.stop_at = None
  found = bench.run(settings)
  assert bench.sampled == [('a_seed0_', 'hp35'), ('a_seed1_', 'barstar'), ('a_seed1_', 'hp35')]
  assert [(x['setting'], x['protein']) for x in found] == [
    (setting, protein) for setting in settings for protein in ('barstar', 'hp35')
  ]
  bench.run(settings)
  assert (bench.trained, bench.sampled) == ([], [])
  bench.run(settings, remeasure=True)
  assert len(bench.sampled) == 4


def test_rows_of_other_settings_and_proteins_stay(bench):
  settings = {'a_seed0_': bench.config(0)}
  bench.run(settings)
  bench.ask('hp35')
  found = bench.run({**settings, 'b_seed0_': bench.config(5)})
  assert bench.sampled == [('b_seed0_', 'hp35')]
  # The table has what was asked for.
  assert {x['protein'] for x in found} == {'hp35'}
  assert '| hp35 |' in (bench.folder / 'work/unseen.md').read_text()
  kept = json.loads((bench.folder / 'work/unseen.json').read_text())['rows']
  assert [(x['setting'], x['protein']) for x in kept] == [
    *(('a_seed0_', 'barstar'), ('a_seed0_', 'hp35'), ('b_seed0_', 'hp35'))
  ]


def test_what_has_changed_is_measured_again(bench, tmp_path):
  settings = {'a_seed0_': bench.config(0)}
  bench.run(settings)
  (bench.folder / 'hp35').write_text('longer')
  bench.run(settings)
  assert bench.sampled == [('a_seed0_', 'hp35')]
  bench.run({'a_seed0_': bench.config(0, num_steps=9)})
  assert len(bench.sampled) == 2
  bench.store = examples.write_store(tmp_path / 'other', lengths=(11,))
  bench.run({'a_seed0_': bench.config(0)})
  assert len(bench.sampled) == 2


def test_another_machine_goes_on_from_the_file(bench):
  """Where it has to train again, and comes to other parameters, rows are not mixed."""
  settings = {'a_seed0_': bench.config(0)}
  bench.stop_at = 'hp35'
  with pytest.raises(KeyboardInterrupt):
    bench.run(settings)
  (bench.folder / 'there').mkdir()
  (bench.folder / 'work/unseen.json').rename(bench.folder / 'there/unseen.json')
  bench.stop_at, bench.parameters = None, 'second'
  bench.run(settings, 'there')
  assert bench.sampled == [('a_seed0_', 'barstar'), ('a_seed0_', 'hp35')]
  bench.parameters = 'third'
  bench.run(settings, 'there')
  assert bench.trained == []


def test_equal_settings_have_lines_of_their_own(bench):
  found = bench.run({'a_seed0_': bench.config(0), 'b_seed0_': bench.config(0)})
  assert len(bench.sampled) == 2
  assert [x['setting'] for x in found] == ['a_seed0_', 'a_seed0_', 'b_seed0_', 'b_seed0_']


@pytest.mark.parametrize('text', ['{', '{"rows": null}', '{"rows": [{"key": "x"}]}'])
def test_a_damaged_file_is_no_result(bench, text):
  (bench.folder / 'work').mkdir()
  (bench.folder / 'work/unseen.json').write_text(text)
  bench.run({'a_seed0_': bench.config(0)})
  assert len(bench.sampled) == 2


def test_a_step_that_does_not_fit_is_found_before_training(bench):
  case = physics.Case('odd', bench.folder / 'hp35', (), 0.007)
  bench.judges = unseen.Judges([case], 1)
  with pytest.raises(InputError, match=r'the frames of odd are 0\.007 ns apart'):
    bench.run({'a_seed0_': bench.config(0)})
  assert bench.trained == []


def test_a_directory_without_md_is_refused(tmp_path):
  with pytest.raises(InputError, match='holds no md_public'):
    unseen.cases(tmp_path, [])
  (tmp_path / 'md_public').mkdir()
  assert [x.name for x in unseen.cases(tmp_path, ['hp35'])] == ['hp35']
  with pytest.raises(InputError, match='--only: barstar is none of those'):
    unseen.cases(tmp_path, ['barstar'])


# How ml_collections loads a configuration file.
@pytest.mark.filterwarnings('ignore:the load_module')
def test_flags_reach_the_run(store, tmp_path, monkeypatch, capsys):
  (tmp_path / 'md_public').mkdir()
  asked = {}

  def run(configs, workdir, judges, remeasure):
    asked.update(configs=configs, judges=judges, remeasure=remeasure)
    return [x for name in configs for x in rows(name, ([1.0], [0.5]), ([1.0], [0.5]))]

  monkeypatch.setattr(unseen, 'run', run)

  def ablate(*args):
    values = flags.FlagValues()
    ablation.define_flags(values)
    config = '--config=experiments/configs/tiny.py:scale=fine'
    values(['ablation', config, f'--workdir={tmp_path}', '--setting=ours', *args])
    values.config.data.store = str(store)
    return ablation.ablate(values)

  unseen_flag = f'--unseen={tmp_path}'
  ablate(unseen_flag, '--seeds=0,1', '--only=hp35', '--rollout_replicas=3', '--remeasure')
  assert list(asked['configs']) == ['ours_seed0', 'ours_seed1']
  assert [case.name for case in asked['judges'].cases] == ['hp35']
  assert (asked['judges'].num_replicas, asked['remeasure']) == (3, True)
  assert '| ours | 2 |' in capsys.readouterr().out
  with pytest.raises(InputError, match=r'--sampling, --timing: not together'):
    ablate(unseen_flag, '--sampling=fine', '--notiming')
  with pytest.raises(InputError, match='--only goes with --unseen'):
    ablate('--only=hp35')

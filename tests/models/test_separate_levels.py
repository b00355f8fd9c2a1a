"""Models whose levels lie in folders of their own, and workdirs that hold no checkpoint yet."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

import tempo_jax
from tempo_jax import config as config_lib
from tempo_jax.cli import export, sample
from tempo_jax.errors import InputError
from tempo_jax.models import config_file
from tempo_jax.models import model as model_lib
from tempo_jax.training import loop
from tests import builders
from tests.cli import commands
from tests.training import examples

DT_NS = {'coarse': 0.2, 'fine': 0.01}


def model_of(seed, dt_ns=None, edit=lambda config: None):
  """A small model with parameters and scales of its own."""
  config = config_lib.from_dict(config_lib.to_dict(builders.small_config(dt_ns or DT_NS)))
  for name in config.levels:
    config.level[name].translation_std = 0.1 * (seed + 1)
  edit(config)
  config = config_lib.freeze(config)
  params = {name: builders.params(config, 10 * seed + k) for k, name in enumerate(config.levels)}
  return model_lib.Model(f'model {seed}', config, params)


def save_levels(model, folder, *levels):
  params = {level: model.params[level] for level in levels}
  dataclasses.replace(model, params=params).save(folder)


def test_levels_of_two_models_are_one(tmp_path, capsys):
  """Each keeps its own parameters, scales and time step."""
  one, other = model_of(1), model_of(2, {'coarse': 0.4, 'fine': 0.02})
  save_levels(one, tmp_path / 'both' / 'a', 'coarse')
  save_levels(other, tmp_path / 'both' / 'b', 'fine')
  export.main(commands.parse(export, f'--model={tmp_path}/both', f'--out={tmp_path}/exported'))
  assert f'written to {tmp_path}/exported' in capsys.readouterr().out
  for place in ('both', 'exported'):
    found = tempo_jax.load_model(tmp_path / place)
    assert found.config.levels == ('coarse', 'fine')
    for level, origin in (('coarse', one), ('fine', other)):
      assert found.config.level[level] == origin.config.level[level]
      jax.tree.map(np.testing.assert_array_equal, found.params[level], origin.params[level])
    assert found.dt_ns == 0.02
    assert config_lib.frames_per_segment(found.config) == (10,)


@pytest.mark.parametrize(
  ('edit', 'differing'),
  [
    (lambda c: c.encoder.update(num_neighbours=0), 'model.encoder'),
    (lambda c: c.update({'precision': 'bfloat16', 'closure': True}), 'model.closure, model.precis'),
    (lambda c: c.update({'objective': 'flow_matching'}), 'model.objective'),
  ],
)
def test_levels_of_models_that_differ_are_refused(tmp_path, edit, differing):
  save_levels(model_of(1), tmp_path / 'a', 'coarse')
  save_levels(model_of(2, edit=edit), tmp_path / 'b', 'fine')
  with pytest.raises(InputError) as error:
    tempo_jax.load_model(tmp_path)
  message = str(error.value)
  assert message.startswith(
    f'{tmp_path}/a and {tmp_path}/b hold levels of different models, which differ in {differing}'
  )
  assert message.endswith(': train them from one configuration')


def test_levels_of_other_names_are_refused(tmp_path):
  save_levels(model_of(1), tmp_path / 'a', 'coarse')
  save_levels(model_of(2, {'slow': 0.2, 'quick': 0.01}), tmp_path / 'b', 'quick')
  with pytest.raises(InputError, match=rf'{tmp_path}/a and .*/b .* differ in model\.levels: train'):
    tempo_jax.load_model(tmp_path)


def test_a_level_that_is_there_twice_is_refused(tmp_path):
  save_levels(model_of(1), tmp_path / 'a', 'coarse', 'fine')
  save_levels(model_of(2), tmp_path / 'b', 'fine')
  with pytest.raises(
    InputError, match=rf'^{tmp_path}/a and {tmp_path}/b both hold the level fine: keep one of them$'
  ):
    tempo_jax.load_model(tmp_path)


def test_a_level_that_is_missing_is_named(tmp_path):
  save_levels(model_of(1), tmp_path / 'a', 'fine')
  with pytest.raises(InputError, match=rf'^{tmp_path}/a holds fine but not coarse: train that'):
    tempo_jax.load_model(tmp_path)


def test_time_steps_that_do_not_divide_are_refused(tmp_path):
  save_levels(model_of(1), tmp_path / 'a', 'coarse')
  save_levels(model_of(2, {'coarse': 0.3, 'fine': 0.03}), tmp_path / 'b', 'fine')
  with pytest.raises(
    InputError, match=rf'^{tmp_path}: .*fine\.dt_ns = 0\.03 does not divide the time step 0\.2 ns'
  ):
    tempo_jax.load_model(tmp_path)


# --- workdirs without a checkpoint ---


@pytest.fixture(params=['no folder', 'empty folder', 'half a checkpoint'])
def workdir(request, tmp_path):
  """What a run leaves that was stopped before its first checkpoint, or in the middle of it."""
  workdir = tmp_path / 'run'
  workdir.mkdir()
  config_file.write(workdir, examples.experiment(''))
  if request.param != 'no folder':
    (workdir / 'checkpoints').mkdir()
  if request.param == 'half a checkpoint':
    (workdir / 'checkpoints' / '3.orbax-checkpoint-tmp').mkdir()
  return workdir


def test_it_is_no_model_yet(workdir, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  content = sorted(tmp_path.rglob('*'))
  message = rf'^{workdir} holds no (complete )?checkpoints?( yet)?: (let training|train into)'
  for command, *args in (
    (sample.sample, commands.parse(sample, f'--model={workdir}')),
    (export.main, commands.parse(export, f'--model={workdir}', f'--out={tmp_path}/out')),
    (tempo_jax.load_model, workdir),
  ):
    with pytest.raises(InputError, match=message) as error:
      command(*args)
    assert '\n' not in str(error.value)
  assert sorted(tmp_path.rglob('*')) == content


def test_fine_tuning_from_it_is_refused(workdir, tmp_path):
  config = examples.experiment(examples.write_store(tmp_path / 'store'))
  config.train.init_from = str(workdir)
  with pytest.raises(InputError, match=rf'^{workdir} holds no (complete )?checkpoint'):
    loop.train(config, str(tmp_path / 'new'))


def test_another_run_does_not_go_on_in_it(workdir, tmp_path):
  """The same command would begin anew; what differs is named."""
  config = examples.experiment(examples.write_store(tmp_path / 'store'))
  config.seed = 7
  with pytest.raises(InputError, match=rf'^{workdir} holds a run with another config\.seed: give'):
    loop.train(config, str(workdir))


def test_a_folder_of_something_else_is_named(tmp_path):
  (tmp_path / 'notes.txt').write_text('mine')
  for command, *args in (
    (sample.sample, commands.parse(sample, f'--model={tmp_path}')),
    (export.main, commands.parse(export, f'--model={tmp_path}', f'--out={tmp_path}/out')),
  ):
    with pytest.raises(InputError, match=rf'^{tmp_path} is no model directory: neither it nor'):
      command(*args)
  assert [path.name for path in pathlib.Path(tmp_path).iterdir()] == ['notes.txt']


def test_a_checkpoint_that_lost_its_files_is_one_line(workdir):
  """Copied without what lies in it."""
  (workdir / 'checkpoints' / '3').mkdir(parents=True)
  with pytest.raises(InputError, match=rf'^{workdir} (is damaged: |holds no )') as error:
    tempo_jax.load_model(workdir)
  assert '\n' not in str(error.value)
  assert json.loads((workdir / 'config.json').read_text())['train']['num_steps'] == 6

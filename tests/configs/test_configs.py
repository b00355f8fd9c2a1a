"""Every experiment file loads, says what its docstring says, and trains."""

import importlib
import json

import jax
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.configs import common
from tempo_jax.errors import InputError
from tempo_jax.training import loop, run_config
from tests.training import examples

_FILES = ('mdcath', 'atlas', 'quickstart', 'tiny')
_DATASETS = ('mdcath', 'atlas')


def load(name, variant=''):
  return importlib.import_module(f'experiments.configs.{name}').get_config(variant)


@pytest.mark.parametrize('name', _FILES)
@pytest.mark.parametrize(
  ('scale', 'levels'),
  [('coarse', ('coarse',)), ('fine', ('fine',)), ('both', ('coarse', 'fine'))],
)
def test_scale_chooses_the_levels_to_train(name, scale, levels):
  config = load(name, f'scale={scale}')
  assert config.train.levels == levels
  # A model directory of one level is part of a model of both.
  assert config.model.levels == ('coarse', 'fine')
  config_lib.check(config.model)
  assert config_lib.from_dict(config_lib.to_dict(config)) == config


@pytest.mark.parametrize('name', _FILES)
def test_both_levels_by_default(name):
  assert load(name) == load(name, 'scale=both')


@pytest.mark.parametrize('name', _FILES)
@pytest.mark.parametrize('variant', ['size=big', 'scale=middle', 'scale=', 'fine'])
def test_unknown_variants_are_refused(name, variant):
  with pytest.raises(InputError, match=r'--config variant.*scale='):
    load(name, variant)


@pytest.mark.parametrize('variant', ['scale=coarse', 'size=big', 'fine'])
def test_the_bundled_model_has_no_variants(variant):
  with pytest.raises(InputError, match=f"--config variant '{variant}'"):
    load('default_model', variant)


def test_the_bundled_model_serves_any_time_step():
  config = load('default_model')
  assert config.model.lags_ns == (0.01, 5.0)
  assert config.model.levels == config.train.levels == ('any',)
  assert config.model.encoder.solvent
  run_config.check(config_with_store(config))
  assert config_lib.from_dict(config_lib.to_dict(config)) == config
  # Settings of levels with a time step of their own.
  for section, name, value in (('train', 'rollout_every', 5), ('data', 'aligned_starts', ('any',))):
    wrong = config_with_store(load('default_model'))
    wrong[section][name] = value
    with pytest.raises(InputError, match='are for levels of one time step: set them to 0 and'):
      run_config.check(wrong)


def test_a_range_of_lags_goes_with_one_level():
  config = config_with_store(load('default_model'))
  config.model.lags_ns = (0.02, 4.0)
  run_config.check(config)
  run_config.follow_lags(config)
  assert config.model.level.any.dt_ns == 0.02
  assert time_scales.as_trained(config.model, {'any': {}})[0] == config.model
  wrong = config_with_store(load('quickstart'))
  before = config_lib.to_dict(wrong)
  run_config.follow_lags(wrong)
  assert config_lib.to_dict(wrong) == before
  wrong.model.update(lags_ns=(0.01, 0.2), prior='elastic')
  wrong.train.rollout_every = 0
  with pytest.raises(
    InputError,
    match=r"lags_ns = \(0.01, 0.2\) goes with the one level 'any', not with .*'coarse', 'fine'",
  ) as error:
    run_config.check(wrong)
  assert '\n' not in str(error.value)


def test_training_follows_the_range_of_lags(monkeypatch, tmp_path):
  seen = []

  def stopped(config, *_):
    seen.append(config.model.level.any.dt_ns)
    raise InputError('stop')

  monkeypatch.setattr(loop, '_loaders', stopped)
  monkeypatch.setattr(loop.store_lib, 'Store', lambda _: None)
  config = config_with_store(load('default_model'))
  config.model.lags_ns = (0.02, 4.0)
  with pytest.raises(InputError, match='stop'):
    loop.train(config, str(tmp_path))
  assert seen == [0.02]


def config_with_store(config):
  config.data.store = 'anywhere'
  return config


@pytest.mark.parametrize('name', _DATASETS)
def test_unknown_dynamics_are_refused(name):
  with pytest.raises(InputError, match='dynamics=theirs: choose paper or ours'):
    load(name, 'dynamics=theirs')


@pytest.mark.parametrize('name', _DATASETS)
def test_settings_of_the_paper(name):
  config = load(name, 'dynamics=paper')
  model = config.model
  assert model.update_rule == 'global'
  assert model.window == 2
  assert model.encoder.ipa_reads == 'sequence'
  assert model.encoder.num_neighbours == 0
  for level in model.level.values():
    assert (level.noise_min, level.noise_max) == (0.01, 0.05)
  # Every 20th frame of a trajectory from its beginning on; fine windows anywhere.
  assert config.data.aligned_starts == ('coarse',)
  assert config_lib.frames_per_segment(model) == (20,)
  # The gradient goes through several windows, some of which follow the model's own prediction.
  assert config.train.unroll > 1
  assert config.train.teacher_forcing_end < 1.0
  assert config.train.clash_weight > 0.0
  # Nothing but 13 numbers, and nothing but frames and the sequence is seen.
  assert not config_lib.has_side_chains(model)
  assert not model.encoder.disulphides
  assert not model.encoder.solvent
  assert model.lags_ns == ()


@pytest.mark.parametrize(('name', 'dt_ns'), [('mdcath', (20.0, 1.0)), ('atlas', (4.0, 0.2))])
@pytest.mark.parametrize('dynamics', ['paper', 'ours'])
def test_time_steps(name, dynamics, dt_ns):
  levels = load(name, f'dynamics={dynamics}').model.level
  assert (levels.coarse.dt_ns, levels.fine.dt_ns) == dt_ns


@pytest.mark.parametrize('name', _DATASETS)
def test_our_dynamics(name):
  ours = load(name)
  assert load(name, 'dynamics=ours') == ours
  assert ours.model.update_rule == 'local'
  assert ours.model.encoder.num_neighbours > 0
  assert ours.model.encoder.disulphides
  assert config_lib.has_side_chains(ours.model)
  assert ours.data.aligned_starts == ()


def test_small_runs_hold_out_the_end_of_every_trajectory():
  for name in ('quickstart', 'tiny'):
    data = load(name).data
    assert data.train_block[1] == data.validation_block[0] < data.validation_block[1] == 1.0
    assert data.validation_split == 'train'
  # The bundled model has whole replicas for that.
  data = load('default_model').data
  assert (data.train_block, data.validation_block) == ((0.0, 1.0), (0.0, 1.0))
  assert data.validation_split == 'validation'


@pytest.fixture(scope='module', autouse=True)
def compile_once(tmp_path_factory):
  """Files whose steps differ in numbers only share the compiled one."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp('xla')), 0.0), strict=True):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


@pytest.mark.parametrize(
  ('name', 'variant', 'level', 'dt_ns'),
  [
    pytest.param('mdcath', 'scale=coarse,dynamics=paper', 'coarse', 1.0, marks=pytest.mark.slow),
    pytest.param('mdcath', 'scale=fine', 'fine', 1.0, marks=pytest.mark.slow),
    pytest.param('atlas', 'scale=fine,dynamics=paper', 'fine', 0.2, marks=pytest.mark.slow),
    pytest.param('quickstart', 'scale=fine', 'fine', 0.01, marks=pytest.mark.slow),
    pytest.param('tiny', 'scale=fine', 'fine', 0.01, marks=pytest.mark.slow),
    pytest.param('default_model', '', 'any', 0.01, marks=pytest.mark.slow),
  ],
)
def test_trains_two_steps(name, variant, level, dt_ns, tmp_path):
  """On frames as far apart as those of the data that the file is for."""
  config = load(name, variant)
  common.small_network(config, channels=16, blocks=1)
  config.model.encoder.update(num_heads=2, ipa_scalar_channels=4)
  config.model.encoder.num_neighbours = min(config.model.encoder.num_neighbours, 4)
  config.data.store = examples.write_store(
    tmp_path / 'store', num_frames=200, dt_ns=dt_ns, side_chains=True
  )
  config.data.batch_size = 8
  config.data.validation_split, config.train.select_by = 'none', 'last'
  config.data.buckets = (16,)
  # Numbers that are part of the compiled step.
  config.train.update(num_steps=2, unroll=1, rematerialise=False, log_every=1)
  config.train.update(teacher_forcing_steps=1, warmup_steps=1, learning_rate=1e-3)
  states = loop.train(config, str(tmp_path / 'run'))
  assert {key: int(state.step) for key, state in states.items()} == {level: 2}
  lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
  losses = [json.loads(line)[f'{level}/loss'] for line in lines]
  assert len(losses) == 2
  assert np.isfinite(losses).all()

import dataclasses
import json
import logging
import pathlib
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax import files
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.store import store
from tempo_jax.training import (
  checkpoint,
  initial_model,
  loop,
  parallel,
  run_config,
  train_state,
)
from tests.store import synthetic
from tests.training import examples


@pytest.fixture(scope='module')
def store_path(tmp_path_factory):
  return examples.write_store(tmp_path_factory.mktemp('store') / 'store')


@pytest.fixture(scope='module', autouse=True)
def compile_once(tmp_path_factory):
  """Steps that differ in what is no part of the program share the compiled one."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp('xla')), 0.0), strict=True):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


# Settings of `train` that no mapped step reads.
_OUTSIDE = ('init_from', '_every', 'keep_checkpoints', 'select_by', 'patience', 'rollout_frames')


def shared(make):
  """Runs of the same steps share the mapped ones: else tracing them takes most of the time."""
  made = {}

  def mapped(config, *rest):
    key = config_lib.to_dict(config)
    key['train'] = {k: v for k, v in key['train'].items() if not k.endswith(_OUTSIDE)}
    key = json.dumps(key, sort_keys=True)
    if key not in made:
      made[key] = make(config, *rest)
    return made[key]

  return mapped


PARTS = loop.Parts(shared(parallel.map_train_step), shared(parallel.map_evaluation_step))


def train(config, workdir, **parts):
  return loop.train(config, str(workdir), dataclasses.replace(PARTS, **parts))


def experiment(store_path, variant='', side_chains=False, **train):
  """Small programs: one window, no features of the surroundings; no rollouts."""
  config = examples.experiment(store_path, variant, side_chains, unroll=1, rematerialise=False)
  config.model.encoder.num_neighbours = 0
  config.train.update({'rollout_every': 0, 'rollout_replicas': 2, 'rollout_frames': 4} | train)
  return config


@pytest.fixture(scope='module')
def straight(store_path, tmp_path_factory):
  """Six steps in one go."""
  workdir = tmp_path_factory.mktemp('straight')
  return workdir, train(experiment(store_path, rollout_every=3), workdir)


def lines(workdir):
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def assert_same_bits(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.slow  # Trains two levels.
def test_writes_what_the_interface_promises(straight):
  workdir, states = straight
  assert (workdir / 'config.json').exists()
  assert list(workdir.glob('events.out.tfevents.*'))
  written = lines(workdir)
  assert [line['step'] for line in written] == [1, 2, 3, 4, 5, 6]
  assert all(np.isfinite(list(line.values())).all() for line in written)
  for line in written:
    validated = line['step'] in (3, 6)
    assert ('fine/validation_loss' in line) == validated
    for name in ('jsd', 'spread', 'step', 'broken'):
      assert (f'fine/rollout_{name}' in line) == validated
    # Its held-out stretch is too short for a window.
    assert not any(name.startswith(('coarse/validation', 'coarse/rollout')) for name in line)
  assert {int(state.step) for state in states.values()} == {6}


@pytest.mark.slow  # Trains two levels.
def test_measures_the_spread_of_a_step(straight):
  config = json.loads((straight[0] / 'config.json').read_text())
  level = config['model']['level']
  # The walk: 0.05 Å per step and component, one and two steps on average 1.5 of them, plus the
  # jitter of atoms in their frames; twenty times as long a step is sqrt(20) times as wide.
  assert 0.04 < level['fine']['translation_std'] < 0.1
  assert 3.0 < level['coarse']['translation_std'] / level['fine']['translation_std'] < 6.0


@pytest.mark.slow  # Trains two levels.
def test_stopped_and_resumed_equals_straight(straight, store_path, tmp_path):
  def stop_after_three(*args):
    step, calls = PARTS.map_train_step(*args), []

    def run(*args):
      calls.append(0)
      if len(calls) == 5:  # The first of two levels in step 3.
        signal.raise_signal(signal.SIGTERM)
      return step(*args)

    return run

  config = experiment(store_path, checkpoint_every=100, rollout_every=3)
  with pytest.raises(SystemExit, match='130'):
    train(config, tmp_path, map_train_step=stop_after_three)
  assert lines(tmp_path)[-1]['step'] == 3
  # A run that died later than its last checkpoint leaves lines that the next one must drop.
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "stale": 1}\n{"step": 5, "st')
  states = train(config, tmp_path)
  assert_same_bits(states, straight[1])
  resumed, reference = lines(tmp_path), lines(straight[0])
  assert [line['step'] for line in resumed] == [1, 2, 3, 4, 5, 6]
  for a, b in zip(resumed, reference, strict=True):
    assert a.keys() == b.keys()
    clocked = {'steps_per_s', 'tokens_per_s', 'data_wait_share'}
    assert all(a[key] == b[key] for key in a.keys() - clocked)
    assert 0.0 <= b['data_wait_share'] < 1.0
    # Examples of two levels, of ten residues (padded to 16): two windows of two frames each, and
    # on the fine level the frame in which the segment ends.
    assert b['tokens_per_s'] / b['steps_per_s'] == pytest.approx(8 * 10 * (5 + 5))


@pytest.mark.slow  # Trains eight steps.
def test_nothing_reads_a_state_that_a_step_used_up(store_path, tmp_path):
  """Saving goes on in the background while the next steps take the memory of the state."""

  def trivial(config, optimizer, state, level, batch, rng, axis_name):
    return train_state.apply_gradient(state, state.params, optimizer, 0.5), {'loss': jnp.zeros(())}

  made, used_up = [], []

  def mapped_step(*args):
    step = parallel.map_train_step(*args, trivial)

    def run(state, *rest):
      result = step(state, *rest)
      used_up.append(all(x.is_deleted() for x in jax.tree.leaves(state)))
      made.append(jax.tree.map(lambda x: np.array(x.addressable_data(0)), result[0]))
      return result

    return run

  config = experiment(store_path, 'scale=fine', checkpoint_every=2, learning_rate=1e-2)
  config.data.validation_block = None
  with jax.debug_nans(False):  # Else JAX keeps the arguments, to find what made a NaN.
    train(config, tmp_path, map_train_step=mapped_step)
  assert used_up[:2] == [True, True]
  # Two more steps followed this one.
  shutil.rmtree(tmp_path / 'checkpoints' / '6')
  kept, saved = checkpoint.Checkpointer(str(tmp_path)), {'fine': made[3]}
  assert_same_bits(kept.restore(parallel.replicate(saved))[0], saved)
  kept.close()


@pytest.mark.slow  # Trains two levels.
def test_workdir_is_a_model(straight):
  workdir, states = straight
  model = model_lib.load_model(workdir)
  assert model.dt_ns == 0.01
  for level, state in states.items():
    assert_same_bits(model.params[level], state.ema_params)
  # On no device in particular: samplers spread replicas over all of them.
  assert not any(leaf.committed for leaf in jax.tree.leaves(dict(model.params)))


@pytest.mark.slow  # Trains two levels.
def test_levels_trained_apart_are_one_model(straight, store_path, tmp_path):
  for scale in ('coarse', 'fine'):
    train(experiment(store_path, f'scale={scale}'), tmp_path / scale)
  with pytest.raises(InputError, match=r'holds coarse but not fine: train that level too'):
    model_lib.load_model(tmp_path / 'coarse')
  model = model_lib.load_model(tmp_path)
  # Levels do not depend on what else is trained beside them.
  for level, state in straight[1].items():
    assert_same_bits(model.params[level], state.ema_params)


@pytest.mark.slow  # Trains two levels.
def test_exported_model_is_the_same(straight, tmp_path):
  model = model_lib.load_model(straight[0])
  model.save(tmp_path / 'exported')
  again = model_lib.load_model(tmp_path / 'exported')
  assert again.config == model.config
  assert_same_bits(again.params, dict(model.params))


@pytest.mark.slow  # Trains two levels.
def test_another_configuration_is_refused(straight, store_path):
  config = experiment(store_path)
  config.model.encoder.channels = 32
  with pytest.raises(
    InputError, match=r'another config.model.encoder.channels: give another --workdir'
  ):
    train(config, straight[0])


def counted(state, *_):
  """A step that is counted, compiles nothing and learns nothing."""
  return dataclasses.replace(state, step=state.step + 1), {'loss': 0.5}


def test_nan_stops_with_step_and_batch(store_path, tmp_path):
  def broken(*_):
    def run(state, *rest):
      state, metrics = counted(state)
      return state, {'loss': np.nan if int(state.step) == 2 else metrics['loss']}

    return run

  message = r'fine level broke down at step 2: loss .* helix10/\S+@\d'
  with pytest.raises(InputError, match=message):
    train(experiment(store_path, 'scale=fine'), tmp_path, map_train_step=broken)


def test_a_store_without_side_chains_is_refused(store_path, tmp_path):
  """By a model that learns them; nothing is begun."""
  with pytest.raises(InputError) as error:
    train(experiment(store_path, side_chains=True), tmp_path / 'run')
  message = str(error.value)
  assert message.startswith(f"{store_path}: no trajectory of split 'train' has side chains: ")
  assert '--config.model.side_chains=False' in message
  assert '\n' not in message
  assert not (tmp_path / 'run').exists() or not any((tmp_path / 'run').iterdir())


def test_side_chains_are_in_the_batches(tmp_path):
  config = experiment(
    examples.write_store(tmp_path / 'store', side_chains=True), 'scale=fine', side_chains=True
  )
  config.data.validation_block, config.train.select_by = None, 'last'
  seen = []

  def counting(*_):
    def run(state, level, batch, rng):
      seen.append(batch)
      return counted(state)

    return run

  train(config, tmp_path / 'run', map_train_step=counting)
  batch = seen[0]
  lead = batch.chi.shape[:-3]
  assert lead == batch.positions.shape[:-4]
  assert np.isfinite(batch.chi).all()
  np.testing.assert_array_equal(np.asarray(batch.chi)[~np.asarray(batch.chi_known)], 0.0)
  assert np.asarray(batch.chi_known).any()


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'data.batch_size': 12}, r'batch_size = 12 does not divide over 8 devices: .* multiple of 8'),
    ({'train.accumulation_steps': 3}, r'over 8 devices x 3 parts .*accumulation.* multiple of 24'),
    ({'train.accumulation_steps': 0}, 'config.train.accumulation_steps = 0: at least 1'),
    ({'train.levels': ('middle',)}, r"train.levels = \('middle',\): choose from"),
    ({'model.level.coarse.dt_ns': 1.0}, r'quarter'),
    ({'model.level.fine.dt_ns': 0.03}, r'does not divide the time step'),
    ({'data.store': '/nowhere/store'}, r'/nowhere/store'),
    ({'train.select_by': 'best'}, r"select_by = 'best': choose one of loss, rollout, last"),
    (
      {'train.select_by': 'loss', 'data.validation_block': None},
      r"select_by = 'loss' needs held-out data: give config.data.validation_block",
    ),
    (
      {'train.select_by': 'rollout', 'data.validation_block': None},
      r"select_by = 'rollout' needs held-out data",
    ),
    (
      {'train.select_by': 'rollout', 'train.rollout_every': 0},
      r'needs rollouts, and config.train.rollout_every = 0 switches them off',
    ),
    (
      {'train.select_by': 'loss', 'data.validation_block': (0.99, 1.0)},
      r'no level has held-out windows',
    ),
    (
      {'data.validation_block': (None,)},
      r'validation_block = \(None,\): give two fractions, 0 <= LOW < HIGH <= 1, or \(\) for none',
    ),
    ({'data.train_block': (0.8, 0.2)}, r'train_block = \(0.8, 0.2\): give two fractions'),
    ({'train.early_stopping_patience': 3}, r'early_stopping_patience = 3 needs something'),
    ({'train.early_stopping_patience': -1}, r'early_stopping_patience = -1: at least 0'),
    ({'train.rollout_frames': 0}, r'rollout_frames = 0: at least 1'),
    ({'model.shared_levels': True}, r'shared_levels = True: levels no longer share'),
    (
      {'model.objective': 'mse', 'model.level.fine.noise_sample': 0.0},
      r'without noise nothing fluctuates: give config.model.level.coarse.noise_min',
    ),
  ],
)
def test_unusable_settings_are_refused(store_path, tmp_path, change, message):
  config = experiment(store_path)
  with config.unlocked():
    config.update_from_flattened_dict(change)
  with pytest.raises(InputError, match=message):
    loop.train(config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()


def test_two_trainings_do_not_share_a_workdir(store_path, tmp_path):
  with (
    files.in_use(tmp_path, 'trains into it'),
    pytest.raises(InputError, match=f'{tmp_path} is in use: another process trains into it'),
  ):
    train(experiment(store_path), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == ['.lock']


def test_store_entry_with_a_hole_names_it(tmp_path):
  path = tmp_path / 'store'
  positions = examples.positions(10, 120)
  positions[50, 3, 1, 0] = np.nan
  with pytest.raises(InputError, match='toy'), store.StoreWriter(path) as writer:
    writer.add(synthetic.entry(), positions)


@pytest.fixture(scope='module')
def half_way(straight, tmp_path_factory):
  """The straight run as if it had been killed after step 3."""
  workdir = tmp_path_factory.mktemp('half') / 'run'
  shutil.copytree(straight[0], workdir)
  shutil.rmtree(workdir / 'checkpoints' / '6')
  return workdir_lib.load(workdir)


def judged_as(values):
  """Part of training: the losses of the validations, of which each has one batch, in turn."""
  values = iter(values)
  return {'map_evaluation_step': lambda config: lambda *_: {'loss': next(values)}}


def steps_judged(workdir):
  """At which steps there was a validation."""
  return [line['step'] for line in lines(workdir) if 'fine/validation_loss' in line]


def steps_kept(workdir):
  return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


_SELECTING = {
  'select_by': 'loss', 'checkpoint_every': 100, 'keep_checkpoints': 1, 'validate_every': 1
}  # fmt: skip


@pytest.mark.slow  # Trains and rolls out.
def test_best_step_is_kept_and_is_the_model(straight, half_way, store_path, tmp_path, caplog):
  judged = judged_as([5.0, 4.0, 3.0, 3.5, 3.0, 2.0])
  config = experiment(store_path, early_stopping_patience=2, **_SELECTING)
  with caplog.at_level(logging.INFO, 'tempo_jax'):
    states = train(config, tmp_path, **judged)
  assert steps_judged(tmp_path) == [1, 2, 3, 4, 5]
  assert steps_kept(tmp_path) == [3, 5]
  assert int(states['fine'].step) == 5
  (line,) = [x for x in caplog.messages if 'ends early' in x]
  assert line.startswith(
    'training ends early, at step 5 of 6: validation_loss has not fallen below 3 of step 3 in 2 '
    'validations'
  )
  _, expected, _ = half_way
  model = model_lib.load_model(tmp_path)
  for level in ('coarse', 'fine'):
    assert_same_bits(model.params[level], expected[level])

  # The same command finds it ended, and leaves everything as it is.
  again = train(config, tmp_path, **judged)
  assert steps_judged(tmp_path) == [1, 2, 3, 4, 5]
  assert_same_bits(again, states)
  # With more patience it goes on from the newest step, not from the best one.
  config.train.early_stopping_patience = 3
  states = train(config, tmp_path, **judged)
  assert steps_judged(tmp_path) == [1, 2, 3, 4, 5, 6]
  assert_same_bits(states, straight[1])
  assert steps_kept(tmp_path) == [6]  # Which is the best one now.
  assert workdir_lib.load(tmp_path)[2] == 6


@pytest.mark.slow  # Trains two levels.
def test_resumed_run_remembers_its_best(store_path, tmp_path):
  config = experiment(store_path, early_stopping_patience=4, **_SELECTING)

  def losses():
    for step, loss in enumerate([3.0, 5.0, 4.0, 4.5, 3.5, 1.0], 1):
      if step == 3:
        signal.raise_signal(signal.SIGTERM)
      yield loss

  judged = judged_as(losses())
  with pytest.raises(SystemExit, match='130'):
    train(config, tmp_path, **judged)
  assert steps_kept(tmp_path) == [1, 3]
  # Two of four validations in vain before the interruption, two after it.
  train(config, tmp_path, **judged)
  assert steps_judged(tmp_path) == [1, 2, 3, 4, 5]
  assert steps_kept(tmp_path) == [1, 5]
  assert workdir_lib.load(tmp_path)[2] == 1
  # If somebody deletes the best one, the newest is the model.
  shutil.rmtree(tmp_path / 'checkpoints' / '1')
  assert workdir_lib.load(tmp_path)[2] == 5


def test_rollouts_that_run_off_are_never_the_best(store_path, tmp_path):
  def run_off(config, level_name, num_frames, params, starts, *_):
    shape = (len(starts), num_frames, *starts.shape[1:])
    return np.full(shape, 1e20, np.float32)

  config = experiment(
    store_path, select_by='rollout', rollout_every=2, early_stopping_patience=2, validate_every=100
  )
  states = train(config, tmp_path, map_train_step=lambda *_: counted, roll_out=run_off)
  assert {int(state.step) for state in states.values()} == {4}
  written = lines(tmp_path)
  assert [line.get('fine/rollout_jsd') for line in written] == [None, np.inf, None, np.inf]
  assert written[1]['fine/rollout_broken'] == 1.0
  assert workdir_lib.load(tmp_path)[2] == 4


@pytest.mark.parametrize(
  ('edit', 'message'),
  [
    (lambda c: c.train.update(draws=0), r'config\.train\.draws = 0: at least 1'),
    (lambda c: c.train.update(viewers=0), r'config\.train\.viewers = 0: at least 1'),
    (lambda c: c.data.update(reversal=1.5), r'config\.data\.reversal = 1\.5: a share, 0 to 1'),
    (
      lambda c: (c.train.update(draws=1), c.model.update({'objective': 'energy_score'})),
      r'config\.train\.draws = 1: the energy score compares samples: at least 2',
    ),
  ],
)
def test_settings_of_the_objectives(edit, message):
  config = examples.experiment('store')
  edit(config)
  with pytest.raises(InputError, match=message):
    run_config.check(config)


@pytest.mark.slow  # Trains three times.
def test_goes_on_from_a_trained_model(straight, store_path, tmp_path):
  """Parameters and scales are those of the model; the temperatures those of both."""
  workdir, states = straight

  def stopped(*_):
    raise KeyboardInterrupt

  model = model_lib.load_model(workdir)
  changed = config_lib.from_dict(config_lib.to_dict(model.config))
  changed.trained_on.temperatures_K = (290.0,)
  changed.level.coarse.dt_ns = 0.3  # Another time step: another scale.
  changed.level.coarse.translation_std = changed.level.fine.translation_std = 0.5
  there = tmp_path / 'there'
  dataclasses.replace(model, config=changed).save(there)

  config = experiment(store_path, num_steps=1, init_from=str(there))
  # Stopped before the first checkpoint, it begins anew, from the same model.
  with pytest.raises(KeyboardInterrupt):
    train(config, tmp_path / 'run', map_train_step=lambda *_: stopped)
  nothing_learnt = {'map_train_step': lambda *_: lambda state, *rest: (state, {})}
  started = train(config, tmp_path / 'run', **nothing_learnt)
  for name, state in started.items():
    assert_same_bits(state.params, states[name].ema_params)
    assert_same_bits(state.ema_params, states[name].ema_params)
    assert int(state.step) == 0
  made = run_config.read(str(tmp_path / 'run'))
  assert made.model.level.fine.translation_std == 0.5
  assert made.model.level.coarse.translation_std != 0.5
  temperatures_K = made.model.trained_on.temperatures_K
  assert min(temperatures_K) == 290.0 < max(temperatures_K)
  # Resumed, it needs that model no more.
  shutil.rmtree(there)
  config.train.num_steps = 2
  assert {int(x.step) for x in train(config, tmp_path / 'run').values()} == {1}


@pytest.mark.slow  # Trains two levels.
def test_a_run_of_an_older_version_is_not_resumed(straight, store_path, tmp_path):
  shutil.copytree(straight[0], tmp_path / 'run')
  file = tmp_path / 'run' / 'config.json'
  content = json.loads(file.read_text())
  del content['model']['reference']
  file.write_text(json.dumps(content))
  with pytest.raises(
    InputError, match=r'of an older version .*\(it lacks model.reference\).*another directory'
  ):
    loop.train(experiment(store_path), str(tmp_path / 'run'))


@pytest.mark.slow  # Trains two levels.
def test_a_model_that_does_not_fit_is_refused(straight, store_path, tmp_path):
  config = experiment(store_path, init_from=str(straight[0]))
  config.model.head.channels *= 2
  config.model.encoder.num_ipa_blocks += 1
  with pytest.raises(
    InputError, match=r'init_from.*differs.*config.model.encoder, config.model.head: train'
  ):
    loop.train(config, str(tmp_path / 'a'))
  config = experiment(store_path, init_from=str(straight[0]))
  config.model.levels = config.train.levels = ('fine', 'finer')
  config.model.level.finer = config.model.level.coarse
  config.model.level.finer.dt_ns = 1.0
  with pytest.raises(InputError, match='has the levels coarse, fine but not finer'):
    initial_model.adopt(config, model_lib.load_model(str(straight[0])))
  with pytest.raises(InputError, match='no model at nowhere'):
    loop.train(experiment(store_path, init_from='nowhere'), str(tmp_path / 'b'))

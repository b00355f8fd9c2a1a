import json
import pathlib
import signal

import jax
import numpy as np
import pytest

from tempo_jax import model as model_lib
from tempo_jax.data import store
from tempo_jax.errors import InputError
from tempo_jax.training import loop, parallel
from tests.data import synthetic
from tests.training import examples


@pytest.fixture(scope='module')
def store_path(tmp_path_factory):
  return examples.write_store(tmp_path_factory.mktemp('store') / 'store')


@pytest.fixture(scope='module', autouse=True)
def compile_once(tmp_path_factory):
  """Runs on the same shapes share their compiled steps, as they would not from run to run."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path_factory.mktemp('xla')), 0.0), strict=True):
    jax.config.update(name, value)
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


@pytest.fixture(scope='module')
def straight(store_path, tmp_path_factory):
  """Six steps in one go."""
  workdir = tmp_path_factory.mktemp('straight')
  return workdir, loop.train(examples.experiment(store_path), str(workdir))


def lines(workdir):
  text = (pathlib.Path(workdir) / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def assert_same_bits(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


def test_writes_what_the_interface_promises(straight):
  workdir, states = straight
  assert (workdir / 'config.json').exists()
  assert list(workdir.glob('events.out.tfevents.*'))
  written = lines(workdir)
  assert [line['step'] for line in written] == [1, 2, 3, 4, 5, 6]
  assert all(np.isfinite(list(line.values())).all() for line in written)
  assert 'fine/validation_loss' in written[2]
  assert {int(state.step) for state in states.values()} == {6}


def test_measures_the_spread_of_a_step(straight):
  config = json.loads((straight[0] / 'config.json').read_text())
  level = config['model']['level']
  # The walk: 0.05 Å per step and component, one and two steps on average 1.5 of them, plus the
  # jitter of atoms in their frames; twenty times as long a step is sqrt(20) times as wide.
  assert 0.04 < level['fine']['translation_std'] < 0.1
  assert 3.0 < level['coarse']['translation_std'] / level['fine']['translation_std'] < 6.0


def test_stopped_and_resumed_equals_straight(straight, store_path, tmp_path, monkeypatch):
  mapped = parallel.map_train_step

  def stop_after_three(*args):
    step, calls = mapped(*args), []

    def run(*args):
      calls.append(0)
      if len(calls) == 5:  # The first of two levels in step 3.
        signal.raise_signal(signal.SIGTERM)
      return step(*args)

    return run

  config = examples.experiment(store_path, checkpoint_every=100)
  with monkeypatch.context() as patch:
    patch.setattr(parallel, 'map_train_step', stop_after_three)
    with pytest.raises(SystemExit, match='130'):
      loop.train(config, str(tmp_path))
  assert lines(tmp_path)[-1]['step'] == 3
  # A run that died later than its last checkpoint leaves lines that the next one must drop.
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 4, "stale": 1}\n{"step": 5, "st')
  states = loop.train(config, str(tmp_path))
  assert_same_bits(states, straight[1])
  resumed, reference = lines(tmp_path), lines(straight[0])
  assert [line['step'] for line in resumed] == [1, 2, 3, 4, 5, 6]
  for a, b in zip(resumed, reference, strict=True):
    assert a.keys() == b.keys()
    assert all(a[key] == b[key] for key in a if key not in ('steps_per_s', 'data_wait_share'))
    assert 0.0 <= b['data_wait_share'] < 1.0


def test_workdir_is_a_model(straight):
  workdir, states = straight
  model = model_lib.load_model(workdir)
  assert model.dt_ns == 0.01
  for level, state in states.items():
    assert_same_bits(model.params[level], state.ema_params)


def test_levels_trained_apart_are_one_model(straight, store_path, tmp_path):
  for scale in ('coarse', 'fine'):
    loop.train(examples.experiment(store_path, f'scale={scale}'), str(tmp_path / scale))
  with pytest.raises(InputError, match=r'holds coarse but not fine: train that level too'):
    model_lib.load_model(tmp_path / 'coarse')
  model = model_lib.load_model(tmp_path)
  # Levels do not depend on what else is trained beside them.
  for level, state in straight[1].items():
    assert_same_bits(model.params[level], state.ema_params)


def test_exported_model_is_the_same(straight, tmp_path):
  model = model_lib.load_model(straight[0])
  model.save(tmp_path / 'exported')
  again = model_lib.load_model(tmp_path / 'exported')
  assert again.config == model.config
  assert_same_bits(again.params, dict(model.params))


def test_another_configuration_is_refused(straight, store_path):
  config = examples.experiment(store_path)
  config.model.encoder.channels = 32
  with pytest.raises(
    InputError, match=r'another config.model.encoder.channels: give another --workdir'
  ):
    loop.train(config, str(straight[0]))


def test_nan_stops_with_step_and_batch(store_path, tmp_path, monkeypatch):
  def broken(*args):
    step = mapped(*args)

    def run(state, *rest):
      state, metrics = step(state, *rest)
      return state, metrics | ({'loss': np.nan} if int(state.step) == 2 else {})

    return run

  mapped = parallel.map_train_step
  monkeypatch.setattr(parallel, 'map_train_step', broken)
  message = r'coarse level broke down at step 2: loss .* helix10/\S+@\d'
  with pytest.raises(InputError, match=message):
    loop.train(examples.experiment(store_path), str(tmp_path))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'data.batch_size': 12}, r'batch_size = 12 does not divide over 8 devices'),
    ({'train.levels': ('middle',)}, r"train.levels = \('middle',\): choose from"),
    ({'model.level.coarse.dt_ns': 1.0}, r'quarter'),
    ({'model.level.fine.dt_ns': 0.03}, r'does not divide the time step'),
    ({'data.store': '/nowhere/store'}, r'/nowhere/store'),
  ],
)
def test_unusable_settings_are_refused(store_path, tmp_path, change, message):
  config = examples.experiment(store_path)
  with config.unlocked():
    config.update_from_flattened_dict(change)
  with pytest.raises(InputError, match=message):
    loop.train(config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run').exists()


def test_store_entry_with_a_hole_names_it(tmp_path):
  path = tmp_path / 'store'
  positions = examples.positions(10, 120)
  positions[50, 3, 1, 0] = np.nan
  with pytest.raises(InputError, match='toy'), store.StoreWriter(path) as writer:
    writer.add(synthetic.entry(), positions)

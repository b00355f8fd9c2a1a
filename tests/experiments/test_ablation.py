"""Two settings of the tiny configuration on a synthetic store, in this process."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from experiments.ablation import ablation
from experiments.ablation import rollouts as ablation_rollouts
from experiments.ablation import settings as ablation_settings
from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.configs import default_model
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.samplers import coarse_to_fine
from tempo_jax.store import store as store_lib
from tempo_jax.training import loop
from tests import builders
from tests.training import examples

CONFIG = 'experiments/configs/tiny.py'


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  return examples.write_store(tmp_path_factory.mktemp('data') / 'store', lengths=(10,))


def configuration(store, **model):
  """One level, and nothing compiled but its training step."""
  config = examples.experiment(store, 'scale=fine', num_steps=2, unroll=1, rollout_every=0)
  config.data.validation_block = None
  config.model.update({'levels': ('fine',), **model})
  return config


SAMPLING = ablation_rollouts.Sampling(
  frames=12, replicas=2, lag_ns=0.01, heldout_block=(0.8, 1.0), heldout_split='train'
)


def begin_with_random_models(configs, folder):
  """Has the settings go on from models, since fresh parameters would have to be compiled."""
  for name, config in configs.items():
    model = config_lib.freeze(config.model)
    model_lib.Model(name, model, {'fine': builders.params(model)}).save(folder / name)
    config.train.update(init_from=str(folder / name), measure_scales=True)


def mapped_step(state, *_):
  """A step of training that is not compiled."""
  moved = jax.tree.map(lambda x: 1.001 * x, state.ema_params)
  return dataclasses.replace(state, ema_params=moved), {'loss': 1.0}


def train(config, workdir, step=mapped_step):
  return loop.train(config, workdir, loop.Parts(map_train_step=lambda *_: step))


def wandering(config, num_frames, segment_batch_size=None):
  """A sampler that does not look at the parameters."""

  def sample(params, protein, rng, temperature_K):
    noise = jax.random.normal(rng, (num_frames, *protein.positions.shape))
    return protein.positions[None] + 0.05 * jnp.cumsum(noise, axis=0)

  return sample


@pytest.fixture(scope='module')
def first_run(store, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('ablation')
  configs = ablation_settings.settings(
    configuration(store), ['ours:train.clash_weight=2.0', 'paper']
  )
  begin_with_random_models(configs, tmp_path_factory.mktemp('models'))
  result = ablation.run(configs, workdir, SAMPLING, train=train, make_sampler=wandering)
  return configs, workdir, result


def rows_of(text):
  lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in text.splitlines()]
  return {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}


def test_the_table(first_run):
  _, workdir, result = first_run
  rows = rows_of((workdir / 'ablation.md').read_text())
  assert list(rows) == ['ours', 'paper', 'MD (train against held-out)']
  for name in ('ours', 'paper'):
    row = rows[name]
    assert row['training steps'] == row['selected step'] == '2'
    assert 0.0 < float(row['JSD of CA distances']) <= 1.0
    assert float(row['s per 400 frames']) > 0.0
    assert float(row['spread ratio']) == pytest.approx(
      result['settings'][name]['spread_ratio'], abs=0.006
    )
    # No segments, and too few frames for a time scale.
    assert row['jump, leaving it'] == ''
  assert rows['paper']['ratio to paper'] == '1.00'
  assert rows['MD (train against held-out)']['parameters'] == ''
  assert json.loads((workdir / 'ablation.json').read_text()) == result
  # 80 % of 300 frames were trained on; the divergences compare what both have.
  ours, floor = result['settings']['ours'], result['floor']
  assert (ours['num_frames'], ours['num_reference'], ours['num_compared']) == (24, 60, 24)
  assert (floor['num_frames'], floor['num_reference'], floor['num_compared']) == (239, 60, 60)
  assert floor['step_ratio'] == pytest.approx(1.0, abs=0.05)


def test_settings_are_trained_as_they_say(first_run):
  configs, workdir, result = first_run
  for name in ('ours', 'paper'):
    stored = json.loads((workdir / name / 'config.json').read_text())
    assert stored['train']['clash_weight'] == configs[name].train.clash_weight
    assert stored['model']['encoder']['num_neighbours'] == (0 if name == 'paper' else 4)
    assert stored['seed'] == 0
  # Without the surroundings features there are fewer.
  parameters = [result['settings'][name]['parameters'] for name in ('ours', 'paper')]
  assert parameters[0] > parameters[1] > 1000


def test_nothing_is_repeated(first_run):
  configs, workdir, result = first_run

  def refuse(*arguments, **named):
    raise AssertionError('once is enough')

  run = functools.partial(
    ablation.run,
    configs,
    workdir,
    train=functools.partial(train, step=refuse),
    make_sampler=refuse,
  )
  assert run(SAMPLING) == result
  with pytest.raises(AssertionError, match='once is enough'):
    run(SAMPLING, remeasure=True)
  other = dataclasses.replace(SAMPLING, frames=13)
  with pytest.raises(AssertionError, match='once is enough'):
    run(other)


def test_training_goes_on_and_is_measured_again(first_run, tmp_path):
  configs, workdir, result = first_run
  measured = workdir / 'ours/measured.json'
  before = json.loads(measured.read_text())
  configs = ablation_settings.settings(configs['ours'], ['ours:train.num_steps=3'])

  def stand_still(config, num_frames, segment_batch_size=None):
    def sample(params, protein, rng, temperature_K):
      assert temperature_K == 300.0
      return jax.numpy.repeat(protein.positions[None], num_frames, axis=0)

    return sample

  found = ablation.run(
    configs, workdir, SAMPLING, timing=False, out=tmp_path, train=train, make_sampler=stand_still
  )
  row = found['settings']['ours']
  assert row['training_steps'] == 3
  assert row['step_ratio'] == pytest.approx(0.0, abs=1e-5)  # Rounding of the superposition.
  assert 'seconds' not in row
  # Two different starts, evenly spread over the held-out frames.
  assert row['spread_ratio'] > 0.1
  assert len(json.loads(measured.read_text())) == len(before) + 1
  assert (tmp_path / 'ablation.md').exists()
  # The earlier table stays.
  assert json.loads((workdir / 'ablation.json').read_text()) == result


def test_samplers_take_turns(store):
  config = configuration(store)
  (held,) = ablation_rollouts.held_out(config, SAMPLING, 0.01)
  calls, now = [], [0.0]

  def make_sampler(config, num_frames, segment_batch_size):
    assert (num_frames, segment_batch_size) == (400, 7)

    def sample(params, *_):
      calls.append(params)
      # Compiling, then a machine that slows down.
      now[0] += 100.0 if calls.count(params) == 1 else params * calls.count(params)

    return sample

  trained = {name: (config.model, params) for name, params in (('a', 1.0), ('b', 2.0))}
  # Calls 2 to 6: the fourth is in the middle.
  found = ablation_rollouts.time_samplers(trained, held, 7, make_sampler, clock=lambda: now[0])
  assert found == {'a': 4.0, 'b': 8.0}
  assert calls == [1.0, 2.0] * 6


def test_starts_and_md(store):
  config = configuration(store)
  (held,) = ablation_rollouts.held_out(config, SAMPLING, 0.02)
  opened = store_lib.Store(store)
  frames = opened.read(opened.entries[0], slice(240, 300, 2))
  np.testing.assert_array_equal(held.reference, [frames])
  np.testing.assert_array_equal(held.training, [opened.read(opened.entries[0], slice(0, 240, 2))])
  np.testing.assert_array_equal(held.starts('heldout', 3), frames[[0, 14, 29]])
  np.testing.assert_array_equal(held.starts('first', 2), frames[[0, 0]])
  np.testing.assert_array_equal(held.starts('train', 1), held.training[0][:1])
  # At another temperature there is no training MD of its own: MD against itself, in halves.
  halves = ablation_rollouts.HeldOut(held.entry, held.reference, [])
  assert halves.count == 15
  floor = ablation_rollouts.floor(halves, SAMPLING, 0.02, None)
  assert (floor.num_frames, floor.num_reference) == (14, 15)
  with pytest.raises(InputError, match=r'--start=train.*no training MD of helix10'):
    halves.starts('train', 1)
  with pytest.raises(InputError, match='--rollout_replicas=31'):
    held.starts('heldout', 31)


def test_rollouts_of_levels_and_between_frames(store):
  """Which program each way of sampling asks for, and what it makes of the frames."""
  config = examples.experiment(store)
  (held,) = ablation_rollouts.held_out(config, SAMPLING, 0.01)
  assert ablation_rollouts.sampled_config(config.model, 'fine').levels == ('fine',)
  assert ablation_rollouts.sampled_config(config.model, 'coarse').levels == ('coarse',)
  # The fine level learnt to end in coarse states, the coarse one to look back at the start.
  found = [ablation_rollouts.sampled_config(config.model, x).reference for x in ('fine', 'coarse')]
  assert found == [False, True]
  assert ablation_rollouts.sampled_config(config.model, 'hierarchy').levels == ('coarse', 'fine')
  assert (
    ablation_rollouts.frames_per_segment(
      ablation_rollouts.sampled_config(config.model, 'hierarchy')
    )
    == 20
  )
  asked = []

  def make_upsampler(config, spacing_ns, segment_batch_size):
    asked.append(spacing_ns)

    def upsampler(params, protein, coarse, rng, temperature_K):
      return np.repeat(coarse[:-1], 20, axis=0)

    return upsampler

  model = ablation_rollouts.sampled_config(config.model, 'upsample')
  sampling = ablation_rollouts.Sampling('upsample')
  ((rollout,), native) = ablation_rollouts.sample_rollouts(
    model, {}, held, sampling, make_upsampler=make_upsampler
  )
  assert asked == [0.2]
  np.testing.assert_array_equal(rollout[[0, 1, 20, 21, 40]], held.reference[0][[0, 0, 0, 20, 20]])
  np.testing.assert_array_equal(native, held.reference[0][0])


@pytest.mark.slow  # Compiles two samplers.
def test_rollouts_of_the_network(store):
  """Each from its own start, at the temperature of the MD, as the sampler makes it."""
  config = builders.small_config({'fine': 0.01})
  params = {'fine': builders.params(config)}
  (held,) = ablation_rollouts.held_out(configuration(store), SAMPLING, 0.01)
  sampling = dataclasses.replace(SAMPLING, frames=3)
  rollouts, native = ablation_rollouts.sample_rollouts(config, params, held, sampling)
  starts = held.reference[0][[0, -1]]
  np.testing.assert_array_equal(native, starts[0])
  np.testing.assert_array_equal([x[0] for x in rollouts], starts)
  keys = jax.random.split(jax.random.key(0), 2)
  sampler = coarse_to_fine.make_sampler(config, 3)
  for rollout, start, key in zip(rollouts, starts, keys, strict=True):
    expected = sampler(params, held.entry.arrays(start), key, 300.0)
    np.testing.assert_allclose(rollout[1:], expected, atol=2e-3)
  other = sampler(params, held.entry.arrays(starts[0]), keys[0], 400.0)
  assert np.abs(rollouts[0][1:] - other).max() > 0.01


def test_changes(store):
  config = configuration(store)
  found = ablation_settings.settings(
    config,
    [
      'ours',
      'open:model.closure=True,data.train_block=(0.0,0.5),data.validation_block=(0.5,1.0)',
      'old:paper,model.update_rule=global,model.level.fine.noise_sample=0.25',
    ],
    seeds=[3, 4],
  )
  names = ('ours', 'open', 'old')
  assert list(found) == [f'{name}_seed{seed}' for name in names for seed in (3, 4)]
  assert [each.seed for each in found.values()] == [3, 4] * 3
  assert found['open_seed3'].model.closure is True
  assert found['open_seed3'].data.train_block == (0.0, 0.5)
  assert found['open_seed3'].data.validation_block == (0.5, 1.0)
  ours, paper = found['ours_seed4'], found['old_seed4']
  assert config_lib.to_dict(ours.model) == config_lib.to_dict(config.model)
  assert config_lib.to_dict(paper.train) == config_lib.to_dict(ours.train)
  reference = config_lib.paper_model_config()
  for name in ('objective', 'anchors', 'reference', 'closure', 'update_rule'):
    assert paper.model[name] == reference[name]
  assert paper.model.encoder.ipa_reads == 'sequence'
  level = paper.model.level.fine
  assert (level.noise_min, level.noise_max, level.noise_sample) == (0.01, 0.05, 0.25)
  # Without the change, the update stays what it is.
  kept = ablation_settings.settings(config, ['paper'])['paper']
  assert kept.model.update_rule == config.model.update_rule == 'local'


def test_a_model_of_any_step_becomes_one_of_two_levels(store):
  config = default_model.get_config()
  config.data.store = str(store)
  found = ablation_settings.settings(config, ['fixed:two_levels,model.prior=still', 'ours'])
  model, ours = found['fixed'].model, found['ours'].model
  assert model.levels == found['fixed'].train.levels == ('coarse', 'fine')
  assert config_lib.frames_per_segment(model) == (20,)
  assert [model.level[name].dt_ns for name in model.levels] == [0.2, 0.01]
  assert not time_scales.has_any_step(model)
  assert config_lib.to_dict(ours) == config_lib.to_dict(config.model)
  rest = config_lib.to_dict(model)
  for name in ('levels', 'level', 'lags_ns', 'prior'):
    rest[name] = config_lib.to_dict(ours)[name]
  assert rest == config_lib.to_dict(ours)
  one = config_lib.to_dict(ours.level['any']) | {'dt_ns': 0.2}
  assert config_lib.to_dict(model.level.coarse) == one


@pytest.mark.parametrize(
  ('setting', 'what'),
  [
    ('open:model.clsure=False', r"'model.clsure=False'"),
    ('open:train.unroll=many', r"'train.unroll=many'"),
    ('open:train.unroll', 'write PATH=VALUE'),
    ('open:train.unroll=0', 'config.train.unroll = 0: at least 1'),
    ('open:model.objective=best', 'config.model.objective'),
    ('open', 'say what changes'),
    ('../open:train.unroll=1', 'becomes a folder'),
    (':train.unroll=1', 'becomes a folder'),
  ],
)
def test_bad_settings(store, setting, what):
  with pytest.raises(InputError, match=what) as error:
    ablation_settings.settings(configuration(store), [setting])
  assert f'--setting={setting}' in str(error.value)


def test_settings_that_do_not_go_together(store, tmp_path):
  config = configuration(store)
  with pytest.raises(InputError, match='the name ours is given twice'):
    ablation_settings.settings(config, ['ours', 'ours:train.unroll=1'])
  with pytest.raises(InputError, match='--setting is missing'):
    ablation_settings.settings(config, [])
  configs = ablation_settings.settings(config, ['ours', 'slow:model.level.fine.dt_ns=0.02'])
  with pytest.raises(InputError, match=r'different time steps \(ours 0.01 ns, slow 0.02 ns\)'):
    ablation.run(configs, tmp_path, SAMPLING)
  with pytest.raises(InputError, match=r'--sampling=middle: choose .* fine'):
    ablation.run({'ours': config}, tmp_path, ablation_rollouts.Sampling('middle'))
  with pytest.raises(InputError, match='a single level'):
    ablation.run({'ours': config}, tmp_path, ablation_rollouts.Sampling('upsample'))
  with pytest.raises(InputError, match='correct --heldout_split'):
    ablation.run({'ours': config}, tmp_path, dataclasses.replace(SAMPLING, heldout_split='test'))
  with pytest.raises(InputError, match='no held-out MD'):
    ablation.run({'ours': config}, tmp_path, ablation_rollouts.Sampling())
  assert not list(tmp_path.iterdir())


def parse(*arguments):
  values = flags.FlagValues()
  ablation.define_flags(values)
  values(['ablation', *arguments])
  return values


# How ml_collections loads a configuration file.
@pytest.mark.filterwarnings('ignore:the load_module')
def test_flags_reach_the_run(store, tmp_path, capsys, caplog):
  calls = []

  def run(configs, workdir, sampling, **options):
    calls.append((configs, workdir, sampling, options))
    return {'settings': {'ours': {'ca_jsd': 0.5}}, 'floor': {'label': 'MD'}}

  values = parse(
    *(f'--config={CONFIG}', f'--workdir={tmp_path}', '--setting=ours:model.closure=True'),
    *('--setting=paper', '--rollout_frames=50', '--sampling=fine', '--heldout_block=0.5,1'),
    *('--start=first', '--notiming', '--rollout_replicas=3'),
  )
  values.config.data.store = store
  values.config.train.select_by = 'loss'
  values.config.data.validation_block = (0.8, 1.0)
  ablation.ablate(values, run)
  ((configs, workdir, sampling, options),) = calls
  assert list(configs) == ['ours', 'paper']
  assert configs['ours'].data.store == store
  assert workdir == str(tmp_path)
  assert sampling == ablation_rollouts.Sampling('fine', 50, 3, 'first', heldout_block=(0.5, 1.0))
  assert options == {'timing': False, 'remeasure': False}
  assert '| ours | 0.500 |' in capsys.readouterr().out
  assert 'chooses the checkpoint by the same held-out MD' in caplog.text

  for block in ('0.5', '0.9,0.1', 'a,b'):
    with pytest.raises(InputError, match='--heldout_block='):
      ablation._block(block.split(','))
  with pytest.raises(InputError, match='--config and --workdir'):
    ablation.ablate(parse(f'--config={CONFIG}'))

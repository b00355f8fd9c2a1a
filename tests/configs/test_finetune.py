"""Fine-tuning takes the network of the model that it goes on from, and the user's MD."""

import itertools
import json
import shutil
import zipfile

import jax
import numpy as np
import pytest

from experiments.benchmarks import finetuning
from tempo_jax import config as config_lib
from tempo_jax.configs import finetune
from tempo_jax.errors import InputError
from tempo_jax.models import directory
from tempo_jax.models import model as model_lib
from tempo_jax.models import workdir as workdir_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import store as store_lib
from tempo_jax.training import initial_model, loop, mean_conformation, run_config
from tests import builders, newcomer
from tests.training import examples


def plain(config):
  return config_lib.to_dict(config)


def trained_config(dt_ns=None, **settings):
  """Unlike the default in many ways."""
  dt_ns = dt_ns or {'slow': 0.2, 'quick': 0.01}
  settings = {'anchors': 'both', 'closure': True} | settings
  config = config_lib.from_dict(plain(builders.generative_config(dt_ns, **settings)))
  config.trained_on.update(temperatures_K=(320.0,), num_residues=(12, 20), longest_ns=((20, 9.0),))
  return config_lib.freeze(config)


def save(directory, config):
  params = {name: builders.params(config, seed) for seed, name in enumerate(config.levels)}
  model_lib.Model('trained', config, params).save(directory)
  return directory


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  return save(tmp_path_factory.mktemp('models') / 'trained', trained_config())


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  return examples.write_store(tmp_path_factory.mktemp('stores') / 'store', num_frames=400)


def nothing_learnt(losses=None):
  """Steps that compile nothing and leave the parameters as they are."""
  losses = losses or itertools.repeat(1.0)
  return loop.Parts(
    map_train_step=lambda *_: lambda state, *rest: (state, {}),
    map_evaluation_step=lambda *_: lambda *rest: {'loss': next(losses)},
  )


def test_the_network_is_that_of_the_model(trained):
  config = finetune.get_config(f'model={trained}')
  assert plain(config.model) == plain(trained_config())
  assert config.train.init_from == str(trained)
  assert config.train.levels == ('slow', 'quick')
  config.data.store = 'anywhere'
  run_config.check(config)
  initial_model.adopt(config, model_lib.load_model(trained))
  # What is held out follows what is learnt from, and chooses the checkpoint.
  assert config.data.train_block[1] == config.data.validation_block[0]
  assert config.train.select_by == 'loss'
  assert config.train.early_stopping_patience


def test_the_bundled_model_by_default():
  config = finetune.get_config()
  assert config == finetune.get_config('model=default,scale=both')
  assert plain(config.model) == plain(model_lib.load_model('default').as_trained().config)
  assert config_lib.from_dict(plain(config)) == config


def test_scale_chooses_the_levels(trained):
  assert finetune.get_config(f'scale=quick,model={trained}').train.levels == ('quick',)
  with pytest.raises(InputError, match='scale=fine: choose slow, quick, both'):
    finetune.get_config(f'model={trained},scale=fine')


def test_levels_that_were_trained_apart(trained, tmp_path):
  wanted = {'slow': 0.3, 'quick': 0.02}
  for name in wanted:
    content = json.loads((trained / 'config.json').read_text())
    # As training leaves it, which measured the steps of its level only.
    content['train'] = {'levels': [name]}
    content['model']['level'][name]['translation_std'] = wanted[name]
    (tmp_path / name).mkdir()
    (tmp_path / name / 'config.json').write_text(json.dumps(content))
  model = finetune.get_config(f'model={tmp_path}').model
  assert {name: model.level[name].translation_std for name in wanted} == wanted


def test_flags_are_read_without_parameters(trained, tmp_path, monkeypatch):
  """Several processes read them before JAX may look for devices."""
  expected = plain(model_lib.load_model(trained).config)
  shutil.copy(trained / 'config.json', tmp_path)
  # The names of the parameters, which say what levels there are, but nothing that can be read.
  with (
    zipfile.ZipFile(trained / 'params.npz') as read,
    zipfile.ZipFile(tmp_path / 'params.npz', 'w') as written,
  ):
    for name in read.namelist():
      written.writestr(name, 'unreadable')

  with pytest.raises(InputError, match='is damaged'):
    model_lib.load_model(tmp_path)

  def refused(*_):
    raise AssertionError('looked for devices')

  for name in ('devices', 'local_devices', 'device_put'):
    monkeypatch.setattr(jax, name, refused)
  assert plain(directory.read_config(tmp_path)) == expected
  assert plain(finetune.get_config(f'model={tmp_path}').model) == expected


def test_models_that_cannot_be_trained_on(trained, tmp_path):
  with pytest.raises(InputError, match=r'model=nowhere: no model at nowhere: .* or default'):
    finetune.get_config('model=nowhere')
  with pytest.raises(InputError, match=r'--config variant .*modle.*model=default'):
    finetune.get_config('modle=default')
  file = tmp_path / 'config.json'
  for text in ('{"model": ', '{}', '{"model": {"levels": ["a"]}}', '[]'):
    file.write_text(text)
    with pytest.raises(InputError, match=r'config.json is (damaged|of an older version)'):
      finetune.get_config(f'model={tmp_path}')
  content = json.loads((trained / 'config.json').read_text())
  del content['model']['head']['num_blocks'], content['model']['precision']
  file.write_text(json.dumps(content))
  with pytest.raises(
    InputError, match=r'older version.*lacks model.head.num_blocks, model.precision\): train it'
  ):
    finetune.get_config(f'model={tmp_path}')


def test_the_objective_of_an_older_model_stays(tmp_path):
  """It goes on as it was trained, but its network cannot learn to draw frames."""
  model = model_lib.load_model(save(tmp_path / 'mean', builders.small_config()))
  config = finetune.get_config(f'model={tmp_path}/mean')
  assert config.model.objective == 'mse'
  initial_model.adopt(config, model)
  config.model.objective = 'flow_matching'
  with pytest.raises(
    InputError, match=r"config.model.objective = 'flow_matching' \(the model: 'mse'\): train with"
  ):
    initial_model.adopt(config, model)


def test_side_chains_are_not_learnt_by_a_network_without_them(trained):
  config, model = finetune.get_config(f'model={trained}'), model_lib.load_model(trained)
  config.model.side_chains = True
  with pytest.raises(
    InputError, match=r'config.model.side_chains = True \(the model: False\): train with'
  ):
    initial_model.adopt(config, model)


def test_begins_with_the_parameters_of_the_model(trained, store, tmp_path):
  config = finetune.get_config(f'model={trained}')
  config.data.store, config.train.num_steps = store, 1
  loop.train(config, str(tmp_path / 'run'), nothing_learnt())
  before, after = (model_lib.load_model(x) for x in (trained, tmp_path / 'run'))
  jax.tree.map(np.testing.assert_array_equal, before.params, after.params)
  seen = after.config.trained_on
  assert (seen.num_residues, seen.longest_ns) == ((10, 20), ((20, 9.0),))
  # The unit of motion is that of the new data, and nothing else is changed.
  expected = plain(before.config) | {'trained_on': plain(after.config)['trained_on']}
  for name, section in expected['level'].items():
    for key in ('translation_std', 'rotation_std'):
      assert after.config.level[name][key] != section[key]
      section[key] = after.config.level[name][key]
  assert plain(after.config) == expected


def test_means_of_the_md_are_known_afterwards(store, tmp_path):
  """Those of the part that is trained on, beside those that the model knew."""
  config = builders.any_step_config()
  known = {'AC': np.zeros((2, 3), np.float32)}
  params = {'any': builders.params(config)}
  model_lib.Model('trained', config, params, known).save(tmp_path / 'before')
  config = finetune.get_config(f'model={tmp_path}/before')
  config.data.store, config.train.num_steps = store, 1
  loop.train(config, str(tmp_path / 'run'), nothing_learnt())
  found = model_lib.load_model(tmp_path / 'run').centres
  (entry,) = store_lib.Store(store).entries
  expected = mean_conformation.measure(store_lib.Store(store), [entry], (0.0, 0.8))
  assert found.keys() == {'AC', *expected} == {'AC', 'A' * 10}
  np.testing.assert_array_equal(found['A' * 10], expected['A' * 10])
  # A model that knows no prior has no use for them.
  plain = save(tmp_path / 'plain', trained_config())
  config = finetune.get_config(f'model={plain}')
  config.data.store, config.train.num_steps = store, 1
  loop.train(config, str(tmp_path / 'other'), nothing_learnt())
  assert model_lib.load_model(tmp_path / 'other').centres == {}


@pytest.mark.slow  # Trains and resumes.
def test_the_model_stays_where_nothing_is_gained(trained, store, tmp_path):
  """What it knows of the data before the first step is validated, too, and once."""
  parts = nothing_learnt(iter((0.5, 0.5, 0.6, 0.6, 0.7, 0.7)))
  config = finetune.get_config(f'model={trained}')
  config.data.store, config.train.num_steps = store, 1
  config.train.validation_batches = 1
  for _ in range(2):
    loop.train(config, str(tmp_path), parts)
    assert workdir_lib.load(tmp_path)[2] == 0
    config.train.num_steps += 1  # Resumed, it does not begin with another validation.
  lines = [json.loads(x) for x in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert [(x['step'], x['quick/validation_loss']) for x in lines] == [(0, 0.5), (1, 0.6), (2, 0.7)]


def test_time_steps_that_the_md_allows(trained, tmp_path):
  path = examples.write_store(tmp_path / 'store', num_frames=400, dt_ns=0.05)
  config = finetune.get_config(f'model={trained}')
  config.data.store, config.train.num_steps = path, 1
  with pytest.raises(InputError, match=r'0\.05 ns apart.*choose a time step.*multiple of 0\.05 ns'):
    loop.train(config, str(tmp_path / 'run'))
  config.model.level.slow.dt_ns, config.model.level.quick.dt_ns = 1.0, 0.05
  loop.train(config, str(tmp_path / 'run'), nothing_learnt())
  assert model_lib.load_model(tmp_path / 'run').dt_ns == 0.05


def test_the_benchmark_judges_by_what_was_held_out(trained, tmp_path):
  """With MD in the models' place."""
  sampled, learnt = [], []

  def train(config, workdir):
    learnt.append((workdir.name, config))
    return model_lib.load_model(trained), {'best_step': 2, 'minutes': 0.5}

  def sample(model, protein, case, num_frames, num_replicas, seed):
    sampled.append((num_frames, num_replicas, protein.arrays.known_solvent))
    np.testing.assert_array_equal(protein.arrays.positions, second[0])
    return np.stack([second[1:]] * num_replicas)

  folder = tmp_path / 'trajectories/bpti_5ns'
  folder.mkdir(parents=True)
  md = newcomer.motion(np.random.default_rng(0), 10, 400)
  md[0].save(folder / 'bpti.pdb')
  md.save(folder / 'bpti.xtc')
  case = finetuning.chosen(tmp_path, 'bpti')
  second = finetuning.halves(case).second
  result = finetuning.run(
    str(trained), case, tmp_path / 'work', 2, num_replicas=3, train=train, sample=sample
  )
  # 400 frames: the second half is the start and 199 more.
  assert sampled == [(199, 3, protein_lib.SOLVENTS.index('explicit'))] * 3
  before, tuned, scratch, floor, network = result['rows'].values()
  for row in (before, tuned, scratch):
    assert row['rmsf_r'] == pytest.approx(1.0, abs=0.01)
    assert row['rmsf_ratio'] == pytest.approx(1.0, rel=0.02)
  assert floor['ca_jsd'] > before['ca_jsd']
  assert network['rmsf_ratio'] == pytest.approx(1.0, rel=0.3)
  lines = (tmp_path / 'work' / 'finetuning.md').read_text().splitlines()
  assert [line.split(' | ')[-1] for line in lines[2:]] == [' |', '0.5 |', '0.5 |', ' |', ' |']
  (_, one), (_, other) = learnt
  assert (one.train.init_from, other.train.init_from) == (str(trained), '')
  for config in (one, other):
    (low, middle), (same, high) = config.data.train_block, config.data.validation_block
    assert 0.0 == low < middle == same < high == 0.5
    assert config.train.num_steps == 2
    assert config.model == directory.read_config(str(trained))
  (entry,) = store_lib.Store(tmp_path / 'work/store').entries
  assert (entry.name, entry.solvent, entry.num_frames) == ('bpti', 'explicit', 400)
  with pytest.raises(InputError, match=r'--protein: crambin is none of those with MD, .*bpti'):
    finetuning.chosen(tmp_path, 'crambin')

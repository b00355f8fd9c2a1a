import itertools
import json
import pathlib

import jax
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.models import trained_range
from tempo_jax.protein import padding, structure_file
from tests import builders, disk, heavy_trajectories

STRUCTURE = pathlib.Path(model_lib.__file__).parent / 'default/trp_cage.pdb'


@pytest.fixture(scope='module')
def model():
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  params = {name: builders.params(config, seed) for seed, name in enumerate(config.levels)}
  return model_lib.Model('small', config, params)


@pytest.fixture
def saved(model, tmp_path):
  model.save(tmp_path / 'model')
  return tmp_path / 'model'


def change_config(folder, change):
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  change(config)
  path.write_text(json.dumps(config))


def change_params(folder, change):
  with np.load(folder / 'params.npz') as arrays:
    params = dict(arrays)
  change(params)
  np.savez(folder / 'params.npz', **params)


def truncate(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def widen(params):
  params['fine/head_out/bias'] = np.zeros(99, np.float32)


DAMAGE = {
  'half a config': lambda folder: truncate(folder / 'config.json'),
  'half the params': lambda folder: truncate(folder / 'params.npz'),
  'no params': lambda folder: (folder / 'params.npz').write_bytes(b''),
  'no model': lambda folder: change_config(folder, lambda c: c.pop('model')),
  'a list': lambda folder: (folder / 'config.json').write_text('[]'),
  'no levels': lambda folder: change_config(folder, lambda c: c['model'].pop('levels')),
  'no encoder': lambda folder: change_config(folder, lambda c: c['model'].pop('encoder')),
  'no heads': lambda folder: change_config(
    folder, lambda c: c['model']['encoder'].pop('num_heads')
  ),
  'no noise': lambda folder: change_config(
    folder, lambda c: c['model']['level']['fine'].pop('noise_sample')
  ),
  'fine/head_out/bias is missing': lambda folder: change_params(
    folder, lambda p: p.pop('fine/head_out/bias')
  ),
  'coarse/other is unknown': lambda folder: change_params(
    folder, lambda p: p.update({'coarse/other': np.zeros(3)})
  ),
  'fine/head_out/bias has shape': lambda folder: change_params(folder, widen),
}


@pytest.mark.parametrize('what', DAMAGE)
def test_a_damaged_model_is_one_line(saved, what):
  DAMAGE[what](saved)
  what_is_wrong = r'model(/config.json)? is (damaged|of an older version).*train it again'
  with pytest.raises(InputError, match=what_is_wrong) as error:
    model_lib.load_model(saved)
  assert '\n' not in str(error.value)
  if '/' in what:
    assert what in str(error.value)


def test_a_damaged_level_is_named(model, tmp_path):
  for level in ('coarse', 'fine'):
    part = model_lib.Model(level, model.config, {level: model.params[level]})
    part.save(tmp_path / level)
  # Trajectories too short for the coarse level taught the fine one only.
  seen = {'temperatures_K': [250.0], 'num_residues': [5, 5], 'num_chains': 1}
  seen['longest_ns'] = [[5, 0.1]]
  change_config(tmp_path / 'fine', lambda c: c['model'].update(trained_on=seen))
  both = model_lib.load_model(tmp_path)
  assert set(both.params) == {'coarse', 'fine'}
  found = both.config.trained_on.to_dict()
  assert found == trained_range.merge(model.config.trained_on, seen)
  levels = config_lib.to_dict(model.config)['level']
  change_config(tmp_path / 'fine', lambda c: c['model'].pop('level'))
  with pytest.raises(InputError, match=r'/fine/config.json .*lacks model.level.coarse.dt_ns'):
    model_lib.load_model(tmp_path)
  change_config(tmp_path / 'fine', lambda c: c['model'].update(level=levels))
  truncate(tmp_path / 'fine' / 'params.npz')
  with pytest.raises(InputError, match='/fine is damaged'):
    model_lib.load_model(tmp_path)


def test_saves_into_a_new_or_an_empty_directory(model, tmp_path):
  (tmp_path / 'empty').mkdir()
  for folder in (tmp_path / 'empty', tmp_path / 'a' / 'new'):
    model.save(folder)
    assert {path.name for path in folder.iterdir()} == {'config.json', 'params.npz'}
    again = model_lib.load_model(str(folder))
    assert again.config == model.config
    np.testing.assert_array_equal(
      again.params['fine']['head_out']['bias'], model.params['fine']['head_out']['bias']
    )
  assert {path.name for path in tmp_path.iterdir()} == {'empty', 'a'}


def test_saving_leaves_nothing_half_written(model, saved, tmp_path):
  before = {p: p.read_bytes() for p in saved.iterdir()}
  with pytest.raises(InputError, match=r'cannot write .*/model: Directory not empty'):
    model.save(saved)
  half = (saved / 'params.npz').stat().st_size // 2
  with (
    disk.files_end_at(half),
    pytest.raises(InputError, match=r'cannot write .*/other: File too large'),
  ):
    model.save(tmp_path / 'other')
  assert list(tmp_path.iterdir()) == [saved]
  assert {p: p.read_bytes() for p in saved.iterdir()} == before


def test_passes_can_be_chosen_when_sampling():
  config = builders.generative_config(passes=3)
  trained = model_lib.Model(
    'toy', config, {name: builders.params(config) for name in config.levels}
  )
  quick = trained.with_passes(1)
  assert (trained.config.passes, quick.config.passes) == (3, 1)
  assert quick.params is trained.params
  with pytest.raises(InputError, match='passes = 0: at least 1'):
    trained.with_passes(0)
  of_means = model_lib.Model('paper', config_lib.freeze(config_lib.paper_model_config()), {})
  with pytest.raises(InputError, match='the model paper predicts means and has no head'):
    of_means.with_passes(2)


def test_frames_of_another_protein_are_refused():
  config = builders.generative_config({'coarse': 0.2, 'fine': 0.1}, anchors='both')
  model = model_lib.Model('toy', config, {})
  protein = structure_file.load_protein(STRUCTURE)
  with pytest.raises(InputError, match=r'shape \(2, 21, 4, 3\), the protein 20 residues'):
    model.upsample(protein, np.zeros((2, 21, 4, 3)), 0.2)
  with pytest.raises(InputError, match='num_replicas = -1: at least 1'):
    model.sample_many([protein], num_replicas=-1)


def forget_side_chains(config):
  """What a model of 0.1 says of itself."""
  del config['model']['side_chains'], config['model']['encoder']['disulphides']


def draw_chi_on_the_circle(config):
  """What a model said of itself before rotamers had wells."""
  config['model'].update(side_chains=True, objective='flow_matching')
  for level in config['model']['level'].values():
    level.update(chi_std=0.3, chi_hop=0.1)


@pytest.mark.parametrize(
  'forget', [lambda c: c['model'].pop('reference'), forget_side_chains, draw_chi_on_the_circle]
)
def test_a_model_of_an_older_version_is_refused(saved, forget):
  change_config(saved, forget)
  with pytest.raises(InputError, match=r'of an older version of tempo_jax.*: train it again') as e:
    model_lib.load_model(saved)
  assert '\n' not in str(e.value)


def test_a_model_from_before_there_was_a_calibration_has_none(saved):
  change_config(saved, lambda config: config['model']['memory'].pop('gain'))
  change_config(saved, lambda config: config['model'].pop('rotamer_stay'))
  found = model_lib.load_model(saved).config
  assert tuple(found.memory.gain) == (1.0, 1.0)
  assert found.rotamer_stay == ()


def test_the_papers_model_of_an_older_version_still_loads(tmp_path):
  """It has never had side chains, nor seen disulphides."""
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01}, 'global', disulphides=False)
  params = {name: builders.params(config) for name in config.levels}
  assert 'disulphide' not in params['fine']['encoder']['sequence']
  model_lib.Model('paper', config, params).save(tmp_path / 'paper')
  change_config(tmp_path / 'paper', forget_side_chains)
  change_config(tmp_path / 'paper', lambda config: config.pop('parameters'))
  found = model_lib.load_model(tmp_path / 'paper')
  assert not found.has_side_chains
  assert not found.config.encoder.disulphides
  jax.tree.map(np.testing.assert_array_equal, found.params, params)
  # What else is missing is missing.
  change_config(tmp_path / 'paper', lambda config: config['model'].pop('reference'))
  with pytest.raises(InputError, match=r'lacks model.reference'):
    model_lib.load_model(tmp_path / 'paper')


@pytest.mark.slow  # Compiles two samplers.
def test_lengths_are_padded_so_that_programs_are_shared():
  """Padding is exact, is cut off, and is at most a ninth of longer proteins."""
  lengths = padding.SAMPLING_LENGTHS[padding.SAMPLING_LENGTHS.index(64) :]
  assert all(0 < b - (a + 1) <= b / 9 for a, b in itertools.pairwise(lengths))
  assert model_lib.padded_positions(np.zeros((1, 4100, 4, 3))).shape[1] == 4608
  config = builders.generative_config({'only': 0.01}, closure=False, side_chains=True)
  model = model_lib.Model('toy', config, {'only': builders.params(config)})
  protein = structure_file.load_protein(STRUCTURE)
  assert protein.num_residues == 20
  rng = jax.random.key(3)
  sampled = model.sample(protein, num_frames=2, rng=rng)
  assert sampled.heavy_atoms.shape == (1, 2, 20, 14, 3)
  padded = sampled.positions
  exact = model.sampler(2)(model.params, protein.arrays, rng, 320.0)
  assert padded.shape == exact.shape == (1, 2, 20, 4, 3)
  np.testing.assert_allclose(padded, exact, atol=1e-3)
  assert np.abs(exact[0, 0] - protein.arrays.positions).max() > 0.1
  coarse = np.stack([protein.arrays.positions] * 2)
  np.testing.assert_array_equal(model_lib.padded_positions(coarse)[:, :20], coarse)
  assert model_lib.padded_positions(coarse).shape[1] == len(model_lib.padded(protein).mask) == 24


def test_a_model_gives_the_atoms_that_it_has():
  config = builders.generative_config({'coarse': 0.2, 'fine': 0.01}, side_chains=True)
  model = model_lib.Model('with side chains', config, {})
  assert model.has_side_chains
  assert model.atoms() == 'heavy'
  assert model.atoms('backbone') == 'backbone'
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  model = model_lib.Model('small', config, {})
  assert not model.has_side_chains
  assert model.atoms() == 'backbone'
  trajectory = heavy_trajectories.of_every_type(replicas=2)
  # What a sampler of heavy atoms gives, with padding.
  padded = np.pad(trajectory.heavy_atoms, [(0, 0), (0, 0), (0, 3), (0, 0), (0, 0)])
  found = model.trajectory(trajectory.protein, padded)
  np.testing.assert_array_equal(found.heavy_atoms, trajectory.heavy_atoms)
  np.testing.assert_array_equal(found.positions, trajectory.positions)
  padded[1, 2, 5, 9] = np.nan
  with pytest.raises(FloatingPointError, match='at frame 3 of 4'):
    model.trajectory(trajectory.protein, padded)

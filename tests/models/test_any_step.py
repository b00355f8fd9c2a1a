"""A model of any time step: its levels, on disk and in sampling."""

import json
import pathlib

import jax
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError
from tempo_jax.metrics import validity
from tempo_jax.models import model as model_lib
from tempo_jax.output import provenance
from tempo_jax.protein import structure_file
from tempo_jax.samplers import upsample
from tests import builders

STRUCTURE = pathlib.Path(model_lib.__file__).parent / 'default/trp_cage.pdb'


def any_model(**settings):
  config = builders.any_step_config(**settings)
  return model_lib.Model('small', config, {'any': builders.params(config)})


def steps_of(model):
  return {name: model.config.level[name].dt_ns for name in model.config.levels}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
  """Of 0.01 to 5 ns."""
  folder = tmp_path_factory.mktemp('models') / 'any'
  any_model(longest_ns=5.0).save(folder)
  return folder


def test_loads_with_the_levels_of_a_time_step(saved):
  assert steps_of(model_lib.load_model(saved)) == {'coarse_2': 4.0, 'coarse': 0.2, 'fine': 0.01}
  model = model_lib.load_model(saved, dt_ns=1.0)
  assert model.dt_ns == 1.0
  assert steps_of(model) == {'coarse': 5.0, 'fine': 1.0}
  assert set(model.params) == {'coarse', 'fine'}
  # Another one of the same, whichever it had before.
  assert steps_of(model.at(0.5)) == {'fine': 0.5} | {'coarse': 5.0}
  assert steps_of(model.at(5.0)) == {'fine': 5.0}
  assert steps_of(model.at(5.0).at(0.01)) == steps_of(model_lib.load_model(saved))
  for dt_ns in (0.005, 6.0, 0.0, -1.0):
    message = f'dt_ns = {dt_ns:g}: this model has learnt steps of 0.01 to 5 ns'
    for change in (model.at, lambda x: model_lib.load_model(saved, x)):
      with pytest.raises(InputError, match=message) as error:
        change(dt_ns)
      assert '\n' not in str(error.value)


def test_on_disk_it_is_as_trained(saved, tmp_path):
  content = json.loads((saved / 'config.json').read_text())['model']
  assert content['levels'] == ['any']
  assert set(content['level']) == {'any'}
  original = any_model(longest_ns=5.0)
  model = model_lib.load_model(saved, dt_ns=0.3)
  model = model.calibrated((1.3, 1.1), [[0.01, 1.5, 0.5, -1.0]])
  for folder, changed in (('a', model), ('b', model.between(0.6)), ('c', model.with_passes(2))):
    changed.save(tmp_path / folder)
    with np.load(tmp_path / folder / 'params.npz') as arrays:
      assert {name.split('/')[0] for name in arrays.files} == {'any'}
    again = model_lib.load_model(tmp_path / folder).as_trained()
    assert config_lib.to_dict(again.config.level) == config_lib.to_dict(original.config.level)
    jax.tree.map(np.testing.assert_array_equal, again.params, original.params)
    assert again.config.passes == (2 if folder == 'c' else 3)
    assert tuple(again.config.memory.gain) == (1.3, 1.1)
    assert again.config.rotamer_stay == ((0.01, 1.5, 0.5, -1.0),)


def test_levels_between_given_frames(saved):
  model = model_lib.load_model(saved)
  assert steps_of(model.between(0.2)) == {'coarse': 0.2, 'fine': 0.01}
  assert steps_of(model.between(4.0)) == {'coarse_2': 4.0, 'coarse': 0.2, 'fine': 0.01}
  assert model.between(0.2).dt_ns == model.dt_ns
  with pytest.raises(InputError, match=r'dt_ns = 20: this model has learnt steps of 0.01 to 5 ns'):
    model.between(20.0)
  for coarse_ns in (0.015, 0.205):
    with pytest.raises(InputError, match='not a whole multiple of dt_ns'):
      model.between(coarse_ns)


@pytest.mark.parametrize('coarse_ns', [0.2001, 0.20002, 0.19981, 0.2 * (1 + 1e-7)])
def test_spacings_are_those_of_files(saved, coarse_ns):
  """A thousandth beside a whole multiple."""
  model = model_lib.load_model(saved).between(coarse_ns)
  assert steps_of(model) == {'coarse': 0.2, 'fine': 0.01}
  assert upsample.level_of_spacing(model.config, coarse_ns) == 0
  model.upsampler(coarse_ns)


def test_messages_name_the_argument(saved):
  protein = structure_file.load_protein(STRUCTURE)
  given = np.stack([np.asarray(protein.arrays.positions)] * 2)
  model = model_lib.load_model(saved)
  for spacing_ns, message in (
    (0.47, 'spacing_ns = 0.47: 47 steps of dt_ns = 0.01'),
    (0.205, 'spacing_ns = 0.205: not a whole multiple'),
    (20.0, 'spacing_ns = 20: this model has learnt'),
  ):
    with pytest.raises(InputError, match=f'^{message}'):
      model.upsample(protein, given, spacing_ns)
  with pytest.raises(InputError, match=r'^coarse_dt_ns = 0.47: 47 steps'):
    model.between(0.47)


def test_one_checksum_at_every_time_step(saved, tmp_path):
  model = model_lib.load_model(saved)
  found = {
    provenance.model_sha256(x)
    for x in (model, model.at(5.0), model.free(0.2), model.between(0.05), model.as_trained())
  }
  assert found == {provenance.params_sha256(any_model().params)}
  config = builders.any_step_config(longest_ns=5.0)
  other = model_lib.Model('other', config, {'any': builders.params(config, seed=1)})
  assert provenance.model_sha256(other) not in found


def test_a_model_of_one_time_step_has_no_other():
  config = builders.generative_config({'coarse': 0.2, 'fine': 0.01})
  params = {name: builders.params(config) for name in config.levels}
  model = model_lib.Model('fixed', config, params)
  assert model.at(0.01) is model
  assert model.at(0.01 * (1.0 + 1e-6)) is model
  assert model.between(7.0) is model
  assert model.as_trained() is model
  assert provenance.model_sha256(model) == provenance.params_sha256(params)
  with pytest.raises(InputError, match=r'dt_ns = 0.2: the frames of the model fixed are 0.01 ns'):
    model.at(0.2)


def assert_closed(positions, protein):
  """[F, L, 4, 3] Å are finite, and no bond is broken."""
  assert np.isfinite(positions).all()
  c_n = np.linalg.norm(positions[:, :-1, 2] - positions[:, 1:, 0], axis=-1)
  assert np.abs(c_n - 1.329).max() < 0.1
  low, high = validity.ca_ca_range(positions, protein.arrays.bonds)
  broken = validity.is_broken(low, high, validity.c_n_max(positions, protein.arrays.bonds))
  assert not np.any(broken)


@pytest.mark.parametrize(
  ('dt_ns', 'levels'), [(0.1, 1), pytest.param(0.02, 2, marks=pytest.mark.slow)]
)
def test_samples_at_any_time_step(dt_ns, levels):
  protein = structure_file.load_protein(STRUCTURE)
  model = any_model().at(dt_ns)
  assert len(model.config.levels) == levels
  found = model.sample(protein, num_frames=12, rng=jax.random.key(1))
  np.testing.assert_allclose(found.time_ns, dt_ns * np.arange(1, 13), rtol=1e-6)
  positions = np.asarray(found.positions)
  assert positions.shape == (1, 12, protein.num_residues, 4, 3)
  assert_closed(positions[0], protein)
  moved = np.linalg.norm(positions[0, 1:, :, 1] - positions[0, :-1, :, 1], axis=-1)
  assert moved.mean(axis=-1).min() > 0.01


@pytest.mark.slow
def test_a_path_between_two_frames():
  """Levels are laid for their distance in time; the last frame is the second one."""
  protein = structure_file.load_protein(STRUCTURE)
  start = np.asarray(protein.arrays.positions)
  end = start + 0.3 * np.random.default_rng(0).normal(size=(len(start), 1, 3))
  model = any_model().at(0.01)
  given = np.stack([start, end]).astype(np.float32)
  found = model.upsample(protein, given, 0.05, start_ns=1.0)
  np.testing.assert_allclose(found.time_ns, 1.0 + 0.01 * np.arange(1, 6), rtol=1e-6)
  positions = np.asarray(found.positions)[0]
  assert positions.shape == (5, protein.num_residues, 4, 3)
  # What is given is what it is.
  assert_closed(positions[:-1], protein)
  ca, aim = positions[-1, :, 1].astype(np.float64), end[:, 1]
  ca, aim = ca - ca.mean(axis=0), aim - aim.mean(axis=0)
  u, _, vt = np.linalg.svd(ca.T @ aim)
  turn = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
  assert np.sqrt(np.mean(np.sum((ca @ turn - aim) ** 2, axis=-1))) < 0.3

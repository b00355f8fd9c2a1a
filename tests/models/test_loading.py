"""Loading a model: what was checked when it was written is not checked again."""

import cProfile
import json
import pstats

import numpy as np
import pytest

from tempo_jax import transitions
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tests import builders


def traced(name):
  """The model, and whether the initialisers of its network were traced to check it."""
  profile = cProfile.Profile()
  model = profile.runcall(model_lib.load_model, name)
  calls = pstats.Stats(profile).stats
  code = transitions.init_params.__code__
  return model, any(key[0] == code.co_filename and key[2] == code.co_name for key in calls)


def test_the_bundled_model_loads_without_tracing():
  model, checked = traced('default')
  assert set(model.params) == set(model.config.levels)
  assert not checked


def test_what_no_longer_belongs_together_is_checked_anew(tmp_path):
  config = builders.small_config({'coarse': 0.2, 'fine': 0.01})
  params = {name: builders.params(config) for name in config.levels}
  model_lib.Model('small', config, params).save(tmp_path / 'a')
  assert not traced(tmp_path / 'a')[1]

  # Another setting of the same network: both are fine, but not known to be.
  content = json.loads((tmp_path / 'a/config.json').read_text())
  content['model']['level']['fine']['noise_sample'] = 0.01
  (tmp_path / 'a/config.json').write_text(json.dumps(content))
  assert traced(tmp_path / 'a')[1]
  del content['parameters']  # As an earlier version wrote it.
  (tmp_path / 'a/config.json').write_text(json.dumps(content))
  assert traced(tmp_path / 'a')[1]

  # Parameters of another network.
  with np.load(tmp_path / 'a/params.npz') as arrays:
    changed = {name: arrays[name][..., :1] for name in arrays.files}
  np.savez(tmp_path / 'a/params.npz', **changed)
  with pytest.raises(InputError, match=r'has shape .* where this version of tempo_jax has'):
    model_lib.load_model(tmp_path / 'a')

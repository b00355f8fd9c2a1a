import json

import pytest

from tempo_jax import config as config_lib
from tempo_jax.errors import InputError


def test_default_is_the_papers_levels_with_our_switches():
  config = config_lib.model_config()
  config_lib.check(config)
  assert tuple(config.levels) == ('coarse', 'fine')
  assert [config.level[name].dt_ns for name in config.levels] == [20.0, 1.0]
  assert config.window == 2
  assert config.update_rule == 'local'
  for name in config.levels:
    assert (config.level[name].noise_min, config.level[name].noise_sample) == (0.0, 0.0)
  assert (config.objective, config.anchors, config.closure) == ('flow_matching', 'both', True)
  assert config.reference


def test_paper_mode():
  config = config_lib.paper_model_config()
  config_lib.check(config)
  assert config.update_rule == 'global'
  assert config.encoder.ipa_reads == 'sequence'
  assert config.encoder.num_neighbours == 0
  assert not config.reference


@pytest.mark.parametrize(
  ('dt_ns', 'frames'),
  [
    ({'only': 1.0}, ()),
    ({'coarse': 20.0, 'fine': 1.0}, (20,)),
    # No multiple in binary.
    ({'coarse': 0.2, 'fine': 0.01}, (20,)),
    ({'a': 0.3, 'b': 0.1}, (3,)),
    ({'a': 100.0, 'b': 20.0, 'c': 1.0}, (5, 20)),
    ({'a': 1.0, 'b': 1.0}, (1,)),
  ],
)
def test_frames_per_segment(dt_ns, frames):
  assert config_lib.frames_per_segment(config_lib.model_config(dt_ns)) == frames


def edited(edit):
  config = config_lib.model_config()
  with config.unlocked():
    edit(config)
  return config


@pytest.mark.parametrize(
  ('edit', 'message'),
  [
    (
      lambda c: c.update(update_rule='globl'),
      r"config\.model\.update_rule = 'globl': choose one of local, global",
    ),
    (
      lambda c: c.update(anchors='start'),
      r"reference = True goes with anchors = 'both' only, not 'start': choose reference = False",
    ),
    (
      lambda c: c.update(prior='white'),
      r"config\.model\.prior = 'white': choose one of still, elastic",
    ),
    (
      lambda c: c.memory.update(times_ns=(1.0,)),
      r'config\.model\.memory: variances .* over times_ns \(1\.0,\): give as many of each',
    ),
    *(
      (
        lambda c, rows=rows: c.update(rotamer_stay=rows),
        r'config\.model\.rotamer_stay = .*: give rows of a lag in ns',
      )
      for rows in (
        (0.01, 1.0, 1.0, 0.0),
        ((0.01, 1.0, 1.0),),
        ((0.0, 1.0, 1.0, 0.0),),
        ((0.01, float('nan'), 1.0, 0.0),),
        ((0.2, 1.0, 1.0, 0.0), (0.01, 1.0, 1.0, 0.0)),
        ((0.01, 1.0, 1.0, 0.0), (0.2, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0)),
      )
    ),
    *(
      (
        lambda c, gain=gain: c.memory.update(gain=gain),
        r'config\.model\.memory\.gain = .*: give two numbers above zero',
      )
      for gain in ((1.2, 0.0), (1.2,), (float('inf'), 1.0), ('1', 1.0))
    ),
    (
      lambda c: c.update(precision='float16'),
      r"config\.model\.precision = 'float16': choose one of float32, bfloat16",
    ),
    (
      lambda c: c.encoder.update(ipa_reads='x'),
      r"config\.model\.encoder\.ipa_reads = 'x': choose one of hidden, sequence",
    ),
    (
      lambda c: c.encoder.update(channels=100),
      r'encoder\.channels = 100 is not a multiple of config\.model\.encoder\.num_heads = 8',
    ),
    (lambda c: c.encoder.update(num_heads=0), r'encoder\.num_heads = 0: at least 1 is needed'),
    (lambda c: c.encoder.update(channels=0), r'encoder\.channels = 0: at least 1 is needed'),
    (
      lambda c: c.encoder.update(num_gru_layers=-1),
      r'encoder\.num_gru_layers = -1: at least 0 is needed',
    ),
    (lambda c: c.encoder.update(num_neighbours=-1), r'num_neighbours = -1: at least 0 is needed'),
    (lambda c: c.update(window=0), r'config\.model\.window = 0: at least 1 is needed'),
    (lambda c: c.update(levels=()), r'config\.model\.levels = \(\) names'),
    (
      lambda c: c.update(levels=('coarse', 'finest')),
      r"levels = \('coarse', 'finest'\) names .*level\.NAME: \['finest'\]",
    ),
    (
      lambda c: c.level.fine.update(dt_ns=3.0),
      r'level\.fine\.dt_ns = 3\.0 does not divide the time step 20\.0 ns of the level above',
    ),
    # Fine to coarse.
    (
      lambda c: c.level.coarse.update(dt_ns=1e-4),
      r'level\.fine\.dt_ns = 1\.0 does not divide the time step 0\.0001 ns',
    ),
    (lambda c: c.update(levels=('fine', 'coarse')), r'level\.coarse\.dt_ns = 20\.0 does not div'),
    (
      lambda c: c.level.fine.update(dt_ns=0.0),
      r'level\.fine\.dt_ns = 0\.0: a positive number of ns is needed',
    ),
    (
      lambda c: c.level.coarse.update(dt_ns=-20.0),
      r'level\.coarse\.dt_ns = -20\.0: a positive number of ns is needed',
    ),
  ],
)
def test_what_cannot_work_is_refused(edit, message):
  with pytest.raises(InputError, match=message) as caught:
    config_lib.check(edited(edit))
  assert '\n' not in str(caught.value)


def test_freeze_is_hashable_and_by_value():
  one, other = (config_lib.freeze(config_lib.model_config()) for _ in range(2))
  assert hash(one) == hash(other)
  assert one == other
  config_lib.check(one)
  different = config_lib.freeze(edited(lambda c: c.level.fine.update(noise_sample=0.1)))
  assert different != one
  with pytest.raises((AttributeError, TypeError)):
    one.window = 3
  # A frozen one may be frozen again, as `make_sampler` does.
  assert config_lib.freeze(one) == one


def test_json_round_trip():
  for config in (config_lib.model_config({'a': 4.0, 'b': 2.0}), config_lib.paper_model_config()):
    text = json.dumps(config_lib.to_dict(config))
    back = config_lib.from_dict(json.loads(text))
    assert back == config
    assert hash(config_lib.freeze(back)) == hash(config_lib.freeze(config))
    assert config_lib.to_dict(config_lib.freeze(config)) == config_lib.to_dict(config)
    config_lib.check(back)

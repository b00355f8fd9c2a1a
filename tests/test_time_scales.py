"""Models of any time step: the ladder of levels, and configurations that it makes."""

import itertools
import re

import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.errors import InputError
from tests import builders

RANGES = [(0.01, 5.0), (0.01, 0.2), (0.004, 100.0), (1.0, 3.0)]


def ratios(steps):
  return [coarse / fine for coarse, fine in itertools.pairwise(steps)]


@pytest.mark.parametrize(
  ('lags_ns', 'dt_ns', 'expected'),
  [
    ((0.01, 5.0), 0.01, (4.0, 0.2, 0.01)),
    ((0.01, 5.0), 0.2, (4.0, 0.2)),
    ((0.01, 5.0), 1.0, (5.0, 1.0)),
    # Below four there is no level.
    ((0.01, 5.0), 1.25, (5.0, 1.25)),
    ((0.01, 5.0), 1.26, (1.26,)),
    ((0.01, 5.0), 5.0, (5.0,)),
    ((0.01, 5.0), 0.05, (5.0, 1.0, 0.05)),
    ((0.01, 0.2), 0.01, (0.2, 0.01)),
    # The noise of binary numbers counts neither in steps nor in how many fit.
    ((0.01, 0.3), 0.03, (0.3, 0.03)),
    ((0.01, 5.0), 0.07, (1.4, 0.07)),
  ],
)
def test_levels_above_a_time_step(lags_ns, dt_ns, expected):
  assert time_scales.steps_ns(lags_ns, dt_ns) == expected


@pytest.mark.parametrize('lags_ns', RANGES)
def test_the_ladder_stays_in_the_range(lags_ns):
  """From four to twenty steps fill in one of the level above; and one more level has no room."""
  for dt_ns in np.geomspace(*lags_ns, 97):
    steps = time_scales.steps_ns(lags_ns, float(dt_ns))
    assert steps[-1] == dt_ns
    for ratio in ratios(steps):
      assert ratio == pytest.approx(round(ratio), rel=1e-6)
      assert 4 <= round(ratio) <= 20
    # As many as fit, everywhere but at the top.
    assert [round(ratio) for ratio in ratios(steps)[1:]] == [20] * (len(steps) - 2)
    assert steps[0] <= lags_ns[1] * 1.001
    assert 4.0 * steps[0] > lags_ns[1]


@pytest.mark.parametrize(
  ('coarse_ns', 'dt_ns', 'expected'),
  [
    (0.2, 0.01, (0.2, 0.01)),
    (0.05, 0.01, (0.05, 0.01)),
    (4.0, 0.01, (4.0, 0.2, 0.01)),
    (0.21, 0.01, (0.21, 0.07, 0.01)),
    (1.0, 0.01, (1.0, 0.2, 0.01)),
    (100.0, 0.01, (100.0, 20.0, 4.0, 0.2, 0.01)),
    # The noise of binary numbers, as of times in a file.
    (1.1 - 1.0, 0.01, (0.1, 0.01)),
    # As times in files are: whole multiples all the same.
    (0.2001, 0.01, (0.2, 0.01)),
    (0.20002, 0.01, (0.2, 0.01)),
    (0.9997, 0.01, (1.0, 0.2, 0.01)),
    (0.14, 0.0700001, (0.1400002, 0.0700001)),
  ],
)
def test_levels_between_given_frames(coarse_ns, dt_ns, expected):
  assert time_scales.steps_between(coarse_ns, dt_ns) == expected


@pytest.mark.parametrize(
  ('coarse_ns', 'dt_ns', 'message'),
  [
    (0.23, 0.01, '23 steps of dt_ns = 0.01, .* choose dt_ns = 0.0104545, or frames 0.22 ns apart'),
    (0.47, 0.01, '47 steps of dt_ns = 0.01, .* choose dt_ns = 0.0104444, or frames 0.45 ns apart'),
    (4.6, 0.01, '460 steps of dt_ns = 0.01, .* choose dt_ns = 0.0100218, or frames 4.59 ns apart'),
    (4.99, 0.01, '499 steps .* choose dt_ns = 0.0100808, or frames 4.95 ns apart'),
    (0.205, 0.01, r'not a whole multiple of dt_ns = 0\.01: choose another dt_ns'),
    (0.01, 0.01, 'not a whole multiple'),
    (0.2003, 0.01, 'not a whole multiple'),
  ],
)
def test_what_no_levels_lie_between(coarse_ns, dt_ns, message):
  """In training no segment of more than twenty steps was seen."""
  with pytest.raises(InputError, match=f'^spacing = {coarse_ns:g}: {message}') as error:
    time_scales.steps_between(coarse_ns, dt_ns, 'spacing')
  assert '\n' not in str(error.value)
  if found := re.search(r'choose dt_ns = (\S+), or frames (\S+) ns', str(error.value)):
    for pair in ((coarse_ns, float(found[1])), (float(found[2]), dt_ns)):
      assert max(ratios(time_scales.steps_between(*pair))) <= 20.001


def test_what_lies_between_divides():
  primes = [n for n in range(21, 2000) if all(n % k for k in range(2, n))]
  for count in range(2, 2000):
    if any(count % prime == 0 for prime in primes):
      with pytest.raises(InputError, match='a prime number above 20'):
        time_scales.steps_between(0.01 * count, 0.01)
      continue
    steps = time_scales.steps_between(0.01 * count, 0.01)
    assert steps[0] == pytest.approx(0.01 * count, rel=1e-8)
    assert steps[-1] == 0.01
    whole = [round(ratio) for ratio in ratios(steps)]
    assert ratios(steps) == pytest.approx(whole, rel=1e-6)
    assert np.prod(whole) == count
    assert all(number <= 20 for number in whole)


def any_config():
  config = config_lib.any_step_config(0.01, 5.0)
  config.level.any.update(noise_max=0.07, translation_std=0.3)
  return config


def test_a_model_of_any_time_step_is_one_level():
  config = any_config()
  config_lib.check(config)
  assert time_scales.has_any_step(config)
  assert config.levels == (time_scales.LEVEL,)
  assert (config.lags_ns, config.prior, config.level.any.dt_ns) == ((0.01, 5.0), 'elastic', 0.01)
  assert not time_scales.has_any_step(builders.small_config())
  assert not time_scales.has_any_step(config_lib.paper_model_config())
  assert config_lib.from_dict(config_lib.to_dict(config)) == config


@pytest.mark.parametrize('frozen', [False, True])
def test_there_and_back(frozen):
  config = config_lib.freeze(any_config()) if frozen else any_config()
  before = config_lib.to_dict(config)
  parameters = object()
  found, params = time_scales.at(config, {'any': parameters}, (4.0, 0.2, 0.01))
  config_lib.check(found)
  assert found.levels == ('coarse_2', 'coarse', 'fine')
  assert set(found.level) == set(params) == set(found.levels)
  assert {name: found.level[name].dt_ns for name in found.levels} == {
    'coarse_2': 4.0,
    'coarse': 0.2,
    'fine': 0.01,
  }
  # One set of parameters, and one of settings but for the time step.
  assert all(params[name] is parameters for name in params)
  for section in found.level.values():
    changed = config_lib.to_dict(section) | {'dt_ns': 0.01}
    assert changed == before['level']['any']
  # Not views of one section.
  found.level.coarse.noise_max = 1.0
  assert found.level.fine.noise_max == 0.07
  found.level.coarse.noise_max = 0.07
  assert config_lib.to_dict(config) == before
  again, params = time_scales.at(found, params, (0.5,))
  assert again.levels == ('fine',)
  assert again.level.fine.dt_ns == 0.5
  back, params = time_scales.as_trained(again, params)
  assert config_lib.to_dict(back) == before
  assert params == {'any': parameters}


@pytest.mark.parametrize('steps', [(0.009,), (5.1, 0.3), (0.2, -0.01), (float('nan'),)])
def test_steps_that_were_not_learnt(steps):
  wrong = max(steps) if max(steps) > 5.0 else steps[-1]
  with pytest.raises(
    InputError, match=f'dt_ns = {wrong:g}: this model has learnt steps of 0.01 to 5 ns: choose'
  ):
    time_scales.at(any_config(), {'any': {}}, steps)
  # Files hold times in float32.
  for dt_ns in (0.01 * (1 - 1e-6), 5.0 * (1 + 1e-6)):
    time_scales.check_step(any_config(), float(dt_ns))


def test_names_of_levels():
  assert [time_scales.name_of(k, 4) for k in range(4)] == ['coarse_3', 'coarse_2', 'coarse', 'fine']
  assert time_scales.name_of(0, 1) == 'fine'


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'lags_ns': (0.2, 0.01)}, r'lags_ns = \(0.2, 0.01\): give the shortest and the longest'),
    ({'lags_ns': (0.01, 0.01)}, 'give the shortest and the longest lag time'),
    ({'lags_ns': (0.0, 1.0)}, 'give the shortest and the longest lag time'),
    ({'lags_ns': (1.0,)}, 'give the shortest and the longest lag time'),
    ({'prior': 'still'}, "prior = 'still': a model of any time step .* needs 'elastic'"),
    ({'anchors': 'start', 'reference': False}, "anchors = 'start': .* needs 'both'"),
    ({'objective': 'energy_score'}, "objective = 'energy_score': .* needs 'flow_matching'"),
  ],
)
def test_settings_that_do_not_go_together(change, message):
  config = any_config()
  config.update(change)
  with pytest.raises(InputError, match=message) as error:
    config_lib.check(config)
  assert '\n' not in str(error.value)

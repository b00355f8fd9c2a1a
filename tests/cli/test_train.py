"""`tempo-jax train`: where its configuration comes from. What it trains: tests/training."""

import sys

import pytest
from absl import flags

from tempo_jax import config as config_lib
from tempo_jax.cli import train
from tempo_jax.configs import quickstart
from tempo_jax.errors import InputError
from tests.cli import commands
from tests.cli.test_command import ROOT, tempo_jax


@pytest.fixture
def parse(monkeypatch):
  """The flags from the command line, where config_flags looks for --config.NAME=VALUE."""

  def parse(*args):
    monkeypatch.setattr(sys, 'argv', ['tempo-jax', 'train', *args])
    return commands.parse(train, *args)

  return parse


def as_dict(config):
  return config_lib.to_dict(config)


# How ml_collections loads a configuration file.
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
class TestConfig:
  @pytest.mark.parametrize('variant', ['', ':scale=fine'])
  def test_name_and_file_are_the_same(self, variant, parse, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / 'mine.py'
    own.write_text('from tempo_jax.configs.quickstart import get_config')
    expected = as_dict(quickstart.get_config(variant[1:]))
    for place in ('quickstart', ROOT / 'experiments/configs/quickstart.py', 'mine.py', own):
      assert as_dict(parse(f'--config={place}{variant}').config) == expected

  def test_settings_are_changed_one_by_one(self, parse):
    args = ('--config=tiny', '--config.train.num_steps=3', '--config.model.level.fine.dt_ns=0.02')
    config = parse(*args).config
    assert config.train.num_steps == 3
    assert config.model.level.fine.dt_ns == 0.02
    with pytest.raises(AttributeError):
      config.train.num_stpes = 4

  def test_unknown_settings_are_refused(self, parse):
    with pytest.raises(AttributeError, match='Did you mean "num_steps"'):
      parse('--config=tiny', '--config.train.num_stpes=3')

  @pytest.mark.parametrize(
    ('name', 'message'),
    [
      ('quickstrat', 'no such file or configuration: did you mean quickstart?'),
      ('zzz:scale=fine', 'give a file, or one of atlas, default_model, finetune, mdcath, quick'),
      ('common', 'no such file or configuration'),
      ('gone.py', 'no such file or configuration'),
    ],
  )
  def test_unknown_configurations_are_refused(self, name, message, parse):
    with pytest.raises(flags.IllegalFlagValueError, match=message):
      parse(f'--config={name}')

  @pytest.mark.parametrize(
    ('text', 'message'),
    [
      ('def get_config(:', r'mine.py cannot be used \(SyntaxError: invalid syntax'),
      ('import nowhere', r'mine.py cannot be used \(ModuleNotFoundError: No module named'),
    ],
  )
  def test_broken_configurations_are_refused(self, text, message, parse, tmp_path):
    (tmp_path / 'mine.py').write_text(text)
    with pytest.raises(flags.IllegalFlagValueError, match=message):
      parse(f'--config={tmp_path}/mine.py')

  def test_help_lists_the_shipped_ones(self):
    help_text = commands.parse(train)['config'].help
    for name in ('quickstart', 'finetune', 'mdcath', 'atlas'):
      assert f'\n  {name}: ' in help_text
    assert 'quickstart: Your own MD of a small protein' in help_text


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--config=tiny'], '--config and --workdir are required'),
    (['--workdir=run'], '--config and --workdir are required'),
    (['--config=tiny', '--workdir=gs://bucket/run'], 'a local or mounted folder'),
  ],
)
@pytest.mark.filterwarnings('ignore:the load_module:DeprecationWarning')
def test_mistakes(args, message, parse):
  with pytest.raises(InputError, match=message):
    train.main(parse(*args))


def test_shipped_configurations_are_found_outside_a_clone(tmp_path):
  done = tempo_jax('train', '--config=quickstart:scale=fine', '--workdir=run', cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1].startswith('error: config.data.store is empty')
  assert not list(tmp_path.iterdir())

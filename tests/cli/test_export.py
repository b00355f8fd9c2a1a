"""`tempo-jax export`."""

import pathlib

import jax
import numpy as np
import pytest

import tempo_jax
from tempo_jax.cli import export
from tempo_jax.errors import InputError
from tempo_jax.output import provenance
from tests.cli import commands


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  directory = tmp_path_factory.mktemp('models') / 'trained'
  commands.save_model(directory)
  return directory


def assert_same_model(one, other):
  one, other = tempo_jax.load_model(one), tempo_jax.load_model(other)
  assert one.config == other.config
  jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def test_exports_configuration_and_parameters(trained, tmp_path, capsys):
  out = tmp_path / 'new' / 'model'
  export.main(commands.parse(export, f'--model={trained}', f'--out={out}'))
  assert sorted(file.name for file in out.iterdir()) == ['config.json', 'params.npz']
  assert_same_model(trained, out)
  assert f'tempo-jax sample --model={out}' in capsys.readouterr().out


def test_a_calibrated_model_has_its_gain(trained, tmp_path):
  stay = '--rotamer_stay=0.01:3:0.5:-2,0.2:1:-1:0'
  export.main(
    commands.parse(export, f'--model={trained}', f'--out={tmp_path / "a"}', '--gain=1.2,1', stay)
  )
  model, before = (tempo_jax.load_model(x) for x in (tmp_path / 'a', trained))
  assert tuple(model.config.memory.gain) == (1.2, 1.0)
  assert tuple(before.config.memory.gain) == (1.0, 1.0)
  jax.tree.map(np.testing.assert_array_equal, model.params, before.params)
  assert model.config.rotamer_stay == ((0.01, 3.0, 0.5, -2.0), (0.2, 1.0, -1.0, 0.0))
  assert before.config.rotamer_stay == ()
  stay = '--rotamer_stay=0.01:5:1:-1:3:0.5:-2'
  export.main(commands.parse(export, f'--model={tmp_path / "a"}', f'--out={tmp_path / "b"}', stay))
  both = tempo_jax.load_model(tmp_path / 'b')
  assert both.config.rotamer_stay == ((0.01, 5, 1, -1, 3, 0.5, -2),)
  halfway, back = model.calibrated((1.0, 1.0)), model.calibrated((1.0, 1.0), ())
  for wrong in (0.5, [0.01, 3.0, 0.5, -1.0]):
    with pytest.raises(InputError, match='give rows of a lag in ns'):
      model.calibrated(rotamer_stay=wrong)
  checksums = {provenance.model_sha256(x) for x in (model, both, halfway, before, back)}
  assert len(checksums) == 4


def test_a_used_directory_is_refused_and_stays(trained, tmp_path):
  (tmp_path / 'mine.txt').write_text('mine')
  with pytest.raises(InputError, match=str(tmp_path)):
    export.main(commands.parse(export, f'--model={trained}', f'--out={tmp_path}'))
  assert [file.name for file in tmp_path.iterdir()] == ['mine.txt']


def test_replaces_a_model_and_leaves_what_stands_beside_it(trained, tmp_path):
  bundled = tmp_path / 'default'
  bundled.mkdir()
  for name in ('config.json', 'params.npz', 'MODEL_CARD.md'):
    (bundled / name).write_text('old')
  export.replace(tempo_jax.load_model(trained), bundled)
  assert_same_model(trained, bundled)
  assert (bundled / 'MODEL_CARD.md').read_text() == 'old'
  assert [file.name for file in tmp_path.iterdir()] == ['default']


def test_what_cannot_be_put_in_its_place_leaves_the_old_one(trained, tmp_path, monkeypatch):
  bundled = tmp_path / 'default'
  bundled.mkdir()
  (bundled / 'config.json').write_text('old')
  rename = pathlib.Path.rename

  def fail_for_new(path, target):
    if path.name == 'new':
      raise OSError(28, 'No space left on device')
    return rename(path, target)

  model = tempo_jax.load_model(trained)
  monkeypatch.setattr(pathlib.Path, 'rename', fail_for_new)
  with pytest.raises(InputError, match=f'{bundled}.*No space left'):
    export.replace(model, bundled)
  assert [file.name for file in tmp_path.rglob('*')] == ['default', 'config.json']
  assert (bundled / 'config.json').read_text() == 'old'


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], '--model is missing'),
    (['--model=default'], 'either --out=DIR or --bundle'),
    (['--model=default', '--out=x', '--bundle'], 'either --out=DIR or --bundle'),
    (['--model=nowhere', '--out=x'], 'no model at nowhere'),
    (['--model=default', '--out=x', '--gain=1.2'], '--gain=1.2: give two numbers'),
    (['--model=default', '--out=x', '--rotamer_stay=1.5'], '--rotamer_stay=1.5: give a lag in ns'),
    (
      ['--model=default', '--out=x', '--rotamer_stay=0.1:1:0:0,0.01:2:0:0'],
      '--rotamer_stay=0.1:1:0:0,0.01:2:0:0: .* lags ascending',
    ),
    (['--model=default', '--out=x', '--gain=1.2,wide'], '--gain=1.2,wide: give two numbers'),
    (
      ['--model=default', '--out=x', '--gain=1.2,-1'],
      'memory.gain = .*: give two numbers above zero',
    ),
  ],
)
def test_mistakes(args, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=message):
    export.main(commands.parse(export, *args))
  assert not list(tmp_path.iterdir())

"""The frame of all commands: `tempo-jax`, help, exit codes, plain arguments."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tempo_jax import version
from tempo_jax.cli import command, main
from tests.cli import commands

ROOT = pathlib.Path(__file__).parents[2]


def tempo_jax(*args, cwd=None):
  """`tempo-jax ARGS` in a process of its own, of this clone wherever it runs."""
  return subprocess.run(
    [sys.executable, '-m', 'tempo_jax', *map(str, args)],
    env={**os.environ, 'PYTHONPATH': str(ROOT)},
    capture_output=True,
    text=True,
    cwd=cwd,
  )


def test_version_and_help_come_without_jax():
  code = 'import sys\nfrom tempo_jax.cli import main\nmain.run()\nassert "jax" not in sys.modules\n'
  for arg, expected in (('--version', version.__version__), ('--help', 'COMMAND')):
    done = subprocess.run([sys.executable, '-c', code, arg], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, '')
    assert expected in done.stdout


_WAITS = """
import pathlib, signal, sys, time, types
from tempo_jax.cli import command

# As in a shell's foreground: jobs in the background, and below nohup, ignore some.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def main(values):
  half_done = pathlib.Path(sys.argv[1])
  half_done.touch()
  try:
    print('ready', flush=True)
    time.sleep(60)
  finally:
    half_done.unlink()

waits = types.ModuleType('waits', 'Waits.')
waits.define_flags, waits.main = lambda values: None, main
command.launch(waits, 'waits', [])
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_in_one_line(tmp_path, number):
  with subprocess.Popen(
    [sys.executable, '-c', _WAITS, str(tmp_path / 'half_done')],
    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
  ) as process:  # fmt: skip
    try:
      assert process.stdout.readline() == 'ready\n'
      process.send_signal(number)
      _, said = process.communicate(timeout=30)
    finally:
      process.kill()
  assert (process.returncode, said) == (130, 'stopped; what is complete is kept\n')
  assert not list(tmp_path.iterdir())


_DROPS = """
import gc, signal, sys, time, types
from tempo_jax.cli import command

class Dropping:
  def __del__(self):
    signal.raise_signal(signal.SIGTERM)

def collected(phase, info):
  if gc.callbacks:
    gc.callbacks.clear()
    signal.raise_signal(signal.SIGTERM)

def main(values):
  if sys.argv[1] == 'destructor':
    Dropping()
  else:
    gc.callbacks[:] = [collected]
    gc.collect()
  print('goes on', flush=True)
  time.sleep(60)

drops = types.ModuleType('drops', 'Drops.')
drops.define_flags, drops.main = lambda values: None, main
command.launch(drops, 'drops', [])
"""


@pytest.mark.parametrize('where', ['destructor', 'collector'])
def test_signals_that_python_drops_come_again(where):
  """JAX calls Python from the garbage collector, after all that takes long."""
  command = [sys.executable, '-c', _DROPS, where]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
  assert (done.returncode, done.stderr) == (130, 'stopped; what is complete is kept\n')


def test_help_has_a_line_for_each_command():
  done = tempo_jax('--help')
  assert (done.returncode, done.stderr) == (0, '')
  for name in main.COMMANDS:
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(f'  {name} '))
    assert len(line) <= 100
    assert len(line.split()) > 3
  assert tempo_jax().stdout == tempo_jax('-h').stdout == done.stdout


@pytest.mark.parametrize('name', main.COMMANDS)
def test_help_of_a_command_is_short_and_complete(name, monkeypatch):
  monkeypatch.setenv('COLUMNS', '200')
  module = importlib.import_module(f'tempo_jax.cli.{name.replace(" ", "_").replace("-", "_")}')
  values = commands.parse(module)
  text = command.help_text(module, values, list(values), f'tempo-jax {name}')
  assert text.startswith(f'usage: tempo-jax {name} [')
  assert max(map(len, text.splitlines())) <= 100
  for flag in values:
    assert f'  --{flag}=' in text or f'  --[no]{flag}\n' in text


def test_help_says_defaults_and_wraps_to_the_terminal(monkeypatch):
  monkeypatch.setenv('COLUMNS', '60')
  done = tempo_jax('sample', '--help')
  assert (done.returncode, done.stderr) == (0, '')
  _, flags = done.stdout.split('\nFlags:\n')
  assert '  --num_frames=N\n      Frames per replica' in flags
  assert 'Default: 400.' in flags
  assert '  --[no]report\n' in flags
  assert '  --format=xtc|dcd|pdb|h5\n' in flags
  assert max(map(len, flags.splitlines()[:-1])) <= 60
  for absl_flag in ('pdb_post_mortem', 'verbosity', 'only_check_args', 'helpxml'):
    assert absl_flag not in done.stdout


def test_helpfull_shows_everything():
  done = tempo_jax('sample', '--helpfull')
  assert (done.returncode, done.stderr) == (0, '')
  for flag in (
    '--structure',
    '--seed',
    '--compilation_cache_dir',
    '--verbosity',
    'pdb_post_mortem',
  ):
    assert flag in done.stdout


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['sampel'], "error: no command 'sampel': did you mean sample?"),
    (['mdcath'], "error: no command 'mdcath': did you mean prepare mdcath?"),
    (['prepare', 'slpit'], "error: no command 'prepare slpit': did you mean prepare split?"),
    (['prepare', '--store=x'], "error: no command 'prepare --store=x': tempo-jax --help lists"),
    (['qqq'], "error: no command 'qqq': tempo-jax --help lists all"),
    (['--foo'], "error: no command '--foo': tempo-jax --help lists all"),
    (['upsample', 'a.pdb'], "error: unexpected argument 'a.pdb': every option is a --flag"),
    (
      ['sample', 'a.pdb', '--structure=b.pdb'],
      "error: unexpected argument 'a.pdb' beside --struct",
    ),
    (['sample', '--num_frmaes=3'], "error: Unknown command line flag 'num_frmaes'. Did you mean"),
    (['sample', '--num_frames=0'], 'error: flag --num_frames=0: '),
    (['sample', 'none.pdb'], 'error: no such structure file: none.pdb'),
  ],
)
def test_mistakes_end_in_one_line(args, message, tmp_path):
  done = tempo_jax(*args, cwd=tmp_path)
  assert done.returncode == 2
  assert done.stderr.startswith(message)
  assert done.stderr.count('\n') == 1
  assert not list(tmp_path.iterdir())

"""`tempo-jax COMMAND`: finds the command's module, imports it, and hands over the rest."""

import difflib
import importlib
import pathlib
import sys
from collections.abc import Sequence

from tempo_jax.cli import command
from tempo_jax.version import __version__

COMMANDS = (
  *('sample', 'upsample', 'side-chains', 'relax'),
  *('evaluate', 'train', 'export', 'benchmark', 'cache'),
  *('prepare trajectories', 'prepare mdcath', 'prepare atlas'),
  *('prepare simulate', 'prepare split', 'prepare inspect'),
)
"""`sample` is the module `tempo_jax.cli.sample`, `prepare split` is `prepare_split` there."""


def run() -> None:
  """Runs the command line of this process."""
  arguments = sys.argv[1:]
  if arguments[:1] == ['--version']:
    print(f'tempo-jax {__version__}')
    return
  first = ' '.join(arguments[:1])
  group = [name for name in COMMANDS if name.startswith(f'{first} ')]
  if not arguments or command.asks_for_help(first) or first == '--helpfull':
    print(_help(COMMANDS))
    return
  if group and (len(arguments) == 1 or command.asks_for_help(arguments[1])):
    print(_help(group))
    return
  name = ' '.join(arguments[: 2 if group else 1])
  if name not in COMMANDS:
    command.refuse(_unknown(name))
  # Only now: most commands need jax, which takes seconds to import.
  module = importlib.import_module(f'tempo_jax.cli.{_module(name)}')
  command.launch(module, f'tempo-jax {name}', arguments[len(name.split()) :])


def _module(name: str) -> str:
  return name.replace(' ', '_').replace('-', '_')


def _help(names: Sequence[str]) -> str:
  folder = pathlib.Path(__file__).parent
  lines = [
    f'  {name:22}{command.summary(folder / f"{_module(name)}.py").rstrip(".")}' for name in names
  ]
  return '\n'.join(
    [
      'usage: tempo-jax COMMAND [--FLAG=VALUE ...]',
      '',
      'Generative protein dynamics at several time scales.',
      '',
      'Commands:',
      *lines,
      '',
      'tempo-jax COMMAND --help lists the flags of a command; tempo-jax --version.',
    ]
  )


def _unknown(name: str) -> str:
  names = {known.split()[-1]: known for known in COMMANDS}
  near = difflib.get_close_matches(name.split()[-1], names, n=1)
  hint = f'did you mean {names[near[0]]}?' if near else 'tempo-jax --help lists all'
  return f'no command {name!r}: {hint}'

"""The frame of every command: flags, help, plain arguments, one-line errors and exit codes.

A command is a module with

    a docstring             the text of --help; its first line is the summary in lists of commands
    define_flags(values)    defines the flags in the given FlagValues
    main(values)            does the work, and returns the exit code; None is 0
    PLAIN_ARGUMENTS         optional: the flag that arguments without dashes are the values of

and `launch` runs it. Functions that other processes call by name (Dask) stand in other modules.
"""

import _thread
import ast
import contextlib
import logging
import os
import pathlib
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from absl import app, flags
from absl import logging as absl_logging

from tempo_jax.compilation import interruption
from tempo_jax.errors import InputError

_NARROWEST, _WIDEST = 40, 100
# Until a signal that came to nothing comes again.
_AGAIN_SECONDS = 0.05


def launch(
  command: Any, program: str | None = None, arguments: Sequence[str] | None = None
) -> None:
  """Runs a command and ends the process with its exit code.

  An `InputError` or a bad flag ends in one line on stderr and exit code 2; Ctrl-C, SIGTERM and
  SIGHUP (the end of a batch job, of a session) in one line and exit code 130. The line is the
  message of the KeyboardInterrupt where it has one.

  Args:
    command: the module.
    program: how it was called, for its help. Default: `python -m MODULE`.
    arguments: of the command line, without the program's name. Default: those of this process.
  """
  values = flags.FLAGS
  known = set(values)
  command.define_flags(values)
  own = [name for name in values if name not in known]
  program = program or _module_launch()

  def parse(argv: Sequence[str]) -> list[str]:
    options = list(_options(argv[1:]))
    if any(asks_for_help(option) for option in options):
      print(help_text(command, values, own, program), flush=True)
      sys.exit(0)
    if '--helpfull' in options:
      app.usage(writeto_stdout=True, exitcode=0)
    return _parse(values, argv)

  def main(argv: Sequence[str]) -> int | None:
    _fill_in(command, values, argv[1:])
    # Our own progress is shown; absl's INFO, to which libraries write pages, is not, unless
    # --verbosity asks for it.
    if not values['verbosity'].present:
      absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger('tempo_jax').setLevel(logging.INFO)
    with _stopped_as_by_ctrl_c():
      return command.main(values)

  given = sys.argv[1:] if arguments is None else arguments
  try:
    app.run(main, argv=[sys.argv[0], *given], flags_parser=parse)
  except InputError as error:
    refuse(str(error))
  except KeyboardInterrupt as stopped:
    print(str(stopped) or 'stopped; what is complete is kept', file=sys.stderr)
    if interruption.is_left():
      _end_now(130)
    sys.exit(130)
  except BrokenPipeError:
    # The reader of our output went away (e.g. `| head`); not our failure.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _stopped_as_by_ctrl_c() -> Iterator[None]:
  """SIGTERM and SIGHUP raise KeyboardInterrupt as SIGINT does: what is half done is cleared away.

  Whoever has them ignored (nohup) or handled keeps that. Python drops what is raised in a
  destructor or in a callback of the garbage collector, such as JAX's: the signal then comes again.
  """
  names = ('SIGINT', 'SIGTERM', 'SIGHUP')  # Unix has all of them.
  numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
  before = {number: signal.getsignal(number) for number in numbers}
  taken = [n for n in numbers if before[n] in (signal.SIG_DFL, signal.default_int_handler)]
  heard: list[int] = []

  def stop(number: int, frame: Any) -> None:
    heard.append(number)
    raise KeyboardInterrupt

  def dropped(unraisable: Any) -> None:
    if heard and issubclass(unraisable.exc_type, KeyboardInterrupt):
      again = threading.Timer(_AGAIN_SECONDS, _signal_main_thread, heard[-1:])
      again.daemon = True
      again.start()
    else:
      hook(unraisable)

  for number in taken:
    signal.signal(number, stop)
  hook, sys.unraisablehook = sys.unraisablehook, dropped
  try:
    yield
  finally:
    sys.unraisablehook = hook
    for number in taken:
      signal.signal(number, before[number])


def _signal_main_thread(number: int) -> None:
  if hasattr(signal, 'pthread_kill'):  # Unix: it interrupts a system call, too.
    signal.pthread_kill(threading.main_thread().ident or 0, number)
  else:
    _thread.interrupt_main(signal.Signals(number))


def asks_for_help(argument: str) -> bool:
  """Whether it is --help or an abbreviation."""
  return argument in ('--help', '-help', '--helpshort', '--h', '-h', '-?')


def refuse(message: str) -> None:
  """Ends the process with one line on stderr and exit code 2."""
  print('error: ' + ' '.join(message.split()), file=sys.stderr, flush=True)
  sys.exit(2)


def _end_now(code: int) -> None:
  """Ends the process without waiting for what the compiler and the devices are still at."""
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
      stream.flush()
  os._exit(code)


def define_topology_flag(values: flags.FlagValues) -> None:
  """Defines `--topology` of commands that read a trajectory."""
  flags.DEFINE_string(
    'topology',
    None,
    'Structure with the atoms of the trajectory in their order: PDB, GRO, HDF5, PRMTOP, ... '
    'Required.',
    flag_values=values,
  )


def require(values: flags.FlagValues, *names: str) -> None:
  """Refuses a command line without a flag that has no default.

  Raises:
    InputError: one of the flags is missing or empty.
  """
  for name in names:
    if not values[name].value:
      raise InputError(f'--{name} is missing: --help says what it takes')


def summary(source: pathlib.Path) -> str:
  """The first line of a module's docstring, without importing the module."""
  docstring = ast.get_docstring(ast.parse(source.read_text(encoding='utf-8'))) or ''
  return docstring.partition('\n')[0]


def help_text(command: Any, values: flags.FlagValues, names: Sequence[str], program: str) -> str:
  """What --help prints.

  Args:
    command: the module.
    values: that hold its flags.
    names: of its own flags, in the order to list them.
    program: how it was called.
  """
  plain = getattr(command, 'PLAIN_ARGUMENTS', None)
  arguments = f'[{plain.upper()} ...] ' if plain else ''
  blocks = [f'usage: {program} {arguments}[--FLAG=VALUE ...]', (command.__doc__ or '').strip()]
  blocks.append('\n'.join(['Flags:', *(_describe(values[name]) for name in names)]))
  blocks.append('--helpfull also lists the flags of absl: logging, debugging, profiling.')
  return '\n\n'.join(blocks)


def _describe(flag: flags.Flag) -> str:
  width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
  indented = textwrap.TextWrapper(width, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
  text = flag.help or ''
  default = flag.default
  if 'Default:' not in text and default not in (None, '', []):
    shown = {True: 'on', False: 'off'}[default] if flag.boolean else default
    text += f' Default: {",".join(map(str, shown)) if isinstance(shown, list) else shown}.'
  head = f'--[no]{flag.name}' if flag.boolean else f'--{flag.name}={_kind(flag)}'
  lines = [line for paragraph in text.split('\n') for line in indented.wrap(paragraph)]
  return '\n'.join([f'  {head}', *lines])


def _kind(flag: flags.Flag) -> str:
  if isinstance(flag.parser, flags.EnumParser):
    return '|'.join(flag.parser.enum_values)
  kinds = {'int': 'N', 'float': 'X', 'comma separated list of strings': 'A,B,...'}
  return kinds.get(flag.flag_type(), 'TEXT')


def _module_launch() -> str:
  """`python -m NAME`, of the module that was started."""
  spec = getattr(sys.modules['__main__'], '__spec__', None)
  return f'python -m {spec.name.removesuffix(".__main__")}' if spec else f'python {sys.argv[0]}'


def _options(arguments: Sequence[str]) -> Iterator[str]:
  """Arguments with dashes, up to a bare `--`."""
  for argument in arguments:
    if argument == '--':
      return
    if argument.startswith('-'):
      yield argument


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> list[str]:
  try:
    return values(argv)
  except Exception as error:  # Parsing runs configuration files, which may raise anything.
    what = str(error)
    if 'Traceback' in what:  # config_flags quotes a whole traceback; its last line says what.
      what = what.strip().splitlines()[-1].removeprefix('tempo_jax.errors.InputError: ')
    elif isinstance(error, AttributeError | KeyError | TypeError):
      what = f'a --config.NAME=VALUE flag does not fit the configuration: {what}'
    refuse(f'{what}; --help lists every flag')
    raise AssertionError('unreachable') from error


def _fill_in(command: Any, values: flags.FlagValues, plain: Sequence[str]) -> None:
  """Plain arguments become the value of their flag.

  Raises:
    InputError: the command takes none (a flag that misses its dashes would silently do nothing),
      or the flag is given too.
  """
  if not plain:
    return
  name = getattr(command, 'PLAIN_ARGUMENTS', None)
  if name is None:
    raise InputError(f'unexpected argument {plain[0]!r}: every option is a --flag; see --help')
  if values[name].present:
    raise InputError(f'unexpected argument {plain[0]!r} beside --{name}: give one of them')
  values[name].value = ','.join(plain)

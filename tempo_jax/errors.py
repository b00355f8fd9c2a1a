"""A user's mistake, and how a command line reports it: one line, exit code 2."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags
from absl import logging as absl_logging


class InputError(ValueError):
  """Something that the user gave is wrong; the message says what, where, what to do."""


def first_few(names: Sequence[str], limit: int = 8) -> str:
  """Names for a message, the rest of many as a number: 'A, B and 3 more'."""
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return ', '.join(names[:limit]) + more


def _parse_flags(argv: Sequence[str]) -> list[str]:
  if _wants_help(argv):
    return app.parse_flags_with_usage(list(argv))
  try:
    return flags.FLAGS(argv)
  except Exception as error:  # Parsing runs configuration files, which may raise anything.
    what = str(error)
    if 'Traceback' in what:  # config_flags quotes a whole traceback; its last line says what.
      what = what.strip().splitlines()[-1].removeprefix('tempo_jax.errors.InputError: ')
    elif isinstance(error, AttributeError | KeyError | TypeError):
      what = f'a --config.NAME=VALUE flag does not fit the configuration: {what}'
    _exit_with(f'{what}; --help lists every flag')
    raise AssertionError('unreachable') from error


def _wants_help(argv: Sequence[str]) -> bool:
  return any(arg.lstrip('-').split('=')[0].startswith('help') for arg in argv[1:])


def _exit_with(message: str):
  print('error: ' + ' '.join(str(message).split()), file=sys.stderr, flush=True)
  sys.exit(2)


def run(main: Callable[[Sequence[str]], None]) -> None:
  """Runs an absl main; an `InputError` or a bad flag ends in one line and exit code 2.

  Ctrl-C ends in one line too, and exit code 130.

  Args:
    main: takes the arguments left over after flag parsing. Leftovers are
      refused, since a flag that misses its dashes would silently do nothing.
  """

  def guarded(argv: Sequence[str]) -> None:
    try:
      if len(argv) > 1:
        raise InputError(f'unexpected argument {argv[1]!r}: every option is a --flag; see --help')
      # Our own progress is shown; absl's INFO, to which libraries write pages, is not, unless
      # --verbosity asks for it.
      if not flags.FLAGS['verbosity'].present:
        absl_logging.set_verbosity(absl_logging.WARNING)
      logging.getLogger('tempo_jax').setLevel(logging.INFO)
      main(argv)
    except InputError as error:
      _exit_with(str(error))
    except KeyboardInterrupt:
      print('stopped; what is complete is kept', file=sys.stderr)
      sys.exit(130)
    except BrokenPipeError:
      # The reader of our output went away (e.g. `| head`); not our failure.
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

  app.run(guarded, flags_parser=_parse_flags)

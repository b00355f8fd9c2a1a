"""What README.md and docs/ say that can be checked: code, commands, flags, settings, links."""

import contextlib
import dataclasses
import pathlib
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator

import pytest
from absl import flags
from ml_collections import config_flags

from tempo_jax import errors
from tempo_jax.cli import command

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = ('README.md', *sorted(f'docs/{path.name}' for path in ROOT.glob('docs/*.md')))


@dataclasses.dataclass(frozen=True)
class Block:
  """A fenced block of code."""

  language: str
  text: str


def blocks(document: str) -> list[Block]:
  """The fenced blocks of a document, in order."""
  found = re.findall(r'^```(\S*)\n(.*?)^```$', _text(document), re.MULTILINE | re.DOTALL)
  return [Block(language, text) for language, text in found]


def prose(document: str) -> str:
  """A document without its fenced blocks."""
  return re.sub(r'^```.*?^```$', '', _text(document), flags=re.MULTILINE | re.DOTALL)


def code_spans(document: str) -> list[str]:
  """What stands between backticks in the prose, on one line."""
  return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', prose(document))]


def commands(text: str) -> list[list[str]]:
  """The commands of a piece of shell, split into words; `&&`, `;` and line ends separate them."""
  found: list[list[str]] = []
  for line in text.replace('\\\n', ' ').splitlines():
    lexer = shlex.shlex(line, posix=True, punctuation_chars='&;|')
    lexer.whitespace_split = True
    found.append([])
    for word in lexer:
      if set(word) <= set('&;|'):
        found.append([])
      else:
        found[-1].append(word)
  return [words for words in found if words]


def spoken_commands(document: str) -> list[list[str]]:
  """What looks like a command in the prose."""
  spans = [span for span in code_spans(document) if re.match(r'(python|pip|srun|sbatch) ', span)]
  return [command for span in spans for command in commands(span)]


def all_commands(document: str) -> list[list[str]]:
  """Those of the shell blocks, and of the prose."""
  shell = [block.text for block in blocks(document) if block.language == 'bash']
  return [words for text in shell for words in commands(text)] + spoken_commands(document)


def links(document: str) -> list[str]:
  """Targets of links and pictures."""
  return re.findall(r'\]\(([^)\s]+)\)', prose(document))


def headings(document: str) -> set[str]:
  """The anchors that GitHub makes of headings."""
  titles = re.findall(r'^#+ (.+)$', prose(document), re.MULTILINE)
  return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def _text(document: str) -> str:
  return (ROOT / document).read_text()


def module_of(words: list[str]) -> tuple[str, list[str]] | None:
  """The module and the arguments of `[srun ...] python -m MODULE ...`; None of other commands."""
  words = list(words)
  if words[0] == 'srun':
    words = words[1:]
    while words[0].startswith('-'):
      words = words[1:]
  return (words[2], words[3:]) if words[:2] == ['python', '-m'] else None


@contextlib.contextmanager
def binary(module: str, arguments: list[str]) -> Iterator[tuple[Callable, flags.FlagValues]]:
  """A binary as `python -m` runs it, up to its main: main, and the flags, parsed.

  The flags are not those of the process: binaries have flags of the same names.
  """
  values = flags.FlagValues()

  def defining_in_values(define):
    return lambda *args, **kwargs: define(*args, **{'flag_values': values, **kwargs})

  mains: list[Callable] = []

  def launch(command):
    command.define_flags(values)
    mains.append(command.main)

  with pytest.MonkeyPatch.context() as patch:
    for kind in ('string', 'list', 'multi_string', 'enum', 'integer', 'float', 'bool'):
      name = f'DEFINE_{kind}'
      patch.setattr(flags, name, defining_in_values(getattr(flags, name)))
    define = config_flags.DEFINE_config_file
    patch.setattr(config_flags, 'DEFINE_config_file', defining_in_values(define))
    patch.setattr(flags, 'FLAGS', values)
    patch.setattr(errors, 'run', lambda main: mains.append(lambda values: main([])))
    patch.setattr(command, 'launch', launch)
    patch.setattr(sys, 'argv', [module, *arguments])
    with warnings.catch_warnings():
      # Binaries import themselves, so that other processes find their functions.
      warnings.filterwarnings('ignore', '.* found in sys.modules', RuntimeWarning)
      # How ml_collections loads a configuration file.
      warnings.filterwarnings('ignore', 'the load_module', DeprecationWarning)
      runpy.run_module(module, run_name='__main__')
      left = values([module, *arguments])[1:]
    assert not left, f'{module}: what is not a --flag does nothing: {left}'
    (main,) = mains
    yield main, values

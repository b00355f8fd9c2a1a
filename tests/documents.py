"""What the documents say that can be checked: code, commands, flags, settings, links."""

import contextlib
import dataclasses
import importlib.util
import pathlib
import re
import runpy
import shlex
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from absl import flags

from tempo_jax.cli import command
from tempo_jax.cli import main as cli_main

ROOT = pathlib.Path(__file__).parents[1]
WALKED = ('README.md', *sorted(f'docs/{path.name}' for path in ROOT.glob('docs/*.md')))
"""Pages to follow from top to bottom: each block works with what those before it have made."""
DOCUMENTS = (
  *WALKED,
  *sorted(f'docs/results/{path.name}' for path in ROOT.glob('docs/results/*.md')),
  *('CONTRIBUTING.md', 'CHANGELOG.md', 'WORKSPACE_NOTES.md'),
  *('data_prep/simulated/README.md', 'tempo_jax/models/default/MODEL_CARD.md'),
)


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
  """What looks like a command in the prose; NAME and COMMAND stand for any."""
  programs = r'(python|pip|srun|sbatch|pytest|tempo-jax) (?!.*(NAME|COMMAND)\b)'
  spans = [span for span in code_spans(document) if re.match(programs, span)]
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


def without_srun(words: list[str]) -> list[str]:
  """A command without the `srun --option ...` before it."""
  if words[0] == 'srun':
    program = next(i for i, word in enumerate(words) if i and not word.startswith('-'))
    return words[program:]
  return words


def is_program(words: list[str]) -> bool:
  """Whether it is a command of ours, which `parsed` reads."""
  words = without_srun(words)
  if words[0] == 'tempo-jax':
    return words[1:] not in (['prepare'], ['--version'])
  return words[:2] == ['python', '-m'] and words[2].split('.')[0] in ('experiments', 'data_prep')


def _script(name: str) -> types.ModuleType | None:
  """A module that launches itself, not another one; None for launchers."""
  spec = importlib.util.find_spec(name)
  if spec is None or spec.origin is None or spec.submodule_search_locations:
    return None
  launches_itself = 'command.launch(sys.modules[__name__])' in pathlib.Path(spec.origin).read_text()
  return importlib.import_module(name) if launches_itself else None


@contextlib.contextmanager
def parsed(words: list[str]) -> Iterator[tuple[Callable, flags.FlagValues]]:
  """A command of ours as a shell runs it, up to its main: main, and the flags, parsed.

  The flags are not those of the process: commands have flags of the same names.
  """
  words = without_srun(words)
  values = flags.FlagValues()
  launched: list[tuple[Any, Sequence[str]]] = []

  def launch(module, program=None, arguments=None):
    launched.append((module, sys.argv[1:] if arguments is None else arguments))

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(command, 'launch', launch)
    if words[0] == 'tempo-jax':
      patch.setattr(sys, 'argv', words)
      cli_main.run()
    else:
      patch.setattr(sys, 'argv', [words[2], *words[3:]])
      module = _script(words[2])
      if module is None:
        runpy.run_module(words[2], run_name='__main__')
      else:
        launched.append((module, words[3:]))
    ((module, arguments),) = launched
    module.define_flags(values)
    with warnings.catch_warnings():
      # How ml_collections loads a configuration file.
      warnings.filterwarnings('ignore', 'the load_module', DeprecationWarning)
      plain = values([words[0], *arguments])[1:]
    if plain:
      values[module.PLAIN_ARGUMENTS].value = ','.join(plain)
    yield module.main, values

"""The house: what a room may import, and that no two modules need each other."""

import ast
import functools
import graphlib
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1] / 'tempo_jax'
# From the ground up: a room imports from itself and from those before it.
ROOMS = (
  *('version', 'errors', 'extras', 'files', 'progress', 'time_scales', 'config'),
  *('geometry', 'protein', 'trajectory', 'compilation'),
  *('encoder', 'dynamics', 'paper', 'transitions', 'samplers'),
  *('store', 'models', 'metrics', 'training', 'evaluation'),
  *('output', 'report', 'workers', 'preparation', 'relaxation', 'configs', 'benchmark', 'cli'),
)
# The public names, and `python -m tempo_jax`.
_ON_TOP = {'tempo_jax', 'tempo_jax.__main__'}


def _modules() -> dict[str, pathlib.Path]:
  found = {}
  for path in PACKAGE.rglob('*.py'):
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
  return found


def _imports(path: pathlib.Path, modules: dict[str, pathlib.Path]) -> set[str]:
  """Modules of the package that a file imports, also those inside functions."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f'{path}: relative import'
      for alias in node.names:
        inner = f'{node.module}.{alias.name}'
        found.add(inner if inner in modules else str(node.module))
  return found & modules.keys()


@functools.cache
def _graph() -> dict[str, set[str]]:
  modules = _modules()
  return {name: _imports(path, modules) for name, path in modules.items()}


def _room(module: str) -> str:
  return module.split('.')[1]


def test_every_module_is_in_a_room():
  rooms = {_room(module) for module in _graph().keys() - _ON_TOP}
  assert rooms == set(ROOMS)


def test_imports_point_to_the_ground():
  rank = {room: number for number, room in enumerate(ROOMS)}
  upwards = [
    f'{module} imports {imported}'
    for module, found in _graph().items()
    for imported in found
    if module not in _ON_TOP
    and imported != 'tempo_jax'
    and rank[_room(imported)] > rank[_room(module)]
  ]
  assert not upwards


def test_nothing_below_imports_the_public_names():
  """`import tempo_jax` in a module of the package would be a circle."""
  below = {module for module in _graph().keys() - _ON_TOP if _room(module) != 'cli'}
  assert not [module for module in below if 'tempo_jax' in _graph()[module]]


def test_no_circle():
  graph = {module: found - {module} for module, found in _graph().items()}
  tuple(graphlib.TopologicalSorter(graph).static_order())


def test_only_command_lines_know_of_flags():
  flags = {'absl', 'ml_collections.config_flags'}
  for module, path in _modules().items():
    if module in _ON_TOP or _room(module) == 'cli':
      continue
    for node in ast.walk(ast.parse(path.read_text())):
      names = set()
      if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        names = {str(node.module)} | {f'{node.module}.{alias.name}' for alias in node.names}
      assert not any(name.partition('.')[0] in flags or name in flags for name in names), module

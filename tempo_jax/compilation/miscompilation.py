"""Keeps clear of a version of the compiler that computes wrong numbers."""

import importlib.metadata
import os
import pathlib
import sys
import warnings

_FLAG = '--xla_cpu_experimental_ynn_fusion_type'
_VERSION = '0.10.2'
_too_late = False


def avoid() -> None:
  """Switches off the fusions that jaxlib 0.10.2 gets wrong on CPUs (jax-ml/jax#39103).

  They make slow programs, too (docs/results/speed.md). `import tempo_jax` calls this: XLA reads its
  flags when JAX is first used. Whoever set the flag keeps it; child processes inherit it.

  Warns:
    RuntimeWarning: the flag cannot be set any more, since JAX was used before and its default
      device is a CPU; or XLA_FLAGS names a file without it.
  """
  flags = os.environ.get('XLA_FLAGS', '').strip()
  # XLA aborts on flags that it does not know: this version only.
  in_file = pathlib.Path(flags).read_text() if _is_file(flags) else ''
  if _jaxlib() != _VERSION or _FLAG in flags or _FLAG in in_file:
    return
  if _was_used():
    global _too_late
    _too_late = True
    if sys.modules['jax'].default_backend() == 'cpu':
      _warn(
        'JAX was used before tempo_jax was imported. Start Python again and import tempo_jax first,'
        f' or put XLA_FLAGS={_FLAG}= into the environment before'
      )
  elif _is_file(flags):
    _warn(f'add {_FLAG}= to {flags}, the file that XLA_FLAGS names')
  else:
    os.environ['XLA_FLAGS'] = f'{flags} {_FLAG}='.strip()


def came_too_late() -> bool:
  """Whether this process compiles with those fusions, whatever its environment says by now."""
  return _too_late


def _warn(what_to_do: str) -> None:
  warnings.warn(
    f'jaxlib {_VERSION} can compute wrong sums on CPUs, and sampling is slow: {what_to_do}',
    RuntimeWarning,
    stacklevel=4,
  )


def _is_file(flags: str) -> bool:
  """Whether XLA reads its flags from a file of that name."""
  return not flags.startswith('-') and pathlib.Path(flags).is_file()


def _jaxlib() -> str | None:
  try:
    return importlib.metadata.version('jaxlib')
  except importlib.metadata.PackageNotFoundError:  # E.g. of an application that was frozen.
    return None


def _was_used() -> bool:
  """Whether JAX has looked for devices already."""
  if 'jax' not in sys.modules:
    return False
  from jax._src import xla_bridge  # Nothing public tells; this one version has it.

  return xla_bridge.backends_are_initialized()

"""Programs compiled before they are called, with what the compiler is best told."""

import enum
import functools
import os
from typing import Any

import jax

from tempo_jax.compilation import interruption

# The older way to fuse operations on a CPU compiles in two thirds of the time and in less memory
# (the paper's size, 256 residues: 0.93 instead of 1.6 GiB), to programs of the same speed.
_CPU = {'xla_cpu_use_fusion_emitters': False}
_LEVEL = 'xla_backend_optimization_level'


class Effort(enum.IntEnum):
  """How far the compiler goes on a CPU: its optimisation level.

  Attributes:
    ONCE: for a program that runs once.
    LITTLE: for one that is compiled longer than it runs: six tenths of the compiler's time, and
      sampling takes 10 to 20 % longer.
    FULL: for one that runs long. A training step is 25 % slower with less.
  """

  ONCE = 0
  LITTLE = 1
  FULL = 3


def compiled(function: Any, *args: Any, effort: Effort = Effort.FULL) -> Any:
  """Compiles a jitted function for such arguments; Ctrl-C is heard meanwhile.

  A jitted function that others may map or call in theirs cannot have options of its own.

  Args:
    function: `jax.jit(...)`.
    *args: arrays, or what has their shapes.
    effort: of the compiler.

  Returns:
    To be called with such arguments.
  """
  # Traced and lowered by Python, which hears Ctrl-C.
  lowered = function.lower(*args)
  return interruption.call(lowered.compile, compiler_options=options(effort))


def options(effort: Effort = Effort.FULL) -> dict[str, bool | int] | None:
  """Of the compiler, for this kind of device; None: its own.

  Whoever set the level in XLA_FLAGS keeps it.
  """
  if jax.default_backend() != 'cpu':
    return None
  found: dict[str, bool | int] = {**known_options()}
  if effort < Effort.FULL and _LEVEL not in os.environ.get('XLA_FLAGS', ''):
    found[_LEVEL] = int(effort)
  return found or None


@functools.cache
def known_options() -> dict[str, bool]:
  """Those of `options` that the compiler has; asking it compiles something."""
  try:
    jax.jit(lambda: 0, compiler_options=_CPU).lower().compile()
  except jax.errors.JaxRuntimeError:  # Another version of the compiler does not know them.
    return {}
  return _CPU

"""Optional libraries, imported when needed and named by their extra where they are missing."""

import importlib
import types

from tempo_jax.errors import InputError


def require(module: str, extra: str) -> types.ModuleType:
  """Imports a library that only some commands need.

  Args:
    module: dotted name, e.g. 'deeptime.decomposition'.
    extra: that installs it, e.g. 'evaluate'.

  Returns:
    The module.

  Raises:
    InputError: it is not installed; the message is the command that installs it.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    # A library that is there but broken is another matter: its own error says more.
    if not (error.name or '').partition('.')[0] == module.partition('.')[0]:
      raise
    library = module.partition('.')[0]
    raise InputError(
      f"{library} is not installed: pip install 'tempo-jax[{extra}]', or in a clone "
      f"pip install -e '.[{extra}]'"
    ) from error

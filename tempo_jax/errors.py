"""A user's mistake; `tempo_jax.cli.command` reports it in one line."""

from collections.abc import Sequence


class InputError(ValueError):
  """Something that the user gave is wrong; the message says what, where, what to do."""


def first_few(names: Sequence[str], limit: int = 8) -> str:
  """Names for a message, the rest of many as a number: 'A, B and 3 more'."""
  more = f' and {len(names) - limit} more' if len(names) > limit else ''
  return ', '.join(names[:limit]) + more

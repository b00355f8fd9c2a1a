"""Tables of numbers in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Number(NamedTuple):
  """A column of numbers: its heading, key in each row, and format, such as '.2f' or '.1%'."""

  heading: str
  key: str
  style: str


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  """The lines of a table, each with its end."""
  lines = [header, ['---'] * len(header), *rows]
  return ''.join(f'| {" | ".join(map(str, cells))} |\n' for cells in lines)


def cells(row: Mapping[str, Any], numbers: Sequence[Number]) -> list[str]:
  """The numbers of a row; blank where it has none."""
  found = ((row.get(number.key), number.style) for number in numbers)
  return ['' if value is None else format(value, style) for value, style in found]

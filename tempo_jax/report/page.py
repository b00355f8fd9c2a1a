"""One self-contained HTML page: nothing in it is fetched from elsewhere."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CSS = """
body { margin: 2rem auto; padding: 0 1rem; max-width: 52rem; color: #1a1a1a; background: #fff;
  font: 16px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
figure { margin: 1rem 0; }
figure svg { width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { color: #555; font-size: 0.9rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #eee; overflow-wrap: anywhere; }
th { font-weight: normal; color: #555; }
"""


def paragraph(text: str) -> str:
  """A paragraph of plain text."""
  return f'<p>{html.escape(text)}</p>'


def listing(items: Iterable[str]) -> str:
  """A bulleted list of plain texts."""
  return '<ul>' + ''.join(f'<li>{html.escape(item)}</li>' for item in items) + '</ul>'


def table(rows: Mapping[str, Any]) -> str:
  """Names and values, one pair per row."""
  cells = (
    f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(_text(value))}</td></tr>'
    for name, value in rows.items()
  )
  return f'<table>{"".join(cells)}</table>'


def picture(svg: str, caption: str) -> str:
  """A picture with what it shows in words.

  Args:
    svg: an `<svg>` element, from `plots.to_svg`.
    caption: plain text.
  """
  return f'<figure role="group">{svg}<figcaption>{html.escape(caption)}</figcaption></figure>'


def section(title: str, *parts: str) -> str:
  """A heading and HTML parts."""
  return f'<section><h2>{html.escape(title)}</h2>{"".join(parts)}</section>'


def page(title: str, sections: Sequence[str]) -> str:
  """The whole document.

  Args:
    title: plain text.
    sections: HTML, from `section` and its like.
  """
  body = '\n'.join(sections)
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{html.escape(title)}</title><style>{_CSS}</style></head>\n'
    f'<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n'
  )


def _text(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:.6g}'
  if isinstance(value, Mapping):
    return ', '.join(f'{key} {_text(item)}' for key, item in value.items())
  if isinstance(value, list | tuple):
    return ', '.join(map(_text, value))
  return 'default' if value is None else str(value)

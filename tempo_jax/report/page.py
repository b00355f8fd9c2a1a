"""One self-contained HTML page: nothing in it is fetched from elsewhere."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CSS = """
body { margin: 2rem auto; padding: 0 1rem; max-width: 52rem; color: #1a1a1a; background: #fff;
  font: 16px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.8rem 0 0; }
figure { margin: 1rem 0; }
/* On a phone, wide pictures and tables scroll rather than shrink until nobody can read them. */
.wide { overflow-x: auto; }
figure svg { width: 100%; min-width: 36rem; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { color: #555; font-size: 0.9rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.2rem 1rem 0.2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #eee; overflow-wrap: anywhere; }
th { font-weight: normal; color: #555; }
.grid { min-width: 100%; }
.grid th, .grid td { text-align: right; padding: 0.2rem 0 0.2rem 1rem; white-space: nowrap; }
.grid th:first-child { text-align: left; padding-left: 0; color: inherit; white-space: normal;
  min-width: 8rem; }
.grid thead th { white-space: normal; overflow-wrap: normal; }
.grid thead th { vertical-align: bottom; border-bottom: 1px solid #888; }
.grid small { display: block; color: #666; }
details { border-bottom: 1px solid #ddd; }
summary { cursor: pointer; padding: 0.5rem 0; font-size: 1.05rem; }
a { color: #1f5fa8; }
details details summary, section > details summary { font-size: 1rem; }
@media print { details::details-content { content-visibility: visible; block-size: auto; } }
:focus-visible { outline: 2px solid #1f5fa8; outline-offset: 2px; }
"""
# The browser itself refuses to fetch anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


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


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table of numbers; the first cell of every row names it.

  Args:
    header: plain text of each column.
    rows: HTML of each cell, as many as columns.
  """
  top = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
  body = ''.join(
    f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
    for first, *rest in rows
  )
  return (
    f'<div class="wide"><table class="grid"><thead><tr>{top}</tr></thead>'
    f'<tbody>{body}</tbody></table></div>'
  )


def picture(svg: str, caption: str) -> str:
  """A picture with what it shows in words.

  Args:
    svg: an `<svg>` element, from `plots.to_svg`.
    caption: plain text; its first sentence is what a screen reader says in place of the picture.
  """
  name = html.escape(caption.split('. ')[0])
  svg = svg.replace('<svg', f'<svg role="img" aria-label="{name}"', 1)
  return (
    f'<figure role="group"><div class="wide">{svg}</div>'
    f'<figcaption>{html.escape(caption)}</figcaption></figure>'
  )


def details(title: str, *parts: str, anchor: str = '', is_open: bool = False) -> str:
  """HTML parts behind their title, which opens and closes them.

  Args:
    title: plain text.
    *parts: HTML.
    anchor: what links on the page name, `#anchor`; a browser opens the part that it leads to. ''
      for none.
    is_open: whether it is open at first.
  """
  # An anchor inside of closed details opens them; one on the details itself does not.
  name = f' id="{html.escape(anchor)}"' if anchor else ''
  return (
    f'<details{" open" if is_open else ""}><summary>{html.escape(title)}</summary>'
    f'<div{name}>{"".join(parts)}</div></details>'
  )


def subsection(title: str, *parts: str) -> str:
  """A heading below that of a section, and HTML parts."""
  return f'<h3>{html.escape(title)}</h3>{"".join(parts)}'


def section(title: str, *parts: str) -> str:
  """A heading and HTML parts."""
  return f'<section><h2>{html.escape(title)}</h2>{"".join(parts)}</section>'


def page(title: str, sections: Sequence[str], head: str = '') -> str:
  """The whole document.

  Args:
    title: plain text.
    sections: HTML, from `section` and its like.
    head: HTML for the head, such as `viewer.head()` on a page with viewers.
  """
  body = '\n'.join(sections)
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_POLICY)}">'
    f'<title>{html.escape(title)}</title><style>{_CSS}</style>{head}</head>\n'
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

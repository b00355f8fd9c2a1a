"""The report on an evaluation: the table with the baselines, and every protein in pictures."""

import dataclasses
import html
import itertools
import math
from collections.abc import Mapping, Sequence
from urllib import parse

import numpy as np

from tempo_jax.report import page, protein_section, viewer

MAX_BYTES = 20_000_000
"""Of a page, about: proteins whose pictures would take it beyond come as numbers only."""
_OPEN = 3  # proteins, up to which a page shows all at once
_OVERVIEW = 6  # metrics in the table of proteins
_LONG_TABLE, _LONG_LIST = 30, 5


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number, and how sure it is.

  Attributes:
    value: None where it cannot be computed.
    low: end of the interval; None where there is none.
    high: the other end.
    error: standard error, shown where there is no interval; None where there is none.
    is_noise: marked as no larger than its error.
  """

  value: float | None
  low: float | None = None
  high: float | None = None
  error: float | None = None
  is_noise: bool = False


@dataclasses.dataclass(frozen=True)
class SummaryRow:
  """A metric over all proteins.

  Attributes:
    name: with unit.
    columns: prediction, baseline, ... -> estimate; every row has the same columns.
    group: plain text over the rows that it has in common with its neighbours; '' for none. In long
      tables, all groups but the first one fold.
  """

  name: str
  columns: Mapping[str, Estimate]
  group: str = ''


def evaluation_page(
  title: str,
  summary: Sequence[SummaryRow],
  proteins: Sequence[protein_section.ProteinSection],
  settings: Mapping[str, object],
  *,
  summary_sentence: str = '',
  summary_caption: str = '',
  notes: Sequence[str] = (),
  max_bytes: int = MAX_BYTES,
) -> str:
  """The HTML document.

  Args:
    title: plain text.
    summary: in the order in which they are shown.
    proteins: at least one.
    settings: name -> value, shown as a table.
    summary_sentence: plain text over the summary: what it means.
    summary_caption: plain text under the summary: what the columns and intervals are.
    notes: plain texts about the whole.
    max_bytes: of the page, about. First the pictures of as many proteins as fit are put in, then
      as many viewers.
  """
  pictured = _fitting([len(p.pictures.encode()) for p in proteins], max_bytes)
  left = max_bytes - sum(len(p.pictures.encode()) for p in proteins[:pictured])
  viewed = min(_fitting([len(p.viewer.encode()) for p in proteins], left), pictured)
  sections = [
    page.section(
      'Summary',
      page.paragraph(summary_sentence) if summary_sentence else '',
      _summary(summary),
      page.paragraph(summary_caption),
    )
  ]
  if len(proteins) > 1:
    overview = _overview(proteins)
    if len(proteins) > _LONG_TABLE:
      overview = page.details(f'All {len(proteins)} proteins', overview)
    sections.append(page.section('Proteins', overview))
  if pictured < len(proteins) or viewed < len(proteins):
    notes = [
      *notes,
      f'To keep this page below {max_bytes / 1e6:g} MB, pictures are shown of the first {pictured} '
      f'proteins of {len(proteins)}, and the trajectory in 3-D of the first {viewed}; evaluate a '
      'protein alone to see all of it.',
    ]
  if notes:
    sections.append(page.section('Notes', page.listing(notes)))
  sections += [
    _protein(protein, k < pictured, k < viewed, len(proteins)) for k, protein in enumerate(proteins)
  ]
  sections.append(page.section('Settings', page.table(settings)))
  return page.page(title, sections, head=viewer.head())


def _fitting(sizes: Sequence[int], limit: int) -> int:
  """How many of the first fit."""
  return int(np.searchsorted(np.cumsum(sizes), limit, side='right'))


def _number(value: float | None) -> str:
  if value is None or not math.isfinite(value):
    return '–'
  digits = 0 if abs(value) >= 1000.0 else 1 if abs(value) >= 100.0 else 2
  # + 0.0: what is rounded to zero has no sign.
  return f'{round(value, digits) + 0.0:.{digits}f}'.replace('-', '−')


def _estimate(estimate: Estimate) -> str:
  text = _number(estimate.value)
  beside = []
  if estimate.low is not None and estimate.high is not None:
    beside.append(f'{_number(estimate.low)} to {_number(estimate.high)}')
  elif estimate.error is not None and estimate.value is not None:
    beside.append(f'± {_number(estimate.error)}')
  if estimate.is_noise:
    beside.append('noise')
  return text + (f'<small>{" ".join(beside)}</small>' if beside else '')


def _summary(rows: Sequence[SummaryRow]) -> str:
  groups = [(name, list(found)) for name, found in itertools.groupby(rows, lambda row: row.group)]
  if len(groups) == 1 or len(rows) <= _LONG_TABLE:
    return _grid(rows)
  return ''.join(
    page.details(f'{name} ({len(found)} numbers)', _grid(found), is_open=k == 0)
    for k, (name, found) in enumerate(groups)
    # Without side chains, say, none of a group is known.
    if any(each.value is not None for row in found for each in row.columns.values())
  )


def _grid(rows: Sequence[SummaryRow]) -> str:
  columns = list(rows[0].columns) if rows else []
  return page.grid(
    ['', *columns],
    [[html.escape(row.name), *(_estimate(row.columns[name]) for name in columns)] for row in rows],
  )


def _overview(proteins: Sequence[protein_section.ProteinSection]) -> str:
  known = [n for n in proteins[0].metrics if any(p.metrics.get(n) is not None for p in proteins)]
  names = known[:_OVERVIEW]
  return page.grid(
    ['', 'residues', *names],
    [
      [
        f'<a href="#{parse.quote(_anchor(protein))}">{html.escape(protein.name)}</a>',
        str(protein.num_residues),
        *(_number(protein.metrics.get(name)) for name in names),
      ]
      for protein in proteins
    ],
  )


def _anchor(protein: protein_section.ProteinSection) -> str:
  return 'protein-' + '-'.join(protein.name.split())


def _notes(notes: Sequence[str]) -> str:
  if not notes:
    return ''
  found = page.listing(notes)
  return page.details(f'{len(notes)} notes', found) if len(notes) > _LONG_LIST else found


def _protein(
  protein: protein_section.ProteinSection, pictured: bool, viewed: bool, count: int
) -> str:
  numbers = {name: _number(value) for name, value in protein.metrics.items()}
  parts = [
    _notes(protein.notes),
    page.subsection('The trajectory in 3-D', protein.viewer) if viewed and protein.viewer else '',
    protein.pictures if pictured else '',
  ]
  title = f'{protein.name} ({protein.num_residues} residues)'
  if count == 1:  # its numbers are the summary
    return page.section(title, *parts)
  parts.append(page.subsection('Numbers', page.table(numbers)))
  return page.details(title, *parts, anchor=_anchor(protein), is_open=count <= _OPEN)

"""The report on a store as one HTML page."""

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tempo_jax import extras
from tempo_jax.errors import InputError
from tempo_jax.metrics import flexibility
from tempo_jax.preparation import frame_checks
from tempo_jax.preparation.inspection import (
  conformations,
  entry_checks,
  frame_series,
  store_checks,
  store_text,
)
from tempo_jax.preparation.inspection.findings import SEVERITIES, count
from tempo_jax.report import page, plots
from tempo_jax.store import store as store_lib
from tempo_jax.store.entry import Entry

if TYPE_CHECKING:
  from matplotlib import axes as mpl_axes
  from matplotlib import figure as mpl_figure

TITLE = 'trajectory store'
"""How the page's title ends."""

_MAX_PICTURED = 4
_MAX_FRAMES = 500  # of each entry in pictures
_MAX_ROWS = 1000
_MAX_FINDINGS = 500

_HOW = (
  'Bonds, torsions, clashes, repeats and steps were checked in every frame. The Ramachandran plot '
  'and the curves below show evenly spaced frames.',
  'error: unusable. warning: suspicious. note: worth knowing. Frames count from 0; residues have '
  'the numbers of their file.',
  f'Frozen or repeated: RMSD below {conformations.SAME:g} Å after superposition. Gap: log(RMSD) to '
  f'the frame before is {conformations.JUMP_SIGMAS:g} robust standard deviations above what is '
  'typical of the frames around; where proteins lose their memory from frame to frame, a missing '
  'stretch cannot be seen.',
  'The hand is judged by phi, since backbones have no CB: in L-proteins it is negative but for '
  'glycines and few others.',
)


def store_page(report: store_checks.StoreReport) -> str:
  """The HTML document.

  Raises:
    InputError: matplotlib is not installed.
  """
  extras.require('matplotlib', 'report')
  sections = [
    page.section('In it', page.table(store_text.contents(report))),
    page.section('Wrong with it', *_findings(report)),
    page.section('Sizes', _sizes(report.entries)),
    page.section(
      'Geometry', _histograms(report), page.table(store_text.bonds(report)), _hand(report)
    ),
  ]
  motion = list(_motion(report))
  if motion:
    sections.append(page.section('Motion', *motion))
  notes = store_text.preparation(report)
  if notes:
    sections.append(page.section('What preparation did', page.listing(notes)))
  sections.append(page.section('Entries', *_entries(report)))
  sections.append(page.section('How it was checked', page.listing(_HOW)))
  return page.page(f'{report.path}: {TITLE}', sections)


def _findings(report: store_checks.StoreReport) -> Iterable[str]:
  if not report.findings:
    yield page.paragraph('Nothing was found.')
  for severity in SEVERITIES:
    said = [finding for finding in report.findings if finding.severity == severity]
    if said:
      plural = 's' if len(said) > 1 else ''
      yield f'<h3>{len(said)} {severity}{plural}</h3>'
      rows = [(finding.where, finding.kind, finding.message) for finding in said[:_MAX_FINDINGS]]
      yield _grid(('where', 'what', ''), rows)
      if len(said) > _MAX_FINDINGS:
        yield page.paragraph(f'... and {len(said) - _MAX_FINDINGS} more.')


def _entries(report: store_checks.StoreReport) -> Iterable[str]:
  rows = store_text.rows(report)
  yield _grid(store_text.COLUMNS, rows[:_MAX_ROWS])
  if len(rows) > _MAX_ROWS:
    yield page.paragraph(f'... and {len(rows) - _MAX_ROWS} more.')


def _grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """A table with a header."""
  head = ''.join(f'<th scope="col">{html.escape(name)}</th>' for name in header)
  body = ''.join(
    '<tr>' + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row) + '</tr>' for row in rows
  )
  return f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _panels(rows: int, columns: int, height: float) -> tuple['mpl_figure.Figure', np.ndarray]:
  """An empty figure, and its axes [rows, columns]; height in inches."""
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context({**plots.STYLE, 'font.size': 9, 'axes.axisbelow': True}):
    figure = mpl_figure.Figure(figsize=(8.0, height), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False)


def _label(axes: 'mpl_axes.Axes', x: str, y: str) -> None:
  axes.set_xlabel(x)
  axes.set_ylabel(y)


def _sizes(entries: Sequence[Entry]) -> str:
  lengths = {entry.name: entry.length for entry in entries}
  time = dict.fromkeys(lengths, 0.0)
  for entry in entries:
    time[entry.name] += entry.num_frames * entry.dt_ns
  figure, ((left, right),) = _panels(1, 2, 2.4)
  left.hist(list(lengths.values()), bins=min(40, 5 + len(lengths) // 4), color='tab:blue')
  _label(left, 'residues', 'proteins')
  left.yaxis.get_major_locator().set_params(integer=True)
  ordered = sorted(time.values(), reverse=True)
  right.stairs(ordered, fill=True, color='tab:blue')
  right.xaxis.get_major_locator().set_params(integer=True)
  right.set_xlim(0, len(ordered))
  _label(right, 'proteins, from most to least', 'time (ns)')
  return page.picture(
    plots.to_svg(figure), 'Left: lengths of the proteins. Right: time simulated of each protein.'
  )


def _histograms(report: store_checks.StoreReport) -> str:
  limits = {bond: (low, high) for bond, _, _, low, high in frame_checks.BETWEEN}
  figure, (row,) = _panels(1, len(frame_series.HISTOGRAMS), 2.4)
  for axes, (bond, span) in zip(row, frame_series.HISTOGRAMS.items(), strict=True):
    counts = np.zeros(frame_series.NUM_BINS, np.int64)
    for entry in report.reports:
      counts += entry.histograms.get(bond, 0)
    edges = np.linspace(*span, frame_series.NUM_BINS + 1)
    axes.stairs(np.where(counts, counts, np.nan), edges, baseline=0.5, fill=True, color='tab:blue')
    for limit in limits[bond]:
      axes.axvline(limit, color='#b00020', linestyle='--', linewidth=0.8)
    axes.set_yscale('log')
    axes.set_xlim(*span)
    axes.set_ylim(bottom=0.5)
    _label(axes, f'{bond} (Å)', 'bonds')
  return page.picture(
    plots.to_svg(figure),
    'Distances of bonded neighbours in all frames; dashed: limits beyond which a molecule is '
    'broken. What is outside of the range counts at its ends. CA-CA is 3.8 Å, or 2.95 in a cis '
    'peptide; C-N is 1.33.',
  )


def _hand(report: store_checks.StoreReport) -> str:
  angles = np.concatenate([entry.torsions for entry in report.reports])
  figure, ((axes,),) = _panels(1, 1, 3.6)
  counts, _, _ = np.histogram2d(
    angles[:, 0], angles[:, 1], bins=90, range=[[-180.0, 180.0], [-180.0, 180.0]]
  )
  shown = np.where(counts, np.log10(np.maximum(counts, 1)), np.nan)
  axes.imshow(shown.T, origin='lower', extent=(-180, 180, -180, 180), cmap='viridis_r', zorder=1)
  axes.set_xticks(range(-180, 181, 90))
  axes.set_yticks(range(-180, 181, 90))
  _label(axes, 'phi (°)', 'psi (°)')
  return page.picture(
    plots.to_svg(figure),
    f'phi and psi of all residues in evenly spaced frames ({len(angles)} pairs, dark: many). '
    'Right-handed helices lie at (-60, -45), strands at (-120, 130). A mirror image of this has '
    'them at (60, 45) and (120, -130).',
  )


def _motion(report: store_checks.StoreReport) -> Iterable[str]:
  """Curves of a few entries: those with the most errors and warnings, then the first ones."""
  store = store_lib.Store(report.path, cache_bytes=0)
  readable = [
    (entry, known)
    for entry, known in zip(report.entries, report.reports, strict=True)
    if known.frames == entry.num_frames > 1
  ]

  def badness(pair: tuple[Entry, entry_checks.EntryReport]) -> tuple[int, int]:
    found = count(pair[1].findings)
    return -found['error'], -found['warning']

  for entry, known in sorted(readable, key=badness)[:_MAX_PICTURED]:
    every = -(-entry.num_frames // _MAX_FRAMES)
    try:
      yield _curves(entry, known.steps, store.read(entry, slice(None, None, every)), every)
    except InputError:  # it vanished meanwhile
      continue


def _curves(entry: Entry, steps: np.ndarray, positions: np.ndarray, every: int) -> str:
  centred = positions - positions.mean(axis=(1, 2), keepdims=True)
  to_first = flexibility.ca_rmsd(centred, centred[0])
  gyration = flexibility.radius_of_gyration(centred)
  fluctuation = flexibility.ca_rmsf(centred, centred[0])
  time = entry.dt_ns * every * np.arange(len(positions))
  figure, ((a, b), (c, d)) = _panels(2, 2, 4.2)
  a.plot(time, to_first, linewidth=1.0)
  _label(a, 'time (ns)', 'RMSD to first (Å)')
  b.plot(time, gyration, linewidth=1.0)
  _label(b, 'time (ns)', 'radius of gyration (Å)')
  ends = np.linspace(0, entry.num_frames - 1, len(steps) + 1)[1:]
  c.plot(entry.dt_ns * ends, steps, linewidth=1.0)
  _label(c, 'time (ns)', 'step RMSD (Å)')
  d.plot(np.arange(1, entry.length + 1), fluctuation, linewidth=1.0)
  d.xaxis.get_major_locator().set_params(integer=True)
  _label(d, 'residue, counted from 1', 'RMSF (Å)')
  for axes in (a, b, c):
    axes.set_xlim(0.0, entry.dt_ns * (entry.num_frames - 1))
  for axes in (a, c, d):
    axes.set_ylim(bottom=0.0)
  return page.picture(
    plots.to_svg(figure),
    f'{entry.key}: RMSD of CA to the first frame; radius of gyration of the backbone; greatest '
    f'RMSD between successive frames; fluctuation of each CA. {len(positions)} frames, but '
    'the steps are those of all.',
  )

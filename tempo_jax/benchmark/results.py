"""Shows the rows of a benchmark: a table, and seconds against length."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tempo_jax.benchmark import workloads
from tempo_jax.benchmark.measure import Row
from tempo_jax.report import plots

if TYPE_CHECKING:
  from matplotlib import figure as mpl_figure

# Title, key, factor, digits after the point.
_COLUMNS = (
  ('residues', 'length', 1, 0),
  ('frames', 'num_frames', 1, 0),
  ('replicas', 'num_replicas', 1, 0),
  ('compile s', 'compile_s', 1, 1),
  ('steady s', 'steady_s', 1, 4),
  ('+-', 'steady_s_spread', 1, 4),
  ('CPU s', 'cpu_s', 1, 3),
  ('frames/s', 'frames_per_s', 1, 1),
  ('GFLOP', 'flop', 1e-9, 2),
  ('GFLOP/s', 'flop_per_s', 1e-9, 1),
  ('% of peak', 'peak_share', 100, 1),
  ('MiB', 'peak_rss_mib', 1, 0),
)


def table(found: Sequence[Row]) -> str:
  """The rows as text: medians, and +- the spread (max - min) of the repeats."""
  shown = [c for c in _COLUMNS if any(row.get(c[1]) is not None for row in found)]
  lines = [['name', 'model', *(title for title, *_ in shown)]]
  for row in found:
    cells = [
      '' if row.get(key) is None else f'{row[key] * factor:.{digits}f}'
      for _, key, factor, digits in shown
    ]
    lines.append([row['name'], workloads.short_name(row['model'] or ''), *cells])
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  return '\n'.join(
    '  '.join(
      cell.ljust(width) if index < 2 else cell.rjust(width)
      for index, (cell, width) in enumerate(zip(line, widths, strict=True))
    ).rstrip()
    for line in lines
  )


def scaling(found: Sequence[Row]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Lengths [N] and steady seconds [N], by label, of all that was measured at two or more."""
  groups: dict[str, dict[int, float]] = {}
  for row in found:
    replicas = f', {row["num_replicas"]} replicas' if row['num_replicas'] > 1 else ''
    label = f'{row["name"]}, {row["num_frames"]} frames{replicas}'
    groups.setdefault(label, {})[row['length']] = row['steady_s']
  return {
    label: (np.array(sorted(by_length)), np.array([by_length[n] for n in sorted(by_length)]))
    for label, by_length in groups.items()
    if len(by_length) > 1
  }


def _exponent(lengths: np.ndarray, seconds: np.ndarray) -> float:
  """Of the power law that fits best on logarithmic axes."""
  return float(np.polyfit(np.log(lengths), np.log(seconds), 1)[0])


def draw(curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> 'mpl_figure.Figure':
  """Seconds against length, both logarithmic, with the exponent of each curve."""
  import matplotlib
  from matplotlib import figure as mpl_figure
  from matplotlib import ticker

  with matplotlib.rc_context(plots.STYLE):
    figure = mpl_figure.Figure(figsize=(8.0, 4.5), layout='constrained')
    axes = figure.subplots()
    for label, (lengths, seconds) in curves.items():
      power = _exponent(lengths, seconds)
      axes.plot(lengths, seconds, marker='o', label=f'{label}: length^{power:.2f}')
    axes.set(xscale='log', yscale='log', xlabel='residues', ylabel='seconds, median')
    ticks = sorted({int(length) for lengths, _ in curves.values() for length in lengths})
    axes.xaxis.set_major_locator(ticker.FixedLocator(ticks))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter('%d'))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.legend(fontsize=8)
  return figure

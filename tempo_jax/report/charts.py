"""Bars, and points in a plane, as SVG by matplotlib (the extra `report`), beside `plots`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_jax.report import plots

if TYPE_CHECKING:
  from matplotlib import figure as mpl_figure

_WIDTH = 8.0  # inches
_THIN = 0.9  # Points: of what is there to compare with.


@dataclasses.dataclass(frozen=True, eq=False)
class Bars:
  """Heights [N] of one colour, with standard errors [N] if they are known."""

  label: str
  colour: str
  heights: np.ndarray
  errors: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """Points of one colour.

  Attributes:
    label: of the legend.
    colour: of all.
    x: [N]; points that are not finite are left out.
    y: [N].
    errors: [N] of y, standard errors; None or NaN where unknown.
    joined: by a line, in their order.
    thin: small and hollow: what is there to compare with.
  """

  label: str
  colour: str
  x: np.ndarray
  y: np.ndarray
  errors: np.ndarray | None = None
  joined: bool = False
  thin: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
  """Points over two axes.

  Attributes:
    points: at least one.
    x_label: with unit.
    y_label: with unit.
    logarithmic: both axes.
    diagonal: where y is x, as a dashed line; 'below' also shades what is below it.
    square: both axes have one range.
    from_zero: the axis of y begins at 0.
    width: relative to that of its neighbours.
  """

  points: Sequence[Points]
  x_label: str
  y_label: str
  logarithmic: bool = False
  diagonal: str = ''
  square: bool = False
  from_zero: bool = False
  width: float = 1.0


def bars(
  groups: Sequence[Bars],
  names: Sequence[str],
  *,
  x_label: str,
  y_label: str,
  marks: Sequence[Bars] = (),
) -> 'mpl_figure.Figure':
  """Bars side by side.

  Args:
    groups: each with the heights of all names.
    names: [N] below the bars.
    x_label: plain text.
    y_label: with unit.
    marks: thin lines across the bars of the first group, at these heights.
  """
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context({**plots.STYLE, 'axes.grid.axis': 'y'}):
    figure = mpl_figure.Figure(figsize=(_WIDTH, 2.8), layout='constrained')
    axes = figure.subplots()
    place, width = np.arange(len(names)), 0.8 / len(groups)
    for k, group in enumerate(groups):
      x = place + (k - 0.5 * (len(groups) - 1)) * width
      errors = None if group.errors is None else np.nan_to_num(group.errors)
      axes.bar(
        x,
        group.heights,
        0.92 * width,
        yerr=errors,
        color=group.colour,
        label=group.label,
        error_kw={'elinewidth': _THIN, 'capsize': 2.0},
      )
      for mark in marks if k == 0 else ():
        ends = x - 0.5 * width, x + 0.5 * width
        axes.hlines(mark.heights, *ends, colors=mark.colour, linewidth=_THIN, label=mark.label)
    axes.set(xticks=place, xticklabels=names, xlabel=x_label, ylabel=y_label)
    axes.set_ylim(0.0)
    axes.set_axisbelow(True)
    _legend(figure)
  return figure


def planes(shown: Sequence[Plane]) -> 'mpl_figure.Figure':
  """Planes side by side, under one legend.

  Args:
    shown: one to three.
  """
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context(plots.STYLE):
    # One alone shall not be stretched over the page.
    widths = [plane.width for plane in shown]
    figure = mpl_figure.Figure(figsize=(_WIDTH, 3.6), layout='constrained')
    spare = [1.0] if len(shown) == 1 and shown[0].square else []
    grid = figure.subplots(
      1, len(shown) + len(spare), width_ratios=[*widths, *spare], squeeze=False
    )
    for axes in grid[0, len(shown) :]:
      axes.set_axis_off()
    for axes, plane in zip(grid[0], shown, strict=False):
      _draw(axes, plane)
    _legend(figure)
  return figure


def _draw(axes: Any, plane: Plane) -> None:
  from matplotlib import ticker

  seen = []
  for points in plane.points:
    there = np.isfinite(points.x) & np.isfinite(points.y)
    if plane.logarithmic:
      there &= (points.x > 0.0) & (points.y > 0.0)
    x, y = points.x[there], points.y[there]
    errors = None if points.errors is None else np.nan_to_num(points.errors[there])
    # On a logarithmic axis, an error bar ends above 0.
    down = np.minimum(errors, 0.9 * y) if plane.logarithmic and errors is not None else errors
    seen.append(np.stack([x, y]))
    axes.errorbar(
      x,
      y,
      yerr=None if errors is None else [down, errors],
      color=points.colour,
      marker='o',
      markersize=3.0 if points.thin else 4.0,
      markerfacecolor='none' if points.thin else points.colour,
      markeredgewidth=0.6 if points.thin else 0.0,
      linestyle='-' if points.joined else '',
      linewidth=plots.THIN if points.thin else 1.0,
      elinewidth=_THIN,
      label=points.label,
      alpha=0.85,
    )
  axes.set(xlabel=plane.x_label, ylabel=plane.y_label)
  if plane.logarithmic:
    axes.set(xscale='log', yscale='log')
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
      axis.set_major_formatter('{x:g}')
      axis.set_minor_locator(ticker.NullLocator())
  x, y = np.concatenate(seen, axis=1)
  if plane.square and x.size:
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = (high / low) ** 0.05 if plane.logarithmic else 0.05 * (high - low) + 1e-3
    ends = (low / room, high * room) if plane.logarithmic else (low - room, high + room)
    axes.set(xlim=ends, ylim=ends, aspect='equal')
  elif plane.from_zero:
    axes.set_ylim(0.0)
  if plane.diagonal:
    ends = axes.get_xlim()
    low, high = axes.get_ylim()
    axes.plot(ends, ends, color='#888888', linestyle='--', linewidth=0.8)
    if plane.diagonal == 'below':
      axes.fill_between(ends, [min(low, *ends)] * 2, ends, color='#f0f0f0', linewidth=0.0)
    axes.set(xlim=ends, ylim=(low, high))


def _legend(figure: 'mpl_figure.Figure') -> None:
  handles = {}
  for axes in figure.axes:
    handles.update(dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)))
  # What is there to compare with is drawn first, and named last.
  names = sorted(handles, key=list(plots.COLOURS).index)
  if len(names) > 1:
    figure.legend([handles[x] for x in names], names, loc='outside upper left', ncols=len(names))

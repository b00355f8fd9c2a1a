"""Pictures of trajectories as SVG, by matplotlib (the extra `report`)."""

import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
  from matplotlib import figure as mpl_figure

REFERENCE = '#5f6368'
PREDICTION = '#1f77b4'
BASELINE = '#a0a4a8'
"""What is there to compare with, such as the halves of MD: in thin lines."""
COLOURS = {'MD': REFERENCE, 'prediction': PREDICTION, 'halves of MD': BASELINE}
"""By label, the same in all pictures, in the order of legends."""
THIN = 0.6  # Width of lines.
_SIZE = (8.0, 2.6)  # inches
_MAX_LEGEND = 8
Extent = tuple[float, float, float, float]
_MAX_POINTS = 400  # of a curve: more than the picture can show
_STRETCHES = 24  # of a walk, each in its own colour
STYLE: dict[Any, Any] = {
  # Text stays text: small, selectable, in the fonts of the page.
  'svg.fonttype': 'none',
  # Ids that do not change from run to run.
  'svg.hashsalt': 'tempo_jax',
  'font.size': 10,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'grid.color': '#e5e5e5',
  'lines.linewidth': 1.0,
  'legend.frameon': False,
}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """x [N] and y [N]; curves of one label share a line of the legend; baselines are thin."""

  label: str
  colour: str
  x: np.ndarray
  y: np.ndarray
  thin: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
  """Curves over one axis.

  Attributes:
    curves: infinite values are left out.
    x_label: with unit.
    y_label: with unit.
    limits: values of y to mark by dashed lines.
    marks: values of x to mark by dotted lines.
    whole: whether only whole numbers of x mean anything, as those of residues.
    counts: whether y counts something, from 0.
  """

  curves: Sequence[Curve]
  x_label: str
  y_label: str
  limits: Sequence[float] = ()
  marks: Sequence[float] = ()
  whole: bool = False
  counts: bool = False


@dataclasses.dataclass(frozen=True)
class Scale:
  """What colours mean: label with unit, name of matplotlib's colour map, values at its ends."""

  label: str
  colours: str
  low: float
  high: float


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
  """Numbers over a plane.

  Attributes:
    title: above it.
    values: [X, Y]; nan stays blank.
    extent: of the whole, (x_min, x_max, y_min, y_max).
    scale: of the colours.
  """

  title: str
  values: np.ndarray
  extent: Extent
  scale: Scale


def to_svg(figure: 'mpl_figure.Figure') -> str:
  """The `<svg>` element of a figure: no XML header, nothing fetched from elsewhere."""
  import matplotlib

  stream = io.StringIO()
  nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  with matplotlib.rc_context(STYLE):
    figure.savefig(stream, format='svg', metadata=nothing, transparent=True)
  text = stream.getvalue()
  text = text[text.index('<svg') :].strip()
  # Nothing refers to groups; a hundredth of a point is beyond what is seen.
  text = re.sub(r'<g id="[^"]*"', '<g', text)
  return re.sub(r' d="[^"]*"', lambda path: re.sub(r'(\.\d\d)\d+', r'\1', path[0]), text)


def lines(
  x: np.ndarray,
  curves: Mapping[str, np.ndarray | Sequence[np.ndarray]],
  *,
  x_label: str,
  y_label: str,
  limits: Sequence[float] = (),
  marks: Sequence[float] = (),
  x_name: Callable[[float], str] | None = None,
) -> 'mpl_figure.Figure':
  """Curves over one axis.

  Args:
    x: [N].
    curves: label -> [N], or several [N] in one colour. Infinite values are left out.
    x_label: with unit.
    y_label: with unit.
    limits: values of y to mark by dashed lines.
    marks: values of x to mark by dotted lines.
    x_name: how to write a whole number on the axis of x; default as numbers.
  """
  colours = _colours(len(curves))
  panel = Panel(
    [
      Curve(label, colour, x, y)
      for (label, group), colour in zip(curves.items(), colours, strict=True)
      for y in np.atleast_2d(np.asarray(group, float))
    ],
    x_label,
    y_label,
    limits,
    marks,
    whole=x_name is not None,
  )
  figure = stack([panel], height=_SIZE[1])
  if x_name is not None:
    figure.axes[0].xaxis.set_major_formatter(lambda value, _: x_name(value))
  return figure


def stack(panels: Sequence[Panel], height: float = 1.7) -> 'mpl_figure.Figure':
  """Panels above each other that share the axis of x.

  Args:
    panels: the lowest one names the axis of x.
    height: of each, inches.
  """
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context(STYLE):
    size = (_SIZE[0], height * len(panels) + (0.4 if len(panels) > 1 else 0.0))
    figure = mpl_figure.Figure(figsize=size, layout='constrained')
    grid = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(grid, panels, strict=True):
      _draw(axes, panel)
    grid[-1].set_xlabel(panels[-1].x_label)
    figure.align_ylabels(grid)
    _legend(figure, panels)
  return figure


def row(panels: Sequence[Panel]) -> 'mpl_figure.Figure':
  """Panels side by side, each with its own axes; two or three to a row."""
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context(STYLE):
    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = mpl_figure.Figure(figsize=(_SIZE[0], _SIZE[1] * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
      _draw(axes, panel)
      axes.set_xlabel(panel.x_label)
    for axes in grid[len(panels) :]:
      axes.set_axis_off()
    _legend(figure, panels)
  return figure


def maps(
  shown: Sequence[Map], *, x_label: str, y_label: str, equal: bool = True
) -> 'mpl_figure.Figure':
  """Maps side by side over the same plane, embedded as pixels; neighbours may share a scale.

  Args:
    shown: two or three.
    x_label: with unit.
    y_label: with unit.
    equal: whether a unit of x is as long as one of y.
  """
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context({**STYLE, 'axes.grid': False}):
    height = 3.6 if len(shown) < 3 else 2.7
    figure = mpl_figure.Figure(figsize=(_SIZE[0], height), layout='constrained')
    grid = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    for axes, item in zip(grid, shown, strict=True):
      picture = axes.imshow(
        np.asarray(item.values, float).T,
        origin='lower',
        extent=item.extent,
        cmap=item.scale.colours,
        vmin=item.scale.low,
        vmax=item.scale.high,
        aspect='equal' if equal else 'auto',
        interpolation='none',
      )
      axes.set_title(item.title, fontsize=10)
      axes.set_xlabel(x_label)
      alike = [a for a, other in zip(grid, shown, strict=True) if other.scale == item.scale]
      if axes is alike[-1]:
        shrink = 0.9 if equal else 1.0
        figure.colorbar(picture, ax=alike, label=item.scale.label, shrink=shrink, pad=0.03)
    grid[0].set_ylabel(y_label)
  return figure


def paths(
  walks: Mapping[str, Sequence[np.ndarray]],
  extent: Extent,
  *,
  x_label: str,
  y_label: str,
) -> 'mpl_figure.Figure':
  """Walks in a plane, one panel each, coloured from their start to their end.

  Args:
    walks: title -> [F, 2] of each replica; of long ones every second, third, ... frame is drawn.
    extent: of the plane, (x_min, x_max, y_min, y_max).
    x_label: with unit.
    y_label: with unit.
  """
  import matplotlib
  from matplotlib import figure as mpl_figure

  colours = matplotlib.colormaps['viridis'](np.linspace(0.0, 0.95, _STRETCHES))
  with matplotlib.rc_context(STYLE):
    figure = mpl_figure.Figure(figsize=(_SIZE[0], 3.6), layout='constrained')
    grid = figure.subplots(1, len(walks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (title, replicas) in zip(grid, walks.items(), strict=True):
      for walk in replicas:
        some = walk[:: -(-len(walk) // _MAX_POINTS)]
        ends = np.linspace(0, len(some) - 1, _STRETCHES + 1).astype(int)
        for first, last, colour in zip(ends[:-1], ends[1:], colours, strict=True):
          axes.plot(*some[first : last + 1].T, color=colour, linewidth=0.6, alpha=0.85)
        axes.plot(*walk[0], 'o', color='#b00020', markersize=5)
      axes.set(xlim=extent[:2], ylim=extent[2:], xlabel=x_label)
      axes.set_title(title, fontsize=10)
    grid[0].set_ylabel(y_label)
    scale = matplotlib.cm.ScalarMappable(cmap='viridis')
    bar = figure.colorbar(scale, ax=grid, pad=0.02, ticks=[0.0, 1.0])
    bar.ax.set_yticklabels(['start', 'end'])
  return figure


def _draw(axes: Any, panel: Panel) -> None:
  drawn: set[str] = set()
  bold = [curve.label for curve in panel.curves if not curve.thin]
  several = len(bold) > len(set(bold))
  for curve in panel.curves:
    x, y = _thinned(np.asarray(curve.x), np.asarray(curve.y, float))
    axes.plot(
      x,
      np.where(np.isfinite(y), y, np.nan),
      color=curve.colour,
      linewidth=THIN if curve.thin else None,
      # A single point is no line.
      marker='o' if len(x) == 1 else '',
      alpha=0.75 if several else 1.0,
      label=None if curve.label in drawn else curve.label,
    )
    drawn.add(curve.label)
  for limit in panel.limits:
    axes.axhline(limit, color='#b00020', linestyle='--', linewidth=0.8)
  for mark in panel.marks:
    axes.axvline(mark, color='#888888', linestyle=':', linewidth=0.8)
  axes.set_ylabel(panel.y_label)
  if panel.whole:
    axes.locator_params(axis='x', integer=True)
  if panel.counts:
    axes.locator_params(axis='y', integer=True)
    axes.set_ylim(0.0, max(axes.get_ylim()[1], 1.05))
  axes.margins(x=0.0 if max(len(curve.x) for curve in panel.curves) > 1 else 0.05)


def _legend(figure: 'mpl_figure.Figure', panels: Sequence[Panel]) -> None:
  """One for all panels, above them."""
  handles = {}
  for axes in figure.axes:
    handles.update(dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)))
  if 1 < len(handles) <= _MAX_LEGEND:
    figure.legend(handles.values(), handles.keys(), loc='outside upper left', ncols=len(handles))


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """At most `_MAX_POINTS`: the least and the greatest of every stretch, where they are."""
  if len(x) <= _MAX_POINTS:
    return x, y
  filled = np.where(np.isfinite(y), y, np.nan)
  kept = set()
  for stretch in np.array_split(np.arange(len(x)), _MAX_POINTS // 2):
    if np.isnan(filled[stretch]).all():
      kept.add(int(stretch[0]))
    else:
      kept |= {
        int(stretch[np.nanargmin(filled[stretch])]),
        int(stretch[np.nanargmax(filled[stretch])]),
      }
  index = np.array(sorted(kept))
  return x[index], y[index]


def _colours(count: int) -> Sequence:
  import matplotlib

  if count <= _MAX_LEGEND:
    return matplotlib.color_sequences['tab10'][:count]
  return matplotlib.colormaps['viridis'](np.linspace(0.0, 0.9, count)).tolist()

"""Pictures of trajectories as SVG, by matplotlib (the extra `report`)."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tempo_jax.errors import InputError

if TYPE_CHECKING:
  from matplotlib import figure as mpl_figure

_SIZE = (8.0, 2.6)  # inches
_MAX_LEGEND = 8
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


def require() -> None:
  """Raises `InputError` if matplotlib is not installed."""
  try:
    import matplotlib  # noqa: F401
  except ImportError:
    raise InputError(
      'reports need matplotlib, which is not installed: pip install tempo_jax[report]'
    ) from None


def to_svg(figure: 'mpl_figure.Figure') -> str:
  """The `<svg>` element of a figure: no XML header, nothing fetched from elsewhere."""
  import matplotlib

  stream = io.StringIO()
  nothing = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))
  with matplotlib.rc_context(STYLE):
    figure.savefig(stream, format='svg', metadata=nothing, transparent=True)
  text = stream.getvalue()
  return text[text.index('<svg') :].strip()


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
  import matplotlib
  from matplotlib import figure as mpl_figure

  with matplotlib.rc_context(STYLE):
    figure = mpl_figure.Figure(figsize=_SIZE, layout='constrained')
    axes = figure.add_subplot()
    colours = _colours(len(curves))
    for (label, group), colour in zip(curves.items(), colours, strict=True):
      for k, y in enumerate(np.atleast_2d(np.asarray(group, float))):
        # A single point is no line.
        marker = 'o' if len(x) == 1 else ''
        shown = np.where(np.isfinite(y), y, np.nan)
        axes.plot(x, shown, color=colour, marker=marker, label=None if k else label)
    for limit in limits:
      axes.axhline(limit, color='#b00020', linestyle='--', linewidth=0.8)
    for mark in marks:
      axes.axvline(mark, color='#888888', linestyle=':', linewidth=0.8)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.margins(x=0.0 if len(x) > 1 else 0.05)
    if x_name is not None:
      axes.locator_params(axis='x', integer=True)
      axes.xaxis.set_major_formatter(lambda value, _: x_name(value))
    if 1 < len(curves) <= _MAX_LEGEND:
      figure.legend(loc='outside right upper')
  return figure


def _colours(count: int) -> Sequence:
  import matplotlib

  if count <= _MAX_LEGEND:
    return matplotlib.color_sequences['tab10'][:count]
  return matplotlib.colormaps['viridis'](np.linspace(0.0, 0.9, count)).tolist()

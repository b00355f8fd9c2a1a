"""Kinetic states of one protein in pictures: shares, passage times, implied time scales."""

import numpy as np

from tempo_jax.evaluation.series_kinetics import KineticSeries
from tempo_jax.report import charts, page, plots

_LABELS = ('MD', plots.REFERENCE), ('prediction', plots.PREDICTION)


def shares(found: KineticSeries) -> str:
  """Bars of both, with the halves of MD as thin lines."""
  sides = zip(_LABELS, (found.reference, found.prediction), strict=True)
  groups = [
    charts.Bars(label, colour, 100.0 * side.shares, _percent(side.share_errors))
    for (label, colour), side in sides
    if side is not None
  ]
  halves = [charts.Bars('halves of MD', plots.BASELINE, 100.0 * half) for half in found.half_shares]
  names = [str(k + 1) for k in range(len(found.reference.shares))]
  figure = charts.bars(groups, names, x_label='state', y_label='share of time (%)', marks=halves)
  return page.picture(
    plots.to_svg(figure),
    'Share of time in each kinetic state. States are clusters of frames of MD along its slow '
    'coordinates (TICA of distances between CA atoms). ' + _errors(found),
  )


def _percent(errors: np.ndarray | None) -> np.ndarray | None:
  return None if errors is None else 100.0 * errors


def _errors(found: KineticSeries) -> str:
  parts = [
    f'{side.num_pieces} pieces of {side.piece_ns:.2g} ns of {"MD" if k == 0 else "the prediction"}'
    for k, side in enumerate((found.reference, found.prediction))
    if side is not None and side.share_errors is not None
  ]
  if not parts:
    return ''
  return (
    f'Error bars: standard errors, by drawing again {" and ".join(parts)}; too small for motion '
    'that takes longer than a piece.'
  )


def passage_times(found: KineticSeries) -> str:
  """Passage times of the prediction against those of MD, and time scales over the lag."""
  shown = [plane for plane in (passages(found), time_scales(found)) if plane is not None]
  if not shown:
    return ''
  names, texts = [], []
  if shown[0].square:
    names.append('passage times between states')
    texts.append(
      'Each point is a pair of states'
      + (
        '; hollow points are the first half of MD against the second, and show how far MD agrees '
        'with itself.'
        if found.half_passage_times_ns is not None
        else '.'
      )
    )
  if not shown[-1].square:
    names.append('implied time scales over the lag')
    texts.append(
      'Implied time scales are flat over the lag where the states describe the motion; in the '
      'shaded region they are shorter than the lag. ' + _errors(found)
    )
  title = ' and '.join(names)
  caption = f'{title[0].upper()}{title[1:]}. {" ".join(texts)}'
  return page.picture(plots.to_svg(charts.planes(shown)), caption)


def passages(found: KineticSeries) -> charts.Plane | None:
  """Pairs of states: the prediction against MD, and MD against itself."""
  theirs, halves = found.reference.passage_times_ns, found.half_passage_times_ns
  ours = None if found.prediction is None else found.prediction.passage_times_ns
  shown = []
  if halves is not None:
    x, y = (half[_off_diagonal(half)] for half in halves[::-1])
    shown.append(charts.Points('halves of MD', plots.BASELINE, x, y, thin=True))
  if ours is not None and theirs is not None:
    pairs = _off_diagonal(ours)
    shown.append(charts.Points('prediction', plots.PREDICTION, theirs[pairs], ours[pairs]))
  if not any(np.isfinite(points.x + points.y).any() for points in shown):
    return None
  return charts.Plane(
    shown,
    'passage time in MD (ns)',
    'passage time (ns)',
    logarithmic=True,
    diagonal='line',
    square=True,
  )


def _off_diagonal(matrix: np.ndarray) -> np.ndarray:
  return ~np.eye(len(matrix), dtype=bool)


def time_scales(found: KineticSeries) -> charts.Plane | None:
  """Of both, over the lag."""
  shown = []
  for (label, colour), side in zip(_LABELS, (found.reference, found.prediction), strict=True):
    if side is None:
      continue
    columns = zip(side.time_scales_ns.T, side.time_scale_errors_ns.T, strict=True)
    shown += [
      charts.Points(label, colour, found.lags_ns, scales, errors, joined=True)
      for scales, errors in columns
      if np.isfinite(scales).any()
    ]
  if not shown:
    return None
  return charts.Plane(
    shown, 'lag (ns)', 'implied time scales (ns)', logarithmic=True, diagonal='below', width=1.2
  )

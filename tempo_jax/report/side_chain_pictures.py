"""Side chains of one protein in pictures: chi1 and chi2 of MD and of the prediction."""

import math

import numpy as np

from tempo_jax.evaluation.series_side_chains import NUM_CHI, SideChainSeries
from tempo_jax.report import charts, page, plots

_SHOWN = 3  # Residues, of chi1 and of chi2.


def divergences(found: SideChainSeries) -> str:
  """How far chi1 of each residue is from MD's, and rotamer populations against each other."""
  residue = np.arange(1.0, len(found.names) + 1.0)
  planes = []
  if not np.isnan(found.divergences[:, 0]).all():
    chi1 = [
      charts.Points(
        'halves of MD', plots.BASELINE, residue, found.half_divergences[:, 0], thin=True
      ),
      charts.Points('prediction', plots.PREDICTION, residue, found.divergences[:, 0]),
    ]
    planes.append(charts.Plane(chi1, 'residue', 'JSD of chi1 (bits)', from_zero=True, width=1.6))
  theirs, ours = 100.0 * found.populations.reshape(2, -1)
  if np.isfinite(theirs + ours).any():
    wells = [charts.Points('prediction', plots.PREDICTION, theirs, ours)]
    planes.append(
      charts.Plane(
        wells, 'rotamer in MD (%)', 'in the prediction (%)', diagonal='line', square=True
      )
    )
  if not planes:
    return ''
  return page.picture(
    plots.to_svg(charts.planes(planes)),
    'Divergence of chi1 from MD along the sequence, and populations of rotamers. Hollow points: '
    'the first half of MD against the second. Fewer frames raise a divergence. Each point on the '
    'right is a rotamer of chi1 or chi2 of one residue.',
  )


def distributions(found: SideChainSeries) -> str:
  """Histograms of those chi1 and chi2 that differ most."""
  panels = [
    histogram(found, residue, chi) for chi in range(NUM_CHI) for residue in _worst(found, chi)
  ]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.row(panels)),
    'Distributions of chi1 and chi2 of the residues that differ most from MD. Angles that look the '
    'same, such as those of a benzene ring turned over, are counted together.',
  )


def _worst(found: SideChainSeries, chi: int) -> list[int]:
  column = found.divergences[:, chi]
  order = np.argsort(-np.nan_to_num(column, nan=-1.0), kind='stable')[:_SHOWN]
  return [int(k) for k in order if not np.isnan(column[k])]


def histogram(found: SideChainSeries, residue: int, chi: int) -> plots.Panel:
  """Of one chi, MD and prediction.

  Args:
    found: of the protein.
    residue: from 0.
    chi: 0 for chi1, or 1.
  """
  degrees = math.degrees(found.periods[residue, chi])
  edges = np.linspace(0.0, degrees, found.counts.shape[-1] + 1)
  curves = []
  sides = ('MD', plots.REFERENCE), ('prediction', plots.PREDICTION)
  for (label, colour), counts in zip(sides, found.counts[:, residue, chi], strict=True):
    share = 100.0 * counts / max(counts.sum(), 1)
    # Steps: each bin at its full width.
    curves.append(plots.Curve(label, colour, np.repeat(edges, 2)[1:-1], np.repeat(share, 2)))
  return plots.Panel(curves, f'chi{chi + 1} of {found.names[residue]} (°)', '% of frames')

"""One protein of an evaluation in pictures: reference against prediction."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tempo_jax import extras
from tempo_jax.evaluation.series import (
  RAMACHANDRAN_BINS,
  EnsembleSeries,
  ProteinSeries,
  ReplicaSeries,
)
from tempo_jax.metrics import validity
from tempo_jax.report import (
  kinetic_pictures,
  page,
  plots,
  sentences,
  side_chain_pictures,
  viewer,
)
from tempo_jax.report import sticks as sticks_lib

Metrics = Mapping[str, float | None]
"""Name with unit, such as 'root mean W2 (Å)' -> value, or None where it cannot be computed."""


@dataclasses.dataclass(frozen=True)
class ProteinSection:
  """What `draw` makes of a protein: text only, quick to keep and to pass on.

  Attributes:
    name: of the protein.
    num_residues: L.
    metrics: of the protein.
    notes: of the protein.
    pictures: HTML.
    viewer: HTML, empty if there are no coordinates.
  """

  name: str
  num_residues: int
  metrics: Metrics
  notes: tuple[str, ...]
  pictures: str
  viewer: str


def draw(curves: ProteinSeries, metrics: Metrics, notes: Sequence[str] = ()) -> ProteinSection:
  """Draws one protein: 1-2 s.

  Args:
    curves: of the protein.
    metrics: in the order in which they are shown.
    notes: plain texts for the user, such as why something is missing.

  Raises:
    InputError: matplotlib is not installed.
  """
  extras.require('matplotlib', 'report')
  parts = (
    ('Flexibility', sentences.flexibility(curves), _flexibility(curves)),
    ('Over time', sentences.over_time(curves), _over_time(curves)),
    (
      'Free energy',
      sentences.free_energy(curves),
      _surfaces(curves) + _paths(curves) + _profiles(curves),
    ),
    ('Contacts', sentences.contacts(curves), _contacts(curves)),
    ('Interfaces', sentences.interfaces(curves), _interfaces(curves)),
    ('Backbone torsions', sentences.backbone_torsions(curves), _ramachandran(curves)),
    *_kinetics(curves),
    _side_chains(curves),
    ('Validity', sentences.validity_of(curves), _validity(curves)),
  )
  clips = [c.clip for c in (curves.reference, curves.prediction) if c.clip is not None]
  sticks = None if curves.residues is None else sticks_lib.Sticks.of(curves.residues)
  return ProteinSection(
    curves.name,
    len(curves.chain_index),
    dict(metrics),
    tuple(notes),
    ''.join(
      page.subsection(title, page.paragraph(_whole_units(sentence)) if sentence else '', pictures)
      for title, sentence, pictures in parts
      if sentence or pictures
    ),
    viewer.viewer(clips, curves.chain_index, curves.bonded, sticks) if clips else '',
  )


def _whole_units(sentence: str) -> str:
  """No line breaks between a number and its unit."""
  return re.sub(r'(?<=\d) (?=[%Å]|ns\b)', '\N{NO-BREAK SPACE}', sentence)


def _both(curves: ProteinSeries) -> tuple[tuple[EnsembleSeries, str], ...]:
  return (curves.reference, plots.REFERENCE), (curves.prediction, plots.PREDICTION)


def _flexibility(curves: ProteinSeries) -> str:
  shown = [
    plots.Curve(ensemble.label, colour, np.arange(1, len(ensemble.rmsf) + 1), ensemble.rmsf)
    for ensemble, colour in _both(curves)
    if ensemble.rmsf is not None
  ]
  if not shown:
    return ''
  residue = np.arange(1, len(curves.chain_index) + 1)
  shown += [
    plots.Curve('halves of MD', plots.BASELINE, residue, half, thin=True)
    for half in (() if curves.half_rmsf is None else curves.half_rmsf)
  ]
  marks = (np.flatnonzero(np.diff(curves.chain_index)) + 1.5).tolist()
  figure = plots.stack(
    [plots.Panel(shown, 'residue', 'RMSF (Å)', marks=marks, whole=True)], height=2.6
  )
  return page.picture(
    plots.to_svg(figure),
    'Fluctuation of each residue about its mean position. Frames are superposed on the native '
    'structure; dotted lines part chains, thin ones are the halves of MD.',
  )


def _timed_panel(
  curves: ProteinSeries,
  values: Callable[[ReplicaSeries], Sequence[np.ndarray | None]],
  y_label: str,
  limits: Sequence[float] = (),
  counts: bool = False,
) -> plots.Panel | None:
  """A panel of what `values` takes from each replica; None if there is nothing."""
  replicas = [(e, colour, r) for e, colour in _both(curves) for r in e.replicas]
  timed = all(r.time_ns is not None for _, _, r in replicas)
  shown = [
    plots.Curve(
      ensemble.label,
      colour,
      replica.time_ns if timed and replica.time_ns is not None else np.arange(1, len(y) + 1),
      y,
    )
    for ensemble, colour, replica in replicas
    for y in values(replica)
    if y is not None
  ]
  if not shown:
    return None
  return plots.Panel(
    shown, 'time (ns)' if timed else 'frame', y_label, limits, whole=not timed, counts=counts
  )


def _over_time(curves: ProteinSeries) -> str:
  found = [
    _timed_panel(curves, lambda r: [r.rmsd], 'RMSD (Å)'),
    _timed_panel(curves, lambda r: [r.radius_of_gyration], 'Rg (Å)'),
    _timed_panel(curves, lambda r: [r.native_contacts], 'native contacts'),
    _timed_panel(curves, lambda r: [None if r.pcs is None else r.pcs[:, 0]], 'PC1 (Å)'),
  ]
  panels = [panel for panel in found if panel is not None]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.stack(panels)),
    'RMSD, radius of gyration, native contacts and PC1 over time. RMSD is that of CA to the native '
    'structure, native contacts are a fraction, PC1 is the first principal component of the '
    'reference.',
  )


def _surfaces(curves: ProteinSeries) -> str:
  found = [
    (ensemble.label, np.where(np.isfinite(ensemble.free_energy), ensemble.free_energy, np.nan))
    for ensemble, _ in _both(curves)
    if ensemble.free_energy is not None
  ]
  if not found or curves.pc_extent is None:
    return ''
  highest = max(float(np.nanmax(values, initial=1e-3)) for _, values in found)
  scale = plots.Scale('free energy (kcal/mol)', 'viridis_r', 0.0, highest)
  shown = [plots.Map(label, values, curves.pc_extent, scale) for label, values in found]
  figure = plots.maps(shown, x_label='PC1 (Å)', y_label='PC2 (Å)', equal=False)
  return page.picture(
    plots.to_svg(figure),
    'Free energy over the first two principal components of the reference. '
    f'−kT ln p at {curves.temperature_K:g} K; blank where nothing was seen.',
  )


def _paths(curves: ProteinSeries) -> str:
  walks = {
    ensemble.label: [r.pcs for r in ensemble.replicas if r.pcs is not None and len(r.pcs) > 1]
    for ensemble, _ in _both(curves)
  }
  every = [walk for replicas in walks.values() for walk in replicas]
  if not every:
    return ''
  together = np.concatenate(every)
  low, high = together.min(axis=0), together.max(axis=0)
  room = 0.03 * (high - low) + 1e-3
  extent = curves.pc_extent or (
    float(low[0] - room[0]),
    float(high[0] + room[0]),
    float(low[1] - room[1]),
    float(high[1] + room[1]),
  )
  figure = plots.paths(walks, extent, x_label='PC1 (Å)', y_label='PC2 (Å)')
  return page.picture(
    plots.to_svg(figure),
    'The path in the plane of PC1 and PC2, from start (red dot) to end. Replicas are drawn over '
    'each other.',
  )


def _profiles(curves: ProteinSeries) -> str:
  names = list(dict.fromkeys([*curves.reference.profiles, *curves.prediction.profiles]))
  panels = [
    plots.Panel(
      [
        plots.Curve(ensemble.label, colour, *ensemble.profiles[name])
        for ensemble, colour in _both(curves)
        if name in ensemble.profiles
      ],
      name,
      'kcal/mol',
    )
    for name in names
  ]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.row(panels)),
    f'Free-energy profiles. −kT ln p at {curves.temperature_K:g} K, least value 0.',
  )


def _contacts(curves: ProteinSeries) -> str:
  reference, prediction = curves.reference.contacts, curves.prediction.contacts
  if reference is None or prediction is None:
    return ''
  end = len(reference) + 0.5
  extent = (0.5, end, 0.5, end)
  scale = plots.Scale('probability', 'Blues', 0.0, 1.0)
  change = prediction - reference
  most = max(float(np.abs(change).max()), 0.1)
  difference = plots.Scale('difference', 'RdBu_r', -most, most)
  figure = plots.maps(
    [
      plots.Map(curves.reference.label, reference, extent, scale),
      plots.Map(curves.prediction.label, prediction, extent, scale),
      plots.Map('difference', change, extent, difference),
    ],
    x_label='residue',
    y_label='residue',
  )
  return page.picture(
    plots.to_svg(figure),
    f'Probability of each contact, and {curves.prediction.label} minus {curves.reference.label}. '
    'In contact: CA atoms nearer than 8 Å.',
  )


def _interfaces(curves: ProteinSeries) -> str:
  def columns(values: np.ndarray | None) -> Sequence[np.ndarray | None]:
    return [None] if values is None else list(values.T)

  found = [
    _timed_panel(curves, lambda r: columns(r.interface_contacts), 'native contacts'),
    _timed_panel(curves, lambda r: columns(r.ligand_rmsd), 'ligand RMSD (Å)'),
  ]
  panels = [panel for panel in found if panel is not None]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.stack(panels)),
    'Chains that touch, each pair a curve: the fraction of the native contacts between them, and '
    'the RMSD of the shorter one to its native place, once the longer one is superposed.',
  )


def _ramachandran(curves: ProteinSeries) -> str:
  found = []
  for ensemble, _ in _both(curves):
    counts = ensemble.ramachandran
    if counts is not None and counts.any():
      # The root shows rare regions beside the helix.
      found.append((ensemble.label, np.sqrt(np.where(counts > 0, counts / counts.sum(), np.nan))))
  if not found:
    return ''
  highest = max(float(np.nanmax(values)) for _, values in found)
  scale = plots.Scale('square root of share', 'viridis_r', 0.0, highest)
  extent = (-180.0, 180.0, -180.0, 180.0)
  figure = plots.maps(
    [plots.Map(label, values, extent, scale) for label, values in found],
    x_label='phi (°)',
    y_label='psi (°)',
  )
  for axes in figure.axes[: len(found)]:
    axes.set(xticks=[-180, -90, 0, 90, 180], yticks=[-180, -90, 0, 90, 180])
  return page.picture(
    plots.to_svg(figure),
    'Ramachandran plot of all residues and frames. '
    f'Cells of {360 / RAMACHANDRAN_BINS:g}°; blank where nothing was seen.',
  )


def _autocorrelations(curves: ProteinSeries) -> str:
  names = list(
    dict.fromkeys([*curves.reference.autocorrelations, *curves.prediction.autocorrelations])
  )
  panels = [
    plots.Panel(
      [
        plots.Curve(ensemble.label, colour, *ensemble.autocorrelations[name])
        for ensemble, colour in _both(curves)
        if name in ensemble.autocorrelations
      ],
      'lag time (ns)',
      name,
    )
    for name in names
  ]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.row(panels)), 'Autocorrelation of torsions and of slow coordinates.'
  )


def _kinetics(curves: ProteinSeries) -> tuple[tuple[str, str, str], ...]:
  found = curves.kinetic
  memory = sentences.autocorrelations(curves)
  if found is None:
    why = f'Kinetic states are not compared: {curves.no_kinetic}.' if curves.no_kinetic else ''
    return (('Kinetics', f'{memory} {why}'.strip(), _autocorrelations(curves)),)
  speed = (memory, sentences.passage_times(found), sentences.time_scales(found))
  pictures = kinetic_pictures.passage_times(found) + _autocorrelations(curves)
  return (
    ('Kinetic states', sentences.states(found), kinetic_pictures.shares(found)),
    ('Kinetics', ' '.join(filter(None, speed)), pictures),
  )


def _side_chains(curves: ProteinSeries) -> tuple[str, str, str]:
  found = curves.side_chains
  if found is None:
    why = curves.no_side_chains
    return 'Side chains', f'Side chains are not compared: {why}.' if why else '', ''
  pictures = side_chain_pictures.divergences(found) + side_chain_pictures.distributions(found)
  return 'Side chains', sentences.side_chains(found), pictures


def _validity(curves: ProteinSeries) -> str:
  found = [
    _timed_panel(
      curves,
      lambda r: [r.ca_ca_min, r.ca_ca_max],
      'CA-CA (Å)',
      (validity.MIN_CA_CA, validity.MAX_CA_CA),
    ),
    _timed_panel(curves, lambda r: [r.c_n_max], 'longest C-N (Å)', (validity.MAX_C_N,)),
    _timed_panel(curves, lambda r: [r.clashes], 'clashes', counts=True),
  ]
  panels = [panel for panel in found if panel is not None]
  if not panels:
    return ''
  return page.picture(
    plots.to_svg(plots.stack(panels)),
    'Validity of every frame. Least and greatest distance of neighbouring CA atoms, longest '
    f'peptide bond, and pairs of backbone atoms nearer than {validity.CLASH_DISTANCE:g} Å; outside '
    'the dashed lines a chain is broken.',
  )

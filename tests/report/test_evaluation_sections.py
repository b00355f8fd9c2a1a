"""The sections of one protein in the report of an evaluation."""

import dataclasses
import re

import numpy as np
import pytest

from tempo_jax.evaluation import columns, evaluation
from tempo_jax.evaluation.scores import Settings
from tempo_jax.evaluation.series import EnsembleSeries, ReplicaSeries
from tempo_jax.report import (
  charts,
  evaluation_page,
  kinetic_pictures,
  page,
  plots,
  protein_section,
  sentences,
  side_chain_pictures,
)
from tests.evaluation import cases
from tests.report.test_page import check_self_contained

pytest.importorskip('matplotlib')

LABELS = 'MD', 'prediction'
COLOURS = plots.REFERENCE, plots.PREDICTION


@pytest.fixture(scope='module')
def curves(tmp_path_factory):
  """MD of ten residues, its halves against each other, with side chains."""
  ensembles = columns.read(cases.simulated_halves(tmp_path_factory.mktemp('md') / 'case'))
  return evaluation.evaluate('md', *ensembles, Settings(), with_baselines=False).series


@pytest.fixture(scope='module')
def section(curves):
  return protein_section.draw(curves, {'rmsf (Å)': 0.5})


def alone(curves, **others):
  """Without the other series, which take long to draw."""
  bare = EnsembleSeries('MD'), EnsembleSeries('prediction')
  kept = {'recovery': None, 'kinetic': None, 'side_chains': None} | others
  return dataclasses.replace(curves, reference=bare[0], prediction=bare[1], **kept)


def parts(section):
  """Heading -> HTML below it."""
  found = re.split(r'<h3>(.*?)</h3>', section.pictures)
  return dict(zip(found[1::2], found[2::2], strict=True))


def test_every_section_has_a_sentence_and_pictures(curves, section):
  outline = check_self_contained(section.pictures)
  found = parts(section)
  assert list(found) == [
    *('Flexibility', 'Over time', 'Free energy', 'Contacts', 'Backbone torsions'),
    *('Kinetic states', 'Kinetics', 'Side chains', 'Validity'),
  ]
  for text in found.values():
    assert re.match(r'<p>[^<]+\.</p><figure', text)
  names = [value for name, value in outline.attributes if name == 'aria-label']
  assert len(names) == outline.tags.count('svg') == outline.tags.count('figcaption')
  texts = [text.replace('\u00a0', ' ') for text in outline.texts]
  assert sentences.states(curves.kinetic) in texts
  assert sentences.side_chains(curves.side_chains) in texts
  # Sticks in 3-D, of both.
  assert 'data-choose="sticks"' in section.viewer


def test_colours_are_the_same_everywhere(section):
  for title in ('Flexibility', 'Kinetic states', 'Side chains'):
    text = parts(section)[title]
    assert set(COLOURS) <= set(re.findall('#[0-9a-f]{6}', text)), title
  assert plots.BASELINE in parts(section)['Kinetic states']


def test_halves_of_md_are_thin_lines_beside_the_rmsf(curves):
  halves = np.array_split(np.arange(sum(len(r.rmsd) for r in curves.reference.replicas)), 2)
  assert curves.half_rmsf.shape == (2, 10)
  # About two means instead of one: the mean square is less, by the distance of the means.
  square = np.average(curves.half_rmsf**2, axis=0, weights=[len(x) for x in halves])
  assert np.all(square <= curves.reference.rmsf**2 + 1e-9)
  assert np.all(square >= 0.2 * curves.reference.rmsf**2)
  both = [
    plots.Curve(label, plots.COLOURS[label], np.arange(10), y, thin=thin)
    for label, y, thin in (
      ('MD', curves.reference.rmsf, False),
      ('halves of MD', curves.half_rmsf[0], True),
      ('halves of MD', curves.half_rmsf[1], True),
    )
  ]
  (axes,) = plots.stack([plots.Panel(both, 'x', 'y')]).axes
  widths = [line.get_linewidth() for line in axes.lines]
  assert widths == [1.0, plots.THIN, plots.THIN]
  assert axes.lines[0].get_alpha() == 1.0  # No more than one of MD.


def test_numbers_stay_with_their_units(section):
  assert re.search('[0-9] [%Å]', ' '.join(re.findall('<p>(.*?)</p>', section.pictures))) is None
  assert re.search('[0-9]\u00a0%', section.pictures)


def test_chains_that_touch_over_time(curves):
  rng = np.random.default_rng(0)
  replicas = [
    ReplicaSeries(
      np.arange(5.0), interface_contacts=rng.random((5, 2)), ligand_rmsd=np.ones((5, 2))
    )
    for _ in range(2)
  ]
  sides = {
    name: dataclasses.replace(getattr(alone(curves), name), replicas=replicas[:k])
    for name, k in (('reference', 1), ('prediction', 2))
  }
  found = parts(protein_section.draw(dataclasses.replace(alone(curves), **sides), {}))
  assert found['Interfaces'].startswith('<p>Chains that touch keep')
  for label in ('native contacts', 'ligand RMSD (Å)', 'time (ns)'):
    assert label in found['Interfaces']
  assert 'Interfaces' not in parts(protein_section.draw(alone(curves, no_kinetic='x'), {}))


def test_sections_without_data_say_why(curves):
  without = alone(
    curves,
    no_kinetic='prediction: its frames have no times',
    no_side_chains='P.xtc has no side chains',
  )
  found = parts(protein_section.draw(without, {}))
  assert list(found) == ['Kinetics', 'Side chains']
  assert found['Side chains'] == '<p>Side chains are not compared: P.xtc has no side chains.</p>'
  assert found['Kinetics'] == (
    '<p>Kinetic states are not compared: prediction: its frames have no times.</p>'
  )


def test_a_prediction_without_a_markov_model(curves):
  prediction = dataclasses.replace(
    curves.kinetic.prediction, passage_times_ns=None, reason='3 changes are too few'
  )
  kinetic = dataclasses.replace(curves.kinetic, prediction=prediction)
  found = parts(protein_section.draw(alone(curves, kinetic=kinetic), {}))
  assert 'The prediction has no passage times: 3 changes are too few.' in found['Kinetics']
  nothing = dataclasses.replace(kinetic, prediction=None, reason='no lag fits')
  found = parts(protein_section.draw(alone(curves, kinetic=nothing), {}))
  assert 'The prediction is in no state: no lag fits.' in found['Kinetic states']
  assert '<figure' in found['Kinetic states']


def test_the_prediction_is_drawn_against_md(curves):
  times = np.array([[0.0, 1.0], [4.0, 0.0]])
  sides = [
    dataclasses.replace(side, passage_times_ns=scale * times)
    for side, scale in ((curves.kinetic.reference, 1.0), (curves.kinetic.prediction, 3.0))
  ]
  found = dataclasses.replace(
    curves.kinetic,
    reference=sides[0],
    prediction=sides[1],
    half_passage_times_ns=np.stack([times, 2.0 * times]),
  )
  halves, ours = kinetic_pictures.passages(found).points
  assert (ours.x.tolist(), ours.y.tolist()) == ([1.0, 4.0], [3.0, 12.0])
  assert (halves.x.tolist(), halves.y.tolist(), halves.thin) == ([2.0, 8.0], [1.0, 4.0], True)
  scales = kinetic_pictures.time_scales(curves.kinetic).points
  assert {(each.label, each.colour) for each in scales} == set(zip(LABELS, COLOURS, strict=True))
  np.testing.assert_array_equal(scales[0].y, curves.kinetic.reference.time_scales_ns[:, 0])


def test_distributions_of_chi(curves):
  found = curves.side_chains
  residue = found.names.index('TYR 1')
  theirs, ours = side_chain_pictures.histogram(found, residue, 1).curves
  assert ((theirs.label, theirs.colour), (ours.label, ours.colour)) == tuple(
    zip(LABELS, COLOURS, strict=True)
  )
  # Half a turn: a ring that is turned over is the same.
  assert ours.x[[0, -1]].tolist() == [0.0, 180.0]
  assert np.mean(theirs.y) * 36 == pytest.approx(100.0)
  counts = found.counts[1, residue, 1]
  np.testing.assert_allclose(ours.y[::2], 100.0 * counts / counts.sum())


def test_points_are_where_they_should_be():
  y = np.array([2.0, np.nan, 50.0])
  x = np.array([1.0, 3.0, 100.0])
  plane = charts.Plane(
    [charts.Points('MD', plots.REFERENCE, x, y, errors=np.array([5.0, 1.0, np.nan]), joined=True)],
    'x',
    'y',
    logarithmic=True,
    diagonal='line',
    square=True,
  )
  (axes, beside) = charts.planes([plane]).axes
  assert not beside.axison
  np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[1.0, 2.0], [100.0, 50.0]])
  ends = axes.collections[0].get_segments()
  np.testing.assert_allclose(ends[0], [[1.0, 0.2], [1.0, 7.0]])
  assert axes.get_xscale() == axes.get_yscale() == 'log'
  assert axes.get_xlim() == axes.get_ylim()
  np.testing.assert_array_equal(*axes.lines[-1].get_xydata().T)


def test_bars_stand_side_by_side():
  heights = np.array([[3.0, 1.0], [2.0, 4.0]])
  groups = [
    charts.Bars(label, colour, height, 0.1 * height)
    for label, colour, height in zip(('MD', 'prediction'), COLOURS, heights, strict=True)
  ]
  marks = [charts.Bars('halves of MD', plots.BASELINE, np.array([2.5, 1.5]))]
  figure = charts.bars(groups, ['1', '2'], x_label='state', y_label='%', marks=marks)
  (axes,) = figure.axes
  bars = [(b.get_x(), b.get_x() + b.get_width(), b.get_height()) for b in axes.patches]
  assert [height for _, _, height in bars] == [3.0, 1.0, 2.0, 4.0]
  assert bars[0][0] < bars[0][1] < bars[2][0] < bars[2][1] < bars[1][0]
  (legend,) = figure.legends
  assert [text.get_text() for text in legend.get_texts()] == ['MD', 'prediction', 'halves of MD']


def test_long_tables_fold():
  def rows(count):
    groups = ['first'] * 9 + ['others'] * (count - 9)
    known = {'prediction': evaluation_page.Estimate(1.0)}
    unknown = {'prediction': evaluation_page.Estimate(None)}
    return [
      *(evaluation_page.SummaryRow(f'number {k}', known, name) for k, name in enumerate(groups)),
      evaluation_page.SummaryRow('of nothing', unknown, 'unknown'),
    ]

  protein = protein_section.ProteinSection('p', 9, {}, tuple('abcdef'), '', '')
  text = evaluation_page.evaluation_page('p', rows(40), [protein], {})
  outline = check_self_contained(text)
  assert outline.tags.count('details') == 3
  assert {'first (9 numbers)', 'others (31 numbers)', '6 notes'} <= set(outline.texts)
  assert text.count('<details open>') == 1
  assert all(f'number {k}' in outline.texts for k in range(40))
  assert 'of nothing' not in outline.texts
  said = evaluation_page.evaluation_page(
    'p', rows(40), [protein], {}, summary_sentence='It is < 1.'
  )
  assert '<h2>Summary</h2><p>It is &lt; 1.</p><details open>' in said
  short = evaluation_page.evaluation_page('p', rows(20), [protein], {})
  assert check_self_contained(short).tags.count('details') == 1


def test_a_folded_part_needs_no_anchor():
  assert page.details('t', 'x') == '<details><summary>t</summary><div>x</div></details>'

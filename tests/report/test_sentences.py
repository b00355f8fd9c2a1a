"""Known numbers, known sentences."""

import dataclasses

import numpy as np
import pytest

from tempo_jax.evaluation.series import EnsembleSeries, ProteinSeries, ReplicaSeries
from tempo_jax.evaluation.series_kinetics import KineticSeries, StateSeries
from tempo_jax.evaluation.series_side_chains import SideChainSeries
from tempo_jax.metrics import state_recovery
from tempo_jax.report import sentences

NONE = np.full((1, 3), np.nan)


def series(reference=None, prediction=None, **others):
  return ProteinSeries(
    'p',
    np.zeros(3, int),
    np.array([True, True, False]),
    EnsembleSeries('MD', **(reference or {})),
    EnsembleSeries('prediction', **(prediction or {})),
    **others,
  )


def side(shares, times=None, scales=NONE, errors=NONE, reason=None):
  times = None if times is None else np.asarray(times, float)
  return StateSeries(np.asarray(shares), None, times, scales, errors, 12, 0.5, reason)


def kinetic(reference, prediction, halves=((0.5, 0.2, 0.3), (0.6, 0.2, 0.2)), **others):
  found = {'half_passage_times_ns': None} | others
  return KineticSeries(0.1, np.array([0.1]), reference, prediction, np.array(halves), **found)


def test_numbers_and_shares():
  assert [sentences.number(x) for x in (0.0123, 1.26, 123.4, -0.5, 0.0)] == [
    *('0.012', '1.3', '123', '−0.50', '0')
  ]
  assert [sentences.percent(x) for x in (0.0, 1e-4, 0.31, 0.9999, 1.0)] == [
    *('0 %', 'less than 1 %', '31 %', '99 %', '100 %')
  ]


def test_ranking():
  values = {'prediction': 0.454, 'halves': 0.77, 'noise': 0.3, 'frozen': 1.3, 'none': None}
  assert sentences.ranking(values, 'prediction') == (
    'By root mean W2 the prediction (0.45 Å) is closer to MD than halves (0.77 Å) and frozen '
    '(1.30 Å), but not closer than noise (0.30 Å).'
  )
  values |= {'prediction': 2.0}
  assert sentences.ranking(values, 'prediction') == (
    'By root mean W2 the prediction (2.00 Å) is not closer to MD than noise (0.30 Å), halves '
    '(0.77 Å) or frozen (1.30 Å).'
  )
  best = {'prediction': 0.1, 'frozen': 0.2}
  assert sentences.ranking(best, 'prediction') == (
    'By root mean W2 the prediction (0.10 Å) is closer to MD than frozen (0.20 Å).'
  )
  assert sentences.ranking({'prediction': 2.0}, 'prediction') == ''
  assert sentences.ranking({'frozen': 2.0}, 'prediction') == ''


def test_nothing_is_said_without_data():
  nothing = series()
  for say in (
    *(sentences.flexibility, sentences.over_time, sentences.free_energy, sentences.contacts),
    *(sentences.backbone_torsions, sentences.autocorrelations, sentences.validity_of),
    sentences.interfaces,
  ):
    assert say(nothing) == ''


def test_flexibility():
  both = series({'rmsf': np.array([1.0, 1.0, 1.0])}, {'rmsf': np.array([1.0, 3.0, 2.0])})
  assert sentences.flexibility(both) == (
    'Residues of the prediction fluctuate by 2.0 Å on average, those of MD by 1.0 Å; the '
    'difference is largest at residue 2, 3.0 Å against 1.0 Å.'
  )
  named = dataclasses.replace(both, names=('LEU 7', 'PHE 8', 'ALA 9'))
  assert 'is largest at residue 2 (PHE 8), 3.0 Å' in sentences.flexibility(named)


def test_over_time_weighs_frames():
  long, short = (ReplicaSeries(rmsd=np.full(n, x)) for n, x in ((3, 2.0), (1, 6.0)))
  both = series({'replicas': [short]}, {'replicas': [long, short]})
  assert sentences.over_time(both) == (
    'On average the prediction is 3.0 Å from the native structure (MD: 6.0).'
  )
  whole = ReplicaSeries(
    rmsd=np.ones(2), radius_of_gyration=np.full(2, 9.0), native_contacts=np.array([0.7, 0.9])
  )
  assert sentences.over_time(series({'replicas': [whole]}, {'replicas': [whole]})) == (
    'On average the prediction is 1.0 Å from the native structure (MD: 1.0), has a radius of '
    'gyration of 9.0 Å (MD: 9.0) and keeps 80 % of the native contacts (MD: 80).'
  )


def test_free_energy():
  points = np.array([[0.5, 0.5], [9.5, 9.5], [5.5, 5.5], [0.5, 0.5]])
  outside = np.array([[0.5, 0.5], [2.5, 7.5], [20.0, 0.5], [0.6, 0.6]])
  found, _ = state_recovery.state_recovery(outside, points)
  assert sentences.free_energy(series(recovery=found)) == (
    'Of the 3 cells (of 10 × 10 over PC1 and PC2) that MD visits, the prediction visits 1, in '
    'which MD spends 50 % of its time; 50 % of the predicted frames are where MD never is.'
  )


def test_contacts():
  theirs = np.zeros((3, 3))
  ours = theirs.copy()
  ours[0, 2] = ours[2, 0] = 0.9
  assert sentences.contacts(series({'contacts': theirs}, {'contacts': ours})) == (
    '1 contact is more probable by 0.5 in the prediction than in MD, and 0 less probable; residues '
    '1 and 3 differ most, in contact in 90 % of the predicted frames and in 0 % of those of MD.'
  )
  assert sentences.contacts(series({'contacts': ours}, {'contacts': theirs})).startswith(
    '0 contacts are more probable by 0.5 in the prediction than in MD, and 1 less probable; '
  )
  assert sentences.contacts(series({'contacts': ours}, {'contacts': 0.8 * ours})).startswith(
    'No contact is more or less probable by 0.5 in the prediction than in MD; residues 1 and 3 '
  )


def test_backbone_torsions():
  def counts(**cells):
    angles = {'helix': (-60, -40), 'strand': (-120, 130), 'below': (-120, -170), 'left': (60, 40)}
    found = np.zeros((72, 72))
    for name, count in cells.items():
      phi, psi = angles[name]
      found[(phi + 180) // 5, (psi + 180) // 5] = count
    return found

  both = series(
    {'ramachandran': counts(helix=1, strand=1)},
    {'ramachandran': counts(helix=5, strand=2, below=2, left=1)},
  )
  assert sentences.backbone_torsions(both) == (
    'Residues of the prediction are helical in 50 % of all cases, extended in 40 %, and at '
    'positive phi in 10 %; in MD these are 50 %, 50 % and 0 %.'
  )


def test_states():
  found = kinetic(side([0.55, 0.2, 0.25]), side([0.31, 0.0, 0.69]))
  assert sentences.states(found) == (
    "The prediction visits 2 of MD's 3 states, and spends 31 % of its time in the one where MD "
    'spends 55 % (the halves of MD: 50 % and 60 %).'
  )
  found = dataclasses.replace(found, prediction=None, reason='its lag does not fit')
  assert sentences.states(found) == 'The prediction is in no state: its lag does not fit.'


def test_passage_times():
  times = np.array([[0.0, 1.0, 2.0], [4.0, 0.0, 8.0], [16.0, 32.0, 0.0]])
  shares = [0.5, 0.3, 0.2]
  found = kinetic(side(shares, times), side(shares, times / 2.0))
  assert sentences.passage_times(found) == (
    'Passage times of the prediction are 2.0 times shorter than those of MD (geometric mean of 6 '
    'pairs of states), and their logarithms correlate by 1.00.'
  )
  turned = np.where(times > 0.0, 64.0 / np.maximum(times, 1e-9), 0.0)
  halves = np.stack([times, 3.0 * times])
  found = kinetic(side(shares, times), side(shares, turned), half_passage_times_ns=halves)
  # 2^0 to 2^5, geometric mean 2^2.5; turned: 2^3.5.
  assert sentences.passage_times(found) == (
    'Passage times of the prediction are 2.0 times longer than those of MD (geometric mean of 6 '
    'pairs of states), and their logarithms correlate by −1.00; those of the halves of MD by 1.00.'
  )
  same = kinetic(side(shares, times), side(shares, 1.001 * times))
  assert 'are as long as those of MD' in sentences.passage_times(same)
  alone = np.where(np.eye(3, dtype=bool), 0.0, np.nan)
  found = kinetic(side(shares, times), side(shares, alone))
  assert sentences.passage_times(found).startswith('No two states are connected in both')
  found = kinetic(side(shares, times), side(shares, reason='7 changes are too few'))
  assert sentences.passage_times(found) == (
    'The prediction has no passage times: 7 changes are too few.'
  )
  found = kinetic(side(shares, reason='it rests'), side(shares, times))
  assert sentences.passage_times(found) == 'MD itself has no passage times: it rests.'


def test_two_states_have_no_correlation():
  times = np.array([[0.0, 1.0], [4.0, 0.0]])
  assert sentences.compared(10.0 * times, times) == (pytest.approx(1.0), None, 2)


def test_time_scales():
  def of(value, error):
    return side([1.0], scales=np.array([[value, 0.2, 0.1]]), errors=np.array([[error, 0.1, 0.1]]))

  assert sentences.time_scales(kinetic(of(3.14, 0.42), of(1.87, 0.31))) == (
    'The slowest motion between states takes 1.9 ± 0.3 ns in the prediction and 3.1 ± 0.4 ns in '
    'MD, a difference of 2.4 standard errors.'
  )
  assert sentences.time_scales(kinetic(of(3.14, np.nan), of(1.87, 0.31))) == (
    'The slowest motion between states takes 1.9 ± 0.3 ns in the prediction and 3.1 ns in MD.'
  )
  assert sentences.time_scales(kinetic(of(3.14, 0.4), of(np.nan, np.nan))) == ''


def test_autocorrelations():
  lags = np.array([0.0, 0.1, 0.2, 0.3])
  theirs = np.array([1.0, 0.6, 0.3, -0.1])
  name = 'phi and psi'
  both = series(
    {'autocorrelations': {name: (lags, theirs)}},
    {'autocorrelations': {name: (0.5 * np.arange(3), np.array([1.0, 0.5, 0.0]))}},
  )
  assert sentences.autocorrelations(both) == (
    'After 0.2 ns the autocorrelation of phi and psi is 0.80 in the prediction and 0.30 in MD.'
  )


def test_side_chains():
  # LEU keeps MD's rotamer, PHE changes it; ALA has none.
  populations = np.full((2, 3, 2, 3), np.nan)
  populations[:, 0, 0] = [0.1, 0.9, 0.0], [0.3, 0.7, 0.0]
  populations[:, 1, 0] = [0.0, 0.2, 0.8], [0.0, 0.85, 0.15]
  found = SideChainSeries(
    ('LEU 7', 'PHE 8', 'ALA 9'),
    np.full((3, 2), 2.0 * np.pi),
    np.zeros((2, 3, 2, 36), int),
    np.full((3, 2), np.nan),
    np.full((3, 2), np.nan),
    populations,
    np.broadcast_to(np.deg2rad([60.0, 180.0, 300.0]), (3, 2, 3)),
  )
  assert sentences.side_chains(found) == (
    'Of 2 side chains, 1 has the most frequent chi1 rotamer of MD most of the time; residue 2 '
    '(PHE 8) differs most, at 300° in 15 % of the predicted frames and in 80 % of MD.'
  )


def test_validity():
  good, broken = (
    ReplicaSeries(
      ca_ca_min=np.full(n, 3.8),
      ca_ca_max=np.full(n, high),
      c_n_max=np.full(n, 1.4),
      clashes=np.arange(n),
    )
    for n, high in ((3, 3.9), (1, 9.0))
  )
  assert sentences.validity_of(series({'replicas': [good]}, {'replicas': [good, broken]})) == (
    'Of 4 predicted frames, 1 has a broken chain and 2 have clashes; of 3 of MD, 0 and 2.'
  )


def test_interfaces():
  """Frames count alike, whichever replica they are of."""
  ours = [ReplicaSeries(interface_contacts=np.array(x)) for x in ([[0.9], [0.05]], [[0.55]])]
  md = [ReplicaSeries(interface_contacts=np.array([[0.8], [1.0]]))]
  assert sentences.interfaces(series({'replicas': md}, {'replicas': ours})) == (
    'The two chains that touch keep 50 % of their native contacts in the prediction and 90 % in '
    'MD; they are apart in 33 % of the predicted frames and in 0 % of those of MD.'
  )

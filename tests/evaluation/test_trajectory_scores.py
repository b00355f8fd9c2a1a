"""States, motion and validity end to end, against formulas written anew and known answers."""

import dataclasses
import re

import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance
from sklearn import decomposition

from tempo_jax.evaluation import trajectory_details, trajectory_scores
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.trajectory import atoms as atoms_lib
from tests.evaluation import cases
from tests.metrics import ensembles

LENGTH, FRAMES, DT_NS = 10, 120, 0.01
STATES = ('state_js_distance', 'state_precision', 'state_recall', 'state_f1')
CONTENT = ('dynamic_content_trajectory', 'dynamic_content_frame', 'dynamic_content_step')


@pytest.fixture(scope='module')
def native(tmp_path_factory):
  path = tmp_path_factory.mktemp('native') / 'native.pdb'
  cases.write_native(path, LENGTH)
  return Native(path).protein


def make(native, seed, replicas=1, frames=FRAMES, scale=1.0, dt_ns=DT_NS):
  rng = np.random.default_rng(seed)
  times = None if dt_ns is None else dt_ns * np.arange(1, frames + 1)
  positions = (
    cases.wander(rng, native.arrays.positions, frames, scale).astype(np.float32)
    for _ in range(replicas)
  )
  return Ensemble(native, [Replica(x, times, 'file') for x in positions])


def superposed(ensemble):
  start = np.asarray(ensemble.native.arrays.positions)[:, 1]
  return np.array([ensembles.superposed(x[:, 1], start) for x in ensemble.positions])


def test_states_are_those_of_sklearn_and_scipy(native):
  reference, prediction = make(native, 0, replicas=2), make(native, 1, scale=1.3)
  found = trajectory_scores.scores(reference, prediction)
  ours, theirs = (superposed(x).reshape(-1, 3 * LENGTH) for x in (prediction, reference))
  axes = decomposition.PCA(2).fit(theirs)
  ours, theirs = axes.transform(ours), axes.transform(theirs)
  edges = [np.linspace(x.min(), x.max(), 11) for x in theirs.T]
  p, q = (np.histogram2d(*x.T, bins=edges)[0].ravel() for x in (ours, theirs))
  both = np.count_nonzero((p > 0) & (q > 0))
  precision, recall = both / np.count_nonzero(p), both / np.count_nonzero(q)
  expected = (
    distance.jensenshannon(p + 1e-6, q + 1e-6),
    precision,
    recall,
    2.0 * precision * recall / (precision + recall),
  )
  assert 0.1 < recall < precision < 1.0
  assert [found[key][0] for key in STATES] == pytest.approx(expected, rel=1e-6)


def test_torsions_are_those_of_mdtraj(native):
  reference, prediction = make(native, 0, replicas=2), make(native, 1, scale=1.3)
  counts = []
  for ensemble in (prediction, reference):
    traj = mdtraj.Trajectory(
      ensemble.positions.reshape(ensemble.num_frames, -1, 3) / 10.0, atoms_lib.topology(native)
    )
    angles = np.concatenate([f(traj)[1] for f in (mdtraj.compute_phi, mdtraj.compute_psi)], axis=1)
    edges = np.linspace(-np.pi, np.pi, 101)
    counts.append([np.histogram(column, edges)[0] for column in angles.T])
  expected = np.mean([distance.jensenshannon(a, b) for a, b in zip(*counts, strict=True)])
  found, reason = trajectory_scores.scores(reference, prediction)['torsion_js_distance_backbone']
  assert reason is None
  # mdtraj computes in float32: some fall into the next bin.
  assert found == pytest.approx(expected, abs=2e-3)


def test_frames_outside_of_99_percent_of_md_are_not_valid(native):
  reference, prediction = make(native, 0, replicas=2), make(native, 1, scale=0.2)
  own, _ = trajectory_scores.scores(reference, reference)['valid_ca_percent']
  assert 97.0 <= own < 100.0
  before, _ = trajectory_scores.scores(reference, prediction)['valid_ca_percent']
  positions = prediction.positions.copy()
  positions[:11, 9, 1] = positions[:11, 0, 1] + 1.0  # Near, and far from its neighbour.
  torn = Ensemble(native, [dataclasses.replace(prediction.replicas[0], positions=positions)])
  found, _ = trajectory_scores.scores(reference, torn)['valid_ca_percent']
  values = trajectory_details.validity(reference, torn)
  ca = positions[:, :, 1]
  steps = np.linalg.norm(np.diff(ca, axis=1), axis=-1).max(axis=1)
  apart = np.array([distance.squareform(distance.pdist(x)) for x in ca])
  nearest = np.array([x[np.triu_indices(LENGTH, 2)].min() for x in apart])
  sound = (steps <= values['longest_step_A']) & (nearest >= values['nearest_ca_A'])
  assert found == pytest.approx(100.0 * sound.mean())
  assert before - 100.0 * 11 / FRAMES - 1e-6 <= found <= 100.0 * (1 - 11 / FRAMES) + 1e-6
  assert values['prediction_percent'] == found
  assert values['reference_percent'] == own
  few = make(native, 3, frames=50)
  assert '50 frames of MD' in trajectory_scores.scores(few, prediction)['valid_ca_percent'][1]


def test_states_of_sound_frames_alone(native):
  """Frames with broken chains are elsewhere, and count in the table only."""
  reference, prediction = make(native, 0, replicas=2), make(native, 1, scale=0.5)
  positions = prediction.positions.copy()
  positions[::2, 5:] += 6.0
  torn = Ensemble(native, [dataclasses.replace(prediction.replicas[0], positions=positions)])
  halved = Ensemble(
    native, [dataclasses.replace(prediction.replicas[0], positions=positions[1::2], time_ns=None)]
  )
  found = trajectory_details.states(reference, torn)
  sound = found['sound_frames']
  assert sound.pop('share_percent') == 50.0
  assert sound == trajectory_details.states(reference, halved)['all_frames']
  assert sound['hit_rate'] > found['all_frames']['hit_rate']


def test_too_few_frames_have_reasons(native):
  reference, short = make(native, 0, replicas=2), make(native, 1, frames=20)
  found = trajectory_scores.scores(reference, short)
  for key in ('rmsd_deviation', 'autocorrelation_deviation', 'vamp2_deviation', 'tica_correlation'):
    value, reason = found[key]
    assert value is None
    assert re.search(r'^prediction: \d+ pairs of .* fewer than 30', reason), key
  assert found['state_recall'][0] > 0.0


class TestDynamicContent:
  def test_of_the_same_trajectories(self, native):
    reference = make(native, 0, replicas=3)
    found = trajectory_scores.scores(reference, Ensemble(native, reference.replicas))
    assert [found[key] for key in CONTENT] == [(pytest.approx(1.0), None)] * 3

  def test_of_trajectories_that_move_half_as_far(self, native):
    """From the same starts, all displacements halved: amplitudes are proportional."""
    reference = make(native, 0, replicas=3)
    replicas = [
      dataclasses.replace(r, positions=0.5 * (r.positions + r.positions[:1]))
      for r in reference.replicas
    ]
    found = trajectory_scores.scores(reference, Ensemble(native, replicas))
    for key in CONTENT:
      assert found[key][0] == pytest.approx(1.0, abs=0.05), key
    moved, series = [], reference.split(superposed(reference))
    for lag in range(1, FRAMES // 2 + 1):
      pairs = [x[lag:] - x[:-lag] for x in series]
      moved.append(np.sqrt((np.concatenate(pairs) ** 2).sum(-1).mean(-1)).mean())
    assert found['rmsd_deviation'][0] == pytest.approx(0.5 * np.mean(moved), rel=0.03)

  def test_other_starts_have_reasons(self, native):
    reference = make(native, 0, replicas=3)
    turned = Ensemble(
      native, [r.take(slice(60, None)) for r in (*reference.replicas[1:], reference.replicas[0])]
    )
    fewer = Ensemble(native, reference.replicas[:2])
    for prediction, expected in ((turned, 'no common starts'), (fewer, '2 predicted')):
      found = trajectory_scores.scores(reference, prediction)
      for key in CONTENT:
        assert found[key][0] is None
        assert expected in found[key][1]

  def test_few_trajectories_have_no_correlation_over_them(self, native):
    reference = make(native, 0, replicas=2)
    found = trajectory_scores.scores(reference, reference)
    assert found[CONTENT[0]] == (None, 'over trajectories: 2 of them, fewer than 3')
    assert found[CONTENT[1]][0] == pytest.approx(1.0)


def test_fewer_frames_of_md_than_components(native):
  reference = make(native, 0, frames=12)
  assert trajectory_scores.projected(reference, reference).shape == (12, 11)

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
from sklearn import decomposition

from tempo_jax.evaluation import markov_scores, scores, summary, trajectory_scores
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.evaluation.scores import Settings
from tests.evaluation import cases
from tests.metrics import ensembles

LENGTH = 10
FRAMES = 40
# Where a prediction that is the reference ends up.
PERFECT = {
  'global_rmsf_r': 1.0,
  'per_target_rmsf_r': 1.0,
  'root_mean_w2': 0.0,
  'root_mean_w2_translation': 0.0,
  'root_mean_w2_variance': 0.0,
  'md_pca_w2': 0.0,
  'joint_pca_w2': 0.0,
  'pc_sim': 1.0,
  'pc_sim_above_half_percent': 100.0,
  'weak_contacts_j': 1.0,
  'transient_contacts_j': 1.0,
  'rmsd_error': 0.0,
  'ddg': 0.0,
  'pc1_cosine': 1.0,
  'ca_distance_jsd': 0.0,
  'torsion_jsd': 0.0,
  'autocorrelation_error': 0.0,
  'state_js_distance': 0.0,
  'state_precision': 1.0,
  'state_recall': 1.0,
  'state_f1': 1.0,
  'torsion_js_distance_backbone': 0.0,
  'rmsd_deviation': 0.0,
  'autocorrelation_deviation': 0.0,
  'vamp2_deviation': 0.0,
  'tica_correlation': 1.0,
  'dynamic_content_frame': 1.0,
  'dynamic_content_step': 1.0,
  'tica_w1_rms': 0.0,
}


@pytest.fixture(scope='module')
def native(tmp_path_factory):
  path = tmp_path_factory.mktemp('native') / 'native.pdb'
  cases.write_native(path, LENGTH)
  return Native(path).protein


def make(native, seed, frames=FRAMES, *, scale=1.0, dt_ns=0.01, replicas=1, move=None):
  """A sample of replicas that wander about the native structure."""
  rng = np.random.default_rng(seed)
  found = []
  for _ in range(replicas):
    positions = cases.wander(rng, native.arrays.positions, frames, scale).astype(np.float32)
    positions = positions if move is None else move(positions)
    times = None if dt_ns is None else dt_ns * np.arange(1, frames + 1)
    remarks = () if dt_ns else ('its format has no times',)
    found.append(Replica(positions, times, 'file', remarks))
  return Ensemble(native, found)


def test_the_reference_as_a_prediction_is_perfect(native):
  # Far enough from the native structure that contacts come and go.
  reference = make(native, 0, scale=3.0)
  numbers, notes = scores.score(reference, make(native, 0, scale=3.0), Settings())
  assert numbers['weak_contacts_j'] == 1.0 or numbers['transient_contacts_j'] == 1.0
  for key, value in PERFECT.items():
    if key in ('weak_contacts_j', 'transient_contacts_j') and key in notes:
      assert numbers[key] is None
    else:
      # Root of a difference of squares: half the digits.
      assert numbers[key] == pytest.approx(value, abs=1e-5), key
  assert numbers['pairwise_rmsd'] == numbers['reference_pairwise_rmsd'] > 0.5
  assert numbers['rmsf'] == numbers['reference_rmsf'] > 0.3


def test_keys_and_reasons(native):
  numbers, notes = scores.score(make(native, 0, replicas=2), make(native, 1), Settings())
  assert tuple(numbers) == (*summary.KEYS, summary.MOMENTS)
  assert {key for key in summary.KEYS if numbers[key] is None} == set(notes)
  assert notes['pairwise_rmsd_r'] == 'needs three proteins'
  assert all(isinstance(numbers[key], float | None) for key in summary.KEYS)


def test_a_frozen_prediction_has_reasons_and_no_nan(native):
  frozen = np.repeat(np.asarray(native.arrays.positions)[None], FRAMES, axis=0)
  still = Ensemble(native, [Replica(frozen, 0.01 * np.arange(1, FRAMES + 1), 'frozen')])
  numbers, notes = scores.score(make(native, 0), still, Settings())
  assert numbers['rmsf'] == numbers['pairwise_rmsd'] == 0.0
  assert notes['global_rmsf_r'] == notes['per_target_rmsf_r']
  assert 'fluctuate' in notes['global_rmsf_r']
  assert numbers['pc_sim'] is None
  assert numbers['pc_sim_above_half_percent'] is None
  assert notes['pc_sim_above_half_percent'] == notes['pc_sim'] == 'one of the two does not move'
  assert notes['autocorrelation_error'] == 'nothing moves'
  assert all(np.isfinite(x) for key in summary.KEYS if (x := numbers[key]) is not None)


def test_rotations_and_translations_of_frames_change_nothing(native, np_rng):
  reference, still = make(native, 0, replicas=2), make(native, 1, scale=1.5)
  tumbled = make(native, 1, scale=1.5, move=lambda x: ensembles.tumbled(np_rng, x))
  assert np.abs(tumbled.positions - still.positions).max() > 20.0
  one, other = (scores.score(reference, x, Settings())[0] for x in (still, tumbled))
  for key in summary.KEYS:
    if one[key] is None:
      assert other[key] is None
    else:
      # Tumbled coordinates are rounded, and a few frames pass from bin to bin.
      tolerance = 5e-3 if 'jsd' in key else 1e-3
      assert other[key] == pytest.approx(one[key], rel=1e-3, abs=tolerance), key


def test_a_worse_prediction_scores_worse(native):
  reference = make(native, 0)
  good, bad = (
    scores.score(reference, make(native, 1, scale=scale), Settings())[0] for scale in (1.0, 4.0)
  )
  for key in ('root_mean_w2', 'md_pca_w2', 'joint_pca_w2', 'rmsd_error', 'ca_distance_jsd'):
    assert bad[key] > 1.2 * good[key], key


def test_numbers_against_formulas_written_anew(native):
  """Bare loops over superposed frames, nothing of tempo_jax.metrics."""
  reference, prediction = make(native, 0), make(native, 1, scale=1.5)
  numbers, _ = scores.score(reference, prediction, Settings())
  start = np.asarray(native.arrays.positions)
  superposed, ca = [], []
  for sample in (reference, prediction):
    frames = [
      ensembles.superposed(x.reshape(-1, 3), start.reshape(-1, 3)) for x in sample.positions
    ]
    superposed.append(np.array(frames).reshape(len(frames), LENGTH, 4, 3))
    ca.append(np.array([ensembles.superposed(x[:, 1], start[:, 1]) for x in sample.positions]))
  rmsf = [np.sqrt(((x - x.mean(0)) ** 2).sum(-1).mean(0)) for x in superposed]
  assert numbers['reference_rmsf'] == pytest.approx(rmsf[0].mean(), rel=1e-5)
  assert numbers['rmsf'] == pytest.approx(rmsf[1].mean(), rel=1e-5)
  r = scipy.stats.pearsonr(rmsf[0].ravel(), rmsf[1].ravel()).statistic
  assert numbers['per_target_rmsf_r'] == pytest.approx(r, abs=1e-5)
  pairs = [np.sqrt(((a - b) ** 2).sum(-1).mean()) for a in ca[1] for b in ca[1]]
  assert numbers['pairwise_rmsd'] == pytest.approx(np.mean(pairs), rel=1e-5)
  squares = []
  for i in range(LENGTH):
    for atom in range(4):
      a, b = (x[:, i, atom] for x in superposed)
      covariances = [np.cov(x.T, bias=True) for x in (a, b)]
      root = scipy.linalg.sqrtm(covariances[0])
      cross = scipy.linalg.sqrtm(root @ covariances[1] @ root).real
      spread = np.trace(covariances[0] + covariances[1] - 2.0 * cross)
      squares.append((((a.mean(0) - b.mean(0)) ** 2).sum(), spread))
  moved, spread = np.mean(squares, axis=0)
  assert numbers['root_mean_w2'] == pytest.approx(np.sqrt(moved + spread), rel=0.02)
  assert numbers['root_mean_w2_translation'] == pytest.approx(np.sqrt(moved), rel=1e-4)
  assert numbers['root_mean_w2_variance'] == pytest.approx(np.sqrt(spread), rel=0.05)
  # Principal components of the reference, and of both: the best pairing of frames.
  for key, fitted in (('md_pca_w2', ca[0]), ('joint_pca_w2', np.concatenate(ca))):
    axes = decomposition.PCA(2).fit(fitted.reshape(len(fitted), -1))
    a, b = (axes.transform(x.reshape(len(x), -1)) for x in ca)
    squares = ((a[:, None] - b[None]) ** 2).sum(-1)
    pairing = scipy.optimize.linear_sum_assignment(squares)
    assert numbers[key] == pytest.approx(np.sqrt(squares[pairing].mean() / LENGTH), rel=1e-4), key
  rmsd = [np.sqrt(((x - start[:, 1]) ** 2).sum(-1).mean(-1)) for x in ca]
  assert numbers['rmsd_error'] == pytest.approx(np.abs(rmsd[0] - rmsd[1]).mean(), rel=1e-4)


@pytest.mark.parametrize(
  ('steps', 'reason'),
  [
    ((None, 0.01), 'reference: its format has no times'),
    ((0.01, None), 'prediction: its format has no times'),
    ((0.02, 0.03), 'no multiple'),
  ],
)
def test_without_common_times_only_what_needs_them_is_missing(native, steps, reason):
  reference, prediction = (make(native, k, dt_ns=dt) for k, dt in enumerate(steps))
  numbers, notes = scores.score(reference, prediction, Settings())
  timed, _ = scores.score(make(native, 0), make(native, 1), Settings())
  in_time = ('rmsd_error', 'pc1_cosine', 'autocorrelation_error')
  for key in (*in_time, *trajectory_scores.TIMED, *markov_scores.KEYS):
    assert numbers[key] is None
    assert reason in notes[key]
    value = timed.pop(key)
    assert value is not None or key not in in_time
  assert {key: numbers[key] for key in timed} == timed


def test_replicas_of_different_steps_have_no_time(native):
  replicas = [make(native, k, dt_ns=dt).replicas[0] for k, dt in enumerate((0.01, 0.02))]
  _, notes = scores.score(Ensemble(native, replicas), make(native, 3), Settings())
  assert notes['rmsd_error'] == 'reference: its replicas have different time steps'


def test_a_finer_prediction_is_compared_at_common_times(native):
  """Every other frame of the prediction is the reference."""
  fine = make(native, 0, frames=2 * FRAMES)
  replica = fine.replicas[0]
  coarse = dataclasses.replace(
    replica, positions=replica.positions[::2], time_ns=replica.time_ns[::2]
  )
  numbers, _ = scores.score(Ensemble(native, [coarse]), fine, Settings())
  assert numbers['rmsd_error'] == pytest.approx(0.0, abs=1e-6)
  assert numbers['pc1_cosine'] == pytest.approx(1.0)


def test_alphaflow_draws_are_those_of_its_seed(native):
  reference, prediction = make(native, 0, replicas=2), make(native, 1, frames=25)
  every, one, again, other = (
    scores.score(reference, prediction, settings)[0]
    for settings in (
      Settings(),
      Settings('alphaflow', 137),
      Settings('alphaflow', 137),
      Settings('alphaflow', 138),
    )
  )
  assert one == again
  drawn = {'reference_pairwise_rmsd', 'root_mean_w2', 'md_pca_w2', 'joint_pca_w2'}
  assert all(one[key] != other[key] != every[key] for key in drawn)
  # AlphaFlow looks at all frames for these.
  for key in ('pairwise_rmsd', 'rmsf', 'reference_rmsf', 'per_target_rmsf_r', 'pc_sim'):
    assert one[key] == every[key]
  np.random.seed(137)  # noqa: NPY002  (what AlphaFlow does)
  rand1, rand2 = (np.random.randint(0, 2 * FRAMES, 25) for _ in range(2))  # noqa: NPY002
  a, b = reference.ca[rand1], reference.ca[rand2]
  by_hand = np.mean(np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1).mean(-1)))
  assert one['reference_pairwise_rmsd'] == pytest.approx(by_hand, rel=1e-5)


def test_ddg_depends_on_the_temperature(native):
  reference, prediction = make(native, 0), make(native, 1, scale=3.0)
  cold, warm = (
    scores.score(reference, prediction, Settings(temperature_K=kelvin))[0]['ddg']
    for kelvin in (300.0, 450.0)
  )
  assert cold > 0.1
  assert warm == pytest.approx(1.5 * cold)


def test_too_short_for_native_contacts(tmp_path):
  path = tmp_path / 'native.pdb'
  cases.write_native(path, 3)
  short = Native(path).protein
  numbers, notes = scores.score(make(short, 0), make(short, 1), Settings())
  assert numbers['ddg'] is None
  assert 'no contacts' in notes['ddg']

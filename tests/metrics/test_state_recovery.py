import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import distribution, state_recovery
from tests.metrics import golden


@pytest.mark.parametrize('name', golden.NAMES)
def test_agrees_with_the_authors_earlier_code(shared_data, name):
  case = golden.load(shared_data, name)
  expected = case.numbers['confdiff_state_recovery']
  ours, theirs = case.ca
  pca = distribution.Pca.fit(theirs)
  found, reason = state_recovery.state_recovery(pca.project(ours), pca.project(theirs))
  assert reason is None
  for attribute, key in (
    ('js_distance', 'js_distance_10x10'),
    ('precision', 'precision'),
    ('recall', 'recall'),
    ('f1', 'f1'),
    ('hit_rate', 'hit_rate'),
    ('recovery_rate', 'recovery_rate'),
    ('num_reference_states', 'num_reference_states'),
    ('num_predicted_states', 'num_prediction_states_on_grid'),
  ):
    value = getattr(found, attribute)
    np.testing.assert_allclose(value, expected[key], rtol=golden.TOLERANCE, err_msg=attribute)
  for column, x in enumerate(pca.project(theirs).T):
    ends = np.sort(np.abs([x.min(), x.max()]))  # The sign of a component is arbitrary.
    wanted = np.sort(np.abs(expected[f'pc{column + 1}_edges']))
    np.testing.assert_allclose(ends, wanted, rtol=golden.TOLERANCE)


def test_is_what_histograms_say(np_rng):
  theirs = np_rng.normal(size=(400, 3)) * [3.0, 1.0, 1.0]
  ours = np_rng.normal(size=(90, 3)) * [5.0, 0.3, 1.0] + [1.0, 0.4, 0.0]
  found, _ = state_recovery.state_recovery(ours, theirs)
  edges = [np.linspace(theirs[:, k].min(), theirs[:, k].max(), 11) for k in range(2)]
  cells = []
  for x in (ours, theirs):
    # The last edge belongs to the last bin.
    place = np.stack(
      [np.where(x[:, k] == e[-1], 9, np.digitize(x[:, k], e) - 1) for k, e in enumerate(edges)]
    )
    inside = np.all((place >= 0) & (place < 10), axis=0)
    cells.append([tuple(p) if there else None for p, there in zip(place.T, inside, strict=True)])
  visited = [set(c) - {None} for c in cells]
  shared = visited[0] & visited[1]
  assert found.precision == pytest.approx(len(shared) / len(visited[0]))
  assert found.recall == pytest.approx(len(shared) / len(visited[1]))
  assert found.f1 == pytest.approx(
    2 * found.precision * found.recall / (found.precision + found.recall)
  )
  assert found.hit_rate == pytest.approx(np.mean([c in visited[1] for c in cells[0]]))
  assert found.recovery_rate == pytest.approx(np.mean([c in visited[0] for c in cells[1]]))
  every = [(i, j) for i in range(10) for j in range(10)]
  counts = [[1e-6 + sum(c == cell for c in side) for cell in every] for side in cells]
  assert found.js_distance == pytest.approx(distance.jensenshannon(*counts))
  assert 0.1 < found.hit_rate < 0.9


def test_against_itself_and_elsewhere(np_rng):
  points = np_rng.normal(size=(50, 2))
  found, _ = state_recovery.state_recovery(points, points)
  assert found.js_distance == 0.0
  assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)
  assert (found.hit_rate, found.recovery_rate) == (1.0, 1.0)
  found, _ = state_recovery.state_recovery(points + 100.0, points)
  assert found.precision is None
  assert (found.recall, found.f1, found.hit_rate, found.recovery_rate) == (0.0, 0.0, 0.0, 0.0)
  assert found.num_predicted_states == 0
  # All is the pseudo-count there, the same in every cell.
  assert 0.3 < found.js_distance <= np.sqrt(np.log(2.0))


@pytest.mark.parametrize(
  ('prediction', 'reference', 'why'),
  [
    (np.zeros((1, 2)), np.eye(2), '1 frames of the prediction'),
    (np.eye(2), np.zeros((0, 2)), '0 frames of the reference'),
    (np.eye(2), np.ones((9, 2)), 'does not move'),
    (np.eye(2), np.stack([np.arange(9.0), np.ones(9)], axis=1), 'does not move'),
    (np.eye(3)[:, :1], np.eye(3)[:, :1], 'two principal components'),
  ],
)
def test_reasons(prediction, reference, why):
  found, reason = state_recovery.state_recovery(prediction, reference)
  assert found is None
  assert why in reason

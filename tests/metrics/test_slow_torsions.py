import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import kinetics, markov_models, slow_torsions
from tests.metrics import golden
from tests.metrics import markov_chains as known

_LAG, _LAG_NS, _DT_NS = 10, 0.1, 0.01
_SYSTEMS = 'pentalanine_50ns', 'cln025', '2jof'


def _torsions(shared_data, name, key):
  """Numbers, intermediates, and torsions [F, K] of prediction and reference."""
  case = golden.load(shared_data, name)
  sides = []
  for backbone, side_chains in case.torsions:
    kinds = [backbone] if key == 'mdgen_backbone' else [backbone, side_chains]
    sides.append([np.concatenate([x.reshape(len(x), -1) for x in kinds], axis=1)])
  return case.numbers[key], case.intermediates, *sides


class TestAgainstTheirCode:
  @pytest.mark.parametrize(
    ('name', 'key'),
    [
      *((name, 'mdgen') for name in _SYSTEMS),
      ('cln025', 'mdgen_backbone'),
      ('2jof', 'mdgen_backbone'),
    ],
  )
  def test_slow_torsions(self, shared_data, name, key):
    numbers, _, prediction, reference = _torsions(shared_data, name, key)
    slow, reason = slow_torsions.fit(reference, _LAG, by_magnitude=True)
    assert reason is None
    assert len(slow.eigenvalues) == numbers['tica_dimensions_kept']
    np.testing.assert_allclose(slow.eigenvalues[:10], numbers['tica_eigenvalues'], atol=1e-6)
    found = slow_torsions.tica_jsd(
      *(slow_torsions.coordinates(slow, x) for x in (prediction, reference))
    )
    assert found['tica_0_jsd'] == pytest.approx(numbers['tica_0_jsd'], rel=1e-4)
    assert found['tica_01_jsd'] == pytest.approx(numbers['tica_01_jsd'], rel=1e-4)

  def test_noise_leads_theirs_but_not_ours(self, shared_data):
    _, _, _, reference = _torsions(shared_data, '2jof', 'mdgen_backbone')
    assert slow_torsions.fit(reference, _LAG, by_magnitude=True)[0].eigenvalues[0] < -0.8
    ours, _ = slow_torsions.fit(reference, _LAG)
    assert np.all(ours.eigenvalues > 0.0)
    assert np.all(np.diff(ours.eigenvalues) < 0.0)

  def test_more_features_than_pairs_of_frames(self, shared_data):
    """Where their numbers are arbitrary, there are none."""
    _, _, _, reference = _torsions(shared_data, 'bpti_5ns', 'mdgen')
    slow, reason = slow_torsions.fit(reference, _LAG, by_magnitude=True)
    assert slow is None
    assert '240 pairs of frames 10 frames apart are too few' in reason

  @pytest.mark.parametrize('pcca', [False, pytest.param(True, marks=pytest.mark.slow)])
  def test_macrostates(self, shared_data, pcca):
    numbers, inside, prediction, reference = _torsions(shared_data, 'pentalanine_50ns', 'mdgen')
    expected, inside = numbers['msm'], inside['mdgen_msm']
    centers, macrostate = (
      np.array(inside[key]) for key in ('kmeans_centers', 'metastable_assignments')
    )
    slow, _ = slow_torsions.fit(reference, _LAG, by_magnitude=True)
    a, b = (slow_torsions.coordinates(slow, x) for x in (prediction, reference))
    if pcca:
      found, reason = slow_torsions.macrostates(b, _LAG_NS, _DT_NS, centers=centers)
      assert reason is None
      np.testing.assert_array_equal(found.macrostate, macrostate)
    else:
      states = [macrostate[kinetics.microstates(x, centers)] for x in b]
      model = slow_torsions.macrostate_model(states, _LAG, 10, _LAG_NS)
      found = slow_torsions.Macrostates(centers, macrostate, _LAG_NS, model)
    populations, matrix = found.model.populations_of_all(), found.model.matrix_of_all()
    np.testing.assert_allclose(populations, inside['msm_pi'], atol=1e-5)
    np.testing.assert_allclose(matrix, inside['msm_transition_matrix'], atol=1e-5)
    compared, notes = slow_torsions.compare_macrostates(a, _DT_NS, b, found)
    assert notes == {}
    assert compared['msm_states_jsd'] == pytest.approx(expected['msm_states_jsd'], rel=1e-5)
    assert compared['flux_spearman'] == pytest.approx(
      expected['flux_spearman_off_diagonal'], rel=1e-5
    )

  def test_flux_with_its_diagonal(self, shared_data):
    case = golden.load(shared_data, 'pentalanine_50ns')
    inside, expected = case.intermediates['mdgen_msm'], case.numbers['mdgen']['msm']
    fluxes = []
    for side in ('traj', 'msm'):
      matrix = np.array(inside[f'{side}_transition_matrix'])
      model = markov_models.MarkovModel(
        np.arange(10), matrix, np.array(inside[f'{side}_pi']), 10, 0.1
      )
      # Detailed balance, but for the digits of the file.
      fluxes.append(np.round(markov_models.flux(model), 6))
    for with_diagonal, key in ((True, 'zero_diagonal'), (False, 'off_diagonal')):
      value, _ = markov_models.flux_spearman(*fluxes, with_diagonal=with_diagonal)
      assert value == pytest.approx(expected[f'flux_spearman_{key}'], rel=1e-3)


class TestDistances:
  def test_are_of_the_joint_range(self, np_rng):
    a, b = np_rng.normal(size=(2, 300, 2)) * [2.0, 1.0]
    b[:, 0] += 1.0
    found = slow_torsions.tica_jsd([a[:50], a[50:]], [b])
    both = np.concatenate([a, b])
    edges = [np.linspace(both[:, k].min(), both[:, k].max(), n) for k, n in ((0, 101), (1, 51))]
    counts = [np.histogram(x[:, 0], edges[0])[0] for x in (a, b)]
    assert found['tica_0_jsd'] == pytest.approx(distance.jensenshannon(*counts))
    edges[0] = np.linspace(both[:, 0].min(), both[:, 0].max(), 51)
    counts = [np.histogram2d(x[:, 0], x[:, 1], edges)[0].ravel() for x in (a, b)]
    assert found['tica_01_jsd'] == pytest.approx(distance.jensenshannon(*counts))
    assert slow_torsions.tica_jsd([a[:, :1]], [b[:, :1]])['tica_01_jsd'] is None


class TestMacrostates:
  def _coordinates(self, rng, num_frames):
    """Two wells far apart, with wells inside that are quickly left."""
    slow = known.sample(rng, np.array([[0.97, 0.03], [0.06, 0.94]]), num_frames)
    fast = rng.integers(0, 3, num_frames)
    middles = np.stack([10.0 * slow, 1.0 * fast], axis=-1)
    return slow, middles + 0.1 * rng.normal(size=(num_frames, 2))

  def _found(self, rng, **kwargs):
    slow, coordinates = self._coordinates(rng, 6_000)
    found, reason = slow_torsions.macrostates(
      [coordinates], 1.0, 1.0, num_microstates=6, num_macrostates=2, **kwargs
    )
    assert reason is None
    return slow, coordinates, found

  def test_are_the_slow_wells(self, np_rng):
    slow, coordinates, found = self._found(np_rng)
    states = found.states([coordinates])[0]
    assert np.all(states == slow) or np.all(states == 1 - slow)
    populations = np.sort(found.model.populations_of_all())
    np.testing.assert_allclose(populations, [1.0 / 3.0, 2.0 / 3.0], atol=0.05)

  def test_compared(self, np_rng):
    _, coordinates, found = self._found(np_rng)
    numbers, notes = slow_torsions.compare_macrostates([coordinates], 0.5, [coordinates], found)
    assert numbers['msm_states_jsd'] == 0.0
    # Two states have one flux.
    assert numbers['flux_spearman'] is None
    assert 'do not differ' in notes['flux_spearman']
    numbers, notes = slow_torsions.compare_macrostates([coordinates], 0.3, [coordinates], found)
    assert 'prediction: a lag of 1 ns is no multiple' in notes['flux_spearman']
    assert numbers['msm_states_jsd'] == 0.0

  def test_reasons(self, np_rng):
    _, coordinates = self._coordinates(np_rng, 300)
    ramp = np.arange(300.0)[:, None]
    for reference, dt_ns, why in (
      ([coordinates], None, 'unknown'),
      ([coordinates], 0.001, 'longer than the longest replica'),
      ([coordinates[:3]], 1.0, '3 different conformations are too few'),
      ([ramp], 1.0, 'of 6 microstates are connected'),
    ):
      found, reason = slow_torsions.macrostates(
        reference, 1.0, dt_ns, num_microstates=6, num_macrostates=2
      )
      assert found is None
      assert why in reason

"""All results of one protein: computed once, as data, and the same from the cache."""

import cProfile
import dataclasses

import mdtraj
import numpy as np
import pytest

from tempo_jax.evaluation import cache, columns, evaluation, series, series_kinetics
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.evaluation.scores import Settings
from tempo_jax.metrics import kinetics, superposition
from tempo_jax.trajectory import atoms as atoms_lib
from tests.evaluation import cases


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  return cases.case(tmp_path_factory.mktemp('case'), frames=60)


@pytest.fixture(scope='module')
def ensembles(case):
  return columns.read(case)


@pytest.fixture(scope='module')
def found(ensembles):
  return evaluation.evaluate('one', *ensembles, Settings(), with_baselines=False)


def assert_same(a, b):
  """Nested data, arrays by value; a list is a tuple."""
  if isinstance(a, dict):
    assert a.keys() == b.keys()
    for key in a:
      assert_same(a[key], b[key])
  elif isinstance(a, list | tuple):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
      assert_same(x, y)
  elif isinstance(a, np.ndarray):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
  else:
    assert type(a) is type(b)
    assert a == b


def test_from_the_cache_it_is_the_same(tmp_path, found):
  path = tmp_path / 'proteins' / 'one.npz'
  cache.write(path, 'key', found)
  again = cache.read(path, 'key')
  assert type(again) is type(found)
  assert type(again.series.prediction.replicas[0]) is series.ReplicaSeries
  assert_same(dataclasses.asdict(found), dataclasses.asdict(again))
  assert cache.read(path, 'another key') is None
  assert cache.read(path.with_name('none.npz'), 'key') is None
  # Numbers only: what a report makes of them is not kept.
  with np.load(path) as arrays:
    assert all(array.dtype.kind in 'fiub' for array in arrays.values())
    assert b'<' not in arrays['document'].tobytes()


def test_series_of_states_and_side_chains_are_kept(tmp_path):
  ensembles = columns.read(cases.simulated_halves(tmp_path / 'case'))
  found = evaluation.evaluate('md', *ensembles, Settings(), with_baselines=False)
  path = tmp_path / 'md.npz'
  cache.write(path, 'key', found)
  again = cache.read(path, 'key')
  assert_same(dataclasses.asdict(found), dataclasses.asdict(again))
  for name in ('recovery', 'kinetic', 'side_chains', 'residues'):
    there = getattr(found.series, name)
    assert there is not None, name
    assert type(getattr(again.series, name)) is type(there)
  assert type(again.series.kinetic.prediction) is series_kinetics.StateSeries
  # States of the picture are those of the numbers.
  numbers = found.columns[columns.PREDICTION].numbers
  assert found.series.recovery.f1 == numbers['state_f1']
  assert found.series.reference.clip.heavy_atoms.shape[1:] == (10, 14, 3)
  path.unlink()
  evaluated = evaluation.evaluate('md', *ensembles, Settings(), False, with_series=False)
  cache.write(path, 'key', evaluated)
  again = cache.read(path, 'key')
  assert again.series is None
  assert again.columns[columns.PREDICTION].numbers == numbers


def test_results_of_another_format_are_ignored(case, monkeypatch):
  key = cache.fingerprint(case, Settings(), True)
  assert key == cache.fingerprint(case, Settings(), True)
  monkeypatch.setattr(cache, '_FORMAT', cache._FORMAT + 1)
  assert key != cache.fingerprint(case, Settings(), True)


def test_slow_dynamics_are_computed_once(ensembles):
  with cProfile.Profile() as profile:
    found = evaluation.evaluate('one', *ensembles, Settings(), with_baselines=False)
  computed = [x for x in profile.getstats() if x.code is kinetics.slow_dynamics.__code__]
  assert [x.callcount for x in computed] == [1]
  lag_ns, values = found.series.prediction.autocorrelations['slow coordinates']
  assert lag_ns[:2] == pytest.approx([0.0, 0.01])
  assert values[0] == pytest.approx(1.0)
  theirs = found.series.reference.autocorrelations['slow coordinates'][1]
  error = np.mean(np.abs(values[1:] - theirs[1:]))
  assert found.details['slow']['autocorrelation_error'] == pytest.approx(error)


def test_series_are_of_every_replica(ensembles, found):
  reference, prediction = ensembles
  assert [len(x.replicas) for x in (found.series.reference, found.series.prediction)] == [2, 1]
  for shown, ensemble in zip(
    (found.series.reference, found.series.prediction), ensembles, strict=True
  ):
    rmsd = np.concatenate([replica.rmsd for replica in shown.replicas])
    np.testing.assert_array_equal(rmsd, ensemble.rmsd)
    assert shown.replicas[-1].pcs.shape == (60, 2)
    assert shown.contacts.shape == (10, 10)
  assert found.series.temperature_K == Settings().temperature_K
  # MD is the first, also where pairs begin with the prediction.
  np.testing.assert_array_equal(found.series.reference.rmsf, reference.rmsf[:, 1])
  np.testing.assert_array_equal(found.series.prediction.rmsf, prediction.rmsf[:, 1])


def test_ramachandran_counts_are_those_of_mdtraj(ensembles, found):
  _, prediction = ensembles
  traj = mdtraj.Trajectory(
    prediction.positions.reshape(60, -1, 3) / 10.0, atoms_lib.topology(prediction.native)
  )
  # The first phi and the last psi have no partner.
  phi, psi = mdtraj.compute_phi(traj)[1][:, :-1], mdtraj.compute_psi(traj)[1][:, 1:]
  counts = found.series.prediction.ramachandran
  assert counts.shape == (72, 72)
  assert counts.sum() == phi.size == 60 * 8
  expected = np.histogram2d(
    np.rad2deg(phi).ravel(), np.rad2deg(psi).ravel(), bins=72, range=[[-180, 180]] * 2
  )[0]
  # mdtraj computes in float32: some fall into the next bin.
  assert np.abs(counts - expected).sum() <= 4


def test_a_long_clip_is_thinned(ensembles):
  _, prediction = ensembles
  positions = np.resize(prediction.positions, (1000, *prediction.positions.shape[1:]))
  times = 0.01 * np.arange(1, 1001)
  ensemble = Ensemble(prediction.native, [Replica(positions, times, 'long')])
  clip = series.of_conformations('long', ensemble).clip
  assert (clip.num_frames, len(clip.ca), clip.ca.dtype) == (1000, 300, np.float32)
  assert clip.frame[[0, -1]].tolist() == [0, 999]
  np.testing.assert_allclose(np.diff(clip.frame), 999 / 299, atol=1.0)
  np.testing.assert_array_equal(clip.time_ns, times[clip.frame])
  native = prediction.native.arrays.positions
  expected = superposition.superpose(positions[clip.frame], native)[:, :, 1]
  np.testing.assert_allclose(clip.ca, expected, atol=1e-4)

import dataclasses

import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns, scores, summary
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tempo_jax.evaluation.scores import Settings
from tests.evaluation import cases

FRAMES = 44


@pytest.fixture(scope='module')
def case(tmp_path_factory):
  return cases.case(tmp_path_factory.mktemp('case'), frames=FRAMES)


@pytest.fixture(scope='module')
def ensembles(case):
  return columns.read(case)


@pytest.fixture(scope='module')
def found(ensembles):
  return columns.columns(*ensembles, Settings())


def test_reads_all_files_of_a_case(ensembles):
  reference, prediction = ensembles
  assert [r.num_frames for r in reference.replicas] == [FRAMES, FRAMES]
  assert (reference.num_frames, prediction.num_frames) == (2 * FRAMES, FRAMES)
  assert reference.native.name == 'one'
  assert reference.dt_ns == prediction.dt_ns == pytest.approx(0.01)


def test_prediction_and_all_baselines(ensembles, found):
  # MD is not longer than the prediction.
  expected = (name for name in columns.BASELINES if name != columns.FIRST)
  assert tuple(found) == (columns.PREDICTION, *expected)
  numbers, notes = scores.score(*ensembles, Settings())
  assert found[columns.PREDICTION] == columns.Column(numbers, notes)
  for column in found.values():
    assert set(column.numbers) == {*summary.KEYS, summary.MOMENTS}
    assert {key for key in summary.KEYS if column.numbers[key] is None} == set(column.notes)


def test_no_baselines(ensembles, found):
  alone = columns.columns(*ensembles, Settings(), with_baselines=False)
  assert alone == {columns.PREDICTION: found[columns.PREDICTION]}


def test_baselines_without_enough_data(ensembles):
  reference, prediction = ensembles
  one = Ensemble(reference.native, reference.replicas[:1])
  expected = [name for name in columns.BASELINES if name not in (columns.REPLICAS, columns.FIRST)]
  assert list(columns.columns(one, prediction, Settings()))[1:] == expected
  short = dataclasses.replace(
    reference.replicas[0],
    positions=reference.replicas[0].positions[:30],
    time_ns=reference.replicas[0].time_ns[:30],
  )
  expected.remove(columns.HALVES)
  only = Ensemble(reference.native, [short])
  assert list(columns.columns(only, prediction, Settings()))[1:] == expected


def test_each_replica_is_judged_against_the_others(ensembles):
  reference, prediction = ensembles
  replicas = (*reference.replicas, *prediction.replicas)
  every = []
  for k, replica in enumerate(replicas):
    others = Ensemble(reference.native, [other for i, other in enumerate(replicas) if i != k])
    alone = Ensemble(reference.native, [replica])
    every.append(scores.score(others, alone, Settings())[0])
  whole = Ensemble(reference.native, replicas)
  numbers = columns.columns(whole, prediction, Settings())[columns.REPLICAS].numbers
  for key in ('pairwise_rmsd', 'reference_pairwise_rmsd', 'rmsf', 'md_pca_w2', 'ddg', 'rmsd_error'):
    assert numbers[key] == pytest.approx(np.mean([one[key] for one in every])), key
  moments = np.sum([one[summary.MOMENTS] for one in every], axis=0)
  np.testing.assert_allclose(numbers[summary.MOMENTS], moments)


def test_the_first_halves_are_judged_against_the_second(ensembles, found):
  reference, _ = ensembles
  halves = []
  for part in (slice(0, FRAMES // 2), slice(FRAMES // 2, None)):
    replicas = [dataclasses.replace(r, positions=r.positions[part]) for r in reference.replicas]
    halves.append(Ensemble(reference.native, replicas))
  numbers = found[columns.HALVES].numbers
  assert numbers['rmsf'] == pytest.approx(halves[0].rmsf.mean())
  assert numbers['reference_rmsf'] == pytest.approx(halves[1].rmsf.mean())
  assert numbers['pairwise_rmsd'] == pytest.approx(halves[0].pairwise_rmsd)


def test_halves_go_on_alike(ensembles):
  """A replica that does everything twice."""
  reference, prediction = ensembles
  twice = reference.replicas[0].positions[: FRAMES // 2]
  replica = dataclasses.replace(reference.replicas[0], positions=np.concatenate([twice, twice]))
  again = Ensemble(reference.native, [replica])
  numbers = columns.columns(again, prediction, Settings())[columns.HALVES].numbers
  assert numbers['root_mean_w2'] == pytest.approx(0.0, abs=1e-5)
  assert numbers['rmsd_error'] == pytest.approx(0.0, abs=1e-6)
  assert numbers['per_target_rmsf_r'] == pytest.approx(1.0)


def test_the_beginning_of_md_is_judged_by_all_of_md(ensembles):
  reference, prediction = ensembles
  half = prediction.replicas[0]
  # Every other frame, for half of the time: 0.22 ns.
  half = dataclasses.replace(
    half, positions=half.positions[: FRAMES // 2 : 2], time_ns=half.time_ns[: FRAMES // 2 : 2]
  )
  numbers = columns.columns(reference, Ensemble(reference.native, [half]), Settings())[
    columns.FIRST
  ].numbers
  beginning = dataclasses.replace(
    reference.replicas[0],
    positions=reference.replicas[0].positions[: FRAMES // 2],
    time_ns=reference.replicas[0].time_ns[: FRAMES // 2],
  )
  alone = Ensemble(reference.native, [beginning])
  assert numbers == scores.score(reference, alone, Settings())[0]
  assert numbers['rmsf'] != numbers['reference_rmsf']
  assert numbers['state_precision'] == 1.0
  two = columns.first_of(reference, Ensemble(reference.native, [half, half, half]))
  assert [replica.num_frames for replica in two.replicas] == [FRAMES // 2, FRAMES // 2]


def test_no_beginning_of_md_without_times_or_where_it_is_not_longer(ensembles):
  reference, prediction = ensembles
  assert columns.first_of(reference, prediction) is None
  replica = prediction.replicas[0]
  short = dataclasses.replace(replica, positions=replica.positions[:9], time_ns=None)
  assert columns.first_of(reference, Ensemble(reference.native, [short])) is None


def test_frozen_does_not_move(ensembles, found):
  numbers = found[columns.FROZEN].numbers
  assert numbers['rmsf'] == numbers['pairwise_rmsd'] == numbers['bond_break_percent'] == 0.0
  assert numbers['reference_rmsf'] == found[columns.PREDICTION].numbers['reference_rmsf']
  assert numbers['rmsd_error'] == pytest.approx(float(np.mean(ensembles[0].rmsd)), rel=1e-5)


def test_baselines_are_those_of_their_seed(ensembles, found):
  again, other = (columns.columns(*ensembles, Settings(seed=seed)) for seed in (137, 138))
  assert again == found
  for name in (columns.GAUSSIAN, columns.NETWORK):
    assert other[name] != found[name]
  for name in (columns.PREDICTION, columns.REPLICAS, columns.HALVES, columns.FROZEN):
    assert other[name] == found[name]


def test_several_predicted_replicas(ensembles):
  reference, prediction = ensembles
  replica = prediction.replicas[0]
  both = Ensemble(prediction.native, [replica, replica])
  found = columns.columns(reference, both, Settings())
  alone = columns.columns(reference, prediction, Settings())
  for key in ('root_mean_w2', 'rmsf', 'ddg', 'rmsd_error', 'weak_contacts_j'):
    expected = alone[columns.PREDICTION].numbers[key]
    assert found[columns.PREDICTION].numbers[key] == pytest.approx(expected)
  free = found[columns.FROZEN]
  assert free.numbers['rmsd_error'] is None or free.numbers['rmsd_error'] >= 0.0
  assert all(free.notes.values())


def test_a_missing_file_is_named(case, tmp_path):
  columns.check(case)
  for key in ('topology', 'prediction_topology'):
    with pytest.raises(InputError, match=r'^one: .*gone.pdb: no such file'):
      columns.check(dataclasses.replace(case, **{key: tmp_path / 'gone.pdb'}))
  for key in ('reference', 'prediction'):
    with pytest.raises(InputError, match=r'^one: .*gone.xtc: no such file'):
      columns.check(dataclasses.replace(case, **{key: (tmp_path / 'gone.xtc',)}))


def test_md_with_broken_chains_is_refused(case, tmp_path, np_rng):
  """As if a periodic box had cut it; predictions are judged for that."""
  native = Native(case.topology)
  positions = cases.wander(np_rng, native.protein.arrays.positions, 30)
  positions[7:9, 5:] += 40.0
  path = cases.save_sampled(tmp_path, positions, case.topology)
  with pytest.raises(InputError, match=r'frame 7 has a broken chain.*\b2 of .*30 frames'):
    columns.read(dataclasses.replace(case, reference=(path,)))
  reference, prediction = columns.read(dataclasses.replace(case, prediction=(path,)))
  numbers, _ = scores.score(reference, prediction, Settings())
  assert numbers['bond_break_percent'] == pytest.approx(100.0 * 2 / 30)


def test_clashes_are_counted_by_frame(ensembles):
  reference, prediction = ensembles
  positions = prediction.positions.copy()
  positions[:11, 8, 1] = positions[:11, 0, 1] + 0.5
  replica = Replica(positions, prediction.replicas[0].time_ns, 'file')
  numbers, _ = scores.score(reference, Ensemble(reference.native, [replica]), Settings())
  assert numbers['clash_ratio_percent'] == pytest.approx(100.0 * 11 / FRAMES)

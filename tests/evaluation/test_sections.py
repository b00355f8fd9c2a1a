import numpy as np
import pytest

from tempo_jax.evaluation import sections
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Native, Replica
from tests.evaluation import cases


@pytest.fixture(scope='module')
def native(tmp_path_factory):
  path = tmp_path_factory.mktemp('native') / 'native.pdb'
  cases.write_native(path, 8)
  return Native(path).protein


def make(native, lengths, memory=0.0, seed=0):
  rng = np.random.default_rng(seed)
  return Ensemble(
    native,
    [
      Replica(
        cases.wander(rng, native.arrays.positions, n, memory=memory).astype(np.float32),
        0.01 * np.arange(1, n + 1),
        'file',
      )
      for n in lengths
    ],
  )


def bounds(cut):
  return [[(k, frames.start, frames.stop) for k, frames in part] for part in cut.parts]


@pytest.mark.parametrize(
  ('lengths', 'expected'),
  [
    ([120], [[(0, 24 * i, 24 * i + 24)] for i in range(5)]),
    ([50], [[(0, a, b)] for a, b in ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50))]),
    ([60, 60, 60], [[(k, a, a + 30)] for k in range(3) for a in (0, 30)]),
    ([30] * 4, [[(k, 0, 30)] for k in range(4)]),
    # Too short to be a part.
    ([120, 3], [[(0, 24 * i, 24 * i + 24)] for i in range(5)]),
    ([12] * 8, [[(k, None, None), (k + 1, None, None)] for k in (0, 2, 4, 6)]),
    ([12] * 6, [[(k, None, None)] for k in range(6)]),
  ],
)  # fmt: skip
def test_parts_of_independent_frames(native, lengths, expected):
  ensemble = make(native, lengths)
  cut, reason = sections.cut(ensemble, ensemble.pca)
  assert reason is None
  assert bounds(cut) == expected
  assert 1.0 <= cut.inefficiency < 3.0


def test_parts_are_longer_than_the_memory(native):
  """The modes of `cases.wander` have g = (1 + 0.9) / (1 - 0.9) = 19."""
  ensemble = make(native, [2_000], memory=0.9)
  g = sections.inefficiency(ensemble, ensemble.pca)
  assert g == pytest.approx(19.0, rel=0.5)
  for num_frames in (150, 300):
    short = make(native, [num_frames], memory=0.9, seed=1)
    cut, _ = sections.cut(short, ensemble.pca)
    for ((_, frames),) in cut.parts:
      assert frames.stop - frames.start >= cut.inefficiency - 1.0
  none, reason = sections.cut(make(native, [60], memory=0.98), ensemble.pca)
  assert none is None
  assert reason.startswith('60 frames, which are worth')
  assert reason.endswith('independent ones, are too few for an error')


def test_whole_replicas_are_parts_however_slow(native):
  slow = make(native, [30] * 3, memory=0.99)
  cut, _ = sections.cut(slow, slow.pca)
  assert bounds(cut) == [[(k, 0, 30)] for k in range(3)]
  two = make(native, [30] * 2, memory=0.99)
  assert sections.cut(two, two.pca)[0] is None


def test_what_is_left_without_each_part(native):
  ensemble = make(native, [40, 40])
  parts = tuple((x,) for x in ((0, slice(0, 20)), (0, slice(20, 40)), (1, slice(10, 25))))
  cut = sections.Sections(parts, 1.0)
  assert cut.without(ensemble) == [
    ((0, slice(20, 40)), (1, slice(0, 40))),
    ((0, slice(0, 20)), (1, slice(0, 40))),
    ((0, slice(0, 40)), (1, slice(0, 10)), (1, slice(25, 40))),
  ]
  masks = cut.masks(ensemble)
  assert [[int(x.sum()) for x in pair] for pair in masks] == [[20, 40], [20, 40], [40, 25]]
  assert not masks[2][1][10:25].any()


def test_a_view_knows_what_the_whole_knows(native):
  ensemble = make(native, [30, 20])
  names = (
    'superposed', 'ca', 'rmsd', 'radius_of_gyration', 'torsions', 'clashes', 'native_contacts',
    'ca_extremes',
  )  # fmt: skip
  for name in names:
    getattr(ensemble, name)
  cuts = [(0, slice(5, 15)), (1, slice(None)), (0, slice(20, 30, 2))]
  view = ensemble.view(cuts)
  assert set(names) <= set(vars(view))
  anew = Ensemble(native, [ensemble.replicas[k].take(frames) for k, frames in cuts])
  for name in names:
    # Superposition by another number of frames at once rounds otherwise.
    np.testing.assert_allclose(getattr(view, name), getattr(anew, name), atol=1e-5, err_msg=name)
  assert view.dt_ns is None  # The last has twice the step.
  assert ensemble.view(cuts[:2]).dt_ns == pytest.approx(0.01)
  np.testing.assert_allclose(view.rmsf, anew.rmsf, atol=1e-6)
  assert ensemble.view(cuts[:1], 'why').no_time == 'why'


def test_thinned_it_keeps_what_is_of_all_frames(native):
  ensemble = make(native, [60, 40])
  thin = ensemble.thinned(20, 'why')
  assert thin.num_frames == 20
  np.testing.assert_array_equal(thin.ca, np.concatenate([ensemble.ca[:60:5], ensemble.ca[60::5]]))
  assert thin.rmsf is ensemble.rmsf
  assert thin.pca is ensemble.pca
  assert thin.once('key', lambda: 1) == ensemble.once('key', lambda: 2) == 1

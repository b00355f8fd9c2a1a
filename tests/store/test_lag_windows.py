"""Windows of all lag times, and batches of them."""

import math
import types

import jax
import numpy as np
import pytest
from scipy import stats

from tempo_jax import time_scales
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.errors import InputError
from tempo_jax.store import batching, lag_windows
from tempo_jax.store import store as store_lib
from tests.store import synthetic

END, REFERENCE, NONE = anchor_lib.Kind.END, anchor_lib.Kind.REFERENCE, anchor_lib.Kind.NONE
LAGS_NS = (0.01, 5.0)
WINDOW = 2  # Frames in, and as many out.


def fake_store(*entries):
  return types.SimpleNamespace(path='STORE', entries=entries)


def entry(num_frames, dt_ns=0.01, **kwargs):
  return synthetic.entry(num_frames=num_frames, dt_ns=dt_ns, **kwargs)


def make_source(*entries, lags_ns=LAGS_NS, num_frames=2 * WINDOW, **kwargs):
  settings = {'newest': WINDOW - 1, **kwargs}
  return lag_windows.LagWindowSource(fake_store(*entries), lags_ns, num_frames, **settings)


def draws(source, steps=150, size=16):
  return [window for step in range(steps) for window in source.draw(step, size)]


def stride_of(window):
  """Frames of the trajectory, forwards in time, from one frame of the window to the next."""
  return int(window.frames[1] - window.frames[0])


def test_draw_is_a_function_of_seed_and_step():
  entries = entry(100), entry(300, 0.02, replica=2)

  def plain(windows):
    return [(w.name, *w.frames, w.anchor, w.dt_ns, w.longest_ns) for w in windows]

  source = make_source(*entries, seed=5, reversal=0.5)
  straight = [plain(source.draw(step, 8)) for step in range(6)]
  again = make_source(*entries, seed=5, reversal=0.5)
  assert [plain(again.draw(step, 8)) for step in (5, 3, 4)] == [straight[k] for k in (5, 3, 4)]
  assert len({str(batch) for batch in straight}) == 6
  # Neither the sum nor the order of the two numbers.
  others = [make_source(*entries, seed=s, reversal=0.5).draw(t, 8) for s, t in ((3, 5), (4, 4))]
  assert straight[3] not in [plain(other) for other in others]


@pytest.mark.parametrize(
  ('num_frames', 'dt_ns', 'lags_ns', 'least', 'most'),
  [
    # A quarter of the length.
    (100, 0.01, LAGS_NS, 1, 25),
    (400, 1.0, LAGS_NS, 1, 5),
    # From the range's shortest lag to its longest.
    (2000, 0.01, (0.05, 1.0), 5, 100),
    (2000, 0.02, (0.05, 1.0), 3, 50),
    # Files hold times in float32.
    (2000, float(np.float32(0.05)), (0.05, 1.0), 1, 20),
    (8, 0.01, LAGS_NS, 1, 2),
  ],
)
def test_lags_are_log_uniform(num_frames, dt_ns, lags_ns, least, most):
  source = make_source(entry(num_frames, dt_ns), lags_ns=lags_ns)
  drawn = draws(source, 200)
  found = np.array([stride_of(window) for window in drawn])
  for window, stride in zip(drawn, found, strict=True):
    assert window.dt_ns == pytest.approx(stride * dt_ns)
  assert (found.min(), found.max()) == (least, most)
  # A whole number stands for the half below it and above, on a scale of logarithms.
  edges = np.log(np.arange(least, most + 2) - 0.5)
  expected = np.diff(edges) / (edges[-1] - edges[0])
  # Rare ones together.
  groups = np.floor(np.cumsum(expected) * 12.0 - 1e-9)
  observed = [np.sum(np.isin(found - least, np.nonzero(groups == k)[0])) for k in np.unique(groups)]
  share = [expected[groups == k].sum() for k in np.unique(groups)]
  assert stats.chisquare(observed, len(found) * np.array(share)).pvalue > 1e-3


def test_mixed_spacings():
  """Every trajectory at its own; what is drawn of one does not depend on the others."""
  entries = [
    entry(1000, 0.01, name='short'),
    entry(400, 1.0, name='long', length=14),
    entry(60, 0.2, name='middle', length=20),
  ]
  drawn = draws(make_source(*entries), 400)
  by_name = {e.name: {w.dt_ns for w in drawn if w.entry.name == e.name} for e in entries}
  assert sorted(by_name['long']) == [1.0, 2.0, 3.0, 4.0, 5.0]
  assert min(by_name['short']) == 0.01
  assert 1.5 < max(by_name['short']) <= 2.5
  assert min(by_name['middle']) == 0.2
  assert 2.0 < max(by_name['middle']) <= 3.0


@pytest.mark.parametrize(('lag_ns', 'top_ns'), [(0.01, 4.0), (0.2, 4.0), (0.5, 5.0), (2.0, 2.0)])
def test_one_lag_of_a_model_of_many(lag_ns, top_ns):
  """Levels above a window are those of the model, whichever lags are drawn."""
  source = make_source(entry(1000, lag_ns), lags_ns=(lag_ns, lag_ns), range_ns=LAGS_NS)
  assert source.lags_ns == (lag_ns, lag_ns)
  drawn = draws(source, 10)
  assert {w.dt_ns for w in drawn} == {lag_ns}
  assert {w.longest_ns for w in drawn if w.anchor.kind == END} == {top_ns}
  assert {w.longest_ns for w in drawn if w.anchor.kind != END} == {lag_ns}


@pytest.mark.parametrize('reversal', [0.0, 0.3, 1.0])
def test_frames_of_a_window(reversal):
  """Evenly spaced, inside the block; an end on the grid ahead of the newest frame of the window."""
  source = make_source(entry(700), time_block=(0.3, 0.9), reversal=reversal)
  (block,) = source.windows
  assert (block.first, block.end, block.count, source.num_windows) == (210, 630, 420, 420)
  drawn = draws(source, 200)
  of_kind = {END: [], REFERENCE: []}
  backwards = []
  for window in drawn:
    stride, first = stride_of(window), window.frames[0]
    assert len(window.frames) == 5
    np.testing.assert_array_equal(window.frames[:4], first + stride * np.arange(4))
    assert min(window.frames) >= 210
    assert max(window.frames) < 630
    backwards.append(stride < 0)
    anchor, last = window.anchor, window.frames[4]
    of_kind[anchor.kind].append(window)
    assert window.dt_ns == pytest.approx(abs(stride) * 0.01)
    if anchor.kind == END:
      # In one to twenty steps; what is left may be less.
      assert last == first + stride * anchor.frames
      assert WINDOW <= anchor.frames <= WINDOW - 1 + 20
      assert window.longest_ns == time_scales.steps_ns(LAGS_NS, window.dt_ns)[0]
    else:
      # What was before, to the beginning of the block; in reversed time, its end.
      assert np.sign(stride) * (first - last) >= 0
      assert window.longest_ns == window.dt_ns
  assert stats.binomtest(sum(backwards), len(drawn), reversal).pvalue > 1e-3
  assert stats.binomtest(len(of_kind[END]), len(drawn), 0.5).pvalue > 1e-3
  ahead = {w.anchor.frames for w in of_kind[END] if abs(stride_of(w)) < 10}
  assert ahead == set(range(2, 22))


def test_ends_are_equally_likely_among_those_that_there_is_room_for():
  # One lag only, of 10 frames: with 75 frames, six steps ahead of the newest one.
  source = make_source(entry(75, 0.01), lags_ns=(0.1, 0.1 + 1e-6))
  ahead = [w.anchor.frames for w in draws(source, 150) if w.anchor.kind == END]
  counts = np.bincount(ahead, minlength=8)
  assert not counts[:2].any()
  assert len(counts) == 8
  assert stats.chisquare(counts[2:]).pvalue > 1e-3


def test_starts_and_references_are_equally_likely():
  source = make_source(entry(75, 0.01), lags_ns=(0.1, 0.1 + 1e-6), time_block=(0.2, 1.0))
  seen = [w for w in draws(source, 400) if w.anchor.is_reference]
  # Windows span 31 frames of 60, from frame 15 on.
  starts = np.bincount([w.frames[0] - 15 for w in seen], minlength=30)
  assert len(starts) == 30
  assert stats.chisquare(starts).pvalue > 1e-3
  age = [(w.frames[0] - w.frames[4]) / (w.frames[0] - 15) for w in seen if w.frames[0] > 35]
  assert np.mean(age) == pytest.approx(0.5, abs=0.05)
  assert min(age) < 0.05
  assert max(age) > 0.9


def test_without_a_reference():
  drawn = draws(make_source(entry(100), reference=False), 20)
  assert {window.anchor.kind for window in drawn} == {END, NONE}
  assert {len(window.frames) for window in drawn} == {5}


def test_no_room_for_an_end():
  """Where the newest frame may be the last one of the block, there is nothing to aim at."""
  source = make_source(entry(4, 1.0), lags_ns=(0.5, 1.0), newest=3)
  assert {window.anchor.kind for window in draws(source, 10)} == {REFERENCE}
  source = make_source(entry(4, 1.0), lags_ns=(0.5, 1.0), newest=2)
  places = {w.anchor.frames for w in draws(source, 10) if w.anchor.kind == END}
  assert places == {3}


def test_windows_fit_into_the_block():
  """Eleven frames of a hundred: steps of nine at most, though a quarter were 25."""
  drawn = draws(make_source(entry(100), num_frames=11), 40)
  assert max(stride_of(window) for window in drawn) == 9
  assert max(window.frames.max() for window in drawn) < 100


@pytest.mark.parametrize('balance', [0.0, 0.5, 1.0])
def test_balance_between_proteins(balance):
  entries = entry(20), entry(60, replica=2), entry(40, name='other', length=40)
  source = make_source(*entries, balance=balance)
  assert source.num_windows == 120
  drawn = draws(source, 400, 8)
  odds = (40 / 80) ** (1.0 - balance)
  of_other = sum(w.entry.name == 'other' for w in drawn)
  assert stats.binomtest(of_other, len(drawn), odds / (1.0 + odds)).pvalue > 1e-3
  of_first = sum(w.entry.replica == 1 for w in drawn if w.entry.name == 'toy')
  assert stats.binomtest(of_first, len(drawn) - of_other, 20 / 80).pvalue > 1e-3
  # Never two groups in one batch.
  for step in range(50):
    names = {w.entry.name for w in source.draw(step, 4, group=np.array([7, 7, 3]))}
    assert len(names) == 1


def test_what_does_not_serve_is_left_out():
  entries = (
    entry(100),
    entry(100, 10.0, replica=2),
    entry(3, replica=3),
    entry(100, replica=4, split='validation'),
    # Ten frames of 0.005 ns: a quarter of that is two frames, 0.01 ns.
    entry(10, 0.005, replica=5),
    entry(7, 0.005, replica=6),
  )
  source = make_source(*entries)
  assert [w.entry.replica for w in source.windows] == [1, 5]
  reasons = dict(source.left_out)
  assert set(reasons) == {f'toy/T300/R{k}' for k in (2, 3, 6)}
  assert reasons['toy/T300/R2'].startswith('its block has 100 frames of 10 ns: no lag of the range')
  assert 'its block has 3 frames of 0.01 ns' in reasons['toy/T300/R3']
  (held_out,) = make_source(*entries, split='validation').windows
  assert held_out.entry.replica == 4


@pytest.mark.parametrize(
  ('entries', 'kwargs', 'message'),
  [
    ([entry(100, 10.0)], {}, r'of 0.01 to 5 ns \(toy/T300/R1: its block has 100 frames of 10 ns'),
    ([], {}, r'to 5 ns: add longer ones, or change config\.model\.lags_ns'),
    ([entry(100)], {'split': 'validation'}, "no trajectory of split 'validation' serves"),
    ([entry(100)], {'time_block': (0.5, 0.53)}, 'its block has 3 frames of 0.01 ns'),
    # Four frames do not fit.
    ([entry(100)], {'num_frames': 102}, 'no trajectory of split'),
  ],
)
def test_nothing_serves(entries, kwargs, message):
  with pytest.raises(InputError, match=message) as error:
    make_source(*entries, **kwargs)
  assert str(error.value).startswith('STORE: ')
  assert '\n' not in str(error.value)


@pytest.fixture(scope='module')
def on_disk(tmp_path_factory):
  """A store of two spacings, and its positions."""
  path, rng = tmp_path_factory.mktemp('store'), np.random.default_rng(3)
  entries = [
    synthetic.entry('quick', 10, 0.01, temperature_K=300.0, solvent='implicit'),
    synthetic.entry('slow', 14, 1.0, temperature_K=320.0, solvent='explicit'),
  ]
  frames = {'quick': 400, 'slow': 90}
  data = {e.name: synthetic.positions(rng, frames[e.name], e.length) for e in entries}
  with store_lib.StoreWriter(path) as writer:
    for e in entries:
      writer.add(e, data[e.name])
  return store_lib.Store(path), data


def test_batches_of_mixed_lags(on_disk):
  """What the windows say, read; and surroundings of five steps of the coarsest level."""
  store, data = on_disk
  source = lag_windows.LagWindowSource(
    store, LAGS_NS, 4, newest=1, time_block=(0.25, 1.0), reversal=0.5, balance=1.0
  )
  loader = batching.Loader(source, 8, with_stretch=True)
  blocks = {'quick': (100, 400), 'slow': (22, 90)}
  spacing = {'quick': 0.01, 'slow': 1.0}
  lags, inside = set(), 0
  for step in range(12):
    batch, names = loader.batch(step)
    drawn = source.draw(step, 8, np.zeros(2))
    assert names == tuple(window.name for window in drawn)
    stretch = batch.stretch
    assert batch.positions.shape == (8, 5, 16, 4, 3)
    assert stretch.ca.shape == (8, 16, 16, 3)
    np.testing.assert_array_equal(batch.dt_ns, np.float32([w.dt_ns for w in drawn]))
    np.testing.assert_array_equal(batch.anchor.kind, [w.anchor.kind for w in drawn])
    np.testing.assert_array_equal(stretch.longest_ns, np.float32([w.longest_ns for w in drawn]))
    for k, window in enumerate(drawn):
      name = window.entry.name
      x, n, dt_ns = data[name], window.entry.length, spacing[name]
      first, end = blocks[name]
      np.testing.assert_array_equal(batch.positions[k, :, :n], x[window.frames])
      np.testing.assert_array_equal(batch.protein.positions[k], batch.positions[k, 0])
      np.testing.assert_array_equal(stretch.reference[k, :n], x[first])
      assert batch.protein.solvent[k] == {'quick': 2, 'slow': 1}[name]
      # An independent mean of the surroundings, by every place that it may have.
      middle = (window.frames[0] + window.frames[3]) / 2.0
      half = 2.5 * window.longest_ns / dt_ns
      low, high = max(middle - half, first), min(middle + half, end - 1)
      places = [round(low + (high - low) * s / 15.0) for s in range(16)]
      assert all(first <= place < end for place in places)
      expected = np.mean([x[place][:, 1].astype(np.float64) for place in places], axis=0)
      np.testing.assert_allclose(stretch.ca[k, :, :n].mean(axis=0), expected, atol=1e-4)
      times = dt_ns * (np.array(places) - places[0])
      np.testing.assert_allclose(stretch.times_ns[k], times, rtol=1e-5, atol=1e-7)
      assert (high - low) * dt_ns <= 5.0 * window.longest_ns * 1.001
      inside += math.isclose((high - low) * dt_ns, 5.0 * window.longest_ns, rel_tol=1e-3)
      assert np.isfinite(stretch.ca[k]).all()
      assert np.isfinite(stretch.root[k]).all()
      assert not stretch.root[k, 3 * n :].any()
      assert not batch.protein.mask[k, n:].any()
      lags.add(window.dt_ns)
  assert len(lags) > 10
  assert inside > 10
  again = loader.batch(11)[0]
  jax.tree.map(np.testing.assert_array_equal, again, batch)

import types

import numpy as np
import pytest
from scipy import stats

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.errors import InputError
from tempo_jax.store import windows
from tests.store import synthetic


def fake_store(*entries):
  return types.SimpleNamespace(path='STORE', entries=entries)


def entry(num_frames, dt_ns=0.01, **kwargs):
  return synthetic.entry(num_frames=num_frames, dt_ns=dt_ns, **kwargs)


def frames_of(window):
  """The frames that reading the window touches, independently of numpy's slicing."""
  return list(window.frames)


def all_frames(source):
  return {
    (w.entry.key, w.first + w.step * i + w.stride * t)
    for w in source.windows
    for i in range(w.count)
    for t in range(source.num_frames)
  }


@pytest.mark.parametrize(('dt_ns', 'stride'), [(0.01, 1), (0.02, 2), (0.2, 20), (0.0200001, 2)])
def test_window_has_the_level_s_stride(dt_ns, stride):
  source = windows.WindowSource(fake_store(entry(200)), dt_ns, 5)
  for window in source.draw(0, 50):
    frames = frames_of(window)
    assert len(frames) == 5
    assert set(np.diff(frames)) == {stride}
    assert 0 <= frames[0] <= frames[-1] < 200
    assert window.name == f'toy/T300/R1@{frames[0]}'
  assert source.num_windows == 200 - 4 * stride


def test_draw_is_a_function_of_seed_and_step():
  store = fake_store(entry(100), entry(300, replica=2))

  def names(seed, step, batch_size=8):
    source = windows.WindowSource(store, 0.02, 3, seed=seed)
    return [window.name for window in source.draw(step, batch_size)]

  source = windows.WindowSource(store, 0.02, 3, seed=5)
  straight = [[w.name for w in source.draw(step, 8)] for step in range(6)]
  assert straight[3:] == [names(5, step) for step in (3, 4, 5)]
  assert len({tuple(draw) for draw in straight}) == 6
  assert names(6, 3) != names(5, 3)
  # Neither the sum nor the order of the two numbers: seed 5, step 3 is not seed 3, step 5.
  assert names(3, 5) != names(5, 3) != names(4, 4)


def test_every_window_is_equally_likely():
  store = fake_store(entry(20), entry(45, replica=2), entry(12, name='other', length=40))
  source = windows.WindowSource(store, 0.02, 4)
  assert source.num_windows == 14 + 39 + 6
  counts = dict.fromkeys(
    (f'{w.entry.key}@{w.first + i}' for w in source.windows for i in range(w.count)), 0
  )
  assert len(counts) == 59
  for step in range(400):
    for window in source.draw(step, 32):
      counts[window.name] += 1
  assert stats.chisquare(list(counts.values())).pvalue > 1e-3

  # By groups: likewise, and never two groups in one batch.
  counts = dict.fromkeys(counts, 0)
  batches = {'toy': 0, 'other': 0}
  for step in range(4000):
    drawn = source.draw(step, 4, group=np.array([7, 7, 3]))
    (name,) = {window.entry.name for window in drawn}
    batches[name] += 1
    for window in drawn:
      counts[window.name] += 1
  assert stats.binomtest(batches['other'], 4000, 6 / 59).pvalue > 1e-3
  for name in batches:
    observed = [count for window, count in counts.items() if window.startswith(name)]
    assert stats.chisquare(observed).pvalue > 1e-3


@pytest.mark.parametrize(('balance', 'odds'), [(1.0, 1.0), (0.5, (6 / 53) ** 0.5)])
def test_balance_between_proteins(balance, odds):
  store = fake_store(entry(20), entry(45, replica=2), entry(12, name='other', length=40))
  source = windows.WindowSource(store, 0.02, 4, balance=balance)
  groups = np.array([7, 7, 3])
  batches = [source.draw(step, 1, group=groups)[0] for step in range(3000)]
  of_other = sum(window.entry.name == 'other' for window in batches)
  assert stats.binomtest(of_other, 3000, odds / (1.0 + odds)).pvalue > 1e-3
  # Of one protein, every window is as likely as before.
  of_first = sum(w.entry.replica == 1 for w in batches if w.entry.name == 'toy')
  assert stats.binomtest(of_first, 3000 - of_other, 14 / 53).pvalue > 1e-3


@pytest.mark.parametrize('num_frames', [100, 101, 997])
def test_time_blocks_share_no_frame(num_frames):
  store = fake_store(entry(num_frames))
  blocks = [
    all_frames(windows.WindowSource(store, 0.02, 3, time_block=block))
    for block in ((0.0, 0.75), (0.75, 0.9), (0.9, 1.0))
  ]
  assert sum(map(len, blocks)) == num_frames
  assert len(set.union(*blocks)) == num_frames


def test_start_stride_gives_the_papers_coarse_windows():
  source = windows.WindowSource(fake_store(entry(400, 1.0)), 20.0, 2, start_stride_ns=20.0)
  starts = {int(window.frames[0]) for step in range(40) for window in source.draw(step, 16)}
  assert starts == set(range(0, 380, 20))
  assert source.num_windows == 19
  assert all_frames(source) == {('toy/T300/R1', frame) for frame in range(0, 400, 20)}


def test_quarter_rule():
  store = fake_store(entry(8), entry(40, replica=2))
  source = windows.WindowSource(store, 0.1, 2)
  assert [key for key, _ in source.left_out] == ['toy/T300/R1']
  assert 'needs 11 frames of 0.01 ns, its block has 8' in source.left_out[0][1]
  with pytest.raises(
    InputError,
    match=r'STORE: a time step of 0.11 ns is longer than a quarter of the longest training '
    r'trajectory \(toy/T300/R2, 0.4 ns\): choose at most 0.1 ns',
  ):
    windows.WindowSource(store, 0.11, 2)
  # The rule is about what is learnt from.
  held_out = fake_store(entry(30, split='validation'))
  assert windows.WindowSource(held_out, 0.1, 2, split='validation').num_windows == 20


def test_time_steps_that_do_not_divide():
  store = fake_store(entry(400), entry(400, 0.004, replica=2), entry(400, 0.0105, replica=3))
  source = windows.WindowSource(store, 0.02, 3)
  assert [w.stride for w in source.windows] == [2, 5]
  ((key, reason),) = source.left_out
  assert key == 'toy/T300/R3'
  assert reason == 'its frames are 0.0105 ns apart, which does not divide 0.02 ns'
  with pytest.raises(InputError, match=r'STORE: no windows of 3 frames, 0.015 ns apart') as error:
    windows.WindowSource(store, 0.015, 3)
  assert 'choose a time step that is a multiple of 0.004, 0.01, 0.0105 ns' in str(error.value)
  # Finer than the data.
  with pytest.raises(InputError, match='choose a time step that is a multiple of'):
    windows.WindowSource(store, 0.001, 3)
  with pytest.raises(InputError, match='does not divide the start stride'):
    windows.WindowSource(fake_store(entry(400)), 0.02, 3, start_stride_ns=0.025)


def test_advice_on_windows_that_are_too_long_works():
  store = fake_store(entry(100))
  with pytest.raises(InputError, match=r'choose at most 0.04 ns, fewer frames'):
    windows.WindowSource(store, 0.1, 21)
  assert windows.WindowSource(store, 0.04, 21).num_windows == 20
  with pytest.raises(InputError, match='its block has 10'):
    windows.WindowSource(store, 0.1, 3, time_block=(0.9, 1.0))


def test_splits():
  store = fake_store(entry(100), entry(100, replica=2, split='validation'))
  source = windows.WindowSource(store, 0.02, 3, split='validation')
  assert {window.entry.replica for window in source.draw(0, 64)} == {2}
  assert {w.entry.replica for w in windows.WindowSource(store, 0.02, 3).windows} == {1}
  with pytest.raises(InputError, match=r"of split 'test' \(there are: 'train', 'validation'\)"):
    windows.WindowSource(store, 0.02, 3, split='test')


@pytest.mark.parametrize(
  'kwargs',
  [
    {'dt_ns': 0.0},
    {'dt_ns': -1.0},
    {'dt_ns': float('nan')},
    {'num_frames': 0},
    {'start_stride_ns': 0.0},
    {'time_block': (0.5, 0.5)},
    {'time_block': (-0.1, 0.5)},
    {'time_block': (0.5, 1.1)},
  ],
)
def test_settings_out_of_range(kwargs):
  with pytest.raises(InputError):
    windows.WindowSource(fake_store(entry(100)), **{'dt_ns': 0.02, 'num_frames': 3, **kwargs})


def ends(first, last):
  return [anchor_lib.Place(anchor_lib.Kind.END, frame) for frame in range(first, last + 1)]


def test_anchor_is_one_more_frame_of_the_block():
  source = windows.WindowSource(
    fake_store(entry(100)), 0.02, 4, time_block=(0.5, 1.0), anchors=ends(2, 11)
  )
  drawn = [window for step in range(60) for window in source.draw(step, 8)]
  assert {window.anchor for window in drawn} == set(ends(2, 11))
  for window in drawn:
    first, *rest = window.frames
    np.testing.assert_array_equal(rest[:3], first + 2 * np.arange(1, 4))
    assert window.frames[4] == first + 2 * window.anchor.frames
    # There is room for the farthest anchor, whichever is drawn.
    assert first >= 50
    assert first + 2 * 11 < 100
  # No anchor needs no room.
  nothing = [anchor_lib.Place()]
  assert windows.WindowSource(fake_store(entry(100)), 0.02, 4, anchors=nothing).num_windows == 94


def test_the_reference_is_a_frame_that_came_before():
  source = windows.WindowSource(
    fake_store(entry(100)),
    0.02,
    4,
    time_block=(0.5, 0.7),
    anchors=[anchor_lib.Place(anchor_lib.Kind.REFERENCE)],
    reversal=0.5,
  )
  drawn = [window for step in range(300) for window in source.draw(step, 8)]
  ages = {1: set(), -1: set()}
  for window in drawn:
    first, *rest, reference = window.frames
    assert window.anchor.is_reference
    sign = np.sign(rest[0] - first)
    np.testing.assert_array_equal(rest, first + 2 * sign * np.arange(1, 4))
    assert 50 <= reference < 70
    ages[sign].add(sign * (first - reference))
  # From the window's first frame itself to the other end of the block; windows need 7 frames.
  assert ages[1] == ages[-1] == set(range(13))


def test_reversed_windows_are_the_same_stretches_backwards():
  source = windows.WindowSource(fake_store(entry(30)), 0.02, 4, anchors=ends(3, 6), reversal=0.4)
  drawn = [window for step in range(200) for window in source.draw(step, 8)]
  direction = np.array([np.sign(window.frames[1] - window.frames[0]) for window in drawn])
  assert np.mean(direction < 0) == pytest.approx(0.4, abs=0.04)
  for window, sign in zip(drawn, direction, strict=True):
    np.testing.assert_array_equal(
      window.frames, window.frames[0] + 2 * sign * np.array([0, 1, 2, 3, window.anchor.frames])
    )
    assert min(window.frames) >= 0
    assert max(window.frames) < 30

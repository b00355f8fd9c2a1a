import concurrent.futures
import dataclasses
import threading
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.protein import padding
from tempo_jax.store import batching, windows
from tempo_jax.store import store as store_lib
from tests.store import synthetic

LENGTHS = {'small': 10, 'middle': 14, 'large': 20}


class FakeStore:
  """Positions in memory; notes what was read."""

  def __init__(self, rng, lengths=LENGTHS, num_frames=60):
    self.path = 'STORE'
    self.entries = tuple(
      synthetic.entry(name, length, num_frames=num_frames, temperature_K=300.0 + length)
      for name, length in lengths.items()
    )
    self.data = {e.key: synthetic.positions(rng, num_frames, e.length) for e in self.entries}
    self.reads = []
    self.fail_at: tuple[str, int] | None = None

  def read(self, entry, frames):
    return self.data[entry.key][frames]

  def read_async(self, entry, frames):
    self.reads.append((entry.key, frames[0]))
    future = concurrent.futures.Future()
    if (entry.key, frames[0]) == self.fail_at:
      future.set_exception(InputError('a frame is missing'))
    else:
      future.set_result(self.data[entry.key][frames])
    return future


@pytest.fixture
def store(np_rng):
  return FakeStore(np_rng)


def make_loader(store, batch_size=4, num_frames=3, **kwargs):
  return batching.Loader(windows.WindowSource(store, 0.02, num_frames), batch_size, **kwargs)


def assert_batches_equal(a, b):
  assert a[1] == b[1]
  jax.tree.map(np.testing.assert_array_equal, a[0], b[0])


@pytest.mark.parametrize('longest_ns', [0.02, 0.04, 4.0])
def test_stretches_are_the_surroundings_of_windows(store, longest_ns):
  """Five steps of the coarsest level long, inside the block; and where that begins; padded."""
  source = windows.WindowSource(store, 0.02, 3, time_block=(0.5, 1.0), longest_ns=longest_ns)
  loader = batching.Loader(source, 4, with_stretch=True)
  batch, names = loader.batch(0)
  stretch, length = batch.stretch, batch.positions.shape[2]
  assert stretch.ca.shape == (4, 16, length, 3)
  assert stretch.root.shape == (4, 3 * length, 3 * length)
  for k, name in enumerate(names):
    key, start = name.split('@')
    (entry,) = (e for e in store.entries if e.key == key)
    frames = store.data[key]
    n, first, last = entry.length, len(frames) // 2, len(frames) - 1
    # The window is frames start, start + 2, start + 4.
    half = round(2.5 * longest_ns / entry.dt_ns)
    low, high = max(int(start) + 2 - half, first), min(int(start) + 2 + half, last)
    np.testing.assert_array_equal(stretch.reference[k, :n], frames[first])
    np.testing.assert_array_equal(stretch.ca[k, 0, :n], frames[low, :, 1])
    np.testing.assert_array_equal(stretch.ca[k, -1, :n], frames[high, :, 1])
    assert stretch.times_ns[k, 0] == 0.0
    assert stretch.times_ns[k, -1] == pytest.approx((high - low) * entry.dt_ns)
    assert stretch.longest_ns[k] == pytest.approx(longest_ns)
    assert np.isfinite(stretch.root[k]).all()
    assert not stretch.root[k, 3 * n :].any()
  assert loader.batch(0)[0].stretch.root.tobytes() == stretch.root.tobytes()
  assert make_loader(store).batch(0)[0].stretch is None


def test_bucket():
  for length in range(1, 3000):
    size = padding.bucket(length)
    assert size >= length
    assert size % 8 == 0
    assert length <= 16 or size <= 1.5 * length
    assert padding.bucket(size) == size
  assert padding.bucket(1025) == 1536
  assert padding.bucket(7, (5, 9)) == 9


def test_padding_keeps_the_protein_and_is_harmless(np_rng):
  entry = synthetic.entry(length=10)
  x = synthetic.positions(np_rng, 6)
  arrays = entry.arrays(x[0])
  padded = padding.pad(arrays, 16)
  # The solvent is of the whole.
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b[:10] if np.ndim(b) else b), arrays, padded
  )
  jax.tree.map(lambda a, b: b.dtype == a.dtype or pytest.fail(str(b.dtype)), arrays, padded)
  assert not padded.mask[10:].any()
  assert not padded.bonded[10:].any()
  assert padded.positions.shape == (16, 4, 3)
  np.testing.assert_array_equal(padding.pad_positions(x, 16)[0], padded.positions)
  with pytest.raises(ValueError, match='10 residues do not fit into 8'):
    padding.pad(arrays, 8)

  # Geometry of padding has values and gradients.
  def energy(x):
    n, ca, c = x[:, 0], x[:, 1], x[:, 2]
    normal = jnp.cross(n - ca, c - ca)
    pairs = jnp.sum((ca[:, None] - ca[None, :]) ** 2, axis=-1)[np.triu_indices(16, 1)]
    return jnp.sum(1.0 / jnp.linalg.norm(normal, axis=-1)) + jnp.sum(1.0 / pairs)

  assert np.isfinite(jax.jit(jax.grad(energy))(padded.positions)).all()
  ca = padded.positions[9:, 1]
  np.testing.assert_allclose(np.linalg.norm(np.diff(ca, axis=0), axis=-1), 3.8, rtol=1e-5)


def test_batch_holds_the_windows_that_it_names(store):
  loader = make_loader(store)
  for step in range(20):
    batch, names = loader.batch(step)
    entries = {entry.key: entry for entry in store.entries}
    length = batch.positions.shape[2]
    assert batch.positions.shape == (4, 3, length, 4, 3)
    assert batch.positions.dtype == batch.temperature_K.dtype == np.float32
    np.testing.assert_array_equal(batch.protein.positions, batch.positions[:, 0])
    for i, name in enumerate(names):
      key, start = name.split('@')
      entry = entries[key]
      expected = store.data[key][int(start) : int(start) + 5 : 2]
      np.testing.assert_array_equal(batch.positions[i, :, : entry.length], expected)
      np.testing.assert_array_equal(batch.protein.mask[i], np.arange(length) < entry.length)
      np.testing.assert_array_equal(
        batch.protein.residue_type[i, : entry.length], entry.residue_type
      )
      np.testing.assert_array_equal(batch.protein.bonded[i], np.arange(length) < entry.length - 1)
      assert batch.temperature_K[i] == 300.0 + entry.length
  np.testing.assert_array_equal(batch.dt_ns, np.float32([0.02] * 4))
  np.testing.assert_array_equal(batch.protein.solvent, 0)
  assert len(jax.tree.leaves(batch)) == 12


def test_one_bucket_per_batch_and_few_shapes(store):
  loader = make_loader(store)
  assert loader.lengths == (16, 24)
  seen = set()
  for step in range(60):
    batch, names = loader.batch(step)
    longest = {LENGTHS[name.split('/')[0]] for name in names}
    assert {padding.bucket(length) for length in longest} == {batch.positions.shape[2]}
    seen.add((batch.positions.shape[2], len(longest)))
  assert {length for length, _ in seen} == {16, 24}
  assert (16, 2) in seen


def test_shards_are_slices_of_the_whole(store):
  for step in range(6):
    whole, names = make_loader(store).batch(step)
    shards = [make_loader(store, shard_index=i, num_shards=2).batch(step) for i in range(2)]
    joined = jax.tree.map(lambda *parts: np.concatenate(parts), *(shard for shard, _ in shards))
    assert_batches_equal((joined, shards[0][1] + shards[1][1]), (whole, names))
  store.reads.clear()
  make_loader(store, shard_index=1, num_shards=4).batch(0)
  assert len(store.reads) == 1
  for kwargs in ({'num_shards': 3}, {'num_shards': 2, 'shard_index': 2}):
    with pytest.raises(ValueError, match='in a batch of 4'):
      make_loader(store, **kwargs)


def loader_threads():
  return [thread for thread in threading.enumerate() if thread.name.startswith('tempo_loader')]


def test_iterator_is_the_sequence_of_batches(store):
  loader = make_loader(store, prefetch=3)
  iterator = loader.iterate(5)
  for step in range(5, 15):
    assert_batches_equal(next(iterator), loader.batch(step))
  assert loader_threads()
  iterator.close()
  assert not loader_threads()


def test_iterator_reads_ahead_and_no_further(store):
  iterator = make_loader(store, prefetch=3).iterate()
  next(iterator)
  deadline = time.monotonic() + 10.0
  while len(store.reads) < 4 * 4 and time.monotonic() < deadline:
    time.sleep(0.005)
  time.sleep(0.05)
  assert len(store.reads) == 4 * 4
  iterator.close()


def test_error_is_raised_when_its_batch_is_due(store):
  loader = make_loader(store)
  names = [loader.batch(step)[1] for step in range(4)]
  (bad, *_) = set(names[2]) - set(names[0] + names[1])
  key, start = bad.split('@')
  store.fail_at = key, int(start)
  came = []
  with pytest.raises(InputError, match='a frame is missing'):  # noqa: PT012
    for _, came_names in loader.iterate():
      came.append(came_names)
  assert came == names[:2]
  assert not loader_threads()


def test_with_a_real_store(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 40)
  with store_lib.StoreWriter(tmp_path) as writer:
    writer.add(synthetic.entry(), x)
  loader = make_loader(store_lib.Store(tmp_path))
  batch, names = next(loader.iterate(2))
  for row, name in zip(batch.positions, names, strict=True):
    start = int(name.split('@')[1])
    np.testing.assert_array_equal(row[:, :10], x[start : start + 5 : 2])


def test_what_one_protein_has_the_others_say_that_they_have_not(store):
  first = dataclasses.replace(
    store.entries[0],
    mirrored=np.ones(store.entries[0].length, bool),
    disulphides=np.zeros(store.entries[0].length, np.int32),
  )
  store.entries = (first, *store.entries[1:])
  loader = make_loader(store)
  found = set()
  for step in range(8):
    batch, names = loader.batch(step)
    assert batch.protein.ring is None
    for mirrored, partner, mask, name in zip(
      batch.protein.mirrored, batch.protein.disulphides, batch.protein.mask, names, strict=True
    ):
      has = name.startswith(first.key)
      np.testing.assert_array_equal(mirrored, mask & has)
      np.testing.assert_array_equal(partner == 0, mask & has)
      found.add(has)
  assert found == {True, False}


def test_batch_goes_through_jit(store):
  traces = types.SimpleNamespace(count=0)

  @jax.jit
  def total(batch):
    traces.count += 1
    return jnp.sum(jnp.where(batch.protein.mask[:, None, :, None, None], batch.positions, 0.0))

  loader = make_loader(store)
  for step in range(10):
    total(loader.batch(step)[0])
  assert traces.count == 2

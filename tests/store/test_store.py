import dataclasses
import functools
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorstore as ts

from tempo_jax.errors import InputError
from tempo_jax.store import entry as entry_lib
from tempo_jax.store import store as store_lib
from tests import disk
from tests.store import synthetic

# 200 residues: 9.6 kB a frame, 55 frames a chunk.
LONG = 200
CHUNK = 55


def write(path, *items):
  with store_lib.StoreWriter(path) as writer:
    for entry, positions in items:
      assert writer.add(entry, positions)
  return store_lib.Store(path)


def chunk_files(path, key) -> dict[int, pathlib.Path]:
  (array,) = (p.parent for p in (path / 'entries' / key).glob('*/zarr.json'))
  return {int(p.name): p / '0/0/0' for p in (array / 'c').iterdir()}


def bytes_read() -> int:
  (metric,) = ts.experimental_collect_matching_metrics('/tensorstore/kvstore/file/bytes_read')
  return sum(value['value'] for value in metric['values'])


def files(path):
  return sorted(str(p.relative_to(path)) for p in path.rglob('*') if p.is_file())


@pytest.mark.parametrize('block', [1, 7, 55, 100, 1000])
def test_reads_back_what_was_written(tmp_path, np_rng, block):
  x = synthetic.positions(np_rng, 150, LONG)
  blocks = (x[i : i + block] for i in range(0, len(x), block))
  store = write(tmp_path, (synthetic.entry(length=LONG), blocks))
  (entry,) = store.entries
  assert entry.num_frames == 150
  assert len(chunk_files(tmp_path, entry.key)) == 3
  np.testing.assert_array_equal(store.read(entry), x)
  for frames in (slice(40, 60), slice(3, 140, 20), np.array([149, 0, 54, 55]), np.array([-1])):
    got = store.read(entry.key, frames)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x[frames])


def test_metadata_survives(tmp_path, np_rng):
  optional = {
    'ring': np.full(5, -1, np.int32),
    'disulphides': np.array([3, -1, -1, 0, -1], np.int32),
    'mirrored': np.arange(5) == 2,
  }
  written = synthetic.entry(length=5, split='test', temperature_K=310.15, replica=3, **optional)
  store = write(tmp_path / 'a b', (written, synthetic.positions(np_rng, 4, 5)))
  (entry,) = store.entries
  assert entry.key == 'toy/T310.15/R3'
  for field in dataclasses.fields(written):
    if field.name in ('num_frames', 'array'):
      continue
    before, after = (getattr(e, field.name) for e in (written, entry))
    assert type(before) is type(after)
    np.testing.assert_array_equal(before, after)
    if isinstance(before, np.ndarray):
      assert before.dtype == after.dtype
  arrays = entry.arrays(store.read(entry)[0])
  assert arrays.mask.all()
  assert arrays.positions.shape == (5, 4, 3)
  for name, value in optional.items():
    np.testing.assert_array_equal(getattr(arrays, name), value)


def test_manifest_holds_a_protein_once(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  replicas = [(synthetic.entry(replica=r), x) for r in range(3)]
  store = write(tmp_path, *replicas, (synthetic.entry('other', length=4), x[:, :4]))
  manifest = json.loads((tmp_path / 'manifest.json').read_text())
  assert len(manifest['proteins']) == 2
  assert [e.length for e in store.entries] == [4, 10, 10, 10]


def test_window_touches_only_its_chunks(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 6 * CHUNK, LONG)
  store = write(tmp_path, (synthetic.entry(length=LONG), x))
  (entry,) = store.entries
  chunks = chunk_files(tmp_path, entry.key)
  for number in (0, 2, 3, 5):
    chunks[number].write_bytes(b'whoever reads this fails')
  for frames, needed in (
    (slice(CHUNK, 2 * CHUNK), [1]),
    (np.array([5 * CHUNK - 1, 4 * CHUNK]), [4]),
    (slice(CHUNK + 3, 4 * CHUNK + 10, 3 * CHUNK), [1, 4]),
  ):
    store = store_lib.Store(tmp_path)
    store.read(entry, np.array([CHUNK]))  # the array is open, and chunk 1 in the cache
    before = bytes_read()
    np.testing.assert_array_equal(store.read(entry, frames), x[frames])
    assert bytes_read() - before == sum(chunks[i].stat().st_size for i in needed if i != 1)


def test_lost_chunk(tmp_path, np_rng):
  store = write(
    tmp_path, (synthetic.entry(length=LONG), synthetic.positions(np_rng, 3 * CHUNK, LONG))
  )
  (entry,) = store.entries
  for number in (0, 2):
    chunk_files(tmp_path, entry.key)[number].unlink()
  with pytest.raises(InputError, match=rf'{tmp_path}: frame {2 * CHUNK} of toy/T300/R1 is missing'):
    store.read(entry, slice(2 * CHUNK - 2, 2 * CHUNK + 2))
  with pytest.raises(InputError, match='frame 0 of'):
    store.read_async(entry, slice(0, 2)).result()


def test_lost_array_and_damaged_chunk_name_the_entry(tmp_path, np_rng):
  store = write(tmp_path, (synthetic.entry(), synthetic.positions(np_rng, 4)))
  (chunk,) = chunk_files(tmp_path, 'toy/T300/R1').values()
  chunk.write_bytes(chunk.read_bytes()[:100])
  with pytest.raises(InputError, match='toy/T300/R1 cannot be read'):
    store.read('toy/T300/R1')
  (array,) = (tmp_path / 'entries').glob('*/*/*/*/zarr.json')
  array.unlink()
  with pytest.raises(InputError, match='toy/T300/R1 cannot be read'):
    store_lib.Store(tmp_path).read('toy/T300/R1')


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (None, r'no store here \(it has no manifest.json\)'),
    ('{"format": "tempo', 'is damaged'),
    ('{"format": "something else", "version": 1}', 'not of a tempo_jax store'),
    ('[]', 'not of a tempo_jax store'),
    (json.dumps({'format': entry_lib.FORMAT, 'version': 99}), 'version 99.*up to 2'),
    (json.dumps({'format': entry_lib.FORMAT, 'version': 1}), 'is damaged'),
  ],
)
def test_what_is_no_store_is_refused(tmp_path, content, message):
  if content is not None:
    (tmp_path / 'manifest.json').write_text(content)
  with pytest.raises(InputError, match=message) as error:
    store_lib.Store(tmp_path)
  assert str(tmp_path) in str(error.value)
  assert '\n' not in str(error.value)


def test_other_mistakes_in_one_line(tmp_path, np_rng):
  store = write(tmp_path / 's', (synthetic.entry(), synthetic.positions(np_rng, 4)))
  with pytest.raises(InputError, match="no entry 'nobody/T1/R1'"):
    store.read('nobody/T1/R1')
  with pytest.raises(IndexError):
    store.read('toy/T300/R1', np.array([4]))
  with pytest.raises(InputError, match='not a place that can be read'):
    store_lib.Store('nonsense://x')
  with pytest.raises(InputError, match='local disk'):
    store_lib.StoreWriter('gs://bucket/store')
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='a file'):
    store_lib.StoreWriter(tmp_path / 'file')
  with pytest.raises(InputError, match='something else than a store'):
    store_lib.StoreWriter(tmp_path)


@pytest.mark.parametrize('name', ['', '..', '.hidden', 'a/b', 'a b', 'é', '-x'])
def test_names_that_are_no_paths(tmp_path, np_rng, name):
  writer = store_lib.StoreWriter(tmp_path / 's')
  with pytest.raises(InputError, match='cannot name a store entry'):
    writer.add(synthetic.entry(name), synthetic.positions(np_rng, 4))
  assert not (tmp_path / 's').exists()


def test_unusable_positions_leave_no_trace(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 3 * CHUNK, LONG)
  entry = synthetic.entry(length=LONG)
  x[2 * CHUNK + 7, 3, 1, 2] = np.inf
  with pytest.raises(InputError, match=f'frame {2 * CHUNK + 7} '):
    write(tmp_path / 's', (entry, x))
  with pytest.raises(InputError, match='no frames'):
    write(tmp_path / 's', (entry, x[:0]))
  with pytest.raises(InputError, match='no frames'):
    write(tmp_path / 's', (entry, iter(())))
  with pytest.raises(ValueError, match='expected'):
    write(tmp_path / 's', (synthetic.entry(length=7), x))
  assert not (tmp_path / 's').exists()


def fail_after(x, error=None):
  yield x
  raise error or RuntimeError('unplugged')


@pytest.mark.parametrize('error', [RuntimeError('unplugged'), KeyboardInterrupt('unplugged')])
def test_failed_entry_leaves_nothing_and_keeps_the_rest(tmp_path, np_rng, error):
  x = synthetic.positions(np_rng, 2 * CHUNK, LONG)
  first = synthetic.entry('first', length=LONG)
  write(tmp_path, (first, x))
  before = files(tmp_path)
  for entry, overwrite in ((synthetic.entry('second', length=LONG), False), (first, True)):
    with pytest.raises(type(error), match='unplugged'), store_lib.StoreWriter(tmp_path) as writer:
      writer.add(entry, fail_after(x + 1.0, error), overwrite)
    assert files(tmp_path) == before
    assert not (tmp_path / 'entries/second').exists()
    np.testing.assert_array_equal(store_lib.Store(tmp_path).read(first.key), x)


@pytest.mark.parametrize('limit', [200, 100_000])  # less than zarr.json, and than a chunk
def test_a_full_disk_is_one_line_and_leaves_no_trace(tmp_path, np_rng, limit):
  item = synthetic.entry(length=LONG), synthetic.positions(np_rng, CHUNK, LONG)
  message = rf'^cannot write {tmp_path}/entries/toy/T300/R1: is .* full\? \(File too large\)$'
  with disk.files_end_at(limit), pytest.raises(InputError, match=message):
    store_lib.StoreWriter(tmp_path).add(*item)
  assert files(tmp_path) == []
  assert len(write(tmp_path, item).entries) == 1  # once there is space


def test_killed_writer(tmp_path):
  """Killed in the middle of an overwrite: the old entry is there; the next run ends it."""
  code = f"""
import os, numpy as np
from tempo_jax.store import store
from tests.store import synthetic
entry = synthetic.entry(length={LONG})
x = np.ones(({2 * CHUNK}, {LONG}, 4, 3), np.float32)
with store.StoreWriter({str(tmp_path)!r}) as writer:
  writer.add(entry, x)
def blocks():
  yield 2 * x
  os._exit(9)
store.StoreWriter({str(tmp_path)!r}).add(entry, blocks(), overwrite=True)
"""
  done = subprocess.run([sys.executable, '-c', code], cwd=pathlib.Path(__file__).parents[2])
  assert done.returncode == 9
  assert len(list((tmp_path / 'entries').glob('*/*/*/*/zarr.json'))) == 2
  store = store_lib.Store(tmp_path)
  assert np.all(store.read('toy/T300/R1') == 1.0)
  with store_lib.StoreWriter(tmp_path) as writer:
    x = np.full((2 * CHUNK, LONG, 4, 3), 3.0, np.float32)
    writer.add(synthetic.entry(length=LONG), x, overwrite=True)
  assert len(list((tmp_path / 'entries').glob('*/*/*/*/zarr.json'))) == 1
  assert np.all(store_lib.Store(tmp_path).read('toy/T300/R1') == 3.0)


def test_killed_before_the_manifest(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  writer = store_lib.StoreWriter(tmp_path)
  writer.add(synthetic.entry(), x)
  del writer
  with pytest.raises(InputError, match='run that command again if it was interrupted'):
    store_lib.Store(tmp_path)
  with store_lib.StoreWriter(tmp_path) as writer:
    assert not writer.add(synthetic.entry(), fail_after(x))
  np.testing.assert_array_equal(store_lib.Store(tmp_path).read('toy/T300/R1'), x)


def test_same_entry_is_skipped_another_refused_unless_overwritten(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  store = write(tmp_path, (synthetic.entry(), x))
  with store_lib.StoreWriter(tmp_path) as writer:
    assert not writer.add(synthetic.entry(), fail_after(x))
    with pytest.raises(InputError, match='toy/T300/R1 is there already, with other dt_ns:'):
      writer.add(synthetic.entry(dt_ns=0.1), x)
    with pytest.raises(InputError, match='with other sources:'):
      writer.add(synthetic.entry(sources={'f': '1'}), x)
    with pytest.raises(InputError, match='with other insertion_code:'):
      writer.add(synthetic.entry(insertion_code=('',) * 10), x)
    assert writer.add(synthetic.entry(dt_ns=0.1), x[:2], overwrite=True)
    # Until the manifest is written, it still describes what readers find.
    np.testing.assert_array_equal(store_lib.Store(tmp_path).read('toy/T300/R1'), x)
  (entry,) = store_lib.Store(tmp_path).entries
  assert (entry.dt_ns, entry.num_frames) == (0.1, 2)
  assert entry.array != store.entries[0].array
  assert len(list((tmp_path / 'entries/toy/T300/R1').iterdir())) == 2


def test_writers_side_by_side(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  a, b, c = (store_lib.StoreWriter(tmp_path) for _ in range(3))
  a.add(synthetic.entry('a'), x)
  b.add(synthetic.entry('b'), x)
  assert a.write_manifest() == b.write_manifest() == 2

  # C adds an entry after A has listed what is there, and before A writes the manifest.
  read = a._current

  def read_late(key):
    if not (tmp_path / 'entries/c').exists():
      c.add(synthetic.entry('c'), x)
      c.write_manifest()
    return read(key)

  a._current = read_late
  a.write_manifest()
  assert [entry.name for entry in store_lib.Store(tmp_path).entries] == ['a', 'b', 'c']


def contents(path):
  return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob('*') if p.is_file()}


def test_same_input_gives_the_same_bytes(tmp_path, np_rng):
  """Whatever the blocks were, and whoever was interrupted before."""
  x = synthetic.positions(np_rng, 2 * CHUNK, LONG)
  entry = synthetic.entry(length=LONG)
  write(tmp_path / 'a', (entry, x))
  with pytest.raises(RuntimeError), store_lib.StoreWriter(tmp_path / 'b') as writer:
    writer.add(entry, fail_after(x, RuntimeError('unplugged')))
  write(tmp_path / 'b', (entry, np.array_split(x, 7)))
  assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
  with store_lib.StoreWriter(tmp_path / 'b') as writer:
    assert writer.add(entry, x, overwrite=True)
  assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
  write(tmp_path / 'c', (entry, x + np.float32(1e-5)))
  assert contents(tmp_path / 'a').keys() != contents(tmp_path / 'c').keys()


def test_two_writers_of_one_entry(tmp_path, np_rng):
  """The second waits, and then finds it there; nobody removes what the other writes."""
  x = synthetic.positions(np_rng, 4)
  begun, go_on = threading.Event(), threading.Event()
  results = {}

  def blocks():
    yield x[:2]
    begun.set()
    assert go_on.wait(10.0)
    yield x[2:]

  def add(label, positions):
    results[label] = store_lib.StoreWriter(tmp_path).add(synthetic.entry(), positions)

  first = threading.Thread(target=add, args=('first', blocks()))
  first.start()
  assert begun.wait(10.0)
  second = threading.Thread(target=add, args=('second', fail_after(x)))
  second.start()
  # Whoever assembles the manifest neither waits for the writer nor disturbs it.
  write(tmp_path, (synthetic.entry('other'), x))
  second.join(0.2)
  assert second.is_alive()
  go_on.set()
  first.join()
  second.join()
  assert results == {'first': True, 'second': False}
  assert store_lib.StoreWriter(tmp_path).write_manifest() == 2
  np.testing.assert_array_equal(store_lib.Store(tmp_path).read('toy/T300/R1'), x)


def test_waits_for_one_that_fails(tmp_path, np_rng):
  """The directory that the second waits for is gone when its turn comes."""
  x = synthetic.positions(np_rng, 4)
  begun, go_on = threading.Event(), threading.Event()

  def blocks():
    begun.set()
    assert go_on.wait(10.0)
    raise RuntimeError('unplugged')
    yield x

  def fail():
    with pytest.raises(RuntimeError, match='unplugged'):
      store_lib.StoreWriter(tmp_path).add(synthetic.entry(), blocks())

  def succeed():
    assert store_lib.StoreWriter(tmp_path).add(synthetic.entry(), x)

  threads = [threading.Thread(target=work) for work in (fail, succeed)]
  threads[0].start()
  assert begun.wait(10.0)
  threads[1].start()
  threads[1].join(0.2)
  assert threads[1].is_alive()
  go_on.set()
  for thread in threads:
    thread.join()
  store_lib.StoreWriter(tmp_path).write_manifest()
  np.testing.assert_array_equal(store_lib.Store(tmp_path).read('toy/T300/R1'), x)


def test_notes_are_taken_at_the_end(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  said = []

  def blocks():
    yield x
    said.append('2 frames cut')

  with store_lib.StoreWriter(tmp_path) as writer:
    entry = synthetic.entry(notes=('truncated',))
    assert writer.add(entry, blocks(), notes=lambda: said)
    # What preparation found out is no reason to do it again.
    assert not writer.add(synthetic.entry(), fail_after(x))
  (entry,) = store_lib.Store(tmp_path).entries
  assert entry.notes == ('truncated', '2 frames cut')


def test_splits_can_be_assigned(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 4)
  items = [(synthetic.entry(name, replica=r), x) for name in 'abc' for r in (1, 2)]
  write(tmp_path, *items)
  before = contents(tmp_path)
  with store_lib.StoreWriter(tmp_path) as writer:
    assert writer.assign_splits({'a': 'test', 'b': 'train', 'x': 'test'}) == 2
    # A protein that was assigned a split is prepared again without a conflict.
    assert not writer.add(synthetic.entry('a'), fail_after(x))
  entries = store_lib.Store(tmp_path).entries
  assert [entry.split for entry in entries] == ['test'] * 2 + ['train'] * 4
  changed = {file for file, content in contents(tmp_path).items() if content != before[file]}
  expected = {'entries/a/T300/R1/entry.json', 'entries/a/T300/R2/entry.json', 'manifest.json'}
  assert changed == expected


class Quiet(http.server.SimpleHTTPRequestHandler):
  def log_message(self, *_):
    pass


def test_over_http(tmp_path, np_rng):
  x = synthetic.positions(np_rng, 2 * CHUNK, LONG)
  write(tmp_path / 'store', (synthetic.entry(length=LONG), x))
  handler = functools.partial(Quiet, directory=os.fspath(tmp_path))
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
      url = f'http://127.0.0.1:{server.server_address[1]}'
      store = store_lib.Store(f'{url}/store')
      frames = slice(CHUNK - 2, CHUNK + 2)
      np.testing.assert_array_equal(store.read(store.entries[0], frames), x[frames])
      with pytest.raises(InputError, match='no store here'):
        store_lib.Store(f'{url}/nothing')
    finally:
      server.shutdown()
      thread.join()


def test_places_where_no_store_can_be(tmp_path, np_rng):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match=r'file is a file: choose another --store'):
    store_lib.StoreWriter(tmp_path / 'file' / 'store')
  # /proc takes nobody's directories, whoever asks.
  with pytest.raises(InputError, match=r'choose another --store'):
    store_lib.StoreWriter('/proc/nothing/store').add(
      synthetic.entry(), synthetic.positions(np_rng, 4)
    )

"""Torsions of side chains in a store, and in the batches that are read from it."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.errors import InputError
from tempo_jax.protein import padding
from tempo_jax.store import batching, windows
from tempo_jax.store import store as store_lib
from tempo_jax.store.frames import Frames
from tests.store import synthetic

KEY = 'toy/T300/R1'
# Of 200 residues a chunk has 55 frames.
LONG = 200
CHUNK = 55


def write(path, *items):
  with store_lib.StoreWriter(path) as writer:
    for entry, frames in items:
      assert writer.add(entry, frames)
  return store_lib.Store(path)


def frames_of(rng, num_frames=4, length=10):
  chi = synthetic.chi(rng, num_frames, length)
  return Frames(synthetic.positions(rng, num_frames, length), chi)


def contents(path):
  return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob('*') if p.is_file()}


def arrays_of(path, key=KEY):
  return sorted(p.name for p in (path / 'entries' / key).iterdir() if p.is_dir())


@pytest.mark.parametrize('block', [1, 7, 55, 100, 1000])
def test_reads_back_what_was_written(tmp_path, np_rng, block):
  written = frames_of(np_rng, 150, LONG)
  blocks = (written[i : i + block] for i in range(0, 150, block))
  store = write(tmp_path, (synthetic.entry(length=LONG), blocks))
  (entry,) = store.entries
  assert entry.has_chi
  np.testing.assert_array_equal(store.read(entry), written.positions)
  for frames in (slice(None), slice(40, 60), slice(3, 140, 20), np.array([149, 0, 54, 55, -1])):
    got = store.read_chi(entry, frames)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, written.chi[frames])
  np.testing.assert_array_equal(store.read_chi_async(KEY, slice(3)).result(), written.chi[:3])


def test_an_entry_without_side_chains_is_as_it_was(tmp_path, np_rng):
  """The same bytes and IDs as before side chains were kept; nothing is known of them."""
  x = synthetic.positions(np_rng, 4)
  store = write(tmp_path / 'plain', (synthetic.entry(), x))
  (entry,) = store.entries
  assert not entry.has_chi
  found = store.read_chi(entry, slice(1, 4))
  assert found.shape == (3, 10, 4)
  assert np.isnan(found).all()
  write(tmp_path / 'frames', (synthetic.entry(), Frames(x)))
  assert contents(tmp_path / 'plain') == contents(tmp_path / 'frames')


def test_only_the_id_and_the_array_tell_of_side_chains(tmp_path, np_rng):
  """So that a version which knows of none reads the positions, and keeps the entry whole."""
  frames = frames_of(np_rng)
  (plain,) = write(tmp_path / 'plain', (synthetic.entry(), frames.positions)).entries
  (entry,) = write(tmp_path / 'chi', (synthetic.entry(), frames)).entries
  assert entry.array.split('-')[0] == plain.array
  assert arrays_of(tmp_path / 'chi') == [entry.array]
  manifests = [
    json.loads((tmp_path / name / 'manifest.json').read_text()) for name in ('plain', 'chi')
  ]
  assert manifests[1]['entries'][0].pop('array') == entry.array
  assert manifests[0]['entries'][0].pop('array') == plain.array
  assert manifests[0] == manifests[1]
  before = contents(tmp_path / 'plain')
  for name, content in contents(tmp_path / 'chi').items():
    old = name.replace(entry.array, plain.array)
    assert '/chi/' in name or name.endswith('.json') or before[old] == content


def test_same_input_gives_the_same_bytes(tmp_path, np_rng):
  frames = frames_of(np_rng, 2 * CHUNK, LONG)
  entry = synthetic.entry(length=LONG)
  write(tmp_path / 'a', (entry, frames))
  write(tmp_path / 'b', (entry, [frames[:3], frames[3:90], frames[90:]]))
  assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
  other = dataclasses.replace(frames, chi=np.where(np.isnan(frames.chi), 0.5, frames.chi))
  write(tmp_path / 'c', (entry, other))
  assert contents(tmp_path / 'a').keys() != contents(tmp_path / 'c').keys()


def test_side_chains_are_added_by_overwriting(tmp_path, np_rng):
  frames = frames_of(np_rng)
  write(tmp_path, (synthetic.entry(), frames.positions))
  writer = store_lib.StoreWriter(tmp_path)
  assert not writer.add(synthetic.entry(), frames)  # The same sources.
  assert writer.lacks_chi(KEY)
  assert not writer.lacks_chi('nobody/T1/R1')
  with writer:
    assert writer.add(synthetic.entry(), frames, overwrite=True)
  assert not writer.lacks_chi(KEY)
  store = store_lib.Store(tmp_path)
  np.testing.assert_array_equal(store.read_chi(KEY), frames.chi)
  np.testing.assert_array_equal(store.read(KEY), frames.positions)
  assert arrays_of(tmp_path) == [store.entries[0].array]


def test_failed_entry_keeps_the_one_before(tmp_path, np_rng):
  frames = frames_of(np_rng, 2 * CHUNK, LONG)
  entry = synthetic.entry(length=LONG)
  write(tmp_path, (entry, frames))
  before = contents(tmp_path)

  def blocks():
    yield frames_of(np_rng, CHUNK, LONG)
    raise RuntimeError('unplugged')

  with pytest.raises(RuntimeError, match='unplugged'), store_lib.StoreWriter(tmp_path) as writer:
    writer.add(entry, blocks(), overwrite=True)
  assert contents(tmp_path) == before


@pytest.mark.parametrize('at', [2, CHUNK, 2 * CHUNK])
@pytest.mark.parametrize('first', [True, False])
def test_side_chains_of_some_frames_only(tmp_path, np_rng, at, first):
  frames = frames_of(np_rng, 3 * CHUNK, LONG)
  parts = [frames[:at], frames[at:]]
  parts[first] = dataclasses.replace(parts[first], chi=None)
  with pytest.raises(ValueError, match='side chains of some frames only'):
    write(tmp_path / 's', (synthetic.entry(length=LONG), parts))
  assert not (tmp_path / 's').exists()


def test_what_is_no_torsion_is_refused(tmp_path, np_rng):
  frames = frames_of(np_rng)
  for chi in (frames.chi[:, :9], frames.chi[..., :3], np.full_like(frames.chi, 180.0)):
    with pytest.raises(ValueError, match='chi'):
      write(tmp_path / 's', (synthetic.entry(), dataclasses.replace(frames, chi=chi)))
  with pytest.raises(ValueError, match='some frames'):
    write(tmp_path / 's', (synthetic.entry(), dataclasses.replace(frames, chi=frames.chi[:2])))
  inf = np.where(np.isnan(frames.chi), np.inf, frames.chi)
  with pytest.raises(ValueError, match='beyond'):
    write(tmp_path / 's', (synthetic.entry(), dataclasses.replace(frames, chi=inf)))


def test_a_lost_chunk_is_no_unknown_torsion(tmp_path, np_rng):
  store = write(tmp_path, (synthetic.entry(length=LONG), frames_of(np_rng, 4 * CHUNK, LONG)))
  (entry,) = store.entries
  (tmp_path / entry.chi_path / 'c/1/0/0').unlink()
  store.read_chi(entry, slice(0, 3 * CHUNK))
  with pytest.raises(InputError, match=rf'frame {3 * CHUNK} of {KEY} is missing'):
    store.read_chi(entry, slice(CHUNK, 3 * CHUNK + 1))
  store.read(entry)
  (tmp_path / entry.chi_path / 'zarr.json').unlink()
  with pytest.raises(InputError, match=f'the chi of {KEY} cannot be read: prepare it again'):
    store_lib.Store(tmp_path).read_chi(entry)


@pytest.fixture
def mixed(tmp_path, np_rng):
  """A store in which one protein has side chains and the other has none; and those."""
  with_chi, without = frames_of(np_rng, 40), frames_of(np_rng, 40, 12)
  store = write(
    tmp_path,
    (synthetic.entry('a'), with_chi),
    (synthetic.entry('b', length=12), without.positions),
  )
  return store, {'a/T300/R1': with_chi.chi, 'b/T300/R1': np.full((40, 12, 4), np.nan)}


def test_batches_of_proteins_with_and_without_side_chains(mixed):
  store, chi = mixed
  anchors = (anchor_lib.at_end(1), anchor_lib.Place(anchor_lib.Kind.REFERENCE))
  source = windows.WindowSource(store, 0.02, 3, anchors=anchors, reversal=0.5)
  loader = batching.Loader(source, 8, with_chi=True)
  seen = set()
  for step in range(5):
    batch, names = loader.batch(step)
    frames = [window.frames for window in source.draw(step, 8)]
    assert batch.chi.shape == batch.chi_known.shape == (*batch.positions.shape[:3], 4)
    assert (batch.chi.dtype, batch.chi_known.dtype) == (np.float32, np.bool_)
    assert np.isfinite(batch.chi).all()
    np.testing.assert_array_equal(batch.protein.chi, batch.chi[:, 0])
    np.testing.assert_array_equal(batch.protein.chi_known, batch.chi_known[:, 0])
    for i, name in enumerate(names):
      key = name.split('@')[0]
      expected = chi[key][frames[i]]
      length = expected.shape[1]
      known = batch.chi_known[i, :, :length]
      np.testing.assert_array_equal(known, ~np.isnan(expected))
      np.testing.assert_array_equal(batch.chi[i, :, :length][known], expected[known])
      assert not batch.chi[i][~batch.chi_known[i]].any()
      assert not batch.chi_known[i, :, length:].any()
      seen.add((key, known.any()))
  assert seen == {('a/T300/R1', True), ('b/T300/R1', False)}


def test_side_chains_are_read_only_for_those_who_want_them(mixed, monkeypatch):
  store, _ = mixed
  monkeypatch.delattr(store_lib.Store, 'read_chi')
  batch, _ = batching.Loader(windows.WindowSource(store, 0.02, 3), 4).batch(0)
  assert batch.chi is batch.chi_known is batch.protein.chi is batch.protein.chi_known is None


def test_padding_keeps_them(np_rng):
  chi = synthetic.chi(np_rng, 1)[0]
  arrays = synthetic.entry().arrays(synthetic.positions(np_rng, 1)[0], chi)
  np.testing.assert_array_equal(arrays.chi_known, ~np.isnan(chi))
  np.testing.assert_array_equal(arrays.chi, np.nan_to_num(chi))
  padded = padding.pad(arrays, 16)
  # The solvent is of the whole.
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(a, b[:10] if np.ndim(b) else b), arrays, padded
  )
  assert padded.chi.dtype == np.float32
  assert padded.chi_known.dtype == np.bool_
  assert not padded.chi[10:].any()
  assert not padded.chi_known[10:].any()

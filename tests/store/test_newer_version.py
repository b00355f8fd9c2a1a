"""Stores that a newer version of tempo_jax has written: refused, and left as they are."""

import json

import pytest

from tempo_jax.cli import prepare_inspect
from tempo_jax.errors import InputError
from tempo_jax.store import entry as entry_lib
from tempo_jax.store import store as store_lib
from tests.cli import commands
from tests.store import synthetic

NEWER = entry_lib.VERSION + 1
ENTRY = 'entries/toy/T300/R1/entry.json'


@pytest.fixture
def path(tmp_path, np_rng):
  path = tmp_path / 'store'
  with store_lib.StoreWriter(path) as writer:
    writer.add(synthetic.entry(), synthetic.positions(np_rng, 4))
  return path


def make_newer(path, *names):
  """As a newer version may write it: with fields that nobody knows today."""
  for name in names:
    data = json.loads((path / name).read_text())
    data |= {'version': NEWER, 'codec': 'unheard of'}
    data['entries'][0]['unheard_of'] = 1
    (path / name).write_text(json.dumps(data))


def contents(path):
  return {file: file.read_bytes() for file in path.rglob('*') if file.is_file()}


def refused(path, name):
  """The line that says so."""
  return pytest.raises(
    InputError,
    match=rf'^{path}: {name}: a store of format version {NEWER}, and this tempo_jax reads up to '
    rf'{entry_lib.VERSION}: update tempo_jax$',
  )


def test_the_reader_refuses_it(path):
  make_newer(path, 'manifest.json')
  with refused(path, 'manifest.json'):
    store_lib.Store(path)


def test_inspection_refuses_it(path, tmp_path, capsys):
  make_newer(path, 'manifest.json', ENTRY)
  with refused(path, 'manifest.json'):
    prepare_inspect.main(
      commands.parse(prepare_inspect, f'--store={path}', f'--out={tmp_path}/out')
    )
  assert not (tmp_path / 'out').exists()
  assert not capsys.readouterr().out


def test_the_writer_refuses_it_before_it_writes(path):
  make_newer(path, 'manifest.json', ENTRY)
  before = contents(path)
  with refused(path, 'manifest.json'):
    store_lib.StoreWriter(path)
  assert contents(path) == before


@pytest.mark.parametrize('replica', [1, 2])
def test_a_single_newer_entry_is_not_replaced(path, np_rng, replica):
  """Another machine, with a newer version, may be adding to the same store."""
  make_newer(path, ENTRY)
  before = contents(path)
  with refused(path, ENTRY), store_lib.StoreWriter(path) as writer:
    writer.add(synthetic.entry(replica=replica), synthetic.positions(np_rng, 4), overwrite=True)
  assert contents(path).items() >= before.items()
  with refused(path, ENTRY):
    store_lib.StoreWriter(path).assign_splits({'toy': 'test'})


def test_a_damaged_manifest_is_written_anew(path):
  for content in ('', '{"format": "tempo', '[]', '{"format": "other", "version": 99}'):
    (path / 'manifest.json').write_text(content)
    assert store_lib.StoreWriter(path).write_manifest() == 1
    assert [entry.key for entry in store_lib.Store(path).entries] == ['toy/T300/R1']

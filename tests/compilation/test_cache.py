import os
import pathlib

import jax
import pytest

from tempo_jax.compilation import cache as compilation_cache


@pytest.fixture(autouse=True)
def restored(monkeypatch, tmp_path):
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  jax.config.update('jax_compilation_cache_dir', None)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  yield
  for name, value in zip(names, before, strict=True):
    jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache(tmp_path, monkeypatch):
  expected = tmp_path / 'cache/tempo_jax/compiled'
  assert compilation_cache.use() == expected
  assert jax.config.jax_compilation_cache_dir == str(expected)
  assert expected.is_dir()
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  assert compilation_cache.default_directory() == tmp_path / 'home/.cache/tempo_jax/compiled'


def test_another_directory_or_none(tmp_path):
  assert compilation_cache.use(tmp_path / 'a') == tmp_path / 'a'
  # What JAX was told stays unless something else is asked for.
  assert compilation_cache.use() == tmp_path / 'a'
  assert compilation_cache.use(str(tmp_path / 'b')) == tmp_path / 'b'
  assert compilation_cache.use('off') is None
  assert jax.config.jax_compilation_cache_dir is None
  assert not pathlib.Path('off').exists()


def test_a_directory_that_cannot_be_made_costs_a_warning(tmp_path, caplog):
  (tmp_path / 'file').write_text('')
  assert compilation_cache.use(tmp_path / 'file' / 'below') is None
  assert 'compiled programs are not kept' in caplog.text
  assert jax.config.jax_compilation_cache_dir is None


def keep(folder, name, size, used):
  path = folder / name
  path.write_bytes(bytes(size))
  os.utime(path, (used, used))
  return path


def test_the_oldest_are_evicted_and_nothing_else(tmp_path):
  folder = compilation_cache.default_directory()
  folder.mkdir(parents=True)
  oldest = keep(folder, 'a.executable', 400, 1.0)
  older = keep(folder, 'jit_f-0-cache', 300, 2.0)
  newest = keep(folder, 'b.executable', 300, 3.0)
  other = keep(folder, 'notes.txt', 5000, 0.0)
  assert compilation_cache.usage(folder) == compilation_cache.Usage(3, 1000)
  compilation_cache.evict(folder, 1000)
  assert oldest.exists()
  compilation_cache.evict(folder, 999)
  assert not oldest.exists()
  assert older.exists()
  compilation_cache.evict(folder, 300)
  assert not older.exists()
  assert newest.exists()
  compilation_cache.clear(folder)
  assert not newest.exists()
  assert other.exists()
  assert compilation_cache.usage(tmp_path / 'nowhere') == compilation_cache.Usage(0, 0)


def test_what_jax_keeps_elsewhere_may_be_of_others(tmp_path):
  own, others = keep(tmp_path, 'a.executable', 4, 1.0), keep(tmp_path, 'jit_f-0-cache', 3, 1.0)
  assert compilation_cache.usage(tmp_path) == compilation_cache.Usage(1, 4)
  compilation_cache.clear(tmp_path)
  assert not own.exists()
  assert others.exists()

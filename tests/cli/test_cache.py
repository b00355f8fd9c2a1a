from tempo_jax.cli import cache
from tests.cli import commands


def test_shows_and_clears(tmp_path, capsys):
  (tmp_path / 'a.executable').write_bytes(bytes(3 << 20))
  (tmp_path / 'jit_f-0-cache').write_bytes(bytes(1 << 20))
  (tmp_path / 'notes.txt').write_text('mine')
  cache.main(commands.parse(cache, f'--compilation_cache_dir={tmp_path}'))
  assert capsys.readouterr().out == f'{tmp_path}: 1 programs, 3.0 MiB\n'
  cache.main(commands.parse(cache, f'--compilation_cache_dir={tmp_path}', '--clear'))
  assert capsys.readouterr().out.endswith('3.0 MiB\ncleared\n')
  assert sorted(path.name for path in tmp_path.iterdir()) == ['jit_f-0-cache', 'notes.txt']


def test_a_cache_that_is_not_there_is_empty(tmp_path, capsys, monkeypatch):
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR', raising=False)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  cache.main(commands.parse(cache))
  assert capsys.readouterr().out == f'{tmp_path}/tempo_jax/compiled: 0 programs, 0.0 MiB\n'
  cache.main(commands.parse(cache, '--compilation_cache_dir=off'))
  assert 'no programs are kept' in capsys.readouterr().out

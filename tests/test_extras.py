import pytest

from tempo_jax import extras
from tempo_jax.errors import InputError


def test_an_installed_library_is_imported():
  import scipy.spatial

  assert extras.require('scipy.spatial', 'none') is scipy.spatial


def test_a_missing_library_is_one_line_that_names_the_extra():
  with pytest.raises(InputError, match=r"no_such_library is not .*'tempo-jax\[evaluate\]'"):
    extras.require('no_such_library.part', 'evaluate')


def test_a_broken_library_is_not_called_missing(tmp_path, monkeypatch):
  (tmp_path / 'a_broken_library.py').write_text('import no_such_library\n')
  monkeypatch.syspath_prepend(tmp_path)
  with pytest.raises(ModuleNotFoundError, match='no_such_library'):
    extras.require('a_broken_library', 'evaluate')

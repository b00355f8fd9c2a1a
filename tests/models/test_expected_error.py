"""What a model says of the error to expect."""

import pytest

from tempo_jax.errors import InputError
from tempo_jax.models import expected_error


def comparison(solvent, length_ns, ratio=1.0, r=0.5, residues=50):
  return expected_error.Comparison('x', residues, solvent, length_ns, ratio, r)


def test_proteins_that_are_alike():
  slow = [comparison('explicit', ns) for ns in (20, 100, 199)]
  fast, implicit = comparison('explicit', 1.0), comparison('implicit', 4.0)
  every = [*slow, fast, implicit]
  assert expected_error.alike(every, 'explicit', 20.0) == slow
  # Within a factor of ten there are two; in the same solvent four.
  assert expected_error.alike(every, 'explicit', 1000.0) == [*slow, fast]
  # Of implicit solvent there is one.
  assert expected_error.alike(every, 'implicit', 4.0) == every
  assert expected_error.alike(every, 'unknown', 5.0) == [slow[0], fast, implicit]


def test_the_sentence():
  every = [
    comparison('explicit', 20.0, 0.97, 0.333, 89),
    comparison('explicit', 100.0, 1 / 1.39, 0.88, 38),
    comparison('explicit', 5.0, 1.41, 0.9, 58),
  ]
  assert expected_error.sentence(every, 'explicit', 10.0) == (
    'beside MD of unseen proteins in explicit solvent (3 of them, 38 to 89 residues, 5 to 100 ns) '
    'RMSF was 0.72 to 1.41 times as large, within a factor of 1.4 in 2 of 3; its correlation over '
    'residues was 0.33 to 0.90'
  )
  mixed = [*every[:2], comparison('implicit', 4.0)]
  assert 'unseen proteins (3 of them' in expected_error.sentence(mixed, 'explicit', 10.0)
  assert expected_error.sentence([], 'explicit', 10.0) is None


def test_the_file_is_of_one_model(tmp_path):
  path, every = tmp_path / 'unseen_md.json', [comparison('explicit', 20.0)]
  assert expected_error.read('a', path) == []
  expected_error.write('a', every, path)
  assert expected_error.read('a', path) == every
  assert expected_error.read('b', path) == []
  path.write_text('{')
  with pytest.raises(InputError, match='is damaged'):
    expected_error.read('a', path)

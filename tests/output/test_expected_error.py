"""What a model says of the error to expect."""

import types

import pytest

from tempo_jax.models import model as model_lib
from tempo_jax.output import expected_error


def comparison(solvent, length_ns, ratio=1.0, r=0.5, residues=50):
  return expected_error.Comparison('x', residues, solvent, length_ns, ratio, r)


def test_proteins_that_are_alike():
  slow = [comparison('explicit', ns) for ns in (20, 100, 199)]
  fast, implicit = comparison('explicit', 1.0), comparison('implicit', 4.0)
  every = [fast, *slow, implicit]
  assert expected_error.alike(every, 'explicit', 20.0) == slow
  # Within a factor of ten there are none: the three nearest.
  assert expected_error.alike(every, 'explicit', 5000.0) == slow[::-1]
  # Of implicit solvent there is one.
  assert expected_error.alike(every, 'implicit', 400.0) == [implicit]
  assert expected_error.alike(every, 'unknown', 5.0) == [implicit, slow[0], fast]
  assert expected_error.alike([], 'explicit', 5.0) == []


def test_the_bundled_model_knows_what_to_expect():
  """Its numbers are of its own parameters and calibration, not of a former model's."""
  found = expected_error.read(model_lib.load_model('default'))
  assert {x.solvent for x in found} == {'explicit', 'implicit'}


EVERY = [
  comparison('explicit', 20.0, 0.97, 0.333, 89),
  comparison('explicit', 100.0, 1 / 1.39, 0.88, 38),
  comparison('explicit', 5.0, 1.41, 0.9, 58),
]


def test_the_sentence():
  said = (
    'in 3 comparisons with MD of unseen proteins (explicit solvent, 38 to 89 residues, 5 to 100 ns)'
    ' residues fluctuated 0.72 to 1.41 times as much as in MD (RMSF of CA; within a factor of 1.4 '
    'in 2 of 3), and r over residues was 0.33 to 0.90'
  )
  assert expected_error.sentence(EVERY, 'explicit', 10.0, 60) == said
  assert expected_error.sentence([], 'explicit', 10.0, 60) is None
  mixed = [*EVERY[:2], comparison('implicit', 4.0)]
  assert '(explicit or implicit solvent,' in expected_error.sentence(mixed, 'unknown', 10.0, 60)


@pytest.mark.parametrize(
  ('length_ns', 'residues', 'end'),
  [
    (1000.0, 178, '0.90'),
    (1001.0, 178, '; none of them is near 1e+03 ns'),
    (10.0, 179, '; none of them is near 179 residues'),
    (5000.0, 18, '; none of them is near 18 residues or 5e+03 ns'),
  ],
)
def test_what_is_unlike_all_of_them_is_said(length_ns, residues, end):
  assert expected_error.sentence(EVERY, 'explicit', length_ns, residues).endswith(end)


@pytest.fixture
def model(monkeypatch):
  monkeypatch.setattr(expected_error.provenance, 'model_sha256', lambda model: model.name)
  return lambda name, passes=4: types.SimpleNamespace(
    name=name, config=types.SimpleNamespace(passes=passes)
  )


def test_the_file_is_of_one_model(tmp_path, model):
  path, every = tmp_path / 'unseen_md.json', [comparison('explicit', 20.0)]
  assert expected_error.read(model('a'), path) == []
  expected_error.write(model('a'), every, path)
  assert expected_error.read(model('a'), path) == every
  assert expected_error.read(model('b'), path) == []
  assert expected_error.read(model('a', passes=1), path) == []


@pytest.mark.parametrize(
  'comparisons', ['', '[', '3', '[{"protein": "x"}]', '[{"length_ns": "long"}]']
)
def test_a_damaged_file_stops_nothing(tmp_path, model, caplog, comparisons):
  path = tmp_path / 'unseen_md.json'
  path.write_text(f'{{"model": "a, passes = 4", "comparisons": {comparisons}}}')
  assert expected_error.read(model('a'), path) == []
  assert f'{path} is damaged' in caplog.text


def test_the_bundled_model_was_compared():
  """With MD of nine proteins that were never trained on, HP35 twice."""
  found = expected_error.read(model_lib.load_model('default'))
  assert len({x.protein for x in found}) == len(found) == 9
  assert {x.solvent for x in found} == {'explicit', 'implicit'}

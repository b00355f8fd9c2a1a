import json
import pathlib

import pytest

from tempo_jax.errors import InputError
from tempo_jax.evaluation import suite

ITEM = {'name': '1abc_A', 'topology': 'n.pdb', 'reference': ['R1.xtc', 'R2.xtc'], 'prediction': 'P'}


def write(tmp_path, content):
  path = tmp_path / 'suite.json'
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


def test_paths_are_relative_to_the_file(tmp_path):
  absolute = tmp_path / 'elsewhere' / 'P.xtc'
  items = [ITEM | {'prediction': [str(absolute)], 'prediction_topology': 'md/top.pdb'}]
  (case,) = suite.read_suite(write(tmp_path, items))
  assert case == suite.Case(
    name='1abc_A',
    topology=tmp_path / 'n.pdb',
    reference=(tmp_path / 'R1.xtc', tmp_path / 'R2.xtc'),
    prediction=(absolute,),
    prediction_topology=tmp_path / 'md' / 'top.pdb',
  )
  assert case.files() == (
    tmp_path / 'n.pdb',
    tmp_path / 'R1.xtc',
    tmp_path / 'R2.xtc',
    absolute,
    tmp_path / 'md' / 'top.pdb',
  )


def test_home_a_single_file_and_a_temperature(tmp_path):
  items = [ITEM | {'reference': '~/R.xtc', 'temperature_K': 320}, ITEM | {'name': 'other'}]
  first, second = suite.read_suite(write(tmp_path, items))
  assert first.reference == (pathlib.Path.home() / 'R.xtc',)
  assert first.prediction == (tmp_path / 'P',)
  assert first.temperature_K == 320
  assert second.temperature_K is None


def test_time_steps(tmp_path):
  items = [ITEM | {'prediction_dt_ns': 1.2}, ITEM | {'name': 'b', 'reference_dt_ns': 1}]
  first, second = suite.read_suite(write(tmp_path, items))
  assert (first.times(), second.times()) == ((1.2, None), (None, 1))


def without(key):
  return [{k: v for k, v in ITEM.items() if k != key}]


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"name": ', r'suite.json: not JSON \('),
    ('', r'suite.json: not JSON \('),
    ({'name': 'a'}, 'suite.json: not a list of proteins'),
    ([], 'suite.json: not a list of proteins'),
    (['1abc'], 'suite.json: item 1 is no object'),
    (without('name'), r"item 1 \(no name\): lacks 'name': every item needs name, topology, ref"),
    (without('topology'), r"item 1 \(1abc_A\): lacks 'topology'"),
    (without('reference'), r"item 1 \(1abc_A\): lacks 'reference'"),
    (without('prediction'), r"item 1 \(1abc_A\): lacks 'prediction'"),
    ([ITEM | {'reference': []}], "lacks 'reference'"),
    ([ITEM, ITEM], "suite.json: '1abc_A' is there twice"),
    ([ITEM | {'name': '../1abc'}], "'../1abc' cannot be a name"),
    ([ITEM | {'name': ' '}], "' ' cannot be a name"),
    ([ITEM | {'predictions': 'P'}], "unknown key 'predictions': known are"),
    ([ITEM | {'topology': 5}], '5 is no file name'),
    ([ITEM | {'reference': ['R', None]}], 'None is no file name'),
    ([ITEM | {'reference': {'a': 'R'}}], 'is no file name'),
    ([ITEM | {'prediction_topology': ['a']}], 'is no file name'),
    ([ITEM | {'temperature_K': -1}], 'temperature_K is -1: give a number above zero'),
    ([ITEM | {'temperature_K': '300'}], "temperature_K is '300'"),
    ([ITEM | {'temperature_K': True}], 'temperature_K is True'),
    ([ITEM | {'prediction_dt_ns': 0}], 'prediction_dt_ns is 0: give a number above zero'),
    ([ITEM | {'reference_dt_ns': '1 ns'}], "reference_dt_ns is '1 ns'"),
    ('[{"name": "a", "topology": "n", "reference": "R", "prediction": "P", "temperature_K": NaN}]',
     'temperature_K is nan'),
    ('[{"name": "a", "topology": "n", "reference": "R", "prediction": "P", '
     '"temperature_K": Infinity}]', 'temperature_K is inf'),
  ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
  with pytest.raises(InputError, match=message) as raised:
    suite.read_suite(write(tmp_path, content))
  assert '\n' not in str(raised.value)
  assert 'suite.json' in str(raised.value)


def test_a_suite_that_cannot_be_read(tmp_path):
  with pytest.raises(InputError, match=r'none.json: cannot be read: No such file'):
    suite.read_suite(tmp_path / 'none.json')
  with pytest.raises(InputError, match='cannot be read: Is a directory'):
    suite.read_suite(tmp_path)
  (tmp_path / 'binary.json').write_bytes(b'\xff\xfe\x00')
  with pytest.raises(InputError, match=r'binary.json: not JSON'):
    suite.read_suite(tmp_path / 'binary.json')


@pytest.mark.parametrize('name', ['1abc_A', 'T1024', 'a.b+c-d', '7'])
def test_usual_names_will_do(name):
  suite.check_name(name, 'here')


@pytest.mark.parametrize('name', ['', '.hidden', 'a/b', 'a b', '-a', 'å', 'a\n'])
def test_names_that_are_no_file_names(name):
  with pytest.raises(InputError, match='here: '):
    suite.check_name(name, 'here')

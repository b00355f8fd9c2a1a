import json

import pytest

from experiments import results


def test_numbers_and_table(tmp_path):
  found = results.write(tmp_path / 'out' / 'v1.5', '| a |\n', rows={'x': (1.0, None)})
  assert found['rows'] == {'x': [1.0, None]}
  assert found['versions']['jax']
  assert found['device']['platform'] == 'cpu'
  assert json.loads((tmp_path / 'out' / 'v1.5.json').read_text()) == found
  assert (tmp_path / 'out' / 'v1.5.md').read_text() == '| a |\n'
  with pytest.raises(ValueError, match='JSON'):
    results.write(tmp_path / 'bad', '', number=float('nan'))

from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.markdown import Number


def test_a_table_with_a_missing_number():
  numbers = (Number('RMSF (Å)', 'rmsf', '.2f'), Number('broken', 'broken', '.1%'))
  rows = [['a', *markdown.cells({'rmsf': 1.234, 'broken': 0.5, 'other': 1}, numbers)]]
  rows.append(['b', *markdown.cells({'rmsf': None}, numbers)])
  assert markdown.table(['', *(number.heading for number in numbers)], rows).splitlines() == [
    '|  | RMSF (Å) | broken |',
    '| --- | --- | --- |',
    '| a | 1.23 | 50.0% |',
    '| b |  |  |',
  ]

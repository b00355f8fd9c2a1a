"""What is written about one or many proteins: metrics.json, and the table of metrics.md."""

from collections.abc import Mapping
from typing import Any

from tempo_jax.evaluation import summary
from tempo_jax.evaluation.columns import PREDICTION
from tempo_jax.evaluation.evaluation import Evaluation

ABOUT_ERRORS = (
  '± is the standard error of a single protein, from the sampling of the prediction alone: how '
  'well MD is known, MD halves show. "noise" are distances and amounts that are smaller than their '
  'error; correlations and overlaps are never called so.'
)


class Results:
  """Of all proteins together.

  Attributes:
    done: evaluations by the protein's name.
    numbers: of each protein that has the column, by column.
    table: their summary, by column and key.
    bounds: 95 % intervals of the summary, alike; None where there is none.
    errors: standard errors of the summary, alike; of the prediction only.
  """

  def __init__(self, done: Mapping[str, Evaluation], seed: int):
    """Summarises.

    Args:
      done: evaluations by the protein's name, at least one.
      seed: of the bootstrap.
    """
    self.done = done
    columns = dict.fromkeys(name for found in done.values() for name in found.columns)
    self.numbers = {
      name: [x.columns[name].numbers for x in done.values() if name in x.columns]
      for name in columns
    }
    self.table = {name: summary.of_proteins(x) for name, x in self.numbers.items()}
    drawn = {name: summary.bootstraps(x, seed) for name, x in self.numbers.items()}
    self.bounds = {
      name: {key: (x.low, x.high) if x else None for key, x in found.items()}
      for name, found in drawn.items()
    }
    own = [found.errors.errors for found in done.values()]
    self.errors = {PREDICTION: summary.errors(drawn[PREDICTION], own)}

  def markdown(self) -> str:
    """The table."""
    heads = {name: f'{name} (n = {len(column)})' for name, column in self.numbers.items()}
    text = summary.table(
      {heads[name]: column for name, column in self.table.items()},
      {heads[name]: column for name, column in self.bounds.items()},
      {heads[name]: column for name, column in self.errors.items()},
    )
    return (
      f'{text}\nMedians over n proteins, with 95 % bootstrap intervals over proteins where n > 2; '
      f'blank where a number cannot be computed. {ABOUT_ERRORS}\n'
    )

  def content(self, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Of metrics.json.

    Args:
      asked: `settings`.
    """
    return {
      'summary': _with_errors(self.table[PREDICTION], self.errors[PREDICTION]),
      'proteins': {
        name: _with_errors(found.columns[PREDICTION].numbers, found.errors.errors)
        | {'notes': found.columns[PREDICTION].notes, 'remarks': found.remarks}
        for name, found in self.done.items()
      },
      'settings': asked,
      'intervals': self.bounds[PREDICTION],
      'details': {
        name: found.details
        | {
          'errors': {
            'notes': found.errors.notes,
            'num_parts': found.errors.num_parts,
            'statistical_inefficiency': found.errors.inefficiency,
          }
        }
        for name, found in self.done.items()
      },
      'baselines': {
        name: {
          'summary': self.table[name],
          'intervals': self.bounds[name],
          'proteins': {
            protein: {key: found.columns[name].numbers[key] for key in summary.KEYS}
            for protein, found in self.done.items()
            if name in found.columns
          },
        }
        for name in self.table
        if name != PREDICTION
      },
    }


def _with_errors(
  numbers: Mapping[str, Any], errors: Mapping[str, float | None]
) -> dict[str, float | None]:
  """Each number, and its error beside it."""
  pairs = ({key: numbers[key], f'{key}_error': errors[key]} for key in summary.KEYS)
  return {key: value for pair in pairs for key, value in pair.items()}

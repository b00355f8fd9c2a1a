"""The numbers of `experiments.benchmarks.molecules`, and the goal that each of them has."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from experiments.benchmarks import covalent_geometry, heavy_frames, held_out
from tempo_jax.evaluation import columns, markdown
from tempo_jax.metrics import calibration, rotamer_changes, side_chains
from tempo_jax.output import frame_table
from tempo_jax.protein.protein import Protein

Both = dict[str, dict[str, float | None]]
"""The numbers of 'MD' and of each model; None where one cannot be computed."""

_MD, _MODEL = 'MD', 'model'
_SPREADS = ('C-N', 'N-CA-C', 'CA-C-N', 'O-C-N', 'C-N-CA')
_CARD = ('rmsf_r', 'rmsf_ratio', 'step_ratio', 'ca_jsd')
_OF_FRAMES = ('close_contacts', 'overlaps', 'wrong_hands', 'rotamer_outliers')
_LAGS_NS = (0.01, 0.1)
_CONSTRAINED = 0.01  # Å: the spread of a bond below which MD held it.
_MOST_FRAMES = 400  # whose heavy atoms are judged, of all replicas together


def both(
  ours: heavy_frames.Series,
  md: heavy_frames.Series,
  protein: Protein,
  within: dict[str, tuple[float, float]],
  dt_ns: float,
) -> Both:
  """Measures a prediction and MD.

  Args:
    ours: replicas, sampled from the conformation of `protein`.
    md: replicas of the same time step.
    protein: L residues.
    within: of `covalent_geometry.ranges`.
    dt_ns: between frames, ns.

  Returns:
    By 'MD' and 'model', the keys of `ROWS`. In 'MD' those of two series, such as JSD, are the
    floor: of the halves of MD.
  """
  count = min(map(len, (*ours.positions, *md.positions)))
  found = {
    name: _alone(series, series.first(count), protein, within, dt_ns)
    for name, series in ((_MODEL, ours), (_MD, md))
  }
  start, bonded = np.asarray(protein.arrays.positions), protein.arrays.bonds
  cut, reference = ours.first(count), md.first(count)
  both_columns = {_MODEL: columns.PREDICTION, _MD: columns.HALVES}
  card = held_out.compare(
    start, bonded, reference.positions, cut.positions, dt_ns, [*both_columns.values()]
  )
  for name, column in both_columns.items():
    found[name] |= {key: card[column][key] for key in _CARD}
  if md.heavy_atoms is not None:
    found[_MD] |= _divergences(side_chains.floor(reference.chi, md.residue_type))
    if ours.heavy_atoms is not None:
      found[_MODEL] |= _divergences(_jsd(cut, reference, count // 2))
  if (found[_MD]['C-N'] or 0.0) < _CONSTRAINED:
    del found[_MD]['C-N']
  return {name: {key: _known(numbers.get(key)) for key in ROWS} for name, numbers in found.items()}


def _alone(
  every: heavy_frames.Series,
  cut: heavy_frames.Series,
  protein: Protein,
  within: dict[str, tuple[float, float]],
  dt_ns: float,
) -> dict[str, float | None]:
  """Of one series: of all frames, and of as many as the other has where time matters."""
  found: dict[str, float | None] = dict(
    covalent_geometry.judge(np.concatenate(every.positions), protein.arrays, within)
  )
  if every.heavy_atoms is None:
    return found
  residue_type = every.residue_type
  correlation, _ = side_chains.autocorrelation(cut.chi, residue_type)
  frames = calibration.evenly(np.concatenate(every.heavy_atoms), _MOST_FRAMES)
  found |= {
    'changes': rotamer_changes.changes_per_ns(cut.chi, residue_type, dt_ns),
    'puckers': rotamer_changes.changes_per_ns(cut.chi, residue_type, dt_ns, puckers=True),
    'correlation': None
    if correlation is None
    else side_chains.correlation_time(correlation, dt_ns),
    'jumps': 100.0 * float(np.mean([side_chains.share_jumps(x, residue_type) for x in cut.chi])),
  }
  numbers = frame_table.per_frame(frames, protein.arrays).mean(axis=0)
  column = dict(zip(frame_table.COLUMNS, numbers.tolist(), strict=True))
  found |= {key: column[key] for key in _OF_FRAMES}
  found['sound'] = 100.0 * column['sound']
  for lag_ns in _LAGS_NS:
    turned, _ = side_chains.decorrelation(cut.chi, residue_type, round(lag_ns / dt_ns))
    found[f'turned {lag_ns}'] = turned
  return found


def _jsd(ours: heavy_frames.Series, md: heavy_frames.Series, count: int) -> np.ndarray:
  """[L, 4]: mean over our replicas, each against one of MD, of `count` frames of both."""
  reference = [calibration.evenly(chi, count) for chi in md.chi]
  found = [
    side_chains.chi_jsd(
      calibration.evenly(chi, count), reference[k % len(reference)], ours.residue_type
    )
    for k, chi in enumerate(ours.chi)
  ]
  return np.mean(found, axis=0)


def _divergences(found: np.ndarray) -> dict[str, float]:
  return {f'chi{k} jsd': side_chains.mean_of(found, k) for k in (1, 2)}


def _known(value: float | None) -> float | None:
  return float(value) if value is not None and math.isfinite(value) else None


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the table.

  Attributes:
    heading: with the unit.
    style: format of its numbers.
    goal: in words; '' if there is none.
    met: of the numbers of MD and of the model, whether the goal is met.
    show: what: both numbers, both and their ratio, or the ratio alone.
  """

  heading: str
  style: str
  goal: str = ''
  met: Callable[[float, float], bool] = lambda md, model: True
  show: str = 'both'

  def cell(self, md: float | None, models: Sequence[float | None]) -> str:
    """The cell of a protein; '-' where a number is missing, '!' where the goal is missed.

    Of several models, their median, the least and the most.
    """
    known = [x for x in models if x is not None]
    model = float(np.median(known)) if known else None

    def ranged(style: str, unit: float) -> str:
      if model is None:
        return '-'
      middle, low, high = (format(x / unit, style) for x in (model, min(known), max(known)))
      return middle if len(models) == 1 else f'{middle}, {low} to {high}'

    ratio = None if not md or md < 0.0 or model is None else ranged('.2f', md)
    miss = '' if md is None or model is None or self.met(md, model) else ' !'
    if self.show == 'ratio':
      return (ratio or '-') + miss
    first = '-' if md is None else format(md, self.style)
    more = f' ({ratio})' if ratio and self.show == 'all' else ''
    return f'{first} / {ranged(self.style, 1.0)}{more}{miss}'


def _between(low: float, high: float) -> Callable[[float, float], bool]:
  return lambda md, model: low * md <= model <= high * md


def _to_md(heading: str, style: str) -> Row:
  return Row(heading, style, '0.5 - 2 x MD', _between(0.5, 2.0), 'all')


ROWS: dict[str, Row] = {
  'inside': Row(
    'backbone geometry inside, % of frames',
    '.1f',
    '0.95 x MD',
    lambda md, model: model >= 0.95 * md,
  ),
  'sound': Row('sound, % of frames, with side chains where there are', '.1f'),
  **{
    name: Row(f'sd of {name}, to MD', '.3f', '0.7 - 1.3', _between(0.7, 1.3), 'ratio')
    for name in _SPREADS
  },
  'phi, psi': Row(
    'phi, psi disallowed, %',
    '.2f',
    '2 x MD + 0.2',
    lambda md, model: model <= 2.0 * md + 0.2,
  ),
  'rmsf_r': Row('RMSF r (halves of MD / model)', '.2f'),
  'rmsf_ratio': Row('RMSF ratio (halves / model)', '.2f'),
  'step_ratio': Row('step ratio (halves / model)', '.2f'),
  'ca_jsd': Row('CA-CA JSD (halves / model)', '.3f'),
  **{
    f'chi{k} jsd': Row(
      f'chi{k} JSD (halves / model)',
      '.3f',
      '2 x halves',
      lambda md, model: model <= 2.0 * md,
      'all',
    )
    for k in (1, 2)
  },
  'changes': _to_md('rotamer changes per ns', '.1f'),
  'puckers': _to_md('changes of puckers of proline per ns', '.1f'),
  'correlation': _to_md('correlation time of chi1, ns', '.3f'),
  **{
    f'turned {lag_ns}': _to_md(f'chi1: 1 - <cos> after {1000 * lag_ns:g} ps', '.3f')
    for lag_ns in _LAGS_NS
  },
  'jumps': _to_md('chi1 jumps > 60°, % of steps', '.2f'),
  'close_contacts': Row(
    'close contacts per frame', '.2f', '1.5 x MD', lambda md, model: model <= 1.5 * md, 'all'
  ),
  'overlaps': Row('overlaps per frame', '.3f'),
  'wrong_hands': Row('wrong hands per frame', '.3f'),
  'rotamer_outliers': Row('rotamer outliers per frame', '.2f'),
}
"""By key, in the order of the table."""


def table(found: Mapping[str, Both]) -> str:
  """Markdown: a line for each of `ROWS`, a column for each protein."""

  def cell(row: Row, key: str, numbers: Both) -> str:
    return row.cell(numbers[_MD][key], [x[key] for name, x in numbers.items() if name != _MD])

  lines = [
    [row.heading, row.goal, *(cell(row, key, x) for x in found.values())]
    for key, row in ROWS.items()
  ]
  return markdown.table(['MD / model', 'goal', *found], lines)

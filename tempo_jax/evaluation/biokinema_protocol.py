"""`--protocol=biokinema`: a prediction as BioKinema's published procedure scores it.

Two estimators, one for each side, so that MD does not agree with itself: its own score goes along.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tempo_jax.evaluation import markdown
from tempo_jax.evaluation.common_times import common_times
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import biokinema
from tempo_jax.metrics.kinetics import Replicas

_ROWS = {
  'mfpt_pearson_log10': 2,
  'mfpt_spearman': 2,
  'mfpt_log10_mae': 2,
  'stationary_kl': 3,
  'pi_mae': 3,
  'tica_w1_rms': 3,
  'states_populated': 1,
  'edge_mae': 3,
}


def details(
  reference: Ensemble, prediction: Ensemble, lags: biokinema.Lags | None = None
) -> dict[str, Any]:
  """Both sides at their common times.

  Args:
    reference: all replicas of MD.
    prediction: what is judged.
    lags: in common steps; by default theirs, of frames that are 10 ns apart.

  Returns:
    `frame_ns` (one common step), `lags_frames`, `numbers` and `notes` of the prediction (as
    `biokinema.compare`, times in common steps), `populations` and `mfpt_frames` of both sides,
    `time_scales_frames`; `ceiling`: the same numbers of MD against itself. Or `reason` alone.
  """
  grid, reason = common_times(reference, prediction)
  if grid is None:
    return {'reason': reason}
  lags = lags or biokinema.Lags()
  ours = _thinned(prediction, grid.prediction_stride)
  theirs = _thinned(reference, grid.reference_stride)
  found, reason = biokinema.compare(ours, theirs, lags)
  if found is None:
    return {'reason': reason}
  itself, reason = biokinema.compare(theirs, theirs, lags, centers=found.centers)
  by_side = {
    'populations': found.populations,
    'mfpt_frames': found.passage_times,
    'time_scales_frames': found.time_scales,
  }
  return {
    'frame_ns': grid.dt_ns,
    'lags_frames': {
      'tica': lags.tica,
      'counts': lags.reference,
      'root': lags.root,
    },
    'tica_eigenvalues': found.eigenvalues.tolist(),
    'numbers': found.numbers,
    'notes': found.notes,
    **{
      name: dict(zip(('prediction', 'reference'), map(_listed, pair), strict=True))
      for name, pair in by_side.items()
    },
    'ceiling': {'reason': reason} if itself is None else itself.numbers,
  }


def table(proteins: Sequence[Mapping[str, Any]]) -> str:
  """Means over proteins of what `details` says, for metrics.md.

  Args:
    proteins: `details` of each.
  """
  rows = []
  for key, digits in _ROWS.items():
    cells = []
    for side in ('numbers', 'ceiling'):
      found = (protein.get(side, {}).get(key) for protein in proteins)
      values = [x for x in found if x is not None]
      cells.append(f'{np.mean(values):.{digits}f} (n = {len(values)})' if values else '')
    rows.append([key, *cells])
  frames = dict.fromkeys(f'{x["frame_ns"]:g}' for x in proteins if 'frame_ns' in x)
  return (
    '`--protocol=biokinema`: kinetics by the procedure of BioKinema, which has an estimator for '
    'each side; means over n proteins. Frames are '
    f'{" or ".join(frames) or "unknown times of"} ns apart, theirs 10.\n\n'
    + markdown.table(['BioKinema', 'prediction', 'MD against itself (ceiling)'], rows)
  )


def _thinned(ensemble: Ensemble, stride: int) -> Replicas:
  return [x[::stride] for x in ensemble.split(ensemble.positions)]


def _listed(values: np.ndarray) -> Any:
  """Nested lists, None for what is no number."""
  if values.ndim > 1:
    return [_listed(row) for row in values]
  return [float(x) if np.isfinite(x) else None for x in values]

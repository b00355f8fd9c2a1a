"""Times that the frames of a prediction have in common with those of MD."""

from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import kinetics
from tempo_jax.metrics.kinetics import Found, TimeGrid


def common_times(reference: Ensemble, prediction: Ensemble) -> Found[TimeGrid]:
  """The grid and None; or None and the reason: a side without times, or steps that do not fit."""
  for name, ensemble in (('prediction', prediction), ('reference', reference)):
    if ensemble.dt_ns is None:
      return None, f'{name}: {ensemble.no_time}'
  return kinetics.time_grid(prediction.dt_ns, reference.dt_ns)

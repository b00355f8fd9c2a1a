"""Times that the frames of a prediction have in common with those of MD."""

from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.metrics import kinetics, markov_comparison
from tempo_jax.metrics.kinetics import Found, TimeGrid


def common_times(reference: Ensemble, prediction: Ensemble) -> Found[TimeGrid]:
  """The grid and None; or None and the reason: a side without times, or steps that do not fit."""
  for name, ensemble in (('prediction', prediction), ('reference', reference)):
    if ensemble.dt_ns is None:
      return None, f'{name}: {ensemble.no_time}'
  return kinetics.time_grid(prediction.dt_ns, reference.dt_ns)


def lag_ns(reference: Ensemble, grid: TimeGrid, asked_ns: float | None) -> float:
  """Of tICA, VAMP-2 and Markov models, ns.

  Args:
    reference: all replicas of MD.
    grid: of times.
    asked_ns: what the user asks for, ns; None: a hundredth of the longest replica of MD.
  """
  if asked_ns is not None:
    return asked_ns
  longest = max(replica.num_frames for replica in reference.replicas)
  return markov_comparison.default_lag_ns(longest, grid)

"""The objectives that `config.model.objective` chooses from: what one step is trained to be."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.errors import InputError
from tempo_jax.paper import mean_squared_error
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import energy_score, flow_matching


def residues(protein: protein_lib.ProteinArrays) -> dict[str, jax.Array]:
  """What the sum 'error' of an example is divided by."""
  return {'error': jnp.sum(protein.mask).astype(jnp.float32)}


@dataclasses.dataclass(frozen=True)
class Objective:
  """What training asks of an objective; `config` is the experiment's configuration.

  Attributes:
    example_loss: (config, level, params, window, following, protein, temperature_K, forcing, rngs)
      -> sums by name, of one example: the window [T, L] that a rollout begins with, and the true
      states [U, T, L] of the windows that follow it. `forcing` is the probability that a true
      window, not the predicted one, is the next input; `rngs` are three keys.
    num_windows: config -> U.
    counts: protein [L] -> what the sums are divided by, so that proteins of different length, on
      different devices, are averaged over residues and not over devices.
    weights: config -> the weight of each mean in the loss.
    check: config -> None; raises `InputError` for settings that this objective cannot use.
  """

  example_loss: Callable[..., dict[str, jax.Array]]
  num_windows: Callable[[Any], int] = lambda config: config.train.unroll
  counts: Callable[[protein_lib.ProteinArrays], dict[str, jax.Array]] = residues
  weights: Callable[[Any], dict[str, float]] = lambda config: {'error': 1.0}
  check: Callable[[Any], None] = lambda config: None


_OBJECTIVES = {
  'mse': Objective(
    mean_squared_error.example_loss,
    counts=mean_squared_error.counts,
    weights=mean_squared_error.weights,
    check=mean_squared_error.check,
  ),
  # Looks one window ahead and unrolls nothing.
  'flow_matching': Objective(
    flow_matching.example_loss,
    num_windows=lambda config: 1,
    counts=flow_matching.counts,
    weights=flow_matching.weights,
  ),
  'energy_score': Objective(energy_score.example_loss, check=energy_score.check),
}
_OURS = frozenset(_OBJECTIVES)


def register(name: str, objective: Objective) -> None:
  """Adds an objective of one's own, `config.model.objective = NAME`.

  Args:
    name: that of the transition which it trains, `tempo_jax.transitions.register`.
    objective: the objective.

  Raises:
    ValueError: tempo_jax has an objective of that name.
  """
  if name in _OURS:
    raise ValueError(f'{name!r} is an objective of tempo_jax: give another name')
  _OBJECTIVES[name] = objective


def of(config: Any) -> Objective:
  """The objective of an experiment.

  Raises:
    InputError: nothing says how to train it.
  """
  name = config.model.objective
  if name not in _OBJECTIVES:
    raise InputError(
      f'config.model.objective = {name!r}: models of it can be sampled but not trained: call '
      'tempo_jax.training.objectives.register'
    )
  return _OBJECTIVES[name]


def frames_per_window(config: Any) -> int:
  """Frames that one training example must provide, besides an anchor."""
  return config.model.window * (1 + of(config).num_windows(config))

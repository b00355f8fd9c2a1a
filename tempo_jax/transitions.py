"""Which transition a model's configuration chooses: all that samplers and training know of it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from tempo_jax import config as config_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import transition as drawn
from tempo_jax.paper import transition as predicted


@dataclasses.dataclass(frozen=True)
class Transition:
  """A network and the step that it makes.

  Attributes:
    init_params: (config, rng) -> fresh parameters of one level's network.
    make_step: (config, level) -> the step of one level, given its time step and scales.
    passes: config -> how often a step passes through the network's head; None for a network without
      such a head.
  """

  init_params: Callable[[Any, jax.Array], Any]
  make_step: Callable[[Any, level_lib.Level], drawn.Step]
  passes: Callable[[Any], int | None] = lambda config: None


_PREDICTED = Transition(predicted.init_params, predicted.make_step)
_DRAWN = Transition(drawn.init_params, drawn.make_step, lambda config: config.passes)
# By the configuration's `objective`.
_TRANSITIONS = {'mse': _PREDICTED, 'flow_matching': _DRAWN, 'energy_score': _DRAWN}
_OURS = frozenset(_TRANSITIONS)


def register(objective: str, transition: Transition) -> None:
  """Adds a transition of one's own, for configurations with this `objective`.

  Every process that loads such a model must do so before. What trains it:
  `tempo_jax.training.objectives.register`.

  Args:
    objective: its name; given again, the new transition takes the place of the old one.
    transition: its network and step.

  Raises:
    ValueError: tempo_jax has an objective of that name.
  """
  if objective in _OURS:
    raise ValueError(f'{objective!r} is an objective of tempo_jax: give another name')
  if objective not in _TRANSITIONS:
    config_lib.OBJECTIVES.append(objective)
  _TRANSITIONS[objective] = transition


def init_params(config: Any, rng: jax.Array) -> Any:
  """Fresh parameters of one level's network.

  Args:
    config: the model's configuration, frozen.
    rng: a key.
  """
  return _TRANSITIONS[config.objective].init_params(config, rng)


def make_step(config: Any, level: level_lib.Level) -> drawn.Step:
  """The step of one level.

  Args:
    config: the model's configuration, frozen.
    level: its time step and scales.
  """
  return _TRANSITIONS[config.objective].make_step(config, level)


def passes(config: Any) -> int | None:
  """How often a step passes through the head; None for a model that predicts means."""
  return _TRANSITIONS[config.objective].passes(config)


def is_built_in(config: Any) -> bool:
  """Whether the configuration's transition is one of this package's."""
  return config.objective in _OURS

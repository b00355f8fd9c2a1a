"""Everything that a training step changes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """State of the training of one level.

  Attributes:
    step: [] int32, updates done.
    params: parameters of the drift.
    ema_params: their exponential moving average, which sampling uses.
    opt_state: the optimiser's state.
  """

  step: jax.Array
  params: Any
  ema_params: Any
  opt_state: Any


def create(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
  """State before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    # Copies: steps use the state up, but neither the average nor what the caller holds.
    params=jax.tree.map(jnp.copy, params),
    ema_params=jax.tree.map(jnp.copy, params),
    opt_state=optimizer.init(params),
  )


def apply_gradient(
  state: TrainState,
  gradient: Any,
  optimizer: optax.GradientTransformation,
  ema_decay: float,
) -> TrainState:
  """One update of the parameters and of their moving average.

  Early on the average forgets faster, min(decay, (1 + step) / (10 + step)), so that it does not
  remember the initialisation.
  """
  updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
  ema = optax.incremental_update(params, state.ema_params, 1.0 - decay)
  return TrainState(state.step + 1, params, ema, opt_state)

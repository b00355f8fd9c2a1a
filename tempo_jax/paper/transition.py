"""The paper's transition: one step of the SDE dX = mu(X) dt + sigma dW (section 3).

A step first adds the noise, X~ = X + sigma eps; the learned drift follows: X' = X~ + f(X~). The
network was trained on exactly such noised windows, so that it takes out of X~ what is not
protein-like and keeps what is; the emitted frames carry no raw noise.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import transition
from tempo_jax.paper import drift, update


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
  """What the drift predicts.

  Attributes:
    window: the next T states, all known.
    vector: [T, L, 13] the predicted numbers before projection (`update_rule = global`), which the
      paper's loss compares; the states' vector otherwise.
  """

  window: state_lib.Window
  vector: jax.Array


@functools.lru_cache(maxsize=8)
def _initialiser(config: Any) -> Callable[[jax.Array], Any]:
  window, protein = transition.smallest_inputs(config)
  scalar = jnp.ones(())
  inputs = window, window.states, protein, scalar, scalar, scalar
  return transition.initialiser(drift.Drift(config), *inputs)


def init_params(config: Any, rng: jax.Array) -> Any:
  """Fresh parameters of one level's drift, from a key."""
  return _initialiser(config)(rng)


def make_predictor(
  config: Any, level: level_lib.Level, network: Any = None
) -> Callable[..., Prediction]:
  """As `make_step`, with the numbers that the paper's loss compares."""
  network = network or drift.Drift(config)

  def predict(params, window, protein, sigma, temperature_K, rng):
    sigma = jnp.asarray(sigma, jnp.float32)
    temperature_K = jnp.asarray(temperature_K, jnp.float32)
    noised = transition.noised_window(window, sigma, level, protein, rng)
    output: Any = network.apply(
      {'params': params}, noised, window.states, protein, sigma, level.dt_ns, temperature_K
    )
    newest = noised.states[-1]
    if config.update_rule == 'local':
      states = update.apply_local(newest, output, level, protein)
      states = transition.closed(config, states, protein)
      vector = state_lib.to_vector(states)
    else:
      vector = update.apply_global(newest, output)
      states = transition.closed(config, state_lib.from_vector(vector, protein.bonds), protein)
    return Prediction(window.followed_by(states), vector)

  return predict


def make_step(config: Any, level: level_lib.Level, network: Any = None) -> transition.Step:
  """The step of one level.

  Args:
    config: the model's configuration, frozen.
    level: its time step and scales.
    network: a module with the arguments of `drift.Drift`, which is the default.
  """
  predict = make_predictor(config, level, network)
  return lambda *args: predict(*args).window

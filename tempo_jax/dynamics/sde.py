"""One step of the SDE dX = mu(X) dt + sigma dW (paper, section 3) as a pure function.

A step first adds the noise, X~ = X + sigma eps, then the learned drift: X' = X~ + f(X~). The
network was trained on exactly such noised windows, so that it takes out of X~ what is not
protein-like and keeps what is; the emitted frames carry no raw noise.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import protein as protein_lib
from tempo_jax.dynamics import drift, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
  """Result of one step.

  Attributes:
    window: the next T states, all known.
    vector: [T, L, 13] the predicted numbers before projection (`update_rule = global`), which the
      paper's loss compares; the states' vector otherwise.
  """

  window: state_lib.Window
  vector: jax.Array


Step = Callable[..., Prediction]


@functools.lru_cache(maxsize=8)
def _initialiser(config: Any) -> Callable[[jax.Array], Any]:
  length = 4
  protein = protein_lib.ProteinArrays(
    residue_type=jnp.zeros(length, jnp.int32),
    residue_index=jnp.arange(length, dtype=jnp.int32),
    chain_index=jnp.zeros(length, jnp.int32),
    bonded=jnp.arange(length) < length - 1,
    mask=jnp.ones(length, bool),
    positions=jnp.zeros((length, 4, 3)),
  )
  state = state_lib.State(rigid.Rigid.identity((length,)), jnp.zeros((length, 3)))
  window = state_lib.start_window(state, config.window)
  scalar = jnp.ones(())
  shapes = jax.eval_shape(lambda: (window, window.states, protein, scalar, scalar, scalar))
  # Shapes instead of arrays: initialisers are compiled, the network is not.
  return jax.jit(lambda rng: drift.Drift(config).lazy_init(rng, *shapes)['params'])


def init_params(config: Any, rng: jax.Array) -> Any:
  """Fresh parameters of one level's drift.

  Args:
    config: the model's configuration, frozen.
    rng: a key.
  """
  return _initialiser(config)(rng)


def make_step(config: Any, level: level_lib.Level) -> Step:
  """The transition of one level.

  Args:
    config: the model's configuration, frozen.
    level: its time step and scales.

  Returns:
    step(params, window, protein, sigma, temperature_K, rng) -> Prediction, pure, for one
    protein; sigma is a scalar.
  """
  network = drift.Drift(config)

  def step(
    params: Any,
    window: state_lib.Window,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    temperature_K: jax.Array,
    rng: jax.Array,
  ) -> Prediction:
    bonded = protein.bonded
    noised = state_lib.Window(
      state_lib.perturb(window.states, sigma, level, bonded, rng), window.known
    )
    output: Any = network.apply(
      {'params': params},
      noised,
      window.states,
      protein,
      jnp.asarray(sigma, jnp.float32),
      level.dt_ns,
      jnp.asarray(temperature_K, jnp.float32),
    )
    newest = noised.states[-1]
    if config.update_rule == 'local':
      states = update.apply_local(newest, output, level, bonded)
      vector = state_lib.to_vector(states)
    else:
      vector = update.apply_global(newest, output)
      states = state_lib.from_vector(vector, bonded)
    return Prediction(state_lib.Window(states, jnp.ones_like(window.known)), vector)

  return step

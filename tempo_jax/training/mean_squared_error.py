"""The paper's objective over a rollout: unrolled windows and teacher forcing (section 5)."""

from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import transition
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import examples, losses


def example_loss(
  config: Any,
  level: level_lib.Level,
  params: Any,
  example: examples.Example,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  forcing: jax.Array,
  rng: jax.Array,
) -> dict[str, jax.Array]:
  """Loss sums of one example over a rollout of several windows, differentiable through it.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    example: true frames, unroll + 1 windows.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] probability of teacher forcing.
    rng: a key.

  Returns:
    Sums as in `losses.window_loss`, averaged over the unrolled windows.
  """
  step = transition.make_step(config.model, level)
  start_rng, noise_rng, sigma_rng, forcing_rng = jax.random.split(rng, 4)
  unroll = config.train.unroll
  forced = jax.random.bernoulli(forcing_rng, forcing, (unroll,))
  sigmas = jax.random.uniform(sigma_rng, (unroll,), minval=level.noise_min, maxval=level.noise_max)

  def one_window(window, inputs):
    true, forced, sigma, rng = inputs
    prediction = step(params, window, protein, sigma, temperature_K, rng)
    sums = losses.window_loss(
      config.model, level, prediction, true, protein, config.train.clash_power
    )
    following = jax.tree.map(lambda t, p: jnp.where(forced, t, p), true, prediction.window.states)
    return window.followed_by(following), sums

  first = examples.first_window(config, example, start_rng)
  rest = jax.tree.map(lambda x: x[1:], example.windows)
  if config.train.rematerialise:
    one_window = jax.checkpoint(one_window)
  _, sums = jax.lax.scan(
    one_window, first, (rest, forced, sigmas, jax.random.split(noise_rng, unroll))
  )
  return jax.tree.map(jnp.mean, sums)

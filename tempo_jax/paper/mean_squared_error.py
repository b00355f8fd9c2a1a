"""The paper's objective over a rollout: unrolled windows and teacher forcing (section 5)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.paper import loss, transition
from tempo_jax.protein import protein as protein_lib


def check(config: Any) -> None:
  """Raises `InputError` for an experiment that cannot learn.

  That is, one without noise, which would learn to stand still, or with a penalty on clashes that
  has no finite gradient.
  """
  if not config.train.clash_power >= 1:
    raise InputError(
      f'config.train.clash_power = {config.train.clash_power}: at least 1 is needed, or its '
      'gradient is infinite where two atoms begin to clash'
    )
  for name in config.model.levels:
    if not config.model.level[name].noise_sample:
      raise InputError(
        "config.model.objective = 'mse' predicts means; without noise nothing fluctuates: give "
        f'config.model.level.{name}.noise_min, noise_max and noise_sample (paper: 0.01, 0.05, 0.05)'
      )


def counts(protein: protein_lib.ProteinArrays) -> dict[str, jax.Array]:
  """What the sums of `example_loss` are divided by: residues, and atom pairs."""
  return {
    'error': jnp.sum(protein.mask).astype(jnp.float32),
    'clash': jnp.sum(loss.clash_pairs(protein)).astype(jnp.float32),
  }


def weights(config: Any) -> dict[str, float]:
  """Of the two means in the loss."""
  return {'error': 1.0, 'clash': config.train.clash_weight}


def example_loss(
  config: Any,
  level: level_lib.Level,
  params: Any,
  window: state_lib.Window,
  following: state_lib.State,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  forcing: jax.Array,
  rngs: Sequence[jax.Array],
  make_predictor: Callable[..., Callable[..., transition.Prediction]] = transition.make_predictor,
) -> dict[str, jax.Array]:
  """Loss sums of one example over a rollout of several windows, differentiable through it.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    window: [T, L] to begin with.
    following: [U, T, L] true states of the windows after it.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] probability of teacher forcing.
    rngs: three keys.
    make_predictor: (model's configuration, level) -> what predicts the next window.

  Returns:
    Sums as in `loss.window_loss`, averaged over the unrolled windows.
  """
  predict = make_predictor(config.model, level)
  noise_rng, sigma_rng, forcing_rng = rngs
  unroll = config.train.unroll
  forced = jax.random.bernoulli(forcing_rng, forcing, (unroll,))
  sigmas = jax.random.uniform(sigma_rng, (unroll,), minval=level.noise_min, maxval=level.noise_max)

  def one_window(window, inputs):
    true, forced, sigma, rng = inputs
    prediction = predict(params, window, protein, sigma, temperature_K, rng)
    sums = loss.window_loss(
      config.model, level, prediction, true, protein, config.train.clash_power
    )
    states = jax.tree.map(lambda t, p: jnp.where(forced, t, p), true, prediction.window.states)
    return window.followed_by(states), sums

  if config.train.rematerialise:
    one_window = jax.checkpoint(one_window)
  _, sums = jax.lax.scan(
    one_window, window, (following, forced, sigmas, jax.random.split(noise_rng, unroll))
  )
  return jax.tree.map(jnp.mean, sums)

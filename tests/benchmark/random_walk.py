"""A step without a network: cheap, random, and drawn to its anchor."""

import jax
import jax.numpy as jnp

from tempo_jax import transitions
from tempo_jax.dynamics import update


def step_at_random(monkeypatch):
  """Replaces the network; the parameters of a level are one number, the size of a step."""

  def make_step(config, level):
    def step(params, window, protein, sigma, temperature_K, rng):
      del sigma, temperature_K
      newest = window.states[-1]
      length = protein.mask.shape[0]
      numbers = params * jax.random.normal(rng, (config.window, length, 7))
      if window.anchor is not None:
        numbers = numbers * jnp.where(window.anchor.known, 1.0 / window.anchor.frames, 2.0)
      states = update.apply_motions(newest, numbers, level, protein.bonded)
      return window.followed_by(states)

    return step

  monkeypatch.setattr(transitions, 'make_step', make_step)

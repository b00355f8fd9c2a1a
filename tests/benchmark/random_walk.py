"""Models without a network: steps are cheap, random, and drawn to their anchor."""

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import update
from tempo_jax.models import model as model_lib
from tempo_jax.training import objectives

NAME = 'random_walk'


def init_params(config, rng):
  """The size of a step, in units of the level's."""
  del config, rng
  return {'size': jnp.ones(())}


def make_step(config, level):
  def step(params, window, protein, sigma, temperature_K, rng):
    del sigma, temperature_K
    newest = window.states[-1]
    length = protein.mask.shape[0]
    numbers = params['size'] * jax.random.normal(rng, (config.window, length, 8))
    if window.anchor is not None:
      place = window.anchor.place
      ahead = place.known & ~place.is_reference
      numbers = numbers * jnp.where(ahead, 1.0 / jnp.maximum(place.frames, 1), 2.0)
    expected = expected_lib.still(newest, level, config.window)
    states = update.apply_motions(newest, numbers, expected, protein)
    return window.followed_by(states)

  return step


def example_loss(config, level, params, window, following, protein, *_):
  """Minus the logarithm of the likelihood, but for a constant."""
  newest, states = window.states[-1], following[0]
  expected = expected_lib.still(newest, level, len(states.psi))
  numbers = update.motions(newest, states, expected, protein) / params['size']
  error = jnp.mean(0.5 * numbers**2, axis=(0, 2)) + jnp.log(params['size'])
  return {'error': jnp.sum(jnp.where(protein.mask, error, 0.0))}


transitions.register(NAME, transitions.Transition(init_params, make_step))
objectives.register(NAME, objectives.Objective(example_loss, num_windows=lambda config: 1))


def walking(config):
  """The configuration with a random walk in place of its network, frozen."""
  config = config_lib.from_dict(config_lib.to_dict(config))
  config.objective = NAME
  config.side_chains = False
  return config_lib.freeze(config)


def params(config):
  return {name: {'size': np.float32(1.0)} for name in config.levels}


def save(directory, config):
  """A model that walks; the directory, for a workload."""
  config = walking(config)
  model_lib.Model(NAME, config, params(config)).save(directory)
  return str(directory)

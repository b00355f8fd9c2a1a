"""A perceptron in the place of the light head, for transitions with a known answer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from tempo_jax.dynamics import generator
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tests import builders

WIDTH = 64
# Translation, rotation, N-CA-C; angles come after them.
MOTIONS = 7


def draw_noise(rng, shape):
  """Noise [T, L, 8] of a model without side chains."""
  num_frames, length, _ = shape
  zero = jnp.zeros(length)
  newest = state_lib.from_frames(rigid.Rigid.identity((length,)), zero, jnp.zeros(length, bool))
  expected = builders.expecting_nothing(newest, num_frames)
  return generator.draw_noise(rng, num_frames, newest, expected, builders.helix(length))


class Perceptron(nn.Module):
  """Maps z_tau [T, L, N] and tau [] to [T, L, N]."""

  @nn.compact
  def __call__(self, numbers, tau):
    phase = np.pi * tau * np.array([0.5, 1.0, 2.0], np.float32)
    angle = numbers[..., MOTIONS:]
    motions = numbers[..., :MOTIONS]
    features = jnp.concatenate(
      [motions.ravel(), jnp.sin(angle).ravel(), jnp.cos(angle).ravel(), jnp.cos(phase)]
    )
    for _ in range(2):
      features = nn.silu(nn.Dense(WIDTH)(features))
    return nn.Dense(numbers.size)(features).reshape(numbers.shape)


def make_end(params):
  """The mean of y given z_tau, with the factors of the real head, and no wells."""

  def end(step, tau):
    numbers = step.numbers
    out = Perceptron().apply({'params': params}, numbers, tau)
    keep, scale = generator.preconditioning(tau)
    motions = keep * numbers[..., :MOTIONS] + scale * out[..., :MOTIONS]
    angles = numbers[..., MOTIONS:] + (1.0 - tau) * out[..., MOTIONS:]
    return jnp.concatenate([motions, angles], axis=-1), None

  return end


def train(loss, shape, num_steps, learning_rate=5e-3, seed=0):
  """Minimises loss(end, rng) over the perceptron's parameters."""
  params = Perceptron().init(jax.random.key(seed), jnp.zeros(shape), jnp.zeros(()))['params']
  optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

  def one_step(carry, rng):
    params, state = carry
    gradient = jax.grad(lambda p: loss(make_end(p), rng))(params)
    updates, state = optimizer.update(gradient, state)
    return (optax.apply_updates(params, updates), state), None

  @jax.jit
  def run(params):
    keys = jax.random.split(jax.random.key(seed + 1), num_steps)
    return jax.lax.scan(one_step, (params, optimizer.init(params)), keys)[0][0]

  return run(params)


def sample(params, shape, passes, num_samples, seed=2):
  """Numbers [num_samples, *shape]."""

  @jax.jit
  def run(keys):
    def one(rng):
      return generator.follow(make_end(params), draw_noise(rng, shape), passes).numbers

    return jax.vmap(one)(keys)

  return np.asarray(run(jax.random.split(jax.random.key(seed), num_samples)))

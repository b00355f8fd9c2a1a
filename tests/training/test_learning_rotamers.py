"""Flow matching on rotamers whose distribution is known: wells that hang together, and offsets."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from tempo_jax.dynamics import generator, rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import flow_matching
from tests import builders

# Two frames of one lysine.
SHAPE = (2, 1, 4)
LYSINE = np.array([protein_lib.RESIDUE_TYPES.index('LYS')])
FIRST = np.float32([0.6, 0.3, 0.1])
STAYS, FOLLOWS = 0.9, 0.8
BATCH, STEPS, SAMPLES = 512, 3_000, 20_000
# With four, the middle well is drawn 2 % too often, and offsets fall short by a tenth.
PASSES = 16
NUM_NUMBERS = 12


def draw_true(rng):
  """chi1 of a frame is mostly that of the other, chi2 mostly that of chi1, others are free.

  Offsets within wells lean to the side that the well says.
  """
  keys = jax.random.split(rng, 6)
  one = jax.random.categorical(keys[0], jnp.log(FIRST))
  other = jax.random.categorical(keys[1], jnp.log(FIRST))
  chi1 = jnp.stack([one, jnp.where(jax.random.bernoulli(keys[2], STAYS), one, other)])
  anywhere = jax.random.randint(keys[3], SHAPE, 0, 3)
  wells = anywhere.at[:, 0, 0].set(chi1)
  follows = jax.random.bernoulli(keys[4], FOLLOWS, (2,))
  wells = wells.at[:, 0, 1].set(jnp.where(follows, chi1, anywhere[:, 0, 1]))
  places = (wells - 1) + 0.3 * jax.random.normal(keys[5], SHAPE)
  numbers = jnp.concatenate([jnp.zeros((2, 1, 8)), places], axis=-1)
  return generator.Step(numbers, wells.astype(jnp.int32))


def draw_noise(rng):
  newest = state_lib.from_frames(
    rigid.Rigid.identity((1,)),
    jnp.zeros(1),
    jnp.zeros(1, bool),
    side_chains=rotamers.unknown(LYSINE),
  )
  protein = dataclasses.replace(builders.helix(1), residue_type=LYSINE)
  expected = builders.expecting_nothing(newest, 2)
  return generator.draw_noise(rng, 2, newest, expected, protein)


class Perceptron(nn.Module):
  """Places and wells as far as they are drawn -> means of places, and logits."""

  @nn.compact
  def __call__(self, step, tau):
    seen = rotamers.seen_wells(step.wells).ravel()
    time = jnp.cos(np.pi * tau * np.array([0.5, 1.0, 2.0], np.float32))
    features = jnp.concatenate([step.numbers[..., 8:].ravel(), seen, time])
    for _ in range(2):
      features = nn.silu(nn.Dense(96)(features))
    out = nn.Dense(4 * 8)(features).reshape(*SHAPE, 4)
    keep, scale = generator.preconditioning(tau)
    places = keep * step.numbers[..., 8:] + scale * out[..., 0]
    return jnp.concatenate([step.numbers[..., :8], places], axis=-1), out[..., 1:]


def make_end(params):
  return lambda step, tau: Perceptron().apply({'params': params}, step, tau)


@pytest.fixture(scope='module')
def drawn():
  """Wells [N, 2, 4] and offsets within them, after training."""

  def loss(params, rng):
    def one(rng):
      true_rng, line_rng = jax.random.split(rng)
      found = flow_matching.line_error(
        lambda step, _, tau: make_end(params)(step, tau),
        draw_true(true_rng),
        draw_noise,
        lambda y: y[..., :3],
        2,
        line_rng,
      ).side_chains
      return jnp.mean(found.offset + found.well)

    return jnp.mean(jax.vmap(one)(jax.random.split(rng, BATCH)))

  optimizer = optax.adam(optax.cosine_decay_schedule(5e-3, STEPS))

  def one_step(carry, rng):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params, rng), state)
    return (optax.apply_updates(params, updates), state), None

  @jax.jit
  def run(rng):
    start = generator.Step(jnp.zeros((2, 1, NUM_NUMBERS)), jnp.zeros(SHAPE, jnp.int32))
    params = Perceptron().init(rng, start, jnp.zeros(()))['params']
    keys = jax.random.split(rng, STEPS)
    (params, _), _ = jax.lax.scan(one_step, (params, optimizer.init(params)), keys)

    def sample(rng):
      return generator.follow(make_end(params), draw_noise(rng), PASSES)

    return jax.vmap(sample)(jax.random.split(jax.random.fold_in(rng, 1), SAMPLES))

  found = jax.tree.map(np.asarray, run(jax.random.key(0)))
  return found.wells[:, :, 0], found.numbers[:, :, 0, 8:]


@pytest.mark.slow  # Trains a network.
def test_wells_have_their_shares_and_hang_together(drawn):
  wells, _ = drawn
  share = np.bincount(wells[:, 0, 0], minlength=3) / SAMPLES
  np.testing.assert_allclose(share, FIRST, atol=0.03)
  by_chance = np.sum(FIRST**2)
  same = np.mean(wells[:, 0, 0] == wells[:, 1, 0])
  assert same == pytest.approx(STAYS + (1 - STAYS) * by_chance, abs=0.03)
  for frame in range(2):
    follows = np.mean(wells[:, frame, 1] == wells[:, frame, 0])
    assert follows == pytest.approx(FOLLOWS + (1 - FOLLOWS) / 3, abs=0.03)
  # The others are free of all.
  shares = np.bincount(wells[..., 2:].ravel(), minlength=3) / wells[..., 2:].size
  np.testing.assert_allclose(shares, 1 / 3, atol=0.03)
  assert np.mean(wells[:, 0, 2] == wells[:, 0, 0]) == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.slow  # Trains a network.
def test_offsets_are_those_of_the_wells_that_were_drawn(drawn):
  wells, offsets = drawn
  for well in range(3):
    found = offsets[wells == well]
    assert np.mean(found) == pytest.approx(well - 1, abs=0.1)
    assert np.std(found) == pytest.approx(0.3, abs=0.1)

"""`config.train.clash_power`: the exponent of the penalty on clashes, against numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.paper import loss
from tempo_jax.training import objectives, run_config
from tests import builders
from tests.training import examples

RADIUS = 1.2  # Å


def plain(positions, pairs, power):
  """The penalty and its gradient in float64: sum of (r - d)^p, and p (r - d)^(p - 1) towards."""
  atoms = np.asarray(positions, np.float64).reshape(-1, 3)
  total, gradient = 0.0, np.zeros_like(atoms)
  for i, j in zip(*np.nonzero(np.asarray(pairs)), strict=True):
    apart = atoms[i] - atoms[j]
    distance = np.linalg.norm(apart)
    if distance < RADIUS:
      total += (RADIUS - distance) ** power
      push = power * (RADIUS - distance) ** (power - 1) * apart / distance
      gradient[i] -= push
      gradient[j] += push
  return total, gradient.reshape(positions.shape)


@pytest.mark.parametrize('power', [1.0, 1.5, 2.0, 3.0])
def test_penalty_and_gradient(power, np_rng):
  positions = np_rng.normal(size=(5, 4, 3), scale=1.2).astype(np.float32)
  pairs = loss.clash_pairs(builders.helix(5))
  expected, gradient = plain(positions, pairs, power)
  assert expected > 0.5
  found = jax.jit(jax.value_and_grad(loss.clash_penalty))(positions, pairs, power)
  np.testing.assert_allclose(found[0], expected, rtol=1e-5)
  np.testing.assert_allclose(found[1], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('power', [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize('distance', [0.3, 1.1, 1.1999, 1.2001, 1.5, 40.0])
def test_two_atoms(power, distance):
  """Nothing beyond the radius, and on either side of it no jump."""
  positions = 100.0 * np.arange(8, dtype=np.float32).reshape(2, 4, 1) * np.ones(3, np.float32)
  positions[1, 1] = positions[0, 1] + np.array([0.0, distance, 0.0], np.float32)
  protein = dataclasses.replace(builders.helix(2), bonded=np.zeros(2, bool))
  pairs = loss.clash_pairs(protein)
  found, gradient = jax.value_and_grad(loss.clash_penalty)(jnp.asarray(positions), pairs, power)
  depth = max(0.0, RADIUS - distance)
  np.testing.assert_allclose(found, depth**power, rtol=1e-3, atol=1e-5)
  expected = np.zeros((2, 4, 3))
  if depth:
    expected[0, 1, 1] = power * depth ** (power - 1)
    expected[1, 1, 1] = -expected[0, 1, 1]
  np.testing.assert_allclose(gradient, expected, rtol=2e-2, atol=1e-6)


def test_the_setting_reaches_the_loss():
  """A model that leaves atoms where they are, on a protein two residues of which overlap."""
  protein = builders.helix(8)
  positions = protein.positions.copy()
  positions[6] = positions[1] + np.float32(0.4)
  model = builders.small_config()
  params = builders.zero_head(builders.params(model))
  states = state_lib.from_positions(jnp.stack([positions] * 2), protein.bonded)
  window = state_lib.Window(states, jnp.ones(2, bool))
  start = np.asarray(state_lib.to_positions(states))[0]
  pairs = loss.clash_pairs(protein)
  level = dataclasses.replace(
    level_lib.Level.of(model, 'fine'), noise_min=jnp.float32(0.0), noise_max=jnp.float32(0.0)
  )
  following = jax.tree.map(lambda x: x[None], states)
  config = examples.experiment('nowhere', unroll=1, rematerialise=False)
  config.model = config_lib.from_dict(config_lib.to_dict(model))

  def clash(power):
    config.train.clash_power = power
    sums = objectives.of(config).example_loss(
      config,
      level,
      params,
      window,
      following,
      protein,
      jnp.float32(300.0),
      jnp.float32(0.0),
      jax.random.split(jax.random.key(0), 3),
    )
    return sums['clash']

  powers = (1.0, 3.0)
  found = jax.jit(lambda: [clash(power) for power in powers])()
  expected = [plain(start, pairs, power)[0] for power in powers]
  assert min(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize('power', [0.99, 0.0, -1.0, float('nan')])
def test_powers_without_a_finite_gradient_are_refused(power):
  config = examples.experiment('store', clash_power=power)
  run_config.check(config)  # Other objectives have no such penalty.
  config.model = config_lib.from_dict(config_lib.to_dict(builders.small_config()))
  with pytest.raises(InputError, match=r'config\.train\.clash_power = .*: at least 1 is needed'):
    run_config.check(config)
  config.train.clash_power = 1.0
  run_config.check(config)

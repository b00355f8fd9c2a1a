"""A step whose network multiplies matrices in bfloat16."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, rotamers
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tests import builders

LENGTH = 10
PRECISIONS = ('float32', 'bfloat16')
CONFIGS = {
  p: builders.generative_config(anchors='both', precision=p, side_chains=True) for p in PRECISIONS
}
# Parameters are the same float32 ones with either.
PARAMS = builders.params(CONFIGS['bfloat16'])


@pytest.fixture(scope='module')
def protein():
  """With all that a model reads: side chains, known in part, and a disulphide."""
  protein = builders.with_side_chains(builders.helix(LENGTH, chains=2), known=0.7)
  partner = np.full(LENGTH, -1, np.int32)
  partner[[2, 7]] = 7, 2
  return dataclasses.replace(protein, disulphides=partner)


def start_of(positions, protein):
  side_chains = rotamers.of_protein(protein)
  return state_lib.of_model(CONFIGS['float32'], positions, protein, side_chains)


def predict(precision, params, positions, protein, rng):
  """Features of the encoder, the numbers where the line through some noise ends, and logits."""
  config = CONFIGS[precision]
  network = generator.Generator(config)
  level = level_lib.Level.of(config, 'fine')
  state = start_of(positions, protein)
  states = jax.tree.map(lambda x: jnp.stack([x, x]), state)
  anchor = state_lib.Anchor(state, anchor_lib.at_end(4))
  window = state_lib.Window(states, jnp.ones(2, bool), anchor)
  scalars = jnp.float32(0.05), level.dt_ns, jnp.float32(320.0)
  variables = {'params': params}
  hidden = network.apply(variables, window, protein, *scalars, method='encode')
  expected = expected_lib.still(state, level, config.window)
  noise = generator.draw_noise(rng, config.window, state, expected, protein)
  # Half of the wells are drawn.
  found = generator.step_between(state, states, expected, protein)
  wells = jnp.where(noise.chances.order < 0.5, found.wells, rotamers.HIDDEN)
  step = generator.Step(noise.numbers, wells)
  taus = jnp.float32(0.6), jnp.float32(0.6)
  args = hidden, window, step, *taus, expected, protein
  end, logits = network.apply(variables, *args, method='end')
  return hidden, end, logits


@functools.cache
def compiled(precision):
  return builders.numpy_jit(functools.partial(predict, precision))


def test_bfloat16_is_near_float32(protein):
  rng = jax.random.key(0)
  exact, rounded = (compiled(p)(PARAMS, protein.positions, protein, rng) for p in PRECISIONS)
  for a, b in zip(exact, rounded, strict=True):
    assert a.dtype == b.dtype == np.float32
    error = np.abs(a - b) / a.std()
    # Eight bits, through all layers. Not nothing: the products really are rounded.
    assert 1e-3 < error.max() < 0.15
    assert error.mean() < 0.03


def test_a_global_motion_is_not_seen(protein):
  """Geometry is float32: a motion by 100 Å changes less than bfloat16 does by itself."""
  rotation, shift = builders.random_motion(1, translation=100.0)
  moved = (protein.positions @ rotation.T + shift).astype(np.float32)
  run = functools.partial(compiled('bfloat16'), PARAMS)
  before, after = (run(x, protein, jax.random.key(0)) for x in (protein.positions, moved))
  for a, b in zip(before, after, strict=True):
    assert np.abs(a - b).max() < 0.05 * a.std()


def test_only_matrices_of_the_network_are_rounded(protein):
  """Products of 16-bit numbers are there, and their results are all that is."""
  args = PARAMS, protein.positions, protein, jax.random.key(0)
  lines = str(jax.make_jaxpr(functools.partial(predict, 'bfloat16'))(*args)).splitlines()
  products = [line for line in lines if 'dot_general' in line]
  assert any(':bf16' in line for line in products)
  for name in ('exp', 'sqrt', 'rsqrt', 'sin', 'cos', 'tanh', 'reduce_max', 'atan2'):
    used = [line for line in lines if f' = {name} ' in line or f' = {name}[' in line]
    assert used
    assert not any(':bf16' in line for line in used), used


def test_gradients_are_finite_float32(protein):
  def total(params):
    found = predict('bfloat16', params, protein.positions, protein, jax.random.key(0))
    return sum(jnp.sum(x**2) for x in found)

  for leaf in jax.tree.leaves(builders.numpy_jit(jax.grad(total))(PARAMS)):
    assert leaf.dtype == np.float32
    assert np.isfinite(leaf).all()
    assert leaf.any()


def test_lowers_for_accelerators(protein):
  step = jax.jit(builders.make_step(CONFIGS['bfloat16'], 'fine'))
  state = jax.eval_shape(start_of, protein.positions, protein)
  anchor = state_lib.Anchor(state, jax.eval_shape(lambda: anchor_lib.at_end(4)))
  window = jax.eval_shape(
    functools.partial(state_lib.start_window, num_frames=2), state, anchor=anchor
  )
  scalar = np.float32(0.0)
  exported = jax.export.export(step, platforms=['cuda', 'tpu'])(
    PARAMS, window, protein, scalar, scalar, jax.random.key(0)
  )
  assert exported.platforms == ('cuda', 'tpu')

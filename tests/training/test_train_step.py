import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.paper import mean_squared_error, transition
from tempo_jax.training import examples as examples_lib
from tempo_jax.training import objectives, parallel, train_state, train_step
from tests import builders
from tests.training import examples


def test_without_tumbling_leaves_only_internal_motion(np_rng):
  length, frames = 8, 5
  still = np.asarray(builders.helix(length).positions)
  inner = still[None] + 0.2 * np_rng.normal(size=(frames, length, 4, 3))
  tumbling = []
  for t in range(frames):
    rotation, shift = builders.random_motion(t, 40.0)
    tumbling.append(inner[t] @ rotation.T + shift)
  mask = np.arange(length) < 6
  found = examples_lib.without_tumbling(
    jnp.asarray(np.stack(tumbling), jnp.float32), jnp.asarray(mask)
  )
  reference = examples_lib.without_tumbling(jnp.asarray(inner, jnp.float32), jnp.asarray(mask))

  # The same trajectory, up to the motion of its first frame, which both have at the origin.
  def distances(x):
    x = np.asarray(x)[:, :6].reshape(-1, 3)
    return np.linalg.norm(x[:, None] - x[None], axis=-1)

  np.testing.assert_allclose(distances(found), distances(reference), atol=2e-3)
  np.testing.assert_allclose(np.asarray(found)[0, :6, 1].mean(0), 0.0, atol=1e-4)
  # And each frame is where an independent superposition puts it.
  ca = np.asarray(found)[:, :6, 1]
  for t in range(1, frames):
    u, _, vt = np.linalg.svd((ca[0] - ca[0].mean(0)).T @ (ca[t] - ca[t].mean(0)))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-3)


def test_teacher_forcing_falls_linearly():
  config = examples.experiment('nowhere')
  config.train.update(teacher_forcing_start=0.8, teacher_forcing_end=0.2, teacher_forcing_steps=10)
  steps = jnp.arange(0, 15, 5)
  np.testing.assert_allclose(train_step.teacher_forcing(config, steps), [0.8, 0.5, 0.2], rtol=1e-6)


def make_pushing_predictor(config, level):
  """A model with one parameter: it pushes residue 0 away from where it was, in every frame."""

  def predict(push, window, protein, sigma, temperature_K, rng):
    newest = window.states[-1]
    moved = newest.frames.translation.at[0].add(jnp.array([1.0, 0.0, 0.0]) * push)
    frames = rigid.Rigid(newest.frames.rotation, moved)
    states = state_lib.from_frames(frames, newest.psi, protein.bonded)
    states = jax.tree.map(lambda x: jnp.stack([x] * config.window), states)
    window = state_lib.Window(states, jnp.ones(config.window, bool))
    return transition.Prediction(window, state_lib.to_vector(states))

  return predict


@pytest.mark.slow  # Compiles gradients, operation by operation.
def test_gradient_flows_through_the_unrolled_windows():
  config = examples.experiment('nowhere', unroll=2)
  config.model.update({'objective': 'mse', 'anchors': 'start', 'reference': False})
  level = level_lib.Level.of(config.model, 'fine')
  protein = builders.helix(40)
  still = jnp.stack([jnp.asarray(protein.positions)] * objectives.frames_per_window(config))

  example = examples_lib.make_example(config.model, still, anchor_lib.Place(), protein)
  window = examples_lib.first_window(config, example, jax.random.key(0))
  following = jax.tree.map(lambda x: x[1:], example.windows)

  def loss(push, forcing):
    return mean_squared_error.example_loss(
      config, level, push, window, following, protein, jnp.float32(300), jnp.float32(forcing),
      jax.random.split(jax.random.key(0), 3), make_pushing_predictor,
    )['error']  # fmt: skip

  push = 0.02
  forced, free = loss(push, 1.0), loss(push, 0.0)
  # Errors of 1 and 1 push with teacher forcing, of 1 and 2 pushes without; squared, averaged.
  np.testing.assert_allclose(free / forced, (1 + 4) / (1 + 1), rtol=0.01)
  # d/dpush of (push^2 + (2 push)^2) has a factor 2 inside the second term that is only there if
  # the prediction of window 1, from which window 2 starts, carries its gradient along. Without
  # it: (2 + 4) / (2 + 8) of this.
  np.testing.assert_allclose(jax.grad(loss)(push, 0.0), 2 * free / push, rtol=0.02)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('store') / 'store'
  return config_lib.freeze(
    examples.experiment(examples.write_store(path, lengths=(9, 11, 14)), unroll=1)
  )


@pytest.fixture(scope='module')
def params(config):
  return builders.params(config.model)


def changed(config, **values):
  """The configuration with other values, `section__name`."""
  config = config_lib.from_dict(config_lib.to_dict(config))
  for name, value in values.items():
    section, _, key = name.partition('__')
    config[section][key] = value
  return config_lib.freeze(config)


def of_one_device(config):
  """(parameters, batch) -> metrics, gradient."""
  level = level_lib.Level.of(config.model, 'fine')
  return jax.jit(
    lambda params, batch: train_step.loss_and_gradient(
      config, level, params, batch, jnp.int32(0), jax.random.key(1)
    )
  )


@pytest.fixture(scope='module')
def batch(config):
  """Sixteen examples of three proteins of different length."""
  batches = (examples.batch(config, 'fine', step, batch_size=16) for step in range(20))
  return next(b for b in batches if len(set(b.protein.mask.sum(-1))) == 3)


@pytest.fixture(scope='module')
def whole(config, params, batch):
  """Metrics and gradient of the batch, computed in one go on one device."""
  return of_one_device(config)(params, batch)


def norm(tree):
  return np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(tree)))


@pytest.mark.slow  # Compiles three steps.
def test_eight_devices_and_accumulation_give_the_loss_and_gradient_of_one(
  config, params, batch, whole
):
  """Residue counts differ from part to part, so a mean of means would be off."""
  assert jax.local_device_count() == 8
  memory = []
  for parts in (1, 2):
    several = changed(config, train__accumulation_steps=parts)
    level = level_lib.Level.of(several.model, 'fine')
    mapped = jax.pmap(
      functools.partial(train_step.loss_and_gradient, several, axis_name='devices'),
      axis_name='devices', in_axes=(None, None, 0, None, None), out_axes=None,
    )  # fmt: skip
    args = level, params, parallel.split_batch(batch), jnp.int32(0), jax.random.key(1)
    compiled = mapped.lower(*args).compile()
    memory.append(compiled.memory_analysis().temp_size_in_bytes)
    metrics, gradient = compiled(*args)
    assert metrics.keys() == whole[0].keys()
    np.testing.assert_allclose(metrics['loss'], whole[0]['loss'], rtol=1e-5)
    assert norm(whole[1]) > 1e-3
    assert norm(jax.tree.map(lambda x, y: x - y, gradient, whole[1])) < 1e-5 * norm(whole[1])
  assert memory[1] < 0.7 * memory[0]


@pytest.mark.slow  # Compiles a step.
def test_trains_in_bfloat16(config, params, batch, whole):
  """Gradients are float32, point where those of float32 do, and lower the loss."""
  step = of_one_device(changed(config, model__precision='bfloat16'))
  optimizer = optax.adam(3e-3)
  state, trained, losses = optimizer.init(params), params, []
  for _ in range(12):
    metrics, gradient = step(trained, batch)
    if not losses:
      assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype('float32')}
      difference = norm(jax.tree.map(lambda x, y: x - y, gradient, whole[1]))
      # Rounded to eight bits somewhere, but nowhere lost.
      assert 1e-4 * norm(whole[1]) < difference < 0.1 * norm(whole[1])
    updates, state = optimizer.update(gradient, state)
    trained = optax.apply_updates(trained, updates)
    losses.append(float(metrics['loss']))
  assert np.isfinite(losses).all()
  assert losses[-1] < 0.9 * losses[0]


def test_a_step_uses_its_state_up(config, params):
  """Parameters, their average and the optimiser's state are never held twice."""
  level, rng = parallel.replicate((level_lib.Level.of(config.model, 'fine'), jax.random.key(0)))
  optimizer = optax.sgd(0.1)
  state = parallel.replicate(train_state.create(params, optimizer))
  batch = parallel.split_batch(examples.batch(config, 'fine'))

  def trivial(config, optimizer, state, level, batch, rng, axis_name):
    return train_state.apply_gradient(state, state.params, optimizer, 0.9), {}

  # JAX keeps the arguments while it looks for NaNs, to run again what gave one.
  with jax.debug_nans(False):
    parallel.map_train_step(config, optimizer, trivial)(state, level, batch, rng)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
  assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


@pytest.mark.slow  # Compiles a loss.
def test_padding_changes_neither_loss_nor_gradient_scale(config, params):
  """The loss is a mean over residues that are there."""
  level = level_lib.Level.of(config.model, 'fine')
  batch = examples.batch(config, 'fine')
  wrecked = jax.tree.map(np.copy, batch)
  padding = ~wrecked.protein.mask[:, None, :, None, None]
  wrecked = dataclasses.replace(wrecked, positions=wrecked.positions + 50.0 * padding)

  @jax.jit
  def loss(batch):
    rng = jax.random.key(1)
    return train_step.evaluation_step(config, params, level, batch, rng)['loss']

  np.testing.assert_allclose(loss(wrecked), loss(batch), rtol=1e-5)

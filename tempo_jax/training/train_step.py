"""One optimisation step of one level: unrolled windows, teacher forcing, gradient, update."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from tempo_jax import protein as protein_lib
from tempo_jax.data import batching
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import sde
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment
from tempo_jax.training import losses, train_state


def frames_per_window(config: Any) -> int:
  """Frames that one training example must provide."""
  return config.model.window * (config.train.unroll + 1)


def without_tumbling(positions: jax.Array, mask: jax.Array) -> jax.Array:
  """Superposes every frame on the first by CA and centres them.

  Args:
    positions: [F, L, 4, 3] Å.
    mask: [L] bool.

  Returns:
    [F, L, 4, 3] Å.
  """
  weights = mask.astype(positions.dtype)
  origin = jnp.sum(positions[0, :, 1] * weights[:, None], axis=0) / jnp.sum(weights)
  reference = positions[0, :, 1] - origin[None, :]

  def fit(frame):
    motion = alignment.superpose(frame[:, 1], reference, weights)
    return motion[None, None].apply(frame)

  return jax.vmap(fit)(positions)


def teacher_forcing(config: Any, step: jax.Array) -> jax.Array:
  """Probability that the next input window is the true one, falling linearly with the step."""
  fraction = jnp.clip(step / config.train.teacher_forcing_steps, 0.0, 1.0)
  first, last = config.train.teacher_forcing_start, config.train.teacher_forcing_end
  return first + (last - first) * fraction


def unrolled_loss(
  config: Any,
  level: level_lib.Level,
  params: Any,
  positions: jax.Array,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  forcing: jax.Array,
  rng: jax.Array,
) -> dict[str, jax.Array]:
  """Loss sums of one protein over a rollout of several windows, differentiable through it.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    positions: [T (unroll + 1), L, 4, 3] Å, consecutive true frames of the level.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] probability of teacher forcing.
    rng: a key.

  Returns:
    Sums as in `losses.window_loss`, averaged over the unrolled windows.
  """
  length = config.model.window
  step = sde.make_step(config.model, level)
  positions = without_tumbling(positions, protein.mask)
  states = state_lib.from_positions(positions, protein.bonded)
  # [U + 1, T, L]
  windows = jax.tree.map(lambda x: x.reshape(-1, length, *x.shape[1:]), states)

  start_rng, noise_rng, sigma_rng, forcing_rng = jax.random.split(rng, 4)
  unroll = config.train.unroll
  forced = jax.random.bernoulli(forcing_rng, forcing, (unroll,))
  sigmas = jax.random.uniform(sigma_rng, (unroll,), minval=level.noise_min, maxval=level.noise_max)
  # A sampler starts from one conformation: some examples do as well.
  from_start = jax.random.bernoulli(start_rng, config.train.start_probability)
  known = ~from_start | (jnp.arange(length) == length - 1)

  def one_window(window, inputs):
    true, forced, sigma, rng = inputs
    prediction = step(params, window, protein, sigma, temperature_K, rng)
    sums = losses.window_loss(
      config.model, level, prediction, true, protein, config.train.clash_power
    )
    following = jax.tree.map(lambda t, p: jnp.where(forced, t, p), true, prediction.window.states)
    return state_lib.Window(following, jnp.ones_like(window.known)), sums

  first = state_lib.Window(jax.tree.map(lambda x: x[0], windows), known)
  rest = jax.tree.map(lambda x: x[1:], windows)
  if config.train.rematerialise:
    one_window = jax.checkpoint(one_window)
  _, sums = jax.lax.scan(
    one_window, first, (rest, forced, sigmas, jax.random.split(noise_rng, unroll))
  )
  return jax.tree.map(jnp.mean, sums)


def batch_loss(
  config: Any,
  level: level_lib.Level,
  params: Any,
  batch: batching.Batch,
  totals: dict[str, jax.Array],
  forcing: jax.Array,
  rngs: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """This device's share of the loss.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    batch: this device's examples.
    totals: counts over all devices; shares add up to the mean over residues and pairs.
    forcing: [] probability of teacher forcing.
    rngs: [B] keys.

  Returns:
    The share, and its terms.
  """

  def one_example(positions, protein, temperature_K, rng):
    return unrolled_loss(config, level, params, positions, protein, temperature_K, forcing, rng)

  sums = jax.vmap(one_example)(batch.positions, batch.protein, batch.temperature_K, rngs)
  terms = {name: jnp.sum(value) / totals[name] for name, value in sums.items()}
  return terms['error'] + config.train.clash_weight * terms['clash'], terms


def _all_sum(tree: Any, axis_name: str | None) -> Any:
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def loss_and_gradient(
  config: Any,
  level: level_lib.Level,
  params: Any,
  batch: batching.Batch,
  step: jax.Array,
  rng: jax.Array,
  axis_name: str | None = None,
) -> tuple[dict[str, jax.Array], Any]:
  """Loss of the whole batch and its gradient; under a device axis, the same on all devices.

  Counts are summed over devices before, gradients after differentiation: a reduction inside
  the differentiated function would be differentiated too.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    batch: this device's examples.
    step: [] int32, sets the teacher forcing.
    rng: a key, the same on all devices.
    axis_name: device axis to reduce over.

  Returns:
    Metrics 'loss', 'error', 'clash', and the gradient.
  """
  totals = _all_sum(jax.tree.map(jnp.sum, jax.vmap(losses.counts)(batch.protein)), axis_name)
  # Noise belongs to the example, wherever it is computed.
  size = batch.temperature_K.shape[0]
  offset = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
  rngs = jax.vmap(lambda i: jax.random.fold_in(rng, i))(offset + jnp.arange(size))
  (loss, terms), gradient = jax.value_and_grad(
    lambda p: batch_loss(config, level, p, batch, totals, teacher_forcing(config, step), rngs),
    has_aux=True,
  )(params)
  return _all_sum(({'loss': loss, **terms}, gradient), axis_name)


def train_step(
  config: Any,
  optimizer: optax.GradientTransformation,
  state: train_state.TrainState,
  level: level_lib.Level,
  batch: batching.Batch,
  rng: jax.Array,
  axis_name: str | None = None,
) -> tuple[train_state.TrainState, dict[str, jax.Array]]:
  """One update of one level's parameters.

  Args:
    config: the experiment's configuration, frozen.
    optimizer: from `tempo_jax.training.optimizer`.
    state: parameters, their moving average and the optimiser's state.
    level: the level's scalars.
    batch: this device's examples.
    rng: the run's key; the step is folded in, so a resumed run draws the same noise.
    axis_name: device axis to reduce over.

  Returns:
    The new state and the metrics of this batch.
  """
  metrics, gradient = loss_and_gradient(
    config,
    level,
    state.params,
    batch,
    state.step,
    jax.random.fold_in(rng, state.step),
    axis_name,
  )
  metrics['gradient_norm'] = optax.tree.norm(gradient)
  return train_state.apply_gradient(state, gradient, optimizer, config.train.ema_decay), metrics


def evaluation_step(
  config: Any,
  params: Any,
  level: level_lib.Level,
  batch: batching.Batch,
  rng: jax.Array,
  axis_name: str | None = None,
) -> dict[str, jax.Array]:
  """Loss of a batch without teacher forcing: the model follows its own predictions."""
  totals = _all_sum(jax.tree.map(jnp.sum, jax.vmap(losses.counts)(batch.protein)), axis_name)
  size = batch.temperature_K.shape[0]
  offset = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
  rngs = jax.vmap(lambda i: jax.random.fold_in(rng, i))(offset + jnp.arange(size))
  loss, terms = batch_loss(config, level, params, batch, totals, jnp.zeros(()), rngs)
  return _all_sum({'loss': loss, **terms}, axis_name)

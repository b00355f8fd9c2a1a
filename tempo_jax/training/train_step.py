"""One optimisation step of one level: loss of a batch, gradient, update."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tempo_jax import config as config_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import batching
from tempo_jax.training import examples, objectives, train_state


def teacher_forcing(config: Any, step: jax.Array) -> jax.Array:
  """Probability that the next input window is the true one, falling linearly with the step."""
  fraction = jnp.clip(step / config.train.teacher_forcing_steps, 0.0, 1.0)
  first, last = config.train.teacher_forcing_start, config.train.teacher_forcing_end
  return first + (last - first) * fraction


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
  """Loss sums of one example, by name: `objectives.Objective`.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    example: true states.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] probability of teacher forcing.
    rng: a key.
  """
  start_rng, *rngs = jax.random.split(rng, 4)
  window = examples.first_window(config, example, start_rng)
  following = jax.tree.map(lambda x: x[1:], example.windows)
  return objectives.of(config).example_loss(
    config, level, params, window, following, protein, temperature_K, forcing, rngs
  )


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
    totals: counts over all devices; the shares add up to the means over them.
    forcing: [] probability of teacher forcing.
    rngs: [B] keys.

  Returns:
    The share, and its terms.
  """
  side_chains = None
  if config_lib.has_side_chains(config.model):
    side_chains = rotamers.SideChains(batch.chi, batch.chi_known)

  def one_example(positions, side_chains, stretch, anchor, protein, temperature_K, dt_ns, rng):
    protein = examples.with_hidden_solvent(protein, jax.random.fold_in(rng, 5))
    example = examples.make_example(config.model, positions, anchor, protein, side_chains)
    prior = examples.prior_of(
      config.model, stretch, protein, temperature_K, jax.random.fold_in(rng, 4)
    )
    example = dataclasses.replace(example, prior=prior)
    own_level = dataclasses.replace(level, dt_ns=dt_ns)
    return example_loss(config, own_level, params, example, protein, temperature_K, forcing, rng)

  sums = jax.vmap(one_example)(
    batch.positions,
    side_chains,
    batch.stretch,
    batch.anchor,
    batch.protein,
    batch.temperature_K,
    batch.dt_ns,
    rngs,
  )
  terms = {name: jnp.sum(value) / totals[name] for name, value in sums.items()}
  weights = objectives.of(config).weights(config)
  loss = sum((weight * terms[name] for name, weight in weights.items()), jnp.zeros(()))
  return loss, terms


def _all_sum(tree: Any, axis_name: str | None) -> Any:
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _totals(config: Any, batch: batching.Batch, axis_name: str | None) -> dict[str, jax.Array]:
  """Counts of the whole batch."""
  counts = jax.vmap(objectives.of(config).counts)(batch.protein)
  totals = _all_sum(jax.tree.map(jnp.sum, counts), axis_name)
  # Of side chains there may be none.
  return jax.tree.map(lambda x: jnp.maximum(x, 1.0), totals)


def _rngs(batch: batching.Batch, rng: jax.Array, axis_name: str | None) -> jax.Array:
  """A key per example: noise belongs to it, wherever and with whichever others it is computed."""
  size = batch.temperature_K.shape[0]
  offset = 0 if axis_name is None else jax.lax.axis_index(axis_name) * size
  return jax.vmap(lambda i: jax.random.fold_in(rng, i))(offset + jnp.arange(size))


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
  the differentiated function would be differentiated too. With `config.train.accumulation_steps`
  the batch is worked through in as many parts, whose gradients add up to the same.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    batch: this device's examples.
    step: [] int32, sets the teacher forcing.
    rng: a key, the same on all devices.
    axis_name: device axis to reduce over.

  Returns:
    Metrics 'loss' and those of the objective, and the gradient.
  """
  totals, rngs = _totals(config, batch, axis_name), _rngs(batch, rng, axis_name)
  forcing = teacher_forcing(config, step)

  def of_part(batch, rngs):
    (loss, terms), gradient = jax.value_and_grad(
      lambda p: batch_loss(config, level, p, batch, totals, forcing, rngs), has_aux=True
    )(params)
    return {'loss': loss, **terms}, gradient

  count = config.train.accumulation_steps
  if count == 1:
    return _all_sum(of_part(batch, rngs), axis_name)
  parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (batch, rngs))
  shapes = jax.eval_shape(of_part, *jax.tree.map(lambda x: x[0], parts))
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def add(sums, part):
    return jax.tree.map(jnp.add, sums, of_part(*part)), None

  return _all_sum(jax.lax.scan(add, zeros, parts)[0], axis_name)


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
  totals, rngs = _totals(config, batch, axis_name), _rngs(batch, rng, axis_name)
  loss, terms = batch_loss(config, level, params, batch, totals, jnp.zeros(()), rngs)
  return _all_sum({'loss': loss, **terms}, axis_name)

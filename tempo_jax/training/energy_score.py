"""The energy score of unrolled samples (Gneiting & Raftery 2007, eq. 22), without alignment.

Proper for the coordinates of every atom in every residue's frame over the T frames of a window,
not for the joint motion of all of them. Used for weather ensembles at one pass per step (Lang
et al., FGN, arXiv 2506.10772); here through the sampler as it is, closure included.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import transitions
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import backbone
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import examples

# Å^2: two samples that agree exactly have no derivative of their distance.
_SMALL = 1e-8


def _seen_from(states: state_lib.State, viewers: jax.Array) -> jax.Array:
  """Coordinates of all atoms in the frames of some residues.

  Args:
    states: [T, L].
    viewers: [V] residue indices.

  Returns:
    [V, 4 L, 3 T] Å.
  """
  num_frames, length = states.psi.shape
  atoms = backbone.atoms_in_frames(states.frames, states.psi, states.n_ca_c)
  atoms = atoms.reshape(num_frames, 1, 4 * length, 3)
  seen = states.frames[:, viewers, None].apply_inverse(atoms)  # [T, V, 4 L, 3]
  return jnp.moveaxis(seen, 0, 2).reshape(viewers.shape[0], 4 * length, 3 * num_frames)


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.sqrt(jnp.sum((a - b) ** 2, axis=-1) + _SMALL)


def pair_units(start: state_lib.State, viewers: jax.Array, level: level_lib.Level) -> jax.Array:
  """What independent motions of one step's spread would make of each pair.

  In these units the lever of a distant pair does not drown the near ones. They come from the state
  before the step: were they to depend on what happened, the score would no longer be proper.

  Args:
    start: [L] state that the rollout starts from.
    viewers: [V] residue indices.
    level: the level's scalars.

  Returns:
    [V, 4 L] Å.
  """
  seen = _seen_from(jax.tree.map(lambda x: x[None], start), viewers)
  lever = level.rotation_std**2 * jnp.sum(seen**2, axis=-1)
  return jnp.sqrt(3.0 * (2.0 * level.translation_std**2 + lever))


def window_score(
  samples: state_lib.State,
  true: state_lib.State,
  viewers: jax.Array,
  units: jax.Array,
  mask: jax.Array,
) -> jax.Array:
  """Energy score of M samples of a window, pair by pair, averaged over what each viewer sees.

  Args:
    samples: [M, T, L], M of at least 2.
    true: [T, L].
    viewers: [V] residue indices.
    units: [V, 4 L] Å, from `pair_units`.
    mask: [L] bool.

  Returns:
    [V].
  """
  seen = jax.vmap(_seen_from, (0, None))(samples, viewers)  # [M, V, 4 L, 3 T]
  truth = _seen_from(true, viewers)
  number = seen.shape[0]
  miss = jnp.mean(_distance(seen, truth[None]), axis=0)
  spread = jnp.zeros_like(miss)
  for shift in range(1, number):
    spread = spread + jnp.mean(_distance(seen, jnp.roll(seen, shift, axis=0)), axis=0)
  score = miss - 0.5 * spread / (number - 1)  # [V, 4 L]
  weight = jnp.repeat(mask, 4).astype(score.dtype)
  return jnp.sum(score / units * weight[None], axis=1) / jnp.sum(weight)


def check(config: Any) -> None:
  """Raises `InputError` for an experiment with a single sample."""
  if config.train.draws < 2:
    raise InputError(
      f'config.train.draws = {config.train.draws}: the energy score compares samples: at least 2 '
      'are needed'
    )


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
) -> dict[str, jax.Array]:
  """Loss sums of one example: `config.train.draws` rollouts scored against what happened.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    window: [T, L] to begin with.
    following: [U, T, L] true states of the windows after it.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] not used: samples follow their own predictions.
    rngs: three keys.

  Returns:
    'error': summed over residues, averaged over the unrolled windows.
  """
  del forcing
  step = transitions.make_step(config.model, level)
  sigma_rng, view_rng, draw_rng = rngs
  sigma = examples.draw_sigma(level, sigma_rng)
  unroll = config.train.unroll

  def one_pass(window, rng):
    window = step(params, window, protein, sigma, temperature_K, rng)
    return window, window.states

  if config.train.rematerialise:
    one_pass = jax.checkpoint(one_pass)

  def one_rollout(rng):
    return jax.lax.scan(one_pass, window, jax.random.split(rng, unroll))[1]

  samples = jax.vmap(one_rollout)(jax.random.split(draw_rng, config.train.draws))  # [M, U, T, L]
  length = protein.mask.shape[0]
  count = min(length, config.train.viewers)
  # Residues in random order, padding last.
  order = jnp.argsort(jax.random.uniform(view_rng, (length,)) + jnp.where(protein.mask, 0.0, 2.0))
  viewers = order[:count]
  units = pair_units(window.states[-1], viewers, level)
  scores = jax.vmap(lambda s, t: window_score(s, t, viewers, units, protein.mask), (1, 0))(
    samples, following
  )  # [U, V]
  present = protein.mask[viewers].astype(jnp.float32)
  score = jnp.sum(jnp.mean(scores, axis=0) * present) / jnp.maximum(jnp.sum(present), 1.0)
  return {'error': score * jnp.sum(protein.mask)}

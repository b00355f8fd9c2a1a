"""Flow matching (Lipman et al. 2023): regression of where the line from noise to y ends.

The window is encoded once; the light head is trained at several points of several lines.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import generator, transition, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import examples

# Nearer to the data than this nothing is left to learn, and the weight of an error diverges.
_LAST_TAU = 0.99


def superposed_on(
  newest: state_lib.State, states: state_lib.State, mask: jax.Array
) -> state_lib.State:
  """States [T, L], each superposed on the newest one [L] by CA: tumbling is not learnt."""
  motion = alignment.superpose(
    states.frames.translation,
    newest.frames.translation[None],
    jnp.broadcast_to(mask.astype(jnp.float32), states.psi.shape),
  )
  return states.with_frames(motion[:, None] @ states.frames)


def line_error(
  end: Callable[[jax.Array, jax.Array], jax.Array],
  true: jax.Array,
  num_draws: int,
  rng: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Squared error of `end` at points of several lines from noise to the true numbers.

  Args:
    end: of z_tau and tau, the mean of y given z_tau (`generator.follow` samples from it).
    true: [T, L, 7] y.
    num_draws: lines.
    rng: a key.

  Returns:
    Errors [T, L] of the motions, mean over the six and the lines, of variance 1 before anything
    is learnt; and of psi, rad^2, where it is free.
  """
  tau_rng, noise_rng = jax.random.split(rng)
  # One tau in each part of the unit interval.
  tau = (jnp.arange(num_draws) + jax.random.uniform(tau_rng)) / num_draws

  def one_line(tau, rng):
    noise = generator.draw_noise(rng, *true.shape[:2])
    way = true - noise
    # The angle goes the short way round.
    turn = jnp.arctan2(jnp.sin(way[..., 6:]), jnp.cos(way[..., 6:]))
    way = jnp.concatenate([way[..., :6], turn], axis=-1)
    miss = end(noise + tau * way, tau) - (noise + way)
    _, scale = generator.preconditioning(tau)
    return jnp.mean((miss[..., :6] / scale) ** 2, axis=-1), (miss[..., 6] / (1.0 - tau)) ** 2

  errors = jax.vmap(one_line)(_LAST_TAU * tau, jax.random.split(noise_rng, num_draws))
  return jax.tree.map(lambda x: jnp.mean(x, axis=0), errors)


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
  """Loss sums of one example: the first window and the one that follows it.

  Args:
    config: the experiment's configuration, frozen.
    level: the level's scalars.
    params: its parameters.
    window: [T, L] to begin with.
    following: [1, T, L] true states of the next window.
    protein: [L] residues.
    temperature_K: [] K.
    forcing: [] not used: every input is a true window.
    rngs: three keys.

  Returns:
    'error': summed over residues, averaged over frames and draws; 1 for a network that knows
    nothing but the spread of one step.
  """
  del forcing
  network: Any = generator.Generator(config.model)
  sigma_rng, noise_rng, line_rng = rngs
  sigma = examples.draw_sigma(level, sigma_rng)
  noised = transition.noised_window(window, sigma, level, protein, noise_rng)
  newest = noised.states[-1]
  true = update.motions(newest, superposed_on(newest, following[0], protein.mask), level)

  variables = {'params': params}
  hidden = network.apply(
    variables, noised, protein, sigma, level.dt_ns, temperature_K, method='encode'
  )

  def end(numbers: jax.Array, tau: jax.Array) -> Any:
    return network.apply(variables, hidden, noised, numbers, tau, level, protein, method='end')

  motion, angle = line_error(end, true, config.train.draws, line_rng)
  free = (protein.mask & ~protein.bonds.to_next)[None, :]
  error = jnp.mean(motion + jnp.where(free, angle, 0.0), axis=0)
  return {'error': jnp.sum(jnp.where(protein.mask, error, 0.0))}

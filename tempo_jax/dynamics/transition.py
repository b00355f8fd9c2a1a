"""One step of the SDE dX = mu(X) dt + sigma dW (paper, section 3) as a pure function.

A step first adds the noise, X~ = X + sigma eps. With `objective = mse` the learned drift
follows: X' = X~ + f(X~). The network was trained on exactly such noised windows, so that it
takes out of X~ what is not protein-like and keeps what is; the emitted frames carry no raw
noise. With the generative objectives X' is drawn from what was learnt of p(X' | X~); the noise
then only says how far the window may be from data. `closure` puts either onto closed chains.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import chain_closure, drift, generator, steric, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prediction:
  """Result of one step.

  Attributes:
    window: the next T states, all known.
    vector: [T, L, 13] the predicted numbers before projection (`update_rule = global`), which the
      paper's loss compares; the states' vector otherwise.
  """

  window: state_lib.Window
  vector: jax.Array


Step = Callable[..., Prediction]


@functools.lru_cache(maxsize=8)
def _initialiser(config: Any) -> Callable[[jax.Array], Any]:
  length = 4
  protein = protein_lib.ProteinArrays(
    residue_type=jnp.zeros(length, jnp.int32),
    residue_index=jnp.arange(length, dtype=jnp.int32),
    chain_index=jnp.zeros(length, jnp.int32),
    bonded=jnp.arange(length) < length - 1,
    mask=jnp.ones(length, bool),
    positions=jnp.zeros((length, 4, 3)),
  )
  state = state_lib.State(rigid.Rigid.identity((length,)), jnp.zeros((length, 3)))
  anchor = initial_anchor(config, config.levels[0], state)
  window = state_lib.start_window(state, config.window, anchor)
  scalar = jnp.ones(())
  network: Any
  inputs: Any
  if config.objective == 'mse':
    network = drift.Drift(config)
    inputs = (window, window.states, protein, scalar, scalar, scalar)
  else:
    network = generator.Generator(config)
    noise = jnp.zeros((config.window, length, generator.NUM_NUMBERS))
    level = level_lib.Level.of(config, config.levels[0])
    inputs = (window, noise, level, protein, scalar, scalar)
  # Shapes instead of arrays: initialisers are compiled, the network is not.
  shapes = jax.eval_shape(lambda: inputs)
  return jax.jit(lambda rng: network.lazy_init(rng, *shapes)['params'])


def initial_anchor(config: Any, level_name: str, state: state_lib.State) -> state_lib.Anchor | None:
  """What a level that sets out from a state [L] keeps in sight, unless its segment has an end."""
  if config.anchors == 'start':
    return None
  if config.reference and level_name == config.levels[0]:
    return state_lib.reference(state)
  return state_lib.no_anchor(state)


def init_params(config: Any, rng: jax.Array) -> Any:
  """Fresh parameters of one level's network.

  Args:
    config: the model's configuration, frozen.
    rng: a key.
  """
  return _initialiser(config)(rng)


def noised_window(
  window: state_lib.Window,
  sigma: jax.Array,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
  rng: jax.Array,
) -> state_lib.Window:
  """The window after the noise of a step (`state.perturb`), its anchor superposed."""
  states = state_lib.perturb(window.states, sigma, level, protein.bonded, rng)
  anchor = window.anchor
  if anchor is not None:
    anchor = anchor.superposed_on(states[-1], protein.mask)
  return state_lib.Window(states, window.known, anchor)


def make_step(config: Any, level: level_lib.Level) -> Step:
  """The transition of one level.

  Args:
    config: the model's configuration, frozen.
    level: its time step and scales.

  Returns:
    step(params, window, protein, sigma, temperature_K, rng) -> Prediction, pure, for one
    protein; sigma is a scalar.
  """
  mean, sampler = drift.Drift(config), generator.Generator(config)

  def step(
    params: Any,
    window: state_lib.Window,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    temperature_K: jax.Array,
    rng: jax.Array,
  ) -> Prediction:
    bonded = protein.bonded
    sigma = jnp.asarray(sigma, jnp.float32)
    temperature_K = jnp.asarray(temperature_K, jnp.float32)
    vector = None
    if config.objective == 'mse':
      noised = noised_window(window, sigma, level, protein, rng)
      output: Any = mean.apply(
        {'params': params}, noised, window.states, protein, sigma, level.dt_ns, temperature_K
      )
      newest = noised.states[-1]
      if config.update_rule == 'local':
        states = update.apply_local(newest, output, level, bonded)
      else:
        vector = update.apply_global(newest, output)
        states = state_lib.from_vector(vector, bonded)
    else:
      window_rng, noise_rng = jax.random.split(rng)
      noised = noised_window(window, sigma, level, protein, window_rng)
      noise = generator.draw_noise(noise_rng, config.window, bonded.shape[0])
      states = generator.draw(
        sampler, params, noised, protein, level, sigma, temperature_K, noise, config.passes
      )
    if config.closure:
      cis = chain_closure.cis_peptides(protein.positions, bonded)
      frames = steric.separated_chains(states.frames, states.psi, bonded, cis, protein.mask)
      states = state_lib.from_frames(frames, states.psi, bonded)
    if vector is None:
      vector = state_lib.to_vector(states)
    return Prediction(window.followed_by(states), vector)

  return step

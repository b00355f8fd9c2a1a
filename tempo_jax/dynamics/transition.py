"""The default transition: the next T frames are drawn, given the last T.

A step first adds the noise of the process, X~ = X + sigma eps (paper, section 3), and then draws X'
from what was learnt of p(X' | X~): the noise only says how far the window may be from data.
`closure` puts the result onto closed chains. `tempo_jax.paper.transition` predicts X' instead;
`tempo_jax.transitions` chooses between the two.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import (
  chain_closure,
  generator,
  hops,
  molecule,
  rotamers,
  side_chain_relief,
  steric,
)
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib

# (params, window, protein, sigma, temperature_K, rng) -> the window of the next T states: one step
# of one level, pure, for one protein; sigma and the temperature (K) are scalars.
Step = Callable[..., state_lib.Window]


def noised_window(
  window: state_lib.Window,
  sigma: jax.Array,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
  rng: jax.Array,
) -> state_lib.Window:
  """The window after the noise of a step (`state.perturb`), its anchor superposed."""
  states = state_lib.perturb(window.states, sigma, level, protein, rng)
  anchor = window.anchor
  if anchor is not None:
    anchor = anchor.superposed_on(states[-1], protein.mask)
  return state_lib.Window(states, window.known, anchor, window.prior)


def closed(
  config: Any, states: state_lib.State, protein: protein_lib.ProteinArrays
) -> state_lib.State:
  """States [T, L], chains closed and atoms that overlap parted, if the model wants that."""
  if not config.closure:
    return states
  cis = chain_closure.cis_peptides(protein.positions, protein.bonds)
  if states.side_chains is not None:
    states = _relieved(states, rotamers.closed(states.side_chains, protein.residue_type), protein)
  frames, n_ca_c = steric.separated_chains(states, protein, cis)
  states = state_lib.from_frames(frames, states.psi, protein.bonds, n_ca_c, states.side_chains)
  if states.side_chains is not None:
    states = _relieved(states, states.side_chains, protein)
  return states


def _relieved(
  states: state_lib.State,
  side_chains: rotamers.SideChains,
  protein: protein_lib.ProteinArrays,
) -> state_lib.State:
  """The states [T, L] with these side chains, turned apart where they overlap."""
  backbone = state_lib.to_positions(states)
  chi = molecule.relieved_chi(backbone, side_chains.chi, protein, side_chain_relief.STIFF)
  relieved = rotamers.SideChains(rotamers.wrapped(chi), side_chains.known)
  return dataclasses.replace(states, side_chains=relieved)


def smallest_inputs(config: Any) -> tuple[state_lib.Window, protein_lib.ProteinArrays]:
  """A window and a protein of four residues: what the shapes of parameters are taken from."""
  length = 4
  protein = protein_lib.ProteinArrays(
    residue_type=jnp.zeros(length, jnp.int32),
    residue_index=jnp.arange(length, dtype=jnp.int32),
    chain_index=jnp.zeros(length, jnp.int32),
    bonded=jnp.arange(length) < length - 1,
    mask=jnp.ones(length, bool),
    positions=jnp.zeros((length, 4, 3)),
  )
  side_chains = None
  if config_lib.has_side_chains(config):
    side_chains = rotamers.unknown(protein.residue_type)
  state = state_lib.from_frames(
    rigid.Rigid.identity((length,)),
    jnp.zeros(length),
    jnp.zeros(length, bool),
    side_chains=side_chains,
  )
  anchor = None
  if config.anchors == 'both':
    anchor = state_lib.Anchor(state, anchor_lib.at_end(1))
  return state_lib.start_window(state, config.window, anchor), protein


def initialiser(network: Any, *inputs: Any) -> Callable[[jax.Array], Any]:
  """The jitted function from a key to fresh parameters of a linen module."""
  # Shapes instead of arrays: initialisers are compiled, the network is not.
  shapes = jax.eval_shape(lambda: inputs)
  return jax.jit(lambda rng: network.lazy_init(rng, *shapes)['params'])


@functools.lru_cache(maxsize=8)
def _initialiser(config: Any) -> Callable[[jax.Array], Any]:
  window, protein = smallest_inputs(config)
  level, scalar = level_lib.Level.of(config, config.levels[0]), jnp.ones(())
  noise = jnp.zeros((config.window, *protein.mask.shape, generator.num_numbers(config)))
  step = generator.Step(noise)
  if config_lib.has_side_chains(config):
    wells = jnp.zeros((*noise.shape[:2], rotamers.NUM_CHI), jnp.int32)
    step = generator.Step(noise, wells)
  network = generator.Generator(config)
  return initialiser(network, window, step, level, protein, scalar, scalar)


def init_params(config: Any, rng: jax.Array) -> Any:
  """Fresh parameters of one level's network, from a key."""
  return _initialiser(config)(rng)


def make_step(config: Any, level: level_lib.Level) -> Step:
  """The step of one level, of the time step and scales in `level`."""
  network = generator.Generator(config)

  def step(params, window, protein, sigma, temperature_K, rng):
    sigma = jnp.asarray(sigma, jnp.float32)
    temperature_K = jnp.asarray(temperature_K, jnp.float32)
    window_rng, noise_rng = jax.random.split(rng)
    noised = noised_window(window, sigma, level, protein, window_rng)
    expected = expected_lib.of_step(noised, level, temperature_K, protein)
    newest = noised.states[-1]
    noise = generator.draw_noise(noise_rng, config.window, newest, expected, protein)
    states = generator.draw(
      network, params, noised, protein, level, expected, sigma, temperature_K, noise, config.passes
    )
    if config.closure:
      states = hops.taken_back(states, newest, protein)
    return window.followed_by(closed(config, states, protein))

  return step

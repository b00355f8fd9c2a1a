"""Side chains on the backbones of a trajectory that is given, frame after frame.

The same network as in sampling: it draws the side chains of the next frames from those before,
with the backbone of the next frames at the end of its line. What is drawn on one frame therefore
goes on in the next one, and does not flicker.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, hops, molecule, rotamers, side_chain_relief
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import alignment
from tempo_jax.protein import protein as protein_lib

_BLOCK_FRAMES = 64


def block_frames(config: Any) -> int:
  """Frames that are placed at once: a multiple of the window."""
  return max(_BLOCK_FRAMES // config.window, 1) * config.window


def level_for(config: Any, spacing_ns: float | None) -> str:
  """The level whose time step is nearest to that of the frames; the coarsest where it is unknown.

  Args:
    config: the model's configuration.
    spacing_ns: between frames, ns; None: not known.
  """
  if spacing_ns is None:
    return config.levels[0]
  steps = {name: config.level[name].dt_ns for name in config.levels}
  return min(steps, key=lambda name: abs(math.log(steps[name] / spacing_ns)))


def begin(config: Any, level_name: str, protein: protein_lib.ProteinArrays) -> state_lib.Window:
  """The window that the first frames follow: the protein's conformation, its chi where known.

  Args:
    config: the model's configuration.
    level_name: from `level_for`.
    protein: [L] residues.

  Returns:
    The window.
  """
  start = state_lib.of_model(
    config, jnp.asarray(protein.positions), protein, rotamers.of_protein(protein)
  )
  anchor = None
  if config.anchors == 'both':
    is_reference = config.reference and level_name == config.levels[0]
    kind = anchor_lib.Kind.REFERENCE if is_reference else anchor_lib.Kind.NONE
    anchor = state_lib.Anchor(start, anchor_lib.Place(jnp.int32(kind), jnp.int32(0)))
  prior = None
  if config.prior == 'elastic':
    prior = expected_lib.make_prior(config, jnp.asarray(protein.positions), protein)
  return state_lib.start_window(start, config.window, anchor, prior)


def make_placer(config: Any, level_name: str) -> Callable[..., Any]:
  """The jitted function that draws the side chains of some frames.

  Args:
    config: the model's configuration, frozen or not.
    level_name: which level's network.

  Returns:
    placer(params of the level, window, protein, positions [F, L, 4, 3] Å, rng, temperature_K) ->
    chi [F, L, 4] rad and the window that the next frames follow; F is a multiple of the window.

  Raises:
    InputError: the model has no side chains.
  """
  config_lib.check(config)
  if not config_lib.has_side_chains(config):
    raise InputError('this model has no side chains: take one that was trained with them')
  config = config_lib.freeze(config)
  network = generator.Generator(config)
  level = level_lib.Level.of(config, level_name)
  sigma = jnp.float32(0.0)

  def superposed(positions, onto, weights):
    """Each frame on the one before: tumbling says nothing of side chains."""

    def one(before, frame):
      frame = alignment.superpose(frame[:, 1], before, weights)[None, None].apply(frame)
      return frame[:, 1], frame

    return jax.lax.scan(one, onto, positions)[1]

  def placer(params, window, protein, positions, rng, temperature_K):
    protein = jax.tree.map(jnp.asarray, protein)
    newest = window.states[-1].frames.translation
    positions = superposed(positions, newest, protein.mask.astype(jnp.float32))
    states = state_lib.of_model(config, positions, protein)
    states = jax.tree.map(lambda x: x.reshape(-1, config.window, *x.shape[1:]), states)

    def step(window, inputs):
      following, rng = inputs
      anchor = window.anchor
      if anchor is not None:
        anchor = anchor.superposed_on(window.states[-1], protein.mask)
      seen = dataclasses.replace(window, anchor=anchor)
      temperature = jnp.asarray(temperature_K, jnp.float32)
      expected = expected_lib.of_step(seen, level, temperature, protein)
      noise = generator.draw_noise(rng, config.window, window.states[-1], expected, protein)
      drawn = generator.draw(
        network,
        params,
        seen,
        protein,
        level,
        expected,
        sigma,
        temperature,
        noise,
        config.passes,
        backbone_of=following,
      )
      if config.closure:
        drawn = hops.taken_back(drawn, window.states[-1], protein)
      side_chains = drawn.side_chains
      assert side_chains is not None
      if config.closure:
        side_chains = rotamers.closed(side_chains, protein.residue_type)
        drawn = dataclasses.replace(drawn, side_chains=side_chains)
      return window.followed_by(drawn), side_chains.chi

    rngs = jax.random.split(rng, states.psi.shape[0])
    window, chi = jax.lax.scan(step, window, (states, rngs))
    chi = chi.reshape(-1, *chi.shape[2:])
    if config.closure:
      # All frames at once; the backbones, which are given, are what the next step goes by.
      chi = rotamers.wrapped(
        molecule.relieved_chi(positions, chi, protein, side_chain_relief.LOOSE)
      )
    return chi, window

  return jax.jit(placer)


# Compiled once per process and setting.
_placer = functools.lru_cache(maxsize=8)(make_placer)


def place(
  config: Any,
  params: Mapping[str, Any],
  protein: protein_lib.ProteinArrays,
  blocks: Iterable[np.ndarray],
  spacing_ns: float | None,
  rng: jax.Array,
  temperature_K: float,
) -> Iterator[np.ndarray]:
  """Side chains of any number of frames, block by block.

  Args:
    config: the model's configuration, frozen.
    params: parameters per level name.
    protein: [L] residues, padded; its conformation is the one before the first frame where its
      side chains are known, else only its residues are read.
    blocks: [F, L, 4, 3] Å each, padded; F is `block_frames`, but for the last one, which may be
      shorter.
    spacing_ns: between frames, ns; None: not known.
    rng: a key.
    temperature_K: K.

  Yields:
    [F, L, 4] rad of each block; 0 where a residue has no such torsion.
  """
  name = level_for(config, spacing_ns)
  placer = _placer(config, name)
  size = block_frames(config)
  window = None
  for number, positions in enumerate(blocks):
    if window is None:
      if protein.chi_known is None or not np.any(protein.chi_known):
        protein = dataclasses.replace(protein, positions=positions[0])
      window = begin(config, name, protein)
    # One program for all blocks: the last one is filled up with its last frame.
    filled = np.concatenate([positions, np.repeat(positions[-1:], size - len(positions), axis=0)])
    key = jax.random.fold_in(rng, number)
    chi, window = placer(params[name], window, protein, filled, key, np.float32(temperature_K))
    yield np.asarray(chi)[: len(positions)]

"""Autoregressive rollout of one level: each pass of the network yields the next T frames."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import transitions
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import settings


@dataclasses.dataclass(frozen=True)
class Run:
  """What stays the same through all levels of a trajectory.

  Attributes:
    config: the model's configuration, frozen.
    params: parameters per level name.
    protein: [L] residues.
    temperature_K: [] temperature, K.
    rng: a key; every level, segment and pass draws from it by its number.
    batch_sizes: how much is computed at once.
  """

  config: Any
  params: Mapping[str, Any]
  protein: protein_lib.ProteinArrays
  temperature_K: jax.Array  # noqa: N815
  rng: jax.Array
  batch_sizes: settings.BatchSizes = settings.DEFAULT

  def rng_of(self, level_name: str) -> jax.Array:
    """The key of a level."""
    return jax.random.fold_in(self.rng, self.config.levels.index(level_name))


def rollout(
  run: Run,
  level_name: str,
  window: state_lib.Window,
  start: state_lib.State,
  num_frames: int,
  rng: jax.Array,
  first_pass: int | jax.Array = 0,
) -> tuple[state_lib.State, state_lib.Window]:
  """Continues a window by `num_frames` frames of a level.

  Args:
    run: the model, the protein and its temperature.
    level_name: the level.
    window: the T states to start from.
    start: [L] tells which peptide bonds are cis.
    num_frames: frames wanted; any number of at least 1.
    rng: a key. Each pass draws from it by its number, so that a rollout may be cut in pieces.
    first_pass: number of the first pass, where earlier ones led to the window.

  Returns:
    States [num_frames, L], and the window to go on from; it follows the states if their number
    is a multiple of T.
  """
  level = level_lib.Level.of(run.config, level_name)
  step, params = transitions.make_step(run.config, level), run.params[level_name]
  protein = dataclasses.replace(run.protein, positions=state_lib.to_positions(start))
  frames_per_pass = window.known.shape[0]
  num_passes = -(-num_frames // frames_per_pass)

  def one_pass(window, index):
    key = jax.random.fold_in(rng, index)
    window = step(params, window, protein, level.noise_sample, run.temperature_K, key)
    return window, window.states

  window, states = jax.lax.scan(one_pass, window, first_pass + jnp.arange(num_passes))
  # [passes, T, L] -> [passes * T, L], cut to what was asked for.
  states = jax.tree.map(
    lambda x: x.reshape(num_passes * frames_per_pass, *x.shape[2:])[:num_frames], states
  )
  return states, window

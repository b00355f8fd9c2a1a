"""Autoregressive rollout of one level: each pass of the network yields the next T frames."""

from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import transition
from tempo_jax.protein import protein as protein_lib


def rollout(
  step: transition.Step,
  params: Any,
  window: state_lib.Window,
  protein: protein_lib.ProteinArrays,
  num_frames: int,
  sigma: jax.Array,
  temperature_K: jax.Array,
  rng: jax.Array,
  first_pass: int | jax.Array = 0,
) -> tuple[state_lib.State, state_lib.Window]:
  """Continues a window by `num_frames` frames.

  Args:
    step: transition of the level (`transitions.make_step`).
    params: its parameters.
    window: the T states to start from.
    protein: [L] residues.
    num_frames: frames wanted; any number of at least 1.
    sigma: [] noise scale.
    temperature_K: [] temperature, K.
    rng: a key. Each pass draws from it by its number, so that a rollout may be cut in pieces.
    first_pass: number of the first pass, where earlier ones led to the window.

  Returns:
    States [num_frames, L], and the window to go on from; it follows the states if their number
    is a multiple of T.
  """
  frames_per_pass = window.known.shape[0]
  num_passes = -(-num_frames // frames_per_pass)

  def one_pass(window, index):
    key = jax.random.fold_in(rng, index)
    window = step(params, window, protein, sigma, temperature_K, key)
    return window, window.states

  window, states = jax.lax.scan(one_pass, window, first_pass + jnp.arange(num_passes))
  # [passes, T, L] -> [passes * T, L], cut to what was asked for.
  states = jax.tree.map(
    lambda x: x.reshape(num_passes * frames_per_pass, *x.shape[2:])[:num_frames], states
  )
  return states, window

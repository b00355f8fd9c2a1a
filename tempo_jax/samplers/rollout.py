"""Autoregressive rollout of one level: each pass of the network yields the next T frames."""

from typing import Any

import jax

from tempo_jax import protein as protein_lib
from tempo_jax.dynamics import sde
from tempo_jax.dynamics import state as state_lib


def rollout(
  step: sde.Step,
  params: Any,
  window: state_lib.Window,
  protein: protein_lib.ProteinArrays,
  num_frames: int,
  sigma: jax.Array,
  temperature_K: jax.Array,
  rng: jax.Array,
) -> state_lib.State:
  """Continues a window by `num_frames` frames.

  Args:
    step: transition of the level (`sde.make_step`).
    params: its parameters.
    window: the T states to start from.
    protein: [L] residues.
    num_frames: frames wanted; any number of at least 1.
    sigma: [] noise scale.
    temperature_K: [] temperature, K.
    rng: a key.

  Returns:
    States [num_frames, L].
  """
  frames_per_pass = window.known.shape[0]
  num_passes = -(-num_frames // frames_per_pass)

  def one_pass(window, rng):
    window = step(params, window, protein, sigma, temperature_K, rng).window
    return window, window.states

  _, states = jax.lax.scan(one_pass, window, jax.random.split(rng, num_passes))
  # [passes, T, L] -> [passes * T, L], cut to what was asked for.
  return jax.tree.map(
    lambda x: x.reshape(num_passes * frames_per_pass, *x.shape[2:])[:num_frames], states
  )

"""Up-sampling: the finer levels fill in the frames between given coarse ones (paper, section 7)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.samplers import coarse_to_fine


def level_of_spacing(config: Any, spacing_ns: float) -> int:
  """Index of the level whose frames are `spacing_ns` apart and which has finer levels below.

  Raises:
    InputError: no level has that time step.
  """
  steps = [config.level[name].dt_ns for name in config.levels[:-1]]
  for index, dt_ns in enumerate(steps):
    if abs(dt_ns - spacing_ns) <= 1e-3 * dt_ns:
      return index
  known = ' or '.join(f'{dt:g}' for dt in steps) or 'nothing: it has a single level'
  raise InputError(
    f'the coarse frames are {spacing_ns:g} ns apart, but this model fills in frames between '
    f'frames that are {known} ns apart: stride the coarse trajectory to that, or take a model '
    'with that time step'
  )


def make_upsampler(
  config: Any, spacing_ns: float, segment_batch_size: int | None = None
) -> Callable[..., jax.Array]:
  """The jitted up-sampling function of a model.

  Args:
    config: the model's configuration, frozen or not.
    spacing_ns: time between the coarse frames, ns; the time step of a level but the finest.
    segment_batch_size: segments computed together; None: all.

  Returns:
    upsampler(params, protein_arrays, coarse_positions [S, L, 4, 3] Å, rng,
    temperature_K=320.0) -> [S * frames per segment, L, 4, 3] Å: after each coarse frame, the
    frames at dt, 2 dt, ... up to the time of the next.

  Raises:
    InputError: no level of the model has that time step, or the batch size is below 1.
  """
  config_lib.check(config)
  coarse_to_fine.check_at_least_one(segment_batch_size=segment_batch_size)
  config = config_lib.freeze(config)
  above = level_of_spacing(config, spacing_ns)
  ratios = config_lib.frames_per_segment(config)[above:]

  def upsampler(params, protein, coarse_positions, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    coarse_positions = jnp.asarray(coarse_positions)
    centre = coarse_to_fine.centre_of(coarse_positions[0], protein.mask)
    starts = state_lib.from_positions(
      coarse_positions - centre[None, None, None, :], protein.bonded
    )
    counts = np.cumprod(ratios) * coarse_positions.shape[0]
    states = coarse_to_fine.descend(
      config,
      config.levels[above + 1 :],
      ratios,
      [int(count) for count in counts],
      params,
      starts,
      protein,
      jnp.asarray(temperature_K, jnp.float32),
      rng,
      segment_batch_size,
    )
    return state_lib.to_positions(states) + centre[None, None, None, :]

  return jax.jit(upsampler)

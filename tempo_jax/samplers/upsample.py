"""Up-sampling: the finer levels fill in the frames between given coarse ones (paper, section 7)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.dynamics import expected, molecule, rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import alignment, rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine, schedule, segments, settings
from tempo_jax.samplers import rollout as rollout_lib
from tempo_jax.trajectory import atoms as atoms_lib


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


def _without_tumbling(
  states: state_lib.State, protein: protein_lib.ProteinArrays
) -> state_lib.State:
  """Superposes each of the states [S, L] on the one before it, by CA."""
  weights = protein.mask.astype(jnp.float32)

  def one(before, state):
    ca = state.frames.translation
    motion = alignment.superpose(ca, before, weights)
    frames = (motion[None] @ state.frames).orthonormalised()
    return frames.translation, state.with_frames(frames)

  return jax.lax.scan(one, states.frames.translation[0], states)[1]


def make_upsampler(
  config: Any,
  spacing_ns: float,
  segment_batch_size: int | None = None,
  atoms: str = atoms_lib.BACKBONE,
) -> Callable[..., jax.Array]:
  """The jitted up-sampling function of a model.

  Args:
    config: the model's configuration, frozen or not.
    spacing_ns: time between the coarse frames, ns; the time step of a level but the finest.
    segment_batch_size: segments computed together; None: what suits the device.
    atoms: 'backbone', or 'heavy' of a model with side chains.

  Returns:
    upsampler(params, protein_arrays, coarse_positions [S, L, 4, 3] Å, rng, temperature_K=320.0,
    coarse_chi=None [S, L, 4] rad) -> [S * frames per segment, L, 4, 3] Å, or all heavy atoms: after
    each coarse frame, the frames at dt, 2 dt, ... up to the time of the next. A model with anchors
    fills in what lies between the coarse frames, [(S - 1) * frames per segment, L, 4, 3] Å, and the
    last frame of each segment is the coarse frame, superposed by CA on the one before: two frames
    are a start and an end.

  Raises:
    InputError: no level of the model has that time step, or the batch size is below 1.
  """
  config_lib.check(config)
  settings.check_at_least_one(segment_batch_size=segment_batch_size)
  settings.atoms_of(config, atoms)
  config = config_lib.freeze(config)
  above = level_of_spacing(config, spacing_ns)
  ratios = config_lib.frames_per_segment(config)[above:]
  longest_ns = None
  if time_scales.has_any_step(config):
    # As in training: that of the levels for the whole range, not of those between the frames.
    longest_ns = time_scales.steps_ns(config.lags_ns, config.level[config.levels[-1]].dt_ns)[0]

  def upsampler(params, protein, coarse_positions, rng, temperature_K=320.0, coarse_chi=None):
    protein = jax.tree.map(jnp.asarray, protein)
    coarse_positions = jnp.asarray(coarse_positions)
    centre = coarse_to_fine.centre_of(coarse_positions[0], protein.mask)
    coarse_positions = coarse_positions - centre[None, None, None, :]
    side_chains = None
    if coarse_chi is not None:
      there = rotamers.free(protein.residue_type)
      chi = jnp.where(there, coarse_chi, 0.0)
      side_chains = rotamers.SideChains(chi, jnp.broadcast_to(there, chi.shape))
    given = state_lib.of_model(config, coarse_positions, protein, side_chains)
    anchored = config.anchors == 'both'
    num_segments = coarse_positions.shape[0] - (1 if anchored else 0)
    if num_segments < 1:
      raise InputError(
        'this model fills in the motion between frames: give at least two coarse frames'
      )
    if anchored:
      given = _without_tumbling(given, protein)
    counts = [int(count) for count in np.cumprod(ratios) * num_segments]
    segments_above = counts[-2] if len(counts) > 1 else num_segments
    batch = coarse_to_fine.batch_of(
      segment_batch_size, config, segments_above, ratios[-1], protein.mask.shape[0]
    )
    planner = schedule.Planner(range(coarse_positions.shape[0]), len(given.psi), config.window)
    starts: list[int] = []
    for level, (ratio, count) in enumerate(zip(ratios, counts, strict=True)):
      if anchored:
        starts = planner.fill(level, ratio, count, batch)
      else:
        planner.descend(level, ratio, count, level == len(ratios) - 1, batch)
    temperature = jnp.asarray(temperature_K, jnp.float32)
    params = rollout_lib.stacked(params, config.levels[above + 1 :])
    run = rollout_lib.Run(config, params, protein, temperature, rng)
    known = jnp.ones(len(given.psi), bool)
    prior = None
    if config.prior == 'elastic':
      prior = expected.make_prior(config, coarse_positions[0], protein, longest_ns=longest_ns)
      # Where so many conformations are given, their mean.
      ca = given.frames.translation
      onto = alignment.superpose(ca, ca[:1], jnp.asarray(protein.mask, jnp.float32)[None])
      prior = dataclasses.replace(prior, centre=jnp.mean(onto[:, None].apply(ca), axis=0))
    rows = rollout_lib.compute(
      run,
      config.levels[above + 1 :],
      planner.ticks(batch),
      *rollout_lib.with_room(given, known, planner.num_rows),
      prior=prior,
    )
    states = rows[np.array(planner.states[1:] if anchored else planner.states)]
    if anchored:
      carried = rigid.Rigid.identity((1,))
      states, _ = segments.join(states, rows[np.array(starts)], carried, protein)
    return molecule.positions(states, protein, atoms) + centre[None, None, None, :]

  return jax.jit(upsampler)

"""Hierarchical sampling over time scales (paper, Algorithm 2), all segments of a level at once.

The coarsest level is rolled out from the start conformation. Every one of its states seeds one
segment of the next level, and so on down the list. Segments depend only on the states above,
so that they form a batch: for 400 frames at 20 and 1 ns, 10 + 10 sequential passes of the
network instead of 210.

Times: state 0 of the coarsest level is the input; segment k starts at coarse state k and yields
the frames at 20 k + 1 ... 20 k + 20 ns. Coarse states are not emitted themselves, unless the
model's `anchors` is 'both': then segment k also sees coarse state k + 1, and ends in it.

Long trajectories are computed in blocks of whole coarse steps, each from where the last one
stopped; neither the blocks nor the batches of segments change the result.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected, molecule, rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import devices, schedule, segments, settings
from tempo_jax.samplers import rollout as rollout_lib
from tempo_jax.trajectory import atoms as atoms_lib


def frame_counts(config: Any, num_frames: int) -> tuple[int, ...]:
  """States that each level must provide, starts included, so that `num_frames` come out.

  Returns:
    Per level, coarse to fine, the number of frames at that level's time step that cover the
    trajectory; the last is `num_frames`.
  """
  counts = [num_frames]
  for ratio in reversed(config_lib.frames_per_segment(config)):
    counts.append(-(-counts[-1] // ratio))
  return tuple(reversed(counts))


def centre_of(positions: jax.Array, mask: jax.Array) -> jax.Array:
  """Mean [3] of the atoms [L, 4, 3] of the residues in the mask [L]; 0 where there are none."""
  weight = mask.astype(positions.dtype)[:, None, None]
  return jnp.sum(positions * weight, axis=(0, 1)) / jnp.maximum(4 * jnp.sum(weight), 1)


def frames_per_block(config: Any) -> int:
  """Frames of the finest level that one pass of the coarsest covers."""
  return config.window * math.prod(config_lib.frames_per_segment(config))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RolloutState:
  """Where a trajectory stands between two blocks.

  Attributes:
    block: [] int32, blocks done.
    start: [L] the conformation that it started from.
    window: of the coarsest level.
    newest: [L] the newest state of the coarsest level.
    carried: of a model with anchors, [1] the motion by which segments were moved so far
      (`segments.join`).
    slow: [K, L, 3] Å, displacements of the centre of an elastic prior; None without one.
  """

  block: jax.Array
  start: state_lib.State
  window: state_lib.Window
  newest: state_lib.State
  carried: rigid.Rigid
  slow: jax.Array | None = None


def begin(
  config: Any, protein: protein_lib.ProteinArrays, temperature_K: jax.Array, rng: jax.Array
) -> RolloutState:
  """At time 0, in the conformation of the protein, which is moved to the origin.

  Args:
    config: the model's configuration.
    protein: [L] residues and their conformation.
    temperature_K: [] K.
    rng: the key of the trajectory.
  """
  # float32 is finest near the origin.
  centre = centre_of(protein.positions, protein.mask)
  positions = protein.positions - centre[None, None, :]
  start = state_lib.of_model(config, positions, protein, rotamers.of_protein(protein))
  prior, slow = None, None
  if config.prior == 'elastic':
    temperature_K = jnp.asarray(temperature_K, jnp.float32)
    centre_rng, slow_rng = jax.random.split(jax.random.fold_in(_typed(rng), _CENTRE))
    prior = expected.sampling_prior(config, positions, protein)
    if protein.centre is None:
      # The start is one conformation of many, not their mean.
      ca = prior.centre[None]
      prior = expected.drawn_about(prior, ca, jnp.zeros(1), temperature_K, centre_rng)
    else:
      prior = expected.about_mean(prior, protein.centre, protein.mask)
    slow = expected.drawn_slow(prior, temperature_K, slow_rng)
  window = state_lib.start_window(start, config.window, prior=prior)
  zero = jnp.zeros((), jnp.int32)
  return RolloutState(zero, start, window, start, rigid.Rigid.identity((1,)), slow)


def _typed(rng: jax.Array) -> jax.Array:
  """A key, of the kind with a type."""
  is_typed = jnp.issubdtype(rng.dtype, jax.dtypes.prng_key)
  return rng if is_typed else jax.random.wrap_key_data(rng)


def _drift(
  run: rollout_lib.Run, at: 'RolloutState', num_passes: int
) -> tuple[jax.Array | None, expected.Prior | None, jax.Array | None]:
  """Centres [P, L, 3] of the prior in each pass of the coarsest level; what comes after them."""
  prior, config = at.window.prior, run.config
  if prior is None or at.slow is None:
    return None, None, None
  rng = jax.random.fold_in(_typed(run.rng), _DRIFT)
  numbers = at.block * num_passes + jnp.arange(num_passes)
  rngs = jax.vmap(jax.random.fold_in, (None, 0))(rng, numbers)
  dt_ns = jnp.float32(config.window * config.level[config.levels[0]].dt_ns)
  centres, centre, slow = expected.drift(prior, at.slow, dt_ns, run.temperature_K, rngs)
  return centres, dataclasses.replace(prior, centre=centre), slow


# Numbers of the keys of an elastic prior; levels have those from 0 on.
_CENTRE, _DRIFT = 1_000_003, 1_000_005

# Rows of the states that a block begins with: the start of the trajectory, the newest state, and
# the T states of the window.
_START, _NEWEST, _WINDOW = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Plan:
  """The schedule of a block.

  Attributes:
    ticks: what is computed.
    num_rows: how many states there are.
    states: rows of the last level's states.
    starts: rows of the states from which its segments set out, where they end in the next one.
    window, newest: rows of what the next block begins with.
  """

  ticks: schedule.Ticks
  num_rows: int
  states: list[int]
  starts: list[int]
  window: list[int]
  newest: int


def batch_of(
  asked_for: int | None,
  config: Any,
  num_segments: int,
  num_frames: int,
  length: int,
  num_alone: int = 0,
) -> int:
  """How many segments are computed together.

  Args:
    asked_for: by the user; None: what suits the device.
    config: the model's configuration.
    num_segments: of the finest level.
    num_frames: of each.
    length: padded residues.
    num_alone: frames of the coarsest level, which are computed one pass after the other.
  """
  if asked_for is not None:
    return min(asked_for, num_segments)
  passes, alone = (-(-frames // config.window) for frames in (num_frames, num_alone))
  return schedule.batch_size(num_segments, length, passes, alone)


def plan(config: Any, num_frames: int, segment_batch_size: int | None, length: int) -> Plan:
  """The schedule of a block.

  Args:
    config: the model's configuration.
    num_frames: of the block; see `sample_block`.
    segment_batch_size: segments computed together; None: what suits the device.
    length: padded residues.
  """
  counts, ratios = frame_counts(config, num_frames), config_lib.frames_per_segment(config)
  anchored, is_single = config.anchors == 'both', len(config.levels) == 1
  # Where coarse states only seed segments, the last of them seeds those of the next block.
  only = num_frames % frames_per_block(config) != 0
  needed = counts[0] - (only and not anchored and not is_single)
  rows = range(_WINDOW, _WINDOW + config.window)
  planner = schedule.Planner([_NEWEST], rows.stop, config.window)
  kind = anchor_lib.Kind.REFERENCE if config.reference else anchor_lib.Kind.NONE
  window = planner.roll_out(0, rows, needed, _START, kind)
  newest, batch, starts = planner.states[-1], 1, []
  if not is_single:
    frames = min(ratios[-1], num_frames)
    batch = batch_of(segment_batch_size, config, counts[-2], frames, length, needed)
  if not (anchored or is_single):
    planner.states = planner.states[: counts[0]]
  for level, (ratio, count) in enumerate(zip(ratios, counts[1:], strict=True), start=1):
    if anchored:
      starts = planner.fill(level, ratio, count, batch)
    else:
      planner.descend(level, ratio, count, level == len(ratios), batch)
  states = planner.states[1:] if anchored or is_single else planner.states
  return Plan(planner.ticks(batch), planner.num_rows, states, starts, window, newest)


def sample_block(
  run: rollout_lib.Run, rollout_state: RolloutState, num_frames: int
) -> tuple[jax.Array, RolloutState]:
  """The next frames of a trajectory; pure, to be jitted and vmapped.

  Args:
    run: the model, the protein, its temperature and a key: the same for all blocks.
    rollout_state: from `begin` or the block before.
    num_frames: frames wanted, the same for all blocks; a multiple of `frames_per_block` unless
      this is the only one.

  Returns:
    [num_frames, L, A, 3] positions in Å in the coordinate frame of the start conformation, A = 4
    (N, CA, C, O) or 14 as `run.atoms` says, and the state to go on from.
  """
  config, at = run.config, rollout_state
  block = plan(config, num_frames, run.batch_sizes.segments, run.protein.mask.shape[0])
  given = jax.tree.map(
    lambda *x: jnp.concatenate(x), at.start[None], at.newest[None], at.window.states
  )
  known = jnp.concatenate([jnp.ones(_WINDOW, bool), at.window.known])
  rolled_out = block.ticks.index[block.ticks.segment == schedule.ROLLOUT]
  num_passes = 1 + int(rolled_out.max(initial=0))
  centres, prior, slow = _drift(run, at, num_passes)
  rows = rollout_lib.compute(
    run,
    config.levels,
    block.ticks,
    *rollout_lib.with_room(given, known, block.num_rows),
    at.block,
    at.window.prior,
    centres,
  )
  states, carried = rows[np.array(block.states)], at.carried
  if block.starts:
    states, carried = segments.join(states, rows[np.array(block.starts)], carried, run.protein)
  centre = centre_of(run.protein.positions, run.protein.mask)
  positions = molecule.positions(states[:num_frames], run.protein, run.atoms)
  positions = positions + centre[None, None, None, :]
  window = state_lib.Window(
    rows[np.array(block.window)], jnp.ones_like(at.window.known), prior=prior
  )
  return positions, RolloutState(at.block + 1, at.start, window, rows[block.newest], carried, slow)


def make_sampler(
  config: Any,
  num_frames: int,
  segment_batch_size: int | None = None,
  atoms: str = atoms_lib.BACKBONE,
) -> Callable[..., jax.Array]:
  """The jitted sampling function of a model.

  Args:
    config: the model's configuration, frozen or not.
    num_frames: frames wanted; need not be a multiple of a segment.
    segment_batch_size: segments computed together; None: what suits the device.
    atoms: 'backbone', or 'heavy' of a model with side chains.

  Returns:
    sampler(params, protein_arrays, rng, temperature_K=320.0) -> [num_frames, L, 4, 3] N, CA, C, O
    positions, or all heavy atoms [num_frames, L, 14, 3], in Å at dt, 2 dt, ... of the finest level,
    in the coordinate frame of the start conformation. Pure: may be vmapped over proteins (of equal
    padded length) and keys, and mapped over devices.

  Raises:
    InputError: the configuration cannot work, or a number is below 1.
  """
  config_lib.check(config)
  settings.check_at_least_one(num_frames=num_frames)
  settings.atoms_of(config, atoms)
  batch_sizes = settings.BatchSizes(segments=segment_batch_size)
  config = config_lib.freeze(config)

  def sampler(params, protein, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    temperature_K = jnp.asarray(temperature_K, jnp.float32)
    params = rollout_lib.stacked(params, config.levels)
    run = rollout_lib.Run(config, params, protein, temperature_K, rng, batch_sizes, atoms)
    return sample_block(run, begin(config, protein, temperature_K, rng), num_frames)[0]

  return jax.jit(sampler)


def replica_rngs(rng: jax.Array, replicas: jax.Array) -> jax.Array:
  """One key per number of a replica; how many there are does not matter."""
  return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(rng, replicas)


def make_ensemble_sampler(
  config: Any,
  num_frames: int,
  num_replicas: int,
  batch_sizes: settings.BatchSizes = settings.DEFAULT,
  atoms: str = atoms_lib.BACKBONE,
) -> Callable[..., jax.Array]:
  """The jitted function that samples several independent trajectories of one protein.

  Args:
    config: the model's configuration, frozen or not.
    num_frames: frames wanted per replica.
    num_replicas: trajectories wanted.
    batch_sizes: how much is computed at once. Neither they nor the number of devices change the
      result.
    atoms: see `make_sampler`.

  Returns:
    sampler(params, protein_arrays, rng, temperature_K=320.0) -> [R, num_frames, L, 4, 3] Å.
    Replica k depends on the key and on k, not on how many replicas there are.

  Raises:
    InputError: the configuration cannot work, or a number is below 1.
  """
  config_lib.check(config)
  settings.check_at_least_one(num_frames=num_frames, num_replicas=num_replicas)
  settings.atoms_of(config, atoms)
  config = config_lib.freeze(config)

  def one_replica(shared, rng):
    params, protein, temperature_K = shared
    run = rollout_lib.Run(config, params, protein, temperature_K, rng, batch_sizes, atoms)
    return sample_block(run, begin(config, protein, temperature_K, rng), num_frames)[0]

  def sampler(params, protein, rng, temperature_K=320.0):
    protein = jax.tree.map(jnp.asarray, protein)
    params = rollout_lib.stacked(params, config.levels)
    shared = params, protein, jnp.asarray(temperature_K, jnp.float32)
    rngs = replica_rngs(rng, jnp.asarray(devices.padded(num_replicas)))
    return devices.map_jobs(one_replica, shared, rngs, batch_sizes.trajectories)[:num_replicas]

  return jax.jit(sampler)

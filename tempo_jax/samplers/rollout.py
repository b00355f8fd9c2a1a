"""Computes what a schedule says: one loop over its ticks, with one pass of the network in it."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.dynamics import expected
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import schedule, settings
from tempo_jax.trajectory import atoms as atoms_lib


@dataclasses.dataclass(frozen=True)
class Run:
  """What stays the same through all levels of a trajectory.

  Attributes:
    config: the model's configuration, frozen.
    params: parameters of the levels that are computed, `stacked`.
    protein: [L] residues.
    temperature_K: [] temperature, K.
    rng: a key; every level, segment and pass draws from it by its number.
    batch_sizes: how much is computed at once.
    atoms: 'heavy' or 'backbone', of what comes out.
  """

  config: Any
  params: Any
  protein: protein_lib.ProteinArrays
  temperature_K: jax.Array
  rng: jax.Array
  batch_sizes: settings.BatchSizes = settings.DEFAULT
  atoms: str = atoms_lib.BACKBONE


def stacked(params: Mapping[str, Any], level_names: Sequence[str]) -> Any:
  """Parameters per level name -> one tree of them [levels, ...], in this order."""

  def stack(*leaves: Any) -> Any:
    on_host = all(isinstance(leaf, np.ndarray) for leaf in leaves)
    return np.stack(leaves) if on_host else jnp.stack([jnp.asarray(leaf) for leaf in leaves])

  return jax.tree.map(stack, *(params[name] for name in level_names))


def _keys(
  run: Run, level_names: Sequence[str], ticks: schedule.Ticks, block: int | jax.Array
) -> jax.Array:
  """[N, B] keys of all passes, in few calls of the generator.

  A pass draws by its number and by that of its segment, counted from the beginning of the
  trajectory, so that neither blocks nor batches change what it draws.
  """
  rng = run.rng
  if not jnp.issubdtype(rng.dtype, jax.dtypes.prng_key):
    rng = jax.random.wrap_key_data(rng)
  fold = jax.vmap(jax.random.fold_in)
  levels = run.config.levels
  of_level = fold(
    jnp.broadcast_to(rng, (len(level_names),)), jnp.array([levels.index(x) for x in level_names])
  )
  level = np.broadcast_to(ticks.level[:, None], ticks.segment.shape).ravel()
  segment, index = ticks.segment.ravel(), ticks.index.ravel()
  is_rollout = segment == schedule.ROLLOUT
  # How many of them a block has, per level.
  segments, passes = (
    np.array([1 + max(x[level == k], default=0) for k in range(len(level_names))])[level]
    for x in (segment, index)
  )
  key = of_level[level]
  key = jnp.where(is_rollout, key, fold(key, block * segments + segment))
  return fold(key, block * passes * is_rollout + index).reshape(ticks.segment.shape)


def _coarse_passes(config: Any, level_names: Sequence[str], ticks: schedule.Ticks) -> np.ndarray:
  """[N, B]: in which pass of the coarsest level a rollout or a segment stands."""
  ratios = config_lib.frames_per_segment(config)
  skipped = config.levels.index(level_names[0])
  # Frames of the coarsest level that a segment of each level of the schedule begins at.
  above = [math.prod(ratios[: max(skipped + k - 1, 0)]) for k in range(len(level_names))]
  segment = ticks.segment // (config.window * np.array(above)[ticks.level][:, None])
  return np.where(ticks.segment == schedule.ROLLOUT, ticks.index, segment).astype(np.int32)


def with_room(
  states: state_lib.State, known: jax.Array, num_rows: int
) -> tuple[state_lib.State, jax.Array]:
  """Given states [K, L] and which are known [K], with room for others: [num_rows + 1, ...]."""
  missing = num_rows + 1 - known.shape[0]
  rows = jax.tree.map(lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), states)
  return rows, jnp.pad(known, (0, missing), constant_values=True)


def compute(
  run: Run,
  level_names: Sequence[str],
  ticks: schedule.Ticks,
  rows: state_lib.State,
  known: jax.Array,
  block: int | jax.Array = 0,
  prior: expected.Prior | None = None,
  centres: jax.Array | None = None,
) -> state_lib.State:
  """Computes all ticks in turn.

  Args:
    run: the model, the protein and its temperature.
    level_names: the levels of the schedule, which `ticks.level` numbers.
    ticks: which passes there are; their rows are those of `rows`.
    rows: [R, L] states, those that are given in their places.
    known: [R] bool, False where a given row is a placeholder.
    block: [] how many blocks of as many passes came before this one.
    prior: of the protein; None for a model without.
    centres: [P, L, 3] of the prior, in each pass of the coarsest level; None: it stays.

  Returns:
    [R, L] states, all computed.
  """
  if not len(ticks.level):
    return rows
  config = run.config
  levels = stacked({name: level_lib.Level.of(config, name) for name in level_names}, level_names)

  if (config.prior == 'elastic') != (prior is not None):
    raise ValueError(f'a model with prior = {config.prior!r}, and prior is {prior}')
  if prior is not None and centres is None:
    centres = prior.centre[None]

  def tick(rows: state_lib.State, inputs: Any) -> tuple[state_lib.State, None]:
    tick, place, keys = inputs
    level, of_level = jax.tree.map(lambda x: x[tick.level], (levels, run.params))
    step = transitions.make_step(config, level)

    def one_pass(tick, place, key):
      # Segments of given coarse frames may differ in which peptide bonds are cis.
      positions = state_lib.to_positions(rows[tick.start])
      protein = dataclasses.replace(run.protein, positions=positions)
      anchor = None
      if config.anchors == 'both':
        anchor = state_lib.Anchor(rows[tick.anchor], tick.place)
      window = state_lib.Window(rows[tick.window], tick.real & known[tick.window], anchor)
      if prior is not None and centres is not None:
        own = dataclasses.replace(prior, centre=centres[place])
        window = dataclasses.replace(window, prior=own)
      return step(of_level, window, protein, level.noise_sample, run.temperature_K, key).states

    # One level for all places: there is no such axis to map over.
    of_all = dataclasses.replace(tick, level=None)
    states = jax.vmap(one_pass)(of_all, place, keys)
    return jax.tree.map(lambda x, new: x.at[tick.written].set(new), rows, states), None

  keys = _keys(run, level_names, ticks, block)
  places = jnp.zeros(ticks.segment.shape, jnp.int32)
  if centres is not None:
    places = jnp.asarray(np.minimum(_coarse_passes(config, level_names, ticks), len(centres) - 1))
  return jax.lax.scan(tick, rows, (jax.tree.map(jnp.asarray, ticks), places, keys))[0]

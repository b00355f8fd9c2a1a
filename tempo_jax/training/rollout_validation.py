"""Validation by rollouts: does a level, rolled out on its own, move as held-out MD does?

A low loss of single windows does not show this, because small errors of every pass accumulate over
hundreds of passes. A level whose segments end in states of the level above is compared with such
segments of held-out MD.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.metrics import calibration, distribution, validity
from tempo_jax.protein import padding
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import rollout, schedule
from tempo_jax.store import entry, windows
from tempo_jax.store import store as store_lib


def roll_out(
  config: Any,
  level_name: str,
  num_frames: int,
  params: Any,
  starts: jax.Array,
  ends: jax.Array | None,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  rng: jax.Array,
) -> jax.Array:
  """Rolls one level out from each of several conformations of one protein.

  Args:
    config: the model's configuration, frozen.
    level_name: the level.
    num_frames: per rollout.
    params: of the level.
    starts: [R, L, 4, 3] Å.
    ends: the same, where each rollout arrives; None: anywhere.
    protein: [L] residues; its positions are not read.
    temperature_K: [] K.
    rng: a key.

  Returns:
    [R, num_frames, L, 4, 3] Å, without the starts.
  """
  states = state_lib.of_model(config, starts, protein)
  count, kind = starts.shape[0], anchor_lib.Kind.NONE
  if config.reference and level_name == config.levels[0]:
    kind = anchor_lib.Kind.REFERENCE
  place, anchors = anchor_lib.Place(kind), range(count)
  if ends is not None:
    place, anchors = anchor_lib.Place(anchor_lib.Kind.END, num_frames), range(count, 2 * count)
    last = state_lib.of_model(config, ends, protein)
    states = jax.tree.map(lambda *x: jnp.concatenate(x), states, last)
  planner = schedule.Planner([], len(states.psi), config.window)
  passes = -(-num_frames // config.window)
  batch = schedule.batch_size(count, protein.mask.shape[0], passes, 0)
  frames = planner.seed(0, range(count), num_frames, batch, place, anchors)
  if ends is not None:
    frames = [[*rows[:-1], end] for rows, end in zip(frames, anchors, strict=True)]
  params = rollout.stacked({level_name: params}, [level_name])
  run = rollout.Run(config, params, protein, temperature_K, rng)
  known = jnp.ones(len(states.psi), bool)
  room = rollout.with_room(states, known, planner.num_rows)
  prior = None
  if config.prior == 'elastic':
    prior = expected.sampling_prior(config, starts[0], protein)
  found = rollout.compute(run, [level_name], planner.ticks(batch), *room, prior=prior)
  return state_lib.to_positions(found[np.array(frames)])


def compare(
  predicted: np.ndarray, reference: np.ndarray, bonded: np.ndarray | bonds_lib.Bonds
) -> dict[str, float]:
  """Compares rollouts with MD of the same protein and time step.

  Args:
    predicted: [R, 1 + F, L, 4, 3] Å, the start conformation of each rollout and its frames.
    reference: [S, 1 + G, L, 4, 3] Å, stretches of successive frames, G at least 1.
    bonded: [L] bool, or `Bonds`.

  Returns:
    'rollout_jsd': Jensen-Shannon divergence of CA-CA distances (`metrics.distribution`);
    'rollout_spread': standard deviation of CA-CA distances, mean over pairs, as a ratio to MD's;
    'rollout_step': CA-RMSD between successive frames, as a ratio to MD's;
    'rollout_broken': share of frames with CA-CA of neighbours outside 2.8 to 4.2 Å or C-N above
    1.7 Å. Where coordinates diverge, the first three are infinite.
  """
  frames, md = (x[:, 1:].reshape(-1, *x.shape[2:]) for x in (predicted, reference))
  scores = dict.fromkeys(('jsd', 'spread', 'step'), math.inf)
  if not validity.has_diverged(frames).any():
    scores['jsd'] = distribution.ca_distance_jsd(frames, md)
    scores['spread'] = calibration.spread_ratio(frames, md)
    scores['step'] = calibration.step_ratio(list(predicted), list(reference))
  scores['broken'] = calibration.chain(frames, bonded).broken
  # There is no ratio to MD of a single frame.
  return {
    f'rollout_{name}': math.inf if math.isnan(score) else score for name, score in scores.items()
  }


def _evenly(count: int, size: int) -> np.ndarray:
  """`count` of the indices 0 ... size - 1, from the first to the last."""
  return np.linspace(0, size - 1, count).round().astype(int)


def choose_entries(found: tuple[windows.EntryWindows, ...], count: int) -> list[int]:
  """Which trajectories to judge: one per protein and temperature, spread over those there are."""
  first: dict[tuple[str, float], int] = {}
  for index, each in enumerate(found):
    first.setdefault((each.entry.name, each.entry.temperature_K), index)
  candidates = list(first.values())
  return [candidates[i] for i in _evenly(min(count, len(candidates)), len(candidates))]


@dataclasses.dataclass(frozen=True)
class _HeldOut:
  """One trajectory to compare with.

  Attributes:
    entry: whose it is.
    reference: [S, 1 + G, L, 4, 3] Å, see `compare`.
    starts: [R, L', 4, 3] Å, padded.
    ends: the same, or None.
    protein: [L'] residues.
  """

  entry: entry.Entry
  reference: np.ndarray
  starts: np.ndarray
  ends: np.ndarray | None
  protein: protein_lib.ProteinArrays


def segment_frames(model: Any, level_name: str) -> int:
  """Frames from a state of the level above to the next, where segments end in it; else 0."""
  above = model.levels.index(level_name) - 1
  if above < 0 or model.anchors != 'both':
    return 0
  return config_lib.frames_per_segment(model)[above]


class RolloutValidation:
  """Judges a level by rollouts that begin at held-out frames; always the same, with equal noise."""

  def __init__(
    self,
    config: Any,
    level_name: str,
    source: windows.WindowSource,
    roll_out: Callable[..., jax.Array] = roll_out,
  ):
    """Reads the held-out frames.

    Args:
      config: the experiment's configuration, with what was measured.
      level_name: the level.
      source: its held-out windows.
      roll_out: what makes the rollouts; it is jitted.
    """
    train, model = config.train, config.model
    segment = segment_frames(model, level_name)
    self._held_out = [
      self._read(config, source.store, source.windows[index], segment)
      for index in choose_entries(source.windows, train.rollout_proteins)
    ]
    self._rng = jax.random.key(config.seed)
    # Compiled once per padded length.
    self._rollouts = jax.jit(
      functools.partial(
        roll_out, config_lib.freeze(model), level_name, segment or train.rollout_frames
      )
    )

  @staticmethod
  def _read(
    config: Any, store: store_lib.Store, found: windows.EntryWindows, segment: int
  ) -> _HeldOut:
    # Rounded as `windows` does: windows with anchors need not reach the end.
    end = round(config.data.validation_block[1] * found.entry.num_frames)
    frames = store.read(found.entry, slice(found.first, end, found.stride))
    # A window reaches as far as its anchor may, so that there is room for a segment.
    begins = _evenly(config.train.rollout_replicas, len(frames) - segment)
    reference = frames[None]
    if segment:
      reference = frames[begins[:, None] + np.arange(segment + 1)[None]]
    # float32 is finest near the origin.
    starts, ends = (
      x - x.mean(axis=(1, 2), keepdims=True) for x in (frames[begins], frames[begins + segment])
    )
    length = padding.bucket(found.entry.length, config.data.buckets)
    return _HeldOut(
      found.entry,
      reference,
      padding.pad_positions(starts, length),
      padding.pad_positions(ends, length) if segment else None,
      padding.pad(found.entry.arrays(starts[0]), length),
    )

  def __call__(self, params: Any) -> dict[str, float]:
    """The scores of `compare`, means over the proteins.

    Args:
      params: of the level, on the device that is to work.
    """
    scores = []
    for index, each in enumerate(self._held_out):
      predicted = self._rollouts(
        params,
        each.starts,
        each.ends,
        each.protein,
        np.float32(each.entry.temperature_K),
        jax.random.fold_in(self._rng, index),
      )
      rollouts = np.concatenate([each.starts[:, None], np.asarray(predicted)], axis=1)
      scores.append(compare(rollouts[:, :, : each.entry.length], each.reference, each.entry.bonds))
    return {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}

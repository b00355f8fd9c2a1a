"""What the benchmark measures: proteins, models, and the paper's way to sample with them.

The paper's schedule, against which `--compare` holds ours, computes one segment after the other,
calls a compiled step from Python for every step, and compares the points of its invariant point
attention (IPA) pair by pair. It draws the same random numbers, so it gives the same trajectory.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import traverse_util

from tempo_jax import config as config_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.dynamics import transition
from tempo_jax.encoder import invariant_point_attention
from tempo_jax.geometry import backbone, rigid
from tempo_jax.models import model as model_lib
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine
from tempo_jax.samplers import segments as segments_lib

PAPER_SIZE = 'paper_size'
# Time steps of the bundled model, ns.
_LEVELS = {'coarse': 0.2, 'fine': 0.01}
_PHI, _PSI = np.deg2rad([-57.0, -47.0])


@dataclasses.dataclass(frozen=True)
class Case:
  """One measurement.

  Attributes:
    name: of its row.
    mode: 'sample', 'stream', 'train', 'data', 'evaluate' or 'compare'.
    length: residues.
    num_frames: of a trajectory.
    num_replicas: trajectories.
    model: 'default', `PAPER_SIZE` or a directory; None where no network is asked.
    passes: of the head per step; None: the model's own.
    precision: of the network; None: the model's own.
    segment_batch_size: segments computed together; None: the sampler's default.
    batch_size: windows of a training step, or of a batch that is read.
    repeats: how often it is timed.
  """

  name: str
  mode: str
  length: int
  num_frames: int
  num_replicas: int = 1
  model: str | None = None
  passes: int | None = None
  precision: str | None = None
  segment_batch_size: int | None = None
  batch_size: int = 4
  repeats: int = 5


def config_of(name: str) -> Any:
  """The configuration of `load_model(name)`, frozen; raises as that does."""
  if name != PAPER_SIZE:
    return model_lib.load_model(name).config
  config = config_lib.model_config(_LEVELS)
  for level in config.level.values():
    level.update(translation_std=0.1, rotation_std=0.05)
  return config_lib.freeze(config)


def load_model(name: str) -> model_lib.Model:
  """The model of that name; `PAPER_SIZE`: our settings, the paper's size, random parameters.

  Raises:
    InputError: there is no such model.
  """
  if name != PAPER_SIZE:
    return model_lib.load_model(name)
  config = config_of(name)
  params = {level: random_params(config, seed) for seed, level in enumerate(config.levels)}
  return model_lib.Model(name, config, params)


def random_params(config: Any, seed: int = 0) -> Any:
  """Small random parameters of one level; nothing is compiled."""
  shapes = jax.eval_shape(functools.partial(transition.init_params, config), jax.random.key(0))
  rng = np.random.default_rng(seed)
  return traverse_util.path_aware_map(
    lambda path, leaf: jnp.asarray(
      (path[-1] == 'scale') + 0.05 * rng.standard_normal(leaf.shape), leaf.dtype
    ),
    shapes,
  )


def short_name(model: str) -> str:
  """Of a model in the name of a row: that of its directory."""
  return pathlib.Path(model).name or model


def helix(length: int) -> protein_lib.Protein:
  """A straight alpha helix of random sequence, ideal but for 0.05 Å."""
  # The next residue in the frame of this one; then each follows the one before.
  n, ca, c = backbone.IDEAL_N_CA_C
  next_n = _next_atom(n, ca, c, backbone.C_N, backbone.CA_C_N, _PSI)
  next_ca = _next_atom(ca, c, next_n, backbone.N_CA, backbone.C_N_CA, np.pi)
  next_c = _next_atom(c, next_n, next_ca, backbone.CA_C, backbone.N_CA_C, _PHI)
  step = backbone.frames_from_atoms(jnp.array([[next_n, next_ca, next_c]]))
  turn, shift = np.asarray(step.rotation[0], float), np.asarray(step.translation[0], float)
  rotation, origin, n_ca_c = np.eye(3), np.zeros(3), []
  for _ in range(length):
    n_ca_c.append(backbone.IDEAL_N_CA_C @ rotation.T + origin)
    rotation, origin = rotation @ turn, origin + rotation @ shift
  atoms = np.array(n_ca_c)
  n, ca, c = jnp.moveaxis(jnp.array(atoms), 1, 0)
  oxygen = backbone.oxygen_from_psi(n, ca, c, jnp.full(length, _PSI))
  positions = np.concatenate([atoms, np.asarray(oxygen)[:, None]], axis=1)
  rng = np.random.default_rng(0)
  positions = positions - positions.mean(axis=(0, 1)) + rng.normal(scale=0.05, size=positions.shape)
  number = np.arange(length, dtype=np.int32)
  arrays = protein_lib.ProteinArrays(
    residue_type=rng.integers(0, 20, length).astype(np.int32),
    residue_index=number,
    chain_index=np.zeros(length, np.int32),
    bonded=number < length - 1,
    mask=np.ones(length, bool),
    positions=positions.astype(np.float32),
  )
  return protein_lib.Protein(f'helix_{length}', arrays, ('A',), number + 1, ('',) * length)


def _next_atom(
  a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, dihedral: float
) -> np.ndarray:
  """The atom d [3] with |cd| in Å, angle bcd and dihedral abcd in radians."""
  axis = (c - b) / np.linalg.norm(c - b)
  normal = np.cross(b - a, axis)
  normal /= np.linalg.norm(normal)
  along, across = -np.cos(angle), np.sin(angle)
  local = np.array([along, across * np.cos(dihedral), across * np.sin(dihedral)])
  return c + length * np.stack([axis, np.cross(normal, axis), normal], axis=-1) @ local


def trajectory(protein: protein_lib.Protein, num_frames: int, seed: int = 0) -> np.ndarray:
  """Frames [F, L, 4, 3] float32 Å: the protein, every atom displaced by 0.1 Å."""
  start = np.asarray(protein.arrays.positions)
  noise = np.random.default_rng(seed).normal(scale=0.1, size=(num_frames, *start.shape))
  return (start + noise).astype(np.float32)


def _dense_attention(
  module: invariant_point_attention.InvariantPointAttention,
  single: jax.Array,
  frames: Any,
  mask: jax.Array,
) -> jax.Array:
  """The same attention as written in AlphaFold 2: all differences of points, [H, L, L, P, 3]."""
  params = module.variables['params']
  highest = jax.lax.Precision.HIGHEST
  unit = 10.0  # Å
  kernel = params['scalars']['kernel']
  q, k, v = (jnp.einsum('...ld,dhc->...lhc', single, kernel[:, i]) for i in range(3))
  layer = params['points']
  local = jnp.einsum('...ld,dxhp->...lhpx', single, layer['kernel'], precision=highest)
  local = local + jnp.broadcast_to(jnp.moveaxis(layer['bias'], 0, -1), local.shape)
  points = frames[..., None, None].apply(local * unit) / unit
  split = [module.query_points, 2 * module.query_points]
  q_points, k_points, v_points = jnp.split(points, split, axis=-2)
  difference = q_points[..., :, None, :, :, :] - k_points[..., None, :, :, :, :]
  squared = jnp.moveaxis(jnp.sum(difference**2, axis=(-2, -1)), -1, -3)  # [..., H, L, L]
  weight = jnp.sqrt(2.0 / (9.0 * module.query_points)) * nn.softplus(params['point_weight'])
  scalar = jnp.einsum('...qhc,...khc->...hqk', q, k, precision=highest)
  scale = jnp.broadcast_to(0.5 * weight[:, None, None], squared.shape)
  logits = np.sqrt(0.5).item() * (scalar * module.scalar_channels**-0.5 - scale * squared)
  logits = jnp.where(jnp.broadcast_to(mask, logits.shape), logits, -1e9)
  attention = jax.nn.softmax(logits, axis=-1)
  out = jnp.einsum('...hqk,...khc->...qhc', attention, v, precision=highest)
  seen = jnp.einsum('...hqk,...khpx->...qhpx', attention, v_points, precision=highest)
  seen = frames[..., None, None].apply_inverse(seen * unit) / unit
  norms = jnp.sqrt(jnp.sum(seen**2, axis=-1))
  parts = [x.reshape(*single.shape[:-1], -1) for x in (out, jnp.moveaxis(seen, -1, -3), norms)]
  result = jnp.concatenate(parts, axis=-1) @ params['out']['kernel']
  return result + jnp.broadcast_to(params['out']['bias'], result.shape)


def with_dense_attention(function: Callable[..., Any]) -> Callable[..., Any]:
  """The same function, its IPA computed pair by pair; to be traced anew, not jitted already."""

  def intercept(next_function, args, kwargs, context):
    module = context.module
    attends = isinstance(module, invariant_point_attention.InvariantPointAttention)
    if attends and context.method_name == '__call__':
      return _dense_attention(module, *args, **kwargs)
    return next_function(*args, **kwargs)

  @functools.wraps(function)
  def dense(*args):
    with nn.intercept_methods(intercept):
      return function(*args)

  return dense


Segments = list[list[state_lib.State]]
_AS_IT_STANDS = rigid.Rigid.identity((1,))


class StepByStep:
  """The paper's schedule: segment by segment, and a call from Python for every step.

  What a step gives is fetched from the device and handed back for the next, as a loop in Python
  does that collects frames.
  """

  def __init__(self, config: Any, num_frames: int, dense: bool):
    """Makes the steps; with `dense`, their IPA computes pair by pair."""
    self._config, self._num_frames = config, num_frames
    wrap = with_dense_attention if dense else (lambda function: function)
    self._steps = {name: jax.jit(wrap(self._step(name))) for name in config.levels}
    self._begin = jax.jit(self._window)
    self._join = jax.jit(segments_lib.join)
    self._keys = jax.jit(_keys, static_argnums=(1, 2, 3))
    self._centred = jax.jit(_centred)
    self._atoms = jax.jit(lambda states, centre: state_lib.to_positions(states) + centre)

  def _step(self, name: str) -> Callable[..., state_lib.Window]:
    level = level_lib.Level.of(self._config, name)
    step = transition.make_step(self._config, level)

    def one(params, window, protein, temperature_K, key):
      rng = jax.random.wrap_key_data(key)
      return step(params, window, protein, level.noise_sample, temperature_K, rng).window

    return one

  def _window(self, start, end, frames, protein):
    # Of the first level, or of a model without anchors.
    anchor = transition.initial_anchor(self._config, self._config.levels[0], start)
    if end is not None:
      anchor = state_lib.Anchor(end, frames)
    here = dataclasses.replace(protein, positions=state_lib.to_positions(start))
    return state_lib.start_window(start, self._config.window, anchor), here

  def __call__(
    self, params: Mapping[str, Any], protein: protein_lib.ProteinArrays, rng: jax.Array
  ) -> jax.Array:
    """What `coarse_to_fine.make_sampler` gives at 320 K, [num_frames, L, 4, 3] Å."""
    config = self._config
    counts = coarse_to_fine.frame_counts(config, self._num_frames)
    ratios = config_lib.frames_per_segment(config)
    start, centre = jax.device_get(self._centred(protein))
    run = functools.partial(self._segments, params, protein)
    if config.anchors == 'start':
      states = [start]
      for index, name in enumerate(config.levels):
        ratio = (counts[0], *ratios)[index]
        # A level that seeds another starts its segments with their seeds.
        seeds = name != config.levels[-1]
        frames = min(ratio, counts[index]) - seeds
        later = run(name, states, frames, jax.random.fold_in(rng, index), first=not index)
        seeded = [[state] * seeds + x for state, x in zip(states, later, strict=True)]
        states = list(itertools.chain(*seeded))[: counts[index]]
    else:
      first, *finer = config.levels
      (states,) = run(first, [start], counts[0], jax.random.fold_in(rng, 0), first=True)
      for index, (name, ratio) in enumerate(zip(finer, ratios, strict=True)):
        count = counts[index + 1]
        starts = [start, *states[:-1]]
        frames = min(ratio, count)
        key = jax.random.fold_in(rng, index + 1)
        segments = run(name, starts, frames, key, states, ratio)
        if count >= ratio:
          for segment, end in zip(segments, states, strict=True):
            segment[-1] = end
          stacked = _stacked(map(_stacked, segments)), _stacked(starts)
          joined, _ = jax.device_get(self._join(*stacked, _AS_IT_STANDS, protein))
          segments = [[joined[s, f] for f in range(frames)] for s in range(len(starts))]
        states = list(itertools.chain(*segments))[:count]
    return self._atoms(_stacked(states), centre)

  def _segments(
    self,
    params: Mapping[str, Any],
    protein: protein_lib.ProteinArrays,
    name: str,
    starts: Sequence[state_lib.State],
    frames: int,
    rng: jax.Array,
    ends: Sequence[state_lib.State] | None = None,
    ratio: int = 0,
    first: bool = False,
  ) -> Segments:
    """As `segments.refine`, but that ends are put in by the caller; `first`: the coarsest level."""
    window_frames = self._config.window
    passes = -(-frames // window_frames)
    keys = np.asarray(self._keys(rng, len(starts), passes, first))
    temperature_K = np.float32(320.0)
    segments = []
    for index, start in enumerate(starts):
      end = None if ends is None else ends[index]
      window, here = self._begin(start, end, np.float32(ratio), protein)
      states: list[state_lib.State] = []
      for key in keys[index]:
        window = jax.device_get(self._steps[name](params[name], window, here, temperature_K, key))
        states.extend(window.states[t] for t in range(window_frames))
      segments.append(states[:frames])
    return segments


def _keys(rng: jax.Array, num_segments: int, passes: int, first: bool) -> jax.Array:
  """[S, passes] keys as numbers, those that the samplers draw."""
  numbered = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
  keys = rng[None] if first else numbered(rng, jnp.arange(num_segments))
  return jax.random.key_data(jax.vmap(lambda key: numbered(key, jnp.arange(passes)))(keys))


def _centred(protein: protein_lib.ProteinArrays) -> tuple[state_lib.State, jax.Array]:
  centre = coarse_to_fine.centre_of(protein.positions, protein.mask)
  start = state_lib.from_positions(protein.positions - centre[None, None, :], protein.bonded)
  return start, centre[None, None, None, :]


def _stacked(states: Iterable[Any]) -> Any:
  return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def one_program(
  config: Any, num_frames: int, segment_batch_size: int | None = None, dense: bool = False
) -> Callable[..., jax.Array]:
  """Our sampler of one trajectory, (params, protein, key) -> [num_frames, L, 4, 3] Å, jitted."""
  sampler = coarse_to_fine.make_sampler(config, num_frames, segment_batch_size)
  # A new function each time: what was traced with one attention must not serve for the other.
  return jax.jit(with_dense_attention(lambda *args: sampler(*args))) if dense else sampler

"""One training example: true frames without tumbling, as windows, and how a rollout begins."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected, rotamers
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import alignment
from tempo_jax.protein import protein as protein_lib
from tempo_jax.store import batching


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Example:
  """True states of one protein.

  Attributes:
    windows: [U + 1, T, L] consecutive states of the level.
    anchor: where the segment ends, seen from the last state of the first window, or where the
      trajectory began; None for a model without anchors.
    prior: of the protein; None for a model without.
  """

  windows: state_lib.State
  anchor: state_lib.Anchor | None
  prior: expected.Prior | None = None


def anchor_places(config: Any, level: str) -> tuple[anchor_lib.Place, ...] | None:
  """What the anchor of an example of a level may be.

  Args:
    config: the model's configuration.
    level: name of the level.

  Returns:
    Seen from the first frame of the example: every frame in which a segment may end, for the
    coarsest level the reference or nothing; None for a model without anchors.
  """
  if config.anchors == 'start':
    return None
  index = config.levels.index(level)
  if index == 0:
    kind = anchor_lib.Kind.REFERENCE if config.reference else anchor_lib.Kind.NONE
    return (anchor_lib.Place(kind),)
  # A segment is that many frames long, and its frames are predicted a window at a time.
  newest = config.window - 1
  ratio = config_lib.frames_per_segment(config)[index - 1]
  return tuple(anchor_lib.Place(anchor_lib.Kind.END, newest + 1 + k) for k in range(ratio))


def num_tokens(config: Any, batch: batching.Batch) -> int:
  """Residues times frames that a batch holds; neither padding nor the frame of no anchor count."""
  anchored = config.model.anchors == 'both'
  frames = (
    batch.positions.shape[1] - anchored + (np.asarray(batch.anchor.kind) != anchor_lib.Kind.NONE)
  )
  return int(np.sum(np.sum(batch.protein.mask, axis=-1) * frames))


def without_tumbling(positions: jax.Array, mask: jax.Array) -> jax.Array:
  """Superposes every frame on the first by CA and centres them.

  Args:
    positions: [F, L, 4, 3] Å.
    mask: [L] bool.

  Returns:
    [F, L, 4, 3] Å.
  """
  weights = mask.astype(positions.dtype)
  origin = jnp.sum(positions[0, :, 1] * weights[:, None], axis=0) / jnp.sum(weights)
  reference = positions[0, :, 1] - origin[None, :]

  def fit(frame):
    motion = alignment.superpose(frame[:, 1], reference, weights)
    return motion[None, None].apply(frame)

  return jax.vmap(fit)(positions)


def make_example(
  config: Any,
  positions: jax.Array,
  anchor: anchor_lib.Place,
  protein: protein_lib.ProteinArrays,
  side_chains: rotamers.SideChains | None = None,
) -> Example:
  """States of the frames that a batch holds for one protein.

  Args:
    config: the model's configuration, frozen.
    positions: [F, L, 4, 3] Å; of a model with anchors, the last frame is the anchor.
    anchor: [], what the anchor is, seen from the first frame.
    protein: [L] residues.
    side_chains: [F, L] of the same frames; None: not known.
  """
  positions = without_tumbling(positions, protein.mask)
  states = state_lib.of_model(config, positions, protein, side_chains)
  aim = None
  if config.anchors == 'both':
    aim = state_lib.Anchor(states[-1], anchor.after(config.window - 1))
    states = states[:-1]
  return Example(jax.tree.map(lambda x: x.reshape(-1, config.window, *x.shape[1:]), states), aim)


def prior_of(
  config: Any,
  stretch: batching.Stretch | None,
  protein: protein_lib.ProteinArrays,
  temperature_K: jax.Array,
  rng: jax.Array,
) -> expected.Prior | None:
  """The prior of an example, about a centre that its surroundings leave open.

  Args:
    config: the model's configuration, frozen.
    stretch: around the window, without [B]; None for a model without a prior.
    protein: [L] residues; its positions are not read.
    temperature_K: [] K.
    rng: a key.
  """
  if stretch is None:
    return None
  prior = expected.make_prior(config, stretch.reference, protein, stretch.root, stretch.longest_ns)
  reference = prior.network.frames.translation
  weights = protein.mask.astype(jnp.float32)
  onto = alignment.superpose(stretch.ca, reference[None], weights[None])
  ca = onto[:, None].apply(stretch.ca)
  return expected.drawn_about(prior, ca, stretch.times_ns, temperature_K, rng)


# Share of examples in which the network sees no side chains of the window, or of the anchor: a
# sampler that begins with a bare backbone lacks both at first, and later those of the reference.
_BARE = 0.12
# Share of examples whose solvent is not known, so that either may be asked for.
_NO_SOLVENT = 0.1
# Share of examples whose window has the noise that windows have in sampling.
_AS_SAMPLED = 0.25


def with_hidden_solvent(
  protein: protein_lib.ProteinArrays, rng: jax.Array
) -> protein_lib.ProteinArrays:
  """The protein of an example, in some of them of an unknown solvent."""
  unknown = protein_lib.SOLVENTS.index('unknown')
  hidden = jax.random.bernoulli(rng, _NO_SOLVENT)
  return dataclasses.replace(protein, solvent=jnp.where(hidden, unknown, protein.known_solvent))


def draw_sigma(level: level_lib.Level, rng: jax.Array) -> jax.Array:
  """[] noise of a generative objective's window: that of sampling, or any that is trained."""
  share_rng, sigma_rng = jax.random.split(rng)
  sigma = jax.random.uniform(sigma_rng, minval=level.noise_min, maxval=level.noise_max)
  return jnp.where(jax.random.bernoulli(share_rng, _AS_SAMPLED), level.noise_sample, sigma)


def first_window(config: Any, example: Example, rng: jax.Array) -> state_lib.Window:
  """The window that a rollout begins with.

  A sampler starts from one conformation and, without a coarser level, has no anchor: some
  examples do as well.

  Args:
    config: the experiment's configuration, frozen.
    example: true states.
    rng: a key.
  """
  length = config.model.window
  start_rng, anchor_rng, window_bare_rng, anchor_bare_rng = jax.random.split(rng, 4)
  from_start = jax.random.bernoulli(start_rng, config.train.start_probability)
  known = ~from_start | (jnp.arange(length) == length - 1)
  is_bare = jax.random.bernoulli(window_bare_rng, _BARE)
  states = _bare_where(is_bare, jax.tree.map(lambda x: x[0], example.windows))
  anchor = example.anchor
  if anchor is not None:
    free = jax.random.bernoulli(anchor_rng, config.train.free_probability)
    aim = _bare_where(jax.random.bernoulli(anchor_bare_rng, _BARE), anchor.state)
    # The first frame of a trajectory is its own reference.
    begins = from_start & anchor.place.is_reference
    state = jax.tree.map(lambda x, y: jnp.where(begins, x[-1], y), states, aim)
    anchor = state_lib.Anchor(state, anchor.place.unless(free))
  return state_lib.Window(states, known, anchor, example.prior)


def _bare_where(is_bare: jax.Array, states: state_lib.State) -> state_lib.State:
  """The states, without their side chains if `is_bare` [] is true."""
  if states.side_chains is None:
    return states
  return dataclasses.replace(states, side_chains=states.side_chains.unless(is_bare))

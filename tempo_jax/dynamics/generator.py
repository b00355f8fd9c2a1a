"""A generative transition: noise becomes a sample of the next T frames.

One step is described by the numbers y, per next frame and residue the translation and rotation
vector of T_newest^-1 T_next in units of one step's spread (`update.motions`), N-CA-C, the turn of a
free psi, and the offsets of chi from the wells of their rotamers. Noise z_0 is carried to y along
the straight line z_tau = (1 - tau) z_0 + tau y (flow matching: Lipman et al. 2023; on frames:
FrameFlow, FoldFlow), on the circle where y is an angle. The wells themselves are hidden at first
and drawn one after the other along the way, as in masked diffusion (Sahoo et al., MDLM, arXiv
2406.07524; Shi et al., MD4, arXiv 2406.04329): later wells, and the backbone, are drawn given
earlier ones.

The spatiotemporal encoder runs once; a light head, which sees the partly noised frames, then says
where the line ends and how likely each well is, K times. All of it is expressed in the residues'
own frames: equivariant by construction. Side chains may be drawn with the backbone, or alone on one
that is given.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax import config as config_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import head as head_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers, update
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import spatiotemporal_encoder
from tempo_jax.protein import protein as protein_lib

NUM_MOTIONS, NUM_BACKBONE = update.NUM_MOTIONS, update.NUM_BACKBONE
# In the order of wells: after the end.
_NEVER = 2.0


def num_numbers(config: Any) -> int:
  """Numbers per residue and frame of a model's step; `config` is the model's configuration."""
  return NUM_BACKBONE + config_lib.has_side_chains(config) * rotamers.NUM_CHI


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chances:
  """What decides the wells of T frames.

  Attributes:
    order: [T, L, 4] in [0, 1), when each is drawn (`rotamers.draw_order`); above where there is
      none to draw.
    gumbel: [T, L, 4, 3], added to logits: the largest is a draw.
  """

  order: jax.Array
  gumbel: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Noise:
  """All that is random in a step of T frames.

  Attributes:
    numbers: [T, L, N] z_0.
    chances: of the wells; None without side chains.
  """

  numbers: jax.Array
  chances: Chances | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Step:
  """A step of T frames, whole or on its way.

  Attributes:
    numbers: [T, L, N].
    wells: [T, L, 4] int32, `rotamers.HIDDEN` where not drawn yet; None without side chains.
  """

  numbers: jax.Array
  wells: jax.Array | None = None


class Generator(nn.Module):
  """Encoder and light head of one level.

  Attributes:
    config: the model's configuration (`tempo_jax.config.model_config`), frozen.
  """

  config: Any

  def setup(self):
    """Names the parts, which two methods share."""
    dtype = jnp.dtype(self.config.precision)
    self.encoder = spatiotemporal_encoder.SpatiotemporalEncoder(self.config.encoder, dtype)
    self.head = head_lib.Head(self.config.head, num_numbers(self.config), dtype)

  def encode(
    self,
    noised: state_lib.Window,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    dt_ns: jax.Array,
    temperature_K: jax.Array,
  ) -> jax.Array:
    """Encodes a window.

    Args:
      noised: [T, L] states after the noise of the step.
      protein: [L] residues; its positions are not read.
      sigma: [] noise scale.
      dt_ns: [] time step, ns.
      temperature_K: [] K.

    Returns:
      [L, D] features.
    """
    inputs = update.encoder_inputs(noised, protein)
    side_chains = noised.states.side_chains
    seen = None
    if side_chains is not None:
      seen = rotamers.seen_by_neighbours(side_chains, protein.residue_type)
    return self.encoder(*inputs, sigma, dt_ns, temperature_K, seen)[-1]

  def end(
    self,
    hidden: jax.Array,
    noised: state_lib.Window,
    step: Step,
    tau: jax.Array,
    side_chain_tau: jax.Array,
    expected: expected_lib.Expected,
    protein: protein_lib.ProteinArrays,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Where the line through z_tau ends: the mean of y given z_tau; and the wells.

    Args:
      hidden: [L, D] from `encode`.
      noised: the window that was encoded.
      step: [T, L] z_tau, and the wells that are drawn so far.
      tau: [] in [0, 1), of the backbone; 1 for one that is given.
      side_chain_tau: [] in [0, 1), of the side chains: the same for both, or the backbone is given.
      expected: of the T frames.
      protein: [L] residues.

    Returns:
      [T, L, N], and logits [T, L, 4, 3] of the wells; None without side chains.
    """
    newest, numbers = noised.states[-1], step.numbers
    states = applied(newest, step, expected, protein)
    out, logits = self.head(
      hidden,
      noised,
      states,
      numbers,
      step.wells,
      tau,
      side_chain_tau,
      expected,
      protein,
    )

    def mean(part: slice, tau: jax.Array) -> jax.Array:
      keep, scale = preconditioning(tau)
      return keep * numbers[..., part] + scale * out[..., part]

    psi = slice(NUM_MOTIONS, NUM_BACKBONE)
    ends = [
      mean(slice(NUM_MOTIONS), tau),
      numbers[..., psi] + (1.0 - tau) * out[..., psi],
    ]
    if step.wells is None:
      return jnp.concatenate(ends, axis=-1), None
    there = rotamers.free(protein.residue_type)[None]
    ends.append(jnp.where(there, mean(slice(NUM_BACKBONE, None), side_chain_tau), 0.0))
    return jnp.concatenate(ends, axis=-1), logits

  def __call__(
    self,
    noised: state_lib.Window,
    step: Step,
    level: level_lib.Level,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    temperature_K: jax.Array,
  ) -> jax.Array:
    """Both parts once, for the shapes of the parameters."""
    hidden = self.encode(noised, protein, sigma, level.dt_ns, temperature_K)
    expected = expected_lib.of_step(noised, level, temperature_K, protein)
    return self.end(hidden, noised, step, sigma, sigma, expected, protein)[0]


def applied(
  newest: state_lib.State,
  step: Step,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> state_lib.State:
  """The states [T, L] that a step leads to; side chains known where their wells are drawn."""
  states = update.apply_motions(newest, step.numbers[..., :NUM_BACKBONE], expected, protein)
  if step.wells is None or newest.side_chains is None:
    return states
  before = jax.tree.map(lambda x: x[None], newest.side_chains)
  offsets = step.numbers[..., NUM_BACKBONE:]
  side_chains = rotamers.placed(step.wells, offsets, before, protein.residue_type)
  return dataclasses.replace(states, side_chains=side_chains)


def step_between(
  newest: state_lib.State,
  states: state_lib.State,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> Step:
  """The step that leads from the newest state [L] to states [T, L]."""
  numbers, residue_type = update.motions(newest, states, expected, protein), protein.residue_type
  if newest.side_chains is None or states.side_chains is None:
    return Step(numbers)
  offsets = rotamers.offsets(states.side_chains, residue_type)
  return Step(
    jnp.concatenate([numbers, offsets], axis=-1), rotamers.wells(states.side_chains, residue_type)
  )


def preconditioning(tau: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Factors of z_tau and of the network in the mean of y, for y and z_0 of unit variance.

  With them the network's target has unit variance at every tau (Karras et al. 2022, Appendix
  B.6, for a straight line): E[y | z] of a Gaussian is `keep` z, and what it leaves open has the
  standard deviation `scale`.
  """
  square = tau**2 + (1.0 - tau) ** 2
  return tau / square, (1.0 - tau) * jax.lax.rsqrt(square)


def draw_noise(
  rng: jax.Array,
  num_frames: int,
  newest: state_lib.State,
  expected: expected_lib.Expected,
  protein: protein_lib.ProteinArrays,
) -> Noise:
  """Normal motions and offsets, a uniform psi; the order and the chance of wells.

  Drawn residue by residue, so that padding does not change it.

  Args:
    rng: a key.
    num_frames: T.
    newest: [L] state that the step starts from.
    expected: of the T frames: how residues move together.
    protein: [L] residues.
  """
  length = protein.residue_type.shape[0]
  motion_rng, angle_rng, side_chain_rng = jax.random.split(rng, 3)
  motions = jax.random.normal(motion_rng, (length, num_frames, NUM_MOTIONS))
  angle = jax.random.uniform(angle_rng, (length, num_frames, 1), minval=-np.pi, maxval=np.pi)
  numbers = jnp.moveaxis(jnp.concatenate([motions, angle], axis=-1), 0, 1)
  numbers = numbers.at[..., :3].set(expected.coherent(numbers[..., :3]))
  noise = Noise(numbers)
  if newest.side_chains is not None:
    offset_rng, order_rng, well_rng = jax.random.split(side_chain_rng, 3)
    shape = (length, num_frames, rotamers.NUM_CHI)
    there = rotamers.free(protein.residue_type)[None]
    offsets = jnp.moveaxis(jax.random.normal(offset_rng, shape), 0, 1)
    gumbel = jnp.moveaxis(jax.random.gumbel(well_rng, (*shape, rotamers.NUM_WELLS)), 0, 1)
    order = rotamers.draw_order(order_rng, num_frames, length)
    noise = Noise(
      jnp.concatenate([numbers, jnp.where(there, offsets, 0.0)], axis=-1),
      Chances(jnp.where(there, order, _NEVER), gumbel),
    )
  # As in `state.perturb`.
  return jax.lax.optimization_barrier(noise)


def follow(
  end: Callable[[Step, jax.Array], tuple[jax.Array, jax.Array | None]], noise: Noise, passes: int
) -> Step:
  """Carries noise to a sample in K steps of second order, and draws the wells on the way.

  Between tau and tau' the mean of y is taken to go on changing as it did in the step before, and
  its value half-way is aimed at (Adams-Bashforth). Plain Euler steps contract: of a unit
  Gaussian, eight of them return a standard deviation of 0.85; these 1.02.

  Args:
    end: of a step at tau, and tau: the mean of y given z_tau, and logits of the wells.
    noise: numbers of any shape, and the chances of wells.
    passes: K; with one, `end` maps the noise to a sample at once.
  """
  chances = noise.chances

  def drawn(wells: jax.Array, logits: jax.Array, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The wells after a pass, and which are new."""
    assert chances is not None
    now = (wells == rotamers.HIDDEN) & (chances.order < (index + 1.0) / passes)
    found = jnp.argmax(logits + chances.gumbel, axis=-1).astype(wells.dtype)
    return jnp.where(now, found, wells), now

  def one_pass(carry, index):
    step, before, new = carry
    mean, logits = end(step, index / passes)
    change = jnp.where(index > 0, 0.5 * (mean - before), 0.0)
    wells = step.wells
    if wells is not None:
      assert logits is not None
      # That a well has come to be known changes the mean once, and does not go on.
      offsets = jnp.where(new, 0.0, change[..., -rotamers.NUM_CHI :])
      change = jnp.concatenate([change[..., : -rotamers.NUM_CHI], offsets], axis=-1)
      wells, new = drawn(wells, logits, index)
    # dz/dtau = (aim - z) / (1 - tau); the last step therefore ends in the aim itself.
    numbers = step.numbers + (mean + change - step.numbers) / (passes - index)
    return (Step(numbers, wells), mean, new), None

  wells, new = None, None
  if chances is not None:
    wells = jnp.full(chances.order.shape, rotamers.HIDDEN, jnp.int32)
    new = jnp.zeros(wells.shape, bool)
  index = jnp.arange(passes, dtype=noise.numbers.dtype)
  start = Step(noise.numbers, wells), noise.numbers, new
  return jax.lax.scan(one_pass, start, index)[0][0]


def draw(
  network: Generator,
  params: Any,
  noised: state_lib.Window,
  protein: protein_lib.ProteinArrays,
  level: level_lib.Level,
  expected: expected_lib.Expected,
  sigma: jax.Array,
  temperature_K: jax.Array,
  noise: Noise,
  passes: int,
  backbone_of: state_lib.State | None = None,
) -> state_lib.State:
  """A sample of the next T states, [T, L], from noise in K passes (`follow`).

  With one pass the head maps noise to a sample at once.

  Args:
    network: the level's network.
    params: its parameters.
    noised: the window.
    protein: [L] residues.
    level: the level's scalars.
    expected: of the T frames, from the noised window.
    sigma: [] noise that is already in the window.
    temperature_K: [] K.
    noise: of T frames, from `draw_noise`.
    passes: K.
    backbone_of: [T, L] states whose backbones are given: only their side chains are drawn.
  """
  variables = {'params': params}
  hidden = network.apply(
    variables, noised, protein, sigma, level.dt_ns, temperature_K, method='encode'
  )

  def end(step: Step, tau: jax.Array, backbone_tau: jax.Array | None = None) -> Any:
    taus = tau if backbone_tau is None else backbone_tau, tau
    inputs = hidden, noised, step, *taus, expected, protein
    found: Any = network.apply(variables, *inputs, method='end')
    mean, logits = found
    return mean, None if logits is None else logits + stay

  newest, stay = noised.states[-1], jnp.zeros(())
  if newest.side_chains is not None:
    stay = rotamers.staying(
      newest.side_chains,
      protein.residue_type,
      network.config.rotamer_stay,
      level.dt_ns,
      protein.implicit,
    )[None]
  if backbone_of is None:
    return applied(newest, follow(end, noise, passes), expected, protein)
  given = update.motions(newest, backbone_of, expected, protein)

  def end_of_offsets(step: Step, tau: jax.Array) -> Any:
    whole = Step(jnp.concatenate([given, step.numbers], axis=-1), step.wells)
    mean, logits = end(whole, tau, jnp.ones_like(tau))
    return mean[..., NUM_BACKBONE:], logits

  of_side_chains = dataclasses.replace(noise, numbers=noise.numbers[..., NUM_BACKBONE:])
  found = follow(end_of_offsets, of_side_chains, passes)
  whole = Step(jnp.concatenate([given, found.numbers], axis=-1), found.wells)
  drawn = applied(newest, whole, expected, protein)
  return dataclasses.replace(backbone_of, side_chains=drawn.side_chains)

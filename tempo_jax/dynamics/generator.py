"""A generative transition: noise becomes a sample of the next T frames.

One step is described by the numbers y, per next frame and residue the translation and rotation
vector of T_newest^-1 T_next in units of one step's spread (`update.motions`), N-CA-C, the turn of
a free psi, and those of chi. Noise z_0 is carried to y along the straight line
z_tau = (1 - tau) z_0 + tau y (flow matching: Lipman et al. 2023; on frames: FrameFlow, FoldFlow),
on the circle where y is an angle. The spatiotemporal encoder runs once; a light head, which sees
the partly noised frames, then says where the line ends, K times. All of it is expressed in the
residues' own frames: equivariant by construction. Side chains may be drawn with the backbone, or
alone on one that is given.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax import config as config_lib
from tempo_jax.dynamics import head as head_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers, update
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import spatiotemporal_encoder
from tempo_jax.protein import protein as protein_lib

NUM_MOTIONS = update.NUM_MOTIONS
NUM_BACKBONE = update.NUM_BACKBONE


def num_numbers(config: Any) -> int:
  """Numbers per residue and frame of a model's step; `config` is the model's configuration."""
  return NUM_BACKBONE + config_lib.has_side_chains(config) * rotamers.NUM_CHI


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
      seen = rotamers.features(side_chains, protein.residue_type)
    return self.encoder(*inputs, sigma, dt_ns, temperature_K, seen)[-1]

  def end(
    self,
    hidden: jax.Array,
    noised: state_lib.Window,
    numbers: jax.Array,
    tau: jax.Array,
    side_chain_tau: jax.Array,
    level: level_lib.Level,
    protein: protein_lib.ProteinArrays,
  ) -> jax.Array:
    """Where the line through z_tau ends: the mean of y given z_tau.

    Args:
      hidden: [L, D] from `encode`.
      noised: the window that was encoded.
      numbers: [T, L, N] z_tau.
      tau: [] in [0, 1), of the backbone; 1 for one that is given.
      side_chain_tau: [] in [0, 1), of the side chains: the same for both, or the backbone is given.
      level: the level's scalars.
      protein: [L] residues.

    Returns:
      [T, L, N].
    """
    newest = noised.states[-1]
    states = update.apply_motions(newest, numbers, level, protein)
    out = self.head(
      hidden,
      newest,
      states,
      numbers,
      noised.anchor,
      tau,
      side_chain_tau,
      level.translation_std,
      protein,
    )
    keep, scale = preconditioning(tau)
    ends = [
      keep * numbers[..., :NUM_MOTIONS] + scale * out[..., :NUM_MOTIONS],
      numbers[..., NUM_MOTIONS:NUM_BACKBONE] + (1.0 - tau) * out[..., NUM_MOTIONS:NUM_BACKBONE],
    ]
    if newest.side_chains is not None:
      unit = (1.0 - side_chain_tau) * side_chain_unit(newest.side_chains, level)
      there = rotamers.free(protein.residue_type)[None]
      turn = jnp.where(there, unit[None] * out[..., NUM_BACKBONE:], 0.0)
      ends.append(numbers[..., NUM_BACKBONE:] + turn)
    return jnp.concatenate(ends, axis=-1)

  def __call__(
    self,
    noised: state_lib.Window,
    numbers: jax.Array,
    level: level_lib.Level,
    protein: protein_lib.ProteinArrays,
    sigma: jax.Array,
    temperature_K: jax.Array,
  ) -> jax.Array:
    """Both parts once, for the shapes of the parameters."""
    hidden = self.encode(noised, protein, sigma, level.dt_ns, temperature_K)
    return self.end(hidden, noised, numbers, sigma, sigma, level, protein)


def preconditioning(tau: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Factors of z_tau and of the network in the mean of y, for y and z_0 of unit variance.

  With them the network's target has unit variance at every tau (Karras et al. 2022, Appendix
  B.6, for a straight line): E[y | z] of a Gaussian is `keep` z, and what it leaves open has the
  standard deviation `scale`.
  """
  square = tau**2 + (1.0 - tau) ** 2
  return tau / square, (1.0 - tau) * jax.lax.rsqrt(square)


def side_chain_unit(side_chains: rotamers.SideChains, level: level_lib.Level) -> jax.Array:
  """[L, 4] radians: how far turns are from noise that knows nothing, a root mean square."""
  return jnp.sqrt(2.0 * rotamers.turn_variance(side_chains.known, level))


def draw_noise(
  rng: jax.Array,
  num_frames: int,
  newest: state_lib.State,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
) -> jax.Array:
  """z_0 [T, L, N]: normal motions, a uniform psi, turns of chi, residue by residue.

  So drawn, padding does not change it.

  Args:
    rng: a key.
    num_frames: T.
    newest: [L] state that the step starts from.
    level: the level's scalars.
    protein: [L] residues.
  """
  length = protein.residue_type.shape[0]
  motion_rng, angle_rng, side_chain_rng = jax.random.split(rng, 3)
  motions = jax.random.normal(motion_rng, (length, num_frames, NUM_MOTIONS))
  angle = jax.random.uniform(angle_rng, (length, num_frames, 1), minval=-np.pi, maxval=np.pi)
  numbers = jnp.moveaxis(jnp.concatenate([motions, angle], axis=-1), 0, 1)
  if newest.side_chains is not None:
    turns = rotamers.draw_noise(
      side_chain_rng, num_frames, newest.side_chains, protein.residue_type, level
    )
    numbers = jnp.concatenate([numbers, turns], axis=-1)
  # As in `state.perturb`.
  return jax.lax.optimization_barrier(numbers)


def follow(
  end: Callable[[jax.Array, jax.Array], jax.Array], noise: jax.Array, passes: int
) -> jax.Array:
  """Carries noise to a sample in K steps of second order.

  Between tau and tau' the mean of y is taken to go on changing as it did in the step before, and
  its value half-way is aimed at (Adams-Bashforth). Plain Euler steps contract: of a unit
  Gaussian, eight of them return a standard deviation of 0.85; these 1.02.

  Args:
    end: of z_tau and tau, the mean of y given z_tau.
    noise: z_0, of any shape.
    passes: K; with one, `end` maps the noise to a sample at once.
  """

  def one_pass(carry, index):
    numbers, before = carry
    mean = end(numbers, index / passes)
    aim = mean + jnp.where(index > 0, 0.5 * (mean - before), 0.0)
    # dz/dtau = (aim - z) / (1 - tau); the last step therefore ends in the aim itself.
    return (numbers + (aim - numbers) / (passes - index), mean), None

  index = jnp.arange(passes, dtype=noise.dtype)
  return jax.lax.scan(one_pass, (noise, noise), index)[0][0]


def draw(
  network: Generator,
  params: Any,
  noised: state_lib.Window,
  protein: protein_lib.ProteinArrays,
  level: level_lib.Level,
  sigma: jax.Array,
  temperature_K: jax.Array,
  noise: jax.Array,
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
    sigma: [] noise that is already in the window.
    temperature_K: [] K.
    noise: [T, L, N] from `draw_noise`.
    passes: K.
    backbone_of: [T, L] states whose backbones are given: only their side chains are drawn.
  """
  variables = {'params': params}
  hidden = network.apply(
    variables, noised, protein, sigma, level.dt_ns, temperature_K, method='encode'
  )

  def end(numbers: jax.Array, tau: jax.Array, backbone_tau: jax.Array | None = None) -> Any:
    taus = tau if backbone_tau is None else backbone_tau, tau
    return network.apply(variables, hidden, noised, numbers, *taus, level, protein, method='end')

  newest = noised.states[-1]
  if backbone_of is None:
    return update.apply_motions(newest, follow(end, noise, passes), level, protein)
  given = update.motions(newest, backbone_of, level, protein)[..., :NUM_BACKBONE]

  def end_of_turns(turns: jax.Array, tau: jax.Array) -> jax.Array:
    numbers = jnp.concatenate([given, turns], axis=-1)
    return end(numbers, tau, jnp.ones_like(tau))[..., NUM_BACKBONE:]

  turns = follow(end_of_turns, noise[..., NUM_BACKBONE:], passes)
  drawn = update.apply_motions(newest, jnp.concatenate([given, turns], axis=-1), level, protein)
  return dataclasses.replace(backbone_of, side_chains=drawn.side_chains)

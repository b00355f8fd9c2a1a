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
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers, update
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import invariant_point_attention, spatiotemporal_encoder
from tempo_jax.geometry import backbone, rigid
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import protein as protein_lib

# Motion and N-CA-C, of unit spread.
NUM_MOTIONS = update.NUM_MOTIONS
# And psi: what the backbone is.
NUM_BACKBONE = NUM_MOTIONS + 1
# Å: relative positions of neighbours in the chain become numbers of order one.
_LENGTH_UNIT = 4.0
_OCTAVES = 4
# Å, over a trans peptide bond: C-N, CA-N, C-CA, CA-CA. Those of `geometry.ideal`, rounded: what the
# head reads as zero strain, so trained parameters depend on these very numbers.
_BOND_DISTANCES = (1.33, 2.43, 2.43, 3.80)


def num_numbers(config: Any) -> int:
  """Numbers per residue and frame of a model's step; `config` is the model's configuration."""
  return NUM_BACKBONE + config_lib.has_side_chains(config) * rotamers.NUM_CHI


def _chain_neighbours(frames: rigid.Rigid, bonds: bonds_lib.Bonds) -> jax.Array:
  """[T, L] frames -> [T, L, 24]: the next and the previous residue, seen from each."""

  def seen(other, there):
    motion = frames.inverse() @ other
    motion = rigid.Rigid(motion.rotation, motion.translation / _LENGTH_UNIT)
    return jnp.where(there[None, :, None], update.motion_numbers(motion), 0.0)

  following = jax.tree.map(lambda x: bonds.after(x, 1), frames)
  preceding = jax.tree.map(lambda x: bonds.before(x, 1), frames)
  both = [seen(following, bonds.to_next), seen(preceding, bonds.to_previous)]
  return jnp.concatenate(both, axis=-1)


def _bond_strain(states: state_lib.State, bonds: bonds_lib.Bonds, unit: jax.Array) -> jax.Array:
  """How far the peptide bonds are from closed, as vectors in the residues' own frames.

  Near the end of a line the noise is small against every feature but this one: what tells it from
  the protein is that bonds, whose geometry is known, are strained.

  Args:
    states: [T, L].
    bonds: of the L residues.
    unit: [] Å, the strain to be expected.

  Returns:
    [T, L, 24]: of four distances over the next bond and over the previous one, the vector by
    which the other end is too far, on a scale that is logarithmic for large strains.
  """
  frames = states.frames
  n, ca, c = backbone.n_ca_c_from_frames(frames, states.n_ca_c)
  here = jnp.stack([c, ca, c, ca], axis=2)  # [T, L, 4, 3]
  there = bonds.after(jnp.stack([n, n, ca, ca], axis=2), 1)
  vector = there - here
  length = jnp.sqrt(jnp.sum(vector**2, axis=-1, keepdims=True) + 1e-6)
  ideal = jnp.asarray(_BOND_DISTANCES, vector.dtype).reshape(1, 1, 4, 1)
  strain = jnp.where(bonds.to_next[None, :, None, None], (1.0 - ideal / length) * vector, 0.0)
  before = jnp.where(bonds.to_previous[None, :, None, None], bonds.before(strain, 1), 0.0)
  both = jnp.stack([strain, before], axis=2)  # [T, L, 2, 4, 3]
  rotation = frames.rotation[:, :, None, None]
  local = jnp.sum(rotation * both[..., :, None], axis=-2)
  return jnp.arcsinh(local.reshape(*frames.shape, 24) / unit)


class HeadBlock(nn.Module):
  """IPA, exchange along the chain and between the T frames, and a transition; all residual."""

  config: Any
  dtype: Any

  @nn.compact
  def __call__(
    self, hidden: jax.Array, frames: rigid.Rigid, protein: protein_lib.ProteinArrays
  ) -> tuple[jax.Array, None]:
    """Hidden [T, L, D], frames [T, L] -> ([T, L, D], None)."""
    config = self.config
    ipa = invariant_point_attention.from_config(config, self.dtype)
    hidden = hidden + ipa(nn.LayerNorm(name='norm')(hidden), frames, protein.mask)
    normed = nn.LayerNorm(name='exchange_norm')(hidden)
    bonds = protein.bonds
    others = [
      jnp.where(bonds.to_next[None, :, None], bonds.after(normed, 1), 0.0),
      jnp.where(bonds.to_previous[None, :, None], bonds.before(normed, 1), 0.0),
      # Every order of frames and of T: the other frames one after the other.
      *(jnp.roll(normed, shift, axis=0) for shift in range(1, hidden.shape[0])),
    ]
    exchange = nn.Dense(config.channels, dtype=self.dtype, name='exchange')
    hidden = hidden + exchange(jnp.concatenate(others, axis=-1))
    return spatiotemporal_encoder.Transition(self.dtype, name='transition')(hidden), None


def _side_chain_features(
  numbers: jax.Array,
  newest: state_lib.State,
  states: state_lib.State,
  anchor: state_lib.Anchor | None,
  protein: protein_lib.ProteinArrays,
) -> list[jax.Array]:
  """How side chains have turned, [T, L, 8], from which known ones, and how far the anchor's are."""
  assert newest.side_chains is not None
  assert states.side_chains is not None
  turns = numbers[..., NUM_BACKBONE:]
  known = newest.side_chains.known[None].astype(turns.dtype)
  found = [jnp.sin(turns), jnp.cos(turns), jnp.broadcast_to(known, turns.shape)]
  if anchor is not None:
    aim = jax.tree.map(lambda x: x[None], anchor.state.side_chains)
    ahead = rotamers.turns(states.side_chains, aim, protein.residue_type)
    ahead = jnp.concatenate([jnp.sin(ahead), jnp.cos(ahead)], axis=-1)
    seen = aim.known & anchor.place.known
    found.append(jnp.where(jnp.concatenate([seen, seen], axis=-1), ahead, 0.0))
  return found


class Head(nn.Module):
  """Reads the window's features and partly noised next frames.

  Attributes:
    config: the `head` section of the model's configuration.
    num_numbers: per residue and frame of a step.
    dtype: of the products that do not read geometry themselves; see `SpatiotemporalEncoder`.
  """

  config: Any
  num_numbers: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    hidden: jax.Array,
    newest: state_lib.State,
    states: state_lib.State,
    numbers: jax.Array,
    anchor: state_lib.Anchor | None,
    tau: jax.Array,
    side_chain_tau: jax.Array,
    translation_std: jax.Array,
    protein: protein_lib.ProteinArrays,
  ) -> jax.Array:
    """Args are for one protein.

    Args:
      hidden: [L, D] from the encoder.
      newest: [L] state that they come from.
      states: [T, L] partly noised next states.
      numbers: [T, L, N] the same as numbers z.
      anchor: where the segment ends, superposed on the newest state; or None.
      tau: [] in [0, 1), how much of the backbone's noise is gone; 1 for one that is given.
      side_chain_tau: [] in [0, 1), the same of the side chains.
      translation_std: [] Å, of the level.
      protein: [L] residues.

    Returns:
      [T, L, N].
    """
    config = self.config
    num_frames, length = numbers.shape[:2]
    # psi is an angle: it is seen among the torsions, not as a number.
    motions = numbers[..., :NUM_MOTIONS]
    turned = jnp.moveaxis(motions, 0, 1).reshape(length, -1)
    features = [
      motions,
      jnp.broadcast_to(turned[None], (num_frames, *turned.shape)),
      update.conformation(states, protein),
      _chain_neighbours(states.frames, protein.bonds),
      _bond_strain(states, protein.bonds, 0.05 + (1.0 - tau) * translation_std),
    ]
    if anchor is not None:
      ahead = update.motion_numbers(states.frames.inverse() @ anchor.state.frames[None])
      features.append(jnp.where(anchor.place.known, ahead, 0.0))
    times = [tau]
    if states.side_chains is not None:
      features += _side_chain_features(numbers, newest, states, anchor, protein)
      times.append(side_chain_tau)
    octaves = np.pi * np.float32(2.0) ** np.arange(-1, _OCTAVES - 1, dtype=np.float32)
    phases = jnp.concatenate([octaves * time for time in times])
    time = nn.Dense(config.channels, name='tau')(
      jnp.concatenate([jnp.sin(phases), jnp.cos(phases)])
    )
    normed = nn.LayerNorm(name='context_norm')(hidden)
    context = nn.Dense(config.channels, dtype=self.dtype, name='context')(normed)
    order = self.param('order', nn.initializers.normal(0.1), (num_frames, config.channels))
    read = nn.Dense(config.channels, precision=jax.lax.Precision.HIGHEST, name='noised')
    x = read(jnp.concatenate(features, axis=-1))
    x = x + context[None] + order[:, None] + time[None, None]
    frames = update.centred(states.frames, protein.mask)
    blocks = spatiotemporal_encoder.repeated(HeadBlock, config.num_blocks, 2)
    x, _ = blocks(config, self.dtype, name='blocks')(x, frames, protein)
    x = nn.LayerNorm(name='out_norm')(x)
    # Zero at the start of training: the best guess of Gaussian numbers that knows nothing.
    return nn.Dense(self.num_numbers, kernel_init=nn.initializers.zeros, name='out')(x)


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
    self.head = Head(self.config.head, num_numbers(self.config), dtype)

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
      there = rotamers.free(protein.residue_type)
      turn = jnp.where(there, unit * out[..., NUM_BACKBONE:], 0.0)
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

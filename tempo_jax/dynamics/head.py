"""The light head: reads the window's features and partly noised next frames, K times per step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import rotamers, update
from tempo_jax.dynamics import state as state_lib
from tempo_jax.encoder import invariant_point_attention, spatiotemporal_encoder
from tempo_jax.geometry import backbone, rigid
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import protein as protein_lib

# Å: relative positions of neighbours in the chain become numbers of order one.
_LENGTH_UNIT = 4.0
# Of `_known_wells`: the newest state's, those of other frames, the anchor's.
_NUM_KNOWN = 3
# Of `_known_offsets`: the window's, the anchor's.
_NUM_OFFSETS = 2
_OCTAVES = 4
# Å, over a trans peptide bond: C-N, CA-N, C-CA, CA-CA. Those of `geometry.ideal`, rounded: what the
# head reads as zero strain, so trained parameters depend on these very numbers.
_BOND_DISTANCES = (1.33, 2.43, 2.43, 3.80)


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


def _way_expected(expected: expected_lib.Expected) -> jax.Array:
  """[T, L, 4]: how far each residue is expected to go, and how sure that is."""
  way = expected.ca - expected.frames.translation[None]
  turn = jnp.swapaxes(expected.frames.rotation, -1, -2)[None]
  local = jnp.sum(turn * way[..., None, :], axis=-1)
  spread = expected.spread[..., None]
  return jnp.concatenate([local / spread, jnp.log(spread)], axis=-1)


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


def _known_wells(wells: jax.Array, window: state_lib.Window, residue_type: jax.Array) -> jax.Array:
  """Wells that a draw may go by, `rotamers.seen_wells` of each: [T, L, 3, 4, 3].

  Those of the newest state, of the other frames as far as they are drawn, and of the anchor.

  Args:
    wells: [T, L, 4] as far as they are drawn.
    window: of T frames.
    residue_type: [L].
  """
  newest, anchor = window.states[-1], window.anchor
  assert newest.side_chains is not None
  shown = rotamers.seen_wells(wells)
  before = rotamers.seen_wells(rotamers.wells(newest.side_chains, residue_type))
  ahead = jnp.zeros_like(before)
  if anchor is not None and anchor.state.side_chains is not None:
    aim = rotamers.seen_wells(rotamers.wells(anchor.state.side_chains, residue_type))
    ahead = jnp.where(anchor.place.known, aim, 0.0)
  others = jnp.sum(shown, axis=0, keepdims=True) - shown
  known = (jnp.broadcast_to(x, shown.shape) for x in (before[None], others, ahead[None]))
  return jnp.stack(list(known), axis=2)


def _known_offsets(
  wells: jax.Array, window: state_lib.Window, residue_type: jax.Array
) -> jax.Array:
  """Offsets that a torsion has had in the well that it is drawn in: [T, L, 2, 4].

  The mean over the window, and the anchor's; 0 where the well is hidden, or there was none in it.

  Args:
    wells: [T, L, 4] as far as they are drawn.
    window: T frames.
    residue_type: [L].
  """
  drawn = rotamers.seen_wells(wells)

  def mean(side_chains: rotamers.SideChains, known: jax.Array) -> jax.Array:
    """Of [N, L] side chains; [N] bool."""
    before = rotamers.seen_wells(rotamers.wells(side_chains, residue_type))
    before = jnp.where(known[:, None, None, None], before, 0.0)
    own = rotamers.offsets(side_chains, residue_type)[..., None]
    there, total = jnp.sum(before, axis=0), jnp.sum(before * own, axis=0)  # [L, 4, 3]
    return jnp.sum(drawn * (total / jnp.maximum(there, 1.0))[None], axis=-1)

  assert window.states.side_chains is not None
  found = [mean(window.states.side_chains, window.known), jnp.zeros(drawn.shape[:-1])]
  if window.anchor is not None and window.anchor.state.side_chains is not None:
    aim = jax.tree.map(lambda x: x[None], window.anchor.state.side_chains)
    found[1] = mean(aim, window.anchor.place.known[None])
  return jnp.stack(found, axis=2)


def _side_chain_features(
  numbers: jax.Array,
  wells: jax.Array,
  known: jax.Array,
  offsets: jax.Array,
  states: state_lib.State,
  anchor: state_lib.Anchor | None,
  protein: protein_lib.ProteinArrays,
) -> list[jax.Array]:
  """Offsets, wells, where side chains are as far as they are drawn; what is known of all three."""
  assert states.side_chains is not None
  flat = (*wells.shape[:2], -1)
  reach = rotamers.reach(states.side_chains, protein.residue_type)
  shown = rotamers.seen_wells(wells)
  found = [numbers[..., update.NUM_BACKBONE :], reach]
  found += [x.reshape(flat) for x in (shown, known, offsets)]
  if anchor is not None:
    assert anchor.state.side_chains is not None
    aim = rotamers.features(anchor.state.side_chains, protein.residue_type)
    aim = jnp.where(anchor.place.known, aim, 0.0)
    found.append(jnp.broadcast_to(aim[None], (*wells.shape[:2], aim.shape[-1])))
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
    window: state_lib.Window,
    states: state_lib.State,
    numbers: jax.Array,
    wells: jax.Array | None,
    tau: jax.Array,
    side_chain_tau: jax.Array,
    expected: expected_lib.Expected,
    protein: protein_lib.ProteinArrays,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Args are for one protein.

    Args:
      hidden: [L, D] from the encoder.
      window: of T frames, which they follow; its anchor superposed on the newest state.
      states: [T, L] partly noised next states.
      numbers: [T, L, N] the same as numbers z.
      wells: [T, L, 4] of side chains, as far as they are drawn; None without side chains.
      tau: [] in [0, 1), how much of the backbone's noise is gone; 1 for one that is given.
      side_chain_tau: [] in [0, 1), the same of the side chains.
      expected: of the T frames.
      protein: [L] residues.

    Returns:
      [T, L, N], and logits [T, L, 4, 3] of wells, None without side chains. Of side chains, a part
      is the network's own, the other how far it goes by each of `_known_offsets` and
      `_known_wells`.
    """
    config = self.config
    num_frames, length = numbers.shape[:2]
    anchor = window.anchor
    # psi is an angle: it is seen among the torsions, not as a number.
    motions = numbers[..., : update.NUM_MOTIONS]
    turned = jnp.moveaxis(motions, 0, 1).reshape(length, -1)
    features = [
      motions,
      jnp.broadcast_to(turned[None], (num_frames, *turned.shape)),
      update.conformation(states, protein),
      _chain_neighbours(states.frames, protein.bonds),
      _bond_strain(states, protein.bonds, 0.05 + (1.0 - tau) * expected.strain),
      _way_expected(expected),
    ]
    if anchor is not None:
      ahead = update.motion_numbers(states.frames.inverse() @ anchor.state.frames[None])
      features.append(jnp.where(anchor.place.known, ahead, 0.0))
    times = [tau]
    known, offsets = None, None
    if wells is not None:
      known = _known_wells(wells, window, protein.residue_type)
      offsets = _known_offsets(wells, window, protein.residue_type)
      features += _side_chain_features(numbers, wells, known, offsets, states, anchor, protein)
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
    # Zero at the start of training: the best guess of Gaussian numbers that knows nothing, and each
    # well as likely as any.
    zeros = nn.initializers.zeros
    if wells is None or known is None or offsets is None:
      return nn.Dense(self.num_numbers, kernel_init=zeros, name='out')(x), None
    per_chi = rotamers.NUM_WELLS + _NUM_KNOWN + _NUM_OFFSETS
    size = self.num_numbers + rotamers.NUM_CHI * per_chi
    out = nn.Dense(size, kernel_init=zeros, name='out')(x)
    of_chi = out[..., self.num_numbers :].reshape(*wells.shape, per_chi)
    logits, trust, going_by = jnp.split(
      of_chi, [rotamers.NUM_WELLS, rotamers.NUM_WELLS + _NUM_KNOWN], axis=-1
    )
    trust = jnp.moveaxis(trust, -1, 2)[..., None]
    lean = jnp.sum(jnp.moveaxis(going_by, -1, 2) * offsets, axis=2)
    backbone_numbers, own = jnp.split(out[..., : self.num_numbers], [update.NUM_BACKBONE], axis=-1)
    numbers = jnp.concatenate([backbone_numbers, own + lean], axis=-1)
    return numbers, logits + jnp.sum(trust * known, axis=2)

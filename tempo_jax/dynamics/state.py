"""The state of a protein: per residue a frame, the angle N-CA-C, three torsions, its side chain.

Torsions are never a second truth. N, CA and C come from the frames and the angle, O from psi, and
psi from the frames wherever the next residue's N fixes it; phi and omega always follow from the
atoms. The only torsion that is free is psi where no peptide bond follows. Without the angle, which
in MD varies by 3.4 degrees, C would be off by 0.1 Å, and every peptide bond with it. The paper's 13
numbers have none. Side chains are their torsions chi (`rotamers`), of models that have them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import rotamers
from tempo_jax.geometry import alignment, backbone, ideal, quaternion, rigid, torsion
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.protein import protein as protein_lib

NUM_FEATURES = 13


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """Conformations with ideal lengths of N-CA, CA-C and C-O.

  Attributes:
    frames: [..., L] residue frames, Å.
    torsions: [..., L, 3] phi, psi, omega in radians.
    n_ca_c: [..., L] radians, the angle at CA.
    side_chains: [..., L]; None for a model without them.
  """

  frames: rigid.Rigid
  torsions: jax.Array
  n_ca_c: jax.Array
  side_chains: rotamers.SideChains | None = None

  @property
  def psi(self) -> jax.Array:
    """[..., L] radians."""
    return self.torsions[..., 1]

  def __getitem__(self, index: Any) -> 'State':
    """Indexes the axes in front of the residues."""
    return jax.tree.map(lambda x: x[index], self)

  def with_frames(self, frames: rigid.Rigid) -> 'State':
    """The same conformations elsewhere: frames that a global motion has moved."""
    return dataclasses.replace(self, frames=frames)


def from_frames(
  frames: rigid.Rigid,
  psi: jax.Array,
  bonded: jax.Array | bonds_lib.Bonds,
  n_ca_c: jax.Array | float = ideal.N_CA_C,
  side_chains: rotamers.SideChains | None = None,
) -> State:
  """State of the conformation that the frames describe.

  Args:
    frames: [..., L] residue frames, Å.
    psi: [..., L] radians; used where no peptide bond follows.
    bonded: [L] bool, or `Bonds`.
    n_ca_c: [..., L] radians, the angle at CA.
    side_chains: [..., L]; None for a model without them.
  """
  n_ca_c = jnp.broadcast_to(jnp.asarray(n_ca_c, psi.dtype), frames.shape)
  angles, mask = torsion.chain_torsions(*backbone.n_ca_c_from_frames(frames, n_ca_c), bonded)
  free = jnp.stack([jnp.zeros_like(psi), psi, jnp.zeros_like(psi)], axis=-1)
  return State(frames, jnp.where(mask, angles, free), n_ca_c, side_chains)


def from_positions(positions: jax.Array, bonded: jax.Array | bonds_lib.Bonds) -> State:
  """State of backbone atoms [..., L, 4, 3], Å; idealises bond lengths and places O anew."""
  torsions, _ = torsion.backbone_torsions(positions, bonded)
  frames, angles = backbone.frames_from_atoms(positions), backbone.n_ca_c_angles(positions)
  return from_frames(frames, torsions[..., 1], bonded, angles)


def of_model(
  config: Any,
  positions: jax.Array,
  protein: protein_lib.ProteinArrays,
  side_chains: rotamers.SideChains | None = None,
) -> State:
  """The state [..., L] as a model knows it: the paper's 13 numbers do not hold N-CA-C.

  Args:
    config: the model's configuration.
    positions: [..., L, 4, 3] Å.
    protein: [L] residues; its positions and chi are not read.
    side_chains: [..., L]; None: not known. A model without side chains leaves them out.
  """
  state = from_positions(positions, protein.bonds)
  if config.update_rule == 'global':
    state = from_frames(state.frames, state.psi, protein.bonds)
  if not config_lib.has_side_chains(config):
    return state
  if side_chains is None:
    side_chains = rotamers.unknown(jnp.broadcast_to(protein.residue_type, state.psi.shape))
  return dataclasses.replace(state, side_chains=side_chains)


def to_positions(state: State) -> jax.Array:
  """Backbone atoms N, CA, C, O, [..., L, 4, 3] Å."""
  return backbone.atoms_in_frames(state.frames, state.psi, state.n_ca_c)


def to_vector(state: State) -> jax.Array:
  """The 13 numbers of the paper (section 3).

  Returns:
    [..., L, 13]: unit quaternion with non-negative real part, translation (Å), sines of phi,
    psi, omega, cosines of the same.
  """
  return jnp.concatenate(
    [
      quaternion.from_matrix(state.frames.rotation),
      state.frames.translation,
      torsion.to_sin_cos(state.torsions),
    ],
    axis=-1,
  )


def from_vector(vector: jax.Array, bonded: jax.Array | bonds_lib.Bonds) -> State:
  """Inverse of `to_vector` for any 13 numbers: quaternion and circles are projected.

  N-CA-C, of which they do not know, is ideal.
  """
  frames = rigid.Rigid(quaternion.to_matrix(vector[..., :4]), vector[..., 4:7])
  return from_frames(frames, torsion.from_sin_cos(vector[..., 7:])[..., 1], bonded)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Anchor:
  """A state that a level keeps in sight: where its segment ends, or where its trajectory began.

  Attributes:
    state: [L].
    place: what it is, and how many frames after the newest frame of the window.
  """

  state: State
  place: anchor_lib.Place

  def superposed_on(self, newest: State, mask: jax.Array) -> 'Anchor':
    """The same, superposed by CA on the newest state [L]: its pose carries no information."""
    motion = jax.lax.stop_gradient(
      alignment.superpose(
        self.state.frames.translation, newest.frames.translation, mask.astype(jnp.float32)
      )
    )
    return Anchor(self.state.with_frames(motion[None] @ self.state.frames), self.place)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Window:
  """The memory of the process, T consecutive states with the newest last, and its aim.

  Attributes:
    states: [T, L].
    known: [T] bool, False where there is no such frame and the entry is a placeholder.
    anchor: where the segment ends, or the trajectory began; None for a model whose `anchors` is
      'start'.
    prior: `expected.Prior` of the protein; None for a model without one.
  """

  states: State
  known: jax.Array
  anchor: Anchor | None = None
  prior: Any = None

  def followed_by(self, states: State) -> 'Window':
    """The window of the next T states, [T, L]."""
    anchor = self.anchor
    if anchor is not None:
      anchor = Anchor(anchor.state, anchor.place.after(self.known.shape[0]))
    return Window(states, jnp.ones_like(self.known), anchor, self.prior)


def start_window(
  state: State, num_frames: int, anchor: Anchor | None = None, prior: Any = None
) -> Window:
  """Window of one known state [L] and nothing before it."""
  states = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_frames, *x.shape)), state)
  return Window(states, jnp.arange(num_frames) == num_frames - 1, anchor, prior)


def perturb(
  states: State,
  sigma: jax.Array,
  level: level_lib.Level,
  protein: protein_lib.ProteinArrays,
  rng: jax.Array,
) -> State:
  """The noise of the SDE: X + sigma * eps, in physical units per part.

  Noise acts on the right, in each residue's own frame, so that it commutes with a global
  motion. It is drawn residue by residue, so that padding does not change it
  (with jax's default generator, threefry in its partitionable form).

  Args:
    states: [T, L].
    sigma: [] noise scale.
    level: the level's scalars, with `noise_translation` (Å), `noise_rotation` (rad) and
      `noise_torsion` (rad) per unit of sigma.
    protein: [L] residues; its positions are not read.
    rng: a key.
  """
  num_frames, length = states.psi.shape
  side_chains = states.side_chains
  number = 7 if side_chains is None else 7 + rotamers.NUM_CHI
  eps = jax.random.normal(rng, (length, num_frames, number), states.psi.dtype)
  # Drawn once: XLA would compute normal numbers anew, and compile them, in each of their uses.
  eps = jax.lax.optimization_barrier(eps)
  eps = sigma * jnp.moveaxis(eps, 0, 1)
  kick = rigid.Rigid.exp(
    level.noise_translation * eps[..., :3], level.noise_rotation * eps[..., 3:6]
  )
  psi = states.psi + level.noise_torsion * eps[..., 6]
  if side_chains is not None:
    turn = level.noise_torsion * eps[..., 7:]
    side_chains = rotamers.jittered(side_chains, turn, protein.residue_type)
  return from_frames(states.frames @ kick, psi, protein.bonds, states.n_ca_c, side_chains)

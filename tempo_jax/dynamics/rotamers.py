"""Side chains in the state: their torsions chi 1-4, as wells of rotamers and offsets within them.

A torsion with the period pi (the flip of a ring, of a carboxylate) is no motion: everything here
works on phases, chi times 2 pi over its period, so that both images are one. What is written goes
on from the image before.

A phase is one of three wells, thirds of the circle about 60, 180 and -60 degrees, and an offset
from where residues of the type stand in that well, in units of how far they spread there
(`rotamer_table`). Of bonds between tetrahedral carbons the wells are gauche+, trans and gauche-,
and a hop is another well, not a long way; elsewhere they are thirds and nothing more. Wells are
drawn from probabilities, one after the other; offsets move along a straight line from noise, as the
numbers of the backbone do.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import rotamer_table
from tempo_jax.geometry import ideal
from tempo_jax.geometry import side_chains as geometry
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

NUM_CHI = 4
NUM_WELLS = 3
# A well that is not known, or not drawn yet.
HIDDEN = -1
_ALL_TYPES = np.arange(len(protein_lib.RESIDUE_TYPES))
_FREE = side_chain_atoms.chi_mask(_ALL_TYPES)
_STAGGERED = side_chain_atoms.staggered_mask(_ALL_TYPES)
_PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')
# Of chi between tetrahedral carbons: what is drawn farther than the knee from the centre of its
# well, in units of its spread, is brought back by a part. A Gaussian has 9 % there.
_KNEE, _BEYOND = np.float32(1.7), np.float32(0.4)
# Å: positions become numbers of order one.
_LENGTH_UNIT = np.float32(4.0)
# The first atom beyond CB, and the last one, of 14 heavy atoms.
_GAMMA = 5
_ATOMS = side_chain_atoms.atom_mask(_ALL_TYPES)
_BEYOND_CB = _ATOMS & (np.arange(_ATOMS.shape[1]) >= _GAMMA)
# Weights of the last atom, and of the mean of those beyond CB.
_LAST = np.eye(_ATOMS.shape[1], dtype=np.float32)[_ATOMS.sum(axis=1) - 1]
_MEAN = (_BEYOND_CB / np.maximum(_BEYOND_CB.sum(axis=1, keepdims=True), 1)).astype(np.float32)
# N, CA, C in the frame of a residue; O is not read.
_BACKBONE = np.concatenate([ideal.N_CA_C_POSITIONS, np.ones((1, 3))]).astype(np.float32)
# The chi1 of a proline's ring.
_LARGEST_OF_PROLINE = np.deg2rad(40.0).astype(np.float32)
_THIRD = np.float32(2.0 * np.pi / NUM_WELLS)
# Largest distance of a pucker from the middle of its well: inside, so that rounding does not cross.
_WITHIN = np.float32(0.495) * _THIRD
# [21, 4, 3] radians of phase, of each well: from its middle to where residues stand, and how far
# they spread about that. 0 and 1 where there is no torsion.
_CENTRE, _SPREAD = rotamer_table.arrays()
_PER_PERIOD = np.float32(2.0 * np.pi) / side_chain_atoms.chi_period(_ALL_TYPES).astype(np.float32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SideChains:
  """Conformations of side chains.

  Attributes:
    chi: [..., L, 4] radians; 0 where there is none, or it is not known.
    known: [..., L, 4] bool.
  """

  chi: jax.Array
  known: jax.Array

  def unless(self, hidden: jax.Array) -> 'SideChains':
    """The same, or unknown where `hidden` [] is true."""
    return SideChains(jnp.where(hidden, 0.0, self.chi), self.known & ~hidden)


def free(residue_type: jax.Array) -> jax.Array:
  """[L, 4] bool: the torsions that residues of these types [L] have, and no ring fixes."""
  return jnp.asarray(_FREE)[residue_type]


def _rows(table: np.ndarray, residue_type: jax.Array, like: jax.Array) -> jax.Array:
  """Rows of a table by residue type, of the shape [..., L, 4] of another array."""
  return jnp.broadcast_to(jnp.asarray(table)[residue_type], like.shape)


def _per_period(residue_type: jax.Array, angles: jax.Array) -> jax.Array:
  """Phase per angle, of the shape of the angles [..., L, 4]."""
  return _rows(_PER_PERIOD, residue_type, angles)


def unknown(residue_type: jax.Array) -> SideChains:
  """Side chains [L] of which nothing is known."""
  shape = (*jnp.shape(residue_type), NUM_CHI)
  return SideChains(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, bool))


def of_protein(protein: protein_lib.ProteinArrays) -> SideChains:
  """Side chains [L] of the conformation of a protein."""
  if protein.chi is None:
    return unknown(protein.residue_type)
  return SideChains(jnp.asarray(protein.chi), jnp.asarray(protein.chi_known))


def _phases(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  return side_chains.chi * _per_period(residue_type, side_chains.chi)


def wrapped(angle: jax.Array) -> jax.Array:
  """The same angle in -pi to pi, radians."""
  return jnp.arctan2(jnp.sin(angle), jnp.cos(angle))


def features(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """[..., L, 12]: sines and cosines of the phases, zero where unknown, and what is known."""
  phase = _phases(side_chains, residue_type)
  numbers = jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)
  known = jnp.concatenate([side_chains.known, side_chains.known], axis=-1)
  return jnp.concatenate(
    [jnp.where(known, numbers, 0.0), side_chains.known.astype(numbers.dtype)], axis=-1
  )


def within_wells(chi: jax.Array, residue_type: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Wells [..., L, 4] int32 of chi, and radians of phase from the middle of each."""
  phase = chi * _per_period(residue_type, chi)
  turn = jnp.mod(phase, np.float32(2.0 * np.pi))
  # The remainder may round up to a whole turn.
  index = jnp.minimum(jnp.floor(turn / _THIRD).astype(jnp.int32), NUM_WELLS - 1)
  return index, wrapped(phase - _middles(index))


def wells(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """[..., L, 4] int32: 0, 1, 2 for the well about 60, 180 and -60 degrees; `HIDDEN` if unknown."""
  index, _ = within_wells(side_chains.chi, residue_type)
  return jnp.where(side_chains.known, index, HIDDEN)


def _middles(wells: jax.Array) -> jax.Array:
  """Radians of phase."""
  return _THIRD * (wells.astype(jnp.float32) + 0.5)


def _of_types(wells: jax.Array, residue_type: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Where types stand in wells [..., L, 4], from the middle, and spread; 0 where one is hidden."""
  seen = seen_wells(wells)

  def entry(table: np.ndarray) -> jax.Array:
    rows = jnp.broadcast_to(jnp.asarray(table)[residue_type], seen.shape)
    return jnp.sum(rows * seen, axis=-1)  # An index is slower.

  return entry(_CENTRE), entry(_SPREAD)


def offsets(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """[..., L, 4]: how far phases are from the centres of their wells, of unit spread in MD."""
  index, off = within_wells(side_chains.chi, residue_type)
  centre, spread = _of_types(index, residue_type)
  return jnp.where(side_chains.known, (off - centre) / spread, 0.0)


def placed(
  wells: jax.Array, offsets: jax.Array, before: SideChains, residue_type: jax.Array
) -> SideChains:
  """Side chains in wells; known where a torsion is free and its well not hidden.

  The ring of a proline has the pucker of its well, however far its offset reaches.

  Args:
    wells: [..., L, 4] int32.
    offsets: [..., L, 4] from the centres of the wells, of unit spread.
    before: [..., L]; of the images of a ring the one nearest to its angle is taken.
    residue_type: [L].
  """
  centre, spread = _of_types(wells, residue_type)
  off = centre + spread * offsets
  is_proline = (jnp.asarray(residue_type) == _PROLINE)[..., None]
  off = jnp.where(is_proline, jnp.clip(off, -_WITHIN, _WITHIN), off)
  phase = _middles(wells) + off
  turn = wrapped(phase - _phases(before, residue_type)) / _per_period(residue_type, phase)
  known = _rows(_FREE, residue_type, wells) & (wells != HIDDEN)
  return SideChains(jnp.where(known, wrapped(before.chi + turn), 0.0), known)


def seen_wells(wells: jax.Array) -> jax.Array:
  """[..., 4, 3]: 1 for the well that a torsion is in; 0 where that is hidden."""
  return jax.nn.one_hot(wells, NUM_WELLS)


def staying(
  side_chains: SideChains,
  residue_type: jax.Array,
  rows: Sequence[Sequence[float]],
  dt_ns: jax.Array,
  implicit: jax.Array,
) -> jax.Array:
  """What is added to the logits of wells, so that torsions stay where they are: [L, 4, 3].

  Args:
    side_chains: [L].
    residue_type: [L].
    rows: lags (ns), numbers for chi1, for other torsions, and for the puckers of proline, in any
      solvent, or in explicit and then in implicit solvent: `config.rotamer_stay`.
    dt_ns: [] time step, ns.
    implicit: [], 1 in implicit, 0 in explicit solvent, 0.5 where it is not known.

  Returns:
    The number of the time step for the well that a torsion is in, where that is known; 0 for
    other wells.
  """
  if not rows:
    return jnp.zeros((*jnp.shape(residue_type), NUM_CHI, NUM_WELLS))
  lags, *columns = np.array(rows, np.float32).T
  numbers = jnp.stack([jnp.interp(jnp.log(dt_ns), np.log(lags), x) for x in columns])
  in_explicit, in_implicit = numbers[:3], numbers[-3:]
  chi1, other, pucker = in_explicit + implicit * (in_implicit - in_explicit)
  in_ring = (jnp.asarray(residue_type) == _PROLINE)[:, None]
  number = jnp.where(in_ring, pucker, jnp.stack([chi1] + (NUM_CHI - 1) * [other])[None])
  return number[..., None] * seen_wells(wells(side_chains, residue_type))


def jittered(side_chains: SideChains, phases: jax.Array, residue_type: jax.Array) -> SideChains:
  """Side chains turned by phases [..., L, 4] where they are known."""
  chi = wrapped(side_chains.chi + phases / _per_period(residue_type, phases))
  return SideChains(jnp.where(side_chains.known, chi, 0.0), side_chains.known)


def closed(side_chains: SideChains, residue_type: jax.Array) -> SideChains:
  """Side chains whose torsions are in the range of MD, as `chain_closure` does for the backbone.

  A chi between tetrahedral carbons that is farther than 1.7 spreads from the centre of its well is
  moved towards it, by 0.6 of what is beyond. The ring of a proline stays closed. The derivative
  leaves that motion out.

  Args:
    side_chains: [..., L].
    residue_type: [L].
  """
  chi = jax.lax.stop_gradient(side_chains.chi)
  index, off = within_wells(chi, residue_type)
  centre, spread = _of_types(index, residue_type)
  off = off - centre
  beyond = jnp.sign(off) * jnp.maximum(jnp.abs(off) - _KNEE * spread, 0.0)
  back = jnp.where(jnp.asarray(_STAGGERED)[residue_type], (_BEYOND - 1.0) * beyond, 0.0)
  ring = jnp.clip(chi, -_LARGEST_OF_PROLINE, _LARGEST_OF_PROLINE) - chi
  is_proline = (jnp.asarray(residue_type) == _PROLINE)[..., None]
  change = jnp.where(is_proline, ring, back)
  chi = wrapped(side_chains.chi + jnp.where(side_chains.known, change, 0.0))
  return SideChains(jnp.where(side_chains.known, chi, 0.0), side_chains.known)


def reach(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """Where side chains are in their residues' frames, [..., L, 9], in units of 4 Å.

  The first atom beyond CB, zero where chi1 is not known; the last atom and the mean of all beyond
  CB, zero where any chi is not.
  """
  backbone = jnp.broadcast_to(_BACKBONE, (*side_chains.chi.shape[:-1], 4, 3))
  atoms = geometry.heavy_atoms(backbone, side_chains.chi, residue_type)

  def weighted(table: np.ndarray) -> jax.Array:
    weight = jnp.asarray(table)[residue_type][..., None]
    return jnp.sum(jnp.broadcast_to(weight, atoms.shape) * atoms, axis=-2)

  known = side_chains.known
  first = known[..., :1]
  whole = first & jnp.all(known | ~_rows(_FREE, residue_type, known), axis=-1, keepdims=True)
  parts = (
    jnp.where(first, atoms[..., _GAMMA, :], 0.0),
    jnp.where(whole, weighted(_LAST), 0.0),
    jnp.where(whole, weighted(_MEAN), 0.0),
  )
  return jnp.concatenate(parts, axis=-1) / _LENGTH_UNIT


def seen_by_neighbours(side_chains: SideChains, residue_type: jax.Array) -> jax.Array:
  """[..., L, 21]: `features` and `reach`."""
  numbers = features(side_chains, residue_type), reach(side_chains, residue_type)
  return jnp.concatenate(numbers, axis=-1)


def draw_order(rng: jax.Array, num_frames: int, length: int) -> jax.Array:
  """When wells are drawn: [T, L, 4] in [0, 1), residue by residue.

  Frame after frame, in an order of each residue's own, and in a frame first chi 1 and 3, then chi 2
  and 4: what depends most on each other is not drawn at once.
  """
  frame_rng, jitter_rng = jax.random.split(rng)
  rank = jnp.argsort(jax.random.uniform(frame_rng, (length, num_frames)), axis=-1)
  jitter = jax.random.uniform(jitter_rng, (length, num_frames, NUM_CHI))
  turn = 2.0 * rank[..., None] + (np.arange(NUM_CHI) % 2)[None, None] + jitter
  # A sum may round up to the end, which no pass would reach.
  order = jnp.minimum(turn / (2.0 * num_frames), np.nextafter(np.float32(1.0), np.float32(0.0)))
  return jnp.moveaxis(order, 0, 1)

"""Peptide planes are turned where phi or psi is where hardly any residue has them.

A turn of C, O and the next N about the axis from CA to the next CA changes psi of the residue and
phi of the next one, in opposite directions, and moves no CA. Of a fixed set of turns each peptide
looks for the one after which its two residues are nearest to what their classes visit
(`geometry.ramachandran_table`), with little turning, and little bending at CA. Of neighbours the
one that gains most turns. Peptides between two allowed residues are left alone.

Arrays inside have their components in front and residues last, [3, K, ..., L] for K turns, so that
every operation runs over long vectors.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import chain_closure, proline_rings
from tempo_jax.geometry import backbone, components, ramachandran_table
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry.rigid import Rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import ramachandran_classes

_cross, _dot, _dihedral = components.cross, components.dot, components.dihedral

# Degrees; the first one is none.
_TURNS = (0.0, 12.0, -12.0, 25.0, -25.0, 40.0, -40.0, 60.0, -60.0)
# Costs, in degrees from the inside of the contours: of a degree of turning; and of a degree by
# which N-CA-C leaves the band of `chain_closure`, which would bend it back.
_TURNING, _BENDING = 0.1, 1.0
_PLANARITY = 1.0  # of a degree by which a proline's nitrogen is less planar than in MD
_UNKNOWN = protein_lib.RESIDUE_TYPES.index('UNK')
_TINY = 1e-9


class _Plot(NamedTuple):
  """Of residues [..., L]: where their class begins in the tables, which are judged, and their hand.

  Angles of D-residues are judged with the other sign, that is -1.
  """

  first: jax.Array
  judged: jax.Array
  sign: jax.Array

  def places(self, phi: jax.Array, psi: jax.Array) -> jax.Array:
    """Index into the flat tables of angles in radians."""
    size = ramachandran_table.NUM_CELLS
    row, column = (
      jnp.clip((self.sign * x + np.pi) * (size / (2 * np.pi)), 0, size - 1).astype(jnp.int32)
      for x in (phi, psi)
    )
    return self.first + size * row + column


def classes(residue_type: jax.Array, bonds: bonds_lib.Bonds) -> jax.Array:
  """As `metrics.ramachandran.classes`, of residues on a device; some class for unknown residues.

  Args:
    residue_type: [L] index into `protein.RESIDUE_TYPES`.
    bonds: of [L] residues.

  Returns:
    [L] int32 index into `ramachandran_table.CLASSES`.
  """
  is_proline = residue_type == ramachandran_classes.PROLINE
  before_proline = bonds.to_next & bonds.after(is_proline, -1)
  return ramachandran_classes.of(residue_type, before_proline, jnp.where)


def turned(
  frames: Rigid,
  n_ca_c: jax.Array,
  protein: protein_lib.ProteinArrays,
  ring: jax.Array | None = None,
) -> tuple[Rigid, jax.Array]:
  """Turns the planes of peptides between residues whose phi and psi are not allowed.

  With side chains also those whose C is out of the plane of the ring of a proline that follows.

  D-residues (`protein.mirrored`) are turned as the mirror images of L-residues are.

  Args:
    frames: [..., L] residue frames, Å.
    n_ca_c: [..., L] radians, the angle at CA.
    protein: [L] residues; its positions are not read.
    ring: [..., L] radians, `proline_rings.turn_of_ring`.

  Returns:
    Frames and angles [..., L], the very same numbers where no peptide of a residue turns. No CA has
    moved and C-N is as long as before; the angles at CA and over the peptide bond are not as
    before. In the derivative the turn, in the residue's own frame, is a constant.
  """
  length = frames.shape[-1]
  if length < 2:
    return frames, n_ca_c
  fixed, angle = jax.lax.stop_gradient((frames, n_ca_c))
  bonds = protein.bonds.broadcast(frames.shape)
  n, ca, c = (jnp.moveaxis(x, -1, 0) for x in backbone.n_ca_c_from_frames(fixed, angle))
  next_ca = bonds.after(ca, -1)
  axis = next_ca - ca
  axis = axis / jnp.sqrt(_dot(axis, axis) + _TINY)[None]

  turn = _chosen(n, ca, c, axis, protein, bonds, ring)
  is_turned = turn != 0
  has_turned = bonds.before(is_turned, -1) & bonds.to_previous
  turned_n = bonds.before(next_ca + _rotated(bonds.after(n, -1) - next_ca, axis, turn), -1)
  turned_c = ca + _rotated(c - ca, axis, turn)
  n = jnp.where(has_turned[None], turned_n, n)
  c = jnp.where(is_turned[None], turned_c, c)
  moved = is_turned | has_turned
  n, ca, c = (jnp.moveaxis(x, 0, -1) for x in (n, ca, c))
  change = fixed.inverse() @ Rigid.from_three_points(n, ca, c)
  still = Rigid.identity(frames.shape, change.translation.dtype)
  change = Rigid(
    jnp.where(moved[..., None, None], change.rotation, still.rotation),
    jnp.zeros_like(still.translation),
  )
  bent = backbone.n_ca_c_angles(jnp.stack([n, ca, c], axis=-2)) - angle
  return frames @ change, n_ca_c + jnp.where(moved, bent, 0)


def _chosen(
  n: jax.Array,
  ca: jax.Array,
  c: jax.Array,
  axis: jax.Array,
  protein: protein_lib.ProteinArrays,
  bonds: bonds_lib.Bonds,
  ring: jax.Array | None,
) -> jax.Array:
  """How far each peptide turns, [..., L] radians; 0 for most.

  Args:
    n: [3, ..., L] Å.
    ca: [3, ..., L] Å.
    c: [3, ..., L] Å.
    axis: [3, ..., L] unit vectors, from CA to the next one.
    protein: [L] residues; its positions are not read.
    bonds: of [..., L] residues.
    ring: [..., L] radians, or None without side chains.
  """
  distances = jnp.asarray(ramachandran_table.distances().reshape(-1))
  allowed = jnp.asarray(ramachandran_table.contours().reshape(-1))
  kind = jnp.asarray(protein.residue_type)
  along = protein.bonds.broadcast(kind.shape)
  judged = along.to_next & along.to_previous & (kind != _UNKNOWN) & jnp.asarray(protein.mask)
  sign = jnp.ones(kind.shape)
  if protein.mirrored is not None:
    sign = jnp.where(jnp.asarray(protein.mirrored), -1.0, 1.0)
  here = _Plot(classes(kind, along) * ramachandran_table.NUM_CELLS**2, judged, sign)
  here = jax.tree.map(lambda x: x.reshape(*[1] * (ca.ndim - 1), -1), here)  # [1, ..., L]
  there = jax.tree.map(lambda x: bonds.after(x, -1), here)
  to_proline = bonds.after(proline_rings.follow(kind, along), -1).reshape(here.judged.shape)

  previous_c = bonds.before(c, -1)[:, None]
  next_n, next_ca, next_c = (bonds.after(x, -1)[:, None] for x in (n, ca, c))
  second_n = bonds.after(next_n, -1)
  n, ca, c, axis = (x[:, None] for x in (n, ca, c, axis))
  turns = np.deg2rad(np.array(_TURNS, np.float32)).reshape(-1, *[1] * (ca.ndim - 2))
  turns = turns * here.sign  # [K, ..., L]: of turns that gain as much, the first one is taken.
  c = ca + _rotated(c - ca, axis, turns)  # [3, K, ..., L]
  next_n = next_ca + _rotated(next_n - next_ca, axis, turns)

  place = here.places(_dihedral(previous_c, n, ca, c), _dihedral(n, ca, c, next_n))
  next_phi = _dihedral(c, next_n, next_ca, next_c)
  next_place = there.places(next_phi, _dihedral(next_n, next_ca, next_c, second_n))
  cost = _TURNING * jnp.rad2deg(jnp.abs(turns)) + _BENDING * (
    _bending(n - ca, c - ca) + _bending(next_n - next_ca, next_c - next_ca)
  )
  cost = cost + jnp.where(here.judged, distances[place], 0)
  cost = cost + jnp.where(there.judged, distances[next_place], 0)
  outside = (here.judged[0] & ~allowed[place[0]]) | (there.judged[0] & ~allowed[next_place[0]])
  if ring is not None:
    off = proline_rings.off_plane(next_phi, bonds.after(ring, -1)[None])
    # Side chains are built for L-residues.
    off = jnp.where(to_proline & (there.sign > 0), jnp.rad2deg(off), 0)
    cost, outside = cost + _PLANARITY * off, outside | (off[0] > 0)
  gain = jnp.where(bonds.to_next & outside, cost[0] - jnp.min(cost, axis=0), 0)
  most = (gain > bonds.before(gain, -1)) & (gain >= bonds.after(gain, -1))
  best = jnp.argmin(cost, axis=0)
  return jnp.where(most, jnp.deg2rad(jnp.asarray(_TURNS))[best] * here.sign[0], 0)


def _bending(a: jax.Array, b: jax.Array) -> jax.Array:
  """By how much the angle between [3, ...] is outside of the band of N-CA-C, degrees, roughly."""
  cosine = _dot(a, b) / jnp.sqrt(_dot(a, a) * _dot(b, b) + _TINY)
  middle = chain_closure.N_CA_C
  off = jnp.rad2deg(jnp.abs(cosine - np.cos(middle)) / np.sin(middle))
  return jnp.maximum(off - np.rad2deg(chain_closure.N_CA_C_WIDTH), 0)


def _rotated(vector: jax.Array, axis: jax.Array, angle: jax.Array | np.ndarray) -> jax.Array:
  """Vectors [3, ..., L] about unit vectors, by angles in radians (Rodrigues)."""
  sine, cosine = jnp.sin(jnp.asarray(angle)), jnp.cos(jnp.asarray(angle))
  along = (_dot(axis, vector) * (1 - cosine))[None] * axis
  return cosine[None] * vector + sine[None] * _cross(axis, vector) + along

"""Projection of residue frames onto closed chains: differentiable, local, without LAPACK.

N, CA and C of a residue have ideal bond lengths and an angle N-CA-C that may bend. The peptide bond
i -> i + 1 is closed where four quantities lie inside their bands: the distance C-N, the angles
CA-C-N and C-N-CA, and omega; and N-CA-C of both residues. CA-CA follows in a trans peptide; in a
cis one, where two acute angles could bring the CA close together, CA-CA takes the place of C-N-CA.
Closed chains are returned as they came. Others move, by translations, rotations and bending
together, not much more than closing them takes.

Angles enter as distances, CA_i-N and C-CA_(i+1), less what a stretched C-N does to them, to first
order: so they are smooth everywhere, and true to 0.4 degrees at the edges.

As in SHAKE (Ryckaert et al., 1977), the violations v are made linear in the motions u of the
residues and undone by a small u = -J^T (J J^T + damping)^-1 v, several times. J J^T is block
tridiagonal, since neighbouring bonds share a residue, and is solved by block cyclic reduction
(Hockney & Jesshope, 1981) in logarithmic depth. In a ring the last bond also shares a residue with
the first one, which cyclic reduction takes as it comes.

Arrays inside have their components in front and residues last, [3, ..., L], so that every operation
runs over long vectors.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.dynamics import chain_systems
from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import components, ideal, torsion
from tempo_jax.geometry.rigid import Rigid

_cross, _dot = components.cross, components.dot

# Bands: the middle, and half the width. MD of 15 small proteins (ff14SB, no bond constrained), mean
# and sd as simulated, and in brackets through the state:
#   C-N     1.341 0.026 (1.356 0.034) Å      N-CA-C  112.8 3.4 degrees
#   CA-C-N  117.9 2.9 (117.7 3.3) degrees    C-N-CA  124.5 3.3 (124.3 3.5) degrees
#   omega   180 (7.8-10.9) degrees, largest 44
# and before a proline, as simulated,
#   CA-C-N  119.7 2.7 degrees                C-N-CA  123.1 2.9 degrees, C-N-CD 126.3 2.9 degrees
# Half the width is 1.4 to 1.8 sd: what is drawn too wide ends at the edges, with little more spread
# than MD has; and MD itself hardly moves (`docs/decisions.md`). In cis peptides CA-CA is that of
# the ideal one, with limits that keep it above 2.8 Å. Before a proline C-N-CA ends below one sd:
# what is drawn piles up at the upper edge, where C-N-CD has too little room.
_C_N, _C_N_WIDTH = 1.341, 0.036
_CA_C_N, _CA_C_N_WIDTH = np.deg2rad([117.7, 4.6]).tolist()
_C_N_CA, _C_N_CA_WIDTH = np.deg2rad([124.2, 5.5]).tolist()
_CA_C_PROLINE, _CA_C_PROLINE_WIDTH = np.deg2rad([119.7, 4.2]).tolist()
_C_PROLINE_CA, _C_PROLINE_CA_WIDTH = np.deg2rad([122.1, 3.2]).tolist()
N_CA_C, N_CA_C_WIDTH = np.deg2rad([112.8, 6.2]).tolist()
"""Radians, of the band of the angle at CA."""
_CIS_CA_CA, _CIS_CA_CA_WIDTH = ideal.CA_CA_CIS, 0.12
_OMEGA_WIDTH = float(np.deg2rad(22.0))


def _opposite(bond: float, angle: float) -> tuple[float, float, float]:
  """Of the triangle of a bond and C-N that enclose an angle: the third side, and its derivatives.

  Returns:
    The length, Å; its derivative by the angle, Å/rad; and by the length of C-N.
  """
  length = math.sqrt(bond**2 + _C_N**2 - 2.0 * bond * _C_N * math.cos(angle))
  by_angle = bond * _C_N * math.sin(angle) / length
  return length, by_angle, (_C_N - bond * math.cos(angle)) / length


_CA_N, _CA_N_BY_ANGLE, _CA_N_BY_C_N = _opposite(ideal.CA_C, _CA_C_N)
_C_CA, _C_CA_BY_ANGLE, _C_CA_BY_C_N = _opposite(ideal.N_CA, _C_N_CA)
_CA_PROLINE, _PROLINE_CA = (
  _opposite(ideal.CA_C, _CA_C_PROLINE)[0],
  _opposite(ideal.N_CA, _C_PROLINE_CA)[0],
)

# A rotation, or bending, by one radian counts as much as a translation by this many Å.
_RADIUS = 1.5
# Added to J J^T, whose diagonal is 2 to 7, one number per iteration. Much of it at first: undamped
# steps overshoot where bonds are badly broken. Less at the end closes what is left sooner.
_DAMPING = (1.0, 0.1, 0.05, 0.02, 0.01, 0.003)
_TINY = 1e-6


def cis_peptides(positions: jax.Array, bonded: jax.Array | bonds_lib.Bonds) -> jax.Array:
  """Which peptide bonds are cis, |omega| < 90 degrees.

  Args:
    positions: [..., L, 4, 3] Å, N, CA, C, O.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`.

  Returns:
    [..., L] bool, at residue i for the bond i -> i + 1; False where there is none.
  """
  angles, mask = torsion.backbone_torsions(positions, bonded)
  return mask[..., 2] & (jnp.abs(angles[..., 2]) < np.pi / 2)


def close_chains(
  frames: Rigid,
  n_ca_c: jax.Array,
  bonded: jax.Array | bonds_lib.Bonds,
  cis: jax.Array,
  is_proline: jax.Array | bool = False,
) -> tuple[Rigid, jax.Array]:
  """Moves and bends residues, as little as possible, until all peptide bonds are closed.

  Args:
    frames: [..., L] residue frames, Å.
    n_ca_c: [..., L] radians, the angle at CA.
    bonded: bool, broadcast to [..., L]: residue i has a peptide bond to i + 1; or `Bonds`, whose
      rings are closed, too. Nothing acts across a pair that is not bonded; N-CA-C goes into its
      band everywhere.
    cis: bool, broadcast to [..., L]: the bond i -> i + 1 is cis (`cis_peptides`).
    is_proline: bool, broadcast to [..., L]: the angles before a proline have bands of their own.

  Returns:
    Frames and angles [..., L], the very same numbers where the chain was closed. A step closes
    three times (`steric`): after random motions of BPTI by 0.1 Å and 0.1 rad per residue and
    direction, all bonds are then within 0.001 Å and 0.001 rad of their bands, after 0.3 Å and
    0.3 rad within 0.02, and after 1 Å and 0.7 rad one C-N in a thousand is 0.2 Å too long. The
    squared movement of five residues is 1.01 to 1.31 times the least possible.
  """
  shape = frames.shape
  if shape[-1] < 2:
    return frames, _bent(n_ca_c)
  neighbours = chain_systems.Neighbours.of(bonds_lib.of(bonded), shape[-1])
  to_next = bonds_lib.of(bonded).broadcast(shape).to_next
  cis = jnp.broadcast_to(jnp.asarray(cis), shape)
  to_proline = neighbours.after(jnp.broadcast_to(jnp.asarray(is_proline), shape))

  # Backward, an iteration is computed anew: all its 4 x 4 blocks together are large.
  @jax.checkpoint
  def iteration(
    carry: tuple[jax.Array, jax.Array, jax.Array], damping: jax.Array
  ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
    return _move(*carry, to_next, neighbours, cis, to_proline, damping), None

  rotation = jnp.moveaxis(frames.rotation, (-2, -1), (0, 1))
  carry = rotation, jnp.moveaxis(frames.translation, -1, 0), _bent(n_ca_c)
  dampings = jnp.asarray(_DAMPING, frames.translation.dtype)
  (rotation, translation, n_ca_c), _ = jax.lax.scan(iteration, carry, dampings)
  closed = Rigid(jnp.moveaxis(rotation, (0, 1), (-2, -1)), jnp.moveaxis(translation, 0, -1))
  return closed, n_ca_c


def _bent(n_ca_c: jax.Array) -> jax.Array:
  return jnp.clip(n_ca_c, N_CA_C - N_CA_C_WIDTH, N_CA_C + N_CA_C_WIDTH)


def closed_by_constants(
  frames: Rigid,
  n_ca_c: jax.Array,
  bonded: jax.Array | bonds_lib.Bonds,
  cis: jax.Array,
  is_proline: jax.Array | bool = False,
) -> tuple[Rigid, jax.Array]:
  """What `close_chains` returns, whose derivative leaves the closing itself out.

  Each residue's correction, in its own frame, is taken to be a constant. The true derivative of ten
  iterations on wide open chains can be large: through three steps of pentalanine, which opens
  its chain by rotations of a radian, the gradient of the energy score rose a hundredfold in 200
  updates and training went astray.

  Args and result: as `close_chains`.
  """
  before, angle = jax.lax.stop_gradient((frames, n_ca_c))
  after, bent = close_chains(before, angle, bonded, cis, is_proline)
  return frames @ (before.inverse() @ after), n_ca_c + (bent - angle)


def _move(
  rotation: jax.Array,
  translation: jax.Array,
  n_ca_c: jax.Array,
  bonded: jax.Array,
  neighbours: chain_systems.Neighbours,
  cis: jax.Array,
  to_proline: jax.Array,
  damping: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """One step; rotation [3, 3, ..., L], translation [3, ..., L] and angle [..., L]."""
  offset, width, shift, own_turn, turn_next = _quantities(
    rotation, translation, n_ca_c, bonded, neighbours, cis, to_proline
  )
  violation = offset - jnp.clip(offset, -width, width)
  # A quantity within its band is held the more, the nearer it is to the edge: a step that mends one
  # bond then does not break the next one, and the result is continuous in the frames.
  active = jnp.where(bonded[None], jnp.clip(jnp.abs(offset / width), 0, 1), 0)
  shift, own_turn, turn_next = (active[:, None] * x for x in (shift, own_turn, turn_next))

  # J of bond b has (-shift, own_turn) at residue b, (shift, turn_next) at residue b + 1, whose
  # bending does not move its N.
  own = jnp.concatenate([-shift, own_turn], axis=1)
  other = jnp.concatenate([shift, turn_next, jnp.zeros_like(turn_next[:, :1])], axis=1)
  unit = np.eye(4).reshape(4, 4, *[1] * bonded.ndim)
  diagonal = _outer(own, own) + _outer(other, other)
  diagonal = diagonal + unit.astype(diagonal.dtype) * (1 - active * active + damping)[None]
  upper = _outer(other, neighbours.after(own))
  force = chain_systems.solve(diagonal, upper, -active * violation, neighbours)

  motion = chain_systems.total(force[k, None] * own[k] for k in range(4))
  motion = motion + neighbours.before(
    chain_systems.total(force[k, None] * other[k] for k in range(4))
  )
  # Cayley's map: exact rotations without trigonometry, less than pi for any angle.
  half = 0.5 / _RADIUS * motion[3:6, None]
  across = _cross(jnp.broadcast_to(half, rotation.shape), rotation)
  across = across + _cross(jnp.broadcast_to(half, rotation.shape), across)
  scale = 2 / (1 + _dot(half, half))
  bent = _bent(n_ca_c + motion[6] / _RADIUS)
  return rotation + scale[None] * across, translation + motion[:3], bent


def _quantities(
  rotation: jax.Array,
  translation: jax.Array,
  n_ca_c: jax.Array,
  bonded: jax.Array,
  neighbours: chain_systems.Neighbours,
  cis: jax.Array,
  to_proline: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]:
  """The four quantities of every bond, and their derivatives by the motions of its residues.

  Returns:
    offset: [4, ..., L] from the middle of the band. Å; omega is an arc, the angle times the
      distance of CA from the axis C-N, so that its derivatives are bounded.
    width: [4, ..., L] half the band.
    shift: [4, 3, ..., L] derivatives by the translation of residue i + 1; minus those by i's.
    turn: [4, 4, ..., L] by the rotation of residue i about its CA, and by its bending, over
      `_RADIUS`.
    turn_next: [4, 3, ..., L] by the rotation of residue i + 1.
  """
  cosine_bend, sine_bend = ideal.CA_C * jnp.cos(n_ca_c), ideal.CA_C * jnp.sin(n_ca_c)
  c = cosine_bend[None] * rotation[:, 0] + sine_bend[None] * rotation[:, 1]  # CA_i -> C
  bend = cosine_bend[None] * rotation[:, 1] - sine_bend[None] * rotation[:, 0]  # of C
  n = ideal.N_CA * neighbours.after(rotation[:, 0])  # CA_(i+1) -> N
  ca_ca = jnp.where(bonded[None], neighbours.after(translation) - translation, 0)
  ca_n = ca_ca + n
  c_n = ca_n - c
  third = ca_ca - jnp.where(cis[None], 0, c)

  distance = jnp.sqrt(_dot2(c_n, ca_n, third) + _TINY)
  c_n_square = distance[0] * distance[0]
  # c x c_n, n x c_n, c x ca_ca, n x ca_ca.
  left, right, c_turn, n_turn = jnp.moveaxis(
    _cross(jnp.stack([c, n, c, n], axis=1), jnp.stack([c_n, c_n, ca_ca, ca_ca], axis=1)), 1, 0
  )
  left_square, right_square = _dot(left, left) + _TINY, _dot(right, right) + _TINY
  sine = jnp.where(cis, 1, -1) * distance[0] * _dot(c, right)
  cosine = jnp.where(cis, 1, -1) * _dot(left, right)
  degenerate = sine * sine + cosine * cosine < 1e-8
  omega = jnp.arctan2(jnp.where(degenerate, 0, sine), jnp.where(degenerate, 1, cosine))
  arm = jnp.sqrt(jnp.minimum(left_square, right_square))
  lever = arm / distance[0]

  # Derivatives of omega by CA_i and CA_(i+1); those by C and N follow, as the sum is zero and a
  # rotation about the axis C-N changes nothing (Blondel & Karplus, 1996).
  by_ca = -(arm / left_square)[None] * left
  by_next = (arm / right_square)[None] * right
  a, b = (_dot(c, c_n) / c_n_square)[None], (_dot(n, c_n) / c_n_square)[None]
  by_c = -(1 + a) * by_ca - b * by_next
  by_n = a * by_ca + (b - 1) * by_next
  omega_turns = _cross(jnp.stack([c, n], axis=1), jnp.stack([by_c, by_n], axis=1))

  zero = jnp.zeros_like(c)
  shift = jnp.stack([c_n, ca_n, third, by_n + by_next])
  turn = jnp.stack([-left, zero, jnp.where(cis[None], 0, -c_turn), omega_turns[:, 0]])
  none = jnp.zeros_like(lever)
  bends = [-_dot(c_n, bend), none, jnp.where(cis, none, -_dot(third, bend)), _dot(by_c, bend)]
  turn = jnp.concatenate([turn, jnp.stack(bends)[:, None]], axis=1)
  turn_next = jnp.stack([right, n_turn, zero, omega_turns[:, 1]])
  # Divided last: XLA's CPU backend does not compute quotients anew for each of their many uses.
  length = jnp.concatenate([distance, jnp.where(degenerate, 1 / _TINY, 1)[None]])[:, None]
  shift, turn, turn_next = shift / length, turn / (_RADIUS * length), turn_next / (_RADIUS * length)
  stretch = jnp.where(cis, none, jnp.full_like(lever, _C_CA_BY_C_N))

  def of_angles(x: jax.Array) -> jax.Array:
    """Distances become angles, times Å/rad: less what the length of C-N does to them."""
    c_n, ca_n, third, omega = x
    return jnp.stack(
      [c_n, ca_n - _CA_N_BY_C_N * c_n, third - jnp.broadcast_to(stretch, c_n.shape) * c_n, omega]
    )

  shift, turn, turn_next = map(of_angles, (shift, turn, turn_next))

  first = jnp.where(to_proline, _CA_PROLINE, _CA_N)
  second = jnp.where(to_proline, _PROLINE_CA, _C_CA)
  first_width = jnp.where(to_proline, _CA_C_PROLINE_WIDTH, _CA_C_N_WIDTH)
  second_width = jnp.where(to_proline, _C_PROLINE_CA_WIDTH, _C_N_CA_WIDTH)
  middle = jnp.stack(
    [
      jnp.full_like(lever, _C_N),
      first,
      jnp.where(cis, _CIS_CA_CA, second),
      jnp.zeros_like(lever),
    ]
  )
  width = jnp.stack(
    [
      jnp.full_like(lever, _C_N_WIDTH),
      _CA_N_BY_ANGLE * first_width,
      jnp.where(cis, _CIS_CA_CA_WIDTH, _C_CA_BY_ANGLE * second_width),
      _OMEGA_WIDTH * lever,
    ]
  )
  offset = jnp.concatenate([distance, lever[None] * omega[None]]) - middle
  return of_angles(offset), width, shift, turn, turn_next


def _dot2(*vectors: jax.Array) -> jax.Array:
  """Squares of the lengths, [n, ...]."""
  stacked = jnp.stack(vectors, axis=1)
  return _dot(stacked, stacked)


@jax.custom_vjp
def _outer(a: jax.Array, b: jax.Array) -> jax.Array:
  """Products a b^T of [4, n, ..., L]; no matmul, so float32 everywhere."""
  return chain_systems.total(a[:, None, k] * b[None, :, k] for k in range(a.shape[1]))


def _outer_forward(a: jax.Array, b: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _outer(a, b), (a, b)


def _outer_backward(
  inputs: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
  # By itself jax sums over an axis for each k: ten times slower.
  a, b = inputs
  return (
    chain_systems.total(cotangent[:, k, None] * b[None, k] for k in range(4)),
    chain_systems.total(cotangent[k, :, None] * a[None, k] for k in range(4)),
  )


_outer.defvjp(_outer_forward, _outer_backward)

"""Side chains that overlap are turned apart, within their rotamers.

The backbone stays. Each chi follows the torque of the overlaps of the atoms that it turns, by
damped steps of a few degrees (Newton's with the diagonal of the Hessian, and momentum), at most 50
degrees in each call and, between tetrahedral carbons, no farther than 50 from staggered; a spring
holds it to where it was. It is stiff where residues may move, too (`steric`), and loose where
backbones are given, and in disulphides. Proline, whose ring has little room, stays, too. Atoms see
each other by lists, which are made anew on the way: every list and every step has the same length
for all frames.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import neighbours, side_chain_table, side_chains
from tempo_jax.protein import protein as protein_lib
from tempo_jax.protein import side_chain_atoms

# Å: what is nearer is pushed apart; oxygen may come to oxygen and nitrogen for a hydrogen bond (in
# MD two nitrogens, one of a side chain, seldom come nearer than 3.0). Close contacts are counted
# below 3.0 and 2.4 Å (`metrics.close_contacts`).
NEAREST, NEAREST_POLAR = 3.15, 2.55
# Residues that a side chain sees, and atoms that one of its atoms sees.
_NUM_RESIDUES, _NUM_ATOMS = 16, 3
_NUM_LISTS, _NUM_STEPS = 3, 8
_DAMPING = 0.7
_MOMENTUM = 0.7
_LARGEST_STEP, _LARGEST_TURN = math.radians(6.0), math.radians(50.0)
# Off staggered (60, 180, -60 degrees): beyond 60 begins the next rotamer.
_LARGEST_OFF = math.radians(50.0)
_THIRD = 2.0 * math.pi / 3.0
_STAGGERED = side_chain_atoms.staggered_mask(np.arange(len(side_chain_table.TYPES)))
# Å^2 per radian^2: of springs (docs/decisions.md), and of what keeps steps small where nothing is
# near the axis.
LOOSE, STIFF = 0.02, 2.0
_STIFFNESS = 0.5
_DISULPHIDE = 2.05  # Å, SG-SG.
SIDE = 5  # The first slot that a chi turns.
_SG = 5
_NUM_SIDE = side_chain_table.NUM_ATOMS - SIDE
# The bond that each chi turns, whatever the residue: CA-CB, CB-CG, ...
_FIRST, _SECOND = np.array([1, 4, 5, 6]), np.array([4, 5, 6, 7])
_TINY = 1e-6
# A place among them has five bits (`_codes`), one of which is the residue itself.
_MOST_RESIDUES = 31
_PROLINE = side_chain_table.TYPES.index('PRO')


class _Tables(NamedTuple):
  """By residue type.

  Attributes:
    atoms: [21, 14] bool.
    bonding: [21, 14] int32, 1 for nitrogen, 2 for oxygen: two atoms whose product is more than 1
      may come to a hydrogen bond.
    turned: [21, 4, 9] float32, 1 where a chi turns an atom beyond CB.
    own: [21, 9, 14] bool: pairs within a residue that a chi brings together or parts, four bonds
      apart or more.
  """

  atoms: Any
  bonding: Any
  turned: Any
  own: Any


def _make_tables() -> _Tables:
  num_types, num_atoms = len(side_chain_table.TYPES), side_chain_table.NUM_ATOMS
  kinds = np.arange(num_types)
  turned = np.zeros((num_types, side_chain_table.NUM_CHI, num_atoms), bool)
  own = np.zeros((num_types, num_atoms, num_atoms), bool)
  for kind, name in enumerate(side_chain_table.TYPES):
    names = side_chain_table.ATOM_NAMES[kind]
    bonds = [('N', 'CA'), ('C', 'CA'), ('O', 'C'), ('CB', 'CA')]
    groups: dict[str, int] = {}
    for row in side_chain_table.PLACED[name]:
      groups[row.atom] = row.chi or groups[row.onto[-1]]
      turned[kind, : groups[row.atom], names.index(row.atom)] = name != 'PRO'
      bonds.append((row.atom, row.onto[-1]))
    step = np.eye(num_atoms, dtype=int)
    for a, b in bonds:
      if a in names:
        step[names.index(a), names.index(b)] = step[names.index(b), names.index(a)] = 1
    together = (turned[kind][:, :, None] == turned[kind][:, None]).all(axis=0)
    own[kind] = (np.linalg.matrix_power(step, 3) == 0) & ~together
  atoms = side_chain_atoms.atom_mask(kinds)
  bonding = np.zeros(atoms.shape, np.int32)
  for kind, names in enumerate(side_chain_table.ATOM_NAMES):
    bonding[kind, : len(names)] = [{'N': 1, 'O': 2}.get(name[0], 0) for name in names]
  own &= atoms[:, :, None] & atoms[:, None]
  return _Tables(atoms, bonding, turned[..., SIDE:].astype(np.float32), own[:, SIDE:])


TABLES = _make_tables()


def relieved(
  backbone: jax.Array,
  chi: jax.Array,
  residue_type: jax.Array,
  mask: jax.Array,
  disulphides: jax.Array | None = None,
  num_residues: int = _NUM_RESIDUES,
  *,
  spring: float,
) -> jax.Array:
  """Turns side chains off what they overlap, as far as their spring lets them.

  For many frames `jax.lax.map` with a `batch_size` of 25 or so takes a tenth of the memory of
  `vmap`, and is a little faster on CPUs.

  Args:
    backbone: [L, 4, 3] Å, N, CA, C, O.
    chi: [L, 4] radians; angles that a residue does not have are not read.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.
    mask: [L] bool, False for padding.
    disulphides: [L] int32, the partner of a residue or -1; None where there are none. Their
      sulphurs are kept 2.05 Å apart.
    num_residues: that each side chain sees, at most 31.
    spring: Å^2 per radian^2, what holds chi to where they are; `LOOSE` or `STIFF`.

  Returns:
    [L, 4] radians, not wrapped: near `chi`, and equal to it where nothing overlaps, in proline and
    in padding. No gradient flows through it.
  """
  backbone, chi, mask = jax.lax.stop_gradient((backbone, chi, jnp.asarray(mask)))
  tables = _Tables(*(jnp.asarray(table)[jnp.asarray(residue_type)] for table in TABLES))
  tables = tables._replace(atoms=tables.atoms & mask[:, None])
  partner = None if disulphides is None else jnp.asarray(disulphides)
  turns = tables.turned.any(axis=-1) & mask[:, None]
  start = jnp.where(turns, chi, 0)
  lowest, highest = _room(start, residue_type, partner)
  held = jnp.full_like(start, spring)
  if partner is not None:
    held = jnp.where((partner >= 0)[:, None], LOOSE, held)
  length = backbone.shape[0]
  nothing = jnp.zeros((_NUM_ATOMS, length, _NUM_SIDE))

  def step(carry: tuple[Any, ...], number: jax.Array) -> tuple[tuple[Any, ...], None]:
    turn, last, seen = carry
    atoms = side_chains.heavy_atoms(backbone, start + turn, residue_type)
    # Not batched, so that it is a branch in a batch of frames, too.
    seen = jax.lax.cond(
      number % _NUM_STEPS == 0,
      lambda: _nearest_atoms(atoms, tables, mask, partner, min(num_residues, length - 1)),
      lambda: seen,
    )
    index, allowed = seen
    force, contacts = overlaps(atoms, index, allowed, partner)
    torque, stiffness = _torques(atoms, force, contacts, tables.turned)
    torque = torque - held * turn
    change = _DAMPING * torque / (stiffness + held + _STIFFNESS) + _MOMENTUM * last
    change = jnp.where(turns, jnp.clip(change, -_LARGEST_STEP, _LARGEST_STEP), 0)
    following = jnp.clip(turn + change, lowest, highest)
    return (following, following - turn, seen), None

  still = jnp.zeros_like(start)
  carry = still, still, (nothing.astype(jnp.int32), nothing)
  (turn, _, _), _ = jax.lax.scan(step, carry, jnp.arange(_NUM_LISTS * _NUM_STEPS))
  return chi + turn


def _room(
  chi: jax.Array, residue_type: jax.Array, partner: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """How far each chi [L, 4] may turn backwards and forwards, rad: not into another rotamer.

  A cysteine turns as far as its disulphide asks.
  """
  staggered = jnp.asarray(_STAGGERED)[residue_type]
  if partner is not None:
    staggered &= (partner < 0)[:, None]
  off = jnp.where(staggered, jnp.mod(chi, _THIRD) - 0.5 * _THIRD, 0.0)
  lowest = jnp.maximum(-_LARGEST_TURN, jnp.minimum(-_LARGEST_OFF - off, 0.0))
  highest = jnp.minimum(_LARGEST_TURN, jnp.maximum(_LARGEST_OFF - off, 0.0))
  return lowest, highest


def nearest_atoms(
  atoms: jax.Array,
  protein: protein_lib.ProteinArrays,
  num_residues: int = _NUM_RESIDUES,
  within: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Of each atom beyond CB, the ones of other residues that are nearest for what is allowed.

  No bonds hold them near: the carbonyl before a proline does not count for its ring.

  Args:
    atoms: [L, 14, 3] Å.
    protein: [L] residues; its positions are not read.
    num_residues: that each side chain sees, at most 31.
    within: whether atoms of the same residue count, too, that four bonds or more part.

  Returns:
    [M, L, 9] int32, 14 x residue + slot; and [M, L, 9] Å, the allowed distance, 0 for none.
  """
  mask, length = jnp.asarray(protein.mask), atoms.shape[0]
  tables = _Tables(*(jnp.asarray(table)[jnp.asarray(protein.residue_type)] for table in TABLES))
  tables = tables._replace(atoms=tables.atoms & mask[:, None])
  partner = None if protein.disulphides is None else jnp.asarray(protein.disulphides)
  index, allowed = _nearest_atoms(atoms, tables, mask, partner, min(num_residues, length - 1))
  residue, own = index // side_chain_table.NUM_ATOMS, jnp.arange(length)
  # The ring of a proline is bonded to the residue before it.
  is_proline = jnp.asarray(protein.residue_type) == _PROLINE
  before = jnp.where(is_proline & protein.bonds.to_previous, protein.bonds.preceding, own)
  bonded = (residue == before[None, :, None]) & (before != own)[None, :, None]
  counts = ~bonded & (within | (residue != own[None, :, None]))
  return index, jnp.where(counts, allowed, 0.0)


def _nearest_atoms(
  atoms: jax.Array, tables: _Tables, mask: jax.Array, partner: jax.Array | None, count: int
) -> tuple[jax.Array, jax.Array]:
  """Of each atom beyond CB the nearest ones, by their distance in units of the allowed one.

  Of one residue only the nearest atom counts.

  Returns:
    [M, L, 9] int32, 14 x residue + slot; and [M, L, 9] Å, the allowed distance, 0 for none.
  """
  if count > _MOST_RESIDUES:
    raise ValueError(f'{count} residues for each side chain: at most {_MOST_RESIDUES}')
  length = atoms.shape[0]
  own = jnp.arange(length, dtype=jnp.int32)
  sees = tables.atoms[:, SIDE:]
  codes, index = [], own[None]
  if count:
    gap = _gaps(atoms, sees, tables.atoms)
    left_out = jnp.eye(length, dtype=bool) | ~mask[:, None] | ~mask[None, :]
    index, found = (x.T for x in neighbours.least(jnp.where(left_out, jnp.inf, gap), count))
    seen = found[..., None, None] & tables.atoms[index][:, :, None] & sees[None, ..., None]
    if partner is not None:
      # SG sees neither the other SG nor CB and CA there.
      bridge = np.zeros((1, 1, _NUM_SIDE, side_chain_table.NUM_ATOMS), bool)
      bridge[0, 0, _SG - SIDE, [1, 4, _SG]] = True
      seen &= ~(bridge & (index == partner[None])[..., None, None])
    polar = tables.bonding[None, :, SIDE:, None] * tables.bonding[index][:, :, None] > 1
    codes.append(_codes(atoms, atoms[index], polar, seen, jnp.arange(count)))
    index = jnp.concatenate([index, own[None]])
  polar = (tables.bonding[:, SIDE:, None] * tables.bonding[:, None] > 1)[None]
  seen = (tables.own & sees[..., None])[None]
  codes.append(_codes(atoms, atoms[None], polar, seen, jnp.array([count])))
  nearest = neighbours.ascending(jnp.concatenate(codes), _NUM_ATOMS)
  slot, place, polar = nearest & 15, (nearest >> 4) & 31, ((nearest >> 9) & 1).astype(bool)
  residue = jnp.take_along_axis(index[..., None], jnp.minimum(place, count), axis=0)
  allowed = jnp.where(polar, NEAREST_POLAR, NEAREST)
  infinite = np.float32(np.inf).view(np.int32)
  found = nearest < infinite
  return jnp.where(found, side_chain_table.NUM_ATOMS * residue + slot, 0), jnp.where(
    found, allowed, 0
  )


def _codes(
  atoms: jax.Array, others: jax.Array, polar: jax.Array, seen: jax.Array, place: jax.Array
) -> jax.Array:
  """Of the nearest atom of each residue: its distance, whether both may bond, and where it is.

  Args:
    atoms: [L, 14, 3] Å.
    others: [K, L, 14, 3] Å, of the neighbours.
    polar: [K, L, 9, 14].
    seen: [K, L, 9, 14].
    place: [K], less than 32.

  Returns:
    [K, L, 9] int32; the square of the distance, in units of the allowed one, has 13 bits.
  """
  squared = jnp.zeros((), atoms.dtype)
  for x, y in zip(jnp.moveaxis(atoms, -1, 0), jnp.moveaxis(others, -1, 0), strict=True):
    squared = squared + (x[None, :, SIDE:, None] - y[:, :, None]) ** 2
  squared = squared * jnp.where(polar, 1 / NEAREST_POLAR**2, 1 / NEAREST**2)
  bits = jax.lax.bitcast_convert_type(squared, jnp.int32) & ~1023
  slots = jnp.arange(side_chain_table.NUM_ATOMS, dtype=jnp.int32)[None, None, None]
  where = (place[:, None, None, None] << 4) | slots | (polar.astype(jnp.int32) << 9)
  return jnp.min(jnp.where(seen, bits | where, np.iinfo(np.int32).max), axis=-1)


def _gaps(atoms: jax.Array, sees: jax.Array, seen: jax.Array) -> jax.Array:
  """[L, L] Å: how far spheres about residues (rows) and what turns in others are apart.

  64 Å are added, so that it is positive.
  """
  outer, outer_radius = _sphere(atoms[:, SIDE:], sees)
  whole, radius = _sphere(atoms, seen)
  squared = jnp.zeros((), atoms.dtype)
  for x, y in zip(whole.T, outer.T, strict=True):
    squared = squared + (x[:, None] - y[None, :]) ** 2
  gap = jnp.sqrt(squared + _TINY) - radius[:, None] - outer_radius[None, :]
  return jnp.maximum(gap + 64, 0)


def _sphere(atoms: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean [L, 3] of atoms [L, A, 3], and the largest distance from it [L]."""
  weight = mask.astype(atoms.dtype)
  number = jnp.maximum(jnp.sum(weight, axis=1, keepdims=True), 1)
  middle = jnp.sum(atoms * weight[..., None], axis=1) / number
  squared = jnp.sum((atoms - middle[:, None]) ** 2, axis=-1)
  return middle, jnp.sqrt(jnp.max(jnp.where(mask, squared, 0), axis=1) + _TINY)


def overlaps(
  atoms: jax.Array, index: jax.Array, allowed: jax.Array, partner: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """What pushes each atom beyond CB, [L, 9, 3] Å, and [L, 9] how many others do.

  Args:
    atoms: [L, 14, 3] Å.
    index: [M, L, 9] of what each atom sees, from `nearest_atoms`.
    allowed: [M, L, 9] Å, likewise.
    partner: [L] the residue that a disulphide joins to each, or -1; its sulphur pulls, too.
  """
  side = atoms[:, SIDE:]
  apart = side[None] - atoms.reshape(-1, 3)[index]
  distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + _TINY)
  overlap = jnp.maximum(allowed - distance, 0)
  force = jnp.sum((overlap / distance)[..., None] * apart, axis=0)
  contacts = jnp.sum(overlap > 0, axis=0).astype(force.dtype)
  if partner is not None:
    bonded = (partner >= 0).astype(force.dtype)
    apart = atoms[:, _SG] - atoms[jnp.maximum(partner, 0), _SG]
    distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + _TINY)
    pull = bonded * (_DISULPHIDE - distance) / distance
    force = force.at[:, _SG - SIDE].add(pull[:, None] * apart)
    contacts = contacts.at[:, _SG - SIDE].add(bonded)
  return force, contacts


def _torques(
  atoms: jax.Array, force: jax.Array, contacts: jax.Array, turned: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Of each chi, [L, 4] Å^2: the torque, and how much it grows per radian at most."""
  origin = atoms[:, _SECOND]
  axis = origin - atoms[:, _FIRST]
  axis = axis / jnp.sqrt(jnp.sum(axis**2, axis=-1, keepdims=True) + _TINY)
  lever = atoms[:, None, SIDE:] - origin[:, :, None]  # [L, 4, 9, 3]
  arm = jnp.cross(jnp.broadcast_to(axis[:, :, None], lever.shape), lever) * turned[..., None]
  torque = jnp.sum(arm * force[:, None], axis=(2, 3))
  return torque, jnp.sum(jnp.sum(arm**2, axis=-1) * contacts[:, None], axis=-1)

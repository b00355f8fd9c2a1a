"""Backbone and chi angles <-> all heavy atoms, with ideal covalent geometry of the side chains.

Atoms that turn together with a chi, and none further out, are rigid in a frame that the one before
it carries along (Jumper et al., Nature 596, 583, 2021, suppl. algorithm 24). Their numbers come
from `side_chain_table`. All residues are computed alike; tables say what each type has.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import ideal, side_chain_table, torsion

_NUM_TYPES = len(side_chain_table.TYPES)
_PRO = side_chain_table.TYPES.index('PRO')
_CB, _CG, _CD_OF_PRO = 4, 5, 6
_NUM_OUTER = side_chain_table.NUM_ATOMS - _CG
# Of the frame of each chi: origin and three axes; then CA.
_NUM_BASIS = 4 * side_chain_table.NUM_CHI + 1
_MAX_PROLINE_CHI = math.radians(side_chain_table.LARGEST_CHI_OF_PROLINE)
# Å^2; and the cosine of N-CA-C on a line.
_NO_BOND, _LINE = 1e-8, 1 - 1e-5
_TILT = math.radians(side_chain_table.TILT_OF_CD)


class _Tables(NamedTuple):
  """By residue type.

  Attributes:
    beta: [21, 3], CB in the axes at CA, a unit vector: away from N and C, off their plane, towards
      N and away from C.
    length: [21, 1] Å, CA-CB; 0 where there is none.
    step: [21, 4, 4, 3]: the axes of the next chi in those of this one, turned; below, the length of
      the bond between their origins, Å.
    has_chi: [21, 4] bool.
    outer: [21, 9, 17]: atoms beyond CB as combinations of the frames' origins and axes, and CA.
  """

  beta: Any
  length: Any
  step: Any
  has_chi: Any
  outer: Any


def _beta_in_axes(beta: side_chain_table.Beta) -> np.ndarray:
  """Solves for the two angles at CA."""
  half = math.radians(beta.n_ca_c) / 2.0
  to_n, to_c = (math.cos(math.radians(angle)) for angle in (beta.n_ca_cb, beta.c_ca_cb))
  away = -(to_n + to_c) / (2.0 * math.cos(half))
  sideways = (to_n - to_c) / (2.0 * math.sin(half))
  return np.array([away, math.sqrt(1.0 - away**2 - sideways**2), sideways])


def _at_zero(name: str) -> dict[str, np.ndarray]:
  """All atoms of a residue at chi = 0, [3] Å."""
  found = dict(zip(('N', 'CA', 'C'), ideal.N_CA_C_POSITIONS, strict=True))
  beta = side_chain_table.BETA[name]
  # The hand is without meaning here: only what lies beyond CB is used.
  found['CB'] = ideal.place_atom(
    found['C'], found['N'], found['CA'], beta.length, math.radians(beta.n_ca_cb), 2.0
  )
  for row in side_chain_table.PLACED[name]:
    a, b, c = (found[atom] for atom in row.onto)
    found[row.atom] = ideal.place_atom(
      a, b, c, row.length, math.radians(row.angle), math.radians(row.torsion)
    )
  return found


def _axes(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
  """[3, 3], rows: along b -> c, towards a, across both."""
  x = (c - b) / np.linalg.norm(c - b)
  y = (a - b) - ((a - b) @ x) * x
  y /= np.linalg.norm(y)
  return np.stack([x, y, np.cross(x, y)])


def _make_tables() -> _Tables:
  tables = _Tables(
    np.tile([0.6, 0.8, 0.0], (_NUM_TYPES, 1)),
    np.zeros((_NUM_TYPES, 1)),
    np.tile(np.eye(4)[:, :3], (_NUM_TYPES, side_chain_table.NUM_CHI, 1, 1)),
    side_chain_table.CHI_SLOTS[..., 0] >= 0,
    np.zeros((_NUM_TYPES, _NUM_OUTER, _NUM_BASIS)),
  )
  for kind, name in enumerate(side_chain_table.TYPES):
    beta, rows = side_chain_table.BETA.get(name), side_chain_table.PLACED[name]
    tables.outer[kind, len(rows) :, -1] = 1.0
    if beta is None:
      continue
    tables.length[kind] = beta.length
    tables.beta[kind] = _beta_in_axes(beta)
    atoms, group = _at_zero(name), {'CB': 0}
    of_chi: dict[int, side_chain_table.Placed] = {}
    for slot, row in enumerate(rows):
      group[row.atom] = row.chi or group[row.onto[-1]]
      turns = of_chi.setdefault(group[row.atom], row)
      a, b, c = (atoms[atom] for atom in turns.onto)
      first = 4 * (group[row.atom] - 1)
      tables.outer[kind, slot, first] = 1.0
      tables.outer[kind, slot, first + 1 : first + 4] = _axes(a, b, c) @ (atoms[row.atom] - c)
    for chi, row in of_chi.items():
      cosine, sine = math.cos(math.radians(row.angle)), math.sin(math.radians(row.angle))
      tables.step[kind, chi - 1, :2, :2] = (-cosine, sine), (-sine, -cosine)
      tables.step[kind, chi - 1, 3, 0] = row.length
  return _Tables(*(x if x.dtype == bool else x.astype(np.float32) for x in tables))


_TABLES = _make_tables()


def heavy_atoms(backbone: jax.Array, chi: jax.Array, residue_type: jax.Array) -> jax.Array:
  """All heavy atoms, N, CA, C and O where they are.

  CB lies in the plane that halves the angle N-CA-C, or at a fixed distance from it, so that it is
  in its place where that angle is bent. CD of proline closes the ring: chi1, limited to 45
  degrees, tells the pucker.

  Args:
    backbone: [..., L, 4, 3] Å, N, CA, C, O.
    chi: [..., L, 4] radians; angles that a residue does not have are not read.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [..., L, 14, 3] Å, in the order of `side_chain_table.ATOM_NAMES`, CA in the slots that a type
    lacks. All derivatives are finite, of atoms that coincide, too.
  """
  kind = jnp.asarray(residue_type)
  build = functools.partial(_build, is_proline=kind == _PRO, tables=_of_types(kind))
  return jnp.vectorize(build, signature='(l,a,x),(l,k)->(l,b,x)')(backbone, chi)


def _of_types(kind: jax.Array) -> _Tables:
  """The rows of residues [L]."""
  return _Tables(*(jnp.asarray(table)[kind] for table in _TABLES))


def _build(
  backbone: jax.Array, chi: jax.Array, is_proline: jax.Array, tables: _Tables
) -> jax.Array:
  """`heavy_atoms` of one conformation, [L, 4, 3] and [L, 4] -> [L, 14, 3]."""
  ca = backbone[:, 1]
  chi = jnp.where(tables.has_chi, chi, 0)  # Whatever stands there, also what is not a number.
  limit = jnp.where(is_proline, _MAX_PROLINE_CHI, jnp.inf)
  chi = jnp.concatenate([jnp.clip(chi[:, :1], -limit[:, None], limit[:, None]), chi[:, 1:]], axis=1)
  to_n, to_c = backbone[:, 0] - ca, backbone[:, 2] - ca
  axes = _first_axes(to_n, to_c, tables.beta)
  cb = ca + tables.length * axes[:, 0]

  def turn(frame: tuple[jax.Array, jax.Array], numbers: tuple[jax.Array, ...]) -> Any:
    origin, axes = frame
    cosine, sine, step = numbers
    one, zero = jnp.ones_like(cosine), jnp.zeros_like(cosine)
    turned = _combined(_rows((one, zero, zero), (zero, cosine, sine), (zero, -sine, cosine)), axes)
    following = _combined(step[:, :3], turned)
    basis = jnp.concatenate([origin[:, None], turned], axis=1)
    return (origin + step[:, 3, :1] * following[:, 0], following), basis

  numbers = jnp.cos(chi).T, jnp.sin(chi).T, jnp.moveaxis(tables.step, 1, 0)
  _, basis = jax.lax.scan(turn, (cb, axes), numbers)  # [4, L, 4, 3]
  basis = jnp.concatenate([*basis, ca[:, None]], axis=1)
  atoms = _combined(tables.outer, basis)
  at = _CD_OF_PRO - _CG
  cd = _closing_proline(backbone[:, 0], ca, cb, atoms[:, 0], chi[:, 0], is_proline)
  cd = jnp.where(is_proline[:, None], cd, atoms[:, at])
  outer = [atoms[:, :at], cd[:, None], atoms[:, at + 1 :]]
  return jnp.concatenate([backbone, cb[:, None], *outer], axis=1)


def _combined(numbers: jax.Array, vectors: jax.Array) -> jax.Array:
  """[L, N, M] times [L, M, 3]: multiplied and added, so that it is float32 everywhere."""
  return jnp.sum(numbers[..., None] * vectors[:, None], axis=2)


def _rows(*rows: tuple[jax.Array, ...]) -> jax.Array:
  """[L, N, M] of numbers [L]."""
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _first_axes(to_n: jax.Array, to_c: jax.Array, beta: jax.Array) -> jax.Array:
  """[L, 3, 3], rows: from CA to CB, towards N, and across both; zeros where an atom is on CA."""
  basis = jnp.stack([to_n, to_c, jnp.cross(to_n, to_c)], axis=1)
  n_n, c_c, n_c = _products(to_n, to_n), _products(to_c, to_c), _products(to_n, to_c)
  usable = jnp.minimum(n_n, c_c) > _NO_BOND
  n, c = jnp.sqrt(jnp.where(usable, n_n, 1)), jnp.sqrt(jnp.where(usable, c_c, 1))
  cosine = jnp.clip(n_c / (n * c), -_LINE, _LINE)
  half, other_half = jnp.sqrt(2 + 2 * cosine), jnp.sqrt(2 - 2 * cosine)
  away, off, aside = (
    beta[:, 0] / half,
    2 * beta[:, 1] / (half * other_half),
    beta[:, 2] / other_half,
  )
  # Of unit vectors to N and C and their cross product.
  u, v, w = aside - away, -aside - away, off
  along = u + v * cosine
  side = jnp.sqrt(1 - along**2)
  numbers = _rows(
    (u, v, w),
    ((1 - along * u) / side, -along * v / side, -along * w / side),
    (-w * cosine / side, w / side, -v / side),
  )
  scale = jnp.stack([1 / n, 1 / c, 1 / (n * c)], axis=-1)
  numbers = numbers * jnp.where(usable[:, None], scale, 0)[:, None]
  return _combined(numbers, basis)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.sum(a * b, axis=-1)


def _closing_proline(
  n: jax.Array,
  ca: jax.Array,
  cb: jax.Array,
  cg: jax.Array,
  chi1: jax.Array,
  is_proline: jax.Array,
) -> jax.Array:
  """CD [L, 3] Å at its distances from N and CG, on the far side of CA and CB."""
  chord, back = cg - n, n - 0.5 * (ca + cb)
  c_c, c_b, b_b = _products(chord, chord), _products(chord, back), _products(back, back)
  # Other residues, and prolines without a shape, take one that has no singularity.
  usable = is_proline & (c_c * b_b - c_b**2 > 1e-2)
  c_c, c_b, b_b = (
    jnp.where(usable, product, usual) for product, usual in ((c_c, 5.0), (c_b, 0.0), (b_b, 1.0))
  )
  n_cd, cg_cd = side_chain_table.N_CD, side_chain_table.CG_CD
  along = 0.5 * (1 + (n_cd**2 - cg_cd**2) / c_c)  # In chords.
  height = jnp.sqrt(jnp.maximum(n_cd**2 - along**2 * c_c, 1e-4) / (b_b - c_b**2 / c_c))
  tilt = _TILT * jnp.sin(3 * chi1)
  outwards, across = height * jnp.cos(tilt), height * jnp.sin(tilt) / jnp.sqrt(c_c)
  numbers = jnp.stack([along - outwards * c_b / c_c, outwards, across], axis=-1)
  vectors = jnp.stack([chord, back, jnp.cross(chord, back)], axis=1)
  return n + jnp.sum(numbers[..., None] * vectors, axis=1)


def chi_angles(atoms: jax.Array, residue_type: jax.Array) -> jax.Array:
  """The chi angles of heavy atoms.

  Args:
    atoms: [..., L, 14, 3] Å, as `heavy_atoms` returns them.
    residue_type: [L], index into `protein.RESIDUE_TYPES`.

  Returns:
    [..., L, 4] radians in (-pi, pi]; 0 where the residue has no such chi, and, with zero gradient,
    where three of its atoms are on one line. Of proline chi1 alone.
  """
  atoms = jnp.asarray(atoms)
  slots = jnp.asarray(side_chain_table.CHI_SLOTS)[jnp.asarray(residue_type)]  # [L, 4, 4]
  length = slots.shape[0]
  # Of a chi that is not there: CA four times, which has no torsion.
  index = jnp.where(slots < 0, 1, slots)
  index = index + side_chain_table.NUM_ATOMS * jnp.arange(length)[:, None, None]
  flat = atoms.reshape(*atoms.shape[:-3], length * side_chain_table.NUM_ATOMS, 3)
  angles = torsion.dihedral(*jnp.moveaxis(flat[..., index, :], -2, 0))
  return jnp.where(angles > -jnp.pi, angles, jnp.pi)

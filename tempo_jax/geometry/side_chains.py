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

from tempo_jax.geometry import backbone as backbone_lib
from tempo_jax.geometry import ideal, side_chain_table, torsion
from tempo_jax.geometry.rigid import Rigid

_NUM_TYPES = len(side_chain_table.TYPES)
_PRO = side_chain_table.TYPES.index('PRO')
_CB, _CG, _CD_OF_PRO = 4, 5, 6
_NUM_OUTER = side_chain_table.NUM_ATOMS - _CG
# Of the frame of each chi: origin and three axes; then CA.
_NUM_BASIS = 4 * side_chain_table.NUM_CHI + 1
_MAX_PROLINE_CHI = math.radians(side_chain_table.LARGEST_CHI_OF_PROLINE)
_TILT = math.radians(side_chain_table.TILT_OF_CD)


class _Tables(NamedTuple):
  """By residue type.

  Attributes:
    beta: [21, 3] Å, CB in the axes at CA: away from N and C, off their plane, towards N.
    has_beta: [21] bool.
    step: [21, 4, 3]: of the bond that a chi turns: cos and sin of its angle, its length in Å.
    outer: [21, 9, 17]: atoms beyond CB as combinations of the frames' origins and axes, and CA.
  """

  beta: Any
  has_beta: Any
  step: Any
  outer: Any


def _beta_in_axes(beta: side_chain_table.Beta) -> np.ndarray:
  """Solves for the two angles at CA."""
  half = math.radians(beta.n_ca_c) / 2.0
  to_n, to_c = (math.cos(math.radians(angle)) for angle in (beta.n_ca_cb, beta.c_ca_cb))
  away = -(to_n + to_c) / (2.0 * math.cos(half))
  sideways = (to_n - to_c) / (2.0 * math.sin(half))
  return beta.length * np.array([away, math.sqrt(1.0 - away**2 - sideways**2), sideways])


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
    np.zeros((_NUM_TYPES, 3)),
    np.zeros(_NUM_TYPES, bool),
    np.zeros((_NUM_TYPES, side_chain_table.NUM_CHI, 3)),
    np.zeros((_NUM_TYPES, _NUM_OUTER, _NUM_BASIS)),
  )
  for kind, name in enumerate(side_chain_table.TYPES):
    beta, rows = side_chain_table.BETA.get(name), side_chain_table.PLACED[name]
    tables.outer[kind, len(rows) :, -1] = 1.0
    if beta is None:
      continue
    tables.has_beta[kind] = True
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
      angle = math.radians(row.angle)
      tables.step[kind, chi - 1] = math.cos(angle), math.sin(angle), row.length
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
  limit = jnp.where(is_proline, _MAX_PROLINE_CHI, jnp.inf)
  chi = jnp.concatenate([jnp.clip(chi[:, :1], -limit[:, None], limit[:, None]), chi[:, 1:]], axis=1)
  frames = backbone_lib.frames_from_atoms(backbone)
  n_ca_c = backbone_lib.n_ca_c_angles(backbone)
  towards_cb, x, y, z = _first_axes(frames, n_ca_c, tables.beta)
  cb = ca + towards_cb
  origin, basis = cb, []
  cosine, sine = jnp.cos(chi), jnp.sin(chi)
  for k in range(side_chain_table.NUM_CHI):
    c, s = cosine[:, k, None], sine[:, k, None]
    y, z = c * y + s * z, c * z - s * y
    basis += [origin, x, y, z]
    along, across, length = (tables.step[:, k, i, None] for i in range(3))
    x, y = across * y - along * x, -across * x - along * y
    origin = origin + length * x
  frames_and_ca = jnp.stack([*basis, ca], axis=1)
  # Multiply and add, not a matmul: float32 on every backend.
  atoms = jnp.sum(tables.outer[..., None] * frames_and_ca[:, None], axis=2)
  cd = _closing_proline(backbone[:, 0], ca, cb, atoms[:, 0], chi[:, 0], is_proline)
  at = _CD_OF_PRO - _CG
  cd = jnp.where(is_proline[:, None], cd, atoms[:, at])
  cb = jnp.where(tables.has_beta[:, None], cb, ca)
  outer = [atoms[:, :at], cd[:, None], atoms[:, at + 1 :]]
  return jnp.concatenate([backbone, cb[:, None], *outer], axis=1)


def _first_axes(frames: Rigid, n_ca_c: jax.Array, beta: jax.Array) -> tuple[jax.Array, ...]:
  """From CA to CB, Å, and the axes of chi1: along it, towards N, and across both; each [L, 3]."""
  cosine, sine = jnp.cos(n_ca_c / 2), jnp.sin(n_ca_c / 2)
  away, off, sideways = beta[:, 0], beta[:, 1], beta[:, 2]
  # In the residue's frame, whose x points to N.
  to_n, across = sideways * sine - away * cosine, -sideways * cosine - away * sine
  length = jnp.sqrt(jnp.maximum(jnp.sum(beta**2, axis=-1), 1e-6))
  local = jnp.stack(jnp.broadcast_arrays(to_n, across, off), axis=-1)
  u, v, w = jnp.moveaxis(local / length[:, None], -1, 0)
  beyond = jnp.sqrt(jnp.maximum(1 - u**2, 1e-6))
  towards = jnp.stack([beyond, -u * v / beyond, -u * w / beyond], axis=-1)
  crosswise = jnp.stack([jnp.zeros_like(u), w / beyond, -v / beyond], axis=-1)
  turn = Rigid(frames.rotation, jnp.zeros_like(frames.translation))
  along = turn.apply(jnp.stack([u, v, w], axis=-1))
  return length[:, None] * along, along, turn.apply(towards), turn.apply(crosswise)


def _closing_proline(
  n: jax.Array,
  ca: jax.Array,
  cb: jax.Array,
  cg: jax.Array,
  chi1: jax.Array,
  is_proline: jax.Array,
) -> jax.Array:
  """CD [L, 3] Å at its distances from N and CG, on the far side of CA and CB."""
  n_cd, cg_cd = side_chain_table.N_CD, side_chain_table.CG_CD
  chord, back = cg - n, n - 0.5 * (ca + cb)
  # Other residues, and prolines without a shape, take one that has no singularity.
  usable = is_proline & (jnp.sum(jnp.cross(chord, back) ** 2, axis=-1) > 1e-3)
  chord = jnp.where(usable[:, None], chord, jnp.array([[2.3, 0.0, 0.0]]))
  back = jnp.where(usable[:, None], back, jnp.array([[0.0, 1.0, 0.0]]))
  distance = jnp.sqrt(jnp.sum(chord**2, axis=-1))
  axis = chord / distance[:, None]
  outwards = back - jnp.sum(back * axis, axis=-1, keepdims=True) * axis
  outwards = outwards / jnp.sqrt(jnp.sum(outwards**2, axis=-1, keepdims=True))
  along = (distance**2 + n_cd**2 - cg_cd**2) / (2 * distance)
  height = jnp.sqrt(jnp.maximum(n_cd**2 - along**2, 1e-4))
  tilt = _TILT * jnp.sin(3 * chi1)
  side = jnp.cos(tilt)[:, None] * outwards + jnp.sin(tilt)[:, None] * jnp.cross(axis, outwards)
  return n + along[:, None] * axis + height[:, None] * side


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

"""Prolines: their nitrogen is planar, and the residue before makes room for their ring.

C of the residue before lies in the plane of N, CA and CD. With the ring as it is, that is a matter
of phi (`peptide_planes`).
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.geometry import bonds as bonds_lib
from tempo_jax.geometry import side_chain_table
from tempo_jax.geometry.rigid import Rigid
from tempo_jax.protein import protein as protein_lib

PROLINE = protein_lib.RESIDUE_TYPES.index('PRO')
CD = side_chain_table.ATOM_NAMES[PROLINE].index('CD')
# Å: N and CB (slots) of the residue before, to CD: 99.98 and 99.95 % of MD are farther.
NEAREST: Mapping[int, float] = {0: 3.15, 4: 3.05}
# The torsion from C before about N-CA to CD is 175 +- 9.4 degrees in MD; half the width is 1.5 sd.
_MIDDLE, _WIDTH = math.radians(175.0), math.radians(14.0)


def follow(residue_type: jax.Array, bonds: bonds_lib.Bonds) -> jax.Array:
  """[..., L] bool: prolines that are bonded to a residue before."""
  return (jnp.asarray(residue_type) == PROLINE) & bonds.to_previous


def turn_of_ring(frames: Rigid, atoms: jax.Array) -> jax.Array:
  """The torsion about N-CA from C to CD, of prolines.

  Args:
    frames: [..., L] residue frames, Å: N lies on the x axis, C in the plane of x and y.
    atoms: [..., L, 14, 3] Å.

  Returns:
    [..., L] radians; of other residues some number.
  """
  _, y, z = jnp.moveaxis(frames.apply_inverse(atoms[..., CD, :]), -1, 0)
  return -jnp.arctan2(z, y)


def off_plane(phi: jax.Array, ring: jax.Array) -> jax.Array:
  """By how much C before is farther from the plane of the ring than in MD, rad.

  Args:
    phi: [..., L] radians.
    ring: [..., L] radians, `turn_of_ring`.
  """
  off = jnp.mod(phi + ring - _MIDDLE + np.pi, 2 * np.pi) - np.pi
  return jnp.maximum(jnp.abs(off) - _WIDTH, 0.0)

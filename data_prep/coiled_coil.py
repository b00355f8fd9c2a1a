"""Coiled coils of two parallel helices: a straight helix, bent onto Crick's superhelix.

Crick, Acta Cryst. 6, 689 (1953). Each helix has seven residues in two turns about an axis that
winds, left-handed, about that of the dimer; residues a and d of the heptad face the other helix.
"""

import dataclasses

import numpy as np

_RADIUS = 4.9  # Å, from the axis of the dimer to that of a helix (GCN4: 4.8 to 5.0)
_HEPTAD = 4.0 * np.pi / 7.0  # turn per residue, seen from the axis of the dimer


@dataclasses.dataclass(frozen=True)
class Cylinder:
  """Points about the axis of a helix.

  Attributes:
    radius, angle, along: [..., ] Å, rad, Å of each point.
    rise, turn: Å and rad, from one residue to the next.
  """

  radius: np.ndarray
  angle: np.ndarray
  along: np.ndarray
  rise: float
  turn: float


def about_axis(points: np.ndarray, ca: np.ndarray) -> Cylinder:
  """Cylindrical coordinates of points [..., 3] Å about the axis of a helix with these CA [L, 3]."""
  # Differences of second order point at the axis.
  inward = ca[:-2] - 2.0 * ca[1:-1] + ca[2:]
  axis = np.mean(np.cross(inward[:-1], inward[1:]), axis=0)
  axis /= np.linalg.norm(axis)
  first = inward[0] - axis * (inward[0] @ axis)
  first /= np.linalg.norm(first)
  basis = np.stack([first, np.cross(axis, first), axis])
  flat = ca @ basis.T
  # The circle that the CA are on: x^2 + y^2 = 2 a x + 2 b y + c.
  matrix = np.column_stack([2.0 * flat[:, :2], np.ones(len(flat))])
  centre = np.linalg.lstsq(matrix, np.sum(flat[:, :2] ** 2, axis=1), rcond=None)[0][:2]
  turns = np.unwrap(np.arctan2(*(flat[:, :2] - centre).T[::-1]))
  local = points @ basis.T
  x, y = np.moveaxis(local[..., :2] - centre, -1, 0)
  return Cylinder(
    np.hypot(x, y),
    np.arctan2(y, x) - turns[0],
    local[..., 2] - flat[0, 2],
    float(np.mean(np.diff(flat[:, 2]))),
    float(np.mean(np.diff(turns))),
  )


def dimer(helix: np.ndarray, ca: np.ndarray, first_a: int) -> np.ndarray:
  """Both helices of a coiled coil.

  Args:
    helix: [..., 3] Å, atoms of a straight, right-handed helix.
    ca: [L, 3] Å, its CA.
    first_a: index of a residue at position a of the heptad.

  Returns:
    [2, ..., 3] Å.
  """
  straight = about_axis(helix, ca)
  # How fast the axis has to wind for the helix to repeat after seven residues; per Å.
  rate = (straight.turn - _HEPTAD) / straight.rise
  # sin(a) cos(a) / R of a superhelix whose axis leans by a.
  lean = 0.5 * np.arcsin(2.0 * _RADIUS * rate)
  theta = straight.along * np.sin(lean) / _RADIUS
  zero = np.zeros_like(theta)
  outward = np.stack([np.cos(theta), np.sin(theta), zero], axis=-1)
  around = np.stack([-np.sin(theta), np.cos(theta), zero], axis=-1)
  up = np.array([0.0, 0.0, 1.0])
  tangent = np.sin(lean) * around + np.cos(lean) * up
  sideways = np.cross(tangent, outward)
  # a and d, three residues on, are as far to either side of the inward direction.
  to_a = np.pi - 0.5 * (3.0 * _HEPTAD - 2.0 * np.pi) - first_a * _HEPTAD
  phase = (straight.angle - rate * straight.along + to_a)[..., None]
  axis = _RADIUS * outward + straight.along[..., None] * np.cos(lean) * up
  points = axis + straight.radius[..., None] * (np.cos(phase) * outward + np.sin(phase) * sideways)
  return np.stack([points, points * np.array([-1.0, -1.0, 1.0])])

"""Optimal superposition of conformations, and the RMSD after it. Plain numpy, float64.

`geometry.alignment` does the same for arrays on a device, and is differentiable; here nothing is
compiled, so that the lengths of proteins may differ.
"""

import numpy as np

CA = 1
"""Its place among N, CA, C, O."""

_ATOMS = {'backbone': (0, 1, 2, 3), 'ca': (CA,)}


def _centred(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """[..., 3, N] float64 about the mean, and the mean [..., 3, 1]."""
  across = np.ascontiguousarray(np.swapaxes(points, -1, -2), np.float64)
  centre = across.mean(axis=-1, keepdims=True)
  return across - centre, centre


def _fit(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Rotation [..., 3, 3] and shift [..., 3, 1] that take points [..., N, 3] onto target [N, 3]."""
  moving, centre = _centred(points)
  fixed, fixed_centre = _centred(target)
  u, _, vt = np.linalg.svd(fixed @ np.swapaxes(moving, -1, -2))
  # The axis of least overlap is turned over where the best fit would be a mirror image.
  u[..., 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))[..., None]
  rotation = u @ vt
  return rotation, fixed_centre - rotation @ centre


def _move(points: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
  moved = points.astype(np.float64, copy=False) @ np.swapaxes(rotation, -1, -2)
  moved += np.swapaxes(shift, -1, -2)
  return moved


def motion(positions: np.ndarray, native: np.ndarray, atoms: str = 'backbone') -> np.ndarray:
  """The rigid motion of every frame onto the native structure, never a reflection.

  Kabsch, Acta Cryst. A32, 922 (1976) and A34, 827 (1978).

  Args:
    positions: [..., L, 4, 3] Å, atoms N, CA, C, O.
    native: [L, 4, 3] Å.
    atoms: which atoms are fitted with equal weights, as in `superpose`.

  Returns:
    [..., 3, 4]: rotation and, in the last column, shift in Å.
  """
  chosen = list(_ATOMS[atoms])
  fitted = positions[..., chosen, :].reshape(*positions.shape[:-3], -1, 3)
  return np.concatenate(_fit(fitted, native[:, chosen].reshape(-1, 3)), axis=-1)


def move(points: np.ndarray, motions: np.ndarray) -> np.ndarray:
  """Moves points [..., N, 3] Å by motions [..., 3, 4] of `motion`: [..., N, 3] float64 Å."""
  return _move(points, motions[..., :3], motions[..., 3:])


def superpose(positions: np.ndarray, native: np.ndarray, atoms: str = 'backbone') -> np.ndarray:
  """Moves every frame rigidly onto the native structure, by `motion`.

  Args:
    positions: [..., L, 4, 3] Å, atoms N, CA, C, O.
    native: [L, 4, 3] Å.
    atoms: which atoms are fitted with equal weights: 'backbone' (all four; RMSF and W2 of
      AlphaFlow) or 'ca' (its pairwise RMSD and PCA). All atoms are moved.

  Returns:
    [..., L, 4, 3] float64 Å.
  """
  lead = positions.shape[:-3]
  moved = move(positions.reshape(*lead, -1, 3), motion(positions, native, atoms))
  return moved.reshape(positions.shape)


def superpose_points(points: np.ndarray, target: np.ndarray) -> np.ndarray:
  """The same for any points, all of them fitted.

  Args:
    points: [..., N, 3] Å.
    target: [N, 3] Å.

  Returns:
    [..., N, 3] float64 Å.
  """
  return _move(points, *_fit(points, target))


def rmsd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Root mean square distance of points after optimal superposition, never by a reflection.

  From the singular values alone (Kabsch, 1976); differences below 1e-6 Å are lost in rounding.

  Args:
    a: [..., N, 3] Å.
    b: [..., N, 3] Å, broadcast against `a`: one conformation or as many.

  Returns:
    [...] float64 Å.
  """
  a, b = _centred(a)[0], _centred(b)[0]
  covariance = a @ np.swapaxes(b, -1, -2)
  overlap = np.linalg.svd(covariance, compute_uv=False)
  overlap[..., 2] *= np.sign(np.linalg.det(covariance))
  squares = np.sum(a * a, axis=(-2, -1)) + np.sum(b * b, axis=(-2, -1))
  return np.sqrt(np.maximum(squares - 2.0 * overlap.sum(axis=-1), 0.0) / a.shape[-1])

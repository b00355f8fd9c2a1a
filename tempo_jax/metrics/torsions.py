"""Backbone torsions of many frames. Plain numpy; `geometry.torsion` is for arrays on a device."""

import numpy as np

from tempo_jax.geometry import bonds

_BLOCK = 1 << 20  # Atoms; what is in memory at a time beside the result.


def backbone_torsions(
  positions: np.ndarray, bonded: np.ndarray | bonds.Bonds
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """phi, psi and omega with the IUPAC sign (Biochemistry 9, 3471 (1970)).

  As mdtraj does, omega (CA, C, next N, next CA) belongs to the residue of the C, not of the N.

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O.
    bonded: [L] bool, residue i has a peptide bond to residue i + 1; or `Bonds`.

  Returns:
    Three arrays [F, L] in radians, -pi to pi, of the precision of `positions`. NaN, in all frames,
    where the peptide bond that they need is missing: phi to the residue before, psi and omega to
    the next one. 0 where three of the atoms are on one line.
  """
  num_frames, length = positions.shape[:2]
  dtype = np.result_type(positions, np.float32)
  phi, psi, omega = (np.full((num_frames, length), np.nan, dtype) for _ in range(3))
  here, there = bonds.pairs(bonded)
  along = there == here + 1
  step = max(1, _BLOCK // (3 * length))
  for start in range(0, num_frames, step):
    block = slice(start, start + step)
    frames = positions[block].astype(dtype, copy=False)
    angles = _chain_angles(frames)[:, here[along]]
    for last, first in zip(here[~along], there[~along], strict=True):  # That closes a ring.
      angles = np.concatenate([angles, _chain_angles(frames[:, [last, first]])], axis=1)
    rows = np.concatenate([here[along], here[~along]])
    after = np.concatenate([there[along], there[~along]])
    psi[block, rows], omega[block, rows], phi[block, after] = np.moveaxis(angles, -1, 0)
  return phi, psi, omega


def _chain_angles(positions: np.ndarray) -> np.ndarray:
  """[F, L - 1, 3]: psi and omega of each residue, and phi of the next.

  N, CA, C, N, CA, C, ... is one chain of atoms, and these are the angles between its successive
  planes: each normal serves two of them.
  """
  num_frames, length = positions.shape[:2]
  chain = positions[:, :, :3].reshape(num_frames, 3 * length, 3)
  bond = np.moveaxis(np.diff(chain, axis=1), -1, 0)  # [3, F, 3 L - 1]
  a, b = bond[..., :-1], bond[..., 1:]
  normal = np.stack([a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)])
  axis = bond[..., 1:-1]
  cosine = np.sum(normal[..., :-1] * normal[..., 1:], axis=0)
  sine = np.sqrt(np.sum(axis * axis, axis=0)) * np.sum(bond[..., :-2] * normal[..., 1:], axis=0)
  return np.arctan2(sine, cosine).reshape(num_frames, length - 1, 3)

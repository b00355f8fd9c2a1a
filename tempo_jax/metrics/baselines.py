"""Predictions that cost nothing, to compare models with. A seed determines each of them.

None of them has dynamics: their frames are equal, or independent of one another.
"""

import numpy as np

from tempo_jax.metrics import flexibility
from tempo_jax.metrics.superposition import CA

CUTOFF = 15.0
"""Å, of the elastic network: Atilgan et al. and ProDy."""


def frozen(native: np.ndarray, num_frames: int) -> np.ndarray:
  """The native structure, again and again.

  Args:
    native: [L, 4, 3] Å.
    num_frames: F.

  Returns:
    [F, L, 4, 3] float32 Å.
  """
  return np.repeat(native[None].astype(np.float32), num_frames, axis=0)


def gaussian(superposed: np.ndarray, num_frames: int, seed: int) -> np.ndarray:
  """The reference's mean structure with noise: each atom has MD's variance, and no correlations.

  The noise of an atom is isotropic: in each direction a third of its mean square fluctuation.

  Args:
    superposed: [F', L, 4, 3] Å, the reference, all frames superposed on one structure.
    num_frames: F.
    seed: of the noise.

  Returns:
    [F, L, 4, 3] float32 Å.
  """
  centre = superposed.mean(axis=0, dtype=np.float64)
  variance = np.zeros(centre.shape[:-1])
  for frame in superposed:  # One at a time: the deviations of all need as much again.
    variance += np.sum((frame - centre) ** 2, axis=-1)
  sigma = np.sqrt(variance / (3 * len(superposed))).astype(np.float32)
  noise = np.random.default_rng(seed).standard_normal((num_frames, *centre.shape), np.float32)
  noise *= sigma[..., None]
  noise += centre.astype(np.float32)
  return noise


# No library: ProDy has no wheels and does not build on current Python, springcraft needs numpy < 2.
def hessian(ca: np.ndarray, cutoff: float = CUTOFF) -> np.ndarray:
  """Second derivatives of the anisotropic network model's energy, for springs of constant 1.

  All CA within the cutoff are joined by equal springs at rest (Atilgan et al., Biophys. J. 80, 505
  (2001), equation 6): its 3 x 3 blocks are -d d^T / |d|^2 off the diagonal, d being the vector
  between two atoms, and minus their sum on it.

  Args:
    ca: [L, 3] Å.
    cutoff: Å.

  Returns:
    [3 L, 3 L] float64, per unit spring constant.
  """
  length = len(ca)
  ca = ca.astype(np.float64)
  between = ca[:, None] - ca
  squared = np.sum(between * between, axis=-1)
  joined = (squared <= cutoff**2) & (squared > 0.0)
  weight = np.where(joined, 1.0 / np.where(joined, squared, 1.0), 0.0)
  blocks = -np.einsum('ij,ijx,ijy->ixjy', weight, between, between, optimize=True)
  residue = np.arange(length)
  blocks[residue, :, residue] -= blocks.sum(axis=2)
  return blocks.reshape(3 * length, 3 * length)


def elastic_network(
  native: np.ndarray, num_frames: int, target_rmsf: float, seed: int
) -> np.ndarray:
  """Thermal fluctuation of an anisotropic network model (ANM) about the native structure.

  CA displacements are Gaussian with the pseudo-inverse of `hessian` as covariance, and independent
  between frames. Temperature over spring constant, which the model leaves open, is chosen so
  that the expected RMSF, averaged over CA, is that of the reference. N, C and O move with their CA,
  rigidly: bonds between residues are stretched.

  Args:
    native: [L, 4, 3] Å.
    num_frames: F.
    target_rmsf: Å, mean over residues of the reference's CA RMSF.
    seed: of the noise.

  Returns:
    [F, L, 4, 3] float32 Å. Residues that no spring holds stay where they are.
  """
  stiffness, modes = np.linalg.eigh(hessian(native[:, CA]))
  # Six motions of the whole cost nothing, and more where parts are loose.
  soft = stiffness > 1e-8 * stiffness[-1]
  modes = modes[:, soft] / np.sqrt(stiffness[soft])
  rmsf = np.sqrt(np.sum(modes.reshape(len(native), -1) ** 2, axis=-1)).mean()
  if rmsf > 0.0:
    modes *= target_rmsf / rmsf
  amplitude = np.random.default_rng(seed).standard_normal((num_frames, modes.shape[1]))
  displacement = (amplitude @ modes.T).reshape(num_frames, len(native), 1, 3)
  return (native + displacement).astype(np.float32)


def elastic_network_of(
  reference: np.ndarray, native: np.ndarray, num_frames: int | None = None, seed: int = 0
) -> np.ndarray:
  """`elastic_network` with the mean CA RMSF of a reference.

  Args:
    reference: [G, L, 4, 3] Å.
    native: [L, 4, 3] Å, on which the reference is superposed by its CA atoms.
    num_frames: F; None: G.
    seed: of the noise.

  Returns:
    [F, L, 4, 3] float32 Å.
  """
  rmsf = float(flexibility.ca_rmsf(reference, native).mean())
  return elastic_network(native, num_frames or len(reference), rmsf, seed)

"""Foldedness and free energies. Plain numpy; energies in kcal/mol, temperatures in K."""

from collections.abc import Sequence

import numpy as np

BOLTZMANN = 8.31446261815324 / 4184.0
"""kcal/(mol K)."""

# Definition of q: Å, residues, 1/Å, and the factor by which a native distance may grow.
CONTACT_DISTANCE = 10.0
MIN_SEPARATION = 3
_STEEPNESS = 5.0
_TOLERANCE = 1.2
# Folded probability: sigmoid(20 (q - 1/2)), and how near to 0 and 1 it may come.
_FOLDED_STEEPNESS = 20.0
_FOLDED_Q = 0.5
_MIN_PROBABILITY = 1e-10

_PAIR_BLOCK, _FRAME_BLOCK = 512, 256  # Distances of a block: 0.5 MiB, which stay in the cache.
_FARTHEST = 2.0  # Standard deviations of the kernel: beyond them, a frame says nothing.


def native_contacts(
  native: np.ndarray, chain_index: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Pairs of backbone heavy atoms that are near in the native structure.

  Args:
    native: [L, 4, 3] Å, atoms N, CA, C, O.
    chain_index: [L]; left out: one chain.

  Returns:
    Pairs [P, 2] of indices into the [4 L] atoms and their distances [P] in Å: at least three
    residues apart or in different chains, and nearer than 10 Å.
  """
  length = len(native)
  atoms = native.reshape(-1, 3).astype(np.float64)
  residue = np.repeat(np.arange(length), native.shape[1])
  chain = np.zeros(length) if chain_index is None else np.asarray(chain_index)
  chain = np.repeat(chain, native.shape[1])
  first, second = np.triu_indices(len(atoms), 1)
  far = (residue[second] - residue[first] >= MIN_SEPARATION) | (chain[first] != chain[second])
  first, second = first[far], second[far]
  distance = np.linalg.norm(atoms[first] - atoms[second], axis=-1)
  near = distance < CONTACT_DISTANCE
  return np.stack([first[near], second[near]], axis=-1), distance[near]


def fraction_of_native_contacts(
  positions: np.ndarray, native: np.ndarray, chain_index: np.ndarray | None = None
) -> tuple[np.ndarray, None] | tuple[None, str]:
  """Mean over native contacts, q, of 1 / (1 + exp(5 (d - 1.2 d0))), d in Å, in every frame.

  Best, Hummer, Eaton, PNAS 110, 17874 (2013), with the constants of BioEmu's benchmark (Lewis et
  al., 2025). Its contacts are others: CA only, more than three residues apart, at most 10 Å; here
  those of the backbone's heavy atoms, `native_contacts`.

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O.
    native: [L, 4, 3] Å.
    chain_index: [L]; left out: one chain.

  Returns:
    q [F] float64, 0 to 1, and None; or None and the reason: the native structure has no contacts.
  """
  pairs, native_distance = native_contacts(native, chain_index)
  if not len(pairs):
    return None, 'the native structure has no contacts between residues three or more apart'
  return mean_of_contacts(positions, pairs, native_distance), None


def mean_of_contacts(
  positions: np.ndarray, pairs: np.ndarray, native_distance: np.ndarray
) -> np.ndarray:
  """The mean of `fraction_of_native_contacts` over some of `native_contacts`.

  Args:
    positions: [F, L, 4, 3] Å, atoms N, CA, C, O.
    pairs: [P, 2] of indices into the [4 L] atoms, at least one.
    native_distance: [P] Å.

  Returns:
    [F] float64, 0 to 1.
  """
  limit = (_TOLERANCE * native_distance).astype(np.float32)[:, None]
  q = np.zeros(len(positions))
  for start in range(0, len(positions), _FRAME_BLOCK):
    frames = positions[start : start + _FRAME_BLOCK]
    frames = frames - frames.mean(axis=(1, 2), keepdims=True)
    # Frames last: a pair is then the difference of two rows.
    atoms = np.ascontiguousarray(frames.reshape(len(frames), -1, 3).transpose(1, 2, 0), np.float32)
    for begin in range(0, len(pairs), _PAIR_BLOCK):
      block = slice(begin, begin + _PAIR_BLOCK)
      between = atoms[pairs[block, 0]]
      between -= atoms[pairs[block, 1]]
      between *= between
      distance = np.sqrt(between.sum(axis=1))
      distance -= limit[block]
      distance *= _STEEPNESS
      np.minimum(distance, 80.0, out=distance)  # exp of more is no float32.
      np.exp(distance, out=distance)
      distance += 1.0
      q[start : start + len(frames)] += np.reciprocal(distance).sum(axis=0, dtype=np.float64)
  return q / len(pairs)


def folded_probability(q: np.ndarray) -> float:
  """Mean over frames of 1 / (1 + exp(-20 (q - 0.5))), within [1e-10, 1 - 1e-10] (BioEmu).

  Args:
    q: [F], from `fraction_of_native_contacts`.
  """
  folded = np.mean(1.0 / (1.0 + np.exp(-_FOLDED_STEEPNESS * (q - _FOLDED_Q))))
  return float(np.clip(folded, _MIN_PROBABILITY, 1.0 - _MIN_PROBABILITY))


def folding_free_energy(probability: float, temperature_K: float) -> float:
  """-kT ln(p / (1 - p)): negative where the folded state is the more probable one.

  Args:
    probability: p, of the folded state.
    temperature_K: K.

  Returns:
    kcal/mol.
  """
  return float(-BOLTZMANN * temperature_K * np.log(probability / (1.0 - probability)))


def ddg(prediction_q: np.ndarray, reference_q: np.ndarray, temperature_K: float) -> float:
  """Absolute difference of the folding free energies (paper, section 9).

  Args:
    prediction_q: [F], from `fraction_of_native_contacts`.
    reference_q: [F'].
    temperature_K: K.

  Returns:
    kcal/mol.
  """
  prediction, reference = (
    folding_free_energy(folded_probability(q), temperature_K) for q in (prediction_q, reference_q)
  )
  return abs(prediction - reference)


def free_energy_1d(
  ensembles: Sequence[np.ndarray], temperature_K: float, num_points: int = 100
) -> tuple[np.ndarray, list[np.ndarray]]:
  """-kT ln p along one coordinate, p by Gaussian kernels.

  Kernels have Scott's width, F^(-1/5) standard deviations, but at least the grid's spacing.

  Args:
    ensembles: one [F] or more, such as those of the prediction and of the reference.
    temperature_K: K.
    num_points: G.

  Returns:
    The grid [G], which covers all ensembles, and for each of them the free energy [G] in kcal/mol,
    0 at its lowest point; inf where it has practically no frames.
  """
  grid = _grid(ensembles, num_points)
  energies = []
  for sample in ensembles:
    density = _kernel(sample, grid, 1).mean(axis=0)
    energies.append(_energy(density, len(sample), temperature_K))
  return grid, energies


def free_energy_2d(
  ensembles: Sequence[np.ndarray], temperature_K: float, num_points: int = 64
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
  """-kT ln p over two coordinates, p by Gaussian kernels (paper, section 9: PC1 and PC2).

  Kernels are products of one along each axis, of Scott's width, F^(-1/6) standard deviations, but
  at least the grid's spacing.

  Args:
    ensembles: one [F, 2] or more, such as those of the prediction and of the reference.
    temperature_K: K.
    num_points: G, along each axis.

  Returns:
    The grids [G] of the first and of the second coordinate, which cover all ensembles, and for each
    ensemble the free energy [G, G] in kcal/mol, first coordinate first, 0 at its lowest point; inf
    where it has practically no frames.
  """
  x, y = (_grid([sample[:, axis] for sample in ensembles], num_points) for axis in range(2))
  energies = []
  for sample in ensembles:
    density = _kernel(sample[:, 0], x, 2).T @ _kernel(sample[:, 1], y, 2) / len(sample)
    energies.append(_energy(density, len(sample), temperature_K))
  return x, y, energies


def _grid(samples: Sequence[np.ndarray], num_points: int) -> np.ndarray:
  """[G] even points over the range of all samples, and a twentieth of it at both ends."""
  low, high = min(map(np.min, samples)), max(map(np.max, samples))
  margin = 0.05 * (high - low) or 0.5
  return np.linspace(low - margin, high + margin, num_points)


def _kernel(sample: np.ndarray, grid: np.ndarray, dimensions: int) -> np.ndarray:
  """[F, G] Gaussian about each frame at each point of the grid, 1 at its top."""
  scott = len(sample) ** (-1.0 / (dimensions + 4))
  # Scott's rule is for the unbiased variance, as in scipy's.
  sigma = np.std(sample, ddof=1) if len(sample) > 1 else 0.0
  width = max(scott * sigma, grid[1] - grid[0])
  return np.exp(-0.5 * ((grid - sample[:, None]) / width) ** 2)


def _energy(density: np.ndarray, num_frames: int, temperature_K: float) -> np.ndarray:
  """-kT ln(density / its maximum); inf where one frame two widths away would give more."""
  visited = density >= np.exp(-0.5 * _FARTHEST**2) / num_frames
  energy = np.full(density.shape, np.inf)
  energy[visited] = -BOLTZMANN * temperature_K * np.log(density[visited] / density.max())
  return energy

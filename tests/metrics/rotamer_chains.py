"""Series of rotamers whose rates are known."""

import numpy as np


def states(rng: np.random.Generator, stay: float, num_frames: int, num_residues: int) -> np.ndarray:
  """[F, L] of 0, 1, 2: a Markov chain that stays with a probability, else goes to either other."""
  start = rng.integers(0, 3, num_residues)
  moves = (rng.uniform(size=(num_frames, num_residues)) > stay) * rng.integers(
    1, 3, (num_frames, num_residues)
  )
  return (start + np.cumsum(moves, axis=0)) % 3

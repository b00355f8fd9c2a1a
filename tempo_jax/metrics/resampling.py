"""Which reference frames a metric looks at: all of them, or AlphaFlow's random draws.

AlphaFlow (Jing et al., 2024; scripts/analyze_ensembles.py) draws reference frames with
replacement, so that ensembles are of equal size. Its published numbers need the same draws, in
the same order. The default here is all frames: deterministic, and with less noise.
"""

import dataclasses

import numpy as np

ALPHAFLOW_SEED = 137

_RAND1K = 1000


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
  """Indices into the concatenated reference replicas R1, R2, R3.

  Attributes:
    rand1: [n] as many as predicted frames, for contacts, joint PCA, both PCA W2, and, against
      `rand2`, MD's pairwise RMSD.
    rand2: [n] the second draw.
    rand1k: [m] for the Gaussians of the root mean W2.
  """

  rand1: np.ndarray
  rand2: np.ndarray
  rand1k: np.ndarray

  @classmethod
  def all(cls, num_reference: int) -> 'Frames':
    """Every frame once: nothing is drawn."""
    every = np.arange(num_reference)
    return cls(every, every, every)

  @classmethod
  def alphaflow(
    cls, num_reference: int, num_predicted: int, seed: int = ALPHAFLOW_SEED
  ) -> 'Frames':
    """AlphaFlow's draws: `num_predicted` frames twice, then 1,000, each with replacement.

    Args:
      num_reference: frames of all replicas together.
      num_predicted: frames of the prediction.
      seed: of numpy's legacy generator; AlphaFlow's is 137, set anew for each protein.
    """
    rng = np.random.RandomState(seed)
    rand1, rand2, rand1k = (
      rng.randint(0, num_reference, size) for size in (num_predicted, num_predicted, _RAND1K)
    )
    return cls(rand1, rand2, rand1k)

"""Mean conformations of the proteins that a model is fine-tuned on (`models.centres`)."""

from collections.abc import Iterable

import numpy as np

from tempo_jax.metrics import superposition
from tempo_jax.models import centres
from tempo_jax.store import store as store_lib
from tempo_jax.store.entry import Entry

# Of a trajectory.
_MOST_FRAMES = 500
_ROUNDS = 3
# Å, median of the CA-CA distances along the chain: in the mean of conformations that are not alike
# bonds shorten. In our MD folded proteins have 3.71 to 3.84, what unfolds 1.7 to 3.62 (CA-CA 3.8).
_LEAST_BOND = 3.7


def measure(
  store: store_lib.Store, trajectories: Iterable[Entry], time_block: tuple[float, float]
) -> dict[str, np.ndarray]:
  """Means over the trajectories of each protein, superposed by CA.

  Args:
    store: that holds them.
    trajectories: that are trained on.
    time_block: the part of each, as fractions of its frames.

  Returns:
    By `centres.key`, [L, 3] Å: CA. Proteins that unfold have no mean that is a conformation.
  """
  of_protein: dict[str, list[Entry]] = {}
  for entry in trajectories:
    name = centres.key(entry.sequence, entry.chain_index)
    of_protein.setdefault(name, []).append(entry)
  found = {}
  for name, entries in of_protein.items():
    frames = np.concatenate([_frames(store, entry, time_block) for entry in entries])
    mean = mean_of(frames)
    bonds = np.linalg.norm(np.diff(mean, axis=0), axis=-1)[entries[0].bonded[:-1]]
    if len(bonds) and np.median(bonds) >= _LEAST_BOND:
      found[name] = mean.astype(np.float32)
  return found


def _frames(store: store_lib.Store, entry: Entry, time_block: tuple[float, float]) -> np.ndarray:
  first, last = (round(fraction * entry.num_frames) for fraction in time_block)
  number = min(last - first, _MOST_FRAMES)
  return store.read(entry, np.linspace(first, last - 1, number).round().astype(int))


def mean_of(positions: np.ndarray) -> np.ndarray:
  """[L, 3] Å: mean CA of frames [F, L, 4, 3], each superposed on it."""
  mean = positions[0]
  for _ in range(_ROUNDS):
    motions = superposition.motion(positions, mean, atoms='ca')
    moved = superposition.move(positions.reshape(len(positions), -1, 3), motions)
    mean = moved.mean(axis=0).reshape(mean.shape)
  return mean[:, superposition.CA]

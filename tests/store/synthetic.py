"""Small stores whose every number is known."""

import numpy as np

from tempo_jax.store import store


def entry(
  name='toy', length=10, dt_ns=0.01, temperature_K=300.0, replica=1, split='train', **changes
) -> store.Entry:
  values = {
    'name': name,
    'temperature_K': temperature_K,
    'replica': replica,
    'dt_ns': dt_ns,
    'sources': {f'{name}_R{replica}.xtc': '0' * 64},
    'sequence': 'A' * length,
    'residue_type': np.arange(length, dtype=np.int32) % 20,
    'residue_index': np.arange(length, dtype=np.int32),
    'chain_index': np.zeros(length, np.int32),
    'bonded': np.arange(length) < length - 1,
    'residue_number': np.arange(100, 100 + length, dtype=np.int32),
    'insertion_code': ('',) * (length - 1) + ('B',),
    'chain_ids': ('A',),
    'split': split,
  }
  return store.Entry(**{**values, **changes})


def positions(rng: np.random.Generator, num_frames: int, length: int = 10) -> np.ndarray:
  return rng.normal(scale=10.0, size=(num_frames, length, 4, 3)).astype(np.float32)


def chi(rng: np.random.Generator, num_frames: int, length: int = 10) -> np.ndarray:
  """A third of them are not known."""
  values = rng.uniform(-np.pi, np.pi, size=(num_frames, length, 4)).astype(np.float32)
  return np.where(rng.random(values.shape) < 1 / 3, np.float32(np.nan), values)

"""Means of MD, against those of frames that were superposed by scipy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.store import store as store_lib
from tempo_jax.training import mean_conformation
from tests import builders
from tests.store import synthetic

LENGTH = 12


def tumbling(rng, frames):
  """The same [F, L, 4, 3], each turned and moved in another way."""
  turns = Rotation.random(len(frames), random_state=rng).as_matrix()
  moves = 20.0 * rng.normal(size=(len(frames), 1, 1, 3))
  return (np.einsum('fxy,flay->flax', turns, frames) + moves).astype(np.float32)


def fluctuating(rng, number, spread):
  start = builders.helix(LENGTH).positions
  return start + spread * rng.normal(size=(number, LENGTH, 1, 3))


def test_mean_of_frames_in_any_pose(np_rng):
  frames = fluctuating(np_rng, 80, 0.4)
  mean = mean_conformation.mean_of(tumbling(np_rng, frames))
  still = frames[:, :, 1] - frames[:, :, 1].mean(axis=1, keepdims=True)
  expected = still[0]
  for _ in range(20):
    turns = [Rotation.align_vectors(expected, x)[0] for x in still]
    expected = np.mean([turn.apply(x) for turn, x in zip(turns, still, strict=True)], axis=0)
  _, rssd = Rotation.align_vectors(expected, mean - mean.mean(axis=0))
  assert rssd / np.sqrt(LENGTH) < 0.01


def test_replicas_of_a_protein_share_one(np_rng, tmp_path):
  """What unfolds has none, and only the frames that are trained on count."""
  frames = [tumbling(np_rng, fluctuating(np_rng, 60, 0.3)) for _ in range(2)]
  later = np.tile(builders.helix(LENGTH, seed=3).positions * np.float32(2.0), (60, 1, 1, 1))
  coil = np.cumsum(2.2 * np_rng.normal(size=(120, LENGTH, 1, 3)), axis=1) + np.zeros((4, 3))
  with store_lib.StoreWriter(tmp_path) as writer:
    for replica, x in enumerate(frames, start=1):
      entry = synthetic.entry('helix', LENGTH, replica=replica)
      writer.add(entry, np.concatenate([x, later.astype(np.float32)]))
    coil_entry = synthetic.entry('coil', LENGTH, sequence='G' * LENGTH)
    writer.add(coil_entry, tumbling(np_rng, coil))
  store = store_lib.Store(tmp_path)
  found = mean_conformation.measure(store, store.entries, (0.0, 0.5))
  assert found.keys() == {'A' * LENGTH}
  expected = mean_conformation.mean_of(np.concatenate(frames))
  distances = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (found['A' * LENGTH], expected)]
  np.testing.assert_allclose(*distances, atol=0.01)
  assert np.linalg.norm(np.diff(expected, axis=0), axis=-1) == pytest.approx(3.8, abs=0.35)

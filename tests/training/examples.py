"""A small store of wobbling helices, and experiments on it that train in seconds."""

import numpy as np

from tempo_jax import config as config_lib
from tempo_jax.configs import tiny
from tempo_jax.protein import side_chain_atoms
from tempo_jax.store import batching, store, windows
from tempo_jax.store import frames as frames_lib
from tempo_jax.training import examples as examples_lib
from tempo_jax.training import objectives
from tests import builders
from tests.store import synthetic


def positions(length, num_frames, seed=0, chains=1):
  """[F, L, 4, 3] Å: a helix that tumbles, its residues in a slow random walk."""
  rng = np.random.default_rng(seed)
  start = builders.helix(length, chains).positions
  walk = np.cumsum(0.05 * rng.normal(size=(num_frames, length, 1, 3)), axis=0)
  rotation, _ = builders.random_motion(seed)
  return ((start[None] + walk) @ rotation.T + 7.0).astype(np.float32)


def chi(residue_type, num_frames, seed=0):
  """[F, L, 4] rad: slow random walks of what is free, NaN elsewhere and for one in ten."""
  rng = np.random.default_rng(seed)
  shape = (num_frames, len(residue_type), 4)
  walk = rng.uniform(-np.pi, np.pi, shape[1:]) + np.cumsum(0.1 * rng.normal(size=shape), axis=0)
  known = side_chain_atoms.chi_mask(residue_type) & (rng.random(shape[1:]) < 0.9)
  return np.where(known, np.angle(np.exp(1j * walk)), np.nan).astype(np.float32)


def write_store(path, lengths=(10,), num_frames=300, dt_ns=0.01, side_chains=False):
  with store.StoreWriter(path) as writer:
    for length in lengths:
      entry = synthetic.entry(name=f'helix{length}', length=length, dt_ns=dt_ns)
      turning = chi(entry.residue_type, num_frames, length) if side_chains else None
      frames = frames_lib.Frames(positions(length, num_frames, seed=length), turning)
      writer.add(entry, frames)
  return str(path)


def experiment(path, variant='', side_chains=False, **train):
  """The configuration `tiny` on a store, shrunk further."""
  config = tiny.get_config(variant)
  config.data.store = str(path)
  config.model.side_chains = side_chains
  config.train.update(train)
  return config


def batch(config, level, step=0, batch_size=8):
  source = windows.WindowSource(
    store.Store(config.data.store),
    dt_ns=config.model.level[level].dt_ns,
    num_frames=objectives.frames_per_window(config),
    anchors=examples_lib.anchor_places(config.model, level),
  )
  with_chi = config_lib.has_side_chains(config.model)
  return batching.Loader(source, batch_size, buckets=(16,), with_chi=with_chi).batch(step)[0]

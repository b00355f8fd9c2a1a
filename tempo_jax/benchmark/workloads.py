"""What the benchmark measures: workloads, and the synthetic proteins and models they run on."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from tempo_jax import config as config_lib
from tempo_jax import transitions
from tempo_jax.geometry import backbone, ideal, rigid
from tempo_jax.models import directory as model_directory
from tempo_jax.models import model as model_lib
from tempo_jax.protein import protein as protein_lib

PAPER_SIZE = 'paper_size'
# Time steps of the bundled model, ns.
_LEVELS = {'coarse': 0.2, 'fine': 0.01}
_PHI, _PSI = np.deg2rad([-57.0, -47.0])


@dataclasses.dataclass(frozen=True)
class Workload:
  """One thing to measure.

  Attributes:
    name: of its row.
    mode: 'sample', 'stream', 'train', 'data' or 'evaluate'.
    length: residues.
    num_frames: of a trajectory.
    num_replicas: trajectories.
    model: 'default', `PAPER_SIZE` or a directory; None where no network is needed.
    passes: of the head per step; None: the model's own.
    precision: of the network; None: the model's own.
    segment_batch_size: segments computed together; None: the sampler's default.
    batch_size: windows of a training step, or of a batch that is read.
    repeats: how often it is timed.
  """

  name: str
  mode: str
  length: int
  num_frames: int
  num_replicas: int = 1
  model: str | None = None
  passes: int | None = None
  precision: str | None = None
  segment_batch_size: int | None = None
  batch_size: int = 4
  repeats: int = 5


def config_of(name: str) -> Any:
  """The configuration of `load_model(name)`, frozen; raises as that does."""
  if name != PAPER_SIZE:
    return config_lib.freeze(model_directory.read_config(name))
  config = config_lib.model_config(_LEVELS)
  for level in config.level.values():
    level.update(translation_std=0.1, rotation_std=0.05)
  return config_lib.freeze(config)


def load_model(name: str) -> model_lib.Model:
  """The model of that name; `PAPER_SIZE`: our settings, the paper's size, random parameters.

  Raises:
    InputError: there is no such model.
  """
  if name != PAPER_SIZE:
    return model_lib.load_model(name)
  config = config_of(name)
  params = {level: random_params(config, seed) for seed, level in enumerate(config.levels)}
  return model_lib.Model(name, config, params)


def random_params(config: Any, seed: int = 0) -> Any:
  """Small random parameters of one level; nothing is compiled."""
  shapes = jax.eval_shape(functools.partial(transitions.init_params, config), jax.random.key(0))
  rng = np.random.default_rng(seed)
  return traverse_util.path_aware_map(
    lambda path, leaf: jnp.asarray(
      (path[-1] == 'scale') + 0.05 * rng.standard_normal(leaf.shape), leaf.dtype
    ),
    shapes,
  )


def short_name(model: str) -> str:
  """Of a model in the name of a row: that of its directory."""
  return pathlib.Path(model).name or model


def helix(length: int) -> protein_lib.Protein:
  """A straight alpha helix of random sequence, ideal but for 0.05 Å."""
  # The next residue in the frame of this one; then each follows the one before.
  n, ca, c = ideal.N_CA_C_POSITIONS
  next_n = ideal.place_atom(n, ca, c, ideal.C_N, ideal.CA_C_N, _PSI)
  next_ca = ideal.place_atom(ca, c, next_n, ideal.N_CA, ideal.C_N_CA, np.pi)
  next_c = ideal.place_atom(c, next_n, next_ca, ideal.CA_C, ideal.N_CA_C, _PHI)
  step = backbone.frames_from_atoms(jnp.array([[next_n, next_ca, next_c]]))
  turn, shift = np.asarray(step.rotation[0], float), np.asarray(step.translation[0], float)
  frames = [(np.eye(3), np.zeros(3))]
  for _ in range(length - 1):
    rotation, origin = frames[-1]
    frames.append((rotation @ turn, origin + rotation @ shift))
  rotations, origins = (jnp.array(x) for x in zip(*frames, strict=True))
  positions = np.asarray(
    backbone.atoms_in_frames(rigid.Rigid(rotations, origins), jnp.full(length, _PSI))
  )
  rng = np.random.default_rng(0)
  positions = positions - positions.mean(axis=(0, 1)) + rng.normal(scale=0.05, size=positions.shape)
  number = np.arange(length, dtype=np.int32)
  arrays = protein_lib.ProteinArrays(
    residue_type=rng.integers(0, 20, length).astype(np.int32),
    residue_index=number,
    chain_index=np.zeros(length, np.int32),
    bonded=number < length - 1,
    mask=np.ones(length, bool),
    positions=positions.astype(np.float32),
  )
  return protein_lib.Protein(f'helix_{length}', arrays, ('A',), number + 1, ('',) * length)


def trajectory(protein: protein_lib.Protein, num_frames: int, seed: int = 0) -> np.ndarray:
  """Frames [F, L, 4, 3] float32 Å: the protein, every atom displaced by 0.1 Å."""
  start = np.asarray(protein.arrays.positions)
  noise = np.random.default_rng(seed).normal(scale=0.1, size=(num_frames, *start.shape))
  return (start + noise).astype(np.float32)

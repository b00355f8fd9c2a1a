"""Trajectories of any number and length, block by block: memory does not grow with the frames."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax.compilation import ahead_of_time
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine, devices, settings
from tempo_jax.samplers import rollout as rollout_lib

_BLOCK_BYTES = {'cpu': 1 << 23}
_BLOCK_BYTES_ACCELERATOR = 1 << 26
"""Of the positions of a block: enough frames to keep a device busy, and few enough to hold twice,
since one block is computed while another is written. On a CPU a block is seconds of work, which
nothing interrupts."""
_FRAME_BYTES = 4 * 4 * 3
"""Per residue: four atoms, float32."""


@dataclasses.dataclass(frozen=True)
class Job:
  """One trajectory.

  Attributes:
    protein: which one, from 0.
    replica: its number among those of the protein, from 0. The random numbers belong to it.
  """

  protein: int
  replica: int


def block_frames(config: Any, num_frames: int, num_jobs: int, length: int) -> int:
  """Frames of each block: all, or parts of equal size that fit into so many bytes.

  Args:
    config: the model's configuration.
    num_frames: frames wanted in all.
    num_jobs: trajectories that are computed together.
    length: padded residues.
  """
  whole = coarse_to_fine.frames_per_block(config)
  block_bytes = _BLOCK_BYTES.get(jax.default_backend(), _BLOCK_BYTES_ACCELERATOR)
  most = max(1, block_bytes // (num_jobs * length * _FRAME_BYTES * whole))
  units = -(-num_frames // whole)
  if units <= most:
    return num_frames
  return whole * -(-units // -(-units // most))


@jax.jit(static_argnums=0)
def _begin(config: Any, proteins: protein_lib.ProteinArrays) -> coarse_to_fine.RolloutState:
  """`coarse_to_fine.begin` of each of the proteins [J, L]."""
  return jax.vmap(lambda protein: coarse_to_fine.begin(config, protein))(proteins)


def make_block_sampler(
  config: Any, num_frames: int, batch_sizes: settings.BatchSizes
) -> Callable[..., Any]:
  """The jitted function that continues several trajectories, of any proteins, by a block.

  Args:
    config: the model's configuration, frozen.
    num_frames: frames of a block; see `coarse_to_fine.sample_block`.
    batch_sizes: how much is computed at once.

  Returns:
    sampler(params, proteins [J, L], rngs [J], temperature_K, rollout_states [J]) ->
    ([J, num_frames, L, 4, 3] Å, rollout_states [J]); J as `devices.padded` makes it, all `spread`.
  """

  def one_job(shared, job):
    params, temperature_K = shared
    protein, rng, state = job
    run = rollout_lib.Run(config, params, protein, temperature_K, rng, batch_sizes)
    return coarse_to_fine.sample_block(run, state, num_frames)

  def sampler(params, proteins, rngs, temperature_K, states):
    shared = params, jnp.asarray(temperature_K, jnp.float32)
    return devices.map_jobs(one_job, shared, (proteins, rngs, states), batch_sizes.trajectories)

  return jax.jit(sampler)


@dataclasses.dataclass
class Stream:
  """An iterator over blocks of frames.

  Iterating yields (job, positions [F, L, 4, 3] Å on the device, L without padding, first frame
  from 0); the blocks of a job come in order. Jobs of proteins of one padded length are computed
  together, and one length after the other. While a block is used, the next is computed.

  Attributes:
    config: the model's configuration, frozen.
    params: parameters per level name.
    proteins: padded, [L] each.
    lengths: residues of each without padding.
    jobs: the trajectories wanted.
    num_frames: of each.
    rng: a key.
    temperature_K: temperature, K.
    batch_sizes: how much is computed at once.
    compile_seconds: what compiling took so far, s.
  """

  config: Any
  params: Mapping[str, Any]
  proteins: Sequence[protein_lib.ProteinArrays]
  lengths: Sequence[int]
  jobs: Sequence[Job]
  num_frames: int
  rng: jax.Array
  temperature_K: float  # noqa: N815
  batch_sizes: settings.BatchSizes = settings.DEFAULT
  compile_seconds: float = 0.0
  _compiled: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)

  def __iter__(self) -> Iterator[tuple[Job, jax.Array, int]]:
    """See above."""
    groups: dict[int, list[Job]] = collections.defaultdict(list)
    for job in self.jobs:
      groups[len(self.proteins[job.protein].mask)].append(job)
    for jobs in groups.values():
      yield from self._together(jobs)

  def _together(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, jax.Array, int]]:
    """The same, of jobs of one padded length."""
    padded = [jobs[i] for i in devices.padded(len(jobs))]
    proteins = jax.tree.map(lambda *x: np.stack(x), *(self.proteins[job.protein] for job in padded))
    size = block_frames(self.config, self.num_frames, len(jobs), proteins.mask.shape[1])
    rngs = coarse_to_fine.replica_rngs(self.rng, jnp.array([job.replica for job in padded]))
    started = time.monotonic()
    proteins, rngs, state = devices.spread((proteins, rngs, _begin(self.config, proteins)))
    rest = self.params, proteins, rngs, np.float32(self.temperature_K)
    key = size, proteins.mask.shape
    if key not in self._compiled:
      sampler = make_block_sampler(self.config, size, self.batch_sizes)
      self._compiled[key] = ahead_of_time.compiled(sampler, *rest, state)
      self.compile_seconds += time.monotonic() - started
    compiled = self._compiled[key]
    positions, state = compiled(*rest, state)
    for first in range(0, self.num_frames, size):
      done = positions
      if first + size < self.num_frames:
        positions, state = compiled(*rest, state)
      for job, frames in zip(jobs, done, strict=False):  # The rest is padding.
        yield job, frames[: self.num_frames - first, : self.lengths[job.protein]], first

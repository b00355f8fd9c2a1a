"""Trajectories of any number and length, block by block: memory does not grow with the frames."""

import collections
import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tempo_jax import transitions
from tempo_jax.compilation import ahead_of_time, executables
from tempo_jax.protein import protein as protein_lib
from tempo_jax.samplers import coarse_to_fine, devices, settings
from tempo_jax.samplers import rollout as rollout_lib
from tempo_jax.trajectory import atoms as atoms_lib

_BLOCK_BYTES = {'cpu': 1 << 23}
_BLOCK_BYTES_ACCELERATOR = 1 << 26
"""Of the positions of a block: enough frames to keep a device busy, and few enough to hold twice,
since one block is computed while another is written. On a CPU a block is seconds of work, which
nothing interrupts."""
_ATOM_BYTES = 4 * 3
"""Three float32."""
_SHORT = 30_000
"""Residues times frames of all jobs, up to which a CPU compiles for longer than it samples."""


@dataclasses.dataclass(frozen=True)
class Job:
  """One trajectory.

  Attributes:
    protein: which one, from 0.
    replica: its number among those of the protein, from 0. The random numbers belong to it.
  """

  protein: int
  replica: int


def block_frames(
  config: Any,
  num_frames: int,
  num_jobs: int,
  length: int,
  atoms: str = atoms_lib.BACKBONE,
) -> int:
  """Frames of each block: all, or parts of equal size that fit into so many bytes.

  Args:
    config: the model's configuration.
    num_frames: frames wanted in all.
    num_jobs: trajectories that are computed together.
    length: padded residues.
    atoms: of each frame, one of `atoms.CHOICES`.
  """
  whole = coarse_to_fine.frames_per_block(config)
  block_bytes = _BLOCK_BYTES.get(jax.default_backend(), _BLOCK_BYTES_ACCELERATOR)
  frame_bytes = length * atoms_lib.NUM_SLOTS[atoms] * _ATOM_BYTES
  most = max(1, block_bytes // (num_jobs * frame_bytes * whole))
  units = -(-num_frames // whole)
  if units <= most:
    return num_frames
  return whole * -(-units // -(-units // most))


def compiler_effort(num_frames: int, num_jobs: int, length: int) -> ahead_of_time.Effort:
  """How far the compiler goes: less far where it would take longer than the sampling.

  Args:
    num_frames: frames wanted in all.
    num_jobs: trajectories that are computed together.
    length: padded residues.
  """
  is_short = num_frames * num_jobs * length <= _SHORT
  return ahead_of_time.Effort.LITTLE if is_short else ahead_of_time.Effort.FULL


def make_beginning(config: Any, rng_impl: str) -> Callable[..., Any]:
  """The jitted function that begins several trajectories.

  Args:
    config: the model's configuration, frozen.
    rng_impl: `jax.random.key_impl` of the key.

  Returns:
    begin(proteins [J, L], rng, replicas [J], temperature_K) -> (rngs [J], rollout_states [J]); keys
    as `jax.random.key_data`, which executables on disk can take.
  """

  def begin(proteins, rng, replicas, temperature_K):
    rngs = coarse_to_fine.replica_rngs(jax.random.wrap_key_data(rng, impl=rng_impl), replicas)

    # One after the other: an elastic prior calls LAPACK, which knows no batches here.
    def one(job):
      return coarse_to_fine.begin(config, job[0], temperature_K, job[1])

    states = jax.lax.map(one, (proteins, rngs))
    return jax.random.key_data(rngs), states

  return jax.jit(begin)


def make_block_sampler(
  config: Any, rng_impl: str, num_frames: int, batch_sizes: settings.BatchSizes, atoms: str
) -> Callable[..., Any]:
  """The jitted function that continues several trajectories, of any proteins, by a block.

  Args:
    config: the model's configuration, frozen.
    rng_impl: see `make_beginning`.
    num_frames: frames of a block; see `coarse_to_fine.sample_block`.
    batch_sizes: how much is computed at once.
    atoms: 'heavy' or 'backbone'.

  Returns:
    sampler(params, proteins [J, L], rngs [J], temperature_K, rollout_states [J]) ->
    ([J, num_frames, L, A, 3] Å, rollout_states [J]); J as `devices.padded` makes it, all `spread`,
    and the parameters `rollout.stacked`.
  """
  settings.atoms_of(config, atoms)

  def one_job(shared, job):
    params, temperature_K = shared
    protein, rng, state = job
    rng = jax.random.wrap_key_data(rng, impl=rng_impl)
    run = rollout_lib.Run(config, params, protein, temperature_K, rng, batch_sizes, atoms)
    return coarse_to_fine.sample_block(run, state, num_frames)

  def sampler(params, proteins, rngs, temperature_K, states):
    shared = params, jnp.asarray(temperature_K, jnp.float32)
    return devices.map_jobs(one_job, shared, (proteins, rngs, states), batch_sizes.trajectories)

  return jax.jit(sampler)


@dataclasses.dataclass
class Stream:
  """An iterator over blocks of frames.

  Iterating yields (job, positions [F, L, A, 3] Å on the device, L without padding, first frame
  from 0); the blocks of a job come in order. Jobs of proteins of one padded length are computed
  together, `batch_sizes.trajectories` on each device and the others after them; then those of the
  next length. While a block is used, the next is computed.

  Attributes:
    config: the model's configuration, frozen.
    params: parameters per level name.
    proteins: padded, [L] each.
    lengths: residues of each without padding.
    jobs: the trajectories, which decide what is computed together.
    done: those of them that are there already. They are passed over where all that are computed
      together are, and else computed once more, for the others to come out the same.
    num_frames: of each.
    rng: a key.
    temperature_K: temperature, K.
    batch_sizes: how much is computed at once.
    atoms: 'heavy' or 'backbone'.
    compile_seconds: what compiling took so far, s.
  """

  config: Any
  params: Mapping[str, Any]
  proteins: Sequence[protein_lib.ProteinArrays]
  lengths: Sequence[int]
  jobs: Sequence[Job]
  num_frames: int
  rng: jax.Array
  temperature_K: float
  batch_sizes: settings.BatchSizes = settings.DEFAULT
  done: Collection[Job] = ()
  atoms: str = atoms_lib.BACKBONE
  compile_seconds: float = 0.0
  _programs: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False)

  def __iter__(self) -> Iterator[tuple[Job, jax.Array, int]]:
    """See above."""
    groups: dict[Any, list[Job]] = collections.defaultdict(list)
    for job in self.jobs:
      protein = self.proteins[job.protein]
      # Rings and disulphides have programs of their own.
      groups[len(protein.mask), jax.tree.structure(protein)].append(job)
    for jobs in groups.values():
      size = self._together_size(len(jobs))
      for first in range(0, len(jobs), size):
        part = jobs[first : first + size]
        if not all(job in self.done for job in part):
          yield from self._together(part, size, len(jobs))

  def _together_size(self, num_jobs: int) -> int:
    """Of the parts in which so many jobs are computed: equal ones, for one program to serve all."""
    most = (self.batch_sizes.trajectories or num_jobs) * jax.local_device_count()
    return -(-num_jobs // -(-num_jobs // most))

  def _compiled(
    self,
    make: Callable[..., Any],
    made_from: tuple[Any, ...],
    *args: Any,
    effort: ahead_of_time.Effort,
  ) -> Any:
    """The program of make(*made_from) for such arguments, from the memory, the disk or anew."""
    key = make, made_from, effort, str(jax.tree.map(np.shape, args))
    if key not in self._programs:
      started = time.monotonic()
      function = make(*made_from)
      if transitions.is_built_in(self.config):
        self._programs[key] = executables.compiled(function, made_from, *args, effort=effort)
      else:  # The source of a transition that was registered may change any time.
        self._programs[key] = ahead_of_time.compiled(function, *args, effort=effort)
      self.compile_seconds += time.monotonic() - started
    return self._programs[key]

  def _together(
    self, jobs: Sequence[Job], size: int, num_jobs: int
  ) -> Iterator[tuple[Job, jax.Array, int]]:
    """The same, of jobs of one padded length that are computed together.

    Args:
      jobs: some.
      size: how many the program computes; the last of them fill it up.
      num_jobs: that the program computes in all, some after others.
    """
    padded = [jobs[min(i, len(jobs) - 1)] for i in devices.padded(size)]
    proteins = jax.tree.map(lambda *x: np.stack(x), *(self.proteins[job.protein] for job in padded))
    length = proteins.mask.shape[1]
    num_frames = block_frames(self.config, self.num_frames, size, length, self.atoms)
    replicas = np.array([job.replica for job in padded], np.int32)
    impl = str(jax.random.key_impl(self.rng))
    temperature_K = np.float32(self.temperature_K)
    start = proteins, jax.random.key_data(self.rng), replicas, temperature_K
    beginning = self._compiled(
      make_beginning, (self.config, impl), *start, effort=ahead_of_time.Effort.ONCE
    )
    rngs, state = beginning(*start)
    proteins, rngs, state = devices.spread((proteins, rngs, state))
    # On the host, where nothing is compiled for it.
    params = jax.tree.map(np.asarray, dict(self.params))
    params = devices.replicate(rollout_lib.stacked(params, self.config.levels), len(padded))
    rest = params, proteins, rngs, temperature_K
    made_from = self.config, impl, num_frames, self.batch_sizes, self.atoms
    effort = compiler_effort(self.num_frames, num_jobs, length)
    compiled = self._compiled(make_block_sampler, made_from, *rest, state, effort=effort)
    positions, state = compiled(*rest, state)
    for first in range(0, self.num_frames, num_frames):
      block = positions
      if first + num_frames < self.num_frames:
        positions, state = compiled(*rest, state)
      for job, frames in zip(jobs, block, strict=False):  # The rest is padding.
        if job not in self.done:
          yield job, frames[: self.num_frames - first, : self.lengths[job.protein]], first

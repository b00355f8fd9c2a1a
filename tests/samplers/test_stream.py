import functools

import jax
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.compilation import ahead_of_time
from tempo_jax.samplers import coarse_to_fine, stream
from tempo_jax.samplers.settings import BatchSizes
from tests import builders
from tests.samplers import fake_step

LENGTH = 8
DT_NS = {'coarse': 8.0, 'middle': 4.0, 'fine': 1.0}
START = builders.small_config(DT_NS)
BOTH = config_lib.from_dict(config_lib.to_dict(START))
BOTH.anchors = 'both'
BOTH = config_lib.freeze(BOTH)
WHOLE = 16  # frames of the finest level in one pass of the coarsest


def blocks(monkeypatch, config, params, proteins, num_frames, jobs, units, **kwargs):
  """Frames of every job, from blocks of so many coarse passes."""
  size = units * WHOLE
  monkeypatch.setattr(stream, 'block_frames', lambda *_: min(size, num_frames))
  found = {job: [] for job in jobs}
  lengths = [int(protein.mask.sum()) for protein in proteins]
  rng = jax.random.key(5)
  for job, positions, first in stream.Stream(
    config, params, proteins, lengths, jobs, num_frames, rng, 320.0, **kwargs
  ):
    assert first == sum(map(len, found[job]))
    found[job].append(np.asarray(positions))
  return {job: np.concatenate(parts) for job, parts in found.items() if parts}


def check_blocks(monkeypatch, config, params, sizes):
  """In one piece, and in blocks of so many coarse passes; the last is cut."""
  num_frames, jobs = 3 * WHOLE - 3, [stream.Job(0, 4)]
  whole, *cut = (
    blocks(monkeypatch, config, params, [builders.helix(LENGTH)], num_frames, jobs, units)[jobs[0]]
    for units in (3, *sizes)
  )
  assert whole.shape == (num_frames, LENGTH, 4, 3)
  assert np.abs(np.diff(whole, axis=0)).max(axis=(1, 2, 3)).min() > 0.05
  for frames in cut:
    np.testing.assert_allclose(frames, whole, atol=2e-3)


def test_the_compiler_does_less_where_little_is_sampled():
  """The README's example, and work of minutes."""
  assert stream.compiler_effort(400, 1, 20) < stream.compiler_effort(400, 64, 20)
  assert stream.compiler_effort(400, 1, 20) < stream.compiler_effort(100_000, 1, 20)
  assert stream.compiler_effort(400, 1, 256) == ahead_of_time.Effort.FULL


@pytest.mark.parametrize('config', [START, BOTH], ids=['start', 'both'])
def test_blocks_are_the_trajectory(monkeypatch, config):
  fake_step.install(monkeypatch, fake_step.diffusion)
  check_blocks(monkeypatch, config, fake_step.params(config), (1, 2))


@pytest.mark.slow  # Compiles samplers of two lengths.
def test_blocks_of_a_network_join_without_a_jump(monkeypatch):
  """Segments that were moved to their place carry the motion into the next block."""
  check_blocks(monkeypatch, BOTH, {name: builders.params(BOTH) for name in BOTH.levels}, (1,))


def test_jobs_are_those_of_the_samplers(monkeypatch):
  """Proteins of two padded lengths, some of their replicas, on eight devices or one by one."""
  fake_step.install(monkeypatch, fake_step.diffusion)
  params = fake_step.params(START)
  proteins = [builders.helix(3, seed=1), builders.pad(builders.helix(2), 4), builders.helix(3)]
  jobs = [stream.Job(*pair) for pair in [(0, 0), (0, 1), (1, 2), (2, 0), (2, 7), (0, 9)]]
  together = blocks(monkeypatch, START, params, proteins, 20, jobs, 1)
  one_by_one = blocks(
    monkeypatch, START, params, proteins, 20, jobs, 2, batch_sizes=BatchSizes(trajectories=1)
  )
  sampler = coarse_to_fine.make_sampler(START, 20)
  for job in jobs:
    key = coarse_to_fine.replica_rngs(jax.random.key(5), np.array([job.replica]))[0]
    expected = sampler(params, proteins[job.protein], key)
    expected = expected[:, : int(proteins[job.protein].mask.sum())]
    np.testing.assert_allclose(together[job], expected, atol=1e-4)
    np.testing.assert_allclose(one_by_one[job], expected, atol=1e-4)


def test_trajectories_that_are_there_change_nothing(monkeypatch):
  """Two at a time on one device: each pair is computed whole or not at all."""
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  fake_step.install(monkeypatch, fake_step.diffusion)
  params, proteins = fake_step.params(START), [builders.helix(2)]
  jobs = [stream.Job(0, k) for k in range(5)]
  ran = []
  compiled = stream.Stream._compiled

  def spy(self, make, *args, **kwargs):
    program = compiled(self, make, *args, **kwargs)
    if make is not stream.make_block_sampler:
      return program
    return lambda *args: ran.append(program) or program(*args)

  monkeypatch.setattr(stream.Stream, '_compiled', spy)
  sample = functools.partial(
    blocks,
    monkeypatch,
    START,
    params,
    proteins,
    20,
    jobs,
    1,
    batch_sizes=BatchSizes(trajectories=2),
  )
  whole = sample()
  # Three parts of two blocks each, by one program.
  assert len(ran) == 6
  assert len(set(map(id, ran))) == 1
  for done, runs in ((jobs[:2], 4), (jobs[:3], 4), (jobs[1:4], 4), (jobs[4:], 4), (jobs, 0)):
    ran.clear()
    rest = sample(done=done)
    assert len(ran) == runs, done
    assert rest.keys() == set(jobs) - set(done)
    for job, positions in rest.items():
      np.testing.assert_array_equal(positions, whole[job])


def test_trajectories_end_in_turn(monkeypatch):
  """Those of the first part before any of the second: they can be kept."""
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  monkeypatch.setattr(stream, 'block_frames', lambda *_: WHOLE)
  fake_step.install(monkeypatch, fake_step.diffusion)
  jobs = [stream.Job(0, k) for k in range(3)]
  found = stream.Stream(
    *(START, fake_step.params(START), [builders.helix(2)], [2], jobs, 20, jax.random.key(0), 320.0),
    batch_sizes=BatchSizes(trajectories=1),
  )
  assert [(job.replica, first) for job, _, first in found] == [
    (k, first) for k in range(3) for first in (0, WHOLE)
  ]


def test_work_is_split_over_the_devices(monkeypatch):
  """Eleven replicas: no device computes more than two; the operations of each fall so."""
  fake_step.install(monkeypatch, fake_step.diffusion)
  params, protein = fake_step.params(START), builders.helix(2)
  sampler = coarse_to_fine.make_ensemble_sampler(START, 8, 11)
  found = sampler(params, protein, jax.random.key(0))
  assert found.shape == (11, 8, 2, 4, 3)
  assert len(found.sharding.device_set) > 1

  def flops(devices):
    monkeypatch.setattr(jax, 'local_device_count', lambda: devices)
    sampler = coarse_to_fine.make_ensemble_sampler(START, 8, 16, BatchSizes(trajectories=16))
    compiled = sampler.lower(params, protein, jax.random.key(0)).compile()
    return compiled.cost_analysis()['flops']

  assert flops(8) < flops(1) / 6


@pytest.mark.parametrize(
  ('num_frames', 'num_jobs', 'length', 'count'),
  [(400, 1, 64, 1), (7, 64, 64, 1), (100_000, 1, 256, 19), (50, 10_000, 4096, 4)],
)
def test_blocks_are_alike_and_fit(monkeypatch, num_frames, num_jobs, length, count):
  on_cpu = stream.block_frames(START, num_frames, num_jobs, length)
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  size = stream.block_frames(START, num_frames, num_jobs, length)
  assert size == num_frames or size % WHOLE == 0
  # What the last computes too much is less than a coarse pass per block.
  assert count == -(-num_frames // size)
  assert size * count - num_frames < WHOLE * count
  assert size == WHOLE or size * num_jobs * length * 48 <= 2**26
  assert on_cpu in (size, WHOLE) or 2**22 < on_cpu * num_jobs * length * 48 <= 2**23
  # With side chains a frame is fourteen atoms a residue.
  heavy = stream.block_frames(START, num_frames, num_jobs, length, 'heavy')
  assert heavy <= size
  assert heavy == WHOLE or heavy * num_jobs * length * 168 <= 2**26

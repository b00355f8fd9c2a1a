import jax
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.samplers import coarse_to_fine, devices
from tempo_jax.samplers.settings import BatchSizes
from tests import builders
from tests.samplers import fake_step

CONFIG = builders.small_config({'coarse': 4.0, 'fine': 1.0})
PARAMS = fake_step.params(CONFIG)


def test_replicas_are_independent_of_their_number_and_batches(monkeypatch):
  fake_step.install(monkeypatch, fake_step.diffusion)
  protein, rng = builders.helix(2), jax.random.key(3)

  def run(num_replicas, *batch_sizes):
    sampler = coarse_to_fine.make_ensemble_sampler(CONFIG, 10, num_replicas, *batch_sizes)
    return builders.numpy_jit(sampler.__wrapped__)(PARAMS, protein, rng)

  replicas = run(3)
  assert replicas.shape == (3, 10, 2, 4, 3)
  one = builders.numpy_jit(coarse_to_fine.make_sampler(CONFIG, 10).__wrapped__)
  for k in range(3):
    alone = one(PARAMS, protein, jax.random.fold_in(rng, k))
    np.testing.assert_allclose(replicas[k], alone, atol=1e-5)
    assert np.abs(replicas[k] - replicas[k - 1]).max() > 0.1
  batched = run(3, BatchSizes(segments=1, trajectories=2))
  np.testing.assert_allclose(batched, replicas, atol=1e-5)


@pytest.mark.parametrize(('num_frames', 'num_replicas'), [(0, 1), (10, 0)])
def test_wrong_numbers_are_refused(num_frames, num_replicas):
  name = 'num_replicas' if num_frames else 'num_frames'
  with pytest.raises(InputError, match=f'{name} = 0: at least 1'):
    coarse_to_fine.make_ensemble_sampler(CONFIG, num_frames, num_replicas)


@pytest.mark.parametrize(('count', 'expected'), [(1, 1), (8, 8), (9, 5), (11, 6), (16, 8), (17, 6)])
def test_no_device_gets_more_than_the_others_must_do(count, expected):
  """Of the eight devices of the tests; jobs are padded to a multiple of those in use."""
  assert devices.mesh(count).size == expected
  jobs = devices.padded(count)
  assert len(jobs) % expected == 0
  assert len(jobs) - count < expected
  np.testing.assert_array_equal(jobs, [*range(count), *[count - 1] * (len(jobs) - count)])


@pytest.mark.parametrize('batch_size', [None, 1, 2])
def test_jobs_are_mapped_in_order(batch_size):
  jobs = np.arange(11.0, dtype=np.float32)[devices.padded(11)]
  run = jax.jit(lambda shared, x: devices.map_jobs(lambda a, b: a * b, shared, x, batch_size))
  np.testing.assert_array_equal(run(np.float32(3.0), devices.spread(jobs)), 3.0 * jobs)


@pytest.mark.slow  # Compiles two samplers.
def test_devices_do_not_change_the_trajectories(monkeypatch):
  """Eight replicas of a network on eight devices and on one: 20 steps."""
  config = builders.small_config({'only': 1.0})
  params, protein, rng = {'only': builders.params(config)}, builders.helix(8), jax.random.key(2)
  spread = coarse_to_fine.make_ensemble_sampler(config, 20 * config.window, 8)(params, protein, rng)
  assert len(spread.sharding.device_set) == 8
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  alone = coarse_to_fine.make_ensemble_sampler(config, 20 * config.window, 8)(params, protein, rng)
  assert len(alone.sharding.device_set) == 1
  error = np.abs(np.asarray(spread) - np.asarray(alone)).max(axis=(0, 2, 3, 4))
  assert error[: config.window].max() < 1e-4
  assert error.max() < 1e-2

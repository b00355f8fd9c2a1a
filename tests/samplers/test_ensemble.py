import jax
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.samplers import coarse_to_fine, ensemble
from tests import builders
from tests.samplers import fake_step

CONFIG = builders.small_config({'coarse': 4.0, 'fine': 1.0})
PARAMS = fake_step.params(CONFIG)


def test_replicas_are_independent_of_their_number_and_batches(monkeypatch):
  fake_step.install(monkeypatch, fake_step.diffusion)
  protein, rng = builders.helix(2), jax.random.key(3)

  def run(num_replicas, **kwargs):
    sampler = ensemble.make_ensemble_sampler(CONFIG, 10, num_replicas, **kwargs)
    return builders.numpy_jit(sampler.__wrapped__)(PARAMS, protein, rng)

  replicas = run(3)
  assert replicas.shape == (3, 10, 2, 4, 3)
  one = builders.numpy_jit(coarse_to_fine.make_sampler(CONFIG, 10).__wrapped__)
  for k in range(3):
    alone = one(PARAMS, protein, jax.random.fold_in(rng, k))
    np.testing.assert_allclose(replicas[k], alone, atol=1e-5)
    assert np.abs(replicas[k] - replicas[k - 1]).max() > 0.1
  batched = run(3, replica_batch_size=2, segment_batch_size=1)
  np.testing.assert_allclose(batched, replicas, atol=1e-5)


@pytest.mark.parametrize(
  'wrong', [{'num_replicas': 0}, {'num_replicas': 1, 'replica_batch_size': 0}]
)
def test_wrong_numbers_are_refused(wrong):
  name = list(wrong)[-1]
  with pytest.raises(InputError, match=f'{name} = 0: at least 1'):
    ensemble.make_ensemble_sampler(CONFIG, 10, **wrong)


def test_devices_do_not_change_the_trajectories(monkeypatch):
  """Eight replicas of a network on eight devices and on one: 20 steps."""
  config = builders.small_config({'only': 1.0})
  params, protein, rng = {'only': builders.params(config)}, builders.helix(8), jax.random.key(2)
  spread = ensemble.make_ensemble_sampler(config, 20 * config.window, 8)(params, protein, rng)
  assert len(spread.sharding.device_set) == 8
  monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
  alone = ensemble.make_ensemble_sampler(config, 20 * config.window, 8)(params, protein, rng)
  assert len(alone.sharding.device_set) == 1
  error = np.abs(np.asarray(spread) - np.asarray(alone)).max(axis=(0, 2, 3, 4))
  assert error[: config.window].max() < 1e-4
  assert error.max() < 1e-2

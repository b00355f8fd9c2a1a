import numpy as np

from tempo_jax.metrics import baselines
from tests import builders, peptides


def _native(length=12):
  return peptides.helix(length)[:, :4].astype(np.float32)


def _ca_rmsf(positions):
  ca = positions[:, :, 1].astype(np.float64)
  return np.sqrt(np.mean(np.sum((ca - ca.mean(axis=0)) ** 2, axis=-1), axis=0))


def test_frozen():
  frames = baselines.frozen(_native(), 3)
  assert frames.shape == (3, 12, 4, 3)
  assert frames.dtype == np.float32
  assert (frames == _native()).all()


def test_gaussian_has_the_mean_and_the_variance_of_each_atom(np_rng):
  scale = np_rng.uniform(0.2, 2.0, size=(12, 4, 1))
  # As anisotropic as can be: only the sum over directions is kept.
  noise = np_rng.normal(size=(500, 12, 4, 3)) * scale * [1.0, 0.1, 0.0]
  superposed = _native() + noise
  frames = baselines.gaussian(superposed, 20_000, seed=1)
  assert frames.dtype == np.float32
  np.testing.assert_allclose(frames.mean(axis=0), superposed.mean(axis=0), atol=0.05)
  total = superposed.var(axis=0).sum(axis=-1, keepdims=True)
  expected = np.broadcast_to(total / 3.0, (12, 4, 3))
  np.testing.assert_allclose(frames.astype(np.float64).var(axis=0), expected, rtol=0.06)
  flat = frames.reshape(len(frames), -1)
  correlation = np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])
  assert np.abs(correlation).max() < 5.0 / np.sqrt(len(flat))


def test_seeds():
  superposed = baselines.gaussian(np.stack([_native(), _native() + 1.0]), 5, seed=0)
  for sample in (
    lambda seed: baselines.gaussian(superposed, 4, seed),
    lambda seed: baselines.elastic_network(_native(), 4, 1.0, seed),
  ):
    np.testing.assert_array_equal(sample(3), sample(3))
    assert (sample(3) != sample(4)).any()


def test_hessian_of_two_and_three_bodies():
  pair = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, -2.0]])
  np.testing.assert_allclose(
    np.linalg.eigvalsh(baselines.hessian(pair)), [0, 0, 0, 0, 0, 2.0], atol=1e-12
  )
  # Equilateral triangle: breathing at 3 k, and a pair of modes at 3/2 k.
  triangle = 4.0 * np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]])
  expected = [0, 0, 0, 0, 0, 0, 1.5, 1.5, 3.0]
  np.testing.assert_allclose(np.linalg.eigvalsh(baselines.hessian(triangle)), expected, atol=1e-12)


def test_hessian_is_the_second_derivative_of_the_energy(np_rng):
  ca = np_rng.normal(size=(7, 3)) * 8.0
  rest = np.linalg.norm(ca[:, None] - ca, axis=-1)
  joined = np.triu(rest <= baselines.CUTOFF, 1)
  assert 0 < joined.sum() < 21

  def energy(x):
    distance = np.linalg.norm(x[:, None] - x, axis=-1)
    return 0.5 * np.sum(((distance - rest) ** 2)[joined])

  step, basis = 1e-3, np.eye(21).reshape(21, 7, 3)
  numeric = [
    [
      energy(ca + step * (a + b))
      - energy(ca + step * (a - b))
      - energy(ca - step * (a - b))
      + energy(ca - step * (a + b))
      for a in basis
    ]
    for b in basis
  ]
  np.testing.assert_allclose(baselines.hessian(ca), np.array(numeric) / (4.0 * step**2), atol=1e-5)


def test_hessian_has_six_zero_modes_and_turns_with_the_molecule():
  ca = _native(20)[:, 1].astype(np.float64)
  hessian = baselines.hessian(ca)
  values = np.linalg.eigvalsh(hessian)
  assert (np.abs(values[:6]) < 1e-10).all()
  assert values[6] > 1e-4
  rotation, shift = builders.random_motion(seed=1)
  turned = baselines.hessian(ca @ rotation.T + shift)
  everywhere = np.kron(np.eye(20), rotation)
  np.testing.assert_allclose(turned, everywhere @ hessian @ everywhere.T, atol=1e-9)


def test_elastic_network_samples_the_pseudo_inverse():
  native = _native(8)
  frames = baselines.elastic_network(native, 100_000, target_rmsf=0.7, seed=5)
  assert frames.dtype == np.float32
  displacement = (frames - native)[:, :, 1].astype(np.float64).reshape(len(frames), -1)
  covariance = np.linalg.pinv(baselines.hessian(native[:, 1]), rcond=1e-8, hermitian=True)
  rmsf = np.sqrt(np.trace(covariance.reshape(8, 3, 8, 3), axis1=1, axis2=3).diagonal())
  covariance *= (0.7 / rmsf.mean()) ** 2
  sampled = displacement.T @ displacement / len(frames)
  np.testing.assert_allclose(sampled, covariance, atol=0.02 * np.abs(covariance).max())
  np.testing.assert_allclose(_ca_rmsf(frames).mean(), 0.7, rtol=0.01)
  # The backbone of a residue moves as one.
  moved = frames - native
  np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :, 1:2], moved.shape), atol=1e-5)


def test_elastic_network_where_a_residue_is_loose():
  native = _native(8)
  native[7] += 100.0
  frames = baselines.elastic_network(native, 50, target_rmsf=1.0, seed=0)
  np.testing.assert_array_equal(frames[:, 7], np.broadcast_to(native[7], (50, 4, 3)))
  assert np.isfinite(frames).all()
  assert (_ca_rmsf(frames)[:7] > 0.1).all()
  np.testing.assert_array_equal(
    baselines.elastic_network(native[:1], 3, 1.0, seed=0), baselines.frozen(native[:1], 3)
  )


def test_elastic_network_of_a_reference_has_its_fluctuation(np_rng):
  native = _native(8)
  reference = baselines.elastic_network(native, 5000, target_rmsf=0.4, seed=1)
  # Global motion is no fluctuation.
  reference = reference + np_rng.normal(scale=5.0, size=(5000, 1, 1, 3))
  frames = baselines.elastic_network_of(reference, native, seed=2)
  assert frames.shape == reference.shape
  np.testing.assert_allclose(_ca_rmsf(frames).mean(), 0.4, rtol=0.03)
  few = baselines.elastic_network_of(reference, native, 3, seed=2)
  assert len(few) == 3

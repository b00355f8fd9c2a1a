import itertools

import mdtraj
import numpy as np
import pytest
import scipy.constants
import scipy.stats

from tempo_jax.metrics import thermodynamics
from tests import builders, peptides


def _frames(np_rng, num_frames=6, length=12, noise=1.0):
  native = peptides.helix(length)[:, :4].astype(np.float32)
  scale = noise * np.linspace(0.0, 3.0, num_frames)[:, None, None, None]
  return native, (native + scale * np_rng.normal(size=(num_frames, length, 4, 3))).astype('f4')


def _q(positions, native, chain_index=None):
  """By the definition, atom pair by atom pair; distances from mdtraj."""
  length = len(native)
  pairs = [
    (4 * i + a, 4 * j + b)
    for i, j in itertools.combinations(range(length), 2)
    for a, b in itertools.product(range(4), repeat=2)
    if j - i >= 3 or (chain_index is not None and chain_index[i] != chain_index[j])
  ]

  def distances(x):
    trajectory = mdtraj.Trajectory(x.reshape(len(x), -1, 3) / 10.0, None)
    return 10.0 * mdtraj.compute_distances(trajectory, pairs, periodic=False).astype(np.float64)

  (rest,), distance = distances(native[None]), distances(positions)
  near = rest < 10.0
  return np.mean(1.0 / (1.0 + np.exp(5.0 * (distance - 1.2 * rest)))[:, near], axis=1)


def test_q_agrees_with_its_definition(np_rng):
  native, positions = _frames(np_rng)
  q, reason = thermodynamics.fraction_of_native_contacts(positions, native)
  assert reason is None
  np.testing.assert_allclose(q, _q(positions, native), atol=1e-5)
  assert q[0] > 0.95
  assert q[-1] < 0.6


def test_q_of_two_chains(np_rng):
  native, positions = _frames(np_rng)
  chain_index = np.repeat([0, 1], 6)
  q, _ = thermodynamics.fraction_of_native_contacts(positions, native, chain_index)
  np.testing.assert_allclose(q, _q(positions, native, chain_index), atol=1e-5)
  one, _ = thermodynamics.fraction_of_native_contacts(positions, native)
  assert (q[1:] != one[1:]).all()


def test_q_in_blocks_after_motion_and_far_unfolded(np_rng):
  # More than two blocks of frames, and of contacts.
  native, positions = _frames(np_rng, num_frames=600, length=30)
  assert len(thermodynamics.native_contacts(native)[0]) > 1100
  expected = _q(positions, native)
  rotation, shift = builders.random_motion(seed=2)
  moved, _ = thermodynamics.fraction_of_native_contacts(positions @ rotation.T + shift, native)
  np.testing.assert_allclose(moved, expected, atol=1e-5)
  far, _ = thermodynamics.fraction_of_native_contacts(1000.0 * positions, native)
  np.testing.assert_allclose(far, 0.0, atol=1e-12)


def test_q_without_contacts(np_rng):
  native, positions = _frames(np_rng, length=3)
  q, reason = thermodynamics.fraction_of_native_contacts(positions, native)
  assert q is None
  assert 'no contacts' in reason


def test_folded_probability_and_ddg():
  q = np.array([0.2, 0.45, 0.5, 0.9])
  folded = np.mean(1.0 / (1.0 + np.exp(-20.0 * (q - 0.5))))
  assert thermodynamics.folded_probability(q) == pytest.approx(folded)
  assert thermodynamics.folded_probability(np.zeros(5)) == pytest.approx(np.exp(-10.0), rel=1e-4)
  assert thermodynamics.folded_probability(np.full(3, 50.0)) == 1.0 - 1e-10
  assert thermodynamics.folded_probability(np.full(3, -5.0)) == 1e-10
  kt = scipy.constants.R * 300.0 / scipy.constants.calorie / 1000.0
  assert thermodynamics.folding_free_energy(0.5, 300.0) == 0.0
  assert thermodynamics.folding_free_energy(0.9, 300.0) == pytest.approx(-kt * np.log(9.0))
  other = np.array([0.1, 0.2])
  p = thermodynamics.folded_probability(other)
  expected = abs(kt * (np.log(folded / (1 - folded)) - np.log(p / (1 - p))))
  assert thermodynamics.ddg(q, other, 300.0) == pytest.approx(expected)
  assert thermodynamics.ddg(other, q, 300.0) == pytest.approx(expected)
  assert thermodynamics.ddg(q, other, 600.0) == pytest.approx(2.0 * expected)
  assert thermodynamics.ddg(q, q, 300.0) == 0.0


def _energy(density, temperature_K):
  kt = scipy.constants.R * temperature_K / scipy.constants.calorie / 1000.0
  return -kt * np.log(density / density.max())


def test_free_energy_1d_agrees_with_scipy(np_rng):
  ensembles = [np_rng.normal(size=400), 3.0 + np_rng.normal(size=50)]
  grid, energies = thermodynamics.free_energy_1d(ensembles, 320.0)
  assert grid[0] < min(map(np.min, ensembles))
  assert grid[-1] > max(map(np.max, ensembles))
  for sample, energy in zip(ensembles, energies, strict=True):
    visited = np.isfinite(energy)
    assert 0 < visited.sum() < len(grid)
    assert np.isposinf(energy[~visited]).all()
    expected = _energy(scipy.stats.gaussian_kde(sample)(grid), 320.0)
    np.testing.assert_allclose(energy[visited], expected[visited], atol=1e-10)


def test_free_energy_2d_agrees_with_scipy(np_rng):
  ensembles = []
  for num_frames in (500, 60):
    sample = np_rng.normal(size=(num_frames, 2))
    # scipy's kernels have the covariance of the sample: a diagonal one, as ours.
    sample -= sample.mean(axis=0)
    sample @= np.linalg.inv(np.linalg.cholesky(np.cov(sample.T))).T
    ensembles.append(sample * [1.0, 5.0] + [0.0, 30.0])
  x, y, energies = thermodynamics.free_energy_2d(ensembles, 300.0, num_points=40)
  points = np.stack(np.meshgrid(x, y, indexing='ij')).reshape(2, -1)
  for sample, energy in zip(ensembles, energies, strict=True):
    visited = np.isfinite(energy)
    assert visited.any()
    expected = _energy(scipy.stats.gaussian_kde(sample.T)(points).reshape(40, 40), 300.0)
    np.testing.assert_allclose(energy[visited], expected[visited], atol=1e-10)


def test_free_energy_of_a_harmonic_well(np_rng):
  """x^2 kT / 2, widened by the kernel."""
  sample = np_rng.normal(size=200_000)
  grid, (energy,) = thermodynamics.free_energy_1d([sample], 300.0)
  near = np.abs(grid) < 1.5
  kt = thermodynamics.BOLTZMANN * 300.0
  np.testing.assert_allclose(energy[near], 0.5 * kt * grid[near] ** 2, atol=0.03)


def test_free_energies_of_what_does_not_move():
  still, moving = np.full(5, 2.0), np.linspace(0.0, 1.0, 5)
  for ensembles in ([still], [still, moving], [still[:1], moving]):
    grid, energies = thermodynamics.free_energy_1d(ensembles, 300.0)
    assert grid[np.argmin(energies[0])] == pytest.approx(2.0, abs=grid[1] - grid[0])
    assert not any(np.isnan(energy).any() for energy in energies)
    both = [np.stack([x, x], axis=-1) for x in ensembles]
    x, y, energies = thermodynamics.free_energy_2d(both, 300.0)
    assert len(x) == len(y)
    assert all(energy.min() == 0.0 and not np.isnan(energy).any() for energy in energies)

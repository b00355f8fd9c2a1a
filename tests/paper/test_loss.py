import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.paper import loss, mean_squared_error, transition
from tests import builders


@pytest.fixture(scope='module')
def level():
  config = builders.small_config()
  return dataclasses.replace(
    level_lib.Level.of(config, 'fine'),
    translation_std=jnp.float32(0.7),
    rotation_std=jnp.float32(0.3),
  )


def states(protein, rng, spread, num_frames=2):
  """A true window, and a prediction whose residues are off by a random motion."""
  true = state_lib.from_positions(jnp.stack([protein.positions] * num_frames), protein.bonded)
  shape = (num_frames, len(protein.mask), 3)
  error = rigid.Rigid.exp(
    jnp.asarray(rng.normal(size=shape, scale=spread), jnp.float32),
    jnp.asarray(rng.normal(size=shape, scale=spread), jnp.float32),
  )
  return true, state_lib.from_frames(true.frames @ error, true.psi, protein.bonded)


@pytest.mark.parametrize('angle', [0.0, 1e-4, 0.01, 0.06, 0.07, 1.0, 3.0, 3.14])
def test_squared_angle_is_that_of_scipy(angle, np_rng):
  a = Rotation.random(20, rng=np_rng)
  axis = np_rng.normal(size=(20, 3))
  b = a * Rotation.from_rotvec(angle * axis / np.linalg.norm(axis, axis=-1, keepdims=True))
  found = loss.squared_angle(
    jnp.asarray(a.as_matrix(), jnp.float32), jnp.asarray(b.as_matrix(), jnp.float32)
  )
  np.testing.assert_allclose(found, angle**2, rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize('angle', [0.0, 0.02, 0.5, np.pi])
def test_squared_angle_has_a_finite_gradient(angle):
  b = jnp.asarray(Rotation.from_rotvec([0, 0, angle]).as_matrix(), jnp.float32)
  assert np.isfinite(jax.grad(lambda x: loss.squared_angle(x, b))(jnp.eye(3))).all()


def test_local_error_is_the_logarithm_of_the_residual_motion(np_rng, level):
  protein = builders.helix(9, chains=2)
  true, predicted = states(protein, np_rng, 0.2)
  found = loss.local_error(predicted, true, level, protein)

  # The definition, in float64: log(T_pred^-1 S T_true) per residue.
  x, y = (np.asarray(s.frames.translation, np.float64) for s in (predicted, true))
  rx, ry = (np.asarray(s.frames.rotation, np.float64) for s in (predicted, true))
  cx, cy = x.reshape(-1, 3).mean(0), y.reshape(-1, 3).mean(0)
  s, _ = Rotation.align_vectors((x - cx).reshape(-1, 3), (y - cy).reshape(-1, 3))
  moved = s.apply((y - cy).reshape(-1, 3)).reshape(x.shape) + cx
  translation = np.einsum('tlji,tlj->tli', rx, moved - x)
  rotation = np.swapaxes(rx, -1, -2) @ (s.as_matrix() @ ry)
  vector = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec().reshape(x.shape)
  expected = ((translation / 0.7) ** 2).sum(-1) / 6 + ((vector / 0.3) ** 2).sum(-1) / 6
  ends = ~protein.bonded
  turn = 1 - np.cos(np.asarray(predicted.psi, np.float64) - np.asarray(true.psi, np.float64))
  expected += np.where(ends, turn, 0.0)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_local_error_ignores_a_global_motion_and_padding(np_rng, level):
  protein = builders.helix(8)
  true, predicted = states(protein, np_rng, 0.2)
  motion = rigid.Rigid(
    jnp.asarray(Rotation.random(rng=np_rng).as_matrix(), jnp.float32), jnp.float32([30, -20, 10])
  )
  moved = true.with_frames(motion[None, None] @ true.frames)
  plain = loss.local_error(predicted, true, level, protein)
  np.testing.assert_allclose(
    loss.local_error(predicted, moved, level, protein), plain, rtol=1e-3, atol=1e-4
  )
  assert float(jnp.max(loss.local_error(moved, true, level, protein))) < 1e-4
  assert float(jnp.mean(plain)) > 0.05

  padded = builders.pad(protein, 12)
  both = [
    jax.tree.map(lambda x: jnp.concatenate([x, x[:, :4] + 5.0], axis=1), s)
    for s in (predicted, true)
  ]
  padded_error = loss.local_error(*both, level, padded)
  np.testing.assert_allclose(padded_error[:, :8], plain, rtol=1e-4, atol=1e-5)


def test_global_error_is_the_mean_square_of_thirteen_numbers(np_rng):
  protein = builders.helix(5)
  true, predicted = states(protein, np_rng, 0.1)
  vector = state_lib.to_vector(predicted)
  window = state_lib.Window(predicted, jnp.ones(2, bool))
  found = loss.global_error(transition.Prediction(window, vector), true)
  expected = ((np.asarray(vector) - np.asarray(state_lib.to_vector(true))) ** 2).mean(-1)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_clash_pairs_by_brute_force():
  protein = builders.pad(builders.helix(6, chains=2), 8)
  found = np.asarray(loss.clash_pairs(protein))
  for i in range(32):
    for j in range(32):
      ri, rj, ai, aj = i // 4, j // 4, i % 4, j % 4
      expected = ri < rj and bool(protein.mask[ri] and protein.mask[rj])
      if rj == ri + 1 and protein.bonded[ri] and (ai, aj) == (2, 0):
        expected = False
      assert found[i, j] == expected, (ri, ai, rj, aj)
  counts = mean_squared_error.counts(protein)
  assert float(counts['error']) == 6.0
  assert float(counts['clash']) == found.sum()


@pytest.mark.parametrize('power', [1.0, 2.0])
def test_clash_penalty_by_brute_force(power, np_rng):
  protein = builders.helix(4)
  positions = np_rng.normal(size=(4, 4, 3), scale=1.2).astype(np.float32)
  pairs = loss.clash_pairs(protein)
  atoms = positions.reshape(-1, 3).astype(np.float64)
  expected = sum(
    max(0.0, 1.2 - np.linalg.norm(atoms[i] - atoms[j])) ** power
    for i, j in zip(*np.nonzero(np.asarray(pairs)), strict=True)
  )
  assert expected > 0.5
  found, gradient = jax.value_and_grad(loss.clash_penalty)(jnp.asarray(positions), pairs, power)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # It pushes: a step down the gradient lessens the clash.
  assert loss.clash_penalty(positions - 0.01 * gradient, pairs, power) < found
  # Atoms on top of one another have no direction, but no NaN either.
  assert np.isfinite(jax.grad(loss.clash_penalty)(jnp.zeros((4, 4, 3)), pairs, power)).all()


def test_an_intact_helix_has_no_clash():
  protein = builders.helix(12, chains=2)
  assert float(loss.clash_penalty(protein.positions, loss.clash_pairs(protein), 2.0)) == 0.0

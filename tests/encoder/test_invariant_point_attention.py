"""IPA against a transcription of AlphaFold 2, Suppl. Alg. 22, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.encoder import attention, invariant_point_attention
from tempo_jax.geometry import rigid
from tests import builders
from tests.encoder import reference

CONFORMATIONS, LENGTH, CHANNELS = 2, 7, 5
HEADS, SCALARS, QUERY_POINTS, VALUE_POINTS = 3, 6, 4, 5
MODULE = invariant_point_attention.InvariantPointAttention(
  HEADS, SCALARS, QUERY_POINTS, VALUE_POINTS
)
APPLY = builders.numpy_jit(MODULE.apply)


def make_inputs(np_rng, dtype):
  single = np_rng.normal(size=(CONFORMATIONS, LENGTH, CHANNELS))
  motions = [builders.random_motion(seed)[0] for seed in range(CONFORMATIONS * LENGTH)]
  rotation = np.reshape(motions, (CONFORMATIONS, LENGTH, 3, 3))
  translation = 8.0 * np_rng.normal(size=(CONFORMATIONS, LENGTH, 3))
  mask = np.arange(LENGTH) < LENGTH - 2
  single, rotation, translation = (x.astype(dtype) for x in (single, rotation, translation))
  frames = rigid.Rigid(rotation, translation)
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), single, frames, mask)['params']
  return builders.fill(shapes, 3, dtype), single, frames, mask


@pytest.mark.parametrize(
  ('dtype', 'tolerance'), [(np.float64, 1e-10), (np.float32, 1e-4)], ids=['x64', 'float32']
)
def test_equals_the_algorithm(np_rng, dtype, tolerance):
  with jax.enable_x64(dtype == np.float64):
    params, single, frames, mask = make_inputs(np_rng, dtype)
    module = MODULE.clone(dtype=dtype)
    out = builders.numpy_jit(module.apply)({'params': params}, single, frames, mask)
  assert out.dtype == dtype
  p, x, slow = reference.as_float64((params, single, frames))
  # A loop over the leading axis, too: the transcription takes one conformation.
  for t in range(CONFORMATIONS):
    expected = reference.ipa(p, x[t], slow.rotation[t], slow.translation[t], mask)
    assert np.abs(expected[mask]).max() > 0.5
    np.testing.assert_allclose(out[t][mask], expected[mask], rtol=0, atol=tolerance)


def test_logits_are_exact_far_from_the_origin(np_rng):
  """Within 0.01 of float64 up to 150 Å; from 16-bit numbers they would be far off."""
  length = 24
  params, *_ = make_inputs(np_rng, np.float32)
  seen = []

  def attend(*args):
    seen.append(args)
    return attention.attend(*args)

  single = np_rng.normal(size=(length, CHANNELS)).astype(np.float32)
  rotation = np.array([builders.random_motion(seed)[0] for seed in range(length)], np.float32)
  frames = rigid.Rigid(rotation, np_rng.uniform(-150, 150, (length, 3)).astype(np.float32))
  for dtype in (jnp.float32, jnp.bfloat16):
    module = MODULE.clone(dtype=dtype, attend=attend)
    module.apply({'params': params}, single, frames, np.ones(length, bool))
  queries, keys, _, _, precision = seen[0]
  # With a network in bfloat16 the points are the same.
  for exact, rounded in zip(seen[0][:3], seen[1][:3], strict=True):
    np.testing.assert_array_equal(exact[..., SCALARS:], rounded[..., SCALARS:])
    assert np.abs(exact - rounded).max() > 1e-4

  expected = reference.ipa_logits(*reference.as_float64((params, single, *vars(frames).values())))

  def error(dtype):
    logits = jnp.einsum(
      'hqc,hkc->hqk',
      *(x.astype(dtype).astype(jnp.float32) for x in (queries, keys)),
      precision=precision,
    )
    # The softmax ignores what is common to a row.
    difference = np.asarray(logits, np.float64) - expected
    return np.abs(difference - difference.mean(axis=-1, keepdims=True)).max()

  assert np.ptp(expected) > 100.0
  assert error(jnp.float32) < 0.01
  assert error(jnp.bfloat16) > 0.1


@pytest.fixture(scope='module')
def float32_inputs():
  return make_inputs(np.random.default_rng(1), np.float32)


def test_global_motion_and_reflection(float32_inputs):
  params, single, frames, mask = float32_inputs
  before = APPLY({'params': params}, single, frames, mask)
  rotation, shift = builders.random_motion(5, translation=30.0)
  moved = rigid.Rigid(
    (rotation @ frames.rotation).astype(np.float32),
    (frames.translation @ rotation.T + shift).astype(np.float32),
  )
  after = APPLY({'params': params}, single, moved, mask)
  np.testing.assert_allclose(after[:, mask], before[:, mask], atol=1e-4)

  mirror = np.diag([1.0, 1.0, -1.0]).astype(np.float32)
  # The frames of a mirrored chain: N, CA, C turn over, and so does z, to stay right-handed.
  mirrored = rigid.Rigid(mirror @ frames.rotation @ mirror, frames.translation @ mirror)
  reflected = APPLY({'params': params}, single, mirrored, mask)
  assert np.abs(reflected - before)[:, mask].max() > 0.1


def test_padding_is_not_read(float32_inputs):
  params, single, frames, mask = float32_inputs
  before = APPLY({'params': params}, single, frames, mask)
  garbage = np.where(mask, 0.0, 1e4).astype(np.float32)[:, None]
  moved = rigid.Rigid(frames.rotation, frames.translation + garbage)
  after = APPLY({'params': params}, single + garbage / 1e2, moved, mask)
  np.testing.assert_array_equal(after[:, mask], before[:, mask])

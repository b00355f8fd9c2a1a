"""IPA against a transcription of AlphaFold 2, Suppl. Alg. 22, residue by residue."""

import jax
import numpy as np
import pytest

from tempo_jax.encoder import invariant_point_attention
from tempo_jax.geometry import rigid
from tests import builders

CONFORMATIONS, LENGTH, CHANNELS, PAIR_CHANNELS = 2, 7, 5, 4
HEADS, SCALARS, QUERY_POINTS, VALUE_POINTS = 3, 6, 4, 5
MODULE = invariant_point_attention.InvariantPointAttention(
  HEADS, SCALARS, QUERY_POINTS, VALUE_POINTS
)
APPLY = builders.numpy_jit(MODULE.apply)


def ipa_by_hand(params, single, rotation, translation, mask, pair):
  """Alg. 22 for one conformation; translation in Å, [L, 3]; returns [L, D]."""
  p = jax.tree.map(np.asarray, params)
  length = len(single)
  origin = translation / 10.0  # points are in units of 10 Å

  def points(name):  # lines 2 and 3, with the bias of AlphaFold 2's code; [L, H, P, 3]
    return np.einsum('ld,dhpx->lhpx', single, p[name]['kernel']) + p[name]['bias']

  # Line 1.
  q, k, v = (np.einsum('ld,dhc->lhc', single, p[name]['kernel']) for name in 'qkv')
  q_points, k_points, v_points = points('q_points'), points('k_points'), points('v_points')
  gamma = np.log1p(np.exp(p['point_weight']))
  # Lines 5 and 6.
  w_c = np.sqrt(2.0 / (9.0 * QUERY_POINTS))
  w_l = np.sqrt(1.0 / (2 if pair is None else 3))
  result = np.zeros((length, single.shape[1]))
  for i in range(length):
    parts = {'pair': [], 'scalar': [], 'point': [], 'norm': []}
    for h in range(HEADS):
      logit = np.full(length, -np.inf)
      for j in range(length):
        if not mask[j]:
          continue
        # Line 7: T_i q_i - T_j k_j.
        distance = 0.0
        for n in range(QUERY_POINTS):
          from_i = rotation[i] @ q_points[i, h, n] + origin[i]
          from_j = rotation[j] @ k_points[j, h, n] + origin[j]
          distance += np.sum((from_i - from_j) ** 2)
        bias = 0.0 if pair is None else pair[i, j] @ p['pair_bias']['kernel'][:, h]  # line 4
        logit[j] = w_l * (
          q[i, h] @ k[j, h] / np.sqrt(SCALARS) + bias - gamma[h] * w_c / 2 * distance
        )
      a = np.exp(logit - logit.max())
      a /= a.sum()
      # Lines 8 to 10.
      if pair is not None:
        parts['pair'].append(a @ pair[i])
      parts['scalar'].append(a @ v[:, h])
      for n in range(VALUE_POINTS):
        space = sum(a[j] * (rotation[j] @ v_points[j, h, n] + origin[j]) for j in range(length))
        local = rotation[i].T @ (space - origin[i])
        parts['point'].append(local)
        parts['norm'].append(np.linalg.norm(local))
    # Line 11; the order of what is concatenated is a convention.
    joined = np.concatenate([np.ravel(parts[x]) for x in ('scalar', 'point', 'norm', 'pair')])
    result[i] = joined @ p['out']['kernel'] + p['out']['bias']
  return result


def make_inputs(np_rng, dtype, with_pair):
  single = np_rng.normal(size=(CONFORMATIONS, LENGTH, CHANNELS))
  motions = [builders.random_motion(seed)[0] for seed in range(CONFORMATIONS * LENGTH)]
  rotation = np.reshape(motions, (CONFORMATIONS, LENGTH, 3, 3))
  translation = 8.0 * np_rng.normal(size=(CONFORMATIONS, LENGTH, 3))
  mask = np.arange(LENGTH) < LENGTH - 2
  pair = np_rng.normal(size=(LENGTH, LENGTH, PAIR_CHANNELS)) if with_pair else None
  cast = jax.tree.map(lambda x: x.astype(dtype), (single, rotation, translation, pair))
  single, rotation, translation, pair = cast
  frames = rigid.Rigid(rotation, translation)
  shapes = jax.eval_shape(MODULE.init, jax.random.key(0), single, frames, mask, pair)['params']
  return builders.fill(shapes, 3, dtype), single, frames, mask, pair


@pytest.mark.parametrize('with_pair', [False, True], ids=['single', 'pair'])
@pytest.mark.parametrize(
  ('dtype', 'tolerance'), [(np.float64, 1e-10), (np.float32, 1e-4)], ids=['x64', 'float32']
)
def test_equals_the_algorithm(np_rng, dtype, tolerance, with_pair):
  with jax.enable_x64(dtype == np.float64):
    params, single, frames, mask, pair = make_inputs(np_rng, dtype, with_pair)
    out = APPLY({'params': params}, single, frames, mask, pair)
  assert out.dtype == dtype
  # A loop over the leading axis, too: the transcription takes one conformation.
  for t in range(CONFORMATIONS):
    expected = ipa_by_hand(params, single[t], frames.rotation[t], frames.translation[t], mask, pair)
    assert np.abs(expected[mask]).max() > 0.5
    np.testing.assert_allclose(out[t][mask], expected[mask], rtol=0, atol=tolerance)


@pytest.fixture(scope='module')
def float32_inputs():
  return make_inputs(np.random.default_rng(1), np.float32, with_pair=False)


def test_global_motion_and_reflection(float32_inputs):
  params, single, frames, mask, _ = float32_inputs
  before = APPLY({'params': params}, single, frames, mask, None)
  rotation, shift = builders.random_motion(5, translation=30.0)
  moved = rigid.Rigid(
    (rotation @ frames.rotation).astype(np.float32),
    (frames.translation @ rotation.T + shift).astype(np.float32),
  )
  after = APPLY({'params': params}, single, moved, mask, None)
  np.testing.assert_allclose(after[:, mask], before[:, mask], atol=1e-4)

  mirror = np.diag([1.0, 1.0, -1.0]).astype(np.float32)
  # The frames of a mirrored chain: N, CA, C turn over, and so does z, to stay right-handed.
  mirrored = rigid.Rigid(mirror @ frames.rotation @ mirror, frames.translation @ mirror)
  reflected = APPLY({'params': params}, single, mirrored, mask, None)
  assert np.abs(reflected - before)[:, mask].max() > 0.1


def test_padding_is_not_read(float32_inputs):
  params, single, frames, mask, _ = float32_inputs
  before = APPLY({'params': params}, single, frames, mask, None)
  garbage = np.where(mask, 0.0, 1e4).astype(np.float32)[:, None]
  moved = rigid.Rigid(frames.rotation, frames.translation + garbage)
  after = APPLY({'params': params}, single + garbage / 1e2, moved, mask, None)
  np.testing.assert_array_equal(after[:, mask], before[:, mask])

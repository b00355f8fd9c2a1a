import jax
import numpy as np
import pytest

from tempo_jax.encoder import spatiotemporal_encoder
from tempo_jax.geometry import backbone
from tests import builders

LENGTH, FRAMES, FEATURES = 12, 2, 13
ENCODER = spatiotemporal_encoder.SpatiotemporalEncoder(builders.small_config().encoder)
KNOWN = np.ones(FRAMES, bool)


@pytest.fixture(scope='module')
def inputs():
  """Features, frames, protein; two different conformations."""
  rng = np.random.default_rng(0)
  protein = builders.helix(LENGTH, chains=2)
  positions = protein.positions + 0.3 * rng.normal(size=(FRAMES, *protein.positions.shape))
  features = rng.normal(size=(FRAMES, LENGTH, FEATURES)).astype(np.float32)
  return features, positions.astype(np.float32), protein


@pytest.fixture(scope='module')
def encode(inputs):
  def init(features, positions, protein):
    frames = backbone.frames_from_atoms(positions)
    return ENCODER.init(jax.random.key(0), features, frames, KNOWN, protein, *np.ones(3))

  params = builders.fill(jax.eval_shape(init, *inputs), 2)

  @builders.numpy_jit
  def run(features, positions, protein, known, sigma, dt_ns, temperature):
    frames = backbone.frames_from_atoms(positions)
    return ENCODER.apply(params, features, frames, known, protein, sigma, dt_ns, temperature)

  def encode(features, positions, protein, known=KNOWN, sigma=0.05, dt_ns=0.1, temperature=320.0):
    return run(features, positions, protein, known, sigma, dt_ns, temperature)

  return encode


def test_rows_have_seen_their_past_only(inputs, encode):
  features, positions, protein = inputs
  before = encode(*inputs)
  assert before.shape == (FRAMES, LENGTH, 16)
  newer = features + np.float32([0.0, 1.0])[:, None, None]
  after = encode(newer, positions, protein)
  np.testing.assert_allclose(after[0], before[0], atol=1e-6)
  assert (np.abs(after[1] - before[1]).max(axis=-1) > 1e-3).all()
  older = features + np.float32([1.0, 0.0])[:, None, None]
  after = encode(older, positions, protein)
  assert (np.abs(after[1] - before[1]).max(axis=-1) > 1e-3).all()


def test_unknown_frame_is_not_read(inputs, encode):
  features, positions, protein = inputs
  known = np.array([False, True])
  before = encode(*inputs, known)
  factor = np.float32([3.0, 1.0])
  after = encode(
    features * factor[:, None, None], positions * factor[:, None, None, None], protein, known
  )
  np.testing.assert_array_equal(after[1], before[1])
  assert np.abs(encode(*inputs)[1] - before[1]).max() > 0.01


def test_order_of_chains_in_the_arrays_does_not_matter(inputs, encode):
  features, positions, protein = inputs
  order = np.roll(np.arange(LENGTH), LENGTH // 2)
  assert protein.chain_index[0] != protein.chain_index[order[0]]
  after = encode(features[:, order], positions[:, order], builders.take(protein, order))
  np.testing.assert_allclose(after, encode(*inputs)[:, order], atol=1e-5)


@pytest.mark.parametrize('change', [{'sigma': 0.01}, {'dt_ns': 0.4}, {'temperature': 450.0}])
def test_conditions_change_every_residue(inputs, encode, change):
  difference = encode(*inputs, **change) - encode(*inputs)
  assert (np.abs(difference).max(axis=-1) > 1e-3).all()


def test_invariant_to_global_motion_but_not_to_reflection(inputs, encode):
  features, positions, protein = inputs
  before = encode(*inputs)
  rotation, shift = builders.random_motion(3, translation=10.0)
  moved = (positions @ rotation.T + shift).astype(np.float32)
  np.testing.assert_allclose(encode(features, moved, protein), before, atol=1e-4)
  mirrored = positions * np.float32([-1.0, 1.0, 1.0])
  assert np.abs(encode(features, mirrored, protein) - before).max() > 0.01


@pytest.mark.parametrize(('reads', 'ignored'), [('hidden', 'context'), ('sequence', 'hidden')])
def test_ipa_block_reads_what_the_configuration_says(inputs, reads, ignored):
  config = builders.small_config(ipa_reads=reads).encoder
  block = spatiotemporal_encoder.IPABlock(config)
  _, positions, protein = inputs
  rng = np.random.default_rng(0)
  given = {
    'hidden': rng.normal(size=(FRAMES, LENGTH, 16)).astype(np.float32),
    'context': rng.normal(size=(LENGTH, 16)).astype(np.float32),
  }

  def init(hidden, context):
    frames = backbone.frames_from_atoms(positions)
    return block.init(jax.random.key(0), hidden, context, frames, protein.mask)['params']

  params = builders.fill(jax.eval_shape(init, **given))
  # The transition adds nothing.
  params['transition']['out'] = jax.tree.map(np.zeros_like, params['transition']['out'])

  @builders.numpy_jit
  def added(hidden, context):
    frames = backbone.frames_from_atoms(positions)
    return block.apply({'params': params}, hidden, context, frames, protein.mask)[0] - hidden

  before = added(given['hidden'], given['context'])
  for name in given:
    changed = given | {name: given[name][..., ::-1].copy()}
    difference = np.abs(added(changed['hidden'], changed['context']) - before).max()
    assert difference < 1e-5 if name == ignored else difference > 0.01


def test_blocks_have_their_own_parameters_and_may_be_left_out(inputs):
  features, positions, protein = inputs

  def shapes(**blocks):
    encoder = spatiotemporal_encoder.SpatiotemporalEncoder(builders.small_config(**blocks).encoder)

    def init(rng):
      frames = backbone.frames_from_atoms(positions)
      args = features, frames, KNOWN, protein, *np.ones(3, np.float32)
      out, variables = encoder.init_with_output(rng, *args)
      assert out.shape == (FRAMES, LENGTH, 16)
      return variables['params']

    return jax.eval_shape(init, jax.random.key(0))

  params = shapes(num_ipa_blocks=3, num_attention_blocks=2, num_gru_layers=2)
  assert {x.shape[0] for x in jax.tree.leaves(params['ipa_blocks'])} == {3}
  assert {x.shape[0] for x in jax.tree.leaves(params['attention_blocks'])} == {2}
  assert set(params['gru']) == {'layer_0', 'layer_1'}
  shapes(num_ipa_blocks=0, num_attention_blocks=0, num_gru_layers=0, num_neighbours=0)


def test_attention_is_softmax_attention():
  """Against a loop over residues and heads, with a mask."""
  rng = np.random.default_rng(0)
  heads, channels = 2, 3
  x = rng.normal(size=(LENGTH, heads * channels)).astype(np.float32)
  bias = rng.normal(size=(heads, LENGTH, LENGTH)).astype(np.float32)
  mask = np.arange(LENGTH) < 9
  module = spatiotemporal_encoder.SpatialAttention(heads)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x, mask, bias)
  variables = builders.fill(shapes, 1)
  actual = builders.numpy_jit(module.apply)(variables, x, mask, bias)

  p = jax.tree.map(np.asarray, variables['params'])
  normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  normed = normed * p['norm']['scale'] + p['norm']['bias']
  for i in range(9):
    result = x[i] + p['out']['bias']
    for h in range(heads):
      q, k, v = (normed @ p['qkv']['kernel'][:, s, h] for s in range(3))
      weight = np.exp(k @ q[i] / np.sqrt(channels) + bias[h, i]) * mask
      result = result + (weight / weight.sum()) @ v @ p['out']['kernel'][h]
    np.testing.assert_allclose(actual[i], result, atol=1e-5)

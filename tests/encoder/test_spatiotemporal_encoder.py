import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tempo_jax.encoder import spatiotemporal_encoder
from tempo_jax.geometry import backbone
from tests import builders
from tests.encoder import reference

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
  block = spatiotemporal_encoder.IPABlock(config, jnp.float32)
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
  assert {'gru_0', 'gru_1'} < set(params)
  shapes(num_ipa_blocks=0, num_attention_blocks=0, num_gru_layers=0, num_neighbours=0)


def test_attention_is_softmax_attention():
  """Against a loop over residues and heads, with a mask."""
  rng = np.random.default_rng(0)
  heads, channels = 2, 3
  x = rng.normal(size=(LENGTH, heads * channels)).astype(np.float32)
  bias = rng.normal(size=(heads, LENGTH, LENGTH)).astype(np.float32)
  mask = np.arange(LENGTH) < 9
  module = spatiotemporal_encoder.SpatialAttention(heads, jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x, bias)
  variables = builders.fill(shapes, 1)
  actual = builders.numpy_jit(module.apply)(variables, x, np.where(mask, bias, np.float32(-1e9)))
  p = reference.as_float64(variables['params'])
  expected = reference.spatial_attention(p, x, mask, bias)
  np.testing.assert_allclose(actual[mask], expected[mask], atol=1e-5)


def test_gru_is_that_of_flax_and_starts_like_it():
  """Three frames, the second one unknown; each gate's matrices are drawn as flax draws them."""
  frames, channels = 3, 32
  rng = np.random.default_rng(0)
  x = rng.normal(size=(frames, LENGTH, channels)).astype(np.float32)
  known = np.array([True, False, True])
  module = spatiotemporal_encoder.GRULayer(jnp.float32)
  p = jax.tree.map(np.asarray, jax.jit(module.init)(jax.random.key(0), x, known)['params'])
  for name in ('input', 'recurrent'):
    for gate in np.split(p[name]['kernel'], 3, axis=1):
      assert gate.std() == pytest.approx(channels**-0.5, rel=0.1)
      orthogonal = np.allclose(gate @ gate.T, np.eye(channels), atol=1e-5)
      assert orthogonal == (name == 'recurrent')

  p = jax.tree.map(np.asarray, builders.fill(p, 1))
  into = [np.split(p['input'][k], 3, axis=-1) for k in ('kernel', 'bias')]
  cell = {
    f'i{gate}': {'kernel': kernel, 'bias': bias}
    for gate, kernel, bias in zip('rzn', *into, strict=True)
  }
  for gate, kernel in zip('rzn', np.split(p['recurrent']['kernel'], 3, axis=-1), strict=True):
    cell[f'h{gate}'] = {'kernel': kernel}
  cell['hn']['bias'] = p['candidate_bias']
  hidden, expected = jnp.zeros_like(x[0]), []
  for t in range(frames):
    if known[t]:
      hidden, _ = nn.GRUCell(channels).apply({'params': cell}, hidden, x[t])
    expected.append(hidden)
  actual = builders.numpy_jit(module.apply)({'params': p}, x, known)
  np.testing.assert_allclose(actual, np.stack(expected), atol=1e-5)

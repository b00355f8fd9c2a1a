"""What the network's output depends on, and what it must not depend on."""

import functools

import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.paper import drift
from tests import builders

LENGTH = 12
RULES = ('local', 'global')
CONFIGS = {
  'local': builders.small_config(),
  'global': builders.small_config(update_rule='global', ipa_reads='sequence', num_neighbours=0),
}
CONFIGS['bfloat16'] = config_lib.freeze(
  config_lib.to_dict(CONFIGS['local']) | {'precision': 'bfloat16'}
)
OUTPUTS = {'local': 8, 'global': 13}
CONDITION = {'sigma': 0.05, 'dt_ns': 0.1, 'temperature_K': 320.0}


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


@pytest.fixture(scope='module')
def positions(protein):
  """[T, L, 4, 3] Å, two different frames."""
  rng = np.random.default_rng(1)
  return (protein.positions + 0.3 * rng.normal(size=(2, LENGTH, 4, 3))).astype(np.float32)


@functools.cache
def run_of(rule):
  network = drift.Drift(CONFIGS[rule])
  params = builders.params(CONFIGS[rule])

  def run(noised, clean, known, protein, condition):
    noised = state_lib.Window(state_lib.from_positions(noised, protein.bonded), known)
    clean = state_lib.from_positions(clean, protein.bonded)
    return network.apply({'params': params}, noised, clean, protein, **condition)

  return builders.numpy_jit(run)


def call(rule, positions, protein, clean=None, known=(True, True), **condition):
  condition = {k: np.float32(v) for k, v in (CONDITION | condition).items()}
  clean = positions if clean is None else clean
  return run_of(rule)(positions, clean, np.array(known), protein, condition)


@pytest.fixture(scope='module')
def before(positions, protein):
  return {rule: call(rule, positions, protein) for rule in RULES}


@pytest.mark.parametrize('rule', RULES)
def test_shape_and_size(before, rule):
  assert before[rule].shape == (2, LENGTH, OUTPUTS[rule])
  assert 0.1 < before[rule].std() < 3.0
  # The two next frames are not the same.
  assert np.abs(before[rule][1] - before[rule][0]).max() > 0.1


@pytest.mark.parametrize('rule', RULES)
def test_padding_is_not_read(before, positions, protein, rule):
  padded = builders.pad(protein, LENGTH + 8)
  more = np.broadcast_to(padded.positions[LENGTH:], (2, 8, 4, 3))
  after = call(rule, np.concatenate([positions, more], axis=1), padded)
  np.testing.assert_allclose(after[:, :LENGTH], before[rule], atol=1e-5)


@pytest.mark.parametrize('rule', RULES)
def test_unknown_frame_is_not_read(positions, protein, rule):
  first = call(rule, positions, protein, known=(False, True))
  other = np.stack([positions[0] * np.float32(2.0) + np.float32(5.0), positions[1]])
  np.testing.assert_array_equal(call(rule, other, protein, known=(False, True)), first)
  assert np.abs(call(rule, other, protein) - first).max() > 0.01


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('frame', [0, 1])
def test_both_frames_are_read(before, positions, protein, rule, frame):
  # A bend, not a shift: `local` sees relative positions only.
  other = positions.copy()
  other[frame, LENGTH // 2 :] += np.float32([0.0, 1.0, 0.5])
  difference = call(rule, other, protein) - before[rule]
  # Every output frame of every residue.
  assert (np.abs(difference).max(axis=-1) > 1e-4).all()


@pytest.mark.parametrize('rule', RULES)
def test_order_of_chains_in_the_arrays_does_not_matter(before, positions, protein, rule):
  order = np.roll(np.arange(LENGTH), LENGTH // 2)
  after = call(rule, positions[:, order], builders.take(protein, order))
  np.testing.assert_allclose(after, before[rule][:, order], atol=1e-5)


@pytest.mark.parametrize('rule', RULES)
@pytest.mark.parametrize('condition', [{'sigma': 0.01}, {'dt_ns': 0.4}, {'temperature_K': 450.0}])
def test_conditions_are_read(before, positions, protein, rule, condition):
  difference = call(rule, positions, protein, **condition) - before[rule]
  assert (np.abs(difference).max(axis=(0, 2)) > 1e-3).all()


@pytest.mark.parametrize('field', ['residue_type', 'residue_index', 'chain_index', 'bonded'])
def test_residues_are_read(before, positions, protein, field):
  changed = builders.take(protein, np.arange(LENGTH))
  getattr(changed, field)[3] = {'bonded': False}.get(field, 9)
  assert np.abs(call('local', positions, changed) - before['local']).max() > 1e-3


def test_clean_frames_are_for_the_paper_only(before, positions, protein):
  """`local` must not see the noise apart from the state that carries it."""
  clean = positions + 0.5 * np.random.default_rng(3).normal(size=positions.shape)
  clean = clean.astype(np.float32)
  after = {rule: call(rule, positions, protein, clean) for rule in RULES}
  np.testing.assert_array_equal(after['local'], before['local'])
  assert np.abs(after['global'] - before['global']).max() > 0.01


def test_local_is_invariant_to_a_global_motion(before, positions, protein):
  rotation, shift = builders.random_motion(0)
  moved = (positions @ rotation.T + shift).astype(np.float32)
  np.testing.assert_allclose(call('local', moved, protein), before['local'], atol=2e-4)
  assert np.abs(call('global', moved, protein) - before['global']).max() > 0.1


def test_local_is_as_exact_far_from_the_origin(protein, positions):
  # Multiples of 2^-10 Å, which float32 moves by 2^12 Å without rounding.
  near = np.round(positions * 1024.0) / np.float32(1024.0)
  far = near + np.float32([4096.0, 0.0, 0.0])
  np.testing.assert_array_equal(far - np.float32([4096.0, 0.0, 0.0]), near)
  np.testing.assert_allclose(call('local', far, protein), call('local', near, protein), atol=1e-4)


def test_local_tells_a_mirror_image(before, positions, protein):
  after = call('local', positions * np.float32([1.0, 1.0, -1.0]), protein)
  # What a network blind to handedness would answer, in frames whose z turns over.
  blind = before['local'][..., :6] * np.float32([1.0, 1.0, -1.0, -1.0, -1.0, 1.0])
  assert np.abs(after - before['local']).max() > 0.1
  assert np.abs(after[..., :6] - blind).max() > 0.1


def test_bfloat16_is_near_float32(before, positions, protein):
  rounded = call('bfloat16', positions, protein)
  assert rounded.dtype == np.float32
  error = np.abs(rounded - before['local']) / before['local'].std()
  assert 1e-3 < error.max() < 0.1

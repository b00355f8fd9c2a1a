"""The generative step: what it depends on, and what it must not depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import generator, update
from tempo_jax.dynamics import state as state_lib
from tests import builders

LENGTH = 10
CONFIG = builders.generative_config(anchors='both', closure=True)
REFERENCE = anchor_lib.Place(anchor_lib.Kind.REFERENCE)


def end_after(num_frames):
  return anchor_lib.Place(anchor_lib.Kind.END, num_frames)


END = end_after(4)
LEVEL = CONFIG.level['fine']
TEMPERATURE = np.float32(320.0)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


@pytest.fixture(scope='module')
def end_positions(protein):
  """Another conformation, in which the segment ends."""
  rng = np.random.default_rng(5)
  return (protein.positions + 0.4 * rng.normal(size=(LENGTH, 1, 3))).astype(np.float32)


@builders.numpy_jit
def run(params, positions, end_positions, place, protein, rng):
  step = builders.make_step(CONFIG, 'fine')
  start = state_lib.from_positions(positions, protein.bonded)
  end = state_lib.from_positions(end_positions, protein.bonded)
  window = state_lib.start_window(start, 2, state_lib.Anchor(end, place))
  following = step(params, window, protein, np.float32(0.0), TEMPERATURE, rng)
  return state_lib.to_positions(following.states), following.anchor.place


def call(protein, end_positions, positions=None, place=END, seed=0):
  positions = protein.positions if positions is None else positions
  return run(
    builders.params(CONFIG),
    positions.astype(np.float32),
    end_positions.astype(np.float32),
    jax.tree.map(np.int32, place),
    protein,
    jax.random.key(seed),
  )


@pytest.fixture(scope='module')
def before(protein, end_positions):
  return call(protein, end_positions)[0]


@pytest.mark.parametrize('place', [END, REFERENCE], ids=['end', 'reference'])
def test_a_global_motion_moves_the_sample_along(protein, end_positions, place):
  rotation, shift = builders.random_motion(1, translation=100.0)
  # The anchor moves otherwise: its absolute pose carries no information.
  other, away = builders.random_motion(2, translation=50.0)
  ends, positions = end_positions @ other.T + away, protein.positions @ rotation.T + shift

  def deviation(seed):
    before, _ = call(protein, end_positions, place=place, seed=seed)
    after, _ = call(protein, ends, positions, place, seed)
    return np.abs((after.astype(np.float64) - shift) @ rotation - before).max()

  # Random networks throw residues onto one another, and which of them are in contact may hang on
  # the last digit, on each kind of CPU for other keys.
  assert np.median([deviation(seed) for seed in range(8)]) < 2e-4


def test_a_mirror_image_is_another_protein(protein, end_positions, before):
  mirror = np.float32([1.0, -1.0, 1.0])
  after, _ = call(protein, end_positions * mirror, protein.positions * mirror)
  assert np.abs(after * mirror - before).max() > 0.05


def test_the_key_decides(protein, end_positions, before):
  np.testing.assert_array_equal(call(protein, end_positions)[0], before)
  assert np.abs(call(protein, end_positions, seed=1)[0] - before).max() > 0.1


def test_the_anchor_acts_through_the_network_on_every_residue(protein, end_positions, before):
  moved = end_positions.copy()
  moved[0] += 1.0
  difference = np.abs(call(protein, moved)[0] - before).max(axis=(0, 2, 3))
  assert (difference > 1e-4).all()
  # So does the time that is left.
  assert np.abs(call(protein, end_positions, place=end_after(9))[0] - before).max() > 1e-3


def test_an_anchor_that_is_passed_is_not_looked_at(protein, end_positions):
  passed = end_after(0)
  first, left = call(protein, end_positions, place=passed)
  np.testing.assert_array_equal(call(protein, end_positions + 1.0, place=passed)[0], first)
  np.testing.assert_array_equal(call(protein, end_positions, place=anchor_lib.Place())[0], first)
  assert left == end_after(-2)
  assert call(protein, end_positions, place=end_after(6))[1] == end_after(4)


def test_the_reference_is_looked_at_and_stays(protein, end_positions):
  after, left = call(protein, end_positions, place=REFERENCE)
  assert left.known
  assert left.is_reference
  assert np.isfinite(after).all()
  free, _ = call(protein, end_positions, place=anchor_lib.Place())
  assert (np.abs(after - free).max(axis=(0, 2, 3)) > 1e-4).all()
  moved = end_positions.copy()
  moved[0] += 1.0
  other, _ = call(protein, moved, place=REFERENCE)
  assert (np.abs(after - other).max(axis=(0, 2, 3)) > 1e-4).all()


def test_padding_changes_nothing(protein, end_positions, before):
  padded = builders.pad(protein, LENGTH + 5)
  ends = np.concatenate([end_positions, padded.positions[LENGTH:]])
  after, _ = call(padded, ends)
  np.testing.assert_allclose(after[:, :LENGTH], before, atol=2e-4)


def test_frames_stay_chains(before, protein):
  """The random head throws residues about by 0.4 Å and more; the chain holds."""
  bonded = protein.bonded[:-1]
  c_n = np.linalg.norm(before[:, 1:, 0] - before[:, :-1, 2], axis=-1)[:, bonded]
  assert 1.1 < c_n.min() < c_n.max() < 1.6


def test_motions_are_the_inverse_of_applying_them(protein):
  """Up to the branch of the rotation vector, which is within half a turn."""
  rng = np.random.default_rng(0)
  numbers = rng.normal(size=(2, LENGTH, 7)).astype(np.float32)

  @builders.numpy_jit
  def there_and_back(numbers):
    newest = state_lib.from_positions(protein.positions, protein.bonded)
    states = update.apply_motions(newest, numbers, LEVEL, protein.bonded)
    return update.motions(newest, states, LEVEL)

  found = there_and_back(numbers)
  np.testing.assert_allclose(found[..., :6], numbers[..., :6], atol=2e-4)
  free = ~protein.bonded
  np.testing.assert_allclose(found[:, free, 6], numbers[:, free, 6], atol=1e-4)


@pytest.mark.parametrize(
  ('passes', 'expected'), [(1, 0.0), (2, 0.6), (4, 0.92), (8, 1.01), (64, 1.0)]
)
def test_passes_along_the_known_field_of_a_gaussian(passes, expected):
  """Of N(0, 1) noise and N(0, s^2) data: how much of the spread comes out.

  The figures are those of the recurrence in float64; at many passes it must be all of it.
  """
  spread = 0.5

  def end(numbers, tau):
    return tau * spread**2 / ((1.0 - tau) ** 2 + (tau * spread) ** 2) * numbers

  found = generator.follow(end, jnp.ones(()), passes) / spread
  z, before = 1.0, None
  for k in range(passes):
    tau = k / passes
    mean = end(z, tau)
    aim = mean if before is None else 1.5 * mean - 0.5 * before
    z, before = z + (1.0 / passes) * (aim - z) / (1.0 - tau), mean
  np.testing.assert_allclose(found, z / spread, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found, expected, atol=0.02)


def test_noise_is_drawn_residue_by_residue():
  rng = jax.random.key(3)
  short, long = (np.asarray(generator.draw_noise(rng, 2, length)) for length in (6, 4_000))
  np.testing.assert_array_equal(short, long[:, :6])
  assert long[..., :6].std() == pytest.approx(1.0, abs=0.02)
  assert np.abs(np.exp(1j * long[..., 6]).mean()) < 0.03

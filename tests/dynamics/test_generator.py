"""The generative step, with side chains: what it depends on, and what it must not depend on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import generator, rotamers
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.protein import side_chain_atoms
from tests import builders

LENGTH = 10
CONFIG = builders.generative_config(anchors='both', closure=True, side_chains=True)
REFERENCE = anchor_lib.Place(anchor_lib.Kind.REFERENCE)


def end_after(num_frames):
  return anchor_lib.Place(anchor_lib.Kind.END, num_frames)


END = end_after(4)
TEMPERATURE = np.float32(320.0)


@pytest.fixture(scope='module')
def protein():
  """Two in three of its torsions are known."""
  return builders.with_side_chains(builders.helix(LENGTH, chains=2), known=2 / 3)


@pytest.fixture(scope='module')
def end_positions(protein):
  """Another conformation, in which the segment ends."""
  rng = np.random.default_rng(5)
  return (protein.positions + 0.4 * rng.normal(size=(LENGTH, 1, 3))).astype(np.float32)


@builders.numpy_jit
def run(params, positions, end_positions, place, protein, rng):
  """Atoms [T, L, 4, 3] Å, chi [T, L, 4], and what the anchor is then."""
  step = builders.make_step(CONFIG, 'fine')
  side_chains = rotamers.of_protein(protein)
  start = state_lib.of_model(CONFIG, positions, protein, side_chains)
  # Ends are in other rotamers.
  there = rotamers.jittered(side_chains, jnp.ones_like(side_chains.chi), protein.residue_type)
  end = state_lib.of_model(CONFIG, end_positions, protein, there)
  window = state_lib.start_window(start, 2, state_lib.Anchor(end, place))
  following = step(params, window, protein, np.float32(0.0), TEMPERATURE, rng)
  states = following.states
  return state_lib.to_positions(states), states.side_chains, following.anchor.place


def call_all(protein, end_positions, positions=None, place=END, seed=0):
  positions = protein.positions if positions is None else positions
  return run(
    builders.params(CONFIG),
    positions.astype(np.float32),
    end_positions.astype(np.float32),
    jax.tree.map(np.int32, place),
    protein,
    jax.random.key(seed),
  )


def call(*args, **kwargs):
  atoms, _, place = call_all(*args, **kwargs)
  return atoms, place


def between(a, b):
  """Radians, on the circle."""
  return np.abs(np.angle(np.exp(1j * (np.float64(a) - b))))


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
    before, side_chains, _ = call_all(protein, end_positions, place=place, seed=seed)
    after, turned, _ = call_all(protein, ends, positions, place, seed)
    moved = np.abs((after.astype(np.float64) - shift) @ rotation - before).max()
    return moved, between(turned.chi, side_chains.chi).max()

  # Random networks throw residues onto one another, and which of them are in contact may hang on
  # the last digit, on each kind of CPU for other keys.
  atoms, chi = np.median([deviation(seed) for seed in range(8)], axis=0)
  assert atoms < 2e-4
  assert chi < 2e-4


def test_a_mirror_image_is_another_protein(protein, end_positions, before):
  mirror = np.float32([1.0, -1.0, 1.0])
  after, _ = call(protein, end_positions * mirror, protein.positions * mirror)
  assert np.abs(after * mirror - before).max() > 0.05
  # So it is with its side chains mirrored: chi change their signs.
  mirrored = dataclasses.replace(protein, chi=-protein.chi)
  args = mirrored, end_positions * mirror, protein.positions * mirror
  _, turned, _ = call_all(*args)
  _, side_chains, _ = call_all(protein, end_positions)
  assert between(-turned.chi, side_chains.chi).max() > 0.05


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


def test_side_chains_are_drawn_where_there_are_any(protein, end_positions):
  _, found, _ = call_all(protein, end_positions)
  there = side_chain_atoms.chi_mask(protein.residue_type)
  assert not protein.chi_known[there].all()
  np.testing.assert_array_equal(found.known, np.stack([there, there]))
  np.testing.assert_array_equal(found.chi[:, ~there], 0.0)
  assert (np.abs(found.chi[:, there]) > 0.0).all()
  # One that turns is seen by all: those of others, and their backbones.
  turned = protein.chi.copy()
  index = tuple(np.argwhere(protein.chi_known)[0])
  turned[index] += 1.0
  atoms, after, _ = call_all(dataclasses.replace(protein, chi=turned), end_positions)
  others = there & (np.arange(LENGTH) != index[0])[:, None]
  assert (between(after.chi, found.chi)[:, others] > 1e-5).all()
  assert (np.abs(atoms - call(protein, end_positions)[0]).max(axis=(0, 2, 3)) > 1e-5).all()


def test_flipped_rings_are_the_same(protein, end_positions):
  """And what is written goes on from the image at hand."""
  period = side_chain_atoms.chi_period(protein.residue_type)
  flips = (period < 4.0) & protein.chi_known
  assert flips.any()
  flipped = dataclasses.replace(protein, chi=protein.chi + np.float32(np.pi) * flips)
  atoms, before, _ = call_all(protein, end_positions)
  same_atoms, after, _ = call_all(flipped, end_positions)
  np.testing.assert_allclose(same_atoms, atoms, atol=2e-4)
  turned = np.stack([np.pi * flips] * 2)
  assert between(after.chi, before.chi + turned).max() < 2e-4


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
  after, turned, _ = call_all(padded, ends)
  np.testing.assert_allclose(after[:, :LENGTH], before, atol=2e-4)
  _, side_chains, _ = call_all(protein, end_positions)
  assert between(turned.chi[:, :LENGTH], side_chains.chi).max() < 2e-4


def test_frames_stay_chains(before, protein):
  """The random head throws residues about by 0.4 Å and more; the chain holds."""
  bonded = protein.bonded[:-1]
  c_n = np.linalg.norm(before[:, 1:, 0] - before[:, :-1, 2], axis=-1)[:, bonded]
  assert 1.1 < c_n.min() < c_n.max() < 1.6


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


def test_a_free_run_on_a_given_backbone_turns_side_chains_alone(protein):
  """`draw` with `backbone_of`: their backbone is what comes out, and what the head sees as done."""
  level = level_lib.Level.of(CONFIG, 'fine')
  rng = np.random.default_rng(1)
  given = protein.positions + 0.2 * rng.normal(size=(2, LENGTH, 1, 3))

  @builders.numpy_jit
  def placed(given):
    start = state_lib.of_model(CONFIG, protein.positions, protein, rotamers.of_protein(protein))
    anchor = state_lib.Anchor(start, anchor_lib.Place(jnp.int32(0), jnp.int32(0)))
    window = state_lib.start_window(start, 2, anchor)
    following = state_lib.of_model(CONFIG, given, protein)
    noise = generator.draw_noise(jax.random.key(0), 2, start, level, protein)
    zero = jnp.float32(0.0)
    args = window, protein, level, zero, TEMPERATURE, noise, 3
    network = generator.Generator(CONFIG)
    drawn = generator.draw(network, builders.params(CONFIG), *args, backbone_of=following)
    return drawn, following

  drawn, following = placed(given.astype(np.float32))
  for name in ('frames', 'torsions', 'n_ca_c'):
    jax.tree.map(np.testing.assert_array_equal, getattr(drawn, name), getattr(following, name))
  there = side_chain_atoms.chi_mask(protein.residue_type)
  np.testing.assert_array_equal(drawn.side_chains.known, np.stack([there, there]))
  # The backbone that is given decides them.
  moved = given.copy()
  moved[1, -1] += 1.0
  other, _ = placed(moved.astype(np.float32))
  difference = between(other.side_chains.chi, drawn.side_chains.chi)
  assert (difference[:, there] > 1e-6).mean() > 0.9


def test_noise_is_drawn_residue_by_residue():
  level = level_lib.Level.of(CONFIG, 'fine')
  protein = builders.with_side_chains(builders.helix(4_000), known=0.5)

  def draw(length):
    part = builders.take(protein, slice(length))
    side_chains = rotamers.of_protein(part)
    newest = state_lib.of_model(CONFIG, part.positions, part, side_chains)
    return np.asarray(generator.draw_noise(jax.random.key(3), 2, newest, level, part))

  short, long = draw(6), draw(4_000)
  assert short.shape == (2, 6, 12)
  np.testing.assert_array_equal(short, long[:, :6])
  assert long[..., :7].std() == pytest.approx(1.0, abs=0.02)
  assert np.abs(np.exp(1j * long[..., 7]).mean()) < 0.03
  # Turns of what is known are small, but for hops; the others are anywhere.
  there = side_chain_atoms.chi_mask(protein.residue_type)
  resultant = [
    np.exp(1j * long[..., 8:][:, which]).mean().real
    for which in (protein.chi_known, there & ~protein.chi_known)
  ]
  expected = (1.0 - level.chi_hop) * np.exp(-(level.chi_std**2) / 2)
  np.testing.assert_allclose(resultant, [expected, 0.0], atol=0.03)

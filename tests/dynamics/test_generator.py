"""The generative step, with side chains: what it depends on, and what it must not depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, rotamers
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.protein import protein as protein_lib
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


def _run(config, params, positions, end_positions, place, protein, rng):
  """Atoms [T, L, 4, 3] Å, chi [T, L, 4], and what the anchor is then."""
  step = builders.make_step(config, 'fine')
  side_chains = rotamers.of_protein(protein)
  start = state_lib.of_model(CONFIG, positions, protein, side_chains)
  # Ends are in other rotamers.
  there = rotamers.jittered(side_chains, jnp.ones_like(side_chains.chi), protein.residue_type)
  end = state_lib.of_model(CONFIG, end_positions, protein, there)
  window = state_lib.start_window(start, config.window, state_lib.Anchor(end, place))
  following = step(params, window, protein, np.float32(0.0), TEMPERATURE, rng)
  states = following.states
  return state_lib.to_positions(states), states.side_chains, following.anchor.place


def quiet_params(config=CONFIG):
  """Of a network that says a tenth."""
  params = builders.params(config)
  out = jax.tree.map(lambda x: 0.1 * x, params['head']['out'])
  return params | {'head': params['head'] | {'out': out}}


_compiled = builders.numpy_jit(functools.partial(_run, CONFIG))


def run(*args, params=None):
  return _compiled(builders.params(CONFIG) if params is None else params, *args)


# Of a random network, residues are thrown onto one another: which of them are pushed apart may hang
# on the last digit, on each kind of CPU for other keys. What the network itself does may not.
OPEN = builders.generative_config(anchors='both', closure=False, side_chains=True)
run_open = builders.numpy_jit(functools.partial(_run, OPEN, builders.params(OPEN, seed=1)))


def call_all(protein, end_positions, positions=None, place=END, seed=0, run=run):
  positions = protein.positions if positions is None else positions
  return run(
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

  def deviation(seed, run):
    before, side_chains, _ = call_all(protein, end_positions, place=place, seed=seed, run=run)
    after, turned, _ = call_all(protein, ends, positions, place, seed, run)
    moved = np.abs((after.astype(np.float64) - shift) @ rotation - before).max()
    return moved, between(turned.chi, side_chains.chi).max()

  drawn = np.array([deviation(seed, run_open) for seed in range(8)])
  assert drawn.max() < 2e-4
  # Closed, and relieved of overlaps, for steps of the size of a real one.
  quieter = functools.partial(run, params=quiet_params())
  closed = np.array([deviation(seed, quieter) for seed in range(8)])
  np.testing.assert_array_less(np.median(closed, axis=0), 2e-4)


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
  # One that turns is seen by all: those of others, and their backbones. (Where overlaps are
  # relieved, two may end at the same limit.)
  turned = protein.chi.copy()
  index = tuple(np.argwhere(protein.chi_known)[0])
  turned[index] += 1.0
  before, found, _ = call_all(protein, end_positions, run=run_open)
  turned = dataclasses.replace(protein, chi=turned)
  atoms, after, _ = call_all(turned, end_positions, run=run_open)
  others = there & (np.arange(LENGTH) != index[0])[:, None]
  assert (between(after.chi, found.chi)[:, others] > 1e-5).all()
  assert (np.abs(atoms - before).max(axis=(0, 2, 3)) > 1e-5).all()


@pytest.mark.parametrize(('window', 'passes'), [(1, 1), (3, 2)])
def test_windows_and_passes_of_any_number(protein, end_positions, window, passes):
  """Every torsion that there is has been drawn by the last pass."""
  config = builders.generative_config(
    anchors='both', closure=False, side_chains=True, window=window, passes=passes
  )
  start = _state_of(config, protein.positions, protein)
  end = _state_of(config, end_positions, protein)

  @builders.numpy_jit
  def step(params, rng):
    place = jax.tree.map(jnp.int32, END)
    first = state_lib.start_window(start, window, state_lib.Anchor(end, place))
    zero = np.float32(0.0)
    return builders.make_step(config, 'fine')(params, first, protein, zero, TEMPERATURE, rng)

  found = step(builders.params(config), jax.random.key(0)).states
  there = side_chain_atoms.chi_mask(protein.residue_type)
  np.testing.assert_array_equal(found.side_chains.known, np.stack([there] * window))
  assert (found.side_chains.chi[:, there] != 0.0).all()
  assert np.isfinite(found.frames.translation).all()
  # Frames of a window differ: each has its own noise and place in the network.
  apart = np.ptp(found.frames.translation, axis=0).max()
  assert (apart > 0.1) == (window > 1)


def test_torsions_that_are_told_to_stay_do(protein, end_positions, monkeypatch):
  """In sampling alone; puckers have a number of their own, and what is not known cannot stay."""
  residue_type = protein.residue_type.copy()
  residue_type[3] = protein_lib.RESIDUE_TYPES.index('PRO')
  plain = builders.with_side_chains(dataclasses.replace(protein, residue_type=residue_type))
  half = builders.with_side_chains(plain, known=2 / 3)
  # Small offsets, of which none reaches over the border of its well.
  monkeypatch.setattr(rotamers, '_SPREAD', np.float32(0.2) * rotamers._SPREAD)
  params = quiet_params(OPEN)

  def wells_after(config):
    run = builders.numpy_jit(functools.partial(_run, config, params))
    found = [call_all(half, end_positions, seed=k, run=run)[1] for k in range(3)]
    return np.stack([rotamers.wells(x, residue_type) for x in found])

  before = np.asarray(rotamers.wells(rotamers.of_protein(half), residue_type))
  change = {}
  # Without a solvent the protein is in water, whose numbers come first.
  for stay, row in (
    (0.0, (0.01, 0.0, 0.0, 0.0, 100.0, 100.0, 0.0)),
    (100.0, (0.01, 100.0, 100.0, 0.0, 0.0, 0.0, 0.0)),
  ):
    config = config_lib.from_dict(config_lib.to_dict(OPEN))
    config.rotamer_stay = (row,)
    after = wells_after(config_lib.freeze(config))
    change[stay] = (after != before).any(axis=(0, 1))
  known = np.asarray(half.chi_known)
  stays = known & (np.arange(LENGTH) != 3)[:, None]
  assert change[0.0][stays].any()
  assert not change[100.0][stays].any()
  # What else is drawn is drawn.
  assert change[100.0][~known & side_chain_atoms.chi_mask(residue_type)].all()
  rows = (0.01, 3.0, 1.0, -1.0), (0.1, 2.0, 0.0, -3.0)
  for dt_ns, chi1, others, pucker in (
    (0.001, 3.0, 1.0, -1.0),
    (0.01, 3.0, 1.0, -1.0),
    (0.01 * 10**0.5, 2.5, 0.5, -2.0),
    (5, 2.0, 0.0, -3.0),
  ):
    added = np.asarray(rotamers.staying(rotamers.of_protein(half), residue_type, rows, dt_ns, 0.5))
    expected = known * np.float32([chi1, *3 * [others]])
    expected[3] = known[3] * [pucker, 0, 0, 0]
    np.testing.assert_allclose(added.sum(axis=-1), expected, atol=1e-5)
    here = before[..., None] == np.arange(3)
    assert not added[~here].any()
  assert not np.any(rotamers.staying(rotamers.of_protein(half), residue_type, (), 0.01, 0.0))


@pytest.mark.parametrize(
  ('solvent', 'chi1', 'others', 'pucker'),
  [('explicit', 5, 1, -1), ('implicit', 3, 2, -2), ('unknown', 4, 1.5, -1.5), (None, 5, 1, -1)],
)
def test_numbers_of_staying_follow_the_solvent(protein, solvent, chi1, others, pucker):
  residue_type = protein.residue_type.copy()
  residue_type[3] = protein_lib.RESIDUE_TYPES.index('PRO')
  index = None if solvent is None else np.int32(protein_lib.SOLVENTS.index(solvent))
  protein = dataclasses.replace(protein, residue_type=residue_type, solvent=index)
  side_chains = rotamers.of_protein(builders.with_side_chains(protein))
  rows = ((0.01, 5.0, 1.0, -1.0, 3.0, 2.0, -2.0),)
  added = rotamers.staying(side_chains, residue_type, rows, 0.01, protein.implicit)
  known = np.asarray(side_chains.known)
  expected = known * np.float32([chi1, *3 * [others]])
  expected[3] = known[3] * [pucker, 0, 0, 0]
  np.testing.assert_allclose(np.asarray(added).sum(axis=-1), expected, atol=1e-6)


def _state_of(config, positions, protein):
  return state_lib.of_model(
    config, positions.astype(np.float32), protein, rotamers.of_protein(protein)
  )


def test_flipped_rings_are_the_same(protein, end_positions):
  """And what is written goes on from the image at hand."""
  period = side_chain_atoms.chi_period(protein.residue_type)
  flips = (period < 4.0) & protein.chi_known
  assert flips.any()
  flipped = dataclasses.replace(protein, chi=protein.chi + np.float32(np.pi) * flips)
  atoms, before, _ = call_all(protein, end_positions, run=run_open)
  same_atoms, after, _ = call_all(flipped, end_positions, run=run_open)
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

  def mean(numbers, tau):
    return tau * spread**2 / ((1.0 - tau) ** 2 + (tau * spread) ** 2) * numbers

  found = generator.follow(
    lambda step, tau: (mean(step.numbers, tau), None), generator.Noise(jnp.ones(())), passes
  )
  assert found.wells is None
  z, before = 1.0, None
  for k in range(passes):
    tau = k / passes
    now = mean(z, tau)
    aim = now if before is None else 1.5 * now - 0.5 * before
    z, before = z + (1.0 / passes) * (aim - z) / (1.0 - tau), now
  np.testing.assert_allclose(found.numbers, z, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found.numbers / spread, expected, atol=0.02)


LEVEL = level_lib.Level.of(CONFIG, 'fine')


def chances(length, seed=0):
  """Of the wells of two frames."""
  order_rng, gumbel_rng = jax.random.split(jax.random.key(seed))
  return generator.Chances(
    rotamers.draw_order(order_rng, 2, length),
    jax.random.gumbel(gumbel_rng, (2, length, 4, 3)),
  )


def test_a_well_that_comes_to_be_known_changes_an_offset_once():
  """The mean of an offset depends on its well alone: it ends there, whenever that was drawn."""
  length = 50
  noise = generator.Noise(jnp.zeros((2, length, 12)), chances(length))

  def end(step, tau):
    mean = jnp.where(step.wells == rotamers.HIDDEN, 0.0, step.wells - 1.0)
    return step.numbers.at[..., 8:].set(mean), noise.chances.gumbel

  found = builders.numpy_jit(lambda x: generator.follow(end, x, 4))(noise)
  last = np.asarray(noise.chances.order) >= 0.75
  expected = np.where(last, 0.0, found.wells - 1.0)
  np.testing.assert_allclose(found.numbers[..., 8:], expected, atol=1e-6)


@pytest.mark.parametrize('passes', [1, 4, 7])
def test_wells_are_drawn_once_and_stay(passes):
  """From the logits of the pass in which their turn comes, each as likely as its logit says."""
  length = 3_000
  noise = generator.Noise(jnp.zeros((2, length, 12)), chances(length))
  odds = np.array([0.7, 0.2, 0.1])

  def end(step, tau):
    # What is seen is what is drawn so far; logits of later passes allow one well only.
    late = np.where(np.arange(3) == 0, np.float32(0.0), np.float32(-99.0))
    late = jnp.where(tau > 0.45, late, np.log(np.float32(odds)))
    return step.numbers + step.wells.sum(), jnp.broadcast_to(late, (2, length, 4, 3))

  found = np.asarray(builders.numpy_jit(lambda x: generator.follow(end, x, passes).wells)(noise))
  # Drawn after pass k, at tau = k / K, where k is the last one that began before their turn.
  tau = np.floor(np.asarray(noise.chances.order) * passes) / passes
  assert (found[tau > 0.45] == 0).all()
  early = found[tau <= 0.45]
  shares = np.bincount(early, minlength=3) / early.size
  np.testing.assert_allclose(shares, odds, atol=0.02)


def test_later_wells_know_the_former():
  """A copy of what the other frame has drawn: every pass sees the wells of those before."""
  length = 200
  noise = generator.Noise(jnp.zeros((2, length, 12)), chances(length))

  def end(step, tau):
    other = rotamers.seen_wells(step.wells[::-1])
    return step.numbers, 99.0 * other

  found = np.asarray(generator.follow(end, noise, 4).wells)
  np.testing.assert_array_equal(found[0], found[1])
  assert (np.bincount(found[0].ravel()) / found[0].size).min() > 0.25


def test_a_step_between_states_leads_there(protein, end_positions):
  """Backbones and side chains, as far as they are known."""
  rng = np.random.default_rng(2)
  there = side_chain_atoms.chi_mask(protein.residue_type)

  @builders.numpy_jit
  def run(chi):
    before = rotamers.of_protein(protein)
    newest = state_lib.of_model(CONFIG, protein.positions, protein, before)
    known = jnp.broadcast_to(there, chi.shape)
    ends = jnp.stack([end_positions, protein.positions])
    states = state_lib.of_model(CONFIG, ends, protein, rotamers.SideChains(chi, known))
    expected = expected_lib.still(newest, LEVEL, 2)
    step = generator.step_between(newest, states, expected, protein)
    return generator.applied(newest, step, expected, protein), states

  chi = np.where(there, rng.uniform(-np.pi, np.pi, (2, LENGTH, 4)), 0.0).astype(np.float32)
  found, states = run(chi)
  np.testing.assert_allclose(found.frames.translation, states.frames.translation, atol=1e-4)
  np.testing.assert_allclose(found.n_ca_c, states.n_ca_c, atol=1e-5)
  np.testing.assert_array_equal(found.side_chains.known, np.broadcast_to(there, chi.shape))
  per_angle = 2 * np.pi / side_chain_atoms.chi_period(protein.residue_type)
  assert between(per_angle * found.side_chains.chi, per_angle * chi).max() < 1e-3


def test_a_free_run_on_a_given_backbone_turns_side_chains_alone(protein):
  """`draw` with `backbone_of`: their backbone is what comes out, and what the head sees as done."""
  rng = np.random.default_rng(1)
  given = protein.positions + 0.2 * rng.normal(size=(2, LENGTH, 1, 3))

  @builders.numpy_jit
  def placed(given):
    start = state_lib.of_model(CONFIG, protein.positions, protein, rotamers.of_protein(protein))
    anchor = state_lib.Anchor(start, anchor_lib.Place(jnp.int32(0), jnp.int32(0)))
    window = state_lib.start_window(start, 2, anchor)
    following = state_lib.of_model(CONFIG, given, protein)
    expected = expected_lib.still(start, LEVEL, 2)
    noise = generator.draw_noise(jax.random.key(0), 2, start, expected, protein)
    zero = jnp.float32(0.0)
    args = window, protein, LEVEL, expected, zero, TEMPERATURE, noise, 3
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
  protein = builders.with_side_chains(builders.helix(4_000), known=0.5)

  def draw(length):
    part = builders.take(protein, slice(length))
    side_chains = rotamers.of_protein(part)
    newest = state_lib.of_model(CONFIG, part.positions, part, side_chains)
    expected = expected_lib.still(newest, LEVEL, 2)
    noise = generator.draw_noise(jax.random.key(3), 2, newest, expected, part)
    return jax.tree.map(np.asarray, noise)

  short, long = draw(6), draw(4_000)
  assert short.numbers.shape == (2, 6, 12)
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[:, :6]), short, long)
  there = side_chain_atoms.chi_mask(protein.residue_type)
  assert (long.numbers[..., 8:][:, ~there] == 0.0).all()
  # Where nothing is to be drawn, its turn never comes.
  np.testing.assert_array_equal((long.chances.order < 1.0).all(axis=0), there)
  assert ((long.chances.order < 1.0).any(axis=0) == there).all()
  for numbers in (long.numbers[..., :7], long.numbers[..., 8:][:, there]):
    assert numbers.std() == pytest.approx(1.0, abs=0.02)
  assert np.abs(np.exp(1j * long.numbers[..., 7]).mean()) < 0.03
  # The largest of three is each of them equally often.
  assert long.chances.gumbel.shape == (2, 4_000, 4, 3)
  shares = np.bincount(long.chances.gumbel.argmax(axis=-1).ravel()) / 32_000
  np.testing.assert_allclose(shares, 1 / 3, atol=0.01)

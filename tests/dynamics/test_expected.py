"""What the next frames are expected to be: numbers and frames, invariances, draws alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected, memory
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib
from tests import builders

LENGTH = 14
CONFIG = config_lib.model_config({'coarse': 0.2, 'fine': 0.01})
TEMPERATURE = np.float32(300.0)


def displaced(protein, seed, size=0.3):
  noise = np.random.default_rng(seed).normal(scale=size, size=(LENGTH, 1, 3))
  return jnp.asarray(protein.positions) + np.float32(noise)


def window_of(protein, prior, known=True, ahead=6):
  before, newest, end = (displaced(protein, seed) for seed in (1, 2, 3))
  states = state_lib.from_positions(jnp.stack([before, newest]), protein.bonds)
  aim = state_lib.from_positions(end, protein.bonds)
  anchor = state_lib.Anchor(aim, anchor_lib.at_end(ahead)).superposed_on(states[-1], protein.mask)
  return state_lib.Window(states, jnp.array([known, True]), anchor, prior)


@builders.numpy_jit
def _elastic(protein, numbers, ahead):
  prior = expected.make_prior(CONFIG, protein.positions, protein)
  window = window_of(protein, prior, ahead=ahead)
  found = expected.elastic(window, prior, jnp.float32(0.01), TEMPERATURE, protein)
  ends = found.ends(numbers[..., :3], numbers[..., 3:], protein.bonds)
  again = found.numbers(ends, protein.bonds)
  return found, ends, again, window.states.frames


def numbers():
  return np.float32(np.random.default_rng(5).normal(size=(2, LENGTH, 6)))


def test_numbers_lead_to_frames_and_back():
  found, _, again, _ = _elastic(builders.helix(LENGTH), numbers(), 6)
  np.testing.assert_allclose(np.concatenate(again, axis=-1), numbers(), atol=2e-3)
  assert found.spread.shape == (2, LENGTH)
  assert (np.diff(found.spread, axis=0) > 0.0).all()


def test_what_is_expected_turns_with_the_protein():
  """Frames move along; spreads, and draws in residue frames, stay."""
  protein = builders.helix(LENGTH)
  rotation = Rotation.from_rotvec([1.0, 0.3, -2.0]).as_matrix()
  positions = np.float32(np.asarray(protein.positions) @ rotation.T + [40.0, 0.0, -20.0])

  @builders.numpy_jit
  def run(protein, turn, shift):
    start = protein.positions
    prior = expected.make_prior(CONFIG, start, protein)
    states = [displaced(builders.helix(LENGTH), seed) for seed in (1, 2, 3)]
    before, newest, end = (x @ turn.T + shift[None, None] for x in states)
    both = state_lib.from_positions(jnp.stack([before, newest]), protein.bonds)
    aim = state_lib.from_positions(end, protein.bonds)
    anchor = state_lib.Anchor(aim, anchor_lib.at_end(6)).superposed_on(both[-1], protein.mask)
    window = state_lib.Window(both, jnp.ones(2, bool), anchor, prior)
    found = expected.elastic(window, prior, jnp.float32(0.01), TEMPERATURE, protein)
    ends = found.ends(numbers()[..., :3], numbers()[..., 3:], protein.bonds)
    return ends, found.spread, found.coherent(jnp.asarray(numbers()[..., :3]))

  eye, zero = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
  ends, spread, drawn = run(protein, eye, zero)
  turned = dataclasses.replace(protein, positions=positions)
  turn = np.float32(rotation)
  ends_too, spread_too, drawn_too = run(turned, turn, np.float32([40.0, 0.0, -20.0]))
  np.testing.assert_allclose(spread_too, spread, rtol=1e-4)
  np.testing.assert_allclose(drawn_too, drawn, atol=1e-3)
  np.testing.assert_allclose(
    ends_too.translation, ends.translation @ turn.T + [40.0, 0.0, -20.0], atol=1e-3
  )
  np.testing.assert_allclose(ends_too.rotation, turn @ ends.rotation, atol=1e-3)


def test_a_segment_ends_where_it_should():
  """Two frames ahead is the end itself: it is expected there, and certain."""
  protein = builders.helix(LENGTH)
  found, _, _, _ = _elastic(protein, numbers(), 2)
  prior = expected.make_prior(CONFIG, protein.positions, protein)
  end = np.asarray(window_of(protein, prior, ahead=2).anchor.state.frames.translation)
  np.testing.assert_allclose(found.ca[1], end, atol=0.02)
  np.testing.assert_allclose(found.spread[1], 0.05, atol=1e-6)


def test_far_from_the_centre_the_pull_grows_no_more():
  protein = builders.helix(LENGTH)
  prior = expected.make_prior(CONFIG, protein.positions, protein)

  def pulled(distance):
    away = np.random.default_rng(0).normal(size=(LENGTH, 3)) * distance
    centre = prior.network.frames.translation + np.float32(away - away.mean(axis=0))
    state = state_lib.from_positions(protein.positions, protein.bonds)
    window = state_lib.start_window(state, 2, prior=dataclasses.replace(prior, centre=centre))
    found = expected.elastic(window, window.prior, jnp.float32(0.2), TEMPERATURE, protein)
    return np.linalg.norm(found.ca[0] - state.frames.translation, axis=-1).mean()

  assert pulled(1.0) > 1.5 * pulled(0.5)
  assert pulled(40.0) < 1.1 * pulled(20.0)


def test_traces_follow_the_chain():
  protein = builders.helix(LENGTH, chains=2)
  half = LENGTH // 2
  whole = np.float32(Rotation.from_rotvec([0.0, 0.0, 1.0]).as_matrix())
  ca = jnp.asarray(protein.positions)[:, 1]
  found = np.asarray(expected.traces(ca, protein.bonds, whole))
  np.testing.assert_allclose(found[0], found[1], atol=1e-6)
  np.testing.assert_allclose(found[half - 1], found[half - 2], atol=1e-6)
  assert np.abs(found[half] - found[half - 1]).max() > 0.1
  x = np.float64(ca[3] - ca[1])
  np.testing.assert_allclose(found[2][:, 0], x / np.linalg.norm(x), atol=1e-5)
  two = builders.helix(2)
  np.testing.assert_array_equal(
    expected.traces(jnp.asarray(two.positions)[:, 1], two.bonds, whole), np.stack([whole, whole])
  )


@pytest.mark.parametrize('solvent', ['explicit', 'implicit'])
def test_draws_have_unit_spread(solvent):
  """In units of each residue's spread, root mean square over its three directions."""
  protein = dataclasses.replace(
    builders.helix(LENGTH), solvent=np.int32(('unknown', 'explicit', 'implicit').index(solvent))
  )

  @builders.numpy_jit
  def run(keys):
    prior = expected.make_prior(CONFIG, protein.positions, protein)
    state = state_lib.from_positions(protein.positions, protein.bonds)
    window = state_lib.start_window(state, 2, prior=prior)
    found = expected.elastic(window, prior, jnp.float32(0.2), TEMPERATURE, protein)
    normal = jax.vmap(lambda key: jax.random.normal(key, (2, LENGTH, 3)))(keys)
    return jax.vmap(found.coherent)(normal), prior.memory.variance

  drawn, variance = run(jax.random.split(jax.random.key(0), 4_000))
  np.testing.assert_allclose(np.mean(drawn**2, axis=(0, 3)), 1.0, atol=0.06)
  # In a continuum residues move more from frame to frame.
  memory = CONFIG.memory
  more = memory.implicit_variance if solvent == 'implicit' else 0.0
  assert memory.times_ns[2:4] == (0.4, 4.0)  # Five steps of the coarsest level are 1 ns.
  assert variance == pytest.approx(sum(memory.variances[:3]) + more, abs=1e-5)


def test_the_centre_drifts_by_what_is_remembered_long():
  """The process of the slow displacements, drawn exactly: variance and correlation in time."""
  protein = builders.helix(LENGTH)
  dt = 4.0

  @builders.numpy_jit
  def run(keys):
    prior = expected.make_prior(CONFIG, protein.positions, protein)

    def one(key):
      start, rest = jax.random.split(key)
      slow = expected.drawn_slow(prior, TEMPERATURE, start)
      rngs = jax.random.split(rest, 3)
      centres, centre, after = expected.drift(prior, slow, jnp.float32(dt), TEMPERATURE, rngs)
      return centres, centre - prior.centre, jnp.sum(after - slow, axis=0)

    centres, last, change = jax.vmap(one)(keys)
    return centres - prior.centre[None, None], last, change, prior.network.spread, prior.slow

  centres, last, change, spread, slow = run(jax.random.split(jax.random.key(1), 3_000))
  np.testing.assert_array_equal(centres[:, 0], 0.0)
  np.testing.assert_allclose(last, change, atol=1e-4)
  for steps, moved in ((1, centres[:, 1]), (2, centres[:, 2]), (3, change)):
    lag = steps * dt
    square = 2.0 * np.sum(slow.variances * (1.0 - np.exp(-lag / slow.times_ns)))
    found = np.mean((moved / spread[None, :, None]) ** 2)
    assert found == pytest.approx(square, rel=0.06)


@pytest.mark.parametrize('spacing_ns', [0.0, 0.003, 0.05, 5.0])
def test_the_centre_is_open_as_far_as_the_frames_leave_it(spacing_ns):
  """About one frame by all of the variance; else by that of the best mean, in float64."""
  protein = builders.helix(LENGTH)
  times = spacing_ns * np.array([0.0, 1.0, 2.0, 3.0, 3.0, 7.0])
  rng = np.random.default_rng(0)
  moved = rng.normal(size=(6, LENGTH, 3)).astype(np.float32)

  @builders.numpy_jit
  def run(keys):
    prior = expected.make_prior(CONFIG, protein.positions, protein)
    ca = prior.centre[None] + moved

    def one(key):
      about = expected.drawn_about(prior, ca, jnp.asarray(times, jnp.float32), TEMPERATURE, key)
      return about.centre - prior.centre

    return jax.vmap(one)(keys), prior.network.spread, prior.memory

  drawn, spread, fast = run(jax.random.split(jax.random.key(2), 3_000))
  lags = np.abs(times[:, None] - times)[..., None]
  among = np.sum(fast.variances * np.exp(-lags / np.float64(fast.times_ns)), axis=-1)
  # As well as what is known is known.
  solved = np.linalg.solve(among + 1e-4 * among[0, 0] * np.eye(6), np.ones(6))
  mean = np.einsum('s,slx->lx', solved / solved.sum(), moved)
  error = np.abs(drawn.mean(axis=0) - mean) / spread[:, None]
  assert error.max() < 4.5 * np.sqrt(1.0 / solved.sum() / len(drawn))
  variance = np.mean(((drawn - mean) / spread[None, :, None]) ** 2)
  assert variance == pytest.approx(1.0 / solved.sum(), rel=0.06)
  if spacing_ns == 0.0:
    assert variance == pytest.approx(np.sum(fast.variances), rel=0.06)
  if spacing_ns == 5.0:
    # Five frames that know nothing of each other.
    assert variance == pytest.approx(np.sum(fast.variances) / 5.0, rel=0.07)


def test_frames_of_the_process_are_numbers_of_unit_variance():
  """About a centre that was drawn from them, the next frame that they are followed by, too."""
  times, variances = np.array([0.004, 0.04, 0.4]), np.array([0.2, 0.1, 0.26])
  known, following = np.array([6, 7]), 8
  frames = 0.1 * np.arange(16)
  lags = np.abs(frames[:, None] - frames)[..., None]
  among = np.sum(variances * np.exp(-lags / times), axis=-1)
  process = memory.Memory(jnp.asarray(variances, jnp.float32), jnp.asarray(times, jnp.float32))
  weights, open_variance = memory.mean_of(process, jnp.asarray(frames, jnp.float32))
  rng = np.random.default_rng(3)
  moved = rng.normal(size=(40_000, 16)) @ np.linalg.cholesky(among).T
  centre = moved @ np.asarray(weights) - np.sqrt(open_variance) * rng.normal(size=40_000)
  moved = moved - centre[:, None]
  given = memory.conditional(
    process,
    jnp.asarray(frames[[following]] - frames[known[-1]], jnp.float32),
    jnp.asarray(frames[known] - frames[known[-1]], jnp.float32),
    jnp.ones(2, bool),
  )
  number = (moved[:, following] - moved[:, known] @ given.weights[0]) / given.spread[0]
  assert np.var(number) == pytest.approx(1.0, abs=0.03)
  assert np.corrcoef(number, moved[:, known[-1]])[0, 1] == pytest.approx(0.0, abs=0.03)


def test_without_a_prior_residues_stay():
  protein = builders.helix(LENGTH)
  state = state_lib.from_positions(protein.positions, protein.bonds)
  found = builders.expecting_nothing(state, 2)
  ends = found.ends(jnp.zeros((2, LENGTH, 3)), jnp.zeros((2, LENGTH, 3)), protein.bonds)
  expected_ends = jax.tree.map(lambda x: jnp.stack([x, x]), state.frames)
  assert isinstance(ends, rigid.Rigid)
  np.testing.assert_allclose(ends.translation, expected_ends.translation, atol=1e-6)
  np.testing.assert_allclose(ends.rotation, expected_ends.rotation, atol=1e-6)


def test_a_protein_is_in_water_unless_it_says_otherwise():
  """Of the same variance as one that says so; a solvent that is not known is between both."""
  protein = builders.helix(4)

  def variance(protein):
    return float(expected.make_prior(CONFIG, protein.positions, protein).memory.variance)

  found = [variance(dataclasses.replace(protein, solvent=np.int32(k))) for k in range(3)]
  assert variance(protein) == found[protein_lib.SOLVENTS.index('explicit')]
  unknown, explicit, implicit = found
  assert unknown == pytest.approx((explicit + implicit) / 2.0, rel=1e-5)
  assert implicit == pytest.approx(explicit + CONFIG.memory.implicit_variance, rel=1e-5)
  assert CONFIG.memory.implicit_variance > 0.1


def test_samples_are_widened_by_the_gain_of_their_solvent():
  """Spreads, draws of the centre and its drift grow by the same factor; training does not."""
  config = config_lib.model_config({'coarse': 0.2, 'fine': 0.01})
  config.memory.gain = 1.3, 1.1
  protein = builders.helix(LENGTH)
  for solvent, gain in enumerate((1.2, 1.3, 1.1)):
    inside = dataclasses.replace(protein, solvent=np.int32(solvent))
    wide = expected.sampling_prior(config, inside.positions, inside)
    narrow = expected.make_prior(config, inside.positions, inside)
    for name in ('memory', 'slow'):
      ratio = getattr(wide, name).variances / getattr(narrow, name).variances
      np.testing.assert_allclose(ratio, gain**2, rtol=1e-6)
      np.testing.assert_array_equal(getattr(wide, name).times_ns, getattr(narrow, name).times_ns)
    window = state_lib.start_window(state_lib.from_positions(inside.positions, inside.bonds), 2)
    moves = [
      expected.elastic(window, prior, jnp.float32(0.2), jnp.float32(300.0), inside).spread
      for prior in (wide, narrow)
    ]
    np.testing.assert_allclose(moves[0] / moves[1], gain, rtol=1e-5)


@pytest.mark.parametrize('longest_ns', [5e-4, 0.01, 0.2, 5.0])
def test_what_is_slow_may_be_a_matter_of_the_example(longest_ns):
  """The longest lag as a number of an example splits the memory as that of a configuration does."""
  protein = builders.helix(LENGTH)
  protein = dataclasses.replace(protein, solvent=np.int32(2))
  config = config_lib.model_config({'coarse': longest_ns, 'fine': longest_ns / 4})
  lags = jnp.asarray(np.geomspace(1e-3, 1e4, 30), jnp.float32)

  @builders.numpy_jit
  def run(longest):
    static = expected.make_prior(config, protein.positions, protein)
    traced = expected.make_prior(CONFIG, protein.positions, protein, longest_ns=longest)
    number = expected.make_prior(CONFIG, protein.positions, protein, longest_ns=longest_ns)
    found = []
    for prior in (static, traced, number):
      times = longest_ns * jnp.array([1.0, 2.0]), longest_ns * jnp.array([-1.0, 0.0, 7.0])
      moves = memory.conditional(prior.memory, *times, jnp.array([True, True, False]))
      about = expected.drawn_about(
        prior,
        prior.centre[None] + jnp.array([1.0, 2.0])[:, None, None],
        jnp.array([0.0, 3.0]) * longest,
        TEMPERATURE,
        jax.random.key(0),
      )
      curves = prior.memory.covariance(lags), prior.slow.covariance(lags)
      found.append((curves, about.centre, moves))
    return found

  static, traced, number = run(jnp.float32(longest_ns))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), static, traced)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), static, number)
  # An independent split: what is forgotten within five steps, and the fastest in any case.
  times, variances = (np.array(CONFIG.memory[name]) for name in ('times_ns', 'variances'))
  variances[0] += CONFIG.memory.implicit_variance
  is_fast = (times <= 5.0 * longest_ns) | (np.arange(len(times)) == 0)
  for curve, chosen in zip(traced[0], (is_fast, ~is_fast), strict=True):
    decay = np.exp(-np.asarray(lags)[:, None] / times)
    np.testing.assert_allclose(curve, (decay * variances)[:, chosen].sum(axis=1), atol=1e-5)

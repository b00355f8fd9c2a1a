"""Flow matching on transitions whose distribution is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import config_dict

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import expected as expected_lib
from tempo_jax.dynamics import generator, rotamers, update
from tempo_jax.dynamics import level as level_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.geometry import rigid
from tempo_jax.protein import protein as protein_lib
from tempo_jax.training import flow_matching
from tests import builders
from tests.training import examples, toy_network

SHAPE = (1, 1, 8)
BATCH, STEPS, PASSES, SAMPLES = 256, 1_200, 32, 20_000
# Motions and N-CA-C; psi; chi.
MOTIONS, PSI, CHI = slice(0, 7), 7, slice(8, 12)
# Of four torsions; one is not known.
WELLS = np.array([[[0, 2, rotamers.HIDDEN, 1]]], np.int32)


def line_error(end, true, num_draws, rng, next_residue=lambda y: y[..., :3]):
  """Noise as a model draws it, with side chains where the true step has them."""

  def draw_noise(rng):
    if true.wells is None:
      return toy_network.draw_noise(rng, SHAPE)
    kind = np.array([protein_lib.RESIDUE_TYPES.index('LYS')])
    newest = state_lib.from_frames(
      rigid.Rigid.identity((1,)),
      jnp.zeros(1),
      jnp.zeros(1, bool),
      side_chains=rotamers.unknown(kind),
    )
    protein = dataclasses.replace(builders.helix(1), residue_type=kind)
    expected = builders.expecting_nothing(newest, 1)
    return generator.draw_noise(rng, 1, newest, expected, protein)

  return flow_matching.line_error(end, true, draw_noise, next_residue, num_draws, rng)


def trained(draw_true):
  """A toy head after flow matching to samples of `draw_true(rng)`."""

  def loss(end, rng):
    def one(rng):
      true_rng, line_rng = jax.random.split(rng)
      true = generator.Step(draw_true(true_rng))
      found = line_error(lambda step, tau, _: end(step, tau), true, 2, line_rng)
      return jnp.mean(found.motion + found.psi)

    return jnp.mean(jax.vmap(one)(jax.random.split(rng, BATCH)))

  params = toy_network.train(loss, SHAPE, STEPS)
  return toy_network.sample(params, SHAPE, PASSES, SAMPLES)


def mean_errors(end, draw_true, num_draws=20_000, wells=None, **kwargs):
  """A `LineError` of numbers, for a head that is known."""

  @builders.numpy_jit
  def errors(keys):
    def one(key):
      return line_error(end, generator.Step(draw_true(key), wells), 2, key, **kwargs)

    return jax.vmap(one)(keys)

  found = errors(jax.random.split(jax.random.key(0), num_draws))
  return jax.tree.map(lambda x: float(np.mean(x)), found)


def mean_over_tau(value):
  """Of value(tau), tau even in 0 to 0.99."""
  return np.mean(value(0.99 * (np.arange(100_000) + 0.5) / 100_000))


def point(numbers, y):
  """Where lines to y end: at the copy of the angle that is nearest to where it began."""
  turns = jnp.round((numbers - y) / (2 * np.pi))
  return jnp.where(jnp.arange(y.shape[-1]) == PSI, y + 2 * np.pi * turns, y)


Y = np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0, 0.3, 3.0, 1.1, -2.0, 0.1, 0.0], np.float32)
Y = Y.reshape(1, 1, 12)
CASES = pytest.mark.parametrize('wells', [None, WELLS], ids=['backbone', 'side chains'])
# Odds of the right well.
ODDS = 0.4


def mean_entropy(odds):
  """Per torsion of one frame: chi1 is hidden for the first half of the way, chi2, chi4 longer."""
  first, second = (mean_over_tau(lambda t, k=k: np.clip(k - 2 * t, 0.0, 1.0)) for k in (1, 2))
  return -np.log(odds) * (first + 2 * second) / 4


def logits_of(step):
  """The right well with those odds, the others equally likely; none without side chains."""
  if step.wells is None:
    return None
  is_true = WELLS[..., None] == np.arange(3)
  return jnp.log(jnp.where(is_true, ODDS, (1.0 - ODDS) / 2.0))


def y_of(wells):
  return Y if wells is not None else Y[..., :8]


@CASES
def test_a_point_has_no_error(wells):
  """Where y is certain, the head that knows it is right at every point of every line."""
  y = y_of(wells)

  def end(step, tau, side_chain_tau):
    return point(step.numbers, y), logits_of(step)

  right = mean_errors(end, lambda key: jnp.asarray(y), wells=wells)
  assert right.motion < 1e-10
  assert right.chain < 1e-10
  assert right.psi < 1e-7
  assert (right.side_chains is None) == (wells is None)
  assert wells is None or right.side_chains.offset < 1e-10


@CASES
def test_errors_of_a_head_that_is_off_by_a_known_amount(wells):
  """By 0.1 of every number, with and without lines on which the backbone is given."""
  y = y_of(wells)

  def end(step, tau, side_chain_tau):
    return point(step.numbers, y) + 0.1, logits_of(step)

  square = mean_over_tau(lambda t: (t**2 + (1 - t) ** 2) / (1 - t) ** 2)
  # Where the next residue stands follows from twice the translation, say.
  found = mean_errors(
    end, lambda key: jnp.asarray(y), wells=wells, next_residue=lambda y: 2.0 * y[..., :3]
  )
  assert found.motion == pytest.approx(0.01 * square, rel=0.05)
  chain = mean_over_tau(lambda t: t**2 * (t**2 + (1 - t) ** 2) / (1 - t) ** 2)
  assert found.chain == pytest.approx(0.04 * chain, rel=0.05)
  of_angle = mean_over_tau(lambda t: 1 / (1 - t) ** 2)
  assert found.psi == pytest.approx(0.01 * of_angle, rel=0.05)
  if wells is not None:
    assert found.side_chains.offset == pytest.approx(0.01 * square, rel=0.05)
    assert found.side_chains.well == pytest.approx(mean_entropy(ODDS), rel=0.02)


def test_wells_are_seen_when_their_turn_has_come():
  """Hidden from the head as long as they count, never what is not known."""

  def end(step, tau, side_chain_tau):
    shown = step.wells != rotamers.HIDDEN
    # Of what is seen, any error is none.
    wrong = jnp.where(shown[..., None], jnp.array([-50.0, 0.0, 50.0]), logits_of(step))
    right = jnp.all(~shown | (step.wells == WELLS)) & ~shown[0, 0, 2]
    return point(step.numbers, Y), jnp.where(right, wrong, jnp.nan)

  found = mean_errors(end, lambda key: jnp.asarray(Y), wells=WELLS).side_chains.well
  assert found == pytest.approx(mean_entropy(ODDS), rel=0.02)


def test_where_the_backbone_is_given_it_is_right_and_its_error_does_not_count():
  """On a quarter of the lines, in place of their noise."""

  def wrong_where_given(step, tau, side_chain_tau):
    off = jnp.where(tau == 1.0, 5.0, 0.0) * (jnp.arange(12) < 8)[None, None]
    return point(step.numbers, Y) + off, logits_of(step)

  found = mean_errors(wrong_where_given, lambda key: jnp.asarray(Y), wells=WELLS)
  assert found.motion < 1e-10
  assert found.chain < 1e-10
  assert found.psi < 1e-7

  def telling(number):
    """A head whose error of chi is that number."""

    def end(step, tau, side_chain_tau):
      _, scale = generator.preconditioning(side_chain_tau)
      off = scale * number(step.numbers, tau, side_chain_tau)
      off = jnp.where(jnp.arange(12) < 8, 0.0, off)[None, None]
      return point(step.numbers, Y) + off, logits_of(step)

    return mean_errors(end, lambda key: jnp.asarray(Y), wells=WELLS).side_chains.offset

  def miss(numbers, tau, side_chain_tau):
    """Of the backbone that is seen, where it is given."""
    off = jnp.max(jnp.abs(numbers - point(numbers, Y))[..., :8])
    return jnp.where(tau == 1.0, off, 0.0)

  assert telling(miss) < 1e-7
  assert telling(lambda z, tau, other: tau == 1.0) == pytest.approx(0.25, abs=0.01)
  # Elsewhere both have come equally far; and side chains never arrive before the end.
  assert telling(lambda z, tau, other: (tau != 1.0) & (tau != other)) < 1e-7
  assert telling(lambda z, tau, other: other > 0.99) < 1e-7


def test_unit_error_before_anything_is_learnt():
  """Of the factors alone, which are the best guess for y of unit variance."""

  def end(step, tau, side_chain_tau):
    keep, _ = generator.preconditioning(tau)
    of_places, _ = generator.preconditioning(side_chain_tau)
    factor = jnp.where(jnp.arange(12) < 8, keep, of_places)
    return factor[None, None] * step.numbers, jnp.zeros((1, 1, 4, 3))

  shape = (1, 1, 12)
  found = mean_errors(end, lambda key: jax.random.normal(key, shape), wells=WELLS)
  assert found.motion == pytest.approx(1.0, abs=0.03)
  assert found.side_chains.offset == pytest.approx(1.0, abs=0.03)
  assert found.side_chains.well == pytest.approx(mean_entropy(1 / 3), rel=0.02)
  wider = mean_errors(end, lambda key: 2.0 * jax.random.normal(key, shape), wells=WELLS)
  assert wider.motion > 2.0


def test_the_next_residue_is_seen_from_each():
  """N, CA and C of the residue after the bond, in units of a step; nothing after a break."""
  length = 6
  level = level_lib.Level.of(builders.generative_config(), 'fine')
  protein = builders.helix(length, chains=2)
  rng = np.random.default_rng(0)
  numbers = rng.normal(size=(2, length, 8)).astype(np.float32)

  @builders.numpy_jit
  def run(numbers):
    newest = state_lib.from_positions(protein.positions, protein.bonded)
    expected = expected_lib.still(newest, level, 2)
    states = update.apply_motions(newest, numbers, expected, protein)
    seen = flow_matching._next_residue(newest, numbers, expected, protein)
    return seen, states.frames, state_lib.to_positions(states)

  found, frames, positions = run(numbers)
  assert found.shape == (2, length, 9)
  for t in range(2):
    for i in range(length):
      expected = np.zeros((3, 3))
      if i not in (2, 5):
        apart = np.float64(positions[t, i + 1, :3] - frames.translation[t, i])
        expected = apart @ np.float64(frames.rotation[t, i]) / 0.2
      np.testing.assert_allclose(found[t, i].reshape(3, 3), expected, atol=1e-3)


def test_means_are_taken_over_residues_and_known_torsions():
  protein = builders.pad(builders.helix(6), 9)
  assert {k: float(v) for k, v in flow_matching.counts(protein).items()} == {'error': 6.0}
  protein = builders.pad(builders.with_side_chains(builders.helix(6), known=0.5), 9)
  assert protein.chi_known[6:].any()
  found = {k: float(v) for k, v in flow_matching.counts(protein).items()}
  known = protein.chi_known[:6].sum()
  assert found == {'error': 6.0, 'side_chain_error': known, 'rotamer_error': known}
  for side_chains in (False, True):
    config = config_dict.ConfigDict({'model': builders.generative_config(side_chains=side_chains)})
    config.train = {'rotamer_weight': 0.7}
    weights = flow_matching.weights(config)
    assert weights.keys() == set(found if side_chains else ['error'])
    assert weights.get('rotamer_error', 0.7) == 0.7


def test_the_gradient_is_finite_with_padding_and_side_chains_that_are_not_known():
  """And wells are learnt: the loss of those that are known depends on the network."""
  config = config_lib.freeze(examples.experiment('nowhere', side_chains=True, draws=2))
  protein = builders.pad(builders.with_side_chains(builders.helix(6), known=0.5), 9)
  level = level_lib.Level.of(config.model, 'fine')

  def loss(params):
    side_chains = rotamers.of_protein(protein)
    state = state_lib.of_model(config.model, protein.positions, protein, side_chains)
    states = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    anchor = state_lib.Anchor(state, anchor_lib.at_end(4))
    window = state_lib.Window(states, jnp.ones(2, bool), anchor)
    following = jax.tree.map(lambda x: x[None], states)
    rngs = jax.random.split(jax.random.key(0), 3)
    one = jnp.float32(1.0)
    return flow_matching.example_loss(
      config, level, params, window, following, protein, 320.0 * one, one, rngs
    )

  params = builders.params(config.model)
  found, gradients = builders.numpy_jit(
    lambda x: (loss(x), jax.jacrev(lambda y: jnp.stack([*loss(y).values()]))(x))
  )(params)
  assert found.keys() == {'error', 'side_chain_error', 'rotamer_error'}
  for value, of_one in zip(found.values(), range(3), strict=True):
    assert 0.0 < value < np.inf
    for leaf in jax.tree.leaves(gradients):
      assert np.isfinite(leaf[of_one]).all()
    assert np.abs(gradients['head']['out']['kernel'][of_one]).max() > 0.0


def mixing():
  """A [7, 7] matrix that correlates everything, of about unit variance."""
  rng = np.random.default_rng(0)
  return (0.6 * np.eye(7) + 0.25 * rng.normal(size=(7, 7))).astype(np.float32)


@pytest.mark.slow  # Trains a network.
def test_correlated_gaussian_gets_its_mean_and_covariance():
  mean = np.linspace(-1.0, 1.0, 7, dtype=np.float32)

  def draw_true(rng):
    motions = mean + mixing() @ jax.random.normal(rng, (7,))
    return jnp.concatenate([motions.reshape(1, 1, 7), jnp.zeros((1, 1, 1))], axis=-1)

  found = trained(draw_true)[..., MOTIONS].reshape(-1, 7)
  covariance = mixing() @ mixing().T
  scale = np.sqrt(np.diag(covariance))
  np.testing.assert_allclose(found.mean(0) / scale, mean / scale, atol=0.05)
  off = (np.cov(found.T) - covariance) / np.outer(scale, scale)
  assert np.abs(off).max() < 0.05


@pytest.mark.slow  # Trains a network.
def test_both_wells_and_an_angle_across_the_seam():
  """Wells at -1 (30 %) and +1; psi near pi, which is also -pi, follows the well."""

  def draw_true(rng):
    well_rng, width_rng = jax.random.split(rng)
    right = jax.random.bernoulli(well_rng, 0.7)
    noise = 0.1 * jax.random.normal(width_rng, SHAPE)
    motions = jnp.where(right, 1.0, -1.0) + noise[..., MOTIONS]
    psi = jnp.where(right, np.pi, 0.5) + noise[..., PSI:]
    return jnp.concatenate([motions, psi], axis=-1)

  found = trained(draw_true)
  position = found[:, 0, :, MOTIONS].mean(axis=(1, 2))
  right = position > 0
  assert right.mean() == pytest.approx(0.7, rel=0.05)
  assert np.mean(np.abs(np.abs(position) - 1.0) < 0.3) > 0.97
  resultant = np.exp(1j * found[right, 0, 0, PSI]).mean()
  assert np.abs(resultant) > 0.95
  assert np.cos(np.angle(resultant) - np.pi) > 0.99

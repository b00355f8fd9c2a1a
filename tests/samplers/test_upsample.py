import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax import time_scales
from tempo_jax.dynamics import expected, molecule
from tempo_jax.errors import InputError
from tempo_jax.geometry import side_chains
from tempo_jax.protein import side_chain_atoms
from tempo_jax.samplers import upsample
from tests import builders
from tests.samplers import fake_step

TWO = builders.small_config({'coarse': 20.0, 'fine': 1.0})
THREE = builders.small_config({'coarse': 20.0, 'middle': 4.0, 'fine': 1.0})


def coarse_trajectory(np_rng, protein, num_frames):
  """The same conformation, displaced at random; far from the origin."""
  shifts = 5.0 * np_rng.normal(size=(num_frames, 1, 1, 3)) + 40.0
  return (protein.positions + shifts).astype(np.float32)


@pytest.mark.parametrize(
  ('config', 'spacing_ns', 'frames_per_segment'),
  [(TWO, 20.0, 20), (THREE, 20.0, 20), (THREE, 4.0, 4), (TWO, 20.01, 20)],
)
def test_frames_follow_each_coarse_frame(
  monkeypatch, np_rng, config, spacing_ns, frames_per_segment
):
  fake_step.install(monkeypatch, fake_step.clock)
  protein = builders.helix(3)
  coarse = coarse_trajectory(np_rng, protein, 3)
  run = builders.numpy_jit(upsample.make_upsampler(config, spacing_ns).__wrapped__)
  fine = run(fake_step.params(config), protein, coarse, jax.random.key(0))
  assert fine.shape == (3 * frames_per_segment, 3, 4, 3)
  moved = fine.reshape(3, frames_per_segment, 3, 4, 3) - coarse[:, None, :, 1:2]
  times = np.arange(1, frames_per_segment + 1)[None, :, None, None]
  np.testing.assert_allclose(moved[..., 0], times * np.ones((3, 1, 3, 4)), atol=1e-4)
  np.testing.assert_allclose(moved[..., 1:], 0.0, atol=1e-4)


def test_segment_batch_size_does_not_change_the_result(monkeypatch, np_rng):
  fake_step.install(monkeypatch, fake_step.diffusion)
  protein = builders.helix(3)
  coarse = coarse_trajectory(np_rng, protein, 5)
  results = [
    builders.numpy_jit(upsample.make_upsampler(THREE, 20.0, size).__wrapped__)(
      fake_step.params(THREE), protein, coarse, jax.random.key(0)
    )
    for size in (None, 2)
  ]
  np.testing.assert_allclose(results[1], results[0], atol=1e-4)


@pytest.mark.parametrize('spacing_ns', [1.0, 10.0, 21.0])
def test_wrong_spacing_is_refused(spacing_ns):
  message = rf'coarse frames are {spacing_ns:g} ns apart, but .* that are 20 or 4 ns apart: stride'
  with pytest.raises(InputError, match=message):
    upsample.make_upsampler(THREE, spacing_ns)


def test_a_single_level_cannot_upsample():
  with pytest.raises(InputError, match='nothing: it has a single level'):
    upsample.make_upsampler(builders.small_config({'only': 1.0}), 1.0)


def test_wrong_batch_size_is_refused():
  with pytest.raises(InputError, match='segment_batch_size = -1: at least 1'):
    upsample.make_upsampler(TWO, 20.0, -1)


def test_lowers_for_accelerators(np_rng):
  protein = builders.helix(6)
  config = builders.small_config({'coarse': 0.4, 'fine': 0.1})
  params = {name: builders.params(config) for name in config.levels}
  exported = jax.export.export(upsample.make_upsampler(config, 0.4), platforms=['cuda', 'tpu'])(
    params, protein, coarse_trajectory(np_rng, protein, 3), jax.random.key(0)
  )
  assert exported.out_avals[0].shape == (12, 6, 4, 3)


@pytest.mark.parametrize(
  ('steps_ns', 'top_ns'), [((0.2, 0.01), 4.0), ((4.0, 0.2), 4.0), ((1.0, 0.5), 5.0)]
)
def test_the_prior_is_that_of_the_whole_range(monkeypatch, steps_ns, top_ns):
  """As windows within segments are learnt: not of the levels between the frames alone."""
  found = []

  def compute(run, levels, ticks, rows, known, prior):
    found.append(prior)
    return rows

  monkeypatch.setattr(upsample.rollout_lib, 'compute', compute)
  config = config_lib.from_dict(config_lib.to_dict(builders.any_step_config(0.01, 5.0)))
  # Of samples that no frame holds at either end.
  config.memory.gain = 2.0, 3.0
  config = config_lib.freeze(config)
  protein = builders.helix(5)
  params = {'any': builders.params(config)}

  def prior_of(steps, make):
    laid, laid_params = time_scales.at(config, params, steps)
    return make(config_lib.freeze(laid), laid_params)

  def upsampled(laid, laid_params):
    given = np.stack([protein.positions] * 2)
    upsample.make_upsampler(laid, steps_ns[0]).__wrapped__(
      laid_params, protein, given, jax.random.key(0)
    )
    return found[-1]

  def whole(laid, _):
    return expected.make_prior(laid, protein.positions, protein)

  prior = prior_of(steps_ns, upsampled)
  ladder = time_scales.steps_ns(config.lags_ns, steps_ns[-1])
  assert ladder[0] == top_ns
  for name in ('memory', 'slow'):
    jax.tree.map(
      np.testing.assert_array_equal,
      getattr(prior, name),
      getattr(prior_of(ladder, whole), name),
    )
  assert max(prior.memory.times_ns) <= 5.0 * top_ns < min(prior.slow.times_ns)


ANCHORED = builders.generative_config(
  {'coarse': 20.0, 'middle': 4.0, 'fine': 1.0}, anchors='both', side_chains=True
)


@pytest.fixture(scope='module')
def between():
  """All heavy atoms; side chains of the coarse frames are known."""
  params = {name: builders.params(ANCHORED, i) for i, name in enumerate(ANCHORED.levels)}
  upsampler = upsample.make_upsampler(ANCHORED, 20.0, atoms='heavy').__wrapped__

  @builders.numpy_jit
  def run(protein, coarse, chi, rng):
    return upsampler(params, protein, coarse, rng, np.float32(320.0), chi)

  return run


def rotamers_of(protein, seed):
  """[L, 4]: any angles, and something where there is none, which is not read."""
  rng = np.random.default_rng(seed)
  return rng.uniform(-3.0, 3.0, (len(protein.mask), 4)).astype(np.float32)


def test_a_start_and_an_end_become_a_path(between, np_rng):
  """The end lies elsewhere in space: only its shape counts."""
  protein = builders.helix(6)
  end = protein.positions + 0.3 * np_rng.normal(size=(6, 1, 3))
  rotation, shift = builders.random_motion(4, translation=30.0)
  chi = np.stack([rotamers_of(protein, seed) for seed in range(2)])
  frames = np.stack([protein.positions, end @ rotation.T + shift]).astype(np.float32)
  heavy = between(protein, frames, chi, jax.random.key(0))
  assert heavy.shape == (20, 6, 14, 3)
  path = heavy[..., :4, :]

  def rmsd(a, b):
    aligned, _ = Rotation.align_vectors(a - a.mean(0), b - b.mean(0))
    return np.sqrt(np.mean(np.sum((a - a.mean(0) - aligned.apply(b - b.mean(0))) ** 2, -1)))

  assert rmsd(path[-1, :, 1], end[:, 1]) < 1e-3
  # The protein does not jump as a whole where the segment ends.
  before, last = (x[:, 1] - x[:, 1].mean(0) for x in path[-2:])
  np.testing.assert_allclose(path[-1, :, 1].mean(0), path[-2, :, 1].mean(0), atol=1e-3)
  turn, _ = Rotation.align_vectors(before, last)
  assert turn.magnitude() < 1e-3
  # An untrained head wanders; but the end is seen by every frame on the way.
  other = between(protein, np.stack([protein.positions] * 2), chi, jax.random.key(0))
  assert (np.abs(other[..., :4, :] - path).max(axis=(1, 2, 3)) > 1e-3).all()
  # Side chains, too, end where they are given, and it is seen on the way.
  there = side_chain_atoms.chi_mask(protein.residue_type)
  measure = builders.numpy_jit(lambda x: side_chains.chi_angles(x, protein.residue_type))
  found = measure(heavy)
  # Written side chains lean: the last frame is what is given, bent.
  given = measure(builders.numpy_jit(molecule.heavy_atoms)(path[-1:], chi[1:], protein))
  np.testing.assert_allclose((found[-1] - given[0])[there], 0.0, atol=2e-3)
  ahead = np.angle(np.exp(1j * (found - chi[1])))[:, there]
  assert np.abs(ahead[:-1]).max() > 0.5
  turned = between(protein, frames, np.stack([chi[0], chi[1] + 1.0]), jax.random.key(0))
  assert (np.abs(measure(turned) - found)[:, there].max(axis=1) > 1e-5).all()


def test_one_frame_has_nothing_after_it(between):
  protein = builders.helix(6)
  with pytest.raises(InputError, match='at least two coarse frames'):
    between(protein, protein.positions[None], rotamers_of(protein, 0)[None], jax.random.key(0))

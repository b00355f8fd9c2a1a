import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import state as state_lib
from tempo_jax.errors import InputError
from tempo_jax.geometry import rigid
from tempo_jax.protein import padding
from tempo_jax.samplers import coarse_to_fine, schedule
from tempo_jax.samplers import rollout as rollout_lib
from tempo_jax.samplers import segments as segments_lib
from tests import builders
from tests.samplers import fake_step

LENGTH = 12
SINGLE = builders.small_config({'only': 1.0})
TWO = builders.small_config({'coarse': 20.0, 'fine': 1.0})
THREE = builders.small_config({'coarse': 20.0, 'middle': 4.0, 'fine': 1.0})


def anchored(config):
  config = config_lib.from_dict(config_lib.to_dict(config))
  config.anchors = 'both'
  return config_lib.freeze(config)


@pytest.fixture(scope='module')
def protein():
  return builders.helix(LENGTH, chains=2)


def sampler_of(config, num_frames, **kwargs):
  # The jit of `make_sampler` is left out for one that compiles faster.
  return builders.numpy_jit(coarse_to_fine.make_sampler(config, num_frames, **kwargs).__wrapped__)


def idealised(protein):
  return builders.numpy_jit(
    lambda x: state_lib.to_positions(state_lib.from_positions(x, protein.bonded))
  )(protein.positions)


# Bookkeeping, with fake transitions.


@pytest.mark.parametrize(
  ('config', 'num_frames', 'counts'),
  [
    (SINGLE, 7, (7,)),
    (TWO, 1, (1, 1)),
    (TWO, 20, (1, 20)),
    (TWO, 21, (2, 21)),
    (TWO, 400, (20, 400)),
    (THREE, 1, (1, 1, 1)),
    (THREE, 21, (2, 6, 21)),
    (THREE, 400, (20, 100, 400)),
  ],
)
def test_frame_counts(config, num_frames, counts):
  assert coarse_to_fine.frame_counts(config, num_frames) == counts


@pytest.mark.parametrize('num_frames', [1, 7, 20, 21, 400])
@pytest.mark.parametrize('anchors', ['start', 'both'])
@pytest.mark.parametrize('config', [SINGLE, TWO, THREE], ids=['1', '2', '3'])
def test_frame_n_stands_at_n_dt(monkeypatch, config, anchors, num_frames):
  """Residues move by 1 Å per ns at every level, whichever makes them move."""
  fake_step.install(monkeypatch, fake_step.clock)
  config = anchored(config) if anchors == 'both' else config
  protein = builders.helix(2)
  positions = sampler_of(config, num_frames)(fake_step.params(config), protein, jax.random.key(0))
  assert positions.shape == (num_frames, 2, 4, 3)
  moved = positions - protein.positions[:, 1:2]
  times = np.arange(1, num_frames + 1)[:, None, None]
  np.testing.assert_allclose(moved[..., 0], times * np.ones((2, 4)), atol=1e-4)
  np.testing.assert_allclose(moved[..., 1:], 0.0, atol=1e-4)


@pytest.mark.parametrize(
  ('config', 'num_frames', 'ticks'),
  [
    # One coarse state after the start, two segments of 4 frames, six segments of 4 frames.
    (THREE, 21, {'coarse': 1, 'middle': 2, 'fine': 2 * 2}),
    # The start alone.
    (THREE, 7, {'middle': 1, 'fine': 2}),
    # Two coarse states, two segments of 5 frames between them; then as above.
    (anchored(THREE), 21, {'coarse': 1, 'middle': 3, 'fine': 2 * 2}),
  ],
  ids=['start', 'start alone', 'both'],
)
def test_no_more_states_are_computed_than_needed(config, num_frames, ticks):
  """Frames at (20, 4, 1) ns, two per pass, at most three segments at once."""
  plan = coarse_to_fine.plan(config, num_frames, 3, LENGTH)
  found = collections.Counter(THREE.levels[level] for level in plan.ticks.level)
  assert found == ticks
  # No two passes write to one row, but for the empty places.
  written = plan.ticks.written[plan.ticks.written < plan.num_rows]
  assert len(set(written.tolist())) == written.size
  # No more places than segments, whatever the user asks for.
  assert coarse_to_fine.plan(config, num_frames, 64, LENGTH).ticks.segment.shape[1] <= 6


@pytest.mark.parametrize('config', [TWO, THREE], ids=['2', '3'])
def test_anchored_segments_end_in_the_state_above(monkeypatch, config):
  """Only the coarsest level moves; the others are told where to go, and when."""

  def make_step(config, level):
    tick = fake_step.clock(config, level)

    def step(params, window, *args):
      is_coarsest = params['dt_ns'] == config.level[config.levels[0]].dt_ns
      jax.debug.callback(
        lambda is_coarsest, left: is_coarsest or frames_left.add(int(left)),
        is_coarsest,
        window.anchor.place.frames,
      )
      still = window.followed_by(state_lib.start_window(window.states[-1], 2).states)
      moved = tick(params, window, *args)
      return jax.tree.map(lambda x, y: jnp.where(is_coarsest, x, y), moved, still)

    return step

  frames_left = set()
  fake_step.install(monkeypatch, make_step)
  protein = builders.helix(2)
  sampler = coarse_to_fine.make_sampler(anchored(config), 45).__wrapped__
  params = fake_step.params(config)
  positions = builders.numpy_jit(lambda rng: sampler(params, protein, rng))(jax.random.key(0))
  moved = (positions - protein.positions[:, 1:2])[:, 0, 1, 0]
  # Standing still but for frames 20 and 40, in which a coarse state is reached.
  expected = 20.0 * (np.arange(1, 46) // 20)
  np.testing.assert_allclose(moved, expected, atol=1e-3)
  ratios = config_lib.frames_per_segment(config)
  assert frames_left == {n for ratio in ratios for n in range(ratio, 0, -2)}


@pytest.mark.parametrize('num_frames', [40, 85])
def test_the_first_level_keeps_the_start_in_sight(monkeypatch, num_frames):
  """Whatever the number of passes and blocks; the others see where their segments end."""
  config = config_lib.from_dict(config_lib.to_dict(anchored(TWO)))
  config.reference = True
  config = config_lib.freeze(config)

  def make_step(config, level):
    tick = fake_step.clock(config, level)

    def step(params, window, *args):
      anchor = window.anchor
      where = anchor.state.frames.translation[0, 0]
      jax.debug.callback(
        lambda dt_ns, kind, frames, where: seen.add(
          (float(dt_ns), anchor_lib.Kind(int(kind)), int(frames), float(where))
        ),
        params['dt_ns'],
        anchor.place.kind,
        anchor.place.frames,
        where,
      )
      return tick(params, window, *args)

    return step

  seen = set()
  fake_step.install(monkeypatch, make_step)
  protein, params = builders.helix(2), fake_step.params(config)
  params = rollout_lib.stacked(params, config.levels)
  run = rollout_lib.Run(config, params, protein, np.float32(320.0), jax.random.key(0))
  state = coarse_to_fine.begin(config, protein, np.float32(320.0), jax.random.key(0))
  start = float(state.start.frames.translation[0, 0])
  block = jax.jit(lambda state: coarse_to_fine.sample_block(run, state, num_frames))
  _, state = block(state)
  if num_frames == 40:  # Only whole blocks can be followed by another.
    block(state)
  jax.effects_barrier()
  reference, end = anchor_lib.Kind.REFERENCE, anchor_lib.Kind.END
  assert {(kind, where) for dt_ns, kind, _, where in seen if dt_ns == 20.0} == {(reference, start)}
  fine = {(kind, frames) for dt_ns, kind, frames, _ in seen if dt_ns == 1.0}
  assert fine == {(end, frames) for frames in range(20, 0, -2)}


def test_joined_segments_do_not_jump(np_rng):
  """Only the motion of the whole protein into the last frame of each segment changes."""
  segments, frames, length = 4, 5, 6
  bonded = jnp.arange(length) < length - 1
  arrays = dataclasses.replace(builders.helix(length), mask=jnp.arange(length) < length - 1)
  positions = builders.helix(length).positions + np_rng.normal(
    scale=0.5, size=(segments, frames, length, 4, 3)
  )
  for segment in positions:
    rotation, shift = builders.random_motion(int(np_rng.integers(99)), translation=9.0)
    segment[-1] = segment[-1] @ rotation.T + shift
  states = state_lib.from_positions(jnp.asarray(positions, jnp.float32), bonded)
  starts = jax.tree.map(lambda x: jnp.concatenate([x[:1, 0], x[:-1, -1]]), states)
  in_order = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), states)
  joined = builders.numpy_jit(lambda *args: segments_lib.join(*args)[0].frames)(
    in_order, starts, rigid.Rigid.identity((1,)), arrays
  )
  joined, original = (np.asarray(x.translation, float) for x in (joined, states.frames))
  joined = joined.reshape(original.shape)

  def motion(mobile, target):
    """Best rotation and shift of CA, by scipy; the padded residue does not count."""
    mobile, target = mobile[:-1], target[:-1]
    turn, _ = Rotation.align_vectors(target - target.mean(0), mobile - mobile.mean(0))
    return turn, target.mean(0) - turn.apply(mobile.mean(0))

  for k in range(segments):
    turn, shift = motion(joined[k, -1], joined[k, -2])
    assert turn.magnitude() < 1e-3
    np.testing.assert_allclose(shift, 0.0, atol=1e-3)
    # As wholes, all frames but the last were moved alike, with the end that they set out from.
    turn, shift = motion(original[k, 0], joined[k, 0])
    for frame in range(frames - 1):
      moved = turn.apply(original[k, frame]) + shift
      np.testing.assert_allclose(joined[k, frame], moved, atol=2e-3)
    if k:
      moved = turn.apply(original[k - 1, -1]) + shift
      np.testing.assert_allclose(joined[k - 1, -1], moved, atol=2e-3)


def test_every_step_has_its_own_key(monkeypatch):
  fake_step.install(monkeypatch, fake_step.diffusion)
  protein = builders.helix(2)
  run = sampler_of(TWO, 60)
  walk = run(fake_step.params(TWO), protein, jax.random.key(0))[:, 0, 1] - protein.positions[0, 1]
  walk -= np.arange(1, 61)[:, None] * [1.0, 0.0, 0.0]
  # Within a segment each frame is one kick from the one before. Between the coarse starts of the
  # segments lies one kick of the coarse level, and the first segment starts at the input.
  segments = walk.reshape(3, 20, 3)
  kicks = np.diff(segments, axis=1).reshape(-1, 3)
  kicks = np.concatenate([segments[0, :1], kicks])
  assert 0.8 < kicks.std() < 1.2
  distance = np.linalg.norm(kicks[:, None] - kicks[None], axis=-1)
  assert distance[~np.eye(len(kicks), dtype=bool)].min() > 1e-3
  starts = np.linalg.norm(segments[1:, 0] - segments[:-1, 0], axis=-1)
  assert ((starts > 0.1) & (starts < 7.0)).all()


def test_segment_batch_size_does_not_change_the_result(monkeypatch):
  """Five segments one by one, in pairs, and all at once."""
  fake_step.install(monkeypatch, fake_step.diffusion)
  protein, rng = builders.helix(2), jax.random.key(0)
  together = sampler_of(TWO, 85)(fake_step.params(TWO), protein, rng)
  for size in (1, 2):
    batched = sampler_of(TWO, 85, segment_batch_size=size)(fake_step.params(TWO), protein, rng)
    np.testing.assert_allclose(batched, together, atol=1e-5)


@pytest.mark.parametrize(
  ('num_segments', 'length', 'expected'),
  [
    (20, 16, 10),
    (20, 64, 5),
    (20, 128, 4),
    (20, 256, 2),
    (20, 300, 1),
    (20, 1024, 1),
    (19, 64, 5),
    (1, 8, 1),
  ],
)
def test_batches_of_segments_suit_a_cpu(monkeypatch, num_segments, length, expected):
  assert schedule.batch_size(num_segments, length, 10, 10) == expected
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  assert schedule.batch_size(num_segments, length, 10, 10) == num_segments
  # Of long trajectories on an accelerator the coarse passes would cost as much as all segments.
  assert schedule.batch_size(272, 256, 10, 136) < 100


def test_wrong_numbers_are_refused():
  with pytest.raises(InputError, match='num_frames = 0: at least 1'):
    coarse_to_fine.make_sampler(TWO, 0)
  with pytest.raises(InputError, match='segment_batch_size = 0: at least 1'):
    coarse_to_fine.make_sampler(TWO, 10, segment_batch_size=0)
  broken = config_lib.model_config({'coarse': 20.0, 'fine': 3.0})
  with pytest.raises(InputError, match='does not divide'):
    coarse_to_fine.make_sampler(broken, 10)


# With a network.


STEPS = 20
FRAMES = STEPS * SINGLE.window
run_single = sampler_of(SINGLE, FRAMES)


@pytest.fixture(scope='module')
def params():
  return {'only': builders.params(SINGLE)}


def sample(params, protein, rng=None, temperature=320.0):
  rng = jax.random.key(0) if rng is None else rng
  # Always all arguments: one compilation.
  return run_single(params, protein, rng, np.float32(temperature))


@pytest.fixture(scope='module')
def trajectory(protein, params):
  return sample(params, protein)


def test_trajectory(protein, trajectory):
  assert trajectory.shape == (FRAMES, LENGTH, 4, 3)
  assert trajectory.dtype == np.float32
  moves = np.linalg.norm(np.diff(trajectory[:, :, 1], axis=0), axis=-1)
  assert 0.05 < np.median(moves) < 1.0
  # In the frame of the input, which is moved away from the origin.
  start = idealised(protein)
  assert np.abs(trajectory[0] - start).max() < 3.0
  n, ca, c, o = np.moveaxis(trajectory, 2, 0)
  for a, b, length in ((n, ca, 1.459), (ca, c, 1.525), (c, o, 1.231)):
    np.testing.assert_allclose(np.linalg.norm(a - b, axis=-1), length, atol=1e-4)


@pytest.mark.parametrize('seed', range(3))
def test_local_sampler_is_equivariant(protein, params, trajectory, seed):
  rotation, shift = builders.random_motion(seed, translation=100.0)
  moved = builders.with_positions(protein, protein.positions @ rotation.T + shift)
  after = sample(params, moved)
  undone = (after.astype(np.float64) - shift) @ rotation
  error = np.abs(undone - trajectory).max(axis=(1, 2, 3))
  assert error[: SINGLE.window].max() < 1e-4  # one step
  assert error.max() < 1e-2  # twenty


def test_local_sampler_is_not_equivariant_under_reflection(protein, params, trajectory):
  mirror = np.float32([-1.0, 1.0, 1.0])
  mirrored = builders.with_positions(protein, protein.positions * mirror)
  after = sample(params, mirrored) * mirror
  assert np.abs(after - trajectory)[: SINGLE.window].max() > 0.05
  assert np.abs(after - trajectory).max() > 1.0


def test_the_key_decides(protein, params, trajectory):
  same = sample(params, protein)
  np.testing.assert_array_equal(same, trajectory)
  other = sample(params, protein, jax.random.key(1))
  assert np.abs(other - trajectory).max() > 0.1


def test_temperature_is_read(protein, params, trajectory):
  other = sample(params, protein, temperature=450.0)
  assert np.abs(other - trajectory).max() > 0.1


def test_padding_is_not_read(protein, params, trajectory):
  padded = builders.pad(protein, LENGTH + 8)
  after = sample(params, padded)[:, :LENGTH]
  assert np.abs(after - trajectory)[:20].max() < 1e-3


def test_vmap_equals_a_loop(protein, params):
  """Over keys and over proteins of unequal length, padded."""
  proteins = [builders.pad(protein, LENGTH + 8), builders.helix(LENGTH + 8, seed=3)]
  batch = jax.tree.map(lambda *x: np.stack(x), *proteins)
  rngs = jax.random.split(jax.random.key(7), 2)
  sampler = run_single.__wrapped__
  over_keys = jax.vmap(sampler, in_axes=(None, None, 0))
  over_both = builders.numpy_jit(jax.vmap(over_keys, in_axes=(None, 0, None)))
  together = over_both(params, batch, rngs)
  assert together.shape == (2, 2, FRAMES, LENGTH + 8, 4, 3)
  for i, one in enumerate(proteins):
    for k in range(2):
      alone = sample(params, one, rngs[k])
      error = np.abs(together[i, k] - alone)[:, one.mask]
      assert error[:2].max() < 1e-4
      assert error.max() < 1e-2


def test_global_sampler_runs_and_is_tied_to_the_axes(protein):
  config = builders.small_config({'only': 1.0}, 'global', ipa_reads='sequence', num_neighbours=0)
  params = {'only': builders.params(config)}
  run = sampler_of(config, 4)
  before = run(params, protein, jax.random.key(0))
  assert np.isfinite(before).all()
  rotation, _ = builders.random_motion(0)
  moved = builders.with_positions(protein, protein.positions @ rotation.T)
  after = run(params, moved, jax.random.key(0)) @ rotation
  assert np.abs(after - before).max() > 0.1


@pytest.mark.parametrize('update_rule', ['local', 'global'])
def test_lowers_for_accelerators(protein, update_rule):
  config = builders.small_config({'coarse': 0.4, 'fine': 0.1}, update_rule)
  params = {name: builders.params(config) for name in config.levels}
  exported = jax.export.export(coarse_to_fine.make_sampler(config, 10), platforms=['cuda', 'tpu'])(
    params, protein, jax.random.key(0)
  )
  assert exported.platforms == ('cuda', 'tpu')
  assert exported.out_avals[0].shape == (10, LENGTH, 4, 3)


def test_gradient_of_the_drift_lowers_for_accelerators(protein, params):
  step = builders.make_step(SINGLE, 'only')

  def total(params, protein):
    state = state_lib.from_positions(protein.positions, protein.bonded)
    window = state_lib.start_window(state, 2)
    following = step(params, window, protein, 0.05, 320.0, jax.random.key(0))
    return jnp.sum(state_lib.to_positions(following.states) ** 2)

  protein = jax.tree.map(jnp.asarray, protein)
  exported = jax.export.export(jax.jit(jax.grad(total)), platforms=['cuda', 'tpu'])(
    params['only'], protein
  )
  assert exported.platforms == ('cuda', 'tpu')


def test_a_mean_that_is_known_is_the_centre(protein):
  """In whatever pose it is, and nothing is drawn; padding stays where it was."""
  config = config_lib.freeze(
    config_lib.from_dict(
      config_lib.to_dict(config_lib.model_config({'coarse': 0.2, 'fine': 0.01}))
      | {'prior': 'elastic', 'side_chains': False}
    )
  )
  mean = protein.positions[:, 1] + np.random.default_rng(0).normal(size=(len(protein.mask), 3))
  rotation, shift = builders.random_motion(2, translation=30.0)
  length = len(protein.mask) + 3
  poses = [mean.astype(np.float32), (mean @ rotation.T + shift).astype(np.float32)]
  known = [padding.pad(dataclasses.replace(protein, centre=x), length) for x in poses]

  @builders.numpy_jit
  def centre(protein, rng):
    state = coarse_to_fine.begin(config, protein, jnp.float32(300.0), rng)
    return state.window.prior.centre, state.start.frames.translation

  (one, start), (other, _), (again, _) = (
    centre(x, jax.random.key(seed)) for x, seed in ((known[0], 0), (known[1], 0), (known[0], 1))
  )
  np.testing.assert_allclose(other, one, atol=2e-4)
  np.testing.assert_array_equal(again, one)
  np.testing.assert_array_equal(one[-3:], start[-3:])
  distances = [np.linalg.norm(x[:, None] - x, axis=-1) for x in (one[:-3], mean)]
  np.testing.assert_allclose(*distances, atol=1e-3)
  # Superposed on the start.
  expected, _ = Rotation.align_vectors(
    start[:-3] - start[:-3].mean(axis=0), mean - mean.mean(axis=0)
  )
  expected = expected.apply(mean - mean.mean(axis=0)) + start[:-3].mean(axis=0)
  np.testing.assert_allclose(one[:-3], expected, atol=1e-3)


def test_samples_are_widened_by_the_gain_of_the_model(protein):
  """Draws of the centre and of the slow motion about it, too."""

  @builders.numpy_jit
  def beginnings(rng):
    found = []
    for gain in ((1.0, 1.0), (2.0, 3.0)):
      config = config_lib.model_config({'coarse': 0.2, 'fine': 0.01})
      config.memory.gain, config.prior, config.side_chains = gain, 'elastic', False
      config = config_lib.freeze(config)
      state = coarse_to_fine.begin(config, protein, jnp.float32(300.0), rng)
      away = state.window.prior.centre - state.start.frames.translation
      found.append((state.window.prior.memory.variances, away, state.slow))
    return found

  narrow, wide = beginnings(jax.random.key(0))
  np.testing.assert_allclose(wide[0], 4.0 * narrow[0], rtol=1e-5)
  for one, other in zip(narrow[1:], wide[1:], strict=True):
    assert np.abs(one).max() > 0.1
    np.testing.assert_allclose(other, 2.0 * one, atol=1e-4)

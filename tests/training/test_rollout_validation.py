import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax.metrics import distribution
from tempo_jax.store import store, windows
from tempo_jax.training import rollout_validation
from tests import builders, peptides
from tests.store import synthetic
from tests.training import examples

LENGTH = 9


def md(num_frames, seed=0, step=0.05):
  """[F, L, 4, 3] Å: a helix whose residues wander."""
  rng = np.random.default_rng(seed)
  walk = np.cumsum(step * rng.normal(size=(num_frames, LENGTH, 1, 3)), axis=0)
  return peptides.helix(LENGTH)[None, :, :4] + walk


def tumbling(frames, seed=0):
  """Every frame moved rigidly, each in another way."""
  rng = np.random.default_rng(seed)
  rotation = Rotation.random(len(frames), rng=rng).as_matrix()
  return np.einsum('fxy,flay->flax', rotation, frames) + rng.normal(size=(len(frames), 1, 1, 3))


def bonded(length=LENGTH):
  return np.arange(length) < length - 1


def sd_of_distances(frames):
  """Mean over pairs, from scipy."""
  return np.std([distance.pdist(frame[:, 1]) for frame in frames], axis=0).mean()


def mean_step(rollout):
  """Mean CA-RMSD between successive frames, from scipy."""
  rmsds = []
  for a, b in zip(rollout[1:, :, 1], rollout[:-1, :, 1], strict=True):
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    rmsds.append(Rotation.align_vectors(a, b)[1] / np.sqrt(len(a)))
  return np.mean(rmsds)


def test_md_beside_itself():
  frames = md(50)
  scores = rollout_validation.compare(frames[None], frames[None], bonded())
  assert scores['rollout_jsd'] == pytest.approx(0.0, abs=1e-12)
  assert scores['rollout_spread'] == pytest.approx(1.0, rel=1e-9)
  assert scores['rollout_step'] == pytest.approx(1.0, rel=1e-9)


def test_a_single_frame_of_md_has_no_spread():
  frames = md(2)
  scores = rollout_validation.compare(frames[None], frames[None, :2], bonded())
  assert scores['rollout_spread'] == math.inf


def test_segments_of_a_level():
  model = builders.generative_config({'a': 4.0, 'b': 1.0, 'c': 1.0}, anchors='both')
  assert [rollout_validation.segment_frames(model, name) for name in 'abc'] == [0, 4, 1]
  model = builders.generative_config({'a': 4.0, 'b': 1.0}, anchors='start')
  assert [rollout_validation.segment_frames(model, name) for name in 'ab'] == [0, 0]


def test_scores_are_those_of_scipy():
  predicted = np.stack([md(21, seed) for seed in (1, 2, 3)])
  reference = md(40, seed=4, step=0.03)
  frames = predicted[:, 1:].reshape(-1, LENGTH, 4, 3)
  scores = rollout_validation.compare(
    np.stack([tumbling(x, seed) for seed, x in enumerate(predicted)]),
    tumbling(reference, seed=9)[None],
    bonded(),
  )
  jsd = distribution.ca_distance_jsd(frames, reference[1:])
  assert scores['rollout_jsd'] == pytest.approx(jsd, abs=2e-3)
  spread = sd_of_distances(frames) / sd_of_distances(reference[1:])
  assert scores['rollout_spread'] == pytest.approx(spread, rel=1e-9)
  # A rollout's own steps only, the first of which leaves its start.
  step = np.mean([mean_step(x) for x in predicted]) / mean_step(reference)
  assert scores['rollout_step'] == pytest.approx(step, rel=1e-6)


def still(num_frames):
  """A proper helix that does not move."""
  return np.repeat(peptides.helix(LENGTH)[None, :, :4], num_frames, axis=0)


def along(frames, atom, next_atom, change):
  """A shift of the later residues that changes one distance between residues 3 and 4, Å."""
  bond = frames[0, 4, next_atom] - frames[0, 3, atom]
  return change * bond / np.linalg.norm(bond)


@pytest.mark.parametrize(
  ('atom', 'next_atom', 'distance_now', 'limits'),
  [(1, 1, 3.8, (2.8, 4.2)), (2, 0, 1.33, (None, 1.7))],
)
def test_broken_frames(atom, next_atom, distance_now, limits):
  """3 of 10 frames, just beyond a limit; none just within it; none where there is no bond."""
  for limit, side in zip(limits, (-1.0, 1.0), strict=True):
    if limit is None:
      continue
    for beyond, share in ((0.05, 0.3), (-0.05, 0.0)):
      frames = still(10)
      now = np.linalg.norm(frames[0, 4, next_atom] - frames[0, 3, atom])
      assert now == pytest.approx(distance_now, abs=0.05)
      change = limit + side * beyond - now
      for index in (2, 5, 7):
        frames[index, 4:] += along(still(1), atom, next_atom, change)
      if atom == 1:
        # C-N must stay out of this: where CA-CA is stretched, C and N go half the way.
        frames[:, 3, 2] = frames[:, 3, 1] + 0.4 * (frames[:, 4, 1] - frames[:, 3, 1])
        frames[:, 4, 0] = frames[:, 3, 1] + 0.6 * (frames[:, 4, 1] - frames[:, 3, 1])
      predicted = np.concatenate([still(1), frames])[None]
      reference = md(20)
      scores = rollout_validation.compare(predicted, reference[None], bonded())
      assert scores['rollout_broken'] == pytest.approx(share)
      apart = bonded() & (np.arange(LENGTH) != 3)
      scores = rollout_validation.compare(predicted, reference[None], apart)
      assert scores['rollout_broken'] == 0.0


@pytest.mark.parametrize('bad', [np.nan, np.inf, 1e30])
def test_a_rollout_that_runs_off_is_infinitely_bad(bad):
  predicted = np.stack([still(6), still(6)]).astype(np.float32)
  predicted[1, 4:, 3, 1, 0] = bad
  scores = rollout_validation.compare(predicted, md(20)[None].astype(np.float32), bonded())
  assert scores == {
    'rollout_jsd': math.inf,
    'rollout_spread': math.inf,
    'rollout_step': math.inf,
    'rollout_broken': pytest.approx(0.2),
  }


def held_out(names_and_temperatures):
  entries = [
    synthetic.entry(name=name, temperature_K=temperature, replica=replica)
    for name, temperature, replica in names_and_temperatures
  ]
  return tuple(
    windows.EntryWindows(entry, stride=1, first=0, end=9, step=1, count=5) for entry in entries
  )


def test_judges_different_proteins_first():
  found = held_out([('a', 300, 1), ('a', 300, 2), ('a', 350, 1), ('b', 300, 1), ('b', 300, 2)])
  assert rollout_validation.choose_entries(found, 1) == [0]
  assert rollout_validation.choose_entries(found, 2) == [0, 3]
  assert rollout_validation.choose_entries(found, 3) == [0, 2, 3]
  # A second replica tells little more.
  assert rollout_validation.choose_entries(found, 9) == [0, 2, 3]


@pytest.fixture(scope='module')
def experiment(tmp_path_factory):
  """Two lengths of one bucket and one of another; a quarter of a trajectory is held out."""
  path = tmp_path_factory.mktemp('store') / 'store'
  examples.write_store(path, lengths=(9, 11, 20), num_frames=100)
  config = examples.experiment(path, rollout_proteins=3, rollout_replicas=3, rollout_frames=4)
  config.model.level.coarse.dt_ns = 0.02
  config.data.validation_block = (0.7, 0.95)
  return config


def source(config, level):
  return windows.WindowSource(
    store.Store(config.data.store),
    dt_ns=config.model.level[level].dt_ns,
    num_frames=6,
    time_block=config.data.validation_block,
  )


def test_starts_and_reference_are_held_out_frames(experiment):
  """With rollouts that stand still, the scores are those of the starts against the rest."""
  lengths = []

  def stand_still(
    config, level_name, num_frames, params, starts, ends, protein, temperature_K, rng
  ):
    assert ends is None
    assert (level_name, num_frames) == ('coarse', 4)
    assert config.level.coarse.dt_ns == 0.02
    assert protein.bonded.shape == protein.mask.shape == starts.shape[1:2]
    assert temperature_K.shape == rng.shape == ()
    lengths.append(starts.shape[1])
    return jnp.repeat(starts[:, None] + params, num_frames, axis=1)

  validation = rollout_validation.RolloutValidation(
    experiment, 'coarse', source(experiment, 'coarse'), stand_still
  )
  scores = validation(jnp.zeros(()))
  # Compiled once per bucket.
  assert lengths == [16, 24]

  expected = []
  opened = store.Store(experiment.data.store)
  for entry in opened.entries:
    frames = opened.read(entry, slice(70, 95, 2))
    starts = frames[[0, 6, 12]]
    rollouts = np.repeat((starts - starts.mean(axis=(1, 2), keepdims=True))[:, None], 5, axis=1)
    expected.append(rollout_validation.compare(rollouts, frames[None], entry.bonded))
  for name, score in scores.items():
    assert score == pytest.approx(np.mean([e[name] for e in expected]), rel=1e-5, abs=1e-9)
  assert scores['rollout_step'] < 1e-3
  assert 0.0 < scores['rollout_jsd'] < 1.0


def test_anchored_segments_are_compared_with_those_of_the_md(experiment):
  """The fine level gets the start and the end of held-out segments, and is judged by them."""
  config = experiment.copy_and_resolve_references()
  config.model.anchors = 'both'
  config.model.level.coarse.dt_ns = 0.05
  config.train.rollout_proteins = 1

  def straight(config, level_name, num_frames, params, starts, ends, *_):
    assert (level_name, num_frames) == ('fine', 5)
    way = jnp.arange(1, num_frames + 1).reshape(1, -1, 1, 1, 1) / num_frames
    return starts[:, None] + way * (ends - starts)[:, None]

  held_out = source(config, 'fine')
  scores = rollout_validation.RolloutValidation(config, 'fine', held_out, straight)(None)
  opened = store.Store(config.data.store)
  frames = opened.read(opened.entries[0], slice(70, 95))
  md = np.stack([frames[begin : begin + 6] for begin in (0, 10, 19)])
  centred = md - md.mean(axis=(2, 3), keepdims=True)
  way = np.arange(6).reshape(1, -1, 1, 1, 1) / 5
  predicted = centred[:, :1] + way * (centred[:, -1:] - centred[:, :1])
  expected = rollout_validation.compare(predicted, md, opened.entries[0].bonded)
  assert scores == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.slow  # Compiles two samplers.
def test_rolls_out_the_parameters(experiment):
  """The network itself: always the same, and padding does not matter."""
  config = experiment.copy_and_resolve_references()
  config.train.rollout_proteins = 1
  # Steps small enough that a rollout does not amplify rounding.
  params = jax.tree.map(lambda x: 0.5 * x, builders.params(config_lib.freeze(config.model)))
  scores = []
  for buckets in ((16,), (24,)):
    config.data.buckets = buckets
    validation = rollout_validation.RolloutValidation(config, 'fine', source(config, 'fine'))
    scores.append(validation(params))
  assert np.isfinite(list(scores[0].values())).all()
  assert scores[1] == pytest.approx(scores[0], rel=1e-3)
  assert validation(params) == scores[1]
  other = validation(jax.tree.map(lambda x: 6.0 * x, params))
  assert other['rollout_step'] != pytest.approx(scores[0]['rollout_step'], rel=1e-2)

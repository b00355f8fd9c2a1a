import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.configs import tiny
from tempo_jax.dynamics import state as state_lib
from tempo_jax.store import windows
from tempo_jax.training import examples, objectives
from tests import builders
from tests.training.examples import positions

LENGTH = 6


def experiment(**train):
  config = tiny.get_config()
  config.train.update(train)
  return config_lib.freeze(config)


def make_example(config, anchor):
  frames = positions(LENGTH, objectives.frames_per_window(config) + 1)
  protein = dataclasses.replace(builders.helix(LENGTH), positions=frames[0])
  return jax.jit(examples.make_example, static_argnums=0)(
    config.model, frames, jnp.int32(anchor), protein
  )


def first_windows(config, example, count=64):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.jit(jax.vmap(lambda key: examples.first_window(config, example, key)))(keys)


def test_anchors_of_the_levels():
  model = experiment().model
  assert [examples.anchor_range(model, name) for name in ('coarse', 'fine')] == [
    (windows.REFERENCE, windows.REFERENCE),
    (2, 21),
  ]
  plain = config_lib.from_dict(config_lib.to_dict(model))
  plain.reference = False
  assert examples.anchor_range(plain, 'coarse') == (0, 0)
  plain.anchors = 'start'
  assert examples.anchor_range(plain, 'fine') is None


@pytest.mark.parametrize(
  ('anchor', 'frames', 'known'),
  [(0, -1.0, False), (2, 1.0, True), (21, 20.0, True), (windows.REFERENCE, np.inf, True)],
)
def test_the_last_frame_is_the_anchor(anchor, frames, known):
  config = experiment()
  example = make_example(config, anchor)
  assert example.anchor.frames == frames
  assert bool(example.anchor.known) == known
  assert bool(example.anchor.is_reference) == (anchor == windows.REFERENCE)
  assert example.windows.psi.shape == (2, 2, LENGTH)
  last = positions(LENGTH, objectives.frames_per_window(config) + 1)[-1]
  # Superposed, but the same conformation.
  ca = np.asarray(example.anchor.state.frames.translation)
  distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (ca, last[:, 1])]
  np.testing.assert_allclose(*distances, atol=1e-4)


def test_a_trajectory_begins_in_its_own_reference():
  config = experiment(start_probability=0.5, free_probability=0.0)
  example = make_example(config, windows.REFERENCE)
  window = first_windows(config, example)
  from_start = ~np.asarray(window.known)[:, 0]
  assert 16 < from_start.sum() < 48
  assert np.isinf(window.anchor.frames).all()
  newest, reference = example.windows[0, -1], example.anchor.state
  for index, alone in enumerate(from_start):
    expected = newest if alone else reference
    np.testing.assert_array_equal(window.anchor.state.torsions[index], expected.torsions)
    np.testing.assert_array_equal(
      window.anchor.state.frames.translation[index], expected.frames.translation
    )


def test_the_end_of_a_segment_is_no_start_and_may_be_missing():
  config = experiment(start_probability=0.5, free_probability=0.5)
  example = make_example(config, 7)
  window = first_windows(config, example)
  assert set(np.asarray(window.anchor.frames).tolist()) == {0.0, 6.0}
  for torsions in window.anchor.state.torsions:
    np.testing.assert_array_equal(torsions, example.anchor.state.torsions)


def test_the_reference_stays_as_far_away():
  state = jax.tree.map(jnp.asarray, make_example(experiment(), 0).anchor.state)
  window = state_lib.start_window(state, 2, state_lib.reference(state))
  for _ in range(3):
    window = window.followed_by(window.states)
  assert bool(window.anchor.is_reference)
  assert bool(window.anchor.known)

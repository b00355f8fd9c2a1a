import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.configs import tiny
from tempo_jax.dynamics import anchor as anchor_lib
from tempo_jax.dynamics import rotamers
from tempo_jax.dynamics import state as state_lib
from tempo_jax.training import examples, objectives
from tests import builders
from tests.training.examples import positions

LENGTH = 6
NOTHING = anchor_lib.Place()
REFERENCE = anchor_lib.Place(anchor_lib.Kind.REFERENCE)


def end_at(frame):
  return anchor_lib.Place(anchor_lib.Kind.END, frame)


def experiment(**train):
  config = tiny.get_config()
  config.model.side_chains = False
  config.train.update(train)
  return config_lib.freeze(config)


def make_example(config, anchor):
  frames = positions(LENGTH, objectives.frames_per_window(config) + 1)
  protein = dataclasses.replace(builders.helix(LENGTH), positions=frames[0])
  return jax.jit(examples.make_example, static_argnums=0)(
    config.model, frames, jax.tree.map(jnp.int32, anchor), protein
  )


def first_windows(config, example, count=64):
  keys = jax.random.split(jax.random.key(0), count)
  return jax.jit(jax.vmap(lambda key: examples.first_window(config, example, key)))(keys)


def test_anchors_of_the_levels():
  model = experiment().model
  assert examples.anchor_places(model, 'coarse') == (REFERENCE,)
  assert examples.anchor_places(model, 'fine') == tuple(end_at(frame) for frame in range(2, 22))
  plain = config_lib.from_dict(config_lib.to_dict(model))
  plain.reference = False
  assert examples.anchor_places(plain, 'coarse') == (NOTHING,)
  plain.anchors = 'start'
  assert examples.anchor_places(plain, 'fine') is None


@pytest.mark.parametrize(
  ('anchor', 'frames', 'known'),
  [
    (NOTHING, None, False),
    (end_at(1), 0, False),
    (end_at(2), 1, True),
    (end_at(21), 20, True),
    (REFERENCE, None, True),
  ],
  ids=['nothing', 'passed', 'next', 'last', 'reference'],
)
def test_the_last_frame_is_the_anchor(anchor, frames, known):
  config = experiment()
  example = make_example(config, anchor)
  place = example.anchor.place
  assert place.kind == anchor.kind
  assert frames is None or place.frames == frames
  assert bool(place.known) == known
  assert example.windows.psi.shape == (2, 2, LENGTH)
  last = positions(LENGTH, objectives.frames_per_window(config) + 1)[-1]
  # Superposed, but the same conformation.
  ca = np.asarray(example.anchor.state.frames.translation)
  distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (ca, last[:, 1])]
  np.testing.assert_allclose(*distances, atol=1e-4)


def test_a_trajectory_begins_in_its_own_reference():
  config = experiment(start_probability=0.5, free_probability=0.0)
  example = make_example(config, REFERENCE)
  window = first_windows(config, example)
  from_start = ~np.asarray(window.known)[:, 0]
  assert 16 < from_start.sum() < 48
  assert window.anchor.place.is_reference.all()
  newest, reference = example.windows[0, -1], example.anchor.state
  for index, alone in enumerate(from_start):
    expected = newest if alone else reference
    np.testing.assert_array_equal(window.anchor.state.torsions[index], expected.torsions)
    np.testing.assert_array_equal(
      window.anchor.state.frames.translation[index], expected.frames.translation
    )


def test_the_end_of_a_segment_is_no_start_and_may_be_missing():
  config = experiment(start_probability=0.5, free_probability=0.5)
  example = make_example(config, end_at(7))
  window = first_windows(config, example)
  place = window.anchor.place
  assert 16 < place.known.sum() < 48
  assert (place.frames[place.known] == 6).all()
  for torsions in window.anchor.state.torsions:
    np.testing.assert_array_equal(torsions, example.anchor.state.torsions)


def test_now_and_then_a_backbone_is_bare():
  """Nothing of side chains is known then, of the window or of the anchor, one without the other."""
  config = config_lib.from_dict(config_lib.to_dict(experiment(free_probability=0.0)))
  config.model.side_chains = True
  config = config_lib.freeze(config)
  frames = positions(LENGTH, objectives.frames_per_window(config) + 1)
  protein = builders.with_side_chains(builders.helix(LENGTH), known=0.7)
  protein = dataclasses.replace(protein, positions=frames[0])
  chi = np.stack([protein.chi + 0.1 * k for k in range(len(frames))]) * protein.chi_known
  given = rotamers.SideChains(chi.astype(np.float32), np.broadcast_to(protein.chi_known, chi.shape))
  example = jax.jit(examples.make_example, static_argnums=0)(
    config.model, frames, jax.tree.map(jnp.int32, end_at(7)), protein, given
  )
  found = example.windows.side_chains
  np.testing.assert_array_equal(found.chi.reshape(-1, LENGTH, 4), given.chi[:-1])
  np.testing.assert_array_equal(example.anchor.state.side_chains.chi, given.chi[-1])
  window = first_windows(config, example, 256)
  seen, aim = window.states.side_chains, window.anchor.state.side_chains
  bare = ~np.asarray(seen.known).any(axis=(1, 2, 3))
  no_aim = ~np.asarray(aim.known).any(axis=(1, 2))
  for share in (bare.mean(), no_aim.mean(), (bare & ~no_aim).mean(), (no_aim & ~bare).mean()):
    assert 0.05 < share < 0.2
  np.testing.assert_array_equal(seen.chi[bare], 0.0)
  np.testing.assert_array_equal(aim.chi[no_aim], 0.0)
  np.testing.assert_array_equal(
    aim.chi[~no_aim], np.broadcast_to(given.chi[-1], (256, LENGTH, 4))[~no_aim]
  )
  shape = ((~bare).sum(), 2, LENGTH, 4)
  np.testing.assert_array_equal(seen.chi[~bare], np.broadcast_to(found.chi[0], shape))
  np.testing.assert_array_equal(seen.known[~bare], np.broadcast_to(protein.chi_known, shape))


def test_the_reference_stays_as_far_away():
  state = jax.tree.map(jnp.asarray, make_example(experiment(), NOTHING).anchor.state)
  window = state_lib.start_window(state, 2, state_lib.Anchor(state, REFERENCE))
  for _ in range(3):
    window = window.followed_by(window.states)
  assert bool(window.anchor.place.is_reference)
  assert bool(window.anchor.place.known)

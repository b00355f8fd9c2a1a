"""The spread of one step, a level's unit of motion: measured on data, written where it is read."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tempo_jax import config as config_lib
from tempo_jax.configs import finetune
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.store import store as store_lib
from tempo_jax.training import initial_model, loop, run_config, step_spread
from tests import builders
from tests.store import synthetic
from tests.training import examples


def plain(batches, window):
  """The same in float64, by scipy: motions from the newest frame of the first window on."""
  translations, rotations = [], []
  for batch in batches:
    for positions, mask in zip(batch.positions, batch.protein.mask, strict=True):
      x = np.asarray(positions, np.float64)[:, np.asarray(mask)]
      ca = x[:, :, 1] - x[:, :, 1].mean(1, keepdims=True)
      turns = [Rotation.align_vectors(ca[0], frame)[0] for frame in ca]
      atoms = x - x[:, :, 1].mean(1)[:, None, None]
      atoms = np.stack([turn.apply(a.reshape(-1, 3)) for turn, a in zip(turns, atoms, strict=True)])
      n, origin, c = np.moveaxis(atoms.reshape(x.shape), 2, 0)[:3]
      e1 = (n - origin) / np.linalg.norm(n - origin, axis=-1, keepdims=True)
      e2 = c - origin - np.sum(e1 * (c - origin), axis=-1, keepdims=True) * e1
      e2 /= np.linalg.norm(e2, axis=-1, keepdims=True)
      axes = np.stack([e1, e2, np.cross(e1, e2)], axis=-1)
      for frame in range(window, 2 * window):
        translations.append(origin[frame] - origin[window - 1])
        turned = np.swapaxes(axes[window - 1], -1, -2) @ axes[frame]
        rotations.append(Rotation.from_matrix(turned).as_rotvec())
  return [np.sqrt(np.mean(np.concatenate(x) ** 2)) for x in (translations, rotations)]


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  """Two helices, of 9 and 14 residues, that tumble while their residues wander."""
  path = tmp_path_factory.mktemp('stores') / 'store'
  with store_lib.StoreWriter(path) as writer:
    for length in (9, 14):
      rng = np.random.default_rng(length)
      positions = examples.positions(length, 300, seed=length).astype(np.float64)
      turns = Rotation.from_rotvec(np.cumsum(0.1 * rng.normal(size=(300, 3)), axis=0))
      moved = np.stack([t.apply(x.reshape(-1, 3)) for t, x in zip(turns, positions, strict=True)])
      entry = synthetic.entry(name=f'helix{length}', length=length)
      writer.add(entry, moved.reshape(positions.shape).astype(np.float32))
  return str(path)


@pytest.mark.parametrize('level', ['coarse', 'fine'])
def test_is_that_of_numpy(store, level):
  """Free of tumbling and of padding, per component, over the frames that one pass predicts."""
  config = examples.experiment(store)
  batches = [examples.batch(config, level, step) for step in range(2)]
  assert not all(batch.protein.mask.all() for batch in batches)
  found = step_spread.measure(config, batches)
  assert list(found) == ['translation_std', 'rotation_std']
  expected = plain(batches, config.model.window)
  np.testing.assert_allclose(list(found.values()), expected, rtol=1e-3)


def test_of_a_known_motion(tmp_path):
  """Every other residue is shifted and turned from frame to frame, about its own CA."""
  path, length, shift, angle = tmp_path / 'store', 40, 0.3, 0.2
  still = builders.helix(length).positions.astype(np.float64)
  sign = np.where(np.arange(length) % 2, 1.0, -1.0)[:, None, None]
  turn = Rotation.from_rotvec([0.0, 0.0, angle]).as_matrix()
  turned = (still - still[:, 1:2]) @ turn.T + still[:, 1:2] + shift * sign * [0.0, 0.0, 1.0]
  frames = np.stack([still, turned] * 60).astype(np.float32)
  with store_lib.StoreWriter(path) as writer:
    writer.add(synthetic.entry(length=length), frames)
  config = examples.experiment(path)
  config.model.window = 1
  config.data.buckets = (64,)
  batch = examples.batch(config, 'fine')
  found = step_spread.measure(config, [batch])
  # One component of three moves; the superposition hardly takes part.
  assert found['translation_std'] == pytest.approx(shift / np.sqrt(3), rel=0.1)
  assert found['rotation_std'] == pytest.approx(angle / np.sqrt(3), rel=0.1)


def test_frozen_frames_are_refused(tmp_path):
  config = examples.experiment(tmp_path)
  for translation, rotation in ((0.0, 0.1), (0.3, 1e-5), (float('nan'), 0.1)):
    spread = {'translation_std': translation, 'rotation_std': rotation}
    with pytest.raises(InputError, match=r'^fine level: .* seem to be frozen; look at them$'):
      run_config.set_measured(config, 'fine', spread)
  before = config_lib.to_dict(config.model.level.fine)
  run_config.set_measured(config, 'fine', {'translation_std': 0.3, 'rotation_std': 0.1})
  after = config_lib.to_dict(config.model.level.fine)
  assert after == before | {'translation_std': 0.3, 'rotation_std': 0.1}


# --- config.train.measure_scales ---


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A model whose scales are those of no data of ours."""
  config = config_lib.from_dict(
    config_lib.to_dict(builders.small_config({'coarse': 0.2, 'fine': 0.01}))
  )
  config = config_lib.freeze(config)
  model = model_lib.Model('toy', config, {name: builders.params(config) for name in config.levels})
  folder = tmp_path_factory.mktemp('models') / 'trained'
  model.save(folder)
  return folder


def experiment(trained, store, **train):
  config = finetune.get_config(f'model={trained},scale=fine')
  config.data.update(store=store, batch_size=8, validation_block=None)
  config.train.update({'select_by': 'last', 'early_stopping_patience': 0} | train)
  config.train.update(unroll=1, rematerialise=False, num_steps=5, checkpoint_every=1)
  config.train.update(keep_checkpoints=1, keep_period=2, log_every=5, rollout_every=0)
  return config


@pytest.mark.parametrize('measure', [False, True])
def test_scales_stay_unless_they_are_to_be_measured(trained, store, measure):
  config = experiment(trained, store, measure_scales=measure)
  taken = initial_model.adopt(config, model_lib.load_model(trained))
  assert taken == (() if measure else ('fine',))
  assert experiment(trained, store).train.measure_scales


@pytest.mark.slow  # Compiles a step.
def test_what_is_measured_is_in_the_configuration_and_in_the_checkpoints(trained, store, tmp_path):
  """One run of five steps; and which of its checkpoints stay (quick: test_checkpoint)."""
  config = experiment(trained, store, measure_scales=True)
  loop.train(config, str(tmp_path))
  written = json.loads((tmp_path / 'config.json').read_text())
  before = model_lib.load_model(trained).config.level
  scales = [written['model']['level']['fine'][k] for k in ('translation_std', 'rotation_std')]
  # A walk of 0.05 Å per step and component, over one and two steps, and the jitter of the frames.
  assert 0.04 < scales[0] < 0.1
  assert scales[0] != before.fine.translation_std
  assert scales[1] != before.fine.rotation_std
  # The level that is not trained keeps its own.
  assert written['model']['level']['coarse'] == config_lib.to_dict(before.coarse)
  steps = sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir())
  assert steps == [2, 4, 5]
  for step in steps:
    stored = json.loads((tmp_path / 'checkpoints' / str(step) / 'config' / 'metadata').read_text())
    assert stored['model']['level'] == written['model']['level']

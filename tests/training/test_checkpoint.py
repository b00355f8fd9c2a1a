"""Which checkpoints stay on disk."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempo_jax.configs import tiny
from tempo_jax.errors import InputError
from tempo_jax.training import checkpoint, parallel, selection, train_state


def states_at(step):
  optimizer = optax.sgd(0.1)
  state = train_state.create({'w': jnp.full(3, float(step))}, optimizer)
  return {'fine': parallel.replicate(state)}


def save(checkpointer, steps, best=None):
  for step in steps:
    chosen = selection.Selection() if best is None else selection.Selection(0.5, best, 0)
    checkpointer.save(step, states_at(step), tiny.get_config(), chosen)
  checkpointer.close()


def kept(workdir):
  return sorted(int(path.name) for path in (workdir / 'checkpoints').iterdir())


@pytest.mark.parametrize(
  ('newest', 'period', 'best', 'expected'),
  [
    (1, None, None, [7]),
    (2, None, None, [6, 7]),
    (1, 3, None, [3, 6, 7]),
    (2, 2, None, [2, 4, 6, 7]),
    (1, 7, None, [7]),
    (1, 10, None, [7]),
    (1, 4, 1, [1, 4, 7]),
  ],
)
def test_the_newest_whole_periods_and_the_best_stay(tmp_path, newest, period, best, expected):
  save(checkpoint.Checkpointer(str(tmp_path), newest, period), range(1, 8), best)
  assert kept(tmp_path) == expected


def test_a_resumed_run_may_keep_others(tmp_path):
  """Those of the first stretch at whole periods stay as long as the period divides them."""
  save(checkpoint.Checkpointer(str(tmp_path), 1, 2), range(1, 6))
  assert kept(tmp_path) == [2, 4, 5]
  again = checkpoint.Checkpointer(str(tmp_path), 1, 4)
  assert again.latest_step == 5
  restored, _ = again.restore(states_at(0))
  np.testing.assert_array_equal(np.asarray(restored['fine'].params['w']).ravel()[:3], 5.0)
  save(again, range(6, 10))
  assert kept(tmp_path) == [4, 8, 9]


def damage(workdir, step):
  """As a full disk or an interrupted copy leaves it."""
  files = [
    path for path in (workdir / 'checkpoints' / str(step) / 'state').rglob('*') if path.is_file()
  ]
  assert files
  for path in files:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_is_put_aside(tmp_path, caplog):
  save(checkpoint.Checkpointer(str(tmp_path), 3), range(1, 4))
  damage(tmp_path, 3)
  again = checkpoint.Checkpointer(str(tmp_path), 3)
  restored, _ = again.restore(states_at(0))
  np.testing.assert_array_equal(np.asarray(restored['fine'].params['w']).ravel()[:3], 2.0)
  assert again.latest_step == 2
  (message,) = (r.getMessage() for r in caplog.records if r.name == 'tempo_jax')
  assert message.startswith('the checkpoint of step 3 is damaged (')
  assert message.endswith('going on from step 2')
  assert (tmp_path / 'damaged_checkpoint_3').is_dir()
  save(again, [3, 4])
  assert kept(tmp_path) == [2, 3, 4]


def test_without_a_sound_checkpoint_nothing_is_touched(tmp_path):
  save(checkpoint.Checkpointer(str(tmp_path)), [1, 2])
  damage(tmp_path, 1)
  damage(tmp_path, 2)
  again = checkpoint.Checkpointer(str(tmp_path))
  with pytest.raises(InputError, match=r'no checkpoint can be read \(step 2: .*--workdir'):
    again.restore(states_at(0))
  again.close()
  assert kept(tmp_path) == [1, 2]

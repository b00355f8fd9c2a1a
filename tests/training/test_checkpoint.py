"""Which checkpoints stay on disk."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tempo_jax.configs import tiny
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

"""The comparison of samples with the prior: on a Gaussian process that is drawn exactly."""

import types

import numpy as np
import pytest

from experiments.benchmarks import prior

MEMORY = types.SimpleNamespace(variances=(0.2, 0.3), times_ns=(0.005, 0.2))


class Memory(dict):
  """As a section of a configuration."""

  __getattr__ = dict.__getitem__


def drawn(num_frames, root, memory, seed=0):
  """[F, L, 3] Å: displacements of an Ornstein-Uhlenbeck process per memory, mixed by the root."""
  rng = np.random.default_rng(seed)
  total = 0.0
  for variance, time in zip(memory.variances, memory.times_ns, strict=True):
    keep = np.exp(-0.01 / time)
    kicks = np.sqrt(1.0 - keep**2) * rng.normal(size=(num_frames, len(root)))
    kicks[0] = rng.normal(size=len(root))
    for k in range(1, num_frames):
      kicks[k] += keep * kicks[k - 1]
    total = total + np.sqrt(variance) * kicks
  return (total @ root.T).reshape(num_frames, -1, 3)


@pytest.fixture(scope='module')
def case():
  rng = np.random.default_rng(1)
  reference = rng.normal(size=(6, 3)) * 5.0
  root = rng.normal(size=(18, 18)) * np.geomspace(1.0, 0.05, 18)
  memory = Memory(variances=MEMORY.variances, times_ns=MEMORY.times_ns)
  return reference, root, memory, drawn(8000, root, memory)


def test_the_process_itself_agrees(case):
  reference, root, memory, moved = case
  found = prior.compare(reference + moved, root, reference, memory)
  assert found['modes'] == 12
  assert found['largest_z'] < 4.0
  assert abs(found['trace'] - 1.0) < 4.0 * found['standard_error']
  for value, known in found['correlation'].values():
    assert value == pytest.approx(known, abs=0.05)
  assert found['correlation']['1'][1] == pytest.approx(
    (0.2 * np.exp(-2.0) + 0.3 * np.exp(-0.05)) / 0.5
  )


@pytest.mark.parametrize('wrong', ['amplitude', 'shape', 'memory'])
def test_another_process_does_not(case, wrong):
  reference, root, memory, moved = case
  if wrong == 'amplitude':
    moved = 1.3 * moved
  elif wrong == 'shape':
    moved = np.roll(moved, 1, axis=1)
  else:
    moved = moved[::5]
  found = prior.compare(reference + moved, root, reference, memory)
  if wrong == 'memory':
    value, known = found['correlation']['1']
    assert known - value > 0.05
  else:
    assert found['largest_z'] > 5.0


def test_motions_of_the_whole_are_left_out(case):
  reference, root, _, _ = case
  modes, variances = prior.modes_of(root, reference)
  centred = reference - reference.mean(axis=0)
  whole = [np.broadcast_to(axis, (6, 3)) for axis in np.eye(3)]
  whole += [np.cross(axis, centred) for axis in np.eye(3)]
  np.testing.assert_allclose(modes.T @ np.reshape(whole, (6, -1)).T, 0.0, atol=1e-9)
  # The variance of a mode is that along it.
  np.testing.assert_allclose(np.diag(modes.T @ root @ root.T @ modes), variances, rtol=1e-9)


def test_the_silent_network_says_nothing():
  params = prior.silent_model().params['only']
  assert not np.any(np.asarray(params['head']['out']['kernel']))


def test_table_is_markdown(case):
  reference, root, memory, moved = case
  text = prior.table(prior.compare(reference + moved, root, reference, memory))
  lines = text.splitlines()
  assert lines[0].count('|') == lines[1].count('|') == lines[2].count('|') == 7
  assert '| 1 | 0.' in text

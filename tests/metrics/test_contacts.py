import mdtraj
import numpy as np
import pytest
from scipy.spatial import distance

from tempo_jax.metrics import contacts
from tests.metrics import ensembles


def test_probabilities_are_those_of_mdtraj(np_rng):
  positions = ensembles.ensemble(np_rng, 30, scale=2.0)
  traj = ensembles.as_mdtraj(positions)
  pairs = [(i, j) for i in range(9) for j in range(9)]
  distances, _ = mdtraj.compute_contacts(traj, pairs, scheme='ca', periodic=False)
  expected = (distances < 0.8).mean(0).reshape(9, 9)
  found = contacts.contact_probability(positions)
  np.testing.assert_allclose(found, expected, atol=1e-10)
  assert 0.0 < np.median(expected) < 1.0
  moved = ensembles.tumbled(np_rng, positions)
  np.testing.assert_allclose(contacts.contact_probability(moved), found, atol=1e-10)


def test_weak_and_transient_contacts():
  native = np.array([[True, True, False], [True, True, False], [False, False, True]])
  probability = np.array([[1.0, 0.89, 0.11], [0.89, 1.0, 0.1], [0.11, 0.1, 1.0]])
  weak = contacts.weak_contacts(native, probability)
  transient = contacts.transient_contacts(native, probability)
  assert np.argwhere(weak).tolist() == [[0, 1], [1, 0]]
  assert np.argwhere(transient).tolist() == [[0, 2], [2, 0]]
  assert not contacts.weak_contacts(native, np.where(native, 0.9, 0.0)).any()


def test_jaccard_is_that_of_scipy(np_rng):
  a, b = np_rng.random((2, 9, 9)) < 0.3
  expected = 1.0 - distance.jaccard(a.ravel(), b.ravel())
  assert contacts.jaccard(a, b) == pytest.approx(expected)
  assert contacts.jaccard(a, b) == contacts.jaccard(b, a)
  assert contacts.jaccard(a, a) == 1.0
  assert contacts.jaccard(a, ~a) == 0.0
  assert np.isnan(contacts.jaccard(a & ~a, a & ~a))

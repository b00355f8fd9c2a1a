import dataclasses

import numpy as np
import pytest

from tempo_jax.metrics import distribution, premval
from tests.metrics import ensembles, golden

_KEYS = [field.name for field in dataclasses.fields(premval.Panel) if field.name != 'notes']


@pytest.mark.parametrize('name', golden.NAMES)
def test_agrees_with_its_own_code(shared_data, name, monkeypatch):
  case = golden.load(shared_data, name)
  keys = _KEYS
  if len(case.ca[0]) > 1_000:  # The assignment of so many takes four seconds.
    keys = [key for key in _KEYS if key != 'md_pca_w2']
    monkeypatch.setattr(distribution, 'pca_w2', lambda *_: 0.0)
  expected = case.numbers['premval']
  rows = case.reference.top.select('name CA')
  ours, theirs = (10.0 * x.xyz[:, rows] for x in (case.prediction, case.reference))
  found, reason = premval.panel(ours[: expected['n_sub_frames']], [theirs])
  assert reason is None
  assert found.notes == ()
  for key in keys:
    value = getattr(found, key)
    np.testing.assert_allclose(value, expected[key], rtol=golden.TOLERANCE, err_msg=key)


def _pair(rng):
  ours = ensembles.tumbled(rng, ensembles.ensemble(rng, 30))[:, :, 1]
  return ours, [
    ensembles.ensemble(rng, 40)[:, :, 1],
    ensembles.ensemble(rng, 30, scale=0.9)[:, :, 1],
  ]


def test_orientation_and_order_do_not_matter(np_rng):
  ours, theirs = _pair(np_rng)
  found, _ = premval.panel(ours, theirs)
  again, _ = premval.panel(np_rng.permutation(ours) @ np.diag([1.0, -1.0, -1.0]), theirs)
  for key in _KEYS:
    np.testing.assert_allclose(getattr(again, key), getattr(found, key), atol=1e-6, err_msg=key)


def test_against_itself(np_rng):
  _, theirs = _pair(np_rng)
  found, _ = premval.panel(np.concatenate(theirs), theirs)
  assert found.rmsf_pearson == pytest.approx(1.0)
  assert max(found.emd_mean_rms, found.emd_var_rms, found.rmwd, found.md_pca_w2) < 1e-6
  assert found.weak_contacts_jaccard in (None, 1.0)
  assert found.transient_contacts_jaccard in (None, 1.0)


def test_draws_are_sorted_seeded_and_of_different_frames():
  drawn = premval._draw(5_000, 1_000)
  assert len(set(drawn.tolist())) == 1_000
  assert np.all(np.diff(drawn) > 0)
  np.testing.assert_array_equal(drawn, premval._draw(5_000, 1_000))
  np.testing.assert_array_equal(premval._draw(7, 9), np.arange(7))


def test_what_there_is_not(np_rng):
  ours, theirs = _pair(np_rng)
  found, reason = premval.panel(ours[:1], theirs)
  assert found is None
  assert reason == '1 frames of the prediction are too few'
  found, reason = premval.panel(ours, [theirs[0][:1]])
  assert found is None
  assert 'of the reference' in reason
  found, _ = premval.panel(ours, [theirs[0][:5]])
  assert found.md_pca_w2 is None
  assert found.notes == ('md_pca_w2: 30 predicted frames, but 5 of the reference',)
  # Nothing moves, and one residue.
  still = np.repeat(theirs[0][:1], 4, axis=0)
  found, _ = premval.panel(still, [theirs[0]])
  assert found.rmsf_pearson is None
  assert found.notes[0] == 'rmsf_pearson: the RMSF of one side does not vary'
  found, _ = premval.panel(ours[:, :1], [theirs[0][:, :1]])
  assert found.rmsf_pearson is None
  assert found.transient_contacts_jaccard is None
  assert len(found.notes) == 3

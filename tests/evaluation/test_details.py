import dataclasses
import json

import mdtraj
import numpy as np
import pytest

from tempo_jax.evaluation import columns, details
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.scores import Settings
from tempo_jax.trajectory import atoms as atoms_lib
from tests.evaluation import cases


@pytest.fixture(scope='module')
def ensembles(tmp_path_factory):
  return columns.read(cases.case(tmp_path_factory.mktemp('case'), frames=60))


def shown(reference, prediction):
  slow = details.slow_dynamics(reference, prediction)
  return details.details(reference, prediction, slow, Settings())


def test_shares_are_those_of_mdtrajs_torsions(ensembles):
  reference, prediction = ensembles
  found = shown(reference, prediction)['prediction']
  native = prediction.native
  traj = mdtraj.Trajectory(
    prediction.positions.reshape(prediction.num_frames, -1, 3) / 10.0,
    atoms_lib.topology(native),
  )
  phi, omega = (np.rad2deg(f(traj)[1]) for f in (mdtraj.compute_phi, mdtraj.compute_omega))
  assert found['positive_phi_percent'] == pytest.approx(100.0 * np.mean(phi > 0.0), abs=1e-4)
  assert found['cis_peptides_percent'] == pytest.approx(100.0 * np.mean(np.abs(omega) < 90.0))
  assert 0.0 <= found['ramachandran_outliers_percent'] <= 100.0
  assert found['passes_bioemu_filter_percent'] == 100.0
  torn = Ensemble(native, prediction.replicas)
  torn.positions = prediction.positions.copy()
  torn.positions[:15, 5:] += 50.0
  share = shown(reference, torn)['prediction']['passes_bioemu_filter_percent']
  assert share == pytest.approx(75.0)


def test_the_same_twice(ensembles):
  reference, _ = ensembles
  found = shown(reference, reference)
  assert found['prediction'] == found['reference']
  slow = found['slow']
  assert slow['autocorrelation_error'] == 0.0
  for name in ('tica_time_scales_ns', 'msm_time_scales_ns'):
    assert slow[name]['prediction'] == slow[name]['reference']
    assert all(scale > 0.0 for scale in slow[name]['reference'] or ())
  assert slow['lag_ns'] == pytest.approx(0.03)
  json.dumps(found, allow_nan=False)


def test_without_times(ensembles):
  reference, prediction = ensembles
  timeless = [dataclasses.replace(r, time_ns=None) for r in prediction.replicas]
  assert shown(reference, Ensemble(prediction.native, timeless))['slow'] is None

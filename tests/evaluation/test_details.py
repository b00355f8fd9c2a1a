import dataclasses
import json

import mdtraj
import numpy as np
import pytest

from tempo_jax.evaluation import columns, details, series
from tempo_jax.evaluation.ensemble import Ensemble
from tempo_jax.evaluation.replica import Replica
from tempo_jax.evaluation.scores import Settings
from tempo_jax.protein import structure_file
from tempo_jax.trajectory import atoms as atoms_lib
from tests import peptides
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


@pytest.fixture
def two_chains(tmp_path):
  """Two helices side by side, A of six and B of nine residues."""
  text = peptides.peptide(('ALA',) * 6) + 'TER\n'
  text += peptides.peptide(('LEU',) * 9, chain='B', offset=(0.0, 9.0, 0.0)) + 'TER\nEND\n'
  (tmp_path / 'two.pdb').write_text(text)
  return structure_file.load_protein(tmp_path / 'two.pdb')


def test_interfaces_of_chains_that_come_apart(two_chains):
  native = np.asarray(two_chains.arrays.positions)
  still = np.repeat(native[None], 4, axis=0)
  apart = still.copy()
  apart[3, :6] += np.float32([0.0, 0.0, 40.0])
  reference, prediction = (
    Ensemble(two_chains, [Replica(x, None, 'x.xtc'), Replica(x[:2], None, 'y.xtc')])
    for x in (still, apart)
  )
  (found,) = details.details(reference, prediction, None, Settings())['interfaces']
  assert (found['receptor'], found['ligand']) == ('B', 'A')
  kept = found['reference']['native_contacts_percent']
  assert kept > 80.0
  assert found['reference'] == {
    'native_contacts_percent': kept,
    'apart_percent': 0.0,
    'ligand_rmsd_A': pytest.approx(0.0, abs=1e-4),
    'largest_ligand_rmsd_A': pytest.approx(0.0, abs=1e-4),
    'ligand_rmsf_A': pytest.approx(0.0, abs=1e-4),
  }
  assert found['prediction'] == {
    'native_contacts_percent': pytest.approx(kept * 5 / 6, abs=1e-3),
    'apart_percent': pytest.approx(100.0 / 6),
    'ligand_rmsd_A': pytest.approx(40.0 / 6, abs=1e-3),
    'largest_ligand_rmsd_A': pytest.approx(40.0, abs=1e-3),
    # Of 0, 0, 0, 40 Å about their mean, and of a replica that stands still.
    'ligand_rmsf_A': pytest.approx(0.5 * 40.0 * np.sqrt(3.0) / 4.0, abs=1e-3),
  }


def test_one_chain_has_no_interface(ensembles):
  reference, prediction = ensembles
  assert shown(reference, prediction)['interfaces'] == []
  replicas = series.of_protein('one', reference, prediction, None, Settings()).prediction.replicas
  assert replicas[0].interface_contacts.shape[1] == replicas[0].ligand_rmsd.shape[1] == 0

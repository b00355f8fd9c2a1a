"""What MDGen's scripts read (mdgen/analysis.py), restated with mdtraj, on which PyEMMA builds."""

import re

import mdtraj
import numpy as np
import pytest

from tempo_jax.evaluation import ensemble
from tests import heavy_trajectories
from tests.evaluation.export import predictions


def as_mdgen_reads(folder, name):
  """As `get_featurized_traj` does."""
  return mdtraj.load(str(folder / f'{name}.xtc'), top=str(folder / f'{name}.pdb'))


def torsions(traj):
  """By atoms' names, as PyEMMA describes its features; [F] radians each."""
  found = {}
  for compute in (
    *(mdtraj.compute_phi, mdtraj.compute_psi, mdtraj.compute_chi1, mdtraj.compute_chi2),
    *(mdtraj.compute_chi3, mdtraj.compute_chi4),
  ):
    quads, angles_of_all = compute(traj)
    for atoms, angles in zip(quads, angles_of_all.T, strict=True):
      residues = [traj.topology.atom(i).residue.index for i in atoms]
      names = [traj.topology.atom(i).name for i in atoms]
      found[tuple(zip(residues, names, strict=True))] = angles
  return found


def test_topology_and_trajectory_have_the_torsions_of_md(tmp_path):
  prediction, md = predictions.heavy(tmp_path)
  done = predictions.write(prediction, tmp_path, 'mdgen', name='cln025')
  assert (done.benchmarks, done.errors, done.remarks) == (('mdgen',), (), ())
  folder = tmp_path / 'export' / 'mdgen'
  assert sorted(path.name for path in folder.iterdir()) == ['cln025.pdb', 'cln025.xtc']
  traj = as_mdgen_reads(folder, 'cln025')
  found, expected = torsions(traj), torsions(md)
  # The scripts compare feature by feature: the same ones, in the same order.
  assert list(found) == list(expected)
  assert len(found) > 2 * md.n_residues
  for feature, angles in expected.items():
    np.testing.assert_allclose(np.cos(found[feature] - angles), 1.0, atol=1e-4)
  np.testing.assert_allclose(traj.time, md.time)
  assert {atom.element.symbol for atom in traj.topology.atoms} <= set('CNOS')


def test_replicas_are_joined_and_time_steps_named(tmp_path):
  one, _ = predictions.heavy(tmp_path, dt_ps=20.0)
  both = ensemble.Ensemble(one.native, [*one.replicas, *one.replicas])
  done = predictions.write(both, tmp_path, 'mdgen', name='cln025')
  steps, joined = done.remarks
  assert 'cln025: mdgen: frames are 0.02 ns apart: its scripts need --msm_lag=5 for 0.1' in steps
  assert '2 replicas are joined' in joined
  traj = as_mdgen_reads(tmp_path / 'export' / 'mdgen', 'cln025')
  assert traj.n_frames == 2 * one.num_frames
  expected = np.concatenate([heavy_trajectories.slots_of(traj[: one.num_frames])] * 2)
  np.testing.assert_allclose(heavy_trajectories.slots_of(traj), expected, atol=1e-4)
  np.testing.assert_allclose(np.diff(traj.time), 20.0, rtol=1e-5)


def test_no_times(tmp_path):
  _, traj = predictions.heavy(tmp_path)
  traj.save(str(tmp_path / 'P.dcd'))
  native = heavy_trajectories.SIMULATED / 'cln025' / 'cln025.pdb'
  prediction = predictions.of_files(native, [tmp_path / 'P.dcd'])
  done = predictions.write(prediction, tmp_path, 'mdgen', name='cln025')
  assert 'its format has no times: its scripts count frames, and take 10' in done.remarks[0]


def without_an_atom(folder, np_rng):
  _, traj = predictions.heavy(folder)
  kept = [a.index for a in traj.topology.atoms if (a.residue.index, a.name) != (0, 'OH')]
  traj = traj.atom_slice(kept)
  traj[0].save(str(folder / 'topology.pdb'))
  traj.save(str(folder / 'P.xtc'))
  native = heavy_trajectories.SIMULATED / 'cln025' / 'cln025.pdb'
  return predictions.of_files(native, [folder / 'P.xtc'])


@pytest.mark.parametrize(
  ('make', 'name', 'message'),
  [
    (predictions.backbone, 'a', r'P0.xtc has no side chains, .*: give all heavy atoms'),
    (without_an_atom, 'a', r'atom OH of A:1 TYR is missing, .*: give all heavy atoms'),
    (lambda *a: predictions.heavy(a[0])[0], 'a.1', 'names with a dot or "_traj", such as a.1: g'),
    (lambda *a: predictions.heavy(a[0])[0], 'a_traj1', 'such as a_traj1: give'),
  ],
)
def test_what_it_cannot_take(tmp_path, np_rng, make, name, message):
  done = predictions.write(make(tmp_path, np_rng), tmp_path, 'mdgen', name=name)
  assert done.benchmarks == ()
  (error,) = done.errors
  assert re.search(f'^{name}: not exported for mdgen: .*{message}', error)
  assert '\n' not in error
  assert not (tmp_path / 'export').exists()

"""What PREMVAL demands (src/premval/io.py, scoring.py), restated with mdtraj and gemmi."""

import dataclasses
import json
import re

import gemmi
import mdtraj
import numpy as np
import pytest

from tempo_jax.metrics import premval as panel
from tests.evaluation import cases
from tests.evaluation.export import predictions

FILE = f'export/premval/m/{predictions.NAME}.pdb'


def as_premval_reads(path):
  """As `load_ensemble` and `select_matched_ca` do: every CA by chain index and residue number."""
  traj = mdtraj.load(str(path))
  ca = {
    (atom.residue.chain.index, atom.residue.resSeq): atom.index
    for atom in traj.topology.atoms
    if atom.name == 'CA'
  }
  return traj, ca


def test_250_models_of_one_chain_numbered_from_one(tmp_path, np_rng):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(140, 171), first=34)
  done = predictions.write(prediction, tmp_path, 'premval')
  assert (done.benchmarks, done.errors, done.remarks) == (('premval',), (), ())
  text = (tmp_path / FILE).read_text()
  assert len(re.findall('^MODEL ', text, re.MULTILINE)) == 250
  traj, ca = as_premval_reads(tmp_path / FILE)
  assert traj.n_frames == 250
  assert list(ca) == [(0, number) for number in range(1, predictions.LENGTH + 1)]
  (chain,) = gemmi.read_structure(str(tmp_path / FILE))[0]
  assert [residue.name for residue in chain] == list(cases.NAMES[: predictions.LENGTH])
  # Å, about the origin; every frame is one of the prediction, in order, no two the same.
  found = 10.0 * traj.xyz[:, sorted(ca.values())]
  np.testing.assert_allclose(found.mean(axis=1), 0.0, atol=2e-3)
  whole = prediction.positions[:, :, 1] - prediction.positions[:, :, 1].mean(axis=1)[:, None]
  picked = [int(np.argmin(np.abs(whole - frame).max(axis=(1, 2)))) for frame in found]
  np.testing.assert_allclose(found, whole[picked], atol=2e-3)
  assert np.diff(picked).min() >= 1
  # Evenly: as many of each file as it has frames.
  assert sum(k < 140 for k in picked) == round(250 * 140 / 311)


def test_all_frames_where_there_are_250(tmp_path, np_rng):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(250,))
  predictions.write(prediction, tmp_path, 'premval')
  traj, ca = as_premval_reads(tmp_path / FILE)
  found = 10.0 * traj.xyz[:, sorted(ca.values())].astype(np.float64)
  moved = found - found[:, :1] - (prediction.positions[:, :, 1] - prediction.positions[:, :1, 1])
  np.testing.assert_allclose(moved, 0.0, atol=3e-3)


def test_the_panel_sees_no_difference(tmp_path, np_rng):
  """PREMVAL's numbers of the file are those of the prediction."""
  prediction = predictions.backbone(tmp_path, np_rng, frames=(250,))
  predictions.write(prediction, tmp_path, 'premval')
  traj, ca = as_premval_reads(tmp_path / FILE)
  written = 10.0 * traj.xyz[:, sorted(ca.values())].astype(np.float64)
  reference = cases.wander(np_rng, cases.helix(predictions.LENGTH), 260)[:, :, 1]
  direct = prediction.positions[:, :, 1].astype(np.float64)
  found, expected = (dataclasses.asdict(panel.panel(x, [reference])[0]) for x in (written, direct))
  assert found['rmwd'] > 0.1
  assert found.pop('notes') == expected.pop('notes')
  for key, value in expected.items():
    assert found[key] == pytest.approx(value, abs=2e-3), key


def test_telemetry_of_the_run(tmp_path, np_rng):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(130, 130))
  predictions.write_metadata(tmp_path)
  predictions.write(prediction, tmp_path, 'premval')
  telemetry = tmp_path / f'export/premval/m/{predictions.NAME}.telemetry.json'
  assert json.loads(telemetry.read_text()) == {
    'chain': predictions.NAME,
    'n_samples': 260,
    'wall_seconds': 52.0,
    'seconds_per_sample': 0.2,
    'device': 'cpu',
  }
  # Those of another run do not stay.
  (tmp_path / 'metadata.json').unlink()
  predictions.write(prediction, tmp_path, 'premval')
  assert not telemetry.exists()
  assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(
  'changes', [{'taken_over': 1}, {'wall_seconds': None}, {'num_frames': 0}, {'device': 'cpu'}]
)
def test_no_telemetry_where_the_time_is_not_known(tmp_path, np_rng, changes):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(250,))
  predictions.write_metadata(tmp_path, **changes)
  predictions.write(prediction, tmp_path, 'premval')
  assert [path.name for path in (tmp_path / FILE).parent.iterdir()] == [f'{predictions.NAME}.pdb']


def test_no_telemetry_of_a_run_of_several_proteins(tmp_path, np_rng):
  """Its wall time is that of all."""
  (tmp_path / 'metadata.json').write_text('{"structures": {"a": "a.pdb", "one": "one.pdb"}}')
  (tmp_path / 'one').mkdir()
  prediction = predictions.backbone(tmp_path / 'one', np_rng, frames=(250,))
  predictions.write_metadata(tmp_path / 'one')
  predictions.write(prediction, tmp_path, 'premval')
  assert [path.name for path in (tmp_path / FILE).parent.iterdir()] == [f'{predictions.NAME}.pdb']


def gap(folder, np_rng):
  """A prediction of a protein that lacks residue 4."""
  prediction = predictions.backbone(folder, np_rng, frames=(250,))
  native = folder / 'native.pdb'
  lines = [line for line in native.read_text().splitlines() if line[22:26] != '   4']
  native.write_text('\n'.join(lines) + '\n')
  rest = [i for i in range(predictions.LENGTH) if i != 3]
  xyz = prediction.positions[:, rest]
  xyz = np.concatenate([xyz, xyz[:, :, 1:2] + 1.5], axis=2)
  return predictions.of_files(native, [cases.save(folder / 'Q.xtc', xyz, native)])


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda *a: predictions.backbone(*a, frames=(100, 149)), r'249 frames, and it skips .* 250: s'),
    (lambda *a: predictions.backbone(*a, frames=(250,), chains='AB'), '2 chains, and it takes one'),
    (gap, r'gap between A:3 TRP and A:5 LYS, .*: give the structure of ATLAS'),
  ],
)
def test_what_it_cannot_take(tmp_path, np_rng, make, message):
  prediction = make(tmp_path, np_rng)
  older = tmp_path / FILE
  older.parent.mkdir(parents=True)
  older.touch()
  done = predictions.write(prediction, tmp_path, 'premval')
  assert done.benchmarks == ()
  (error,) = done.errors
  assert re.search(f'^{predictions.NAME}: not exported for premval: .*{message}', error)
  assert '\n' not in error
  assert not older.exists()


def test_a_name_that_atlas_does_not_have(tmp_path, np_rng):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(250,))
  done = predictions.write(prediction, tmp_path, 'premval', name='native')
  assert 'by the names of ATLAS, such as 6okd_C, not native: name' in done.errors[0]
  assert not (tmp_path / 'export').exists()


def test_residues_are_those_of_atlas(shared_data, tmp_path):
  """Matched by chain index and number, none is dropped, and each is the same residue."""
  native = shared_data / 'atlas/6okd_C/6okd_C.pdb'
  reference = mdtraj.load(str(native.with_name('6okd_C_prod_R1_fit.xtc')), top=str(native))
  md = predictions.of_files(native, [native.with_name('6okd_C_prod_R1_fit.xtc')] * 16)
  assert md.num_frames == 256
  done = predictions.write(md, tmp_path, 'premval', 'mdgen', name='6okd_C')
  assert done.errors == ()
  traj, ca = as_premval_reads(tmp_path / FILE)
  theirs = {
    (atom.residue.chain.index, atom.residue.resSeq): atom.index
    for atom in reference.topology.atoms
    if atom.name == 'CA'
  }
  assert list(ca) == list(theirs)
  assert len(ca) == 51
  for key, index in ca.items():
    assert (
      traj.topology.atom(index).residue.name == reference.topology.atom(theirs[key]).residue.name
    )
  ours = traj.atom_slice(list(ca.values()))[:16]
  ours.superpose(reference.atom_slice(list(theirs.values())), frame=5)
  moved = reference.atom_slice(list(theirs.values()))
  moved.superpose(moved, frame=5)
  nearest = [np.abs(moved.xyz - frame).max(axis=(1, 2)).min() for frame in ours.xyz]
  assert max(nearest) < 1e-3  # nm

"""All heavy atoms, or the backbone: what `sample` writes of each, and what it says."""

import csv
import json
import shutil

import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import evaluate, execution, sample, upsample
from tempo_jax.errors import InputError
from tempo_jax.metrics import close_contacts
from tempo_jax.protein import structure_file
from tests import heavy_trajectories, peptides
from tests.cli import commands

HP35 = heavy_trajectories.SIMULATED / 'hp35' / 'hp35.pdb'


RING = ('CG', 'CD1', 'CD2', 'CE1', 'CE2', 'CZ')


@pytest.fixture
def run(tmp_path, model_dir, monkeypatch):
  """run('--atoms=heavy', ...): samples 6 frames of hp35 into tmp_path/out without a network."""
  commands.shake_instead(monkeypatch)

  def run_sample(*args):
    start = (f'--structure={HP35}', f'--model={model_dir}', f'--out={tmp_path}/out')
    return sample.sample(commands.parse(sample, *start, '--num_frames=6', *args))

  return run_sample


def rows(out):
  with open(out / 'frames.csv', newline='') as file:
    return list(csv.DictReader(file))


def test_models_without_side_chains_write_the_backbone(run, tmp_path):
  for args in ((), ('--atoms=backbone',)):
    out = run(*args, f'--out={tmp_path}/{len(args)}')
    assert json.loads((out / 'metadata.json').read_text())['atoms'] == 'backbone'
    assert mdtraj.load(out / 'topology.pdb').n_atoms == 4 * 35
    assert {row['close_contacts'] for row in rows(out)} == {''}


def test_heavy_atoms_of_a_model_without_side_chains_are_refused(run, tmp_path, capsys):
  with pytest.raises(InputError, match=r"atoms = 'heavy', but this model draws the backbone alone"):
    run('--atoms=heavy')
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('extension', ['xtc', 'h5'])
def test_models_with_side_chains_write_all_heavy_atoms(run, monkeypatch, extension):
  commands.as_if_with_side_chains(monkeypatch)
  out = run(f'--format={extension}', '--num_replicas=2')
  metadata = json.loads((out / 'metadata.json').read_text())
  assert (metadata['atoms'], metadata['flags']['atoms']) == ('heavy', None)
  given = mdtraj.load(str(HP35))
  topology = mdtraj.load(out / 'topology.pdb')
  by_name = {(a.residue.index, a.name) for a in given.top.atoms}
  ours = [(a.residue.index, a.name) for a in topology.top.atoms]
  assert by_name - set(ours) == {(34, 'OXT')}
  assert len(set(ours)) == len(ours) == given.n_atoms - 1
  for k in (1, 2):
    path = out / f'trajectory_r{k}.{extension}'
    traj = mdtraj.load(str(path), **({} if extension == 'h5' else {'top': out / 'topology.pdb'}))
    assert (traj.n_frames, traj.n_atoms) == (6, len(ours))
    # The first frame is a step of 0.05 Å from the start, which topology.pdb has idealised.
    moved = 10.0 * np.linalg.norm(traj.xyz[0] - topology.xyz[0], axis=-1)
    assert np.median(moved) < 0.2
    assert moved.max() < 1.0
    heavy = heavy_trajectories.slots_of(traj)
    arrays = structure_file.load_protein(HP35).arrays
    expected = close_contacts.count(heavy, arrays)
    found = [int(row['close_contacts']) for row in rows(out) if row['replica'] == str(k)]
    # XTC rounds to 0.01 Å.
    np.testing.assert_allclose(found, expected, atol=0 if extension == 'h5' else 4)
    assert max(found) > 0
  for row in rows(out):
    assert row['sound'] in ('0', '1')
    # Counts are whole numbers.
    assert all(row[name].isdigit() for name in list(row)[list(row).index('sound') :])


def test_what_a_stopped_run_kept_is_not_mixed(run, monkeypatch, tmp_path, capsys):
  commands.as_if_with_side_chains(monkeypatch)

  def stop_after_one(run, *args):
    iterate = commands.Shaken.__iter__

    def stopping(self):
      for job, *rest in iterate(self):
        if job.replica == 1:
          raise KeyboardInterrupt
        yield job, *rest

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match='1 of 2'):  # noqa: PT012
      patch.setattr(commands.Shaken, '__iter__', stopping)
      run(*args)

  stop_after_one(run, '--num_replicas=2')
  capsys.readouterr()
  out = run('--num_replicas=2', '--atoms=backbone')
  assert 'replaced what a stopped run of other settings had kept' in capsys.readouterr().out
  for k in (1, 2):
    assert mdtraj.load(out / f'trajectory_r{k}.xtc', top=out / 'topology.pdb').n_atoms == 140
  # What is the default is the same as what is asked for.
  shutil.rmtree(out)
  stop_after_one(run, '--num_replicas=2')
  capsys.readouterr()
  run('--num_replicas=2', '--atoms=heavy')
  assert '1 of 2 trajectories are there already' in capsys.readouterr().out


def test_side_chains_that_the_input_lacks_are_named(run, monkeypatch, tmp_path, capsys):
  commands.as_if_with_side_chains(monkeypatch)
  run(f'--out={tmp_path}/whole')
  assert 'built anew' not in capsys.readouterr().out
  path = tmp_path / 'cut.pdb'
  lines = HP35.read_text().splitlines(keepends=True)
  # The ring of a PHE, and the end of a LYS.
  lines = [
    line
    for line in lines
    if not (line[22:26] == '   6' and line[12:16].strip() in RING)
    and not (line[22:26] == '   7' and line[12:16].strip() == 'NZ')
  ]
  path.write_text(''.join(lines))
  out = run(f'--structure={path}')
  said = capsys.readouterr().out
  assert 'side chains of 2 residues are incomplete: A:6 PHE (no CG, ' in said
  assert 'A:7 LYS (no NZ); built anew' in said
  # All are there, once.
  whole, cut = (mdtraj.load(folder / 'topology.pdb') for folder in (tmp_path / 'whole', out))
  assert cut.top == whole.top
  run(f'--structure={path}', f'--out={tmp_path}/b', '--atoms=backbone')
  assert 'incomplete' not in capsys.readouterr().out


def test_a_bare_backbone_gets_all_side_chains(run, monkeypatch, tmp_path, capsys):
  commands.as_if_with_side_chains(monkeypatch)
  path = tmp_path / 'bare.pdb'
  path.write_text(peptides.peptide(atoms=peptides.ATOMS[:4]))
  out = run(f'--structure={path}')
  assert 'no side chains in it: all are built anew' in capsys.readouterr().out
  start = mdtraj.load(out / 'topology.pdb')
  assert start.n_atoms == 66
  # The most frequent rotamer, which leaves the backbone alone.
  np.testing.assert_allclose(np.rad2deg(mdtraj.compute_chi1(start)[1]), -60.0, atol=0.5)


def test_upsample_writes_all_heavy_atoms(model_dir, monkeypatch, tmp_path):
  """Two frames of MD as the coarse ones; in place of the network, the MD between them."""
  commands.as_if_with_side_chains(monkeypatch)
  md = heavy_trajectories.simulated('hp35', 40)
  between = np.pad(md.heavy_atoms[0], [(0, 0), (0, 5), (0, 0), (0, 0)])
  seconds = execution.Seconds(0.1, 0.1)
  monkeypatch.setattr(execution, 'compute', lambda *args: (between, seconds))
  coarse = mdtraj.load(str(HP35.with_name('hp35_R1.xtc')), top=str(HP35))[:40:20]
  coarse.save_dcd(str(tmp_path / 'coarse.dcd'))
  files = (f'--topology={HP35}', f'--coarse_trajectory={tmp_path}/coarse.dcd', '--coarse_dt_ns=0.2')
  args = (*files, f'--model={model_dir}', f'--out={tmp_path}/out')
  out = upsample.upsample(commands.parse(upsample, *args))
  assert json.loads((out / 'metadata.json').read_text())['atoms'] == 'heavy'
  found = mdtraj.load(out / 'trajectory.xtc', top=out / 'topology.pdb')
  np.testing.assert_allclose(
    heavy_trajectories.slots_of(found), md.heavy_atoms[0], atol=0.0052, rtol=1e-6
  )
  start = heavy_trajectories.slots_of(mdtraj.load(out / 'topology.pdb'))[0]
  # The first coarse frame with ideal bonds: its side chains are in the same rotamers.
  apart = np.linalg.norm(start - heavy_trajectories.slots_of(coarse)[0], axis=-1)
  assert np.median(apart) < 0.3
  assert apart.max() < 2.0


def test_evaluate_reads_the_backbone_of_all_heavy_atoms(run, monkeypatch, tmp_path):
  """The same frames, with and without side chains, get the same marks."""
  commands.as_if_with_side_chains(monkeypatch)
  heavy = run('--format=h5', '--num_frames=30')
  traj = mdtraj.load(heavy / 'trajectory.h5')
  backbone = traj.atom_slice(traj.top.select('name N CA C O'))
  assert backbone.n_atoms == 140
  (tmp_path / 'backbone').mkdir()
  backbone.save_xtc(str(tmp_path / 'backbone' / 'x.xtc'))
  backbone[0].save_pdb(str(tmp_path / 'backbone' / 'topology.pdb'))
  traj.save_xtc(str(heavy / 'x.xtc'))
  found = []
  for path in (heavy / 'x.xtc', tmp_path / 'backbone' / 'x.xtc'):
    args = (f'--topology={HP35}', f'--reference={HP35.with_name("hp35_R1.xtc")}')
    out = tmp_path / f'marks{len(found)}'
    args += f'--prediction={path}', f'--out={out}', '--noreport', '--nobaselines'
    evaluate.main(commands.parse(evaluate, *args))
    found.append(json.loads((out / 'metrics.json').read_text())['proteins'])
  heavy_marks, marks = (x['hp35'] for x in found)
  # Side chains are judged where there are some.
  told = {key for key, value in marks.items() if value is not None} - {'notes', 'remarks'}
  assert {key: heavy_marks[key] for key in told} == {key: marks[key] for key in told}
  assert {'rmsf', 'torsion_js_distance_backbone', 'root_mean_w2'} <= told
  assert marks['heavy_rmsf'] is None is not heavy_marks['heavy_rmsf']

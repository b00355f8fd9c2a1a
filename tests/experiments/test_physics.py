"""The table of how far held-out proteins move: its numbers on motion that is known."""

import dataclasses
import json
import types

import mdtraj
import numpy as np
import pytest
from absl import flags
from scipy.spatial.transform import Rotation

from experiments.benchmarks import physics
from tempo_jax import config as config_lib
from tests import builders


def shaken(spread, num_frames, seed=0):
  """A helix whose residues move by a normal number each, turned and moved as a whole."""
  rng = np.random.default_rng(seed)
  start = np.asarray(builders.helix(12).positions, np.float64)
  moved = start + rng.normal(size=(num_frames, 12, 1, 3)) * spread[:, None, None]
  turns = Rotation.random(num_frames, random_state=rng).as_matrix()
  return start, np.einsum('fij,flaj->flai', turns, moved) + 30.0 * rng.normal(
    size=(num_frames, 1, 1, 3)
  )


def test_motion_of_residues_that_tremble():
  start, positions = shaken(np.where(np.arange(12) % 3 == 0, 0.4, 0.1), 500)
  found = physics.motion_of(positions, start)
  topology = mdtraj.Topology()
  chain = topology.add_chain()
  for _ in range(12):
    topology.add_atom('CA', mdtraj.element.carbon, topology.add_residue('GLY', chain))
  frames = mdtraj.Trajectory(0.1 * positions[:, :, 1], topology)
  frames.superpose(mdtraj.Trajectory(0.1 * start[None, :, 1], topology))
  mean = mdtraj.Trajectory(frames.xyz.mean(axis=0)[None], topology)
  # About the mean, superposed on it.
  np.testing.assert_allclose(found.rmsf, 10.0 * mdtraj.rmsf(frames, mean), rtol=1e-3)
  steps = [10.0 * mdtraj.rmsd(frames[k + 1], frames[k])[0] for k in range(499)]
  assert found.step == pytest.approx(np.sqrt(np.mean(np.square(steps))), rel=1e-3)
  # The start is the mean.
  assert found.away == pytest.approx(1.0, rel=0.1)


def test_a_replica_that_has_left_is_away():
  start, positions = shaken(np.full(12, 0.1), 50)
  bent = start * np.linspace(1.0, 1.5, 12)[:, None, None]
  there = np.concatenate([positions, bent[None], positions])
  farthest = physics.motion_of(there, start).farthest
  moved = Rotation.align_vectors(*(x[:, 1] - x[:, 1].mean(axis=0) for x in (start, bent)))[1]
  assert farthest == pytest.approx(moved / np.sqrt(12), rel=1e-4)
  assert physics.motion_of(positions, start).away < 1.3
  assert (
    physics.motion_of(np.broadcast_to(bent, positions.shape) + 1e-3 * positions, start).away > 5
  )


def test_table_has_means_and_ranges():
  row = {
    **{'residues': 12, 'md_ns': 20.0, 'dt_ns': 0.4, 'md_rmsf': 0.734, 'network_r': 0.47},
    **{'halves_r': 0.84, 'rmsf_ratio': [0.9, 1.1], 'r': [0.2, 0.4], 'step_ratio': [1.0]},
    **{'away': [1.5, 1.7], 'md_away': [1.9], 'farthest': [3.0, 4.0], 'md_farthest': [6.04]},
  }
  line = physics.table([{'barstar': row}]).splitlines()[-1]
  assert line == (
    '| barstar | 12 | 20 ns, 0.4 apart | 0.73 | 1.00 (0.90 to 1.10) | 0.30 (0.20 to 0.40) | 0.47 | '
    '0.84 | 1.00 | 1.9 | 1.6 (1.5 to 1.7) | 6.0 | 3.5 (3.0 to 4.0) |'
  )


def test_several_models_have_medians_and_ranges_over_models():
  row = {
    **{'residues': 12, 'md_ns': 20.0, 'dt_ns': 0.4, 'md_rmsf': 0.734, 'network_r': 0.47},
    **{'halves_r': 0.84, 'r': [0.2], 'step_ratio': [1.0], 'away': [1.5], 'md_away': [1.8, 2.0]},
    **{'farthest': [3.0, 4.0], 'md_farthest': [6.0]},
  }
  models = [
    {'barstar': row | {'rmsf_ratio': ratios}} for ratios in ([0.5, 0.7], [1.0, 1.2], [0.8, 1.8])
  ]
  line = physics.table(models).splitlines()[-1]
  assert line == (
    '| barstar | 12 | 20 ns, 0.4 apart | 0.73 | 1.10 (0.60 to 1.30) | 0.20 (0.20 to 0.20) | 0.47 | '
    '0.84 | 1.00 (1.00 to 1.00) | 1.9 (1.8 to 2.0) | 1.5 (1.5 to 1.5) '
    '| 6.0 | 3.5 (3.5 to 3.5) |'
  )


PUBLIC = ('barstar', 'atlas_3tvj_I', 'ntl9_mdcath_320K', 'hp35_explicit')
CONFIG = config_lib.freeze(config_lib.any_step_config(0.01, 5.0))
NUMBERS = {
  **{'residues': 12, 'md_ns': 20.0, 'dt_ns': 0.4, 'md_rmsf': 0.7, 'network_r': 0.5},
  **{'rmsf_ratio': [0.9], 'r': [0.2], 'step_ratio': [1.0], 'away': [1.5], 'md_away': [1.9]},
  **{'halves_r': 0.8, 'farthest': [2.0], 'md_farthest': [2.5], 'seconds': 1.0},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
  """run('--model=a', ...): what is measured, (model, protein, seed) each; nothing is sampled."""
  (tmp_path / 'md_public').mkdir()
  measured = []

  def measure(model, case, seed, num_replicas):
    measured.append((model.name, case.name, seed))
    return NUMBERS

  monkeypatch.setattr(physics, 'measure', measure)
  monkeypatch.setattr(
    physics.tempo_jax, 'load_model', lambda name: types.SimpleNamespace(name=name, config=CONFIG)
  )
  monkeypatch.setattr(physics.provenance, 'model_sha256', lambda model: f'sha of {model.name}')

  def run_physics(*args):
    measured.clear()
    values = flags.FlagValues()
    physics.define_flags(values)
    values(['x', f'--data={tmp_path}', f'--out={tmp_path / "found"}', *args])
    physics.main(values)
    return list(measured)

  return run_physics


def test_what_was_measured_is_not_measured_again(run, tmp_path, monkeypatch):
  assert run('--model=a', '--only=hp35') == [('a', 'hp35', 0)]
  assert run('--model=a,b', '--only=hp35') == [('b', 'hp35', 0)]
  assert '0.90 (0.90 to 0.90)' in (tmp_path / 'found.md').read_text()
  assert len(run('--model=a,b', '--only=hp35', '--seed=1')) == 2
  # Rows that are not asked for stay.
  assert run('--model=a', '--only=2m9i') == [('a', '2m9i', 0)]
  assert run('--model=a,b', '--only=hp35') == []
  # Of other MD of that name, and with other code, they are measured.
  with monkeypatch.context() as patch:
    patch.setattr(physics.Case, 'fingerprint', lambda case: 'longer')
    assert run('--model=a', '--only=hp35') == [('a', 'hp35', 0)]
  monkeypatch.setattr(physics.executables, 'source', lambda: 'changed')
  assert run('--model=a', '--only=hp35') == [('a', 'hp35', 0)]
  # What a row replaces goes.
  rows = json.loads((tmp_path / 'found.json').read_text())['rows']
  assert [(x['model'], x['protein'], x['seed']) for x in rows] == [
    *(('b', 'hp35', 0), ('a', 'hp35', 1), ('b', 'hp35', 1), ('a', '2m9i', 0), ('a', 'hp35', 0))
  ]


@pytest.mark.parametrize('text', ['{', '[]', '{"rows": null}', '{"rows": [{"key": "x"}]}'])
def test_a_damaged_file_is_no_result(run, tmp_path, text):
  (tmp_path / 'found.json').write_text(text)
  assert run('--model=a', '--only=hp35') == [('a', 'hp35', 0)]
  assert run('--model=a', '--only=hp35') == []


def test_md_is_known_by_its_frames(tmp_path):
  for name in 'ab':
    (tmp_path / name).write_text(name)
  case = physics.Case('x', tmp_path / 'a', (tmp_path / 'b',), 0.1)
  changed = [dataclasses.replace(case, part=(0.5, 1.0)), dataclasses.replace(case, stride=2)]
  before = case.fingerprint()
  assert dataclasses.replace(case, name='y').fingerprint() == before
  assert len({before, *(each.fingerprint() for each in changed)}) == 3
  (tmp_path / 'b').write_text('longer')
  assert case.fingerprint() != before


def test_models_are_different_ones(run):
  for names in ('', 'a,', 'a,a'):
    with pytest.raises(physics.InputError, match=f'--model={names}: give one model, or several'):
      run(f'--model={names}')


def test_what_the_bundled_model_says_of_itself(run, tmp_path, monkeypatch):
  for args in (
    ['--model=a'],
    ['--model=default', '--only=hp35'],
    ['--model=default', '--trained'],
    ['--model=default', '--peptides'],
  ):
    with pytest.raises(physics.InputError, match='--bundle: give the bundled model'):
      run('--bundle', *args)
  with pytest.raises(physics.InputError, match='has no MD of 3tvj_I, barstar, bpti, hp35_explicit'):
    run('--bundle', '--model=default')
  public = [(f'md_public/{x}', 'topology.pdb', 'R1.xtc') for x in PUBLIC]
  more = ('trajectories/bpti_5ns', 'bpti.pdb', 'bpti.xtc')
  more = more, ('trajectories/ubiquitin_1ns', 'ubq.pdb', 'ubq_1ns.xtc')
  for folder, *names in (*public, *more):
    (tmp_path / folder).mkdir(parents=True)
    for name in names:
      (tmp_path / folder / name).touch()
  written = []
  monkeypatch.setattr(physics.expected_error, 'write', lambda *x: written.append(x))
  run('--bundle', '--model=a,default')
  ((model, comparisons),) = written
  assert model.name == 'default'
  assert [x.protein for x in comparisons] == [
    *('barstar', '3tvj_I', 'hp35_explicit', 'bpti', 'ubiquitin', 'hp35', '2m9i', 'ehee0053'),
    '1oai',
  ]
  assert (comparisons[0].rmsf_ratio, comparisons[0].rmsf_r) == (0.9, 0.2)
  # Half of the MD of NTL9 is trained on.
  half = physics.Case('ntl9', None, (), 1.0, part=(0.5, 1.0))
  assert physics.comparisons([half], {'ntl9': NUMBERS}) == []


def test_held_out_proteins_are_all_there(tmp_path):
  for folder in PUBLIC:
    (tmp_path / 'md_public' / folder).mkdir(parents=True)
    for name in ('topology.pdb', 'R1.xtc', 'R2.xtc'):
      (tmp_path / 'md_public' / folder / name).touch()
  found = {case.name: case for case in physics.cases(physics.held_out.SIMULATED, tmp_path)}
  known = ('barstar', '3tvj_I', 'ntl9', 'hp35_explicit', '2m9i', 'ehee0053', 'hp35', '1oai')
  assert sorted(found) == sorted(known)
  assert len(found['barstar'].trajectories) == 2
  assert found['hp35'].solvent == 'implicit'
  # Of MD of several lengths the longest alone.
  assert [file.name for file in found['hp35'].trajectories] == ['hp35_R3.xtc']
  assert [file.name for file in found['2m9i'].trajectories] == ['2m9i_R2.xtc']
  assert found['hp35_explicit'].solvent == 'explicit'


@pytest.fixture
def public(tmp_path):
  """A folder with empty files of MD of others that is trained on."""
  for source in physics.memory.explicit(tmp_path).values():
    source.trajectory.parent.mkdir(parents=True, exist_ok=True)
    source.trajectory.touch()
    source.topology.touch()
  return tmp_path


def chosen(data, *args):
  values = flags.FlagValues()
  physics.define_flags(values)
  values(['command', *args])
  return physics.chosen(values, data)


def test_a_protein_that_was_left_out_is_judged_by_all_frames(public):
  for name in ('ntl9', 'ntl9_mdcath_320K'):  # As the table, and as a store has it.
    (case,) = chosen(public, f'--left_out={name}')
    assert (case.name, case.part) == ('ntl9', (0.0, 1.0))
  assert [case.name for case in chosen(public, '--only=ntl9')] == ['ntl9']
  for args, message in (
    (['--left_out=barstar'], '--left_out: barstar is none of those with MD, trpcage, ntl9, '),
    (['--left_out=ntl9', '--trained'], '--left_out stands alone'),
    (['--left_out=ntl9', '--only=sh2'], '--left_out stands alone'),
    (['--only=sh2'], '--only: sh2 is none of those'),
  ):
    with pytest.raises(physics.InputError, match=message):
      chosen(public, *args)


def test_peptides_that_unfold():
  found = {x.name: x for x in physics.peptide_cases(physics.held_out.SIMULATED)}
  assert len(found) == 6
  assert found['cln025_400K'].temperature_K == 400.0
  assert found['cln025_400K'].trajectories[0].name == 'cln025_R1.xtc'
  assert found['fs_unf'].topology.name == 'fs_unf.pdb'
  held = {system.name for system in physics.held_out.training_systems.SYSTEMS if system.held_out}
  assert not held & found.keys()
  assert {x.name for x in chosen(None, '--peptides', '--only=fs')} == {'fs'}
  with pytest.raises(physics.InputError, match='--trained and --peptides: give one'):
    chosen(None, '--peptides', '--trained')


def test_proteins_that_calibrate_are_none_that_judge(public, tmp_path):
  found = {case.name: case for case in physics.trained_cases(tmp_path)}
  assert sorted(found) == sorted(
    ('trpcage', 'ntl9', 'sh2', 'psi', '1tg0', 'nug2', 'eehee1049', 'hhh0335', '2jof')
  )
  # The second half of NTL9 judges.
  judges = {case.name for case in physics.cases(physics.held_out.SIMULATED, tmp_path)}
  assert not judges & found.keys() - {'ntl9'}
  assert found['ntl9'].part == (0.0, 0.5)
  (held,) = (c for c in physics.cases(physics.held_out.SIMULATED, tmp_path) if c.name == 'ntl9')
  assert held.part == (0.5, 1.0)
  assert (found['trpcage'].dt_ns, found['trpcage'].stride) == (0.1, 10)
  assert (found['nug2'].solvent, found['psi'].solvent) == ('implicit', 'explicit')


def test_frames_of_a_model_with_one_step_are_taken_at_the_spacing_of_md():
  asked = {}

  def sample(protein, **settings):
    asked.update(settings)
    return types.SimpleNamespace(positions=np.arange(12.0)[None, :, None, None, None])

  config = types.SimpleNamespace(lags_ns=())
  model = types.SimpleNamespace(config=config, dt_ns=0.1, sample=sample)
  case = physics.Case('x', None, (), 0.3)
  found = physics.sample(model, None, case, 4, 1, seed=0)
  assert asked['num_frames'] == 12
  assert found.ravel().tolist() == [2.0, 5.0, 8.0, 11.0]
  with pytest.raises(physics.InputError, match=r'frames of x are 0\.25 ns apart'):
    physics.sample(model, None, dataclasses.replace(case, dt_ns=0.25), 4, 1, seed=0)

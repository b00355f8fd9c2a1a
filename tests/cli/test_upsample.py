import dataclasses
import json

import mdtraj
import numpy as np
import pytest

from tempo_jax import config as config_lib
from tempo_jax.cli import execution, upsample
from tempo_jax.errors import InputError
from tempo_jax.models import model as model_lib
from tempo_jax.output import staging, trajectory_files
from tempo_jax.trajectory import trajectory as trajectory_lib
from tests import peptides
from tests.cli import commands

FILES = {'topology.pdb', 'trajectory.xtc', 'frames.csv', 'metadata.json'}


def backbone(frames, first_ps, step_ps, residues=8, seed=0):
  """A tumbling helix with CB atoms, as mdtraj reads MD, its first frame unturned."""
  rng = np.random.default_rng(seed)
  top = mdtraj.Topology()
  chain = top.add_chain('A')
  for name in peptides.SEQUENCE[:residues]:
    residue = top.add_residue(name, chain)
    for atom in peptides.ATOMS:
      top.add_atom(atom, mdtraj.element.get_by_symbol(atom[0]), residue)
  xyz = peptides.helix(residues).reshape(1, -1, 3) + 0.03 * rng.normal(
    size=(frames, 5 * residues, 3)
  )
  angles = 0.3 * np.arange(frames)
  cos, sin, zero = np.cos(angles), np.sin(angles), 0.0 * angles
  turn = np.array([[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1.0]])
  xyz = np.einsum('ijf,faj->fai', turn, xyz) + 20.0
  time = first_ps + step_ps * np.arange(frames)
  return mdtraj.Trajectory(xyz.astype(np.float32) / 10.0, top, time=time)


@pytest.fixture
def coarse(tmp_path):
  """coarse('xtc', first_ps, step_ps): files tmp_path/top.pdb and tmp_path/coarse.xtc."""

  def write(extension='xtc', first_ps=200.0, step_ps=200.0, frames=3, change=None):
    traj = backbone(frames, first_ps, step_ps)
    traj[0].save_pdb(tmp_path / 'top.pdb')
    if change:
      change(traj)
    traj.save(str(tmp_path / f'coarse.{extension}'))
    return traj

  return write


@pytest.fixture
def run(tmp_path, model_dir):
  def run_upsample(*args, extension='xtc'):
    start = (
      f'--topology={tmp_path}/top.pdb',
      f'--coarse_trajectory={tmp_path}/coarse.{extension}',
      f'--model={model_dir}',
      f'--out={tmp_path}/out',
    )
    return upsample.upsample(commands.parse(upsample, *start, *args))

  return run_upsample


def test_a_second_run_into_one_folder_is_refused_before_any_computing(
  run, coarse, tmp_path, monkeypatch
):
  coarse()
  monkeypatch.setattr(execution, 'compute', None)
  with (
    staging.output_directory(tmp_path / 'out', trajectory_files.FILE_NAMES),
    pytest.raises(InputError, match=r'/out is in use: another process writes into it: wait'),
  ):
    run()


def names(folder):
  return {path.name for path in folder.iterdir()}


def test_fills_in_the_frames_after_each_coarse_one(run, coarse, capsys, monkeypatch):
  given = coarse(frames=2)
  out = run('--seed=3')
  assert names(out) == FILES
  traj = mdtraj.load(out / 'trajectory.xtc', top=out / 'topology.pdb')
  np.testing.assert_allclose(traj.time, 210.0 + 10.0 * np.arange(40), rtol=1e-6)
  ca = given.atom_slice(given.top.select('name CA')).xyz
  found = traj.atom_slice(traj.top.select('name CA')).xyz
  # A step of this model moves atoms by some 0.2 Å; the coarse frames are 0.3 rad and more apart.
  for segment in range(2):
    distance = np.linalg.norm(found[20 * segment] - ca[segment], axis=-1)
    assert 10.0 * distance.max() < 2.0
  start = mdtraj.load(out / 'topology.pdb')
  np.testing.assert_allclose(start.xyz[0, 1::4], ca[0], atol=7e-4)
  data = json.loads((out / 'metadata.json').read_text())
  assert (data['dt_ns'], data['num_frames'], data['num_replicas']) == (0.01, 40, 1)
  assert data['first_frame_ns'] == pytest.approx(0.21)
  assert data['flags']['stride'] == 1
  assert data['flags']['coarse_dt_ns'] is data['flags']['dt_ns'] is None
  assert (out / 'frames.csv').read_text().splitlines()[1].startswith('0.21,')
  assert '2 coarse frames 0.2 ns apart -> 40 frames 0.01 ns apart' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('extension', 'first_ps', 'step_ps', 'args', 'times_ns'),
  [
    ('xtc', 0.0, 200.0, (), [0.0, 0.2, 0.4, 0.6, 0.8]),
    ('xtc', 1000.0, 100.0, (None, 2), [1.0, 1.2, 1.4]),
    ('h5', 50.0, 50.0, (None, 4), [0.05, 0.25]),
    ('dcd', 0.0, 1.0, (0.2,), [0.2, 0.4, 0.6, 0.8, 1.0]),
    ('dcd', 0.0, 1.0, (0.1, 2), [0.1, 0.3, 0.5]),
    ('xtc', 0.0, 1.0, (0.2,), [0.2, 0.4, 0.6, 0.8, 1.0]),
  ],
)
def test_reads_times_or_takes_those_given(
  coarse, tmp_path, extension, first_ps, step_ps, args, times_ns
):
  given = coarse(extension, first_ps, step_ps, frames=5)
  found = upsample.read_coarse(f'{tmp_path}/top.pdb', f'{tmp_path}/coarse.{extension}', *args)
  np.testing.assert_allclose(found.time_ns, times_ns, atol=1e-6)
  stride = args[1] if len(args) > 1 else 1
  expected = 10.0 * given.xyz[::stride].reshape(len(times_ns), 8, 5, 3)[:, :, :4]
  np.testing.assert_allclose(found.positions[0], expected, atol=0.01)
  assert found.protein.name == 'top'


@pytest.mark.filterwarnings('ignore:.*element:UserWarning')
def test_a_gro_file_is_a_topology(coarse, tmp_path):
  given = coarse()
  given[0].save_gro(str(tmp_path / 'top.gro'))
  found = upsample.read_coarse(f'{tmp_path}/top.gro', f'{tmp_path}/coarse.xtc')
  expected = 10.0 * given.xyz.reshape(3, 8, 5, 3)[:, :, :4]
  np.testing.assert_allclose(found.positions[0], expected, atol=0.01)
  assert found.protein.sequence == 'ASWLKDVE'


@pytest.mark.parametrize('name', ['top.doc', 'top.gro', 'top.psf', 'top.PRMTOP'])
def test_a_file_that_is_no_topology_is_refused(coarse, tmp_path, name):
  coarse()
  (tmp_path / name).write_text('no topology')
  with pytest.raises(InputError, match=rf'{name}: mdtraj cannot read it as a topology') as error:
    upsample.read_coarse(f'{tmp_path}/{name}', f'{tmp_path}/coarse.xtc')
  assert '\n' not in str(error.value)


def _psf(topology):
  atoms = [
    f'{a.index + 1:8d} A    {a.residue.resSeq:<4d} {a.residue.name:<4s} {a.name:<4s} '
    f'{a.name[0]:<4s} {0.0:10.6f}     {12.0:9.4f}           0\n'
    for a in topology.atoms
  ]
  return f'PSF\n\n{1:8d} !NTITLE\n test\n\n{len(atoms):8d} !NATOM\n{"".join(atoms)}\n' + (
    f'{0:8d} !NBOND: bonds\n\n'
  )


def test_a_topology_without_coordinates_takes_those_of_the_first_frame(coarse, tmp_path):
  given = coarse()
  for name in ('top.psf', 'top.PSF'):
    (tmp_path / name).write_text(_psf(given.topology))
    found = upsample.read_coarse(f'{tmp_path}/{name}', f'{tmp_path}/coarse.xtc')
    assert found.protein.sequence == 'ASWLKDVE'
  (tmp_path / 'coarse.xtc').write_text('no trajectory')
  with pytest.raises(InputError, match='or a sound trajectory'):
    upsample.read_coarse(f'{tmp_path}/top.psf', f'{tmp_path}/coarse.xtc')


def test_warns_of_a_temperature_that_the_model_does_not_know(
  run, coarse, model_dir, tmp_path, capsys
):
  coarse()
  model = model_lib.load_model(model_dir)
  config = config_lib.from_dict(config_lib.to_dict(model.config))
  # A short time, but the user gives the slow motion.
  config.trained_on.update(
    temperatures_K=(300.0,), num_residues=(1, 99), num_chains=1, longest_ns=((99, 0.01),)
  )
  dataclasses.replace(model, config=config).save(tmp_path / 'model')
  run(f'--model={tmp_path}/model')
  said = [line for line in capsys.readouterr().out.splitlines() if 'trained' in line]
  assert said == ['warning: the model was trained at 300 K only; 320 K is outside']


def uneven(traj):
  traj.time[-1] += 7.0


def cut_by_the_box(traj):
  traj.xyz[1, 20:] += 3.0


def shuffled(traj):
  order = np.random.default_rng(0).permutation(traj.n_atoms)
  traj.xyz = traj.xyz[:, order]


def shuffled_and_wide(traj):
  shuffled(traj)
  traj.xyz *= 3.0


def not_written(traj):
  traj.xyz[2] = 0.0


def in_nm(traj):
  traj.xyz *= 0.1


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (shuffled_and_wide, r'frame 0 has a broken chain: .* another order than in --topology'),
    (not_written, r'coarse\.xtc: frame 2: all atoms lie on one point: cut .* \(1 of 3 frames\)'),
    (in_nm, r'coarse\.xtc: frame 0: its units are probably not those of its format'),
    (uneven, 'frames are 0.2 to 0.207 ns apart'),
    (cut_by_the_box, r'coarse\.xtc: frame 1 has a broken chain: make molecules whole'),
    (shuffled, r'coarse\.xtc: frame 0 has a broken chain: .* --topology'),
  ],
)
def test_frames_that_cannot_be_used_are_refused(run, coarse, tmp_path, change, message):
  coarse(change=change)
  with pytest.raises(InputError, match=message) as error:
    run()
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists()


def test_bonds_that_the_topology_lacks_are_those_of_frame_0(run, coarse, tmp_path):
  traj = coarse(change=cut_by_the_box)
  traj[1].save_pdb(tmp_path / 'top.pdb')
  with pytest.raises(InputError, match='frame 1 has a broken chain'):
    run()


def test_a_structure_in_nm_is_refused(run, coarse, tmp_path):
  traj = coarse()
  traj.xyz *= 0.1
  traj[0].save_pdb(tmp_path / 'top.pdb')
  with pytest.raises(
    InputError, match=r'top.pdb: N-CA of .* is 0\.1\d\d Å, .*: its unit is nm, PDB'
  ):
    run()


def test_a_topology_that_orders_its_atoms_differently_is_refused(shared_data):
  folder = shared_data / 'trajectories' / 'trpcage_tc5b_1ns'
  (file,) = folder.glob('*.xtc')
  with pytest.raises(InputError, match=r'frame 0 has a broken chain: .* --topology'):
    upsample.read_coarse(f'{folder}/1l2y_nmr38.pdb', str(file))


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--stride=2'], 'the coarse frames are 0.4 ns apart, but this model .* 0.2 ns apart'),
    (['--topology='], '--topology is missing'),
    (['--coarse_trajectory=no.xtc'], r'no\.xtc: no such file: correct --coarse_trajectory'),
    (['--coarse_dt_ns=-1'], '--coarse_dt_ns=-1.0: give a number above zero'),
    (['--stride=3'], 'one frame has no spacing'),
  ],
)
def test_a_mistake_is_one_line_before_any_computing(run, coarse, tmp_path, capsys, args, message):
  coarse()
  with pytest.raises(InputError, match=message) as error:
    run(*args)
  assert 'compiling' not in capsys.readouterr().out
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'out').exists()


def test_a_file_without_times_needs_them(run, coarse):
  coarse('dcd')
  with pytest.raises(InputError, match=r'its format has no times: .* --coarse_dt_ns'):
    run(extension='dcd')


def test_a_file_of_other_atoms_is_refused(run, coarse, tmp_path):
  coarse()
  backbone(3, 0.0, 200.0, residues=7)[0].save_pdb(tmp_path / 'top.pdb')
  with pytest.raises(InputError, match=r'coarse\.xtc: mdtraj cannot read it with the \d+ atoms of'):
    run()


def test_a_file_that_is_no_trajectory_is_refused(run, coarse, tmp_path):
  coarse()
  (tmp_path / 'coarse.xtc').write_text('no trajectory')
  with pytest.raises(InputError, match=r'coarse\.xtc: mdtraj cannot read it'):
    run()


def test_an_existing_output_is_refused_before_any_computing(run, coarse, tmp_path, capsys):
  coarse()
  (tmp_path / 'out').mkdir()
  with pytest.raises(InputError, match='exists already'):
    run()
  assert 'compiling' not in capsys.readouterr().out


def test_what_sample_writes_can_be_upsampled(coarse, tmp_path):
  given = trajectory_lib.Trajectory.from_mdtraj(backbone(4, 200.0, 200.0), 'helix')
  trajectory_lib.save_structure(tmp_path / 'topology.pdb', given.protein)
  given.save(tmp_path / 'trajectory.xtc')
  found = upsample.read_coarse(f'{tmp_path}/topology.pdb', f'{tmp_path}/trajectory.xtc')
  np.testing.assert_allclose(found.time_ns, given.time_ns, rtol=1e-6)

import dataclasses
import itertools
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import warnings

import mdtraj
import numpy as np
import pytest

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")
  pytest.importorskip('pdbfixer', reason="needs the extra 'simulate'")

import openmm
import pdbfixer
from openmm import app, unit

from tempo_jax.errors import InputError
from tempo_jax.preparation import trajectories
from tempo_jax.preparation.simulation import checkpoint as simulation_checkpoint
from tempo_jax.preparation.simulation import run as simulation_run
from tempo_jax.preparation.simulation import simulate, stereochemistry, stopping
from tempo_jax.preparation.simulation import structure as simulation_structure
from tempo_jax.preparation.simulation import system as simulation_system
from tempo_jax.preparation.simulation.simulate import Settings
from tempo_jax.store import store
from tests import peptides

REPOSITORY = pathlib.Path(__file__).parents[2]
CLN025 = REPOSITORY / 'data_prep/simulated/cln025/cln025.pdb'
TRP_CAGE = REPOSITORY / 'data_prep/simulated/2jof/2jof.pdb'
FRAME_PS = 0.2
QUICK = Settings(frame_ps=FRAME_PS, equilibration_ps=0.4)


def write_peptide(path, names=('ALA', 'SER', 'ALA'), xyz=None, **kwargs):
  path.write_text(peptides.peptide(names, xyz=xyz, **kwargs) + 'END\n')
  return path


@pytest.fixture
def structure(tmp_path):
  return write_peptide(tmp_path / 'tiny.pdb')


@pytest.fixture
def run(structure, tmp_path):
  """Simulates the tiny peptide into tmp_path / 'out'."""

  def run(num_frames, settings=QUICK, structure=structure, **kwargs):
    length_ns = num_frames * settings.frame_ps / 1000.0
    out = tmp_path / 'out'
    return simulate.simulate(
      structure, out, length_ns=length_ns, settings=settings, **({'platform': 'CPU'} | kwargs)
    )

  return run


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Two replicas of five frames; the directory is not to be changed."""
  folder = tmp_path_factory.mktemp('finished')
  structure = write_peptide(folder / 'tiny.pdb')
  files = simulate.simulate(
    structure,
    folder / 'out',
    length_ns=5 * FRAME_PS / 1000.0,
    settings=QUICK,
    num_replicas=2,
    platform='CPU',
  )
  return structure, files


def read(file):
  """The frames of an XTC, by the topology beside it."""
  topology = file.with_name(file.name.split('_R')[0] + '.pdb')
  return mdtraj.load(str(file), top=str(topology))


def check_continuous(file, num_frames, interrupted_after):
  traj = read(file)
  np.testing.assert_allclose(traj.time, FRAME_PS * np.arange(1, num_frames + 1), rtol=1e-6)
  # Nothing is repeated, and where it was interrupted atoms go no further than elsewhere.
  steps = np.sqrt(np.mean(np.diff(traj.xyz, axis=0) ** 2, axis=(1, 2)))
  assert steps.min() > 0.2 * np.median(steps)
  assert steps[interrupted_after - 1] < 2.0 * np.median(steps)


def potential_energies(structure, *files):
  """kJ/mol, of our system and of the force field in `files`."""
  ours = simulation_system.build(structure.topology, structure.positions, 'implicit', 300.0)
  theirs = app.ForceField(*files).createSystem(
    structure.topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds
  )
  for system in (ours.system, theirs):
    reference = openmm.Platform.getPlatformByName('Reference')
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    context.setPositions(structure.positions)
    energy = context.getState(getEnergy=True).getPotentialEnergy()
    yield energy.value_in_unit(unit.kilojoule_per_mole)


def check_energy(path):
  structure = simulation_structure.prepare(path)
  files = 'amber14/protein.ff14SB.xml', 'implicit/obc2.xml'
  ours, theirs = potential_energies(structure, *files)
  assert ours == pytest.approx(theirs, abs=1e-2)
  (_, vacuum) = potential_energies(structure, files[0])
  assert abs(ours - vacuum) > 100.0


def test_energy_is_that_of_obc2():
  check_energy(CLN025)


@pytest.mark.parametrize('name', ['cln025', '2jof', 'fs_unf'])
def test_energy_is_that_of_obc2_for_real_structures(shared_data, name):
  check_energy(shared_data / f'openmm_implicit/{name}/{name}.pdb')


def wrong_hands(topology, positions):
  found = stereochemistry.Stereochemistry(topology).wrong_hands(positions)
  return [f'{residue.name} {residue.id} {center}' for residue, center in found]


def backbone_only(path, source):
  lines = source.read_text().splitlines(keepends=True)
  path.write_text(''.join(x for x in lines if x[:4] != 'ATOM' or x[12:16].strip() in 'N CA C O'))
  return path


def test_side_chains_get_the_right_hand(tmp_path):
  file = backbone_only(tmp_path / 'backbone.pdb', TRP_CAGE)
  fixer = pdbfixer.PDBFixer(str(file))
  fixer.missingResidues = {}
  fixer.findMissingAtoms()
  fixer.addMissingAtoms(seed=1)
  by_pdbfixer = wrong_hands(fixer.topology, simulation_structure.in_nm(fixer.positions))
  assert len(by_pdbfixer) > 3
  structure = simulation_structure.prepare(file)
  assert wrong_hands(structure.topology, structure.positions) == []
  assert [note for note in structure.notes if note.startswith('built: A:6 TRP (CB, CG,')]
  # The backbone is where it was.
  native = mdtraj.load(str(file))
  index = mdtraj.Topology.from_openmm(structure.topology).select('name N CA C O')
  np.testing.assert_allclose(structure.positions[index], native.xyz[0], atol=1e-5)


def test_side_chains_of_a_real_backbone(shared_data):
  structure = simulation_structure.prepare(shared_data / 'nasty_structures/2JOF_backbone_only.pdb')
  assert wrong_hands(structure.topology, structure.positions) == []


@pytest.mark.parametrize('given', [(), ('CG2',), ('CG1', 'OG1')])
def test_second_centers_get_the_right_hand(tmp_path, given):
  """ILE and THR whose CB was built the wrong way round, from nothing or from one branch."""
  file = write_peptide(tmp_path / 'x.pdb', ('ILE', 'THR'), atoms=('N', 'CA', 'C', 'O'))
  fixer = simulation_structure._open(file)
  simulation_structure._add_heavy_atoms(fixer, seed=1)
  positions = simulation_structure.in_nm(fixer.positions)
  built = {}
  for residue in fixer.topology.residues():
    atoms = {atom.name: positions[atom.index] for atom in residue.atoms()}
    built[residue.index] = [name for name in atoms if name not in ('N', 'CA', 'C', 'O', *given)]
    first = 'CG1' if residue.name == 'ILE' else 'OG1'
    atoms[first][:], atoms['CG2'][:] = atoms['CG2'].copy(), atoms[first].copy()
  assert wrong_hands(fixer.topology, positions) == ['ILE 1 CB', 'THR 2 CB']
  fixer.positions = simulation_structure.to_quantity(positions)
  simulation_structure._mirror_branches(fixer, built)
  mirrored = simulation_structure.in_nm(fixer.positions)
  assert wrong_hands(fixer.topology, mirrored) == []
  for residue in fixer.topology.residues():
    for atom in residue.atoms():
      if atom.name not in built[residue.index]:
        np.testing.assert_allclose(mirrored[atom.index], positions[atom.index], atol=1e-12)


def test_hands_and_omegas():
  structure = simulation_structure.prepare(TRP_CAGE)
  assert wrong_hands(structure.topology, structure.positions) == []
  mirror = structure.positions * [1.0, 1.0, -1.0]
  assert len(wrong_hands(structure.topology, mirror)) == 17  # and three GLY
  traj = mdtraj.Trajectory(structure.positions, mdtraj.Topology.from_openmm(structure.topology))
  _, expected = mdtraj.compute_omega(traj, periodic=False)
  stereo = stereochemistry.Stereochemistry(structure.topology)
  np.testing.assert_allclose(stereo.omegas(structure.positions), np.rad2deg(expected[0]), atol=0.01)
  assert stereo.problems(structure.positions, structure.positions) == []
  assert len(stereo.problems(mirror, structure.positions)) == 17


def test_wrong_hands_of_the_input(tmp_path):
  xyz = peptides.helix(6)
  # CB of residue 3 goes to the other side of N, CA, C.
  n, ca, c, _, cb = xyz[2]
  normal = np.cross(n - ca, c - ca)
  normal /= np.linalg.norm(normal)
  xyz[2, 4] -= 2.0 * ((cb - ca) @ normal) * normal
  file = write_peptide(tmp_path / 'x.pdb', ('ALA',) * 6, xyz)
  with pytest.raises(InputError, match=r'x.pdb: not the hand of an L-amino acid: A:3 ALA at CA:'):
    simulation_structure.prepare(file)
  with pytest.raises(InputError, match='A:3 ALA'):
    simulate.simulate(file, tmp_path / 'out', length_ns=0.01)
  assert not (tmp_path / 'out').exists()
  # allo-isoleucine: CG1 and CG2 change places.
  structure = simulation_structure.prepare(write_peptide(tmp_path / 'ile.pdb', ('ALA', 'ILE')))
  names = [atom.name for atom in structure.topology.atoms()]
  swapped = structure.positions.copy()
  pair = [names.index('CG1'), names.index('CG2')]
  swapped[pair] = swapped[pair[::-1]]
  assert wrong_hands(structure.topology, swapped) == ['ILE 2 CB']


def turned(angle, first=3, names=('ALA',) * 6):
  """A helix whose residues from `first` on are turned about the peptide bond before them."""
  from scipy.spatial import transform

  xyz = peptides.helix(len(names))
  origin, axis = xyz[first, 0], xyz[first, 0] - xyz[first - 1, 2]
  rotation = transform.Rotation.from_rotvec(np.deg2rad(angle) * axis / np.linalg.norm(axis))
  xyz[first:] = rotation.apply((xyz[first:] - origin).reshape(-1, 3)).reshape(-1, 5, 3) + origin
  return xyz


def test_omegas_of_the_input(tmp_path):
  file = write_peptide(tmp_path / 'x.pdb', ('ALA',) * 6, turned(90.0))
  with pytest.raises(
    InputError, match=r'neither cis nor trans between A:3 ALA and A:4 ALA \(-?90°'
  ):
    simulation_structure.prepare(file)
  file = write_peptide(tmp_path / 'x.pdb', ('ALA',) * 6, turned(175.0))
  structure = simulation_structure.prepare(file)
  assert any('cis before other residues than proline, kept: A:3' in n for n in structure.notes)
  trans = simulation_structure.prepare(write_peptide(tmp_path / 'x.pdb', ('ALA',) * 6))
  found = stereochemistry.Stereochemistry(trans.topology).problems(
    structure.positions, trans.positions
  )
  assert len(found) == 1
  assert found[0].startswith('omega between A:3 ALA and A:4 ALA is ')


def test_changes_of_the_minimiser_are_refused(run, monkeypatch):
  minimize = simulation_system.minimize

  def mirror(*args):
    positions, energy = minimize(*args)
    return positions * [1.0, 1.0, -1.0], energy

  monkeypatch.setattr(simulation_system, 'minimize', mirror)
  with pytest.raises(InputError, match=r'after minimisation A:1 ALA has the hand of a D-residue'):
    run(5)


def test_caps_and_what_is_left_out(tmp_path):
  xyz = peptides.helix(4)
  caps = (
    ''.join(
      peptides.line(a, 'ACE', 'A', 1, xyz[0, k]) for a, k in (('CH3', 1), ('C', 2), ('O', 3))
    ),
    ''.join(peptides.line(a, 'NME', 'A', 4, xyz[3, k]) for a, k in (('N', 0), ('CH3', 1))),
  )
  middle = peptides.peptide(('MSE', 'HIS'), first=2, xyz=xyz[1:3], hetero=True)
  water = peptides.line('O', 'HOH', 'A', 9, [40.0, 0.0, 0.0], hetero=True)
  zinc = peptides.line('ZN', 'ZN', 'A', 8, [50.0, 0.0, 0.0], hetero=True)
  file = tmp_path / 'capped.pdb'
  file.write_text(caps[0] + middle + caps[1] + 'TER\n' + zinc + water + 'END\n')
  structure = simulation_structure.prepare(file, pH=3.0)
  assert [r.name for r in structure.topology.residues()] == ['ACE', 'MET', 'HIS', 'NME']
  assert structure.protonation == {'A:3 HIS': 'HIP'}
  notes = '; '.join(structure.notes)
  for part in ('A:2 MSE as MET', '1 ZN', 'left out: 1 water molecules', 'A:2 MET (CG, SD, CE)'):
    assert part in notes
  system = simulation_system.build(structure.topology, structure.positions, 'implicit', 300.0)
  assert len(system.saved) == 3 + 8 + 10 + 2


def test_structures_that_are_refused(tmp_path, structure, run):
  xyz = peptides.helix(7)
  text = peptides.peptide(('ALA',) * 3, xyz=xyz[:3])
  text += peptides.peptide(('GLY',) * 3, first=5, xyz=xyz[4:])
  structure.write_text(text + 'END\n')
  with pytest.raises(InputError, match=r'the chain is broken between A:3 ALA and A:5 GLY \(C-N is'):
    run(5)
  structure.write_text(peptides.peptide(('ALA', 'UNK', 'ALA')) + 'END\n')
  with pytest.raises(InputError, match='residue 2 is an unknown amino acid'):
    run(5)
  two = peptides.peptide() + 'TER\n' + peptides.peptide(chain='B', offset=(30.0, 0.0, 0.0))
  structure.write_text(two + 'END\n')
  with pytest.raises(InputError, match="no protein chain 'C'"):
    run(5, dataclasses.replace(QUICK, chains='C'))
  both = simulation_structure.prepare(structure)
  one = simulation_structure.prepare(structure, chains='B')
  assert both.topology.getNumAtoms() == 2 * one.topology.getNumAtoms()
  assert [chain.id for chain in one.topology.chains()] == ['B']


def test_arguments(run, tmp_path):
  for name, value in (('temperature_K', 0.0), ('pH', -1.0), ('equilibration_ps', np.nan)):
    with pytest.raises(InputError, match=rf'--{name}={value}: give a number'):
      run(5, dataclasses.replace(QUICK, **{name: value}))
  with pytest.raises(InputError, match=r'--frame_ps=0.21 is not a multiple of the time step'):
    run(5, dataclasses.replace(QUICK, frame_ps=0.21))
  with pytest.raises(InputError, match=r'--length_ns=0.0011 is not a multiple of --frame_ps=0.2'):
    run(5.5)
  with pytest.raises(InputError, match=r'nothing.pdb: no such file'):
    run(5, structure=tmp_path / 'nothing.pdb')
  assert not (tmp_path / 'out').exists()


def test_without_openmm(run, monkeypatch):
  monkeypatch.setitem(sys.modules, 'pdbfixer', None)
  with pytest.raises(InputError, match=r"pdbfixer is not .*: pip install 'tempo-jax\[simulate"):
    run(5)


def test_platforms(run, monkeypatch):
  asked = []
  by_name = openmm.Platform.getPlatformByName

  def only_cpu(name):
    asked.append(name)
    return by_name(name if name == 'CPU' else 'None')

  monkeypatch.setattr(openmm.Platform, 'getPlatformByName', only_cpu)
  with pytest.raises(InputError, match=r'--platform=CUDA does not work here: leave it out'):
    run(1, platform='CUDA')
  asked.clear()
  (xtc,) = run(1, platform='auto')
  assert asked == ['CPU', *['CUDA', 'OpenCL', 'CPU'] * 2]  # builds hydrogens, minimises, simulates
  assert json.loads(xtc.with_suffix('.json').read_text())['stretches'][0]['platform'] == 'CPU'


def test_results(finished):
  _, files = finished
  out = files[0].parent
  assert sorted(path.name for path in out.iterdir()) == [
    'tiny.pdb',
    'tiny_R1.checkpoint.gz',
    'tiny_R1.json',
    'tiny_R1.xtc',
    'tiny_R2.checkpoint.gz',
    'tiny_R2.json',
    'tiny_R2.xtc',
    'tiny_R2_start.pdb',
    'tiny_prepared.json',
    'tiny_prepared.pdb',
  ]
  all_atoms = mdtraj.load(str(out / 'tiny_prepared.pdb'))
  first, second = (read(file) for file in files)
  assert first.topology == second.topology
  assert first.n_atoms == len(all_atoms.topology.select('element != H')) == 17
  for traj, start in ((first, 'tiny.pdb'), (second, 'tiny_R2_start.pdb')):
    np.testing.assert_allclose(traj.time, FRAME_PS * np.arange(1, 6), rtol=1e-6)
    assert traj.unitcell_lengths is None
    moved = traj.xyz[0] - mdtraj.load(str(out / start)).xyz[0]
    assert 0.001 < np.sqrt(np.mean(moved**2)) < 0.1
  assert np.abs(first.xyz - second.xyz).max() > 0.05


def test_metadata(finished):
  _, files = finished
  facts = [json.loads(file.with_suffix('.json').read_text()) for file in files]
  for number, fact in enumerate(facts, start=1):
    assert (
      fact.items()
      >= {
        'replica': number,
        'finished': True,
        'n_frames': 5,
        'frame_ps': FRAME_PS,
        'first_frame_time_ps': FRAME_PS,
        'length_ns': 0.001,
        'temperature_K': 320.0,
        'timestep_fs': 4.0,
        'hydrogen_mass_amu': 3.0,
        'friction_per_ps': 1.0,
        'solvent': 'implicit',
        'seed': 0,
        'source_file': 'tiny.pdb',
        'residues': ['ALA', 'SER', 'ALA'],
        'checks': {'start': [], 'end': []},
      }.items()
    )
    (stretch,) = fact['stretches']
    assert (stretch['from_ns'], stretch['to_ns']) == (0.0, 0.001)
    assert stretch['platform'] == 'CPU'
    assert fact['ns_per_day'] == pytest.approx(86.4 / stretch['wall_s'], rel=0.01)
    assert fact['versions'].keys() >= {'openmm', 'pdbfixer', 'mdtraj', 'tempo_jax'}
  seeds = {fact[key] for fact in facts for key in ('velocity_seed', 'preparation_seed')}
  seeds |= {fact['stretches'][0]['thermostat_seed'] for fact in facts}
  assert len(seeds) == 5


def test_into_a_store(finished, tmp_path):
  _, files = finished
  topology = files[0].with_name('tiny.pdb')
  trajectories.prepare(topology, files, tmp_path / 's', temperature_K=320.0, num_workers=1)
  entries = store.Store(tmp_path / 's').entries
  assert [e.key for e in entries] == ['tiny/T320/R1', 'tiny/T320/R2']
  assert {(e.sequence, e.num_frames, e.dt_ns) for e in entries} == {('ASA', 5, 0.0002)}


MANY = 50_000  # frames, that take much longer than any test


@pytest.fixture
def stop(run, tmp_path):
  """Stops a simulation by a signal, soon after its first checkpoint; returns the step."""

  def stop(*args, number=signal.SIGINT, **kwargs):
    file = tmp_path / 'out/tiny_R1.checkpoint.gz'
    before = file.stat().st_mtime_ns if file.exists() else None
    over = threading.Event()

    def watch():
      while not over.wait(0.002):
        if file.exists() and file.stat().st_mtime_ns != before:
          over.wait(0.05)
          signal.pthread_kill(threading.main_thread().ident, number)
          return

    # Should it come too late, or too early.
    previous = signal.signal(number, signal.default_int_handler)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
      with pytest.raises(stopping.StoppedError) as raised:
        run(MANY, *args, **kwargs)
    finally:
      over.set()
      watcher.join()
      signal.signal(number, previous)
    assert raised.value.signal_number == number
    step = simulation_checkpoint.load(file).step
    assert f'stopped at {step * 4e-6:g} ns of replica 1' in str(raised.value)
    return step

  return stop


def test_going_on(run, stop, tmp_path, capsys):
  partial, xtc = (tmp_path / 'out' / name for name in ('tiny_R1.partial.xtc', 'tiny_R1.xtc'))
  there, odd = divmod(stop(), 50)
  assert (there > 0, odd) == (True, 0)
  kept = partial.read_bytes()
  assert not xtc.exists()
  assert json.loads(xtc.with_suffix('.json').read_text())['finished'] is False
  checkpoint = simulation_checkpoint.load(xtc.with_name('tiny_R1.checkpoint.gz'))
  state = openmm.XmlSerializer.deserialize(checkpoint.state)
  speeds = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
  assert np.sqrt(np.mean(speeds**2)) > 0.1
  # As after a kill: a frame that the checkpoint does not know, and a torn one.
  partial.write_bytes(kept + kept[: len(kept) // there + 50])
  assert run(there + 7) == [xtc]
  assert not partial.exists()
  content = xtc.read_bytes()
  assert content.startswith(kept)
  check_continuous(xtc, there + 7, there)
  facts = json.loads(xtc.with_suffix('.json').read_text())
  spans = [(stretch['from_ns'], stretch['to_ns']) for stretch in facts['stretches']]
  ends = np.array([0, there, there + 7]) * FRAME_PS / 1000.0
  np.testing.assert_allclose(spans, np.stack([ends[:-1], ends[1:]], axis=-1), atol=1e-9)
  assert len({stretch['thermostat_seed'] for stretch in facts['stretches']}) == 2

  # There already; then longer; then longer, and interrupted.
  capsys.readouterr()
  run(there + 5)
  assert 'tiny_R1: there already, skipped' in capsys.readouterr().out
  assert xtc.read_bytes() == content
  run(there + 10)
  assert xtc.read_bytes().startswith(content)
  check_continuous(xtc, there + 10, there + 7)
  further = stop(checkpoint_s=0.0) // 50
  assert further > there + 10
  check_continuous(xtc, there + 10, there + 7)
  run(further + 2)
  check_continuous(xtc, further + 2, further)
  assert json.loads(xtc.with_suffix('.json').read_text())['n_frames'] == further + 2


def test_equilibration_goes_on(run, stop, tmp_path):
  settings = dataclasses.replace(QUICK, equilibration_ps=400.0)
  step = stop(settings, checkpoint_s=0.0)
  assert -100_000 < step < 0
  # Near the end, lest it take long. The seed depends on the step at which a stretch begins.
  file = tmp_path / 'out/tiny_R1.checkpoint.gz'
  checkpoint = simulation_checkpoint.load(file)
  simulation_checkpoint.save(file, dataclasses.replace(checkpoint, step=-300))
  (xtc,) = run(2, settings)
  np.testing.assert_allclose(read(xtc).time, [0.2, 0.4], rtol=1e-6)
  (stretch,) = json.loads(xtc.with_suffix('.json').read_text())['stretches']
  assert stretch['thermostat_seed'] != checkpoint.stretches[0]['thermostat_seed']


def test_without_equilibration(run):
  (xtc,) = run(2, dataclasses.replace(QUICK, equilibration_ps=0.0))
  start = mdtraj.load(str(xtc.with_name('tiny.pdb')))
  prepared = mdtraj.load(str(xtc.with_name('tiny_prepared.pdb')))
  heavy = prepared.topology.select('element != H')
  np.testing.assert_allclose(start.xyz, prepared.xyz[:, heavy], atol=1e-5)
  assert read(xtc).n_frames == 2
  facts = json.loads(xtc.with_suffix('.json').read_text())
  assert facts['checks'] == {'start': [], 'end': []}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals(run, stop, number):
  handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  there = stop(number=number) // 50
  assert there > 0
  assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
  (xtc,) = run(there + 3)
  check_continuous(xtc, there + 3, there)


def test_killed(structure, tmp_path):
  out = tmp_path / 'out'
  command = [
    *(sys.executable, '-m', 'data_prep.simulate', f'--structure={structure}', f'--out={out}'),
    *('--length_ns=50', '--frame_ps=0.2', '--equilibration_ps=0.4', '--checkpoint_s=0.05'),
    *('--platform=CPU', '--num_threads=1'),
  ]
  partial = out / 'tiny_R1.partial.xtc'
  with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
    try:
      deadline = time.monotonic() + 60.0
      while not (partial.exists() and partial.stat().st_size > 2000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    finally:
      process.send_signal(signal.SIGKILL)
  checkpoint = simulation_checkpoint.load(out / 'tiny_R1.checkpoint.gz')
  there = checkpoint.step // 50
  assert there > 2
  (xtc,) = simulate.simulate(
    structure,
    out,
    length_ns=(there + 5) * FRAME_PS / 1000.0,
    settings=QUICK,
    platform='CPU',
    num_threads=1,
  )
  check_continuous(xtc, there + 5, there)


def test_other_parameters_are_refused(finished, tmp_path):
  structure, files = finished
  out = files[0].parent
  before = {path.name: path.read_bytes() for path in out.iterdir()}
  changes = {
    'temperature_K': 300.0,
    'frame_ps': 0.4,
    'solvent': 'explicit',
    'pH': 4.0,
    'equilibration_ps': 1.0,
    'chains': 'A',
    'seed': 1,
  }
  assert changes.keys() == {field.name for field in dataclasses.fields(Settings)}
  for name, value in changes.items():
    settings = dataclasses.replace(QUICK, **{name: value})
    with pytest.raises(InputError, match=rf'was simulated with --{name} .*, not {value!r}\)'):
      simulate.simulate(structure, out, length_ns=0.002, settings=settings)
  other = write_peptide(tmp_path / 'tiny.pdb', ('ALA',) * 4)
  with pytest.raises(InputError, match='was simulated with --structure of another source_sha256'):
    simulate.simulate(other, out, length_ns=0.002, settings=QUICK)
  with pytest.raises(InputError, match='is an output of the simulation that --overwrite would'):
    simulate.simulate(out / 'tiny.pdb', out, length_ns=0.002, settings=QUICK, overwrite=True)
  assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_overwrite(run, structure, tmp_path):
  out = tmp_path / 'out'
  run(2, num_replicas=2)
  (out / 'notes.txt').write_text('mine')
  (xtc,) = run(3, dataclasses.replace(QUICK, seed=5), overwrite=True)
  assert read(xtc).n_frames == 3
  assert not list(out.glob('tiny_R2*'))
  assert (out / 'notes.txt').exists()


@pytest.mark.parametrize('overwrite', [False, True])
def test_foreign_files_are_left_alone(structure, overwrite):
  content = structure.read_bytes()
  with pytest.raises(InputError, match=r'tiny.pdb is no output of .* give another --out'):
    simulate.simulate(
      structure, structure.parent, length_ns=0.01, settings=QUICK, overwrite=overwrite
    )
  assert structure.read_bytes() == content


def test_damaged_files(run, tmp_path):
  out = tmp_path / 'out'
  (xtc,) = run(2)
  checkpoint = out / 'tiny_R1.checkpoint.gz'
  content = checkpoint.read_bytes()
  checkpoint.write_bytes(content[:-20])
  with pytest.raises(InputError, match=r'tiny_R1.checkpoint.gz is damaged: begin anew'):
    run(3)
  checkpoint.unlink()
  with pytest.raises(InputError, match=r'tiny_R1.checkpoint.gz is missing'):
    run(3)
  checkpoint.write_bytes(content)
  xtc.write_bytes(xtc.read_bytes()[:-20])
  with pytest.raises(InputError, match=r'tiny_R1.partial.xtc has lost frames'):
    run(3)


def test_blown_up(run, tmp_path):
  with pytest.raises(InputError, match=r'tiny_R1: replica 1 blew up at -?0.0\d+ ns \(.*keeps 0 ns'):
    run(50, dataclasses.replace(QUICK, temperature_K=1e7))


def test_absurd_energy(run, tmp_path, monkeypatch):
  (xtc,) = run(3)
  # From here on the heat of equilibrium is too much.
  monkeypatch.setattr(simulation_run, '_MAX_HEAT', 0.1)
  with pytest.raises(
    InputError, match=r'blew up at 0.0008 ns \(its atoms move as at .* K.* keeps 0.0006 ns'
  ) as raised:
    run(5)
  heat = float(re.search(r'as at (\S+) K', str(raised.value))[1])
  assert 100.0 < heat < 900.0, 'simulated at 320 K'
  partial = tmp_path / 'out/tiny_R1.partial.xtc'
  assert partial.read_bytes() == xtc.read_bytes()


def test_chains_stay_together(np_rng):
  box = np.array([[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [2.0, 2.0, 2.8]])
  before = np_rng.uniform(size=(3, 3)) * 4.0
  moved = before + 0.3 + 0.2 * np_rng.normal(size=(3, 3))
  images = np_rng.integers(-2, 3, size=(3, 3)) @ box
  shifts = simulation_run.image_shifts(moved + images, before, box)
  np.testing.assert_allclose(shifts, -images, atol=1e-12)
  # All drifted by a box and more: seen from the first, the others have not moved.
  drifted = moved + np.array([9.0, 0.0, 0.0]) + images
  shifts = simulation_run.image_shifts(drifted, before, box)
  together = drifted + shifts
  np.testing.assert_allclose(together[1:] - together[0], moved[1:] - moved[0], atol=1e-12)


def test_explicit_solvent(tmp_path, monkeypatch, capsys):
  for name, value in (('_CUTOFF_NM', 0.5), ('_PADDING_NM', 0.4), ('_MINIMIZER_ITERATIONS', 100)):
    monkeypatch.setattr(simulation_system, name, value)
  text = peptides.peptide(('ALA', 'ALA')) + 'TER\n'
  text += peptides.peptide(('ALA', 'ALA'), chain='B', offset=(0.0, 0.0, 8.0))
  (tmp_path / 'two.pdb').write_text(text + 'END\n')
  settings = dataclasses.replace(QUICK, solvent='explicit')
  kwargs = {'settings': settings, 'platform': 'CPU'}
  out = tmp_path / 'out'
  (xtc,) = simulate.simulate(tmp_path / 'two.pdb', out, length_ns=0.0006, **kwargs)
  simulate.simulate(tmp_path / 'two.pdb', out, length_ns=0.001, **kwargs)
  traj = read(xtc)
  assert traj.n_frames == 5
  assert traj.n_atoms == 2 * 11
  assert (np.ptp(traj.unitcell_lengths, axis=0) > 0.0).all()  # the barostat is at work
  width = traj.unitcell_lengths[:, 0]
  np.testing.assert_allclose(traj.unitcell_volumes, np.sqrt(0.5) * width**3, rtol=1e-4)
  start = mdtraj.load(str(out / 'two.pdb'))
  assert np.abs(traj.xyz - start.xyz).max() < 0.5
  everything = mdtraj.load(str(out / 'two_prepared.pdb'))
  assert {residue.name for residue in everything.topology.residues} >= {'ALA', 'HOH'}
  density = everything.n_atoms / 3 * 0.02992 / everything.unitcell_volumes[0]
  assert 0.7 < density < 1.3
  facts = json.loads(xtc.with_suffix('.json').read_text())
  assert facts['nonbonded'] == 'PME, 0.5 nm'
  assert len(facts['stretches']) == 2


def run_binary(*args):
  command = [sys.executable, '-m', 'data_prep.simulate', *args]
  return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


def test_command_line(finished):
  structure, files = finished
  flags = ['--frame_ps=0.2', '--equilibration_ps=0.4', '--length_ns=0.001', '--num_replicas=2']
  done = run_binary(f'--structure={structure}', f'--out={files[0].parent}', *flags)
  assert (done.returncode, done.stderr) == (0, '')
  assert done.stdout.count('there already, skipped') == 2
  assert '--temperature_K=320 --solvent=implicit' in done.stdout
  assert f'--trajectories={files[0]},{files[1]}' in done.stdout


def test_flags_are_explained():
  done = run_binary('--help')
  text = ' '.join(itertools.chain(done.stdout.split(), done.stderr.split()))
  flags = ['structure', 'out', 'length_ns', 'num_replicas', 'platform', 'overwrite']
  for flag in (*flags, *(field.name for field in dataclasses.fields(Settings))):
    assert f'--{flag}' in text or f'--[no]{flag}' in text
  assert 'Temperature, K. Default: 320.0.' in text

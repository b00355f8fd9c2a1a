import csv
import json
import sys
import warnings

import mdtraj
import numpy as np
import pytest

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")
  pytest.importorskip('pdbfixer', reason="needs the extra 'simulate'")

import openmm
from openmm import app, unit
from scipy.spatial import transform

from tempo_jax.cli import relax as cli_relax
from tempo_jax.errors import InputError
from tempo_jax.relaxation import minimiser, relax, table
from tests import peptides
from tests.cli import commands
from tests.relaxation import short

QUICK = {'platform': 'CPU', 'num_threads': 1}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Two frames, with MD; the rows and the directory."""
  folder = tmp_path_factory.mktemp('finished')
  files = short.save(folder)
  settings = table.Settings(md_ps=0.2)
  rows = relax.relax(*files, folder / 'out', frames=[4, 0], settings=settings, **QUICK)
  return rows, folder / 'out'


def test_frames_are_all_right(finished):
  rows, out = finished
  names = ['frame_0000.pdb', 'frame_0004.pdb', 'metadata.json', 'relax.csv']
  assert sorted(path.name for path in out.iterdir()) == names
  frames = short.frames()
  for row in rows:
    assert (row.ok, row.problem, row.flips, row.pierced_rings) == (True, '', 0, 0)
    traj = mdtraj.load(str(out / f'frame_{row.frame:04d}.pdb'))
    heavy = traj.topology.select('element != H and name != OXT')
    here = {(a.residue.index, a.name): traj.xyz[0, a.index] for a in traj.topology.atoms}
    named = [(a.residue.index, a.name) for a in frames.topology.atoms]
    assert len(heavy) == len(named)
    # Still where the trajectory has it.
    moved = 10.0 * np.linalg.norm(
      np.array([here[name] for name in named]) - frames.xyz[row.frame], axis=-1
    )
    ca = frames.topology.select('name CA')
    assert row.ca_max_A == pytest.approx(moved[ca].max(), abs=0.01)
    assert row.ca_rms_A == pytest.approx(np.sqrt(np.mean(moved[ca] ** 2)), abs=0.01)
    assert 0.0 < row.ca_max_A < 0.5
    assert row.energy_kJ_per_mol < row.energy_before_kJ_per_mol
    assert row.energy_per_residue_kJ_per_mol == pytest.approx(row.energy_kJ_per_mol / 5)
    assert (row.time_ns, row.population) == (pytest.approx(0.01 * (row.frame + 1)), None)
    assert 50.0 < row.md_temperature_K < 700.0  # Of 80 atoms, not yet at 320 K.
    assert 0.0 < row.md_ca_rms_A < 1.0


def test_energy_is_that_of_openmm_for_the_file(finished):
  """The force field from OpenMM's own files, and a structure that only it has read."""
  rows, out = finished
  pdb = app.PDBFile(str(out / f'frame_{rows[0].frame:04d}.pdb'))
  forces = app.ForceField('amber14/protein.ff14SB.xml', 'implicit/obc2.xml')
  system = forces.createSystem(pdb.topology, constraints=app.HBonds)
  integrator = openmm.VerletIntegrator(0.001)
  context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName('Reference'))
  context.setPositions(pdb.positions)
  state = context.getState(getEnergy=True, getForces=True)
  energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
  assert energy == pytest.approx(rows[0].energy_kJ_per_mol, abs=2.0)  # Files have 0.001 Å.


def test_table_and_metadata(finished):
  rows, out = finished
  text = (out / 'relax.csv').read_text()
  assert [line['frame'] for line in csv.DictReader(text.splitlines())] == ['4', '0']
  read = table.from_csv(text)
  for row, of_csv in zip(rows, read, strict=True):
    for name in table.COLUMNS:
      expected = getattr(row, name)
      approx = pytest.approx(expected, rel=1e-5) if isinstance(expected, float) else expected
      assert getattr(of_csv, name) == approx, name
    assert table.of_file(out / f'frame_{row.frame:04d}.pdb') == of_csv
  facts = json.loads((out / 'metadata.json').read_text())
  assert facts.items() >= {
    'num_frames': 2, 'num_ok': 2, 'sequence': 'YYDPE', 'pH': 7.0, 'md_ps': 0.2, 'platform': 'CPU',
    'picked': {'frames': [4, 0]},
  }.items()  # fmt: skip
  assert facts['versions'].keys() >= {'tempo_jax', 'openmm'}


def turned(traj, frame, residue, angle):
  """Rotates the side chain of a residue about CA-CB in one frame."""
  top, xyz = traj.topology, traj.xyz[frame]
  index = {a.name: a.index for a in top.residue(residue).atoms}
  moved = [i for name, i in index.items() if name not in ('N', 'CA', 'C', 'O', 'CB')]
  axis = xyz[index['CB']] - xyz[index['CA']]
  axis /= np.linalg.norm(axis)
  v = xyz[moved] - xyz[index['CB']]
  turn = v * np.cos(angle) + np.cross(axis, v) * np.sin(angle)
  turn += np.outer(v @ axis, axis) * (1.0 - np.cos(angle))
  xyz[moved] = xyz[index['CB']] + turn


def test_frames_that_overlap_and_frames_that_cannot_be_used(tmp_path, capsys):
  traj = short.frames()[:4]
  turned(traj, 0, 1, np.deg2rad(220.0))  # Atoms of TYR and others are 1.3 Å apart.
  traj.xyz[1] *= [1.0, 1.0, -1.0]
  traj.xyz[2, traj.topology.select('resid > 2')] += 1.0
  files = short.save(tmp_path, traj)
  short.frames()[0].save_pdb(str(files[0]))
  values = commands.parse(
    cli_relax,
    *(f'--topology={files[0]}', f'--trajectory={files[1]}', f'--out={tmp_path / "out"}'),
    *('--platform=CPU', '--num_threads=1', '--frames=0,1,2,3'),
  )
  assert cli_relax.main(values) == 1
  said = capsys.readouterr()
  assert said.out.splitlines()[0] == f'{files[0]}: 5 residues; 4 frames to relax'
  assert '\n2 of 4 frames are relaxed: -' in said.out
  lines = [line for line in said.err.splitlines() if line.startswith('error: ')]
  assert lines[0].startswith('error: frame 1: ')
  assert 'TYR has the hand of a D-residue at CA' in lines[0]
  assert 'piece.xtc, frame 2: the chain is broken between A:3 ASP and A:4 PRO' in lines[1]
  assert len(lines) == 2
  rows = table.from_csv((tmp_path / 'out/relax.csv').read_text())
  assert [row.ok for row in rows] == [True, False, False, True]
  assert rows[0].energy_before_kJ_per_mol > 1000.0 > rows[0].energy_kJ_per_mol
  assert not (tmp_path / 'out/frame_0001.pdb').exists()


def test_going_on(tmp_path, monkeypatch):
  """Frames of a stopped run are taken over; those of other settings are not."""
  files = short.save(tmp_path)
  calls = []

  def stop_at_the_second(self, positions):
    calls.append(positions)
    if len(calls) == 2:
      raise KeyboardInterrupt
    return minimiser.Minimum(positions, 0.0, -1.0)

  monkeypatch.setattr(minimiser.Minimiser, 'minimise', stop_at_the_second)
  with pytest.raises(KeyboardInterrupt, match='stopped; 1 of 3 frames are kept: the same command'):
    relax.relax(*files, tmp_path / 'out', frames=[1, 2, 3], **QUICK)
  assert not (tmp_path / 'out').exists()
  rows = relax.relax(*files, tmp_path / 'out', frames=[1, 2, 3], **QUICK)
  assert [row.frame for row in rows] == [1, 2, 3]
  assert len(calls) == 4
  assert (tmp_path / 'out/frame_0001.pdb').exists()
  with pytest.raises(InputError, match='exists already: choose another, or replace it with --over'):
    relax.relax(*files, tmp_path / 'out', frames=[1], **QUICK)
  relax.relax(*files, tmp_path / 'out', frames=[2], overwrite=True, **QUICK)
  assert [path.name for path in sorted((tmp_path / 'out').glob('frame*'))] == ['frame_0002.pdb']


def test_all_frames_have_the_same_atoms(tmp_path, monkeypatch):
  """An acceptor beside NE2 of histidine would give it the hydrogen in one frame only."""
  xyz = peptides.helix(3)
  side = {'CG': 1.5, 'ND1': 2.2, 'CD2': 2.6, 'CE1': 3.4, 'NE2': 3.6}
  lines, places = [], []
  for i, name in enumerate(('ALA', 'HIS', 'ALA')):
    atoms = dict(zip(peptides.ATOMS, xyz[i], strict=True))
    if name == 'HIS':
      axis = (xyz[i, 4] - xyz[i, 1]) / 1.53
      aside = np.cross(axis, xyz[i, 0] - xyz[i, 1])
      aside /= np.linalg.norm(aside)
      for atom, along in side.items():
        sign = {'CG': 0.0, 'ND1': 1.1, 'CE1': 0.7}.get(atom, -0.8)
        atoms[atom] = xyz[i, 4] + along * axis + sign * aside
    for atom, place in atoms.items():
      lines.append((atom, name, 'A', i + 1))
      places.append(place)
  nitrogen = places[[line[0] for line in lines].index('NE2')]
  other = peptides.helix(2)
  other = other - other[0, 3]  # O of its first residue is at the origin, all others behind it.
  behind = (other.reshape(-1, 3).mean(axis=0)) / np.linalg.norm(other.mean(axis=(0, 1)))
  out = (nitrogen - xyz[1, 4]) / np.linalg.norm(nitrogen - xyz[1, 4]) - 0.3 * aside
  turn, _ = transform.Rotation.align_vectors([out], [behind])
  other = turn.apply(other.reshape(-1, 3)) + nitrogen
  for i in range(2):
    lines += [(atom, 'ALA', 'B', i + 1) for atom in peptides.ATOMS]
  first, second = (np.concatenate([places, other + shift * out]) for shift in (30.0, 2.8))
  for name, frame in (('first', first), ('second', second)):
    text = ''.join(peptides.line(*line, place) for line, place in zip(lines, frame, strict=True))
    (tmp_path / f'{name}.pdb').write_text(text + 'END\n')
  traj = mdtraj.load([str(tmp_path / f'{name}.pdb') for name in ('first', 'second')])
  traj.save_xtc(str(tmp_path / 'x.xtc'))
  monkeypatch.setattr(
    minimiser.Minimiser, 'minimise', lambda self, x: minimiser.Minimum(x, 0.0, -1.0)
  )

  def tautomer(topology, hydrogen):
    relax.relax(topology, tmp_path / 'x.xtc', tmp_path / 'out', frames=[0, 1], overwrite=True,
                **QUICK)  # fmt: skip
    for path in (tmp_path / 'out').glob('*.pdb'):
      traj = mdtraj.load(str(path))
      ends = np.array([[a.index, b.index] for a, b in traj.topology.bonds if b.name == hydrogen])
      assert len(ends) == 1
      assert mdtraj.compute_distances(traj, ends)[0, 0] == pytest.approx(0.101, abs=0.002)
    facts = json.loads((tmp_path / 'out/metadata.json').read_text())
    return facts['protonation']['A:2 HIS']

  assert tautomer(tmp_path / 'first.pdb', 'HD1') == 'HID'
  assert tautomer(tmp_path / 'second.pdb', 'HE2') == 'HIE'


def test_what_the_minimiser_does_wrong_is_found(tmp_path, monkeypatch):
  files = short.save(tmp_path)

  def spoil(change, energy=-1.0):
    def spoiled(self, positions):
      return minimiser.Minimum(change(positions.copy()), 0.0, energy)

    monkeypatch.setattr(minimiser.Minimiser, 'minimise', spoiled)
    (row,) = relax.relax(*files, tmp_path / 'out', frames=[0], overwrite=True, **QUICK)
    assert not row.ok
    assert not list((tmp_path / 'out').glob('frame*'))
    return row.problem

  assert 'D-residue' in spoil(lambda x: x * [1.0, 1.0, -1.0])
  moved = spoil(lambda x: x + 0.07)
  assert moved.startswith('CA of A:')
  assert ' moved by 1.2' in moved
  assert 'its energy is nan kJ/mol' in spoil(np.copy, np.nan)
  assert 'its energy is 1e+06' in spoil(np.copy, 1e6)


def test_coordinates_that_are_not_numbers(tmp_path):
  traj = short.frames()
  traj.xyz[1, 3] = np.nan
  topology, _ = short.save(tmp_path)
  traj.save_dcd(str(tmp_path / 'x.dcd'))
  rows = relax.relax(topology, tmp_path / 'x.dcd', tmp_path / 'out', frames=[1], **QUICK)
  assert 'x.dcd, frame 1: coordinates that are not numbers' in rows[0].problem


def test_md_that_blows_up(tmp_path, monkeypatch):
  simulate = minimiser.Minimiser.simulate
  files = short.save(tmp_path)

  def hot(self, length_ps, seed):
    self._temperature_K = 1e5
    return simulate(self, length_ps, seed)

  monkeypatch.setattr(minimiser.Minimiser, 'simulate', hot)
  settings = table.Settings(md_ps=0.2)
  (row,) = relax.relax(*files, tmp_path / 'out', frames=[0], settings=settings, **QUICK)
  assert row.problem


def test_arguments(tmp_path, monkeypatch):
  files = short.save(tmp_path)
  for name, value in (('pH', -1.0), ('md_ps', np.nan), ('temperature_K', 0.0)):
    with pytest.raises(InputError, match=rf'--{name}={value}: give a number from'):
      relax.relax(*files, tmp_path / 'out', settings=table.Settings(**{name: value}))
  with pytest.raises(InputError, match=r'nothing.xtc: no such file: correct --trajectory'):
    relax.relax(files[0], tmp_path / 'nothing.xtc', tmp_path / 'out')
  given = f'--topology={files[0]}', f'--trajectory={files[1]}'
  with pytest.raises(InputError, match='--frames=1,x: give whole numbers with commas'):
    cli_relax.main(commands.parse(cli_relax, *given, '--frames=1,x'))
  with pytest.raises(InputError, match='--frames and --clusters: give one of them'):
    cli_relax.main(commands.parse(cli_relax, *given, '--frames=1', '--clusters=2'))
  with pytest.raises(InputError, match='--trajectory is missing'):
    cli_relax.main(commands.parse(cli_relax, given[0]))
  monkeypatch.setitem(sys.modules, 'openmm', None)
  with pytest.raises(InputError, match=r"openmm is not .*: pip install 'tempo-jax\[simulate"):
    relax.relax(*files, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()

"""Trajectories: time axis, topology, files and their round trips."""

import dataclasses
import itertools
import re
import struct

import gemmi
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.protein import structure_file
from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib
from tempo_jax.trajectory import writers
from tests import disk, peptides

FORMATS = ('.xtc', '.dcd', '.pdb', '.h5')


@pytest.fixture
def protein(tmp_path):
  """Chain A with insertion codes and a break, a blank chain, then a second chain A."""
  helix = peptides.helix(8)
  names = peptides.SEQUENCE
  text = (
    peptides.residue('ALA', 'A', 9, helix[0])
    + peptides.residue('SER', 'A', 9, helix[1], icode='A')
    + peptides.peptide(names[4:], 'A', first=10, xyz=helix[4:])
    + 'TER\n'
    + peptides.peptide(names[:3], '', first=-1, offset=(0, 30, 0))
    + 'TER\n'
    + peptides.peptide(names[:2], 'B', first=9998, offset=(0, 0, 30))
    + 'TER\n'
  )
  path = tmp_path / 'start.pdb'
  path.write_text(text)
  return structure_file.load_protein(path)


@pytest.fixture
def trajectory(protein, np_rng):
  noise = np_rng.normal(scale=2.0, size=(2, 400, protein.num_residues, 4, 3)).astype(np.float32)
  return trajectory_lib.Trajectory(protein.arrays.positions + noise, protein, dt_ns=0.01)


def one_replica(trajectory, k=0):
  return trajectory_lib.Trajectory(
    trajectory.positions[k : k + 1], trajectory.protein, trajectory.dt_ns, trajectory.start_ns
  )


def load(path, trajectory):
  top = atoms_lib.topology(trajectory.protein)
  return mdtraj.load(path, **({} if path.suffix in ('.pdb', '.h5') else {'top': top}))


# --- in memory ---


def test_time_axis(protein):
  positions = np.zeros((1, 3, protein.num_residues, 4, 3), np.float32)
  trajectory = trajectory_lib.Trajectory(positions, protein, dt_ns=0.2)
  np.testing.assert_allclose(trajectory.time_ns, [0.2, 0.4, 0.6], rtol=1e-12)
  trajectory = trajectory_lib.Trajectory(positions, protein, dt_ns=0.2, start_ns=0.0)
  np.testing.assert_allclose(trajectory.time_ns, [0.0, 0.2, 0.4], atol=1e-12)
  assert (trajectory.num_replicas, trajectory.num_frames) == (1, 3)


def test_wrong_shapes_are_refused(protein):
  for shape in ((3, protein.num_residues, 4, 3), (1, 3, protein.num_residues + 1, 4, 3)):
    with pytest.raises(ValueError, match='positions have shape'):
      trajectory_lib.Trajectory(np.zeros(shape), protein, dt_ns=0.2)


def test_to_mdtraj(trajectory):
  for k in range(2):
    traj = trajectory.to_mdtraj(k)
    assert traj.xyz.dtype == np.float32
    np.testing.assert_allclose(
      10.0 * traj.xyz.reshape(400, -1, 4, 3), trajectory.positions[k], atol=1e-5
    )
    np.testing.assert_allclose(traj.time, 10.0 * np.arange(1, 401), rtol=1e-6)
    assert traj.unitcell_vectors is None


def test_device_arrays_are_taken(trajectory, tmp_path):
  on_device = trajectory_lib.Trajectory(
    jnp.asarray(trajectory.positions[:, :5]), trajectory.protein, 0.01
  )
  np.testing.assert_array_equal(on_device.to_mdtraj(1).xyz, trajectory.to_mdtraj(1)[:5].xyz)
  on_device.save(tmp_path / 'x.xtc')


def test_topology(protein):
  top = atoms_lib.topology(protein)
  assert [atom.name for atom in top.atoms] == ['N', 'CA', 'C', 'O'] * 11
  assert [atom.element.symbol for atom in top.atoms] == ['N', 'C', 'C', 'O'] * 11
  assert [chain.chain_id for chain in top.chains] == ['A', ' ', 'B']
  assert [chain.n_residues for chain in top.chains] == [6, 3, 2]
  assert [r.resSeq for r in top.residues] == [9, 9, 10, 11, 12, 13, -1, 0, 1, 9998, 9999]
  assert [r.name for r in top.residues] == list(protein.residue_names)
  peptide_bonds = [
    (a.residue.index, b.residue.index) for a, b in top.bonds if a.residue is not b.residue
  ]
  # Not from 1 to 2, where the chain is broken, nor from chain to chain.
  assert peptide_bonds == [(0, 1), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10)]
  within = {(a.name, b.name) for a, b in top.bonds if a.residue is b.residue}
  assert within == {('N', 'CA'), ('CA', 'C'), ('C', 'O')}
  assert top.n_bonds == 7 + 3 * 11


# --- files ---


@pytest.mark.parametrize(
  ('suffix', 'tolerance', 'times'),
  [('.xtc', 0.0051, True), ('.dcd', 1e-5, False), ('.pdb', 0.00051, False), ('.h5', 1e-5, True)],
)
def test_round_trip(trajectory, tmp_path, suffix, tolerance, times):
  (path,) = one_replica(trajectory).save(tmp_path / f'x{suffix}')
  traj = load(path, trajectory)
  assert (traj.n_frames, traj.n_atoms) == (400, 44)
  np.testing.assert_allclose(
    10.0 * traj.xyz.reshape(400, -1, 4, 3), trajectory.positions[0], atol=tolerance
  )
  assert traj.unitcell_vectors is None
  assert np.all(np.diff(traj.time) > 0.0)
  if times:
    np.testing.assert_allclose(traj.time, 10.0 * np.arange(1, 401), rtol=1e-6)
  assert [x.name for x in tmp_path.iterdir() if 'partial' in x.name] == []


@pytest.mark.parametrize('suffix', FORMATS)
def test_blocks_make_no_difference(trajectory, tmp_path, suffix):
  trajectory = dataclasses.replace(trajectory, positions=trajectory.positions[:1], start_ns=0.05)
  (whole,) = trajectory.save(tmp_path / f'whole{suffix}')
  cut = tmp_path / f'cut{suffix}'
  with writers.open_file(cut, trajectory.protein, 0.01, 0.05, 'backbone') as file:
    for first, last in itertools.pairwise((0, 1, 150, 400)):
      file.append(trajectory.positions[0, first:last].reshape(last - first, -1, 3))
  if suffix != '.h5':
    assert cut.read_bytes() == whole.read_bytes()
    return
  one, other = (mdtraj.load(path) for path in (whole, cut))
  np.testing.assert_array_equal(one.xyz, other.xyz)
  np.testing.assert_array_equal(one.time, other.time)
  assert one.topology == other.topology


def test_dcd_holds_neither_a_date_nor_memory(trajectory, tmp_path):
  """Same trajectory, same file: mdtraj leaves 32 bytes of its title to chance."""
  (path,) = one_replica(trajectory).save(tmp_path / 'x.dcd')
  # 84 bytes, then their number of 80 characters; all between the lengths of the records.
  content = path.read_bytes()
  assert struct.unpack('<i', content[92:96])[0] == 4 + 2 * 80
  assert content[100:180].rstrip(b'\0') == b'Created by DCD plugin'
  assert content[180:260].rstrip() == b'REMARKS'


def test_xtc_counts_steps(trajectory, tmp_path):
  (path,) = one_replica(trajectory).save(tmp_path / 'x.xtc')
  with mdtraj.formats.XTCTrajectoryFile(str(path)) as file:
    _, _, step, _ = file.read()
  np.testing.assert_array_equal(step, np.arange(1, 401))


@pytest.mark.parametrize(('start_ns', 'first_step'), [(None, 1), (0.0, 0), (0.05, 5)])
def test_dcd_header_holds_the_time_axis(trajectory, tmp_path, start_ns, first_step):
  """As CHARMM, VMD and MDAnalysis read it: icntrl(1:3) and (10), AKMA units."""
  later = trajectory_lib.Trajectory(
    trajectory.positions[:1], trajectory.protein, trajectory.dt_ns, start_ns
  )
  (path,) = later.save(tmp_path / 'x.dcd')
  header = path.read_bytes()[:92]
  size, magic, frames, start, every = struct.unpack('<i4siii', header[:20])
  assert (size, magic, frames, start, every) == (84, b'CORD', 400, first_step, 1)
  (delta,) = struct.unpack('<f', header[44:48])
  # 1 AKMA unit: sqrt(u Å^2 / (kcal/mol)) = 1 / 20.45482949774598 ps
  np.testing.assert_allclose(delta / 20.45482949774598, 10.0, rtol=1e-6)
  (end,) = struct.unpack('<i', header[88:92])
  assert end == 84


def test_pdb_titles_hold_the_times(trajectory, tmp_path):
  (path,) = one_replica(trajectory).save(tmp_path / 'x.pdb')
  times = re.findall(r'^TITLE     start t= (\S+)\nMODEL ', path.read_text(), re.MULTILINE)
  np.testing.assert_allclose([float(time) for time in times], 10.0 * np.arange(1, 401))


def test_replicas_go_to_files_of_their_own(trajectory, tmp_path):
  paths = trajectory.save(tmp_path / 'x.h5')
  assert [path.name for path in paths] == ['x_r1.h5', 'x_r2.h5']
  assert sorted(path.name for path in tmp_path.iterdir()) == ['start.pdb', 'x_r1.h5', 'x_r2.h5']
  for k, path in enumerate(paths):
    xyz = mdtraj.load(path).xyz.reshape(400, -1, 4, 3)
    np.testing.assert_allclose(10.0 * xyz, trajectory.positions[k], atol=1e-5)


@pytest.mark.parametrize('suffix', FORMATS)
def test_nothing_is_overwritten_unasked(trajectory, tmp_path, suffix):
  trajectory = one_replica(trajectory)
  path = tmp_path / f'x{suffix}'
  path.write_text('precious')
  with pytest.raises(InputError, match=f'x{suffix} exists already; '):
    trajectory.save(path)
  assert path.read_text() == 'precious'
  trajectory.save(path, overwrite=True)
  assert load(path, trajectory).n_frames == 400


def test_a_failure_leaves_no_half_written_file(trajectory, tmp_path):
  """The second replica fails: neither replaces what was there."""
  # It moves farther, which takes more space.
  trajectory.positions[1] *= 50.0
  there = trajectory.save(tmp_path / 'x.xtc')
  first, second = (path.stat().st_size for path in there)
  for path in there:
    path.unlink()
  (tmp_path / 'x_r1.xtc').write_text('old')
  with (
    disk.files_end_at((first + second) // 2),
    pytest.raises(InputError, match=r'cannot write .*x_r2\.xtc: '),
  ):
    trajectory.save(tmp_path / 'x.xtc', overwrite=True)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['start.pdb', 'x_r1.xtc']
  assert (tmp_path / 'x_r1.xtc').read_text() == 'old'


def test_mistakes_in_saving(trajectory, tmp_path):
  for name in ('x.trr', 'x'):
    with pytest.raises(InputError, match=r'unknown trajectory format .* \.xtc, \.dcd, \.pdb, \.h5'):
      trajectory.save(tmp_path / name)
  with pytest.raises(InputError, match=r'cannot write .*none/x\.xtc: No such file'):
    trajectory.save(tmp_path / 'none' / 'x.xtc')
  trajectory.positions[1, 7, 0, 0, 0] = np.nan
  with pytest.raises(ValueError, match='not finite'):
    trajectory.save(tmp_path / 'x.xtc')
  trajectory.positions[1, 7, 0, 0, 0] = 10000.0
  with pytest.raises(InputError, match=r'do not fit PDB; use \.xtc'):
    trajectory.save(tmp_path / 'x.pdb')
  assert [path.name for path in tmp_path.iterdir()] == ['start.pdb']


# --- the start structure ---


def check_same_protein(protein, other):
  assert other.sequence == protein.sequence
  assert other.chain_ids == protein.chain_ids
  assert other.residue_number.tolist() == protein.residue_number.tolist()
  assert other.insertion_code == protein.insertion_code
  for field in ('residue_index', 'chain_index', 'bonded', 'residue_type', 'mask'):
    np.testing.assert_array_equal(getattr(other.arrays, field), getattr(protein.arrays, field))
  np.testing.assert_allclose(other.arrays.positions, protein.arrays.positions, atol=5.1e-4)


def test_save_structure(protein, tmp_path):
  path = tmp_path / 'topology.pdb'
  trajectory_lib.save_structure(path, protein)
  check_same_protein(protein, structure_file.load_protein(path))
  traj = mdtraj.load(path)
  assert traj.unitcell_vectors is None
  same = atoms_lib.topology(protein)
  assert list(traj.topology.atoms) == list(same.atoms)
  assert [chain.chain_id for chain in traj.topology.chains] == ['A', ' ', 'B']
  assert [r.resSeq for r in traj.topology.residues] == protein.residue_number.tolist()
  np.testing.assert_allclose(
    10.0 * traj.xyz[0].reshape(-1, 4, 3), protein.arrays.positions, atol=5.1e-4
  )
  lines = path.read_text().splitlines()
  assert [i for i, text in enumerate(lines) if text.startswith('TER')] == [24, 37, 46]
  assert lines[4].startswith('ATOM      5  N   SER A   9A  ')
  assert lines[24].startswith('TER      25      GLU A  13')
  assert lines[-1] == 'END'
  assert [path.name for path in tmp_path.iterdir() if 'partial' in path.name] == []


def test_structure_and_trajectory_have_one_topology(trajectory, tmp_path):
  trajectory_lib.save_structure(tmp_path / 'topology.pdb', trajectory.protein)
  one_replica(trajectory).save(tmp_path / 'x.pdb')
  structure = gemmi.read_structure(str(tmp_path / 'topology.pdb'))
  models = gemmi.read_structure(str(tmp_path / 'x.pdb'))
  assert len(models) == 400
  for model in (models[0], models[399]):
    for one, other in zip(structure[0].all(), model.all(), strict=True):
      assert str(one.residue.seqid) == str(other.residue.seqid)
      assert (one.chain.name, one.atom.name, one.atom.serial) == (
        other.chain.name,
        other.atom.name,
        other.atom.serial,
      )


def test_long_chain_ids_get_a_free_letter(tmp_path):
  text = ''.join(
    peptides.peptide(chain=chain, offset=(20.0 * k, 0, 0)) + 'TER\n'
    for k, chain in enumerate('ABC')
  )
  structure = gemmi.read_pdb_string(text)
  structure[0]['B'].name = 'LONG'
  structure[0]['A'].name = 'AB'
  structure.setup_entities()
  (tmp_path / 'x.cif').write_text(structure.make_mmcif_document().as_string())
  protein = structure_file.load_protein(tmp_path / 'x.cif')
  assert protein.chain_ids == ('AB', 'LONG', 'C')
  assert writers.pdb_chain_ids(protein) == ('A', 'B', 'C')
  trajectory_lib.save_structure(tmp_path / 'topology.pdb', protein)
  assert structure_file.load_protein(tmp_path / 'topology.pdb').chain_ids == ('A', 'B', 'C')
  assert (
    'REMARK   1 CHAIN LONG OF THE INPUT IS CHAIN B HERE\n'
    in (tmp_path / 'topology.pdb').read_text()
  )
  traj = mdtraj.load(tmp_path / 'topology.pdb')
  assert [chain.n_residues for chain in traj.topology.chains] == [8, 8, 8]


def test_numbers_that_do_not_fit_pdb(tmp_path, protein):
  """Hybrid-36 above 9999, as cctbx, gemmi and mdtraj read it; nothing below -999."""
  path = tmp_path / 'topology.pdb'
  last = [9999, 10000]
  numbers = np.array([*protein.residue_number[:-2], *last])
  renumbered = dataclasses.replace(protein, residue_number=numbers)
  trajectory_lib.save_structure(path, renumbered)
  assert structure_file.load_protein(path).residue_number[-2:].tolist() == last
  assert [r.resSeq for r in mdtraj.load(path).topology.residues][-2:] == last
  renumbered = dataclasses.replace(protein, residue_number=numbers - 11000)
  with pytest.raises(InputError, match='below -999 do not fit PDB'):
    trajectory_lib.save_structure(path, renumbered)
  far = protein.with_positions(protein.arrays.positions - 1000.0)
  with pytest.raises(InputError, match='coordinates beyond'):
    trajectory_lib.save_structure(path, far)
  with pytest.raises(InputError, match=r'cannot write .*none/x\.pdb'):
    trajectory_lib.save_structure(tmp_path / 'none' / 'x.pdb', protein)


# --- from mdtraj ---


def test_from_mdtraj_round_trip(trajectory):
  traj = trajectory.to_mdtraj(1)
  # Frame 0 decides which residues are bonded: give it a sound conformation.
  traj.xyz[0] = trajectory.protein.arrays.positions.reshape(-1, 3) / 10.0
  other = trajectory_lib.Trajectory.from_mdtraj(traj, 'again')
  assert other.protein.name == 'again'
  assert other.protein.chain_ids == trajectory.protein.chain_ids
  np.testing.assert_array_equal(other.protein.arrays.bonded, trajectory.protein.arrays.bonded)
  np.testing.assert_allclose(other.time_ns, trajectory.time_ns, rtol=1e-6)
  np.testing.assert_allclose(other.positions[0, 1:], trajectory.positions[1, 1:], atol=1e-5)


def test_from_mdtraj_times(trajectory):
  traj = trajectory.to_mdtraj()
  traj.xyz[0] = trajectory.protein.arrays.positions.reshape(-1, 3) / 10.0
  traj.time = np.arange(400)
  given = trajectory_lib.Trajectory.from_mdtraj(traj, 'x', dt_ns=0.2)
  np.testing.assert_allclose(given.time_ns[[0, 399]], [0.2, 80.0])
  read = trajectory_lib.Trajectory.from_mdtraj(traj, 'x')
  np.testing.assert_allclose(read.time_ns[[0, 399]], [0.0, 0.399], atol=1e-9)
  traj.time = np.float32(1e6) + np.float32(0.25) * np.arange(400, dtype=np.float32)
  assert trajectory_lib.Trajectory.from_mdtraj(traj, 'x').dt_ns == pytest.approx(0.00025)
  with pytest.raises(InputError, match='x: one frame has no spacing in time; give its dt'):
    trajectory_lib.Trajectory.from_mdtraj(traj[:1], 'x')
  traj.time = np.arange(400)[::-1]
  with pytest.raises(InputError, match=r'frames are -0\.001 to -0\.001 ns apart'):
    trajectory_lib.Trajectory.from_mdtraj(traj, 'x')


def test_real_trajectories(shared_data):
  folder = shared_data / 'openmm_implicit' / 'fs_unf'
  traj = mdtraj.load(folder / 'fs_unf_R1.xtc', top=folder / 'fs_unf.pdb')
  trajectory = trajectory_lib.Trajectory.from_mdtraj(traj, 'fs')
  assert trajectory.dt_ns == pytest.approx(0.01)
  assert len(trajectory.protein.left_out) == 2
  atoms = traj.topology.select('backbone and not resname ACE NME')
  expected = 10.0 * traj.xyz[:, atoms].reshape(traj.n_frames, -1, 4, 3)
  np.testing.assert_allclose(trajectory.positions[0], expected, atol=1e-4)
  folder = shared_data / 'trajectories' / 'ubiquitin_1ns'
  traj = mdtraj.load(folder / 'ubq_1ns.xtc', top=folder / 'ubq.pdb')
  with pytest.raises(InputError, match=r'ubq: frames are 0\.001 to 0\.002 ns apart; give evenly'):
    trajectory_lib.Trajectory.from_mdtraj(traj, 'ubq')

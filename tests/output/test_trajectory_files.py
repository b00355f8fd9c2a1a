import csv
import dataclasses
import tracemalloc

import jax
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.geometry import ideal
from tempo_jax.metrics import covalent_geometry, ramachandran
from tempo_jax.output import frame_table, trajectory_files
from tempo_jax.trajectory import writers


def read(path):
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def test_frames_csv_is_what_mdtraj_computes(trajectory_of, tmp_path):
  trajectory = trajectory_of(chains=('A', 'B'), frames=6)
  trajectory_files.write(tmp_path, trajectory, 'h5')
  rows = read(tmp_path / 'frames.csv')
  traj = mdtraj.load(tmp_path / 'trajectory.h5')
  start = mdtraj.load(tmp_path / 'topology.pdb')
  ca = traj.top.select('name CA')
  pairs = [(i, i + 1) for i in range(15) if i != 7]
  ca_ca = 10.0 * mdtraj.compute_distances(traj, [(4 * i + 1, 4 * j + 1) for i, j in pairs])
  c_n = 10.0 * mdtraj.compute_distances(traj, [(4 * i + 2, 4 * j) for i, j in pairs])
  every = [(a, b) for a in range(64) for b in range(a) if a // 4 != b // 4]
  every = [(a, b) for a, b in every if not ((b // 4, a // 4) in pairs and (b % 4, a % 4) == (2, 0))]
  expected = {
    'time_ns': traj.time / 1000.0,
    'ca_ca_min_A': ca_ca.min(1),
    'ca_ca_max_A': ca_ca.max(1),
    'c_n_max_A': c_n.max(1),
    'clashes': np.sum(mdtraj.compute_distances(traj, every) < 0.12, axis=1),
    'rmsd_to_start_A': 10.0 * mdtraj.rmsd(traj, start, atom_indices=ca),
    'radius_of_gyration_A': 10.0 * mdtraj.compute_rg(traj, masses=np.ones(64)),
  }
  expected |= outside_by_mdtraj(traj, [i for i, _ in pairs])
  no_clash = (expected['clashes'] == 0) & (expected['bonds_outside'] == 0)
  expected = {
    **{name: expected[name] for name in list(expected)[:7]},
    'sound': no_clash & (expected['angles_outside'] == 0),
    **{name: expected[name] for name in ('bonds_outside', 'angles_outside')},
    'ramachandran_outliers': ramachandran_by_mdtraj(traj, trajectory.protein),
  }
  assert expected['clashes'].max() > 0
  assert expected['bonds_outside'].max() > 0
  assert expected['angles_outside'].max() > 0
  of_side_chains = ['close_contacts', 'overlaps', 'wrong_hands', 'rotamer_outliers']
  assert list(rows[0]) == [*expected, *of_side_chains]
  assert {row[name] for row in rows for name in of_side_chains} == {''}  # There are none.
  for name, values in expected.items():
    found = [float(row[name]) for row in rows]
    np.testing.assert_allclose(found, values, atol=3e-4, err_msg=name)


def outside_by_mdtraj(traj, bonded):
  """Counts of bonds, and of angles with omega, beyond MD's range."""
  n, ca, c, o = (4 * np.arange(16) + atom for atom in range(4))
  here = np.array(bonded)
  next_n, next_ca = n[here + 1], ca[here + 1]

  def beyond(values, name):
    least, greatest = covalent_geometry.LIMITS[name]
    return np.sum((values < least) | (values > greatest), axis=1)

  lengths = {'N-CA': (n, ca), 'CA-C': (ca, c), 'C-O': (c, o), 'C-N': (c[here], next_n)}
  angles = {
    'N-CA-C': (n, ca, c),
    'CA-C-O': (ca, c, o),
    'CA-C-N': (ca[here], c[here], next_n),
    'O-C-N': (o[here], c[here], next_n),
    'C-N-CA': (c[here], next_n, next_ca),
  }
  of_bonds = sum(
    beyond(10.0 * mdtraj.compute_distances(traj, np.stack(atoms, -1)), name)
    for name, atoms in lengths.items()
  )
  of_angles = sum(
    beyond(np.rad2deg(mdtraj.compute_angles(traj, np.stack(atoms, -1))), name)
    for name, atoms in angles.items()
  )
  omega = mdtraj.compute_dihedrals(traj, np.stack([ca[here], c[here], next_n, next_ca], -1))
  omega = np.abs(np.rad2deg(omega))
  of_angles = of_angles + beyond(np.minimum(omega, 180.0 - omega), 'omega')
  return {'bonds_outside': of_bonds, 'angles_outside': of_angles}


def ramachandran_by_mdtraj(traj, protein):
  phi, psi = (np.full((len(traj), 16), np.nan) for _ in range(2))
  for angles, compute, atom in ((phi, mdtraj.compute_phi, 1), (psi, mdtraj.compute_psi, 0)):
    atoms, values = compute(traj)
    angles[:, atoms[:, atom] // 4] = values
  # mdtraj sees no bond between chains.
  arrays = protein.arrays
  outliers, _ = ramachandran.outliers(phi, psi, arrays.residue_type, arrays.bonds)
  return np.count_nonzero(outliers, axis=1)


def test_replicas_have_a_column(trajectory_of, tmp_path):
  trajectory = trajectory_of(replicas=2, frames=3)
  trajectory_files.write(tmp_path, trajectory, 'xtc')
  rows = read(tmp_path / 'frames.csv')
  assert [(row['replica'], row['time_ns']) for row in rows] == [
    (replica, time) for replica in '12' for time in ('0.01', '0.02', '0.03')
  ]
  for k in (1, 2):
    traj = mdtraj.load(tmp_path / f'trajectory_r{k}.xtc', top=tmp_path / 'topology.pdb')
    rg = 10.0 * mdtraj.compute_rg(traj, masses=np.ones(32))
    found = [float(row['radius_of_gyration_A']) for row in rows if row['replica'] == str(k)]
    np.testing.assert_allclose(found, rg, atol=0.01)


def test_memory_does_not_grow_with_the_frames(trajectory_of):
  trajectory = trajectory_of(replicas=2, frames=10_000)
  tracemalloc.start()
  try:
    frames = frame_table.FrameTable.of(trajectory)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert peak < trajectory.positions.nbytes / 2
  short = dataclasses.replace(trajectory, positions=trajectory.positions[1:, 9_998:])
  (numbers,) = frame_table.FrameTable.of(short).numbers
  np.testing.assert_array_equal(frames.numbers[1][9_998:], numbers)


def test_a_field_is_empty_where_nothing_is_bonded(trajectory_of, tmp_path):
  trajectory = trajectory_of()
  arrays = dataclasses.replace(trajectory.protein.arrays, bonded=np.zeros(8, bool))
  protein = dataclasses.replace(trajectory.protein, arrays=arrays)
  trajectory = dataclasses.replace(trajectory, protein=protein)
  frames = trajectory_files.write(tmp_path, trajectory, 'xtc')
  assert frames.broken_percent == 0.0
  row = read(tmp_path / 'frames.csv')[0]
  assert (row['ca_ca_min_A'], row['ca_ca_max_A'], row['c_n_max_A']) == ('', '', '')
  assert float(row['rmsd_to_start_A']) > 0.0


def test_shares_count_frames_of_all_replicas(trajectory_of, tmp_path):
  trajectory = trajectory_of(replicas=2, frames=4)
  start = trajectory.protein.arrays.positions
  positions = np.tile(start, (2, 4, 1, 1, 1))
  positions[0, 1, 4:] += 5.0  # apart
  positions[1, 0, 6] = positions[1, 0, 1] + 0.5  # apart, and a clash
  frames = trajectory_files.write(
    tmp_path, dataclasses.replace(trajectory, positions=positions), 'xtc'
  )
  assert frames.broken_percent == 25.0
  assert frames.clash_percent == 12.5


def test_idealised_keeps_ca_and_gives_ideal_bonds(trajectory_of):
  protein = trajectory_of(chains=('A', 'B')).protein
  shaken = protein.arrays.positions + 100.0 + 0.05 * np.sin(np.arange(192)).reshape(16, 4, 3)
  protein = protein.with_positions(shaken)
  moved = trajectory_files.idealised(protein).arrays.positions
  np.testing.assert_allclose(moved[:, 1], protein.arrays.positions[:, 1], atol=1e-4)
  n_ca = np.linalg.norm(moved[:, 0] - moved[:, 1], axis=-1)
  np.testing.assert_allclose(n_ca, ideal.N_CA, atol=1e-4)
  assert np.abs(moved - protein.arrays.positions).max() < 0.5


def spoil(monkeypatch, change, extension='xtc'):
  """Puts a format in place of the one that is there, which changes what is written."""

  class Spoiling(writers.WRITERS[f'.{extension}']):
    def append(self, positions):
      super().append(change(positions.copy()))

  monkeypatch.setitem(writers.WRITERS, f'.{extension}', Spoiling)


@pytest.mark.parametrize('extension', trajectory_files.FORMATS)
def test_a_file_that_lost_frames_is_noticed(trajectory_of, tmp_path, monkeypatch, extension):
  spoil(monkeypatch, lambda positions: positions[:-1], extension)
  with pytest.raises(InputError, match=rf'trajectory.{extension} holds 4 of 5 frames'):
    trajectory_files.write(tmp_path, trajectory_of(), extension)


def moved(positions):
  return positions + 0.1


def zeroed(positions):
  positions[-1] = 0.0
  return positions


def one_atom_off(positions):
  positions[3, 4 * 7 + 3, 2] += 2.0
  return positions


def swapped(positions):
  return positions[::-1]


@pytest.mark.parametrize('change', [moved, zeroed, one_atom_off, swapped])
def test_a_file_with_other_numbers_is_noticed(trajectory_of, tmp_path, monkeypatch, change):
  spoil(monkeypatch, change)
  with pytest.raises(InputError, match=r'trajectory.xtc was not written correctly'):
    trajectory_files.write(tmp_path, trajectory_of(), 'xtc')


def test_a_file_that_lost_its_end_is_noticed(trajectory_of, tmp_path, monkeypatch):
  """The disk was full, and nobody said so."""
  trajectory = trajectory_of(frames=250)

  class Cutting(writers.WRITERS['.xtc']):
    def close(self):
      super().close()
      self.path.write_bytes(self.path.read_bytes()[:-700])

  monkeypatch.setitem(writers.WRITERS, '.xtc', Cutting)
  outline = trajectory_files.Outline.of(trajectory, 'xtc')
  file = trajectory_files.ReplicaFile(tmp_path, outline, 0)
  file.append(trajectory.positions[0])
  with pytest.raises(InputError, match=r'trajectory.xtc'):
    file.close()


def test_a_writer_that_fails_is_one_line(trajectory_of, tmp_path, monkeypatch):
  def fail(positions):
    raise RuntimeError('XTC write error: 7')

  spoil(monkeypatch, fail)
  with pytest.raises(
    InputError, match=r'cannot write .*disk full\? \(RuntimeError: XTC write error'
  ):
    trajectory_files.write(tmp_path, trajectory_of(), 'xtc')


@pytest.mark.parametrize('extension', trajectory_files.FORMATS)
def test_blocks_of_replicas_by_turns(trajectory_of, tmp_path, extension):
  """As they come from a sampler; and what a report is drawn from is read back."""
  trajectory = trajectory_of(replicas=2, frames=230)
  whole = tmp_path / 'whole'
  whole.mkdir()
  frames = trajectory_files.write(whole, trajectory, extension)
  outline = trajectory_files.Outline.of(trajectory, extension)
  files = [trajectory_files.ReplicaFile(tmp_path, outline, k) for k in range(2)]
  for first in range(0, 230, 46):
    for file, positions in zip(files, trajectory.positions, strict=True):
      file.append(positions[first : first + 46])
  for file in files:
    file.close()
  found = trajectory_files.join_frames(tmp_path, outline)
  assert (found.broken_percent, found.clash_percent) == (
    frames.broken_percent,
    frames.clash_percent,
  )
  assert (tmp_path / 'frames.csv').read_bytes() == (whole / 'frames.csv').read_bytes()
  assert not list(tmp_path.glob('.frames*'))
  picked = trajectory_files.picked(tmp_path, outline, most_frames=77)
  np.testing.assert_allclose(picked.positions, trajectory.positions[:, ::3], atol=0.0051)
  np.testing.assert_allclose(picked.time_ns, trajectory.time_ns[::3])


def test_positions_may_live_on_a_device(trajectory_of, tmp_path):
  trajectory = trajectory_of()
  on_device = jax.device_put(jnp.asarray(trajectory.positions), jax.devices()[1])
  trajectory_files.write(tmp_path, dataclasses.replace(trajectory, positions=on_device), 'xtc')


def test_names_are_those_of_the_files():
  for name in ('topology.pdb', 'trajectory.xtc', 'trajectory_r12.h5', 'frames.csv', 'report.html'):
    assert trajectory_files.FILE_NAMES.fullmatch(name)
  for name in ('topology_pdb', 'trajectory.xtc.bak', 'trajectory_2.xtc', 'notes.csv'):
    assert not trajectory_files.FILE_NAMES.fullmatch(name)

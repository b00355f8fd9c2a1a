"""All heavy atoms of a trajectory: their names and bonds, and files with them."""

import dataclasses

import gemmi
import jax.numpy as jnp
import mdtraj
import numpy as np
import pytest
from scipy import spatial

from tempo_jax.trajectory import atoms as atoms_lib
from tempo_jax.trajectory import trajectory as trajectory_lib
from tempo_jax.trajectory import trajectory_file, writers
from tests import heavy_trajectories


@pytest.mark.parametrize('name', ['hp35', 'nug2'])
def test_bonds_are_the_short_distances(name):
  """In MD, what is bonded is nearer than what is not."""
  traj = heavy_trajectories.simulated(name).to_mdtraj()
  found = {tuple(sorted((a.index, b.index))) for a, b in traj.top.bonds}
  tree = spatial.cKDTree(10.0 * traj.xyz[0])
  # S-C is 1.81 Å; C and C over one atom, 2.3.
  assert found == tree.query_pairs(2.0)
  assert len(found) == traj.top.n_bonds


def test_topology_of_every_type():
  trajectory = heavy_trajectories.of_every_type()
  top = atoms_lib.topology(trajectory.protein, atoms_lib.HEAVY)
  assert top.n_residues == 22
  assert [chain.n_residues for chain in top.chains] == [11, 11]
  # 167 heavy atoms are those of one each of the twenty, four of UNK, six of CYS.
  assert top.n_atoms == 167 + 4 + 6
  for residue, name in zip(top.residues, trajectory.protein.residue_names, strict=True):
    assert residue.name == name
    assert [atom.name for atom in residue.atoms][:4] == ['N', 'CA', 'C', 'O']
    # As PDB files and mdtraj's reader of them know the elements.
    assert all(atom.element.symbol == atom.name[0] for atom in residue.atoms)
  across = [
    (a.residue.index, a.name, b.residue.index, b.name)
    for a, b in top.bonds
    if a.residue is not b.residue
  ]
  peptides = [(i, 'C', i + 1, 'N') for i in range(21) if i != 10]
  assert across == [*peptides, (1, 'SG', 21, 'SG')]
  # The rest is within residues, one bond less than atoms but for seven rings in six types.
  assert top.n_bonds == len(across) + 177 - 22 + 6


def test_absent_atoms_are_left_out_and_come_back_at_ca():
  trajectory = heavy_trajectories.of_every_type(replicas=2)
  types = trajectory.protein.arrays.residue_type
  flat = atoms_lib.flat(trajectory.heavy_atoms, types)
  assert flat.shape == (2, 4, 177, 3)
  # Alanine is the first residue: five atoms; serine's OG ends the sixteenth.
  np.testing.assert_array_equal(flat[..., :5, :], trajectory.heavy_atoms[..., 0, :5, :])
  back = atoms_lib.unflat(flat, types, atoms_lib.HEAVY)
  np.testing.assert_array_equal(back, trajectory.heavy_atoms)
  backbone = atoms_lib.flat(trajectory.positions, types)
  np.testing.assert_array_equal(
    atoms_lib.unflat(backbone, types, atoms_lib.BACKBONE), trajectory.positions
  )


def test_other_shapes_are_refused():
  protein = heavy_trajectories.of_every_type().protein
  for shape in ((1, 3, 22, 5, 3), (1, 3, 22, 14), (14, 3)):
    with pytest.raises(ValueError, match='4 or 14'):
      trajectory_lib.Trajectory.of_atoms(np.zeros(shape), protein, 0.01)
  with pytest.raises(ValueError, match='heavy atoms have shape'):
    trajectory_lib.Trajectory(
      np.zeros((1, 3, 22, 4, 3)), protein, 0.01, heavy_atoms=np.zeros((1, 2, 22, 14, 3))
    )


def test_a_trajectory_holds_its_atoms_once():
  trajectory = heavy_trajectories.simulated('hp35')
  assert trajectory.atom_choice == 'heavy'
  assert np.shares_memory(trajectory.positions, trajectory.heavy_atoms)
  np.testing.assert_array_equal(trajectory.positions, trajectory.heavy_atoms[..., :4, :])
  later = dataclasses.replace(trajectory, start_ns=0.5)
  assert later.heavy_atoms is trajectory.heavy_atoms
  backbone = trajectory_lib.Trajectory.of_atoms(trajectory.positions, trajectory.protein, 0.01)
  assert backbone.heavy_atoms is None
  assert backbone.atom_choice == 'backbone'
  assert backbone.to_mdtraj().n_atoms == 4 * 35


@pytest.mark.parametrize(
  ('suffix', 'tolerance'), [('.xtc', 0.0051), ('.dcd', 1e-5), ('.pdb', 0.00051), ('.h5', 1e-5)]
)
@pytest.mark.parametrize('device', [False, True])
def test_files_hold_what_mdtraj_reads_by_name(tmp_path, suffix, tolerance, device):
  """MD -> our arrays -> file, read back by mdtraj alone, with the topology that we write."""
  trajectory = heavy_trajectories.simulated('nug2')
  if device:
    heavy = jnp.asarray(trajectory.heavy_atoms)
    trajectory = trajectory_lib.Trajectory.of_atoms(heavy, trajectory.protein, trajectory.dt_ns)
  (path,) = trajectory.save(tmp_path / f'x{suffix}')
  start = np.asarray(trajectory.heavy_atoms)[0, 0]
  trajectory_lib.save_structure(tmp_path / 'topology.pdb', trajectory.protein, start)
  read = mdtraj.load(str(path), **({} if suffix == '.h5' else {'top': tmp_path / 'topology.pdb'}))
  folder = heavy_trajectories.SIMULATED / 'nug2'
  md = mdtraj.load(str(folder / 'nug2_R1.xtc'), top=str(folder / 'nug2.pdb'))[:5]
  by_name = {(a.residue.index, a.name): a.index for a in md.top.atoms}
  order = [by_name[atom.residue.index, atom.name] for atom in read.top.atoms]
  # But for OXT, every atom of the MD is there.
  assert len(set(order)) == len(order) == md.n_atoms - 1
  np.testing.assert_allclose(10.0 * read.xyz, 10.0 * md.xyz[:, order], atol=tolerance + 1e-5)
  if suffix in ('.xtc', '.h5'):
    np.testing.assert_allclose(read.time, [10.0, 20.0, 30.0, 40.0, 50.0])
  (found,) = trajectory_file.read(path, trajectory.protein, atoms=atoms_lib.HEAVY)
  np.testing.assert_allclose(found, trajectory.heavy_atoms[0], atol=tolerance + 1e-5)


def test_names_of_pdb_are_those_of_the_standard(tmp_path):
  """gemmi finds every atom, of its element, and the bonds between sulphurs."""
  trajectory = heavy_trajectories.of_every_type()
  path = tmp_path / 'topology.pdb'
  trajectory_lib.save_structure(path, trajectory.protein, trajectory.heavy_atoms[0, 0])
  names = atoms_lib.names(trajectory.protein.arrays.residue_type, atoms_lib.HEAVY)
  read = [residue for chain in gemmi.read_structure(str(path))[0] for residue in chain]
  assert [tuple(atom.name for atom in residue) for residue in read] == names
  assert all(atom.element.name == atom.name[0] for residue in read for atom in residue)
  # Columns 13 and 14 hold the element: '  CA  ' is an alpha carbon, 'CA' would be calcium.
  assert all(line[12] == ' ' for line in path.read_text().splitlines() if line[:4] == 'ATOM')


@pytest.mark.parametrize('suffix', writers.WRITERS)
def test_one_side_chain_atom_that_moved_is_noticed(tmp_path, monkeypatch, suffix):
  class Moving(writers.WRITERS[suffix]):
    def append(self, coordinates):
      coordinates = coordinates.copy()
      coordinates[2, -1] += 2.5  # SG of the last residue
      super().append(coordinates)

  monkeypatch.setitem(writers.WRITERS, suffix, Moving)
  with pytest.raises(ValueError, match=r'was not written correctly.*other coordinates'):
    heavy_trajectories.of_every_type().save(tmp_path / f'x{suffix}')


def test_a_file_of_the_backbone_takes_no_other_atoms(tmp_path):
  trajectory = heavy_trajectories.of_every_type()
  file = trajectory_file.Writer(tmp_path / 'x.xtc', trajectory.protein, 0.01, 0.01)
  with pytest.raises(ValueError, match='14 atoms for a file of backbone ones'):
    file.append(trajectory.heavy_atoms[0])
  file.abandon()


def test_several_replicas_go_to_several_files(tmp_path):
  trajectory = heavy_trajectories.of_every_type(replicas=2)
  paths = trajectory.save(tmp_path / 'x.xtc')
  for replica, path in zip(trajectory.heavy_atoms, paths, strict=True):
    (found,) = trajectory_file.read(path, trajectory.protein, atoms=atoms_lib.HEAVY)
    np.testing.assert_allclose(found, replica, atol=0.0052)

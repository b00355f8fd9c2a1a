"""Arrays as AlphaFold's, MDGen's and BioEmu's programs have them."""

import pathlib

import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.protein import structure_file
from tempo_jax.trajectory import arrays
from tests import heavy_trajectories, peptides

# AlphaFold's order of 37 atoms, typed anew.
ATOM37 = (
  *('N', 'CA', 'C', 'CB', 'O', 'CG', 'CG1', 'CG2', 'OG', 'OG1', 'SG', 'CD', 'CD1', 'CD2', 'ND1'),
  *('ND2', 'OD1', 'OD2', 'SD', 'CE', 'CE1', 'CE2', 'CE3', 'NE', 'NE1', 'NE2', 'OE1', 'OE2', 'CH2'),
  *('NH1', 'NH2', 'OH', 'CZ', 'CZ2', 'CZ3', 'NZ', 'OXT'),
)
NATIVE = heavy_trajectories.SIMULATED / 'hhh0335' / 'hhh0335.pdb'


@pytest.fixture(scope='module')
def md():
  """MD of all atoms: 14 of the 20 residue types."""
  file = NATIVE.with_name('hhh0335_R1.xtc')
  traj = mdtraj.load(str(file), top=str(NATIVE), stride=20)[:4]
  return traj.atom_slice(traj.topology.select('element != H'))


@pytest.fixture(scope='module')
def protein():
  return structure_file.load_protein(NATIVE)


def atom37(traj):
  """[F, L, 37, 3] Å by the names of atoms; absent ones zero."""
  found = np.zeros((traj.n_frames, traj.n_residues, 37, 3), np.float32)
  for atom in traj.topology.atoms:
    found[:, atom.residue.index, ATOM37.index(atom.name)] = 10.0 * traj.xyz[:, atom.index]
  return found


def of_mdtraj(traj, frames):
  """What mdtraj has of the atoms that `frames` names, [F, N, 3] Å, and what it has itself."""
  index = {(a.residue.index, a.name): a.index for a in traj.topology.atoms}
  rows = [index[a.residue.index, a.name] for a in frames.topology.atoms]
  (block,) = frames.blocks(100)
  return 10.0 * traj.xyz[:, rows], 10.0 * block.xyz


def test_the_order_of_37(protein):
  assert arrays.ATOM37 == ATOM37
  assert len(protein.sequence) == 43


@pytest.mark.parametrize('missing', [0.0, np.nan])
def test_atom37(md, protein, missing):
  array = atom37(md)
  array[(array == 0.0).all(axis=-1)] = missing
  frames, slots = arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  # All but OXT.
  assert frames.topology.n_atoms == md.n_atoms - 1
  assert not frames.is_nm
  np.testing.assert_allclose(*of_mdtraj(md, frames), atol=1e-4)
  expected = heavy_trajectories.slots_of(md)
  (block,) = frames.blocks()
  found = 10.0 * block.xyz[:, np.where(slots < 0, slots[:, 1:2], slots)]
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_atom14(md, protein):
  """As far as the atoms of a residue go, its order is that of our slots: a test of ours says so."""
  array = heavy_trajectories.slots_of(md)
  there = np.any(array[0] != array[0, :, 1:2], axis=-1)
  there[:, 1] = True
  array = np.where(there[..., None], array, 0.0)
  frames, _ = arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  assert frames.topology.n_atoms == md.n_atoms - 1
  np.testing.assert_allclose(*of_mdtraj(md, frames), atol=1e-4)


@pytest.mark.parametrize('order', [[0, 1, 2], [0, 1, 2, 4], [0, 1, 2, 3, 4], [0, 1, 2, 4, 3]])
def test_backbones(md, protein, order):
  """N, CA, C; with O; with CB and O, in both orders; GLY has no CB."""
  array = atom37(md)[:, :, order]
  frames, slots = arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  np.testing.assert_allclose(*of_mdtraj(md, frames), atol=1e-4)
  glycines = protein.sequence.count('G')
  expected = len(order) * protein.num_residues - (glycines if len(order) == 5 else 0)
  assert frames.topology.n_atoms == expected
  assert (slots[:, 3] >= 0).all() == (4 in order)


def test_nanometres(md, protein):
  array = atom37(md) / 10.0
  frames, _ = arrays.of_residues(array.astype(np.float64), protein, pathlib.Path('P.npy'))
  assert frames.is_nm
  np.testing.assert_allclose(*of_mdtraj(md, frames), atol=1e-4)


def test_blocks_are_the_whole(md, protein):
  frames, _ = arrays.of_residues(atom37(md), protein, pathlib.Path('P.npy'))
  blocks = list(frames.blocks(3))
  assert [len(block) for block in blocks] == [3, 1]
  (whole,) = frames.blocks()
  np.testing.assert_array_equal(np.concatenate([b.xyz for b in blocks]), whole.xyz)
  assert np.concatenate([b.time for b in blocks]).tolist() == [0, 1, 2, 3]
  assert whole.time.dtype.kind == 'i'


def test_a_lone_missing_atom_is_left_out(md, protein):
  array = atom37(md)
  residue = protein.sequence.index('K')
  array[:, residue, ATOM37.index('NZ')] = 0.0
  frames, slots = arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  assert slots[residue].tolist().count(-1) == 14 - 8
  np.testing.assert_allclose(*of_mdtraj(md, frames), atol=1e-4)


def test_an_atom_at_the_origin_is_there(md, protein):
  array = atom37(md)
  array -= array[:1, 7:8, 1:2]
  frames, slots = arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  assert (slots[:, :4] >= 0).all()
  (block,) = frames.blocks()
  assert block.xyz[0, slots[7, 1]].tolist() == [0.0, 0.0, 0.0]


def test_mistakes(md, protein):
  array = atom37(md)
  array[:, 4, 2] = 0.0
  with pytest.raises(InputError, match=r'P.npy: .*5 \w+ has no C in frame 0: N, CA and C'):
    arrays.of_residues(array, protein, pathlib.Path('P.npy'))
  only_ca = np.zeros_like(array)
  only_ca[:, :, 1] = array[:, :, 1]
  with pytest.raises(InputError, match=r'1 \w+ has no N in frame 0'):
    arrays.of_residues(only_ca, protein, pathlib.Path('P.npy'))
  helix = np.broadcast_to(peptides.helix(43), (2, 43, 5, 3))
  with pytest.raises(InputError, match=r'are 1.7 times N-CA away from C, so that none is O'):
    arrays.of_residues(helix[:, :, [0, 1, 2, 4]], protein, pathlib.Path('P.npy'))


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'no array', 'numpy cannot read it: give a sound .npy file'),
    (b'', 'numpy cannot read it'),
    (np.array([{'a': 1}]), 'numpy cannot read it'),  # A pickle.
    (np.zeros((4, 3)), r'holds float64 \[4, 3\], no coordinates: give \[frames'),
    (np.zeros((2, 4, 3), int), r'holds int64 \[2, 4, 3\], no coordinates'),
    (np.zeros((2, 4, 5, 2)), 'no coordinates'),
    (np.zeros((0, 4, 5, 3)), 'no coordinates'),
    (np.zeros((2, 2, 4, 5, 3)), 'no coordinates'),
  ],
)
def test_no_array_of_coordinates(tmp_path, content, message):
  path = tmp_path / 'P.npy'
  if isinstance(content, bytes):
    path.write_bytes(content)
  else:
    np.save(path, content, allow_pickle=True)
  with pytest.raises(InputError, match=f'P.npy: .*{message}') as raised:
    arrays.load(path)
  assert '\n' not in str(raised.value)


def test_leading_axes_of_one_go(tmp_path):
  np.save(tmp_path / 'P.npy', np.ones((1, 1, 6, 5, 14, 3), np.float16))
  assert arrays.load(tmp_path / 'P.npy').shape == (6, 5, 14, 3)
  assert arrays.is_array(tmp_path / 'P.NPY')
  assert not arrays.is_array(tmp_path / 'P.npz')

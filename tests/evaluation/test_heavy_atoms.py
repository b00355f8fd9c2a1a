import mdtraj
import numpy as np
import pytest

from tempo_jax.errors import InputError
from tempo_jax.evaluation import ensemble, replica
from tempo_jax.protein import side_chain_atoms
from tests import heavy_trajectories
from tests.evaluation import cases

FRAMES = 6
NAME = 'cln025'
NATIVE = heavy_trajectories.SIMULATED / NAME / f'{NAME}.pdb'


@pytest.fixture(scope='module')
def md():
  """Frames of MD of all atoms, with hydrogens; TYR, ASP, PRO, GLU, THR, GLY, TRP."""
  file = NATIVE.with_name(f'{NAME}_R1.xtc')
  traj = mdtraj.load(str(file), top=str(NATIVE), stride=10)[:FRAMES]
  traj.time = cases.DT_PS * np.arange(FRAMES)
  return traj


def write(folder, traj, name='P.xtc'):
  """A file, and the structure with its atoms beside it."""
  folder.mkdir(exist_ok=True)
  traj[0].save(str(folder / 'topology.pdb'))
  traj.save(str(folder / name))
  return folder / name


def by_mdtraj(traj, compute):
  """[F, K] torsions of mdtraj, and the residues that have them."""
  atoms, angles = compute(traj)
  return angles, [traj.topology.atom(quad[1]).residue.index for quad in atoms]


def test_atoms_and_chi_are_those_of_mdtraj(md, tmp_path):
  found = replica.Native(NATIVE).read(write(tmp_path / 'md', md), block_frames=4)
  expected = heavy_trajectories.slots_of(md)
  assert found.heavy_atoms.shape == (FRAMES, md.n_residues, 14, 3)
  assert found.heavy_atoms.dtype == np.float32
  np.testing.assert_allclose(found.heavy_atoms, expected, atol=0.0051 + 1e-4)
  both = ensemble.Ensemble(replica.Native(NATIVE).protein, [found, found.take(slice(1, 4))])
  np.testing.assert_array_equal(
    both.heavy_atoms, np.concatenate([found.heavy_atoms, found.heavy_atoms[1:4]])
  )
  written = mdtraj.load(str(tmp_path / 'md' / 'P.xtc'), top=str(NATIVE))
  of_types = np.zeros((md.n_residues, 4), bool)
  for k, compute in enumerate((mdtraj.compute_chi1, mdtraj.compute_chi2, mdtraj.compute_chi3)):
    angles, residues = by_mdtraj(written, compute)
    kept = [i for i, at in enumerate(residues) if md.topology.residue(at).name != 'PRO' or k == 0]
    columns = [residues[i] for i in kept]
    of_types[columns, k] = True
    turned = both.chi[:FRAMES, columns, k] - angles[:, kept]
    np.testing.assert_allclose(np.cos(turned), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.sin(turned), 0.0, atol=1e-3)
  assert both.chi.dtype == np.float64
  np.testing.assert_array_equal(np.isnan(both.chi), np.broadcast_to(~of_types, both.chi.shape))


def test_atoms_in_another_order_are_found_by_their_names(md, tmp_path):
  native = replica.Native(NATIVE)
  expected = native.read(write(tmp_path / 'md', md))
  order = [
    atom.index
    for residue in md.topology.residues
    for atom in sorted(residue.atoms, key=lambda atom: atom.name[::-1])
  ]
  # `atom_slice` keeps the order of the indices, but not the chains of the atoms.
  top = mdtraj.Topology()
  chain, residue = top.add_chain(), None
  for index in order:
    atom = md.topology.atom(index)
    if residue is None or residue.resSeq != atom.residue.resSeq:
      residue = top.add_residue(atom.residue.name, chain, resSeq=atom.residue.resSeq)
    top.add_atom(atom.name, atom.element, residue)
  shuffled = mdtraj.Trajectory(md.xyz[:, order], top, time=md.time)
  found = native.read(write(tmp_path / 'shuffled', shuffled))
  np.testing.assert_allclose(found.heavy_atoms, expected.heavy_atoms, atol=0.02)
  np.testing.assert_array_equal(found.side_chains.known, expected.side_chains.known)


def test_missing_atoms_of_one_residue_are_not_known(md, tmp_path):
  native = replica.Native(NATIVE)
  whole = native.read(write(tmp_path / 'md', md))
  assert whole.remarks == ()
  (lacking,) = [i for i, r in enumerate(md.topology.residues) if r.name == 'GLU']
  kept = md.topology.select(f'not (resid {lacking} and name CG)')
  found = native.read(write(tmp_path / 'cut', md.atom_slice(kept)))
  label = native.protein.label(lacking)
  assert found.remarks == (f'side chain of 1 residue is incomplete: {label} (no CG)',)
  types = native.protein.arrays.residue_type
  expected = np.array(side_chain_atoms.atom_mask(types))
  np.testing.assert_array_equal(whole.side_chains.known, expected)
  expected[lacking, side_chain_atoms.ATOM_NAMES[types[lacking]].index('CG')] = False
  np.testing.assert_array_equal(found.side_chains.known, expected)
  mixed = ensemble.Ensemble(native.protein, [whole, found])
  np.testing.assert_array_equal(mixed.known_atoms, expected)
  # All three chi of GLU need its CG; no other angle does.
  unknown = np.isnan(mixed.chi[FRAMES:]) & ~np.isnan(mixed.chi[:FRAMES])
  assert unknown[:, lacking, :3].all()
  assert unknown.sum() == 3 * FRAMES
  atoms = found.heavy_atoms
  np.testing.assert_array_equal(atoms[:, ~expected], atoms[:, np.nonzero(~expected)[0], 1])


@pytest.mark.parametrize('names', ['N CA C O', 'N CA C O CB', 'N CA C'])
def test_backbones_have_no_side_chains(md, tmp_path, names):
  native = replica.Native(NATIVE)
  heavy = native.read(write(tmp_path / 'md', md))
  path = write(tmp_path / 'sampled', md.atom_slice(md.topology.select(f'name {names}')))
  found = native.read(path)
  assert found.side_chains is None
  assert found.heavy_atoms is None
  mixed = ensemble.Ensemble(native.protein, [heavy, found])
  assert mixed.heavy_atoms is None
  assert mixed.chi is None
  assert mixed.known_atoms is None
  assert mixed.no_side_chains == f'{path} has no side chains'
  assert ensemble.Ensemble(native.protein, [heavy]).no_side_chains is None
  if names == 'N CA C O':
    # Nor where the atoms are known by their number, beside a native structure with side chains.
    (path.parent / 'topology.pdb').unlink()
    assert native.read(path).side_chains is None


def test_side_chains_follow_their_chain_and_are_put_together(md, tmp_path):
  """A second chain that jumps by the box, and a side chain that the box cuts."""
  other = mdtraj.Trajectory(md.xyz + np.array([2.0, 0.0, 0.0]), md.topology.copy())
  two = md.stack(other)
  two.time = md.time
  two.unitcell_vectors = np.tile(np.diag([4.0, 5.0, 6.0]), (FRAMES, 1, 1))
  folder = tmp_path / 'native'
  expected_file = write(folder, two)
  native = replica.Native(folder / 'topology.pdb')
  expected = native.read(expected_file)
  moved = two[:]
  moved.xyz[3:, md.n_atoms :] -= np.array([4.0, 0.0, 0.0])
  ring = two.topology.select('resid 8 and resname TRP and name CZ2 CH2 CZ3')
  assert len(ring) == 3
  moved.xyz[2:5, ring] += np.array([0.0, 5.0, -6.0])
  found = native.read(write(tmp_path / 'moved', moved))
  np.testing.assert_allclose(found.heavy_atoms, expected.heavy_atoms, atol=0.03)
  turned = found.side_chains.chi - expected.side_chains.chi
  np.testing.assert_allclose(np.nan_to_num(np.sin(turned)), 0.0, atol=0.05)


def test_side_chains_that_are_no_numbers_are_refused(md, tmp_path):
  bad = md[:]
  bad.xyz[4, md.topology.select('resname TRP and name CH2')[0]] = np.nan
  path = write(tmp_path / 'bad', bad, 'P.dcd')
  with pytest.raises(InputError, match=r'P.dcd: frame 4 has coordinates that are not numbers'):
    replica.Native(NATIVE).read(path)


def test_broken_side_chains_are_read_and_named(md, tmp_path):
  """Bad predictions are to be judged: what cannot be is left out, and the user is told."""
  torn = md[:]
  atom = md.topology.select('resname TRP and name CG')[0]
  torn.xyz[4, atom] += np.array([0.0, 0.3, 0.0])
  found = replica.Native(NATIVE).read(write(tmp_path / 'torn', torn))
  chi = found.side_chains.chi[:, 8]
  assert np.isnan(chi[4, :2]).all()
  assert not np.isnan(chi[:4, :2]).any()
  assert len(found.remarks) == 1
  assert 'chi of 1 of 10 residues are left out' in found.remarks[0]
  assert found.remarks[0].endswith('A:9 TRP')

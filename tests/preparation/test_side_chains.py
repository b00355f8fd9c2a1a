"""Torsions of side chains from trajectories to the store; mdtraj is the oracle."""

import shutil

import h5py
import mdtraj
import numpy as np
import pytest

from tempo_jax.geometry import side_chains
from tempo_jax.preparation import trajectories
from tempo_jax.preparation.atlas import atlas
from tempo_jax.preparation.inspection import store_checks, store_text
from tempo_jax.preparation.mdcath import domain_file
from tempo_jax.protein import side_chain_atoms
from tempo_jax.store import store as store_lib
from tests import heavy_atoms

NUM_FRAMES = 12
TYPES = heavy_atoms.ALL_TYPES[:20]
BOX_NM = 9.0


@pytest.fixture(scope='module')
def moving():
  """A helix of the 20 types, whose side chains turn; 10 ps between frames."""
  rng = np.random.default_rng(3)
  backbone, chi = heavy_atoms.helix(NUM_FRAMES, 20)
  atoms = np.asarray(side_chains.heavy_atoms(backbone, chi, TYPES))
  trajectory = heavy_atoms.as_mdtraj(atoms + rng.normal(scale=0.03, size=atoms.shape), TYPES)
  trajectory.time = 10.0 * np.arange(1, NUM_FRAMES + 1)
  trajectory.unitcell_lengths = np.full((NUM_FRAMES, 3), BOX_NM)
  trajectory.unitcell_angles = np.full((NUM_FRAMES, 3), 90.0)
  return trajectory


@pytest.fixture
def folder(tmp_path, moving):
  raw = tmp_path / '1abc_A'
  raw.mkdir()
  moving[0].save(str(raw / '1abc_A.pdb'))
  moving.save(str(raw / '1abc_A_R1.xtc'))
  return raw


def by_mdtraj(trajectory):
  """[F, L, 4] rad, NaN where there is no such angle; PRO has chi1 only."""
  found = np.full((trajectory.n_frames, trajectory.n_residues, 4), np.nan)
  for k in range(4):
    quartets, angles = getattr(mdtraj, f'compute_chi{k + 1}')(trajectory, periodic=False)
    for quartet, angle in zip(quartets, angles.T, strict=True):
      residue = trajectory.top.atom(quartet[1]).residue
      if k == 0 or residue.name != 'PRO':
        found[:, residue.index, k] = angle
  return found


def assert_turns(found, expected, atol=1e-4):
  np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
  assert np.nanmax(np.abs(np.angle(np.exp(1j * (found - expected))))) < atol


def prepare(folder, store, **kwargs):
  trajectories.prepare(
    folder / '1abc_A.pdb', [folder / '1abc_A_R1.xtc'], store, num_workers=1, **kwargs
  )
  return store_lib.Store(store)


def old_store(path):
  """As a version without side chains would have written it."""
  (entry,) = store_lib.Store(path).entries
  positions = store_lib.Store(path).read(entry)
  with store_lib.StoreWriter(path) as writer:
    assert writer.add(entry, positions, overwrite=True)
  assert not store_lib.Store(path).entries[0].has_chi


@pytest.mark.parametrize('block_frames', [2, 5, None])
def test_trajectories(tmp_path, folder, block_frames):
  store = prepare(folder, tmp_path / 's', block_frames=block_frames)
  (entry,) = store.entries
  written = mdtraj.load(str(folder / '1abc_A_R1.xtc'), top=str(folder / '1abc_A.pdb'))
  assert_turns(store.read_chi(entry), by_mdtraj(written))
  np.testing.assert_array_equal(
    ~np.isnan(store.read_chi(entry)), [side_chain_atoms.chi_mask(TYPES)] * NUM_FRAMES
  )
  report = store_checks.inspect(tmp_path / 's', num_workers=1)
  assert store_text.contents(report)['side chains'] == (
    'of 1 of 1 entries, 100 % of their torsions known'
  )


def test_a_missing_atom_is_not_known_in_any_frame(tmp_path, folder, moving):
  lysine = next(r for r in moving.top.residues if r.name == 'LYS')
  kept = [a.index for a in moving.top.atoms if a.index != lysine.atom('CD').index]
  moving.atom_slice(kept)[0].save(str(folder / '1abc_A.pdb'))
  moving.atom_slice(kept).save(str(folder / '1abc_A_R1.xtc'))
  store = prepare(folder, tmp_path / 's')
  known = ~np.isnan(store.read_chi(store.entries[0]))
  expected = side_chain_atoms.chi_mask(TYPES).copy()
  expected[lysine.index, 1:] = False
  np.testing.assert_array_equal(known, [expected] * NUM_FRAMES)
  report = store_checks.inspect(tmp_path / 's', num_workers=1)
  total = NUM_FRAMES * int(side_chain_atoms.chi_mask(TYPES).sum())
  (said,) = (str(f) for f in report.findings if f.kind == 'side chains')
  assert f'{3 * NUM_FRAMES} of {total} torsions of its side chains are not known' in said


def test_backbones_alone(tmp_path, folder, moving):
  backbone = moving.atom_slice(moving.top.select('name N CA C O'))
  backbone[0].save(str(folder / '1abc_A.pdb'))
  backbone.save(str(folder / '1abc_A_R1.xtc'))
  store = prepare(folder, tmp_path / 's')
  assert not store.entries[0].has_chi
  prepare(folder, tmp_path / 's')  # There is nothing to be added.
  report = store_checks.inspect(tmp_path / 's', num_workers=1)
  assert store_text.contents(report)['side chains'] == 'of 0 of 1 entries'


def test_entries_of_an_older_version(tmp_path, folder, capsys):
  prepare(folder, tmp_path / 's')
  old_store(tmp_path / 's')
  capsys.readouterr()
  store = prepare(folder, tmp_path / 's')
  said = '1abc_A/T300/R1: there already, without side chains: --overwrite adds them'
  assert said in capsys.readouterr().out
  assert not store.entries[0].has_chi
  assert prepare(folder, tmp_path / 's', overwrite=True).entries[0].has_chi
  prepare(folder, tmp_path / 's')
  assert 'there already, skipped' in capsys.readouterr().out


@pytest.mark.parametrize('stride', [1, 3])
@pytest.mark.parametrize('block_frames', [2, None])
def test_atlas(tmp_path, folder, stride, block_frames, capsys):
  def run(**changes):
    settings = atlas.Settings(
      str(tmp_path / 's'),
      stride_ns=0.01 * stride,
      replicas=(1,),
      block_frames=block_frames,
      **changes,
    )
    assert atlas.prepare(tmp_path, settings, num_workers=1) == 0
    return store_lib.Store(tmp_path / 's')

  store = run()
  (entry,) = store.entries
  written = mdtraj.load(str(folder / '1abc_A_R1.xtc'), top=str(folder / '1abc_A.pdb'))
  assert_turns(store.read_chi(entry), by_mdtraj(written[::stride]))
  old_store(tmp_path / 's')
  capsys.readouterr()
  run()
  assert '1abc_A: R1 there already, without side chains: --overwrite adds them' in (
    capsys.readouterr().out
  )
  cut = run(max_residues=15, overwrite=True)
  expected = by_mdtraj(written[::stride])[:, :15]
  assert_turns(cut.read_chi(cut.entries[0]), expected)


@pytest.mark.parametrize('cut', [False, True], ids=['whole', 'cut by the box'])
def test_mdcath(tmp_path, folder, moving, cut):
  """Every atom is wrapped by itself; the box is in nm, of another unit than coordinates."""
  coords = 10.0 * moving.xyz.astype(np.float64)
  expected = by_mdtraj(moving)
  if cut:
    coords = (coords - coords.mean(axis=1, keepdims=True)) % (10.0 * BOX_NM)
  file = tmp_path / 'mdcath_dataset_1abcA00.h5'
  with h5py.File(file, 'w') as h5:
    domain = h5.create_group('1abcA00')
    domain['pdbProteinAtoms'] = (folder / '1abc_A.pdb').read_text()
    group = domain.create_group('320/0')
    group['coords'] = coords.astype(np.float32)
    group['box'] = (BOX_NM * np.eye(3)).astype(np.float32)

  def run(max_residues=0, overwrite=False):
    selection = domain_file.Selection(
      replicas=(0,), num_frames=20, extend_periodically=True, max_residues=max_residues
    )
    raw = domain_file.RawDomain(
      file, '1abcA00', selection, str(tmp_path / 's'), overwrite=overwrite, block_frames=5
    )
    with store_lib.StoreWriter(tmp_path / 's'):
      result = domain_file.prepare(raw)
    assert not result.errors
    return store_lib.Store(tmp_path / 's'), result

  store, _ = run()
  expected = np.concatenate([expected, expected[:8]])
  assert_turns(store.read_chi(store.entries[0]), expected)
  old_store(tmp_path / 's')
  _, result = run()
  said = '1abcA00: 320/0 there already, without side chains: --overwrite adds them'
  assert said in result.lines
  store, _ = run(max_residues=15, overwrite=True)
  assert_turns(store.read_chi(store.entries[0]), expected[:, :15])


def test_real_trajectories(tmp_path, shared_data):
  """Of implicit solvent (AMBER), and of explicit solvent with disulphides."""
  for place, name in (('openmm_implicit/2jof', '2jof'), ('trajectories/bpti_5ns', 'bpti')):
    folder = tmp_path / name
    folder.mkdir()
    source = shared_data / place
    (xtc, *_) = sorted(source.glob('*.xtc'))
    shutil.copy(source / f'{name}.pdb', folder / '1abc_A.pdb')
    shutil.copy(xtc, folder / '1abc_A_R1.xtc')
    store = prepare(folder, tmp_path / 's', name=name)
    (entry,) = (entry for entry in store.entries if entry.name == name)
    frames = slice(None, None, 50)
    whole = mdtraj.load(str(xtc), top=str(source / f'{name}.pdb'))[frames]
    residues = [r.index for r in whole.top.residues if any(a.name == 'CA' for a in r.atoms)]
    found = store.read_chi(entry, frames)
    assert_turns(found, by_mdtraj(whole)[:, residues])
    mask = side_chain_atoms.chi_mask(entry.residue_type)
    np.testing.assert_array_equal(~np.isnan(found), [mask] * len(found))


def test_side_chains_that_a_box_cuts_in_some_frames(tmp_path, folder, moving):
  """The backbone stays whole."""
  cut = moving[:]
  outer = [a.index for a in cut.top.atoms if a.name not in ('N', 'CA', 'C', 'O', 'CB', 'CG', 'SG')]
  cut.xyz[3:7, outer] -= [BOX_NM, 0.0, 2.0 * BOX_NM]
  cut.save(str(folder / '1abc_A_R1.xtc'))
  store = prepare(folder, tmp_path / 's')
  assert_turns(store.read_chi(store.entries[0]), by_mdtraj(moving), 0.02)

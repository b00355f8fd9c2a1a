"""The tables of molecules: what is read and compared, and that MD in a model's place is right."""

import dataclasses
import json
import shutil
import sys
import types

import mdtraj
import numpy as np
import pytest

from experiments.benchmarks import (
  covalent_geometry,
  heavy_frames,
  held_out,
  molecule_rows,
  molecules,
  side_chain_placement,
)
from tempo_jax.errors import InputError
from tempo_jax.protein import side_chain_atoms
from tests.experiments.test_held_out import SIMULATED, short_hp35


@pytest.fixture(scope='module')
def target():
  return short_hp35()


@pytest.fixture(scope='module')
def hp35(target):
  """The protein, and both of its replicas of MD."""
  return heavy_frames.read(target.topology, target.reference, 'hp35', 0.01)


@pytest.fixture(scope='module')
def theirs(target):
  """The first replica as mdtraj reads it, and its chi1 [F, n]."""
  found = mdtraj.load(target.reference[0], top=target.topology)
  return found, mdtraj.compute_chi1(found)[1]


def turned(a, b):
  return np.abs((a - b + np.pi) % (2.0 * np.pi) - np.pi)


def chi1_of(chi, residue_type):
  return chi[..., side_chain_atoms.chi_mask(residue_type)[:, 0], 0]


def test_heavy_atoms_and_chi_are_those_of_the_file(hp35, theirs):
  protein, md = hp35
  traj, chi1 = theirs
  np.testing.assert_allclose(turned(chi1_of(md.chi[0], md.residue_type), chi1), 0.0, atol=1e-4)
  there = side_chain_atoms.atom_mask(md.residue_type)
  names = [side_chain_atoms.ATOM_NAMES[kind] for kind in md.residue_type]
  for residue, row, mask, own in zip(
    traj.topology.residues, md.heavy_atoms[0].swapaxes(0, 1), there, names, strict=True
  ):
    index = [next(a.index for a in residue.atoms if a.name == name) for name in own]
    np.testing.assert_allclose(row[:, mask], 10.0 * traj.xyz[:, index], atol=1e-4)
    np.testing.assert_array_equal(row[:, ~mask], row[:, [1] * int((~mask).sum())])
  np.testing.assert_array_equal(md.positions[0], md.heavy_atoms[0][:, :, :4])
  assert protein.num_residues == 35


def test_frames_at_a_time_step(target, hp35):
  _, sparse = heavy_frames.read(target.topology, target.reference[:1], 'hp35', 0.02)
  np.testing.assert_array_equal(sparse.heavy_atoms[0], hp35[1].heavy_atoms[0][::2])
  with pytest.raises(InputError, match=r'hp35_R1\.xtc: frames are .* nearer to one another'):
    heavy_frames.read(target.topology, target.reference[:1], 'hp35', 0.015)


def test_backbones_have_no_side_chains(tmp_path, theirs):
  traj, _ = theirs
  backbone = traj.atom_slice(traj.topology.select('backbone'))
  backbone[0].save_pdb(str(tmp_path / 'topology.pdb'))
  backbone.save_xtc(str(tmp_path / 'trajectory.xtc'))
  shutil.copytree(tmp_path, tmp_path / 'hp35')
  found = molecules.predicted(tmp_path, 'hp35', 0.01)
  assert found.heavy_atoms is None
  assert found.positions[0].shape == (46, 35, 4, 3)
  with pytest.raises(InputError, match=r'2m9i: holds no topology\.pdb and trajectory files'):
    molecules.predicted(tmp_path, '2m9i', 0.01)


def test_short_replicas_are_left_out(tmp_path, target):
  (tmp_path / 'hp35').mkdir()
  more = tmp_path / 'hp35/hp35_R1.xtc'
  shutil.copy(target.reference[1], more)
  every = molecules.targets(SIMULATED, tmp_path, None)
  (long,) = (x for x in every if x.name == 'hp35')
  assert long.reference == (SIMULATED / 'hp35/hp35_R3.xtc', more)
  _, md = molecules.md_of(long, 0.01)
  assert [len(x) for x in md.positions] == [400]
  (other,) = (x for x in every if x.name == 'ehee0053')
  first, second = (SIMULATED / f'ehee0053/ehee0053_R{k}.xtc' for k in (1, 2))
  short = dataclasses.replace(other, reference=(first, second, second))
  assert [len(x) for x in molecules.md_of(short, 0.01)[1].positions] == [40, 40]
  # There need be no unfinished MD.
  assert long.reference[:1] == next(
    x.reference for x in molecules.targets(SIMULATED, tmp_path / 'no', None) if x.name == 'hp35'
  )
  _, md = molecules.md_of(target, 0.01)
  assert [len(x) for x in md.heavy_atoms] == [46, 88]
  assert {x.name for x in every} == {'hp35', '2m9i', 'ehee0053', '1oai'}


WITHIN = dict.fromkeys(('C-N', 'CA-CA', 'N-CA-C', 'CA-C-N', 'O-C-N', 'C-N-CA'), (0.0, 1000.0))


@pytest.fixture(scope='module')
def judged(hp35):
  """MD's second replica in the place of a model, by the first; and by itself."""
  protein, md = hp35
  first, second = (
    dataclasses.replace(md, positions=[md.positions[k]], heavy_atoms=[md.heavy_atoms[k]])
    for k in (0, 1)
  )
  return (
    molecule_rows.both(second, first, protein, WITHIN, 0.01),
    molecule_rows.both(first, first, protein, WITHIN, 0.01),
  )


def test_md_is_as_itself(judged):
  _, same = judged
  assert same['MD'].keys() == same['model'].keys() == molecule_rows.ROWS.keys()
  of_two = {key for key, row in molecule_rows.ROWS.items() if 'halves' in row.heading}
  for key in molecule_rows.ROWS.keys() - of_two:
    assert same['MD'][key] == same['model'][key] is not None, key
  assert same['model']['chi1 jsd'] == same['model']['chi2 jsd'] == 0.0
  assert same['model']['inside'] == same['model']['sound'] == 100.0
  assert same['model']['overlaps'] == same['model']['wrong_hands'] == 0.0
  assert same['model']['rmsf_ratio'] == pytest.approx(1.0)


def test_replicas_of_md_meet_the_goals(judged, theirs):
  other, _ = judged
  for key, row in molecule_rows.ROWS.items():
    assert row.met(other['MD'][key], other['model'][key]), key
  _, chi1 = theirs
  jumps = 100.0 * np.mean(turned(chi1[1:], chi1[:-1]) > np.deg2rad(60.0))
  assert other['MD']['jumps'] == pytest.approx(jumps)
  late = np.mean(1.0 - np.cos(chi1[10:] - chi1[:-10]))
  assert other['MD']['turned 0.1'] == pytest.approx(late, rel=1e-4)
  # As many frames of both: 46.
  assert 0.05 < other['model']['chi1 jsd'] < 2.0 * other['MD']['chi1 jsd']


def test_no_side_chains_are_no_numbers(hp35):
  protein, md = hp35
  bare = heavy_frames.Series(md.positions, md.residue_type)
  found = molecule_rows.both(bare, md, protein, WITHIN, 0.01)
  assert found['model']['changes'] is None
  assert found['model']['chi1 jsd'] is None
  (line,) = (x for x in molecule_rows.table({'hp35': found}).splitlines() if 'contacts' in x)
  md_contacts = found['MD']['close_contacts']
  assert line == f'| close contacts per frame | 1.5 x MD | {md_contacts:.2f} / - |'


@pytest.mark.parametrize(
  ('key', 'md', 'model', 'cell'),
  [
    ('inside', 96.0, 91.3, '96.0 / 91.3'),
    ('inside', 96.0, 91.1, '96.0 / 91.1 !'),
    ('C-N', 0.026, 0.03, '1.15'),
    ('C-N', 0.026, 0.04, '1.54 !'),
    ('C-N', None, 0.04, '-'),
    ('phi, psi', 0.1, 0.4, '0.10 / 0.40'),
    ('phi, psi', 0.1, 0.41, '0.10 / 0.41 !'),
    ('chi1 jsd', 0.1, 0.21, '0.100 / 0.210 (2.10) !'),
    ('changes', 100.0, 49.0, '100.0 / 49.0 (0.49) !'),
    ('changes', 0.0, 0.0, '0.0 / 0.0'),
    ('correlation', 0.1, 0.2, '0.100 / 0.200 (2.00)'),
    ('close_contacts', 2.0, None, '2.00 / -'),
    ('rmsf_r', 0.9, 0.1, '0.90 / 0.10'),
  ],
)
def test_cells(key, md, model, cell):
  assert molecule_rows.ROWS[key].cell(md, [model]) == cell


@pytest.mark.parametrize(
  ('key', 'md', 'models', 'cell'),
  [
    ('changes', 100.0, [90.0, 230.0, 150.0], '100.0 / 150.0, 90.0 to 230.0 (1.50, 0.90 to 2.30)'),
    ('inside', 96.0, [91.0, 99.0, 90.0], '96.0 / 91.0, 90.0 to 99.0 !'),
    ('C-N', 0.026, [0.03, 0.04], '1.35, 1.15 to 1.54 !'),
    ('close_contacts', 2.0, [None, None], '2.00 / -'),
  ],
)
def test_cells_of_several_models(key, md, models, cell):
  assert molecule_rows.ROWS[key].cell(md, models) == cell


def test_bonds_that_md_constrains_have_no_spread(hp35):
  protein, md = hp35
  # Residues each as the one before, 3.8 Å on.
  one = np.array([[0.0, 0.0, 0.0], [1.46, 0.0, 0.2], [2.5, 0.0, 1.1], [2.4, 0.0, 2.3]])
  chain = one + 3.8 * np.arange(35)[:, None, None] * np.array([1.0, 0.0, 0.0])
  frames = np.tile(chain, (20, 1, 1, 1)) + 0.2 * np.sin(np.arange(20.0))[:, None, None, None]
  held = heavy_frames.Series([frames.astype(np.float32)], md.residue_type)
  bare = heavy_frames.Series(md.positions[:1], md.residue_type)
  found = molecule_rows.both(bare.first(20), held, protein, WITHIN, 0.01)
  assert found['MD']['C-N'] is None
  assert found['model']['C-N'] > 0.02


def test_what_is_carried(hp35, theirs):
  """By mdtraj: 16 of the 46 frames, chi1 of the first in the other 15."""
  protein, md = hp35
  _, chi1 = theirs
  picked = side_chain_placement.evenly(16, 46)
  assert picked.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45]
  every = {'carried': side_chain_placement.carried}
  rows = side_chain_placement.on_frames(protein, md.heavy_atoms[0][picked], every)
  chosen = chi1[picked]
  near = np.mean(turned(chosen[1:], chosen[0]) <= np.deg2rad(40.0))
  assert rows['carried']['chi1'] == pytest.approx(near, abs=1e-6)
  assert rows['carried']['jumps'] == 0.0
  jumps = np.mean(turned(chosen[1:], chosen[:-1]) > np.deg2rad(60.0))
  assert rows['MD']['jumps'] == rows[side_chain_placement.REBUILT]['jumps'] == pytest.approx(jumps)
  assert rows['MD']['chi1'] == rows[side_chain_placement.REBUILT]['chi2'] == 1.0
  assert rows['MD']['contacts'] < rows['carried']['contacts']
  text = side_chain_placement.table({'hp35': rows})
  assert text.splitlines()[4].startswith(f'|  | carried | {near:.2f} | ')


def test_a_placer_of_chi(hp35):
  protein, md = hp35
  atoms = md.heavy_atoms[0][:1]
  true = md.chi[0][:1]
  placer = side_chain_placement.of_chi(lambda protein, positions: true + 0.5)
  rows = side_chain_placement.on_structure(protein, atoms, {'half a radian': placer})
  assert rows['half a radian']['chi1'] == 1.0
  placer = side_chain_placement.of_chi(lambda protein, positions: true + 1.0)
  rows = side_chain_placement.on_structure(protein, atoms, {'more': placer})
  # But proline's, whose ring stays closed.
  assert rows['more']['chi1'] < 0.1


def test_faspr_gets_the_backbone_alone(monkeypatch, hp35, theirs, tmp_path):
  """In its place, one that knows the side chains."""
  protein, md = hp35
  traj, _ = theirs
  asked = []

  def run(text):
    asked.append(text)
    traj[len(asked) - 1].save_pdb(str(tmp_path / 'packed.pdb'))
    return (tmp_path / 'packed.pdb').read_text()

  monkeypatch.setitem(sys.modules, 'pyfaspr', types.SimpleNamespace(run_FASPR=run))
  atoms = md.heavy_atoms[0][:2]
  found = side_chain_placement.faspr(protein, atoms[:, :, :4], None)
  np.testing.assert_allclose(found, atoms, atol=0.002)
  lines = [line for line in asked[1].splitlines() if line.startswith('ATOM')]
  assert [line[12:16].strip() for line in lines] == ['N', 'CA', 'C', 'O'] * 35
  at = [[float(line[i : i + 8]) for i in (30, 38, 46)] for line in lines]
  np.testing.assert_allclose(np.reshape(at, (35, 4, 3)), atoms[1, :, :4], atol=0.0006)


def test_structures_are_complete_and_not_trained_on(tmp_path, target):
  lines = target.topology.read_text().splitlines(keepends=True)
  for name in ('a_1abc', 'b_1tg0', 'c_2xyz', 'd_hp35', 'e_3abc'):
    (tmp_path / f'{name}.pdb').write_text(''.join(lines))
  cut = [line for line in lines if not (line[12:16].strip() == 'CZ' and int(line[22:26]) == 6)]
  assert len(cut) == len(lines) - 1
  (tmp_path / 'c_2xyz.pdb').write_text(''.join(cut))
  found = side_chain_placement.structures(tmp_path.glob('*.pdb'))
  assert [protein.name for protein, _ in found] == ['a_1abc', 'd_hp35', 'e_3abc']
  assert found[0][1].shape == (1, 35, 14, 3)
  few = side_chain_placement.structures(tmp_path.glob('*.pdb'), 2)
  assert [protein.name for protein, _ in few] == ['a_1abc', 'e_3abc']
  with pytest.raises(InputError, match=r'c_2xyz\.pdb: PHE 6 has no CZ: give a structure'):
    heavy_frames.read_structure(tmp_path / 'c_2xyz.pdb')
  assert not side_chain_placement.structures([])


def test_mean_over_proteins():
  rows = [{'a': {'chi1': x, 'contacts': 2.0 * x}} for x in (0.2, 0.6)]
  assert side_chain_placement.mean(rows) == {'a': {'chi1': 0.4, 'contacts': 0.8}}


def flags_for(tmp_path, **changed):
  values = {
    'model': [],
    'prediction': None,
    'simulated': str(SIMULATED),
    'unfinished': '',
    'data': None,
    'crystals': '*.pdb',
    'tables': ['frames'],
    'only': ['hp35'],
    'num_frames': 400,
    'num_replicas': 4,
    'seed': 0,
    'out': str(tmp_path / 'out/molecules'),
    'compilation_cache_dir': 'off',
  }
  return types.SimpleNamespace(**(values | changed))


def test_command(monkeypatch, capsys, tmp_path, target):
  monkeypatch.setattr(covalent_geometry, 'of_md', dict)
  monkeypatch.setattr(covalent_geometry, 'ranges', lambda md: WITHIN)
  monkeypatch.setattr(side_chain_placement, 'placers', lambda with_start: {})
  folder = tmp_path / 'hp35'
  folder.mkdir()
  shutil.copy(target.topology, folder / 'topology.pdb')
  shutil.copy(target.reference[1], folder / 'trajectory_r1.xtc')
  values = flags_for(
    tmp_path, prediction=str(tmp_path), data=str(folder), tables=['molecules', 'frames', 'crystals']
  )
  molecules.main(values)
  printed = capsys.readouterr().out
  assert (tmp_path / 'out/molecules.md').read_text().strip() == printed.strip()
  assert '| rotamer changes per ns | 0.5 - 2 x MD |' in printed
  assert '| mean of 1 structures | crystal | 1.00 |' in printed
  content = json.loads((tmp_path / 'out/molecules.json').read_text())
  assert content['molecules']['hp35']['model']['inside'] == 100.0
  assert content['frames']['hp35']['MD']['chi1'] == 1.0
  assert list(content['crystals']) == ['topology']


def test_a_model_samples_and_places(monkeypatch, tmp_path, hp35, target):
  protein, md = hp35

  def sample(protein, num_frames, num_replicas, rng, temperature_K):
    assert (num_frames, num_replicas, temperature_K) == (40, 1, 320.0)
    frames = md.heavy_atoms[0][None, :num_frames]
    return types.SimpleNamespace(positions=frames[..., :4, :], heavy_atoms=frames)

  starts = []

  def place(protein, positions, spacing_ns, temperature_K):
    starts.append((protein.arrays.chi is not None, spacing_ns, temperature_K))
    return np.full((*positions.shape[:2], 4), 1)

  model = types.SimpleNamespace(
    dt_ns=0.01,
    params={},
    sample=sample,
    has_side_chains=True,
    side_chains=place,
  )
  found = molecules.sampled(
    model, protein, target, flags_for(tmp_path, num_frames=40, num_replicas=1)
  )
  np.testing.assert_array_equal(found.heavy_atoms[0], md.heavy_atoms[0][:40])
  rows = side_chain_placement.on_frames(
    protein, md.heavy_atoms[0][:2], {'model': molecules.placers(model, False)['model']}
  )
  chi1 = chi1_of(md.chi[0][1], md.residue_type)
  assert rows['model']['chi1'] == pytest.approx(
    np.mean(turned(chi1, 1.0) <= np.deg2rad(40.0)), abs=0.04
  )
  # On bare backbones the model does not see what it is to find.
  assert protein.arrays.chi is not None
  assert starts == [(False, None, 320.0)]
  frames = md.heavy_atoms[0][:2]
  placer = molecules.placers(model, True, 0.25, 320.0, 'implicit')['model']
  placer(protein, frames[..., :4, :], frames[0])
  assert starts[1:] == [(True, 0.25, 320.0)]
  assert 'carried' in molecules.placers(None, True)
  without = types.SimpleNamespace(has_side_chains=False)
  assert 'model' not in molecules.placers(without, True)


def test_models_of_several_seeds(monkeypatch, tmp_path, hp35, target):
  """Each is sampled, and has numbers of its own."""
  _, md = hp35
  monkeypatch.setattr(covalent_geometry, 'of_md', dict)
  monkeypatch.setattr(covalent_geometry, 'ranges', lambda of_md: WITHIN)

  def model(first):
    def sample(protein, num_frames, num_replicas, rng, temperature_K):
      begins = first, first + 4
      frames = np.stack([md.heavy_atoms[0][k : k + num_frames] for k in begins])
      return types.SimpleNamespace(positions=frames[..., :4, :], heavy_atoms=frames)

    return types.SimpleNamespace(dt_ns=0.01, params={}, sample=sample)

  models = {'early': model(0), 'late': model(6)}
  values = flags_for(tmp_path, num_frames=8, num_replicas=2, model=list(models))
  text, found = molecules.of_trajectories(models, [target], values)
  assert list(found['hp35']) == ['MD', 'early', 'late']
  assert found['hp35']['early']['rmsf_r'] != found['hp35']['late']['rmsf_r']
  (line,) = (x for x in text.splitlines() if x.startswith('| RMSF r ('))
  assert ' to ' in line
  models['late'].dt_ns = 0.1
  with pytest.raises(InputError, match='their time steps differ'):
    molecules.of_trajectories(models, [target], values)


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    ({'tables': ['frame']}, r'--tables: frame is none of molecules, frames, crystals'),
    ({'tables': ['molecules']}, r'--tables=molecules needs --model or --prediction'),
    ({'tables': ['crystals']}, r'no crystal structure has all of its atoms: correct --data'),
    (
      {'tables': ['molecules', 'frames'], 'model': ['a', 'b']},
      'several models: --tables=molecules only',
    ),
    ({'only': ['hp36']}, r'--only: hp36 is none of hp35, 2m9i, ehee0053, 1oai'),
  ],
)
def test_bad_flags(tmp_path, changed, message):
  with pytest.raises(InputError, match=message):
    molecules.main(flags_for(tmp_path, **changed))
  assert not (tmp_path / 'out').exists()


def test_explicit_solvent(shared_data):
  every = molecules.targets(SIMULATED, None, shared_data)
  found = {x.name: x for x in every}
  assert found.keys() == {'hp35', '2m9i', 'ehee0053', '1oai', 'bpti', 'ubiquitin'}
  assert found['ubiquitin'].kind != held_out.PROTEIN
  _, md = molecules.md_of(found['ubiquitin'], 0.01)
  # 812 frames of 1 or 2 ps, 1.23 on average.
  assert [len(x) for x in md.heavy_atoms] == [102]

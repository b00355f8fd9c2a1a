import dataclasses
import json
import pathlib
import shutil

import gemmi
import mdtraj
import numpy as np
import pytest

from data_prep import (
  default_training_data,
  training_data_card,
  training_store,
  training_systems,
)
from data_prep.training_systems import SYSTEMS, System
from tempo_jax.errors import InputError
from tempo_jax.preparation.splitting import sequence_identity
from tempo_jax.protein import structure_file
from tempo_jax.store import store

SIMULATED = pathlib.Path(default_training_data.__file__).with_name('simulated')
BY_NAME = {system.name: system for system in SYSTEMS}


def test_table_is_sound():
  assert len(BY_NAME) == len(SYSTEMS) >= 12
  for system in SYSTEMS:
    assert set(''.join(system.chains)) <= set('ACDEFGHIKLMNPQRSTVWY'), system.name
    assert 10 <= system.num_residues <= 80, system.name
    assert system.committed or bool(system.file) != bool(system.build), system.name
    assert list(system.lengths_ns) == sorted(set(system.lengths_ns)), system.name
    frames = [100.0 * ns for ns in (*system.lengths_ns, system.temperature_length_ns)]
    np.testing.assert_allclose(frames, np.round(frames), atol=1e-9)


def test_every_system_comes_before_any_is_made_longer():
  lengths: dict[str, list[float]] = {}
  for goal in default_training_data.goals():
    begun = {folder.split('_')[0] for folder in lengths}
    if goal.folder in lengths:
      assert begun >= {s.name.split('_')[0] for s in SYSTEMS if not s.committed}
    lengths.setdefault(goal.folder, []).append(goal.length_ns)
  assert all(ns == sorted(set(ns)) for ns in lengths.values())
  assert {folder for folder in lengths if folder.startswith('gb1')} == {
    'gb1_hairpin',
    'gb1_hairpin_300K',
    'gb1_hairpin_350K',
    'gb1_hairpin_400K',
  }
  assert not {'cln025', '2jof'} & set(lengths)


def test_repository_matches_the_table():
  folders = [path for path in SIMULATED.iterdir() if path.is_dir()]
  assert {'cln025', '2jof'} <= {folder.name for folder in folders}
  for folder in folders:
    records = {path: json.loads(path.read_text()) for path in folder.glob('*_R*.json')}
    assert records, folder
    for path, record in records.items():
      system = BY_NAME[record['name']]
      protein = structure_file.load_protein(folder / f'{system.name}.pdb')
      assert protein.sequence == ''.join(system.chains), folder
      at = '' if record['temperature_K'] == 320.0 else f'_{record["temperature_K"]:g}K'
      assert folder.name == system.name + at
      with mdtraj.formats.XTCTrajectoryFile(str(path.with_suffix('.xtc'))) as file:
        positions, time_ps, _, _ = file.read(n_frames=2)
        assert len(file) >= record['n_frames']
      assert positions.shape[1] == record['n_atoms_saved']
      np.testing.assert_allclose(time_ps, [10.0, 20.0])


def test_backbone_has_its_torsions_and_its_hand(tmp_path):
  torsions = [(-63.0, -42.0), (-120.0, 130.0), (-75.0, 145.0)]
  file = tmp_path / 'built.pdb'
  structure = training_systems.build_backbone('ARNDCQ', torsions)
  structure.write_pdb(str(file), gemmi.PdbWriteOptions(cryst1_record=False))
  built = mdtraj.load(str(file))
  names = [residue.name for residue in built.topology.residues]
  assert names == ['ALA', 'ARG', 'ASN', 'ASP', 'CYS', 'GLN']
  wanted = np.tile(torsions, (2, 1))
  # PDB files have three decimals.
  measured = (
    np.degrees(mdtraj.compute_phi(built)[1][0]),
    np.degrees(mdtraj.compute_psi(built)[1][0]),
  )
  np.testing.assert_allclose(measured[0], wanted[1:, 0], atol=0.3)
  np.testing.assert_allclose(measured[1], wanted[:-1, 1], atol=0.3)
  np.testing.assert_allclose(np.abs(np.degrees(mdtraj.compute_omega(built)[1])), 180.0, atol=0.3)
  n, ca, c, o = (built.xyz[0, built.topology.select(f'name {a}')] for a in ('N', 'CA', 'C', 'O'))
  lengths = [np.linalg.norm(x, axis=-1) for x in (ca - n, c - ca, o - c, n[1:] - c[:-1])]
  for length, nm in zip(lengths, (0.1458, 0.1525, 0.1231, 0.1329), strict=True):
    np.testing.assert_allclose(length, nm, atol=2e-4)


def test_caps_have_their_own_atoms():
  chain = training_systems.build_backbone('GA', [(-75.0, 145.0)], capped=True)[0][0]
  assert [residue.name for residue in chain] == ['ACE', 'GLY', 'ALA', 'NME']
  assert [atom.name for atom in chain[0]] == ['CH3', 'C', 'O']
  assert [atom.name for atom in chain[-1]] == ['N', 'C']


def test_start_is_cut_out_of_a_file_or_is_our_own(tmp_path):
  whole = BY_NAME['2jof']
  part = System('part', whole.sequence[3:9], '', 'somewhere', file='2jof/2jof.pdb')
  start = tmp_path / 'start.pdb'
  training_systems.write_start(part, start, [SIMULATED], tmp_path)
  assert structure_file.load_protein(start).sequence == part.sequence
  # The file of the table is not there: ours is.
  training_systems.write_start(whole, start, [tmp_path], SIMULATED)
  assert structure_file.load_protein(start).sequence == whole.sequence


def test_start_of_two_chains_is_cut_out_of_both(tmp_path):
  one = training_systems.build_backbone('GWAVKDE', [(-63.0, -42.0)])
  one[0].add_chain(training_systems.build_backbone('RSTYQN', [(-75.0, 145.0)])[0][0])
  one[0][1].name = 'P'
  one.write_pdb(str(tmp_path / 'both.pdb'))
  system = System('two', 'WAVK/STY', '', 'somewhere', file='both.pdb', chain='A/P')
  training_systems.write_start(system, tmp_path / 'start.pdb', [tmp_path], tmp_path)
  protein = structure_file.load_protein(tmp_path / 'start.pdb')
  assert (protein.sequence, protein.chain_ids) == ('WAVKSTY', ('A', 'B'))
  wrong = dataclasses.replace(system, chain='A/A')
  with pytest.raises(InputError, match='chain A has no STY'):
    training_systems.write_start(wrong, tmp_path / 'start.pdb', [tmp_path], tmp_path)


def test_missing_start(tmp_path):
  system = System('none', 'AAAAAAAAAA', '', 'PyPI, of a package', file='a/b.pdb')
  with pytest.raises(InputError, match=r'none: no structure .* a/b\.pdb in --starts .* PyPI, of'):
    training_systems.write_start(system, tmp_path / 'x.pdb', [tmp_path], tmp_path)
  assert not (tmp_path / 'x.pdb').exists()


def test_file_of_another_protein(tmp_path):
  system = System('part', 'WWWWWWWWWW', '', '', file='2jof/2jof.pdb')
  with pytest.raises(InputError, match='has no WWWWWWWWWW'):
    training_systems.write_start(system, tmp_path / 'x.pdb', [SIMULATED], tmp_path)


@pytest.fixture
def simulation(tmp_path):
  """Writes a finished replica of CLN025, of as many frames as asked for."""

  def write(num_frames, seed=0, finished=True):
    folder = tmp_path / f'out{seed}' / 'cln025'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'cln025.pdb').write_text(f'seed {seed}')
    (folder / 'cln025_R1.xtc').write_text('frame ' * num_frames)
    record = {
      'name': 'cln025',
      'source_sha256': 'abc',
      'seed': seed,
      'replica': 1,
      'temperature_K': 320.0,
      'n_residues': 10,
      'n_frames': num_frames,
      'length_ns': 0.01 * num_frames,
      'finished': finished,
    }
    (folder / 'cln025_R1.json').write_text(json.dumps(record))
    return folder

  return write


def test_longer_replicas_take_the_place_of_shorter_ones(simulation, tmp_path):
  target = tmp_path / 'simulated' / 'cln025'
  first = target / 'cln025_R1.xtc'
  assert default_training_data.publish(simulation(5, finished=False), target) == []
  assert not target.exists()
  assert default_training_data.publish(simulation(3), target) == [first]
  assert default_training_data.publish(simulation(3), target) == []
  assert default_training_data.publish(simulation(4), target) == [first]
  assert first.read_text() == 'frame ' * 4
  assert default_training_data.publish(simulation(2), target) == []
  assert json.loads((target / 'cln025_R1.json').read_text())['n_frames'] == 4
  assert {path.suffix for path in target.iterdir()} == {'.pdb', '.xtc', '.json'}


def test_replicas_of_another_simulation_get_the_next_number(simulation, tmp_path):
  target = tmp_path / 'simulated' / 'cln025'
  default_training_data.publish(simulation(3), target)
  second = target / 'cln025_R2.xtc'
  assert default_training_data.publish(simulation(2, seed=1), target) == [second]
  assert default_training_data.publish(simulation(7, seed=1), target) == [second]
  assert (target / 'cln025.pdb').read_text() == 'seed 0'
  assert (target / 'cln025_R1.xtc').read_text() == 'frame ' * 3


def test_card_counts_what_is_there(simulation, tmp_path):
  simulated = tmp_path / 'simulated'
  for seed, num_frames in ((0, 100), (1, 150)):
    default_training_data.publish(simulation(num_frames, seed), simulated / 'cln025')
  training_data_card.write(simulated)
  card = (simulated / 'README.md').read_text()
  assert '1 proteins, 2 replicas, 2.5 ns, 250 frames, 0.0 MiB; 10 to 10 residues.' in card
  assert '| cln025 | 10 | beta hairpin | 320 | 2 | R1 | 2.50 | 250 | 0.00 | torchmd-net' in card


def test_store_has_the_splits(tmp_path):
  for name in ('6a5j', 'gb1_hairpin'):
    shutil.copytree(SIMULATED / name, tmp_path / 'simulated' / name)
  training_store.build(tmp_path / 'simulated', tmp_path / 'store')
  entries = store.Store(str(tmp_path / 'store')).entries
  splits = {(entry.name, entry.replica): entry.split for entry in entries}
  assert splits == {
    ('6a5j', 1): 'train',
    ('6a5j', 2): 'train',
    ('gb1_hairpin', 1): 'train',
    ('gb1_hairpin', 2): 'validation',
  }
  assert {entry.temperature_K for entry in entries} == {320.0}
  assert sum(system.held_out for system in SYSTEMS) >= 3
  for folder, numbers in (('hp35', (1, 2, 3)), ('2m9i', (1, 2)), ('ehee0053', (1, 2, 3))):
    assert {training_store.split_of(folder, number) for number in numbers} == {'test'}
  assert training_store.split_of('gb1_hairpin_300K', 2) == 'train'
  with pytest.raises(InputError, match='gb1 is no directory of a system'):
    training_store.split_of('gb1', 1)


def test_unknown_name():
  with pytest.raises(InputError, match='--only=no: no such system'):
    default_training_data.list_goals(None, ['no'])


def test_nothing_that_is_trained_on_resembles_what_is_held_out():
  """Of held-out proteins whose MD is not ours, the sequences of their files."""
  pytest.importorskip('pyopal')
  others = (  # Barstar, 3TVJ chain I, BPTI, ubiquitin
    'KKAVINGEQIRSISDLHQTLKKELALPEYYGENLDALWDCLTGWVEYPLVLEWRQFEQSKQLTENGAESVLQVFREAKAEGCDITIILS',
    'GSGEVTCEPGTTFKDKCNTCRCGSDGKSAVCTKLWCNQ',
    'RPDFCLEPPYTGPCKARIIRYFYNAKAGLCQTFVYGGCRAKRNNFKSAEDCMRTCGGA',
    'MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG',
  )
  held, trained = (
    [x for s in SYSTEMS if s.held_out == is_held for x in s.chains if len(x) > 9]
    for is_held in (True, False)
  )
  held += others
  found = sequence_identity.compare([*held, *trained], ('pyopal',))
  across = (found.first < len(held)) & (found.second >= len(held))
  assert len(held) == 8
  assert (found.identity[across] < 0.4).all()

"""The table of the model card: what is held out, and what its numbers say."""

import dataclasses
import json
import pathlib
import types

import mdtraj
import numpy as np
import pytest

from data_prep import training_store
from experiments.benchmarks import held_out
from tempo_jax.errors import InputError
from tempo_jax.evaluation import columns

SIMULATED = pathlib.Path(training_store.__file__).with_name('simulated')
PAIRED = ('rmsf_ratio', 'pairwise_rmsd_ratio', 'rg_ratio')


@pytest.fixture(scope='module')
def target():
  """A protein with two replicas that the model has not seen, both short."""
  return short_hp35()


def short_hp35():
  folder = SIMULATED / 'hp35'
  both = tuple(folder / f'hp35_R{k}.xtc' for k in (1, 2))
  return held_out.Target('hp35', held_out.PROTEIN, folder / 'hp35.pdb', both)


def model_of(replicas, tell=lambda *asked: None):
  """Whose samples are these, whatever it is asked for; it tells what that was."""

  def sample(protein, num_frames, num_replicas, rng, temperature_K):
    tell(protein.num_residues, num_frames, temperature_K)
    return types.SimpleNamespace(positions=replicas[:num_replicas])

  trained = types.SimpleNamespace(params={})
  memory = types.SimpleNamespace(gain=(1.0, 1.0))
  config = types.SimpleNamespace(memory=memory, rotamer_stay=())
  of = {'dt_ns': 0.01, 'config': config, 'centres': {}, 'as_trained': lambda: trained}
  return types.SimpleNamespace(**of, sample=sample)


def md_of(target, num_frames=400):
  native = held_out.Native(target.topology, target.name)
  replicas = [native.read(file).positions for file in target.reference]
  # At least as many as are asked for; only those as long as MD are compared.
  padded = [np.resize(x, (num_frames, *x.shape[1:])) for x in replicas]
  return replicas, np.stack(padded)


def test_targets_were_not_trained_on(tmp_path):
  found = held_out.targets(SIMULATED, None)
  assert {x.name for x in found if x.kind == 'protein'} == {'hp35', '2m9i', 'ehee0053', '1oai'}
  for target in found:
    assert target.topology.is_file()
    for file in target.reference:
      number = int(file.stem.rpartition('_R')[2])
      assert training_store.split_of(file.parent.name, number) != 'train'
  assert not held_out.targets(tmp_path, tmp_path)


def test_long_replicas_are_the_reference_alone(tmp_path):
  found = {x.name: x for x in held_out.targets(SIMULATED, None)}
  for name, number, left_out in (('hp35', 3, (1, 2)), ('2m9i', 2, (1,))):
    target = found[name]
    assert [file.name for file in target.reference] == [f'{name}_R{number}.xtc']
    assert target.left_out == left_out
    md = mdtraj.load(target.reference[0], top=target.topology)
    np.testing.assert_allclose(md.time, 10.0 * np.arange(1, 401))
    bonds = [(a.index, b.index) for a, b in md.topology.bonds]
    lengths = 10.0 * mdtraj.compute_distances(md, bonds)
    # The atoms are those of the PDB in their order: bonds of heavy atoms, CA-S the longest.
    assert 1.1 < lengths.min() < lengths.max() < 2.0
  # None of them is long.
  short = tmp_path / 'hp35'
  short.mkdir()
  for k, length_ns in ((1, 0.5), (2, 3.99)):
    (short / f'hp35_R{k}.xtc').touch()
    (short / f'hp35_R{k}.json').write_text(json.dumps({'length_ns': length_ns}))
  (target,) = held_out.targets(tmp_path, None)
  assert len(target.reference) == 2
  assert target.left_out == ()
  # A second long one counts as well.
  for k in (3, 10):
    (short / f'hp35_R{k}.xtc').touch()
    (short / f'hp35_R{k}.json').write_text(json.dumps({'length_ns': 4.0}))
  (target,) = held_out.targets(tmp_path, None)
  assert {file.stem for file in target.reference} == {'hp35_R3', 'hp35_R10'}
  assert target.left_out == (1, 2)


def test_md_in_the_models_place_is_right(target):
  _, sampled = md_of(target)
  seen = []
  model = model_of(sampled, lambda *asked: seen.append(asked))
  rows = held_out.measure(model, target, 2, seed=0)
  assert seen == [(35, 400, 320.0)]
  row = rows[columns.PREDICTION]
  np.testing.assert_allclose([row[key] for key in PAIRED], 1.0, rtol=1e-6)
  # The step out of the start is not among MD's.
  assert row['step_ratio'] == pytest.approx(1.0, abs=0.02)
  assert row['rmsf_r'] == pytest.approx(1.0)
  assert row['ca_jsd'] == pytest.approx(0.0, abs=1e-6)
  assert (row['broken'], row['clash'], row['num_frames']) == (0.0, 0.0, 800)
  assert rows['MD']['replicas_ns'] == [0.46, 0.88]
  assert rows[columns.FROZEN]['rmsf_ratio'] == pytest.approx(0.0, abs=1e-3)
  assert rows[columns.NETWORK]['rmsf_ratio'] == pytest.approx(1.0, abs=0.1)
  # Either replica by the other: what one is too large, the other is too small.
  assert 0.5 < rows[columns.REPLICAS]['rmsf_r'] < 1.0


def test_replicas_are_not_pooled(target):
  # Two that stand still in different places do not fluctuate.
  replicas, _ = md_of(target)
  still = np.stack([np.repeat(replicas[0][k : k + 1], 400, axis=0) for k in (0, 40)])
  rows = held_out.measure(model_of(still), target, 2, seed=0)
  assert rows[columns.PREDICTION]['rmsf_ratio'] == pytest.approx(0.0, abs=1e-3)


def test_larger_motion_and_broken_chains_are_seen(target):
  _, sampled = md_of(target)
  mean = sampled.mean(axis=1, keepdims=True)
  wide = (mean + 2.0 * (sampled - mean)).astype(np.float32)
  row = held_out.measure(model_of(wide), target, 2, seed=0)[columns.PREDICTION]
  assert 1.5 < row['rmsf_ratio'] < 3.0
  assert 1.5 < row['step_ratio'] < 3.0
  # One bond is open in one frame.
  opened = sampled.copy()
  opened[0, 7, 20:] += np.float32([5.0, 0.0, 0.0])
  row = held_out.measure(model_of(opened), target, 2, seed=0)[columns.PREDICTION]
  assert row['broken'] == pytest.approx(1 / 800)


def test_frames_that_do_not_fit_are_refused(target):
  model = dataclasses.make_dataclass('Model', ['dt_ns'])(0.015)
  with pytest.raises(InputError, match=r'hp35_R1\.xtc: frames are .* nearer to one another'):
    held_out.measure(model, target, 1, seed=0)


def test_table_goes_between_the_marks(tmp_path):
  card = tmp_path / 'card.md'
  with pytest.raises(InputError, match=r'card\.md: no such file: correct --card'):
    held_out.around(card)
  card.write_text('Nothing here.\n')
  with pytest.raises(InputError, match=r'card\.md: has no lines <!-- held_out: begin -->'):
    held_out.around(card)
  card.write_text('Head.\n<!-- held_out: begin -->\n\nold\n\n<!-- held_out: end -->\nTail.\n')
  text = 'new'.join(held_out.around(card))
  assert text == 'Head.\n<!-- held_out: begin -->\n\nnew\n\n<!-- held_out: end -->\nTail.\n'


def test_what_is_written_around_the_table_meanwhile_stays(tmp_path, target):
  card = tmp_path / 'card.md'
  card.write_text('Old.\n<!-- held_out: begin -->\n\nold\n\n<!-- held_out: end -->\nTail.\n')

  def change(*_):
    card.write_text(card.read_text().replace('Old.', 'New.'))

  _, sampled = md_of(target)
  held_out.run(model_of(sampled, change), [target], 2, 0, tmp_path / 'out', card)
  assert card.read_text().startswith('New.\n<!-- held_out: begin -->\n\n| protein |')
  assert card.read_text().endswith('|\n\n<!-- held_out: end -->\nTail.\n')


def test_table_shows_what_a_column_can_have(target):
  _, sampled = md_of(target)
  rows = held_out.measure(model_of(sampled), target, 2, seed=0)
  json.dumps(rows, allow_nan=False)
  lines = held_out.table([(target, rows)]).splitlines()
  cells = {line.split(' | ')[5]: line.strip('| ').split(' | ') for line in lines[2:]}
  assert list(cells) == ['model', 'elastic network', 'frozen', 'MD replicas', 'MD halves']
  assert cells['model'][3] == '0.46 + 0.88'
  left_out = dataclasses.replace(target, left_out=(4, 5))
  assert ' | 0.46 + 0.88 (without R4, R5) | ' in held_out.table([(left_out, rows)])
  assert cells['model'][-8:] == ['1.00', '1.00', '1.00', '1.000', '1.00', '0.000', '0.00%', '0.00%']

"""What bioemu-benchmarks 0.0.2.post1 demands (samples.py), restated; its own reader where it is."""

import re

import mdtraj
import numpy as np
import pytest

from tempo_jax.protein import protein as protein_lib
from tests import peptides
from tests.evaluation import cases
from tests.evaluation.export import predictions


def folder_of(out):
  return out / 'export' / 'bioemu-benchmarks'


def test_one_chain_with_a_whole_backbone_and_its_sequence(tmp_path, np_rng):
  prediction = predictions.backbone(tmp_path, np_rng, frames=(5, 8), first=12)
  done = predictions.write(prediction, tmp_path, 'bioemu-benchmarks', name='any.name')
  assert (done.benchmarks, done.errors, done.remarks) == (('bioemu-benchmarks',), (), ())
  (xtc,) = folder_of(tmp_path).glob('**/*.xtc')
  assert xtc.with_suffix('.pdb').is_file()
  top = mdtraj.load_topology(str(xtc.with_suffix('.pdb')))
  assert top.n_chains == 1
  assert top.to_fasta() == [prediction.native.sequence]
  for residue in top.residues:
    assert [atom.name for atom in residue.atoms] == ['N', 'CA', 'C', 'O']
  traj = mdtraj.load(str(xtc), top=str(xtc.with_suffix('.pdb')))
  found = 10.0 * traj.xyz.reshape(13, predictions.LENGTH, 4, 3)
  np.testing.assert_allclose(found, prediction.positions, atol=0.0051)
  # Its filter keeps frames with CA-CA < 4.5 Å and C-N < 2 Å: nm are read as nm.
  assert np.linalg.norm(np.diff(found[:, :, 1], axis=1), axis=-1).max() < 4.5
  assert np.linalg.norm(found[:, 1:, 0] - found[:, :-1, 2], axis=-1).max() < 2.0


def test_side_chains_are_left_out(tmp_path):
  prediction, _ = predictions.heavy(tmp_path)
  predictions.write(prediction, tmp_path, 'bioemu-benchmarks', name='cln025')
  top = mdtraj.load_topology(str(folder_of(tmp_path) / 'cln025.pdb'))
  assert top.n_atoms == 4 * prediction.native.num_residues


def incomplete(folder, np_rng):
  """The last residue of the native structure has no N."""
  predictions.backbone(folder, np_rng)
  native = folder / 'native.pdb'
  lines = native.read_text().splitlines()
  last = max(i for i, line in enumerate(lines) if line[12:16].strip() == 'N')
  native.write_text('\n'.join((*lines[:last], *lines[last + 1 :])) + '\n')
  read = mdtraj.load(str(native))
  frames = read.xyz * 10.0 + 0.01 * np_rng.normal(size=(8, 1, 3))
  return predictions.of_files(native, [cases.save(folder / 'Q.xtc', frames, native)])


@pytest.mark.parametrize(
  ('make', 'message'),
  [
    (lambda *a: predictions.backbone(*a, chains='AB'), '2 chains, and it takes one: give one'),
    (
      lambda *a: predictions.backbone(*a, names=('ALA', 'UNK', *cases.NAMES)),
      r'residue A:2 UNK is none of the twenty that it knows: leave',
    ),
    (incomplete, r'the native structure lacks residue A:7 VAL \(.*\), .*: complete the structure'),
  ],
)
def test_what_it_cannot_take(tmp_path, np_rng, make, message):
  done = predictions.write(make(tmp_path, np_rng), tmp_path, 'bioemu-benchmarks')
  assert done.benchmarks == ()
  (error,) = done.errors
  assert re.search(f'^{predictions.NAME}: not exported for bioemu-benchmarks: .*{message}', error)
  assert '\n' not in error
  assert not (tmp_path / 'export').exists()


@pytest.mark.filterwarnings('ignore')  # Those of another program.
def test_its_own_reader_finds_all_frames(tmp_path, np_rng):
  samples = pytest.importorskip(
    'bioemu_benchmarks.samples', reason='needs pip install bioemu-benchmarks'
  )
  from bioemu_benchmarks import benchmarks

  benchmark = benchmarks.Benchmark.MD_EMULATION
  case, sequence = benchmark.metadata.iloc[0][['test_case', 'sequence']]
  names = [protein_lib.THREE_LETTER[letter] for letter in sequence]
  native = tmp_path / 'native.pdb'
  xyz = cases.write_native(native, len(names), names=names)
  assert len(xyz) == len(peptides.helix(len(names)))
  frames = xyz + 0.02 * np_rng.normal(size=(6, *xyz.shape))
  frames[2, 30:] += 40.0  # Broken: its filter drops the frame.
  file = cases.save(tmp_path / 'P.xtc', frames, native)
  predictions.write(predictions.of_files(native, [file]), tmp_path, 'bioemu-benchmarks', name='x')
  found = samples.find_samples_in_dir(folder_of(tmp_path))
  indexed = samples.IndexedSamples.from_benchmark(benchmark, found)
  assert list(indexed.test_case_to_sequencesamples) == [case]
  (traj,) = indexed.get_trajs_for_test_case(case)
  np.testing.assert_allclose(
    10.0 * traj.xyz.reshape(6, -1, 4, 3), frames[:, :, :4], atol=0.0051 + 1e-4
  )
  filtered, kept = samples.filter_unphysical_samples(indexed)
  assert kept[case] == pytest.approx(5 / 6)
  assert filtered.get_trajs_for_test_case(case)[0].n_frames == 5

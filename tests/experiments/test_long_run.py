"""The parts of a long trajectory, beside mdtraj's numbers."""

import json

import mdtraj
import numpy as np
import pytest
from absl import flags

from experiments.benchmarks import long_run
from tempo_jax.errors import InputError
from tests import peptides

RESIDUES, FRAMES = 8, 40


@pytest.fixture
def files(tmp_path):
  """A folder as `sample` writes it, of a helix that drifts and trembles; and MD of it."""
  folder = tmp_path / 'sampled'
  folder.mkdir()
  native = folder / 'topology.pdb'
  native.write_text(
    peptides.peptide((2 * peptides.SEQUENCE)[:RESIDUES], xyz=peptides.helix(RESIDUES))
  )
  structure = mdtraj.load(native)
  rng = np.random.default_rng(0)
  # Residues move as wholes.
  residue = np.array([atom.residue.index for atom in structure.topology.atoms])
  drift = np.linspace(0, 0.3, FRAMES)[:, None, None] * rng.normal(size=(RESIDUES, 3))[residue]
  for path, size in ((folder / 'trajectory.xtc', 0.02), (tmp_path / 'md.xtc', 0.01)):
    noise = size * rng.normal(size=(FRAMES, RESIDUES, 3))[:, residue]
    xyz = np.float32(structure.xyz + drift + noise)
    mdtraj.Trajectory(xyz, structure.topology).save_xtc(str(path))
  sound = ''.join(f'{0.01 * k:.2f},{int(k >= 36)}\n' for k in range(FRAMES))
  (folder / 'frames.csv').write_text(f'time_ns,sound\n{sound}')
  return tmp_path


def run(folder, **changes):
  values = flags.FlagValues()
  long_run.define_flags(values)
  given = {
    'sampled': folder / 'sampled',
    'topology': folder / 'sampled' / 'topology.pdb',
    'trajectory': folder / 'md.xtc',
    'out': folder / 'found',
  } | changes
  values(['command', *(f'--{name}={value}' for name, value in given.items())])
  long_run.main(values)
  return json.loads((folder / 'found.json').read_text())['parts']


def test_parts_are_what_mdtraj_measures(files, capsys):
  found = run(files)
  assert list(found) == [f'{of}{k} of 10' for of in ('', 'MD, ') for k in range(1, 11)]
  native = mdtraj.load(files / 'sampled' / 'topology.pdb')
  frames = mdtraj.load(files / 'sampled' / 'trajectory.xtc', top=native)
  ca = native.topology.select('name CA')
  native, frames = native.atom_slice(ca), frames.atom_slice(ca)
  last = frames[-4:]
  distance = 10.0 * mdtraj.rmsd(last, native)
  part = found['10 of 10']
  assert part['frames'] == 4
  assert part['to_start'] == pytest.approx(distance.mean(), rel=1e-3)
  assert part['farthest'] == pytest.approx(distance.max(), rel=1e-3)
  steps = [10.0 * mdtraj.rmsd(last[k + 1], last[k])[0] for k in range(3)]
  assert part['step'] == pytest.approx(np.sqrt(np.mean(np.square(steps))), rel=1e-2)
  assert part['sound'] == 1.0
  assert found['9 of 10']['sound'] == 0.0
  assert found['MD, 1 of 10']['sound'] is None
  # It drifts away, and MD trembles less.
  assert part['to_start'] > 2 * found['1 of 10']['to_start']
  assert found['MD, 1 of 10']['rmsf'] < found['1 of 10']['rmsf']
  assert '| 10 of 10 | 4 |' in capsys.readouterr().out


def test_a_run_that_has_not_ended_is_refused(files):
  csv = files / 'sampled' / 'frames.csv'
  csv.write_text(''.join(csv.read_text().splitlines(keepends=True)[:-1]))
  with pytest.raises(InputError, match=r'40 frames in trajectory\.xtc, 39 in frames\.csv'):
    run(files)

"""The parts of a long trajectory, beside mdtraj's numbers."""

import json

import mdtraj
import numpy as np
import pytest
from absl import flags

from experiments.benchmarks import long_run
from tempo_jax.errors import InputError
from tests import builders, peptides

RESIDUES, FRAMES = 8, 40


def write(path, structure, xyz, spacing_ps=10.0):
  time = spacing_ps * np.arange(1, 1 + len(xyz))
  mdtraj.Trajectory(xyz, structure.topology, time=time).save_xtc(str(path))


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
    write(path, structure, xyz[:20] if path.stem == 'md' else xyz)
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


def ca_of(path, native):
  frames = mdtraj.load(path, top=native)
  return frames.atom_slice(native.topology.select('name CA'))


def test_parts_are_what_mdtraj_measures(files, capsys):
  found = run(files)
  parts = [f'{k} of 10' for k in range(1, 11)]
  assert list(found) == [*parts, 'MD', 'MD, its last tenth']
  whole = mdtraj.load(files / 'sampled' / 'topology.pdb')
  native = ca_of(files / 'sampled' / 'topology.pdb', whole)
  sampled = ca_of(files / 'sampled' / 'trajectory.xtc', whole)
  md = ca_of(files / 'md.xtc', whole)
  for name, frames in (('10 of 10', sampled[-4:]), ('MD', md), ('MD, its last tenth', md[-2:])):
    part, distance = found[name], 10.0 * mdtraj.rmsd(frames, native)
    assert part['frames'] == len(frames)
    assert part['to_start'] == pytest.approx(distance.mean(), rel=1e-3)
    assert part['largest'] == pytest.approx(distance.max(), rel=1e-3)
    steps = [10.0 * mdtraj.rmsd(frames[k + 1], frames[k])[0] for k in range(len(frames) - 1)]
    assert part['step'] == pytest.approx(np.sqrt(np.mean(np.square(steps))), rel=1e-2)
    about = frames.superpose(frames)
    about.superpose(mdtraj.Trajectory(about.xyz.mean(axis=0), about.topology))
    mean = mdtraj.Trajectory(about.xyz.mean(axis=0), about.topology)
    expected = 10.0 * mdtraj.rmsf(about, mean).mean()
    assert part['rmsf'] == pytest.approx(expected, rel=2e-2)
  assert found['MD']['rmsf_of_windows'] == found['MD']['rmsf']
  assert found['10 of 10']['rmsf_of_windows'] is None
  assert (found['10 of 10']['sound'], found['9 of 10']['sound']) == (1.0, 0.0)
  assert found['MD']['sound'] is None
  assert '| 10 of 10 | 0.04 |' in capsys.readouterr().out


def test_fluctuation_is_compared_over_equal_times():
  rng = np.random.default_rng(0)
  start = np.asarray(builders.helix(12).positions)
  drift = np.linspace(0, 4, 400)[:, None, None, None] * rng.normal(size=(12, 1, 3))
  noise = 0.1 * rng.normal(size=(400, 12, 1, 3))
  whole = long_run.row(start + drift + noise, start, 400)
  parts = long_run.row(start + drift + noise, start, 20)
  assert parts['rmsf'] == whole['rmsf'] == whole['rmsf_of_windows'] > 1.0
  assert parts['rmsf_of_windows'] < 0.4


def test_what_cannot_be_compared_is_one_line(files):
  sampled, structure = files / 'sampled', mdtraj.load(files / 'sampled' / 'topology.pdb')
  xyz = np.repeat(structure.xyz, FRAMES, axis=0)
  write(files / 'slow.xtc', structure, xyz, 20.0)
  write(files / 'short.xtc', structure, xyz[:19])
  other = files / 'other.pdb'
  other.write_text(sampled.joinpath('topology.pdb').read_text().replace('ALA', 'GLY'))
  for changes, message in (
    ({'trajectory': files / 'slow.xtc'}, r'0\.02 ns apart, those of .* 0\.01: give --dt_ns'),
    ({'trajectory': files / 'short.xtc'}, '20 frames are needed'),
    ({'topology': other}, 'other.pdb: not the protein of'),
    ({'sampled': files}, f'--sampled={files}: no topology.pdb: give the folder'),
  ):
    with pytest.raises(InputError, match=message):
      run(files, **changes)
  (sampled / 'frames.csv').unlink()
  with pytest.raises(InputError, match=r'no frames\.csv: .* ended'):
    run(files)

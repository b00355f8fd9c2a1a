"""The table of relaxed frames: what it counts, and that it repeats no run."""

import shutil
import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
  warnings.simplefilter('ignore', DeprecationWarning)  # of SWIG, on Python 3.12
  pytest.importorskip('openmm', reason="needs the extra 'simulate'")
  pytest.importorskip('pdbfixer', reason="needs the extra 'simulate'")

from experiments.benchmarks import held_out, relaxation
from tempo_jax.relaxation import minimiser, table
from tests.cli import commands
from tests.relaxation import short


def row(energy, ok=True, **numbers):
  known = {'ca_rms_A': 0.3, 'ca_max_A': 0.4, 'flips': 0}
  known |= {'pierced_rings_before': 0, 'pierced_rings': 0}
  return table.Row(0, energy_per_residue_kJ_per_mol=energy, ok=ok, **(known | numbers))


def test_line():
  md = [row(energy) for energy in (-10.0, -9.0, -11.0)]
  most = relaxation.most_of(md)
  assert most == pytest.approx(-10.0 + 3.0)
  rows = [
    row(-7.1, ca_max_A=0.7, ca_rms_A=0.4, pierced_rings_before=2, md_temperature_K=300.0),
    row(-6.9, ok=False, flips=1, pierced_rings=1, md_temperature_K=300.0),
    table.Row(2, problem='broken'),
  ]
  assert relaxation.line(rows, most, 2.34) == [
    *('1 of 3', '1 of 3', '-7.0 ± 0.1', '0.70, 0.35', '1', '2, 1', '1 of 2', '2.3')
  ]
  assert relaxation.line(rows[2:], most, 1.0) == [
    '0 of 1',
    '0 of 1',
    '',
    '',
    '0',
    '0, 0',
    '',
    '1.0',
  ]


def test_table(tmp_path, monkeypatch, capsys):
  (tmp_path / 'md').mkdir()
  (tmp_path / 'sampled/piece').mkdir(parents=True)
  topology, md = short.save(tmp_path / 'md')
  shutil.copy(topology, tmp_path / 'sampled/piece/topology.pdb')
  shutil.copy(md, tmp_path / 'sampled/piece/trajectory_r1.xtc')
  target = held_out.Target('piece', held_out.PROTEIN, topology, (md,))
  monkeypatch.setattr(held_out, 'targets', lambda *_: [target])
  calls = []

  def minimise(self, positions):
    calls.append(positions)
    return minimiser.Minimum(positions, 0.0, -float(len(calls)))

  monkeypatch.setattr(minimiser.Minimiser, 'minimise', minimise)
  values = commands.parse(
    relaxation,
    *(f'--out={tmp_path / "out"}', f'--sampled={tmp_path / "sampled"}'),
    *('--num_frames=3', '--num_threads=1'),
  )
  relaxation.main(values)
  printed = capsys.readouterr().out
  # Energies -1, -2, -3 and -4, -5, -6 of five residues.
  assert '| piece | MD | 3 of 3 | 3 of 3 | -0.4 ± 0.2 | 0.00, 0.00 | 0 | 0, 0 |' in printed
  assert '| piece | model | 3 of 3 | 3 of 3 | -1.0 ± 0.2 |' in printed
  rows = table.from_csv((tmp_path / 'out/piece_md/relax.csv').read_text())
  assert [found.frame for found in rows] == np.linspace(0, short.NUM_FRAMES - 1, 3).round().tolist()
  relaxation.main(values)
  assert len(calls) == 6

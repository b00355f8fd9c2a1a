"""`evaluate --export`."""

import dataclasses
import json

import mdtraj
import numpy as np
import pytest

from tempo_jax.cli import evaluate
from tempo_jax.errors import InputError
from tests import heavy_trajectories, peptides
from tests.cli import commands
from tests.evaluation import cases

QUICK = ('--noreport', '--nobaselines', '--num_workers=1')


def commanded(*args):
  """The exit code of the command in this process."""
  return evaluate.main(commands.parse(evaluate, *QUICK, *args))


@pytest.fixture(scope='module')
def proteins(tmp_path_factory):
  """A chain of ATLAS by its name, with 260 frames; another name with 30; nobody changes them."""
  folder = tmp_path_factory.mktemp('proteins')
  return [
    cases.case(folder, name, length=8, frames=frames, seed=seed)
    for name, frames, seed in (('6okd_C', 260, 3), ('x', 30, 1))
  ]


def suite(folder, proteins):
  return cases.write_suite(folder / 'suite.json', proteins)


def errors_of(text):
  return [line for line in text.splitlines() if line.startswith('error: ')]


def exported(out):
  return sorted(str(path.relative_to(out)) for path in (out / 'export').rglob('*.*'))


def test_what_can_be_exported_is_and_the_rest_has_a_line_each(proteins, tmp_path, capsys):
  out = tmp_path / 'out'
  code = commanded(
    f'--suite={suite(tmp_path, proteins)}',
    f'--out={out}',
    '--export=premval,bioemu-benchmarks',
    '--export_model=ours',
  )
  assert code == 1
  assert exported(out) == [
    'export/bioemu-benchmarks/6okd_C.pdb',
    'export/bioemu-benchmarks/6okd_C.xtc',
    'export/bioemu-benchmarks/x.pdb',
    'export/bioemu-benchmarks/x.xtc',
    'export/premval/ours/6okd_C.pdb',
  ]
  said = capsys.readouterr()
  (error,) = errors_of(said.err)
  assert error.startswith('error: x: not exported for premval: it knows chains by the names of')
  assert f'premval: 1 of 2 proteins exported to {out / "export" / "premval"}\n' in said.out
  assert f'bioemu-benchmarks: 2 of 2 proteins exported to {out}' in said.out
  assert '2 of 2 proteins evaluated' in said.out
  assert list(json.loads((out / 'metrics.json').read_text())['proteins']) == ['6okd_C', 'x']


def test_of_results_that_are_there(proteins, tmp_path, capsys):
  """A later run computes nothing, and writes the files."""
  args = (f'--suite={suite(tmp_path, proteins)}', f'--out={tmp_path / "out"}')
  assert commanded(*args) == 0
  assert not (tmp_path / 'out' / 'export').exists()
  results = list((tmp_path / 'out' / 'proteins').glob('*.npz'))
  stamps = [path.stat().st_mtime_ns for path in results]
  assert commanded(*args, '--export=bioemu-benchmarks') == 0
  assert [path.stat().st_mtime_ns for path in results] == stamps
  assert len(exported(tmp_path / 'out')) == 4
  assert errors_of(capsys.readouterr().err) == []


def test_several_chains_do_not_stop_the_others(proteins, tmp_path, capsys):
  native = tmp_path / 'native.pdb'
  chains = (peptides.peptide(chain=c, offset=(0.0, y, 0.0)) for c, y in (('A', 0.0), ('B', 15.0)))
  native.write_text('TER\n'.join(chains) + 'TER\nEND\n')
  traj = mdtraj.load(str(native))
  frames = cases.wander(np.random.default_rng(0), 10.0 * traj.xyz.reshape(-1, 5, 3), 30)
  files = tuple(cases.save(tmp_path / name, frames, native) for name in ('R.xtc', 'P.xtc'))
  two = dataclasses.replace(
    proteins[1], name='two', topology=native, reference=files[:1], prediction=files[1:]
  )
  out = tmp_path / 'out'
  args = (f'--suite={suite(tmp_path, [two, proteins[1]])}', f'--out={out}')
  assert commanded(*args, '--export=bioemu-benchmarks') == 1
  error = 'error: two: not exported for bioemu-benchmarks: 2 chains, and it takes one: '
  (line,) = errors_of(capsys.readouterr().err)
  assert line.startswith(error)
  assert exported(out) == ['export/bioemu-benchmarks/x.pdb', 'export/bioemu-benchmarks/x.xtc']


def test_remarks_of_one_protein(tmp_path, capsys):
  native = heavy_trajectories.SIMULATED / 'cln025' / 'cln025.pdb'
  traj = mdtraj.load(str(native.with_name('cln025_R1.xtc')), top=str(native))[:30]
  traj.time = 50.0 * np.arange(30)
  traj.save(str(tmp_path / 'P.xtc'))
  code = commanded(
    f'--topology={native}',
    f'--reference={native.with_name("cln025_R1.xtc")}',
    f'--prediction={tmp_path / "P.xtc"}',
    f'--out={tmp_path / "out"}',
    '--export=mdgen',
  )
  said = capsys.readouterr()
  assert (code, errors_of(said.err)) == (0, [])
  assert 'cln025: mdgen: frames are 0.05 ns apart: its scripts need --msm_lag=2' in said.out
  assert exported(tmp_path / 'out') == ['export/mdgen/cln025.pdb', 'export/mdgen/cln025.xtc']


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--export=casp'], '--export=casp: no such benchmark: choose among premval, bioemu-benc'),
    (['--export=mdgen,'], '--export=: no such benchmark'),
    (['--export=premval', '--export_model=_a'], "--export_model: '_a' cannot be a name"),
  ],
)
def test_flags(proteins, tmp_path, args, message):
  with pytest.raises(InputError, match=message) as raised:
    commanded(f'--suite={suite(tmp_path, proteins)}', f'--out={tmp_path / "out"}', *args)
  assert '\n' not in str(raised.value)
  assert not (tmp_path / 'out').exists()

"""The wheel in an empty environment, far from the clone: what a user of `pip install` gets.

Needs a package registry, or a local index that pip knows.
"""

import os
import pathlib
import subprocess
import sys

import mdtraj
import pytest

ROOT = pathlib.Path(__file__).parents[1]
MD = ROOT / 'data_prep' / 'simulated' / 'cln025'
# Libraries of the extras, which a light install does without.
_EXTRAS = ('dask', 'h5py', 'requests', 'deeptime', 'ot', 'threadpoolctl', 'tensorboardX', 'tables')

pytestmark = pytest.mark.slow


class Environment:
  """A virtual environment, and a folder far from the clone in which its commands run."""

  def __init__(self, folder: pathlib.Path):
    self.python = folder / 'venv' / 'bin' / 'python'
    self.cwd = folder / 'far'
    self.cwd.mkdir()
    subprocess.run([sys.executable, '-m', 'venv', folder / 'venv'], check=True)
    # Nothing of the test session: neither its paths, nor its devices, nor its slow programs.
    kept = {'PATH', 'HOME', 'LANG', 'PIP_CONSTRAINT', 'PIP_INDEX_URL', 'PIP_CONFIG_FILE'}
    self.environ = {key: value for key, value in os.environ.items() if key in kept}
    self.environ |= {'XDG_CACHE_HOME': str(folder / 'cache'), 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}

  def pip_install(self, wheel: str) -> None:
    self._run([self.python, '-m', 'pip', 'install', '--quiet', wheel])

  def tempo_jax(self, *arguments: str) -> str:
    """What the installed command prints."""
    return self._run([self.python.with_name('tempo-jax'), *arguments]).stdout

  def refused(self, *arguments: str) -> str:
    """The one line with which the installed command refuses."""
    done = self._run([self.python.with_name('tempo-jax'), *arguments], code=2)
    (line,) = done.stderr.strip().splitlines()
    return line

  def has(self, module: str) -> bool:
    code = f'import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)'
    return not subprocess.run([self.python, '-c', code], cwd=self.cwd, env=self.environ).returncode

  def _run(self, command, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(command, cwd=self.cwd, env=self.environ, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> str:
  folder = tmp_path_factory.mktemp('wheel')
  command = [
    sys.executable,
    '-m',
    'pip',
    'wheel',
    '--quiet',
    '--no-deps',
    '--wheel-dir',
    folder,
    '.',
  ]
  subprocess.run(command, cwd=ROOT, check=True)
  (path,) = folder.glob('*.whl')
  return str(path)


@pytest.fixture(scope='module')
def light(wheel, tmp_path_factory) -> Environment:
  environment = Environment(tmp_path_factory.mktemp('installed'))
  environment.pip_install(wheel)
  return environment


def test_the_walk_of_a_user(light, wheel):
  """Structure -> XTC -> report, and MD -> store -> training -> sampling; in this order."""
  assert not [module for module in _EXTRAS if light.has(module)]
  (light.cwd / '1abc.pdb').write_bytes((MD / 'cln025.pdb').read_bytes())
  for name in ('cln025_R1.xtc', 'cln025_R2.xtc'):
    (light.cwd / name).write_bytes((MD / name).read_bytes())

  assert light.tempo_jax('--version').startswith('tempo-jax ')
  light.tempo_jax('sample', '1abc.pdb', '--num_frames=40', '--out=sampled')
  found = mdtraj.load(light.cwd / 'sampled/trajectory.xtc', top=light.cwd / 'sampled/topology.pdb')
  assert (found.n_frames, found.n_residues) == (40, 10)

  # What is missing is named before anything is computed.
  prepare = ('prepare', 'trajectories', '--topology=1abc.pdb', '--store=store')
  prepare += ('--trajectories=cln025_R1.xtc,cln025_R2.xtc', '--temperature_K=320')
  training = ('train', '--config=tiny', '--workdir=trained', '--config.data.store=store')
  evaluate = ('evaluate', '--topology=1abc.pdb', '--reference=cln025_R1.xtc', '--out=judged')
  evaluate += ('--prediction=sampled/trajectory.xtc',)
  assert 'tempo-jax[report]' in light.refused('sample', '--report', '--out=page')
  assert 'tempo-jax[hdf5]' in light.refused('sample', '--format=h5', '--out=hdf5')
  assert 'tempo-jax[evaluate]' in light.refused(*evaluate)
  assert not (light.cwd / 'page').exists()
  assert not (light.cwd / 'judged').exists()
  light.tempo_jax(*prepare, '--num_workers=1')
  assert 'tempo-jax[train]' in light.refused(*training)
  assert not (light.cwd / 'trained').exists()

  light.pip_install(f'{wheel}[report,train,evaluate]')
  light.tempo_jax('sample', '1abc.pdb', '--num_frames=20', '--out=page', '--report')
  assert '<svg' in (light.cwd / 'page/report.html').read_text()
  light.tempo_jax(*training)
  light.tempo_jax('sample', '1abc.pdb', '--model=trained', '--num_frames=20', '--out=own')
  assert (
    mdtraj.load(light.cwd / 'own/trajectory.xtc', top=light.cwd / 'own/topology.pdb').n_frames == 20
  )
  light.tempo_jax(*evaluate, '--num_workers=1')
  assert (light.cwd / 'judged/metrics.json').exists()
